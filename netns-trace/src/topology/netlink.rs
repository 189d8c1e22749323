//! A netlink socket that asks and waits: requests with their acknowledgement, dumps, and the
//! kernel's own words for an error. Opened on a thread that is in the namespace meant, it stays
//! there. Requests are built with netlink-packet-route; answers are read attribute by attribute,
//! since that crate refuses a whole message for one attribute that it does not understand.

use std::{io, net::IpAddr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::TimeVal,
};

/// The kernel refused a request, or the socket failed.
#[derive(Debug, thiserror::Error)]
#[error("{source}{}", .detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default())]
pub struct NetlinkError {
    /// The error code.
    #[source]
    pub source: io::Error,
    /// What the kernel said besides (extended acknowledgement), escaped.
    pub detail: Option<String>,
}

impl NetlinkError {
    /// The kernel's error number.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

impl From<io::Error> for NetlinkError {
    fn from(source: io::Error) -> Self {
        Self {
            source,
            detail: None,
        }
    }
}

/// One answer: its message type, and what follows the netlink header.
pub(crate) struct Answer {
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const HEADER: usize = 16;
/// NLM_F_CAPPED and NLM_F_ACK_TLVS of an NLMSG_ERROR; include/uapi/linux/netlink.h.
const F_CAPPED: u16 = 0x100;
const F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// The kernel fills at most 32 KiB a read; net/netlink/af_netlink.c, netlink_dump().
const BUFFER: usize = 64 * 1024;
/// A dump that changed under the kernel's hands is asked for again, this many times.
const DUMP_ATTEMPTS: usize = 10;
/// The kernel answers at once; this keeps a fault of it, or ours, from waiting for ever.
const PATIENCE: TimeVal = TimeVal::new(10, 0);

impl Netlink {
    /// A socket for links, addresses and routes in the calling thread's namespace.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    /// A socket for another netlink protocol in the calling thread's namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?; // from now on, messages of the kernel alone
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        setsockopt(&socket, ReceiveTimeout, &PATIENCE)?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// Sends a request and waits for its acknowledgement; returns what came before that.
    pub(crate) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<Answer>, NetlinkError> {
        self.send(message, flags | NLM_F_REQUEST | NLM_F_ACK)?;
        Ok(self.answers()?.0)
    }

    /// Asks for a whole table.
    pub(crate) fn dump(
        &mut self,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<Answer>, NetlinkError> {
        let send = |netlink: &mut Self| netlink.send(message.clone(), NLM_F_REQUEST | NLM_F_DUMP);
        Ok(self.dump_by(send, usize::MAX)?.0)
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        message.header.sequence_number = self.next_sequence();
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.send_bytes(&bytes)
    }

    /// The number for the next request: answers to earlier ones are passed over.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends ready-made messages.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes, 0).map(|_| ())
    }

    /// Asks for a whole table of any netlink protocol: `kind` is the request's type, `body` what
    /// follows the netlink header. Of a table with more entries than `limit` the rest is passed
    /// over, and counted in what is returned besides.
    pub(crate) fn dump_table(
        &mut self,
        kind: u16,
        body: &[u8],
        limit: usize,
    ) -> Result<(Vec<Answer>, usize), NetlinkError> {
        let send = |netlink: &mut Self| {
            let mut bytes = Vec::with_capacity(HEADER + body.len());
            bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
            bytes.extend(netlink.next_sequence().to_ne_bytes());
            bytes.extend([0; 4]); // the port: the kernel knows it
            bytes.extend(body);
            netlink.send_bytes(&bytes)
        };
        self.dump_by(send, limit)
    }

    /// Asks for a table by `send`, again while it changes under the kernel's hands.
    fn dump_by(
        &mut self,
        send: impl Fn(&mut Self) -> io::Result<()>,
        limit: usize,
    ) -> Result<(Vec<Answer>, usize), NetlinkError> {
        let mut attempt = 1;
        loop {
            send(self)?;
            let (answers, left_out, whole) = self.answers_up_to(limit)?;
            if whole || attempt == DUMP_ATTEMPTS {
                if !whole {
                    log::warn!("the kernel's tables kept changing while they were read");
                }
                return Ok((answers, left_out));
            }
            attempt += 1;
        }
    }

    /// Reads up to the end of the answer: an acknowledgement, an error, or the end of a dump.
    /// The flag is false when a dump was interrupted by a change.
    pub(crate) fn answers(&mut self) -> Result<(Vec<Answer>, bool), NetlinkError> {
        let (answers, _, whole) = self.answers_up_to(usize::MAX)?;
        Ok((answers, whole))
    }

