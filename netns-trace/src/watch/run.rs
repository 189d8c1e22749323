//! A watch from start to end: events to stdout and to commands, until a signal or the reader's end.

use std::{collections::VecDeque, ffi::OsString, io, os::fd::AsFd as _, sync::Arc};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
    unistd,
};

use super::{Watcher, hooks::Hooks};
use crate::signals::{Signals, Wish};

/// Text that a slow reader may leave waiting.
const MOST_WAITING: usize = 16 << 20;
/// A pipe that has room takes so much at once without waiting; pipe(7).
const PIPE_BUF: usize = 4096;

/// What a watch is asked to do.
#[derive(Debug, Clone)]
pub struct WatchConfig {
    /// A line of JSON for each event rather than a line of text.
    pub json: bool,
    /// Also tell what is there already.
    pub existing: bool,
    /// A command for `sh -c`, run for each event.
    pub exec: Option<OsString>,
}

/// Watches until a signal or the reader's end, and prints each event as it happens.
///
/// # Errors
///
/// What could not be set up, and a stdout that cannot be written for another reason than that its
/// reader left.
pub fn watch(config: &WatchConfig) -> Result<()> {
    let signals = Signals::new()?;
    let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
    let wake = Arc::new(wake.context("cannot make an event descriptor")?);
    let mut hooks = config
        .exec
        .as_ref()
        .map(|command| Hooks::new(command, Arc::clone(&wake)));
    let mut watcher = Watcher::new(config.existing)?;
    for limit in watcher.limits() {
        eprintln!("netns-trace: {limit}");
    }
    let (namespaces, containers) = watcher.count();
    eprintln!("watching; there are {namespaces} namespaces and {containers} running containers");
    let mut lines = Lines::default();
    loop {
        for event in watcher.take()? {
            let line = match config.json {
                true => serde_json::to_string(&event).context("cannot write JSON")?,
                false => event.text(),
            };
            lines.add(&line);
            if let Some(hooks) = &mut hooks {
                hooks.add(&event);
            }
        }
        match lines.write() {
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write to stdout")?,
        }
        if let Some(hooks) = &mut hooks {
            hooks.advance();
        }
        while let Some(wish) = signals.next()? {
            match wish {
                Wish::End => return Ok(()),
                Wish::Counts => {
                    let (namespaces, containers) = watcher.count();
                    eprintln!(
                        "netns-trace: {namespaces} namespaces, {containers} running containers"
                    );
                }
            }
        }
        wait(&watcher, &signals, &wake, &lines)?;
    }
}

/// Waits until there is something to do. A reader that leaves is noticed also when nothing happens.
fn wait(watcher: &Watcher, signals: &Signals, wake: &EventFd, lines: &Lines) -> Result<()> {
    let stdout = io::stdout();
    let mut fds = [
        PollFd::new(watcher.as_fd(), PollFlags::POLLIN),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        PollFd::new(wake.as_fd(), PollFlags::POLLIN),
        PollFd::new(stdout.as_fd(), lines.wanted()),
    ];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno).context("cannot wait for events"),
    }
    // Only that it was written to matters.
    if let Err(errno) = wake.read()
        && errno != Errno::EAGAIN
    {
        return Err(errno).context("cannot read an event descriptor");
    }
    Ok(())
}

/// Lines on their way to stdout, which may be a pipe whose reader is slow: it is never waited for.
#[derive(Debug, Default)]
struct Lines {
    waiting: VecDeque<u8>,
    lost: u64,
}

impl Lines {
    /// What stdout is to be waited for: its end in any case.
    fn wanted(&self) -> PollFlags {
        match self.waiting.is_empty() {
            true => PollFlags::empty(),
            false => PollFlags::POLLOUT,
        }
    }

    fn add(&mut self, line: &str) {
        if self.waiting.len() + line.len() > MOST_WAITING {
            self.lost += 1;
            return;
        }
        self.waiting.extend(line.as_bytes());
        self.waiting.push_back(b'\n');
    }

    /// Writes what stdout takes now.
    fn write(&mut self) -> io::Result<()> {
        let stdout = io::stdout();
        loop {
            let mut fds = [PollFd::new(stdout.as_fd(), self.wanted())];
            poll(&mut fds, PollTimeout::ZERO)?;
            let ready = fds[0].revents().unwrap_or(PollFlags::empty());
            if ready.intersects(PollFlags::POLLERR | PollFlags::POLLHUP) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if !ready.contains(PollFlags::POLLOUT) {
                break;
            }
            let (next, _) = self.waiting.as_slices();
            // Past the standard library's own buffer, which would wait for the rest of a line.
            let written = unistd::write(&stdout, &next[..next.len().min(PIPE_BUF)])?;
            self.waiting.drain(..written);
        }
        if self.waiting.is_empty() && self.lost > 0 {
            eprintln!(
                "netns-trace: the reader was too slow: {} events are missing",
                std::mem::take(&mut self.lost)
            );
        }
        Ok(())
    }
}
