//! Round trips of an ICMP echo, timed in user space around send and receive. The kernel answers, on
//! loopback as at a gateway: nothing has to run at the other end. Knows nothing of namespaces: a
//! socket belongs to the one in which it was opened.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect,
            recv, send, setsockopt, socket,
            sockopt::{ReceiveTimeout, SendTimeout},
        },
        time::{TimeVal, TimeValLike as _},
    },
};

/// An echo with its ICMP header, as long as ping's: 64 bytes.
pub(super) const ECHO_BYTES: usize = 64;
/// How long a reply may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

// include/uapi/linux/icmp.h, icmpv6.h; linux/in.h.
const SOL_RAW: libc::c_int = 255;
const ICMP_FILTER: libc::c_int = 1;
const ICMP6_FILTER: libc::c_int = 1;

/// How echoes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By the kernel's own ping sockets, where `net.ipv4.ping_group_range` lets us.
    Datagram,
    /// By raw sockets that let nothing through but replies to them: needs `CAP_NET_RAW`.
    Raw,
}

impl Kind {
    /// Its name in reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Datagram => "datagram",
            Self::Raw => "raw",
        }
    }
}

/// Which type of message asks, and which replies.
struct Types {
    request: u8,
    reply: u8,
}

const V4: Types = Types {
    request: 8,
    reply: 0,
};
const V6: Types = Types {
    request: 128,
    reply: 129,
};

/// A socket that sends echoes to one address.
pub(super) struct EchoSocket {
    socket: OwnedFd,
    kind: Kind,
    v6: bool,
    id: u16,
    sequence: u16,
    refused: Option<Errno>,
}

impl EchoSocket {
    /// A socket in the calling thread's namespace, for addresses of one family.
    ///
    /// # Errors
    ///
    /// `EACCES` where the group may not use ping sockets, `EPERM` without `CAP_NET_RAW`, and what
    /// else the kernel says.
    pub(super) fn open(kind: Kind, v6: bool) -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let (family, protocol) = if v6 {
            (AddressFamily::Inet6, SockProtocol::IcmpV6)
        } else {
            (AddressFamily::Inet, SockProtocol::Icmp)
        };
        let sort = match kind {
            Kind::Datagram => SockType::Datagram,
            Kind::Raw => SockType::Raw,
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let this = Self {
            socket: socket(family, sort, SockFlag::SOCK_CLOEXEC, protocol)?,
            kind,
            v6,
            id: (std::process::id() as u16) ^ number.rotate_right(6),
            sequence: 0,
            refused: None,
        };
        if kind == Kind::Raw {
            this.filter()?;
        }
        let patience = TimeVal::milliseconds(PATIENCE.as_millis() as i64);
        setsockopt(&this.socket, ReceiveTimeout, &patience)?;
        setsockopt(&this.socket, SendTimeout, &patience)?;
        Ok(this)
    }

    /// Sets the address; `scope` is the device of a link-local one.
    ///
    /// # Errors
    ///
    /// No route leads there, or the kernel refuses the address.
    pub(super) fn connect(&mut self, to: IpAddr, scope: u32) -> io::Result<()> {
        let address = match to {
            IpAddr::V4(_) => SocketAddr::new(to, 0).into(),
            IpAddr::V6(to) => SockaddrStorage::from(SocketAddrV6::new(to, 0, 0, scope)),
        };
        Ok(connect(self.socket.as_raw_fd(), &address)?)
    }

