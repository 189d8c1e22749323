//! A program that runs while something is measured.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, ensure};

/// A program, from when it has attached to when it is told to end.
pub(super) struct Running {
    child: Child,
    /// Reads what it says from then on.
    rest: Option<JoinHandle<Vec<String>>>,
}

/// What a program that has ended well said and used.
pub(super) struct Ended {
    /// The lines on its stderr.
    pub(super) said: Vec<String>,
    /// Seconds of processor time, its own and the kernel's on its behalf.
    pub(super) cpu_s: f64,
    /// The most memory that it had, in mebibytes: its own and what of files and maps it touched.
    pub(super) peak_mib: f64,
}

impl Running {
    /// Starts it, and waits for this text on stderr.
    pub(super) fn start(command: &mut Command, says: &str) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let stderr = child.stderr.take().context("its stderr is missing")?;
        let mut running = Self { child, rest: None };
        let mut lines = BufReader::new(stderr).lines();
        for line in lines.by_ref() {
            if line?.contains(says) {
                let rest = move || lines.map_while(Result::ok).collect();
                running.rest = Some(thread::spawn(rest));
                return Ok(running);
            }
        }
        anyhow::bail!("{command:?} ended before it said {says:?}")
    }

    /// Ends it as the terminal does.
    pub(super) fn stop(mut self) -> Result<Ended> {
        let pid = self.child.id() as i32;
        // SAFETY: a pid of a child that was not waited for yet.
        unsafe { libc::kill(pid, libc::SIGINT) };
        let mut status = 0;
        // SAFETY: all-zero is a valid rusage.
        let mut used: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: as above, and both pointers outlive the call.
        let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut used) };
        let rest = self.rest.take().map(JoinHandle::join);
        let said = rest.and_then(Result::ok).unwrap_or_default();
        ensure!(
            waited == pid && status == 0,
            "it failed ({status}): {}",
            said.join("\n")
        );
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        Ok(Ended {
            said,
            cpu_s: seconds(used.ru_utime) + seconds(used.ru_stime),
            // Kibibytes; getrusage(2).
            peak_mib: used.ru_maxrss as f64 / 1024.0,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
