//! Runs a command on each file of a capture that is complete: tcpdump's `-z`. The capture never waits for it.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// Commands that run at once; files beyond that wait.
const AT_ONCE: usize = 4;
/// The lowest priority.
const NICE: libc::c_int = 19;

/// How often those that run are looked after.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// Has a command run on files, by a thread that is started while it may still run programs.
#[derive(Debug, Default)]
pub(super) struct Completed(Option<(Sender<PathBuf>, JoinHandle<()>)>);

impl Completed {
    /// Starts the thread, which has the rights of the one that calls, if there is a command.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub(super) fn start(command: Option<OsString>) -> io::Result<Self> {
        let Some(command) = command else {
            return Ok(Self::default());
        };
        let (sender, files) = channel();
        let runner = Runner::new(command);
        let thread = thread::Builder::new()
            .name("completed".to_owned())
            .spawn(move || runner.run(&files))?;
        Ok(Self(Some((sender, thread))))
    }

    /// Has the command run on a file, now or when others have ended.
    pub(super) fn add(&self, file: PathBuf) {
        if let Some((sender, _)) = &self.0
            && let Err(why) = sender.send(file)
        {
            log::error!("the command of -z is not run on {:?}", why.0);
        }
    }

    /// Has what still waits started. Those that run go on by themselves.
    pub(super) fn finish(self) {
        let Some((sender, thread)) = self.0 else {
            return;
        };
        drop(sender);
        if thread.join().is_err() {
            log::error!("the thread that runs the command of -z has panicked");
        }
    }
}

/// What is run, and on which files.
#[derive(Debug)]
struct Runner {
    command: OsString,
    waiting: VecDeque<PathBuf>,
    running: Vec<Child>,
    has_failed: bool,
}

impl Runner {
    fn new(command: OsString) -> Self {
        Self {
            command,
            waiting: VecDeque::new(),
            running: Vec::new(),
            has_failed: false,
        }
    }

    fn run(mut self, files: &Receiver<PathBuf>) {
        loop {
            let next = if self.running.is_empty() {
                files.recv().map_err(RecvTimeoutError::from)
            } else {
                files.recv_timeout(LOOK_AFTER)
            };
            match next {
                Ok(file) => self.waiting.push_back(file),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look_after();
        }
        self.finish();
    }

    /// Takes note of those that have ended, and starts others in their place.
    fn look_after(&mut self) {
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

    /// Starts what still waits.
    fn finish(&mut self) {
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
        let program = &self.command;
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
        let mut runner = Runner::new("rm".into());
        let files: Vec<PathBuf> = (0..20)
            .map(|number: u32| folder.path().join(number.to_string()))
            .collect();
        for file in &files {
            std::fs::write(file, "x").expect("written");
            runner.waiting.push_back(file.clone());
            runner.look_after();
            assert!(runner.running.len() <= AT_ONCE);
        }
        runner.finish();
        for child in &mut runner.running {
            assert!(child.wait().expect("ends").success());
        }
        assert!(files.iter().all(|file| !file.exists()));
    }

    #[test]
    fn what_waits_at_the_end_is_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let completed = Completed::start(Some("touch".into())).expect("started");
        let files: Vec<PathBuf> = (0..10)
            .map(|number: u32| folder.path().join(number.to_string()))
            .collect();
        files.iter().for_each(|file| completed.add(file.clone()));
        completed.finish();
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !files.iter().all(|file| file.exists()) {
            assert!(std::time::Instant::now() < end);
            thread::sleep(Duration::from_millis(5));
        }
    }
}
