//! Where bytes go: a file, a pipe, a terminal. Knows which packets are wholly there.
//!
//! A write that fails leaves no half block in a file, and no doubt about which packets were lost. A
//! pipe whose reader has stopped reading does not make us deaf to signals.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    path::Path,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::place;

/// How long a reader that has stopped reading is waited for once the capture is to end.
const GRACE: Duration = Duration::from_secs(2);
/// What a pipe takes without blocking when it polls writable: `PIPE_BUF`.
const PIECE: usize = 4096;
/// What is written to a file at once from here on does not stay in memory. Less at a time would have to wait for the
/// device, where one write ends and the next begins in a page.
const UNCACHED: usize = 512 << 10;

/// Why output is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The reader has closed the pipe.
    #[error("the reader of the output has closed it")]
    Closed,
    /// The reader stopped reading, and the capture was to end.
    #[error("the reader of the output has stopped reading")]
    Stalled,
    /// The device, or the user's share of it, is full.
    #[error("cannot write to {output}: {source}")]
    NoSpace {
        /// The file's path, escaped, or what else it is.
        output: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else.
    #[error("cannot write to {output}: {source}")]
    Failed {
        /// The file's path, escaped, or what else it is.
        output: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SinkError {
    pub(super) fn of(output: &str, source: io::Error) -> Self {
        let output = output.to_owned();
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace { output, source },
            _ => Self::Failed { output, source },
        }
    }

    /// Whether the reader's leaving is all that happened, which is no failure of ours.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Closed)
    }
}

/// What became of a packet that was given to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its last byte is written.
    Written,
    /// It is not in the output, or not wholly.
    Lost,
}

/// Where a block ends in the buffer, and whose packet it is, if it is one.
#[derive(Clone, Copy)]
struct Mark {
    end: usize,
    owner: Option<u32>,
}

enum Kind {
    /// Can be cut back.
    File(Regular),
    /// A reader may stop reading.
    Pipe,
    /// `/dev/null`, a terminal, a socket.
    Other,
}

/// A regular file.
struct Regular {
    /// Bytes in it.
    len: u64,
    /// Whether its file system may take what is written without keeping it in memory.
    uncached: bool,
}

pub(super) struct Sink {
    file: File,
    /// How it is named to people.
    name: String,
    kind: Kind,
    is_terminal: bool,
    buffer: Vec<u8>,
    marks: Vec<Mark>,
    broken: bool,
}

