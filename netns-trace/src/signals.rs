//! Signals as a descriptor, so that they are noticed wherever the process waits, also when it
//! was started with SIGINT ignored, as shells start background jobs.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, Result};
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// SIGINT, SIGTERM or SIGHUP: end cleanly.
    End,
    /// SIGUSR1: print the counts so far.
    Counts,
}

/// The signals that a run of the tool answers to, blocked in this thread and in all that it starts.
pub struct Signals {
    fd: SignalFd,
    former: SigSet,
}

impl Signals {
    /// Blocks the signals and listens for them. A blocked signal is kept even where it is
    /// ignored. Call it before the first thread is started.
    ///
    /// # Errors
    ///
    /// The kernel refuses a descriptor.
    pub fn new() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGUSR1,
        ] {
            set.add(signal);
        }
        let former = SigSet::thread_get_mask().context("cannot read the signal mask")?;
        set.thread_block().context("cannot block signals")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot listen for signals")?;
        Ok(Self { fd, former })
    }

    /// The next signal that has come, if any.
    ///
    /// # Errors
    ///
    /// The descriptor cannot be read.
    pub fn next(&self) -> Result<Option<Wish>> {
        let Some(info) = self.fd.read_signal().context("cannot read signals")? else {
            return Ok(None);
        };
        Ok(Some(if info.ssi_signo == Signal::SIGUSR1 as u32 {
            Wish::Counts
        } else {
            Wish::End
        }))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // What was only noticed and not taken yet would end the process now, after a clean end.
        while let Ok(Some(_)) = self.next() {}
        if let Err(errno) = self.former.thread_set_mask() {
            log::warn!("the signal mask stays changed: {errno}");
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
