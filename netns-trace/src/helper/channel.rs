//! Messages between two processes of ours, with descriptors: each is its length, and JSON.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    net::Shutdown,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg, setsockopt,
        sockopt::SndBufForce,
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// Most descriptors of one message.
const MAX_FDS: usize = 16;
/// Room for what is not received yet, in bytes.
const ROOM: usize = 4 << 20;
/// The longest message: none of ours is near it.
const MAX_LEN: u32 = 64 << 20;

/// One end. Several threads may send, one receives.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
    /// Held while a message is sent.
    sending: Mutex<()>,
}

impl Channel {
    /// Both ends.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        for end in [&one, &other] {
            // What is told in passing must never wait for the other end, which may be telling something itself.
            if let Err(errno) = setsockopt(end, SndBufForce, &ROOM) {
                log::debug!("a channel has only the usual room: {errno}");
            }
        }
        Ok((Self::new(one), Self::new(other)))
    }

    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            sending: Mutex::new(()),
        }
    }

    /// The same end once more.
    pub(super) fn stream(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// Sends a message, with descriptors that the other end gets copies of.
    ///
    /// # Errors
    ///
    /// The other end is closed.
    pub(crate) fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut whole = vec![0; size_of::<u32>()];
        serde_json::to_writer(&mut whole, message)?;
        let len = whole.len() - size_of::<u32>();
        whole[..size_of::<u32>()].copy_from_slice(&(len as u32).to_ne_bytes());
        let raw: Vec<RawFd> = fds.iter().map(BorrowedFd::as_raw_fd).collect();
        let control: &[ControlMessage<'_>] = match raw.as_slice() {
            [] => &[],
            raw => &[ControlMessage::ScmRights(raw)],
        };
        let _sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let (fd, flags) = (self.stream.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        let sent = sendmsg::<()>(fd, &[IoSlice::new(&whole)], control, flags, None)?;
        (&self.stream).write_all(&whole[sent..])
    }

    /// Waits for the next message; none once the other end is closed.
    ///
    /// # Errors
    ///
    /// The other end was closed amid a message, or it is none of this type.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut head = [0; 4];
        let (len, fds) = self.receive_start(&mut head)?;
        if len == 0 {
            return Ok(None);
        }
        (&self.stream).read_exact(&mut head[len..])?;
        let len = u32::from_ne_bytes(head);
        if len > MAX_LEN {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; len as usize];
        (&self.stream).read_exact(&mut body)?;
        Ok(Some((serde_json::from_slice(&body)?, fds)))
    }

    /// The first bytes of a message, which its descriptors come with.
    fn receive_start(&self, head: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
        let mut parts = [IoSliceMut::new(head)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = loop {
            let fd = self.stream.as_raw_fd();
            match recvmsg::<()>(fd, &mut parts, Some(&mut space), flags) {
                Err(Errno::EINTR) => {}
                received => break received?,
            }
        };
        let mut fds = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just made them for us; nothing else owns them.
                fds.extend(raw.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
            }
        }
        Ok((received.bytes, fds))
    }

    /// Whether something has come: a message, or the other end's end.
    ///
    /// # Errors
    ///
    /// The kernel cannot tell.
    pub(crate) fn has_news(&self) -> io::Result<bool> {
        self.waits_for_news(Duration::ZERO)
    }

    /// The same, after so long at most.
    ///
    /// # Errors
    ///
    /// As [`Channel::has_news`].
    pub(crate) fn waits_for_news(&self, limit: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, limit) {
            Err(Errno::EINTR) => Ok(false),
            polled => Ok(polled? > 0),
        }
    }
}

/// Closes both directions, however many copies of an end there are.
pub(super) fn shut_down(stream: &UnixStream) {
    if let Err(why) = stream.shutdown(Shutdown::Both) {
        log::debug!("a channel to the helper process: {why}");
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, io::Seek as _, thread};

    #[test]
    fn messages_come_whole_and_in_order_with_their_descriptors() {
        let (one, other) = Channel::pair().expect("a pair");
        // More than a socket holds, so that it is sent and received in parts.
        let long = "x".repeat(3 << 20);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = tempfile::tempfile().expect("a file");
                file.write_all(b"inside").expect("written");
                one.send(&"first", &[file.as_fd(), file.as_fd()])
                    .expect("sent");
                one.send(&long, &[file.as_fd()]).expect("sent");
                one.send(&7, &[]).expect("sent");
                shut_down(&one.stream);
            });
            let (text, fds) = other.receive::<String>().expect("received").expect("one");
            assert_eq!((text.as_str(), fds.len()), ("first", 2));
            let mut file = File::from(fds.into_iter().next().expect("a descriptor"));
            file.rewind().expect("the start");
            assert_eq!(io::read_to_string(file).expect("read"), "inside");
            let (text, fds) = other.receive::<String>().expect("received").expect("one");
            assert_eq!((text.len(), fds.len()), (long.len(), 1));
            let (number, fds) = other.receive::<u32>().expect("received").expect("one");
            assert_eq!((number, fds.len()), (7, 0));
            assert!(other.receive::<u32>().expect("an end").is_none());
            assert!(other.has_news().expect("told"), "the end is news");
        });
        assert!(other.send(&1, &[]).is_err());
    }

    #[test]
    fn half_a_message_is_an_error() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let other = Channel::new(other);
        (&one).write_all(&[9, 0, 0, 0, b'1']).expect("sent");
        drop(one);
        assert!(other.receive::<u32>().is_err());
    }
}