impl Sink {
    /// Opens a file, cut to nothing, or stdout for `-`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Self::stdout();
        }
        let mut new = OpenOptions::new();
        let file = place::open(path, new.write(true).create(true).truncate(true))?;
        Self::new(file, format!("{path:?}"))
    }

    /// Stdout.
    pub(super) fn stdout() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Self::new(file, "standard output".to_owned())
    }

    fn new(file: File, name: String) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt as _;
        let kind = file.metadata()?.file_type();
        let kind = if kind.is_file() {
            Kind::File(Regular {
                len: io::Seek::stream_position(&mut &file)?,
                uncached: true,
            })
        } else if kind.is_fifo() {
            Kind::Pipe
        } else {
            Kind::Other
        };
        Ok(Self {
            is_terminal: file.is_terminal(),
            file,
            name,
            kind,
            buffer: Vec::new(),
            marks: Vec::new(),
            broken: false,
        })
    }

    /// Whether somebody may be waiting for each packet at the other end.
    pub(super) fn is_live(&self) -> bool {
        self.is_terminal || matches!(self.kind, Kind::Pipe)
    }

    /// Where bytes are appended; they are written with the next flush.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Says that a block ends here: a packet of `owner`, or another one.
    pub(super) fn mark(&mut self, owner: Option<u32>) {
        self.marks.push(Mark {
            end: self.buffer.len(),
            owner,
        });
    }

    /// Bytes of the file with what waits to be written.
    pub(super) fn len(&self) -> u64 {
        let written = match self.kind {
            Kind::File(Regular { len, .. }) => len,
            Kind::Pipe | Kind::Other => 0,
        };
        written + self.buffer.len() as u64
    }

    /// Writes nothing more: what is taken now is lost.
    pub(super) fn give_up(&mut self) {
        self.broken = true;
    }

    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Writes what is in the buffer, and tells for each packet in it what became of it. `stop` is
    /// readable once the capture is to end.
    pub(super) fn flush(
        &mut self,
        stop: Option<BorrowedFd<'_>>,
        mut fate: impl FnMut(u32, Fate),
    ) -> Result<(), SinkError> {
        let (written, result) = if self.broken {
            (0, Ok(()))
        } else {
            self.write_out(stop)
        };
        let mut whole = 0;
        for mark in self.marks.drain(..) {
            let is_whole = mark.end <= written;
            if is_whole {
                whole = mark.end;
            }
            if let Some(owner) = mark.owner {
                fate(owner, if is_whole { Fate::Written } else { Fate::Lost });
            }
        }
        if let Kind::File(Regular { len, .. }) = &mut self.kind {
            if result.is_err() {
                // What is behind the last whole block would make the file unreadable there.
                *len += whole as u64;
                if let Err(why) = self.file.set_len(*len) {
                    log::warn!("the file ends in the middle of a packet: {why}");
                }
            } else {
                *len += written as u64;
            }
        }
        self.buffer.clear();
        self.broken |= result.is_err();
        result
    }

    /// Whether writing has failed: nothing more is written.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// After a failure, tries whether there is room for these bytes after all, at the end of a
    /// file that was cut back.
    pub(super) fn append_after_failure(&mut self, bytes: &[u8]) {
        let Kind::File(Regular { len, .. }) = self.kind else {
            return;
        };
        let appended = io::Seek::seek(&mut &self.file, io::SeekFrom::Start(len))
            .and_then(|_| (&self.file).write_all(bytes));
        if appended.is_err()
            && let Err(why) = self.file.set_len(len)
        {
            log::warn!("the file ends in the middle of a block: {why}");
        }
    }

    fn write_out(&mut self, stop: Option<BorrowedFd<'_>>) -> (usize, Result<(), SinkError>) {
        let mut written = 0;
        let mut deadline = None;
        while written < self.buffer.len() {
            let mut piece = &self.buffer[written..];
            if matches!(self.kind, Kind::Pipe) {
                piece = &piece[..piece.len().min(PIECE)];
                if let Err(why) = self.wait_writable(stop, &mut deadline) {
                    return (written, Err(why));
                }
            }
            let done = match &mut self.kind {
                Kind::File(Regular { uncached, .. }) if *uncached && piece.len() >= UNCACHED => {
                    match write_uncached(&self.file, piece) {
                        Err(why) if why.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                            *uncached = false;
                            continue;
                        }
                        done => done,
                    }
                }
                _ => (&self.file).write(piece),
            };
            match done {
                Ok(0) => {
                    let why = io::Error::from(io::ErrorKind::WriteZero);
                    return (written, Err(SinkError::of(&self.name, why)));
                }
                Ok(len) => written += len,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return (written, Err(SinkError::of(&self.name, why))),
            }
        }
        (written, Ok(()))
    }

    /// Waits until a pipe takes a piece. Once `stop` is readable, only for a time of grace.
    fn wait_writable(
        &self,
        stop: Option<BorrowedFd<'_>>,
        deadline: &mut Option<Instant>,
    ) -> Result<(), SinkError> {
        loop {
            let mut fds = vec![PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
            let mut timeout = PollTimeout::NONE;
            match (*deadline, stop) {
                (Some(end), _) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(SinkError::Stalled);
                    }
                    timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                }
                (None, Some(stop)) => fds.push(PollFd::new(stop, PollFlags::POLLIN)),
                (None, None) => {}
            }
            match poll(&mut fds, timeout) {
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(SinkError::of(&self.name, errno.into())),
            }
            let happened = |n: usize| {
                fds.get(n)
                    .and_then(PollFd::revents)
                    .unwrap_or(PollFlags::empty())
            };
            // A closed pipe polls POLLERR: the write then says why.
            if happened(0).intersects(PollFlags::POLLOUT | PollFlags::POLLERR) {
                return Ok(());
            }
            if happened(1).contains(PollFlags::POLLIN) {
                *deadline = Some(Instant::now() + GRACE);
            }
        }
    }
}

