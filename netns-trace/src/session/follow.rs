//! Follows targets by their names: past a container's end into the next one of that name, and from
//! before its beginning.
//!
//! A name is known late: a container's namespace and its interface are there some time before its
//! runtime tells whose they are, and its first packets do not wait for that. So whenever a namespace
//! appears while a name is missing, taps are attached at once, and what they record stays in their
//! ring. Once the name is known, somebody reads the ring, or the taps go again with all that is in it.
//! What the kernel sends by itself while the interface comes up may be missed.
//!
//! All this happens on a thread of its own, since it waits: for the kernel to attach (9 ms a hook), and
//! for runtimes to answer, which is left to another thread still. The capture goes on meanwhile.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{CaptureConfig, following::Following, generation::Rising, outline::Outline};
use crate::target::Target;

/// A target that has come, or come back.
pub(super) struct Arrival {
    /// Its taps, by the names that are known now.
    pub(super) plan: Outline,
    /// The first are up. What they have seen is in their ring.
    pub(super) taps: Rising,
    /// What was before, for people.
    pub(super) note: Option<String>,
}

/// The thread that follows. Ends when it is dropped, and takes its taps with it.
pub(super) struct Follower {
    arrivals: Receiver<Arrival>,
    /// None once the thread is to end.
    lost: Option<Sender<u64>>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Follows from now on. `present` are the targets that are captured already.
    ///
    /// # Errors
    ///
    /// There is no descriptor or no thread left.
    pub(super) fn start(config: &CaptureConfig, present: &[Target]) -> Result<Self> {
        let (sender, arrivals) = channel();
        let (lost, losses) = channel();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_flags(flags).context("cannot make an event descriptor")?;
        let wake = Arc::new(wake);
        let following = Following::new(config, present, Arc::clone(&wake), losses, sender)?;
        let thread = std::thread::Builder::new()
            .name("follow".to_owned())
            .spawn(move || following.run())
            .context("cannot start the thread that follows")?;
        Ok(Self {
            arrivals,
            lost: Some(lost),
            wake,
            thread: Some(thread),
        })
    }

    /// The next target that has come.
    pub(super) fn next(&self) -> Option<Arrival> {
        self.arrivals.try_recv().ok()
    }

    /// Nothing of a namespace is captured any more.
    pub(super) fn lost(&self, inode: u64) {
        let sent = self.lost.as_ref().map(|lost| lost.send(inode));
        // A thread that has ended needs no word.
        if matches!(sent, Some(Ok(()))) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Err(errno) = self.wake.write(1) {
            log::warn!("cannot wake the thread that follows: {errno}");
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.lost = None;
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that follows has panicked");
        }
    }
}