    /// As [`Netlink::answers`]; what exceeds `limit` is counted and not kept.
    fn answers_up_to(&mut self, limit: usize) -> Result<(Vec<Answer>, usize, bool), NetlinkError> {
        let mut answers = Vec::new();
        let mut left_out = 0;
        let mut whole = true;
        loop {
            self.buffer.clear();
            let length = match self.socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if length > self.buffer.len() {
                return Err(invalid("an answer longer than the buffer").into());
            }
            for message in Messages(&self.buffer) {
                let message = message?;
                if message.sequence != self.sequence {
                    continue;
                }
                whole &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_NOOP => {}
                    NLMSG_ERROR | NLMSG_DONE => {
                        outcome(&message)?;
                        return Ok((answers, left_out, whole));
                    }
                    NLMSG_OVERRUN => return Err(invalid("an overrun").into()),
                    _ if answers.len() >= limit => left_out += 1,
                    kind => answers.push(Answer {
                        kind,
                        body: message.body.to_vec(),
                    }),
                }
            }
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the kernel's netlink answer is odd: {what}"),
    )
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages in one read.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = io::Result<Message<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((message, rest)) = split_message(self.0) else {
            self.0 = &[];
            return Some(Err(invalid("a message that is cut short")));
        };
        self.0 = rest;
        Some(Ok(message))
    }
}

fn split_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = u32_at(bytes, 0)? as usize;
    let message = Message {
        kind: u16_at(bytes, 4)?,
        flags: u16_at(bytes, 6)?,
        sequence: u32_at(bytes, 8)?,
        body: bytes.get(HEADER..length)?,
    };
    Some((
        message,
        bytes.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

/// The code at the start of an NLMSG_ERROR or NLMSG_DONE: nought, or an error number below it.
fn outcome(message: &Message<'_>) -> Result<(), NetlinkError> {
    let code = u32_at(message.body, 0).unwrap_or(0) as i32;
    if code >= 0 {
        return Ok(());
    }
    let skip = match (message.kind, message.flags & F_CAPPED) {
        (NLMSG_DONE, _) => 4,
        (_, 0) => 4 + u32_at(message.body, 4).unwrap_or(0) as usize, // the request, whole
        _ => 4 + HEADER,
    };
    let detail = (message.flags & F_ACK_TLVS != 0)
        .then(|| message.body.get(skip.next_multiple_of(4)..))
        .flatten()
        .and_then(|attributes| attribute(attributes, NLMSGERR_ATTR_MSG))
        .map(text)
        .map(|said| said.escape_debug().to_string());
    Err(NetlinkError {
        source: io::Error::from_raw_os_error(code.saturating_neg()),
        detail,
    })
}

/// The attributes (type without its flags, value) of a message or of a nested attribute. A
/// length that cannot be right ends them.
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u16_at(self.0, 0)? as usize;
        let kind = u16_at(self.0, 2)? & 0x3fff; // NLA_TYPE_MASK
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The first attribute of a type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    Attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(field.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at + 8)?;
    Some(u64::from_ne_bytes(field.try_into().ok()?))
}

/// An attribute as it goes into a message, filled up to a multiple of four bytes.
pub(crate) fn write_attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An address of four or sixteen bytes.
pub(crate) fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(<[u8; 4]>::try_from(value).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(value).ok()?.into()),
        _ => None,
    }
}

/// A string attribute, which ends at its first NUL. Names may hold bytes that are no UTF-8.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_message(code: i32, flags: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(HEADER as u32 + 4 + rest.len() as u32).to_ne_bytes());
        bytes.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&code.to_ne_bytes());
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn the_kernels_own_words_are_told() {
        let mut rest = vec![0; HEADER];
        rest.extend_from_slice(&9_u16.to_ne_bytes());
        rest.extend_from_slice(&NLMSGERR_ATTR_MSG.to_ne_bytes());
        rest.extend_from_slice(b"no\x1b!\0\0\0\0");
        let bytes = error_message(-libc::EEXIST, F_CAPPED | F_ACK_TLVS, &rest);
        let (message, rest) = split_message(&bytes).expect("a message");
        assert!(rest.is_empty());
        let error = outcome(&message).expect_err("an error");
        assert_eq!(error.errno(), Some(libc::EEXIST));
        assert_eq!(error.detail.as_deref(), Some("no\\u{1b}!"));
    }

    #[test]
    fn odd_input_does_no_harm() {
        let whole = error_message(i32::MIN, F_ACK_TLVS, &[0xff; 40]);
        for end in 0..whole.len() {
            for message in Messages(&whole[..end]).flatten() {
                assert!(outcome(&message).is_ok(), "only whole messages are read");
            }
        }
        for message in Messages(&whole).flatten() {
            assert!(outcome(&message).is_err());
        }
        for length in 0..8_u16 {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[1, 0, 7]);
            assert!(Attributes(&bytes).count() <= 1, "{length}");
        }
    }

    #[test]
    fn strings_end_at_their_nul() {
        assert_eq!(text(b"eth0\0junk"), "eth0");
        assert_eq!(text(b"eth0"), "eth0");
        assert_eq!(text(b"\xff\0"), "\u{fffd}");
    }
}
