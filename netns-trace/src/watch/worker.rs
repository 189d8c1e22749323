//! Work that may take long, away from the path of events: a thread that does one kind of it, one
//! request at a time.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread,
};

use nix::sys::eventfd::EventFd;

/// The thread. It ends after this is dropped, and is not waited for: a runtime may let it wait.
pub(super) struct Worker<T> {
    requests: Sender<()>,
    results: Receiver<T>,
    is_busy: bool,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread, which writes to `wake` after each piece of `work`.
    ///
    /// # Errors
    ///
    /// There is no thread left.
    pub(super) fn start(
        name: &str,
        wake: Arc<EventFd>,
        mut work: impl FnMut() -> T + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, wanted) = channel::<()>();
        let (done, results) = channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while wanted.recv().is_ok() {
                    if done.send(work()).is_err() {
                        return; // nobody waits any more
                    }
                    if let Err(errno) = wake.write(1) {
                        log::warn!("cannot wake the watch: {errno}");
                    }
                }
            })?;
        Ok(Self {
            requests,
            results,
            is_busy: false,
        })
    }

    /// Asks for the work, unless it is under way; whether it was asked for.
    pub(super) fn ask(&mut self) -> bool {
        if self.is_busy {
            return false;
        }
        self.is_busy = self.requests.send(()).is_ok();
        self.is_busy
    }

    /// Whether the work is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// The result, once it is there.
    pub(super) fn take(&mut self) -> Option<T> {
        match self.results.try_recv() {
            Ok(result) => {
                self.is_busy = false;
                Some(result)
            }
            // A thread that has panicked said so.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }
}
