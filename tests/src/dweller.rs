//! A process that lives in a network namespace of its own, as a container's does, until it is told to
//! leave or dropped.

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
};

/// A process alone in a namespace.
pub struct Dweller(Child);

impl Dweller {
    /// Starts one in a new network namespace.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[must_use]
    pub fn alone() -> Self {
        let mut command = Command::new("unshare");
        command.arg("--net");
        Self::start(command)
    }

    /// Starts one by a command that enters or makes a namespace.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .args(["sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|why| panic!("{command:?} starts: {why}"));
        let stdout = child.stdout.as_mut().expect("a pipe");
        stdout
            .read_exact(&mut [0])
            .expect("its word that it is there");
        Self(child)
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its target, as users write it.
    #[must_use]
    pub fn target(&self) -> String {
        format!("pid:{}", self.pid())
    }

    /// Its namespace's inode.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn inode(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        let ns = std::fs::metadata(format!("/proc/{}/ns/net", self.pid()));
        ns.expect("its namespace").ino()
    }
}

impl Drop for Dweller {
    fn drop(&mut self) {
        drop(self.0.kill()); // it may have ended
        drop(self.0.wait());
    }
}
