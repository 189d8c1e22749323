//! Runs a command on each file of a capture that is complete: tcpdump's `-z`. The capture never waits for it.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// Commands that run at once; files beyond that wait.
const AT_ONCE: usize = 4;
/// The lowest priority.
const NICE: libc::c_int = 19;

/// What is run, and on which files.
#[derive(Debug, Default)]
pub(super) struct Completed {
    command: Option<OsString>,
    waiting: VecDeque<PathBuf>,
    running: Vec<Child>,
    has_failed: bool,
}

impl Completed {
    pub(super) fn new(command: Option<OsString>) -> Self {
        Self {
            command,
            ..Self::default()
        }
    }

    /// Runs the command on a file, now or when others have ended.
    pub(super) fn add(&mut self, file: PathBuf) {
        if self.command.is_some() {
            self.waiting.push_back(file);
            self.look_after();
        }
    }

    /// Takes note of those that have ended, and starts others in their place.
    pub(super) fn look_after(&mut self) {
        self.running.retain_mut(|child| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(_)) => false,
            Err(why) => {
                log::warn!("the command of -z: {why}");
                false
            }
        });
        while self.running.len() < AT_ONCE
            && let Some(file) = self.waiting.pop_front()
        {
            self.start(file);
        }
    }

    /// Starts what still waits. Those that run go on by themselves.
    pub(super) fn finish(&mut self) {
        while !self.waiting.is_empty() {
            self.look_after();
            if let Some(child) = self.running.first_mut()
                && !self.waiting.is_empty()
                && let Err(why) = child.wait()
            {
                log::warn!("the command of -z: {why}");
            }
        }
    }

    fn start(&mut self, file: PathBuf) {
        let Some(program) = &self.command else {
            return;
        };
        let mut command = Command::new(program);
        command.arg(file).stdin(Stdio::null());
        // SAFETY: both calls are async-signal-safe, and touch no memory of ours.
        unsafe {
            command.pre_exec(|| {
                // Ours blocks the signals that it reads by a descriptor.
                sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
                if libc::setpriority(libc::PRIO_PROCESS, 0, NICE) != 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        match command.spawn() {
            Ok(child) => self.running.push(child),
            Err(why) if !self.has_failed => {
                self.has_failed = true;
                eprintln!("netns-trace: the command of -z, {program:?}, cannot be run: {why}");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_gets_its_command_and_nobody_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut completed = Completed::new(Some("rm".into()));
        let files: Vec<PathBuf> = (0..20)
            .map(|number: u32| folder.path().join(number.to_string()))
            .collect();
        for file in &files {
            std::fs::write(file, "x").expect("written");
            completed.add(file.clone());
            assert!(completed.running.len() <= AT_ONCE);
        }
        completed.finish();
        for child in &mut completed.running {
            assert!(child.wait().expect("ends").success());
        }
        assert!(files.iter().all(|file| !file.exists()));
    }
}