    /// One round trip, in nanoseconds; nothing when no reply came in time or the echo could not be
    /// sent: [`EchoSocket::refused`] tells whether the kernel said why.
    pub(super) fn trip(&mut self) -> Option<u64> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = self.request();
        let fd = self.socket.as_raw_fd();
        let mut buffer = [0_u8; 256];
        let start = Instant::now();
        if let Err(why) = send(fd, &request, MsgFlags::empty()) {
            self.refused = Some(why);
            return None;
        }
        loop {
            let received = recv(fd, &mut buffer, MsgFlags::empty());
            let took = start.elapsed();
            match received {
                Ok(length) if self.is_reply(&buffer[..length.min(buffer.len())]) => {
                    return Some(took.as_nanos() as u64);
                }
                Ok(_) | Err(Errno::EINTR) if took < PATIENCE => {}
                Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => return None,
                Err(why) => {
                    self.refused = Some(why);
                    return None;
                }
            }
        }
    }

    /// What the kernel said when it last refused to send or receive.
    pub(super) fn refused(&self) -> Option<Errno> {
        self.refused
    }

    fn types(&self) -> &'static Types {
        if self.v6 { &V6 } else { &V4 }
    }

    fn request(&self) -> [u8; ECHO_BYTES] {
        let mut message = [0_u8; ECHO_BYTES];
        message[0] = self.types().request;
        message[4..6].copy_from_slice(&self.id.to_be_bytes());
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        // The kernel fills it in elsewhere.
        if !self.v6 && self.kind == Kind::Raw {
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// Whether a message replies to the request that was sent last. A ping socket has an id of the
    /// kernel's, which hands it no other replies.
    fn is_reply(&self, packet: &[u8]) -> bool {
        let header = match (packet.first(), self.kind, self.v6) {
            (Some(first), Kind::Raw, false) => usize::from(first & 15) * 4,
            _ => 0,
        };
        let Some(message) = packet.get(header..).filter(|message| message.len() >= 8) else {
            return false;
        };
        let own = self.kind == Kind::Datagram || message[4..6] == self.id.to_be_bytes();
        message[0] == self.types().reply && own && message[6..8] == self.sequence.to_be_bytes()
    }

    /// Lets only replies with our id through: other sockets' pings in the namespace would wake us,
    /// and on loopback our own requests would.
    fn filter(&self) -> io::Result<()> {
        if self.v6 {
            let mut blocked = [u32::MAX; 8];
            blocked[usize::from(V6.reply / 32)] &= !(1 << (V6.reply % 32));
            self.set(libc::IPPROTO_ICMPV6, ICMP6_FILTER, &blocked)?;
        } else {
            self.set(SOL_RAW, ICMP_FILTER, &!(1_u32 << V4.reply))?;
        }
        let mut program = id_filter(self.v6, self.id);
        let attached = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &attached)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: an open socket, and a live value with its size, which the kernel copies.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        Errno::result(result)?;
        Ok(())
    }
}

/// Takes messages with one id. A raw socket's packets start at the IPv4 header, but at the ICMPv6
/// header with IPv6.
fn id_filter(v6: bool, id: u16) -> Vec<libc::sock_filter> {
    let op = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let (ldx_msh, ldh_ind, ldh_abs) = (
        libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH,
        libc::BPF_LD | libc::BPF_H | libc::BPF_IND,
        libc::BPF_LD | libc::BPF_H | libc::BPF_ABS,
    );
    let mut program = if v6 {
        vec![op(ldh_abs, 0, 0, 4)]
    } else {
        vec![op(ldx_msh, 0, 0, 0), op(ldh_ind, 0, 0, 4)]
    };
    program.extend([
        op(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            u32::from(id),
        ),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ]);
    program
}

/// The Internet checksum, RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(kind: Kind, v6: bool) -> EchoSocket {
        EchoSocket {
            socket: std::fs::File::open("/dev/null").expect("a file").into(),
            kind,
            v6,
            id: 0x1234,
            sequence: 7,
            refused: None,
        }
    }

    fn reply(header: &[u8], kind: u8, id: u16, sequence: u16) -> Vec<u8> {
        let mut packet = header.to_vec();
        packet.extend([kind, 0, 0, 0]);
        packet.extend(id.to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet
    }

    #[test]
    fn a_request_checks_to_nothing() {
        let request = fake(Kind::Raw, false).request();
        assert_eq!(checksum(&request), 0);
        assert_eq!((request[0], &request[4..8]), (8, &[0x12, 0x34, 0, 7][..]));
        assert_eq!(fake(Kind::Raw, true).request()[0], 128);
    }

    #[test]
    fn replies_are_known_by_id_and_sequence() {
        let ip = [[0x46].as_slice(), &[0; 23]].concat();
        let raw = fake(Kind::Raw, false);
        assert!(raw.is_reply(&reply(&ip, 0, 0x1234, 7)));
        for other in [
            reply(&ip, 0, 0x1234, 6),
            reply(&ip, 0, 0x1235, 7),
            reply(&ip, 8, 0x1234, 7),
        ] {
            assert!(!raw.is_reply(&other));
        }
        assert!(fake(Kind::Raw, true).is_reply(&reply(&[], 129, 0x1234, 7)));
        // The kernel gives a ping socket its id.
        let datagram = fake(Kind::Datagram, false);
        assert!(datagram.is_reply(&reply(&[], 0, 0xffff, 7)));
        assert!(!datagram.is_reply(&reply(&[], 0, 0xffff, 8)));
    }

    #[test]
    fn short_packets_are_no_reply() {
        let whole = reply(&[[0x4f].as_slice(), &[0; 59]].concat(), 0, 0x1234, 7);
        for kind in [Kind::Raw, Kind::Datagram] {
            let socket = fake(kind, false);
            (0..whole.len()).for_each(|end| assert!(!socket.is_reply(&whole[..end])));
        }
    }
}
