//! Real traffic between two namespaces, for the demo and for tests: TCP with a checksum at both
//! ends, and numbered UDP datagrams that come back. Sockets are opened inside the namespaces and
//! used from ordinary threads; nothing takes longer than its time limit.

use std::{
    hash::{DefaultHasher, Hasher},
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crate::netns::{NetNs, NetNsError};

/// Traffic that could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrafficError {
    /// A namespace cannot be entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// A socket failed.
    #[error("cannot {operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How a TCP transfer went.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Whether what arrived is what was sent, by length and checksum.
    pub intact: bool,
    /// From the first byte sent to the last received.
    pub duration: Duration,
}

impl Transfer {
    /// Bits per second.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.duration.as_secs_f64().max(1e-9)
    }
}

/// How an exchange of datagrams went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that came back, each number once.
    pub returned: u64,
}

/// Sends `bytes` pseudo-random bytes from `from` to `to`, which has the address `address`.
///
/// # Errors
/// When a namespace cannot be entered, a socket fails, or `limit` passes without progress.
pub fn tcp(
    from: &NetNs,
    to: &NetNs,
    address: IpAddr,
    bytes: u64,
    limit: Duration,
) -> Result<Transfer, TrafficError> {
    let deadline = Instant::now() + limit;
    let listener = to
        .run(|| TcpListener::bind((address, 0)))?
        .map_err(failed("listen for TCP"))?;
    let at = listener.local_addr().map_err(failed("listen for TCP"))?;
    listener
        .set_nonblocking(true)
        .map_err(failed("listen for TCP"))?;
    let sender = from
        .run(|| TcpStream::connect_timeout(&at, limit))?
        .map_err(failed("connect by TCP"))?;
    let receiver = accept(&listener, deadline).map_err(failed("accept a TCP connection"))?;
    let start = Instant::now();
    thread::scope(|scope| {
        let sending = thread::Builder::new()
            .name("lab-sender".into())
            .spawn_scoped(scope, || send_random(sender, bytes, deadline))
            .map_err(failed("start a thread"))?;
        let received = receive(receiver, deadline);
        let sent = match sending.join() {
            Ok(sent) => sent.map_err(failed("send by TCP")),
            Err(cause) => std::panic::resume_unwind(cause),
        };
        let (count, sum) = received.map_err(failed("receive by TCP"))?;
        let sent = sent?; // a sender that gave up looks like the end to the receiver
        Ok(Transfer {
            bytes: count,
            intact: count == bytes && sum == sent,
            duration: start.elapsed(),
        })
    })
}

/// Sends `count` numbered datagrams of `size` bytes (at least 8) from `from` to `to`, which has
/// the address `address` and sends each one back; every datagram waits for its answer, or a
/// second at most.
///
/// # Errors
/// When a namespace cannot be entered or a socket fails; a datagram that does not come back is
/// no error, and at the end of `limit` the rest is not sent.
pub fn udp(
    from: &NetNs,
    to: &NetNs,
    address: IpAddr,
    count: u64,
    size: usize,
    limit: Duration,
) -> Result<Exchange, TrafficError> {
    let deadline = Instant::now() + limit;
    let echo = to
        .run(|| UdpSocket::bind((address, 0)))?
        .map_err(failed("open a UDP socket"))?;
    let at = echo.local_addr().map_err(failed("open a UDP socket"))?;
    let any: IpAddr = if address.is_ipv4() {
        IpAddr::from([0; 4])
    } else {
        IpAddr::from([0; 16])
    };
    let connect = |at: SocketAddr| {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(at)?;
        Ok(socket)
    };
    let socket = from
        .run(|| connect(at))?
        .map_err(failed("open a UDP socket"))?;
    let ask = socket.local_addr().map_err(failed("open a UDP socket"))?;
    thread::scope(|scope| {
        let echoing = thread::Builder::new()
            .name("lab-echo".into())
            .spawn_scoped(scope, || send_back(&echo, ask, deadline))
            .map_err(failed("start a thread"))?;
        let exchanged = exchange(&socket, count, size.max(8), deadline);
        // An empty datagram ends the echo; should it be lost, the time limit does.
        let ended = socket.send(&[]);
        let echoed = match echoing.join() {
            Ok(echoed) => echoed,
            Err(cause) => std::panic::resume_unwind(cause),
        };
        let exchanged = exchanged.map_err(failed("exchange datagrams"))?;
        ended.map_err(failed("send a datagram"))?;
        echoed.map_err(failed("send a datagram back"))?;
        Ok(exchanged)
    })
}

fn failed(operation: &'static str) -> impl Fn(io::Error) -> TrafficError {
    move |source| TrafficError::Io { operation, source }
}

