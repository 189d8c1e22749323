//! As many datagrams as one thread can send, for benchmarks and tests: what a packet more or less
//! costs shows in the rate.

use std::{
    io,
    net::{IpAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use super::traffic::TrafficError;
use crate::netns::NetNs;

/// Datagrams for one system call.
const BATCH: usize = 64;

/// How a flood went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flood {
    /// Payloads sent.
    pub sent: u64,
    /// How long it took.
    pub duration: Duration,
}

impl Flood {
    /// Payloads per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.duration.as_secs_f64().max(1e-9)
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagrams {
    /// Bytes of each call's payload, 8 at least.
    pub size: usize,
    /// Sockets, and so source ports, which take turns by batches.
    pub flows: usize,
    /// The kernel makes datagrams of so many bytes of each payload, as late as it can (UDP GSO); none: one of each.
    pub segment: Option<u16>,
}

/// Sends numbered payloads from `from` to a socket of `to`, which has the address `address` and reads nothing, for so
/// long. The number is in the first eight bytes, most significant first.
///
/// # Errors
/// When a namespace cannot be entered or a socket fails.
pub fn flood(
    from: &NetNs,
    to: &NetNs,
    address: IpAddr,
    what: Datagrams,
    duration: Duration,
) -> Result<Flood, TrafficError> {
    let failed = |operation| move |source| TrafficError::Io { operation, source };
    let open = failed("open a UDP socket");
    let sink = to.run(|| UdpSocket::bind((address, 0)))?.map_err(&open)?;
    let at = sink.local_addr().map_err(&open)?;
    let any: IpAddr = match address {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    let connected = || {
        let source = UdpSocket::bind((any, 0))?;
        source.connect(at)?;
        what.segment.map_or(Ok(()), |size| segment(&source, size))?;
        Ok(source)
    };
    let sources = || (0..what.flows.max(1)).map(|_| connected()).collect();
    let sources: io::Result<Vec<UdpSocket>> = from.run(sources)?;
    let sources = sources.map_err(&open)?;
    let mut payloads = vec![vec![0_u8; what.size.max(8)]; BATCH];
    let (start, mut sent) = (Instant::now(), 0);
    for source in sources.iter().cycle() {
        if start.elapsed() >= duration {
            break;
        }
        for (payload, number) in payloads.iter_mut().zip(sent..) {
            payload[..8].copy_from_slice(&u64::to_be_bytes(number));
        }
        sent += send(source, &mut payloads).map_err(failed("send datagrams"))?;
    }
    Ok(Flood {
        sent,
        duration: start.elapsed(),
    })
}

/// Has the kernel make datagrams of so many bytes of what is sent; udp(7), `UDP_SEGMENT`.
fn segment(socket: &UdpSocket, bytes: u16) -> io::Result<()> {
    let value = libc::c_int::from(bytes);
    // SAFETY: an open socket, and a value with its size.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends all payloads that the socket takes; how many these are.
fn send(socket: &UdpSocket, payloads: &mut [Vec<u8>]) -> io::Result<u64> {
    let mut vectors: Vec<libc::iovec> = payloads
        .iter_mut()
        .map(|payload| libc::iovec {
            iov_base: payload.as_mut_ptr().cast(),
            iov_len: payload.len(),
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: all-zero bytes are a valid `mmsghdr`.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    // SAFETY: the messages, the vectors and the payloads they point to outlive the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as u32,
            0,
        )
    };
    match sent {
        0.. => Ok(sent as u64),
        _ => {
            let why = io::Error::last_os_error();
            // The queue is full, or a signal came: nothing was sent this time.
            match why.raw_os_error() {
                Some(libc::ENOBUFS | libc::EINTR) => Ok(0),
                _ => Err(why),
            }
        }
    }
}
