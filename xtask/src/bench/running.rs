//! A program that runs while something is measured.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};

/// A program, from when it has attached to when it is told to end.
pub(super) struct Running(Child);

impl Running {
    /// Starts it, and waits for this start of a line on stderr.
    pub(super) fn start(command: &mut Command, says: &str) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let stderr = child.stderr.take().context("its stderr is missing")?;
        let running = Self(child);
        let mut lines = BufReader::new(stderr).lines();
        for line in lines.by_ref() {
            if line?.contains(says) {
                // What it says at its end must find a reader.
                thread::spawn(move || lines.count());
                return Ok(running);
            }
        }
        anyhow::bail!("{command:?} ended before it said {says:?}")
    }

    /// Ends it as the terminal does.
    pub(super) fn stop(mut self) -> Result<()> {
        // SAFETY: a pid of a child that was not waited for yet.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        let status = self.0.wait()?;
        ensure!(status.success(), "it failed ({status})");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) && self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}