/// What is left of the time, as a socket's timeout, which may not be nought.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left.max(Duration::from_millis(1)))
}

fn accept(listener: &TcpListener, deadline: Instant) -> io::Result<TcpStream> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = left(deadline)?.as_millis().min(1000) as u16;
                let fd = nix::poll::PollFd::new(
                    std::os::fd::AsFd::as_fd(listener),
                    nix::poll::PollFlags::POLLIN,
                );
                match nix::poll::poll(&mut [fd], left) {
                    Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Err(error) if interrupted(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the checksum of what was sent.
fn send_random(mut stream: TcpStream, bytes: u64, deadline: Instant) -> io::Result<u64> {
    let mut block = vec![0_u8; 64 * 1024];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut sum = DefaultHasher::new();
    let mut unsent = bytes;
    while unsent > 0 {
        for word in block.chunks_exact_mut(8) {
            // xorshift64: what is sent only must not repeat or compress.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            word.copy_from_slice(&random.to_ne_bytes());
        }
        let length = unsent.min(block.len() as u64);
        let part = &block[..length as usize];
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(part)?;
        sum.write(part);
        unsent -= length;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(sum.finish())
}

/// Returns how much was received, and its checksum.
fn receive(mut stream: TcpStream, deadline: Instant) -> io::Result<(u64, u64)> {
    let mut block = vec![0_u8; 64 * 1024];
    let mut sum = DefaultHasher::new();
    let mut count = 0;
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut block) {
            Ok(0) => return Ok((count, sum.finish())),
            Ok(length) => {
                sum.write(&block[..length]);
                count += length as u64;
            }
            Err(error) if interrupted(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn send_back(echo: &UdpSocket, ask: SocketAddr, deadline: Instant) -> io::Result<()> {
    let mut datagram = vec![0_u8; 65_536];
    loop {
        let Ok(left) = left(deadline) else {
            return Ok(());
        };
        echo.set_read_timeout(Some(left))?;
        match echo.recv_from(&mut datagram) {
            Ok((_, from)) if from.port() != ask.port() => {}
            Ok((0, _)) => return Ok(()),
            Ok((length, from)) => {
                echo.send_to(&datagram[..length], from)?;
            }
            Err(error) if interrupted(&error) => {}
            Err(error) if timed_out(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn exchange(
    socket: &UdpSocket,
    count: u64,
    size: usize,
    deadline: Instant,
) -> io::Result<Exchange> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let mut datagram = vec![0x5a_u8; size];
    let mut answer = vec![0_u8; 65_536];
    let (mut sent, mut returned) = (0, 0);
    for number in 0..count {
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        let Ok(left) = left(deadline) else {
            break;
        };
        socket.send(&datagram)?;
        sent += 1;
        socket.set_read_timeout(Some(left.min(PATIENCE)))?;
        loop {
            match socket.recv(&mut answer) {
                Ok(length) if answer[..length] == datagram[..] => {
                    returned += 1;
                    break;
                }
                Ok(_) => {} // a late answer
                Err(error) if interrupted(&error) => {}
                Err(error) if timed_out(&error) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(Exchange { sent, returned })
}

fn timed_out(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Whether a wait was cut short: on a socket with a time limit, the kernel does not take it up
/// again by itself, even if the process was only stopped for a moment.
fn interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);
    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    // Entering any namespace takes a right, our own too: these run where it is there.
    fn own() -> Option<NetNs> {
        let ns = NetNs::current().expect("our own namespace");
        let entered = ns.run(|| ());
        if let Err(error) = &entered {
            eprintln!("skipped: {error}");
        }
        entered.is_ok().then_some(ns)
    }

    #[test]
    fn a_transfer_arrives_intact() {
        let Some(ns) = own() else { return };
        for bytes in [0, 1, 65_536, 1_000_001] {
            let transfer = tcp(&ns, &ns, LOOPBACK, bytes, LIMIT).expect("a transfer");
            assert_eq!((transfer.bytes, transfer.intact), (bytes, true));
        }
    }

    #[test]
    fn datagrams_come_back() {
        let Some(ns) = own() else { return };
        let exchange = udp(&ns, &ns, LOOPBACK, 100, 64, LIMIT).expect("an exchange");
        assert_eq!((exchange.sent, exchange.returned), (100, 100));
    }

    #[test]
    fn the_time_limit_ends_it() {
        let Some(ns) = own() else { return };
        let start = Instant::now();
        let short = Duration::from_millis(50);
        let exchange = udp(&ns, &ns, LOOPBACK, u64::MAX, 64, short).expect("an exchange");
        assert!(exchange.sent > 0);
        assert!(tcp(&ns, &ns, LOOPBACK, u64::MAX, short).is_err());
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
