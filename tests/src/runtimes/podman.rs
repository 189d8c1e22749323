//! Podman in a machine of the test's own, with root or without. It has no daemon; its API is served on
//! request.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use super::{Engine, Machine, have, wait_for};
use crate::root::skip;

/// Whose containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// root's, on the bridge `cni-podman0` or `podman0`.
    Root,
    /// Those of the user 4711, whose network goes through slirp4netns: there is no veth.
    Lodger,
}

/// Podman of one user.
pub struct Podman {
    machine: Arc<Machine>,
    user: User,
    service: Option<Child>,
}

impl Podman {
    /// Podman in a machine. `None`, with a word why, where it does not run.
    ///
    /// # Panics
    ///
    /// Under CI, where it does not run.
    #[must_use]
    pub fn start(machine: &Arc<Machine>, user: User) -> Option<Self> {
        if !have(&[
            "podman",
            "crun",
            "conmon",
            "slirp4netns",
            "newuidmap",
            "setpriv",
        ]) {
            return None;
        }
        let podman = Self {
            machine: machine.clone(),
            user,
            service: None,
        };
        let config = "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        std::fs::write(podman.config(), config).expect("written");
        let image = machine.folder().join("image.tar");
        let mut load = podman.client();
        load.args(["load", "-q", "-i"]).arg(image);
        let done = crate::tool::done(load);
        if !done.status.success() {
            skip(&format!("podman does not run here: {}", done.stderr));
            return None;
        }
        Some(podman)
    }

    /// Podman of the user in a machine of its own.
    ///
    /// # Panics
    ///
    /// Under CI, where it does not run.
    #[must_use]
    pub fn private(user: User) -> Option<Self> {
        Self::start(&Arc::new(Machine::start()?), user)
    }

    /// The machine that it runs in.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Where its API's socket is, as the machine names it.
    #[must_use]
    pub fn socket(&self) -> &'static str {
        match self.user {
            User::Root => "/run/podman/podman.sock",
            User::Lodger => "/run/user/4711/podman/podman.sock",
        }
    }

    /// Serves the API at its usual place until this value is dropped.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub fn serve(&mut self) {
        let socket = self.socket();
        let folder = self.machine.path(socket);
        let folder = folder.parent().expect("a folder");
        std::fs::create_dir_all(folder).expect("the folder");
        if self.user == User::Lodger {
            std::os::unix::fs::chown(folder, Some(4711), Some(4711)).expect("its folder");
        }
        let mut command = self.client();
        command
            .args([
                "system",
                "service",
                "--time",
                "0",
                &format!("unix://{socket}"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.service = Some(command.spawn().expect("podman starts"));
        let path = self.machine.path(socket);
        wait_for(|| UnixStream::connect(&path).ok()).expect("the API is served");
    }

    fn config(&self) -> PathBuf {
        self.machine.folder().join("containers.conf")
    }
}

impl Engine for Podman {
    fn client(&self) -> Command {
        let folder = self.machine.folder();
        let mut command = match self.user {
            User::Root => self.machine.command("env"),
            User::Lodger => {
                let mut command = self.machine.command("setpriv");
                command
                    .args([
                        "--reuid=4711",
                        "--regid=4711",
                        "--clear-groups",
                        "--reset-env",
                    ])
                    .args(["env", "XDG_RUNTIME_DIR=/run/user/4711"])
                    .arg(format!("HOME={}", folder.join("home").display()));
                command
            }
        };
        command
            .arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin")
            .arg("STORAGE_DRIVER=vfs")
            .arg(format!("CONTAINERS_CONF={}", self.config().display()))
            .arg("podman");
        command
    }

    fn run_options(&self) -> Vec<String> {
        match self.user {
            User::Root => vec![format!("--cgroup-parent=/{}", self.machine.cgroup())],
            // Without root, containers stay in the cgroup that they were started from.
            User::Lodger => Vec::new(),
        }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Some(mut child) = self.service.take() {
            // Podman itself ends with the machine.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
