//! A process of ours that keeps the rights which the capture gives up: it is forked before there is any other thread,
//! does what it is asked for by messages, and ends when nobody can ask any more, also where that is because the
//! capture was killed.
//!
//! Knows nothing of what it is asked for.

mod channel;

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    panic::{self, AssertUnwindSafe},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::{ForkResult, Pid, fork},
};

pub(crate) use self::channel::Channel;

/// How long its end is waited for: it may have a hundred filters to take off.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A helper process. Dropping this ends it: its channels are closed, and it is waited for.
#[derive(Debug)]
pub(crate) struct Helper {
    pid: Pid,
    channels: Vec<UnixStream>,
}

impl Helper {
    /// Starts a process that does this work with the other ends of so many channels, and then ends. It prints to
    /// stderr alone. Signals that are blocked stay blocked there.
    ///
    /// # Errors
    ///
    /// There is another thread already, whose locks a copy of this process would never see opened; or the kernel
    /// refuses.
    pub(crate) fn start<const N: usize>(
        work: impl FnOnce([Channel; N]),
    ) -> io::Result<(Self, [Channel; N])> {
        if fs::read_dir("/proc/self/task")?.count() != 1 {
            return Err(io::Error::other("there are threads already"));
        }
        let pairs: io::Result<Vec<_>> = (0..N).map(|_| Channel::pair()).collect();
        let (own, others): (Vec<_>, Vec<_>) = pairs?.into_iter().unzip();
        let streams: io::Result<Vec<UnixStream>> = own.iter().map(Channel::stream).collect();
        let streams = streams?;
        let all = |channels: Vec<Channel>| {
            <[Channel; N]>::try_from(channels).map_err(|_| io::ErrorKind::Other)
        };
        let (own, others) = (all(own)?, all(others)?);
        // SAFETY: there is one thread, so nothing is locked that the copy would wait for.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok((
                Self {
                    pid: child,
                    channels: streams,
                },
                own,
            )),
            ForkResult::Child => {
                drop((own, streams));
                let worked = panic::catch_unwind(AssertUnwindSafe(|| {
                    if let Err(why) = settle() {
                        log::warn!("the helper process: {why}");
                    }
                    work(others);
                }));
                // SAFETY: ends the process at once. What the capture had prepared for its own end is not for this one.
                unsafe { libc::_exit(i32::from(worked.is_err())) }
            }
        }
    }

    /// Its number.
    #[must_use]
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    fn wait(&self) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < END_LIMIT {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive => thread::sleep(Duration::from_millis(1)),
                WaitStatus::Exited(_, 0) => return Ok(()),
                ended => return Err(io::Error::other(format!("{ended:?}"))),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.channels.iter().for_each(channel::shut_down);
        if let Err(why) = self.wait() {
            log::warn!("the helper process {} has not ended well: {why}", self.pid);
        }
    }
}

/// What reads our output must not wait for this process, nor may it read what is typed.
fn settle() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for fd in [libc::STDIN_FILENO, libc::STDOUT_FILENO] {
        // SAFETY: two open descriptors.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: a NUL-terminated name.
    let named = unsafe { libc::prctl(libc::PR_SET_NAME, c"nt-helper".as_ptr()) };
    match named {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