/// As write(2), and starts writing to the device at once, after which nothing of it stays in memory
/// (`RWF_DONTCACHE`, from 6.14). A new page of the page cache costs more than what is copied into it; so the same few
/// pages are used again and again, and a long capture does not push what others need out of memory.
/// <https://github.com/torvalds/linux/blob/v6.14/include/uapi/linux/fs.h#L338>
fn write_uncached(file: &File, bytes: &[u8]) -> io::Result<usize> {
    /// pwritev2(2): write where the file's position is, and move it.
    const POSITION: libc::off_t = -1;
    let piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: one vector, whose bytes outlive the call and are only read.
    let written = unsafe {
        libc::pwritev2(
            file.as_raw_fd(),
            &raw const piece,
            1,
            POSITION,
            libc::RWF_DONTCACHE,
        )
    };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::fd::OwnedFd};

    use super::*;

    fn pipe() -> (File, Sink) {
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        (
            File::from(reader),
            Sink::new(File::from(writer), "a pipe".to_owned()).expect("a sink"),
        )
    }

    fn fill(sink: &mut Sink, packets: u32, len: usize) {
        for owner in 0..packets {
            sink.buffer().extend(vec![owner as u8; len]);
            sink.mark(Some(owner));
        }
    }

    #[test]
    fn a_full_device_keeps_whole_packets_and_names_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("full");
        let mut sink = Sink::open(&path).expect("a file");
        fill(&mut sink, 3, 1000);
        sink.flush(None, |_, fate| assert_eq!(fate, Fate::Written))
            .expect("room");
        // A file that is not open for writing fails as a full device does: without a byte.
        sink.file = File::open(&path).expect("the file");
        fill(&mut sink, 2, 1000);
        let mut lost = Vec::new();
        sink.flush(None, |owner, fate| lost.push((owner, fate)))
            .expect_err("not writable");
        assert_eq!(lost, [(0, Fate::Lost), (1, Fate::Lost)]);
        assert_eq!(std::fs::metadata(&path).expect("the file").len(), 3000);
        fill(&mut sink, 1, 10);
        let mut later = Vec::new();
        sink.flush(None, |_, fate| later.push(fate))
            .expect("nothing is tried any more");
        assert_eq!(later, [Fate::Lost]);
    }

    /// What is written in large pieces goes another way where the file system can; the file is the same.
    #[test]
    fn large_and_small_pieces_follow_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pieces");
        let mut sink = Sink::open(&path).expect("a file");
        let (mut wanted, mut told) = (Vec::new(), 0);
        for len in [
            10,
            UNCACHED + 1,
            100,
            3 * UNCACHED,
            UNCACHED - 1,
            2 * UNCACHED + 7,
        ] {
            let piece: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
            sink.buffer().extend(&piece);
            sink.mark(Some(0));
            sink.flush(None, |_, fate| told += usize::from(fate == Fate::Written))
                .expect("written");
            wanted.extend(piece);
        }
        assert_eq!(told, 6);
        assert_eq!(sink.len(), wanted.len() as u64);
        assert!(std::fs::read(&path).expect("the file") == wanted);
    }

    #[test]
    fn dev_full_is_no_space() {
        let mut sink = Sink::open(Path::new("/dev/full")).expect("a device");
        fill(&mut sink, 1, 10);
        let error = sink.flush(None, |_, _| {}).expect_err("full");
        assert!(matches!(error, SinkError::NoSpace { .. }), "{error:?}");
        assert!(error.to_string().contains("\"/dev/full\""), "{error}");
    }

    #[test]
    fn a_closed_pipe_is_told_apart() {
        let (reader, mut sink) = pipe();
        drop(reader);
        fill(&mut sink, 1, 10);
        let error = sink.flush(None, |_, _| {}).expect_err("closed");
        assert!(error.is_closed_pipe(), "{error:?}");
    }

    #[test]
    fn a_stalled_reader_does_not_keep_us_from_ending() {
        let (mut reader, mut sink) = pipe();
        let (stop, tell): (OwnedFd, OwnedFd) = nix::unistd::pipe().expect("a pipe");
        nix::unistd::write(&tell, b"!").expect("told");
        fill(&mut sink, 100, 4096);
        let mut written = 0;
        let error = sink
            .flush(Some(stop.as_fd()), |_, fate| {
                written += usize::from(fate == Fate::Written);
            })
            .expect_err("stalled");
        assert!(matches!(error, SinkError::Stalled), "{error:?}");
        drop(sink);
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("the rest");
        assert_eq!(
            got.len() / 4096,
            written,
            "what was written is there, and no more"
        );
        assert!((1..100).contains(&written), "{written}");
    }
}
