//! The sockets of a namespace, from the tables in /proc/net, which every kernel has without a
//! module: TCP, UDP, raw and packet sockets. Reads only; whose they are is found in `processes`.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::Serialize;

use super::processes::Holder;

/// How many are kept.
const MOST: usize = 100_000;

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Socket {
    /// `tcp`, `udp`, `udplite`, `raw`, `icmp`, `packet`.
    pub protocol: &'static str,
    /// 4 or 6; none of a packet socket.
    pub family: Option<u8>,
    /// As `ss` writes it: `LISTEN`, `ESTAB`, `UNCONN` and so on.
    pub state: &'static str,
    /// Its own address; none of a packet socket.
    pub local: Option<Endpoint>,
    /// The other end's, once it is connected.
    pub remote: Option<Endpoint>,
    /// The device that a packet socket listens on. Not safe to print.
    pub device: Option<String>,
    /// Bytes that its process has not read; of a listening TCP socket, connections that wait to be
    /// accepted; of a packet socket, memory taken.
    pub receive_queue: u64,
    /// Bytes that are not acknowledged, or not sent.
    pub send_queue: u64,
    /// The user who opened it, as this machine numbers users.
    pub uid: u32,
    /// Its inode; 0 when no process has it any more, as in TIME-WAIT.
    pub inode: u64,
    /// Processes that have it open.
    pub processes: Vec<Holder>,
}

impl Socket {
    /// Whether it takes what comes from anywhere, as those do that `ss -l` lists.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        matches!(self.state, "LISTEN" | "UNCONN")
    }
}

/// Address and port; of a raw socket, the protocol's number in the port's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// `0.0.0.0:80`, `[::]:80`; `*` for port 0.
impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:")?,
            IpAddr::V6(address) => write!(f, "[{address}]:")?,
        }
        match self.port {
            0 => f.write_str("*"),
            port => write!(f, "{port}"),
        }
    }
}

/// The sockets of the calling thread's namespace, listening ones first, and sentences about those
/// that could not be had.
pub(super) fn sockets_here(names: &dyn Fn(u32) -> String) -> (Vec<Socket>, Vec<String>) {
    const TABLES: [(&str, &str, u8); 10] = [
        ("tcp", "tcp", 4),
        ("tcp6", "tcp", 6),
        ("udp", "udp", 4),
        ("udp6", "udp", 6),
        ("udplite", "udplite", 4),
        ("udplite6", "udplite", 6),
        ("icmp", "icmp", 4),
        ("icmp6", "icmp", 6),
        ("raw", "raw", 4),
        ("raw6", "raw", 6),
    ];
    let mut sockets = Vec::new();
    let mut missing = Vec::new();
    let mut left_out = 0;
    let mut keep = |socket: Option<Socket>| {
        if sockets.len() < MOST {
            sockets.extend(socket);
        } else {
            left_out += usize::from(socket.is_some());
        }
    };
    for (table, protocol, family) in TABLES {
        let read = each_line(table, |line| keep(read_inet(line, protocol, family)));
        missing.extend(told(table, read));
    }
    let read = each_line("packet", |line| keep(read_packet(line, names)));
    missing.extend(told("packet", read));
    if left_out > 0 {
        missing.push(format!("{left_out} more sockets are there than are listed"));
    }
    sockets.sort_by_key(|socket| (!socket.is_listening(), socket.protocol, socket.local));
    (sockets, missing)
}

/// A table that is not there belongs to a protocol that this kernel does not have.
fn told(table: &str, read: io::Result<()>) -> Option<String> {
    match read {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Some(format!(
            "sockets are missing: cannot read /proc/net/{table}: {why}"
        )),
        _ => None,
    }
}

/// Each line of a table in /proc/net but its head, in the calling thread's namespace.
fn each_line(table: &str, mut take: impl FnMut(&str)) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(format!("/proc/thread-self/net/{table}"))?);
    let mut line = String::new();
    let mut head = true;
    while reader.read_line(&mut line)? > 0 {
        if !std::mem::take(&mut head) {
            take(&line);
        }
        line.clear();
    }
    Ok(())
}

/// A line of /proc/net/tcp and its like; net/ipv4/tcp_ipv4.c, get_tcp4_sock() (v6.12).
pub(crate) fn read_inet(line: &str, protocol: &'static str, family: u8) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = endpoint(fields.next()?)?;
    let remote = endpoint(fields.next()?)?;
    let state = state(
        u8::from_str_radix(fields.next()?, 16).ok()?,
        protocol == "tcp",
    );
    let (sent, received) = fields.next()?.split_once(':')?;
    let uid = fields.nth(2)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let queue = |hex| u64::from_str_radix(hex, 16).ok();
    Some(Socket {
        protocol,
        family: Some(family),
        state,
        local: Some(local),
        remote: Some(remote).filter(|far| far.port != 0 || !far.address.is_unspecified()),
        device: None,
        receive_queue: queue(received)?,
        send_queue: queue(sent)?,
        uid,
        inode,
        processes: Vec::new(),
    })
}

/// `0100007F:1F90`: words of 32 bits in the machine's order, whose bytes are in the network's.
fn endpoint(text: &str) -> Option<Endpoint> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let hex = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Endpoint { address, port })
}

/// TCP_*; include/net/tcp_states.h. Other protocols have two of them.
fn state(number: u8, tcp: bool) -> &'static str {
    match number {
        0x01 => "ESTAB",
        0x02 => "SYN-SENT",
        0x03 => "SYN-RECV",
        0x04 => "FIN-WAIT-1",
        0x05 => "FIN-WAIT-2",
        0x06 => "TIME-WAIT",
        0x07 if tcp => "CLOSED",
        0x07 => "UNCONN",
        0x08 => "CLOSE-WAIT",
        0x09 => "LAST-ACK",
        0x0a => "LISTEN",
        0x0b => "CLOSING",
        0x0c => "NEW-SYN-RECV",
        _ => "UNKNOWN",
    }
}

/// A line of /proc/net/packet; net/packet/af_packet.c, packet_seq_show() (v6.12).
pub(crate) fn read_packet(line: &str, names: &dyn Fn(u32) -> String) -> Option<Socket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let index: u32 = fields.get(4)?.parse().ok()?;
    Some(Socket {
        protocol: "packet",
        family: None,
        state: "UNCONN",
        local: None,
        remote: None,
        device: Some(if index == 0 {
            "*".to_owned()
        } else {
            names(index)
        }),
        receive_queue: fields.get(6)?.parse().ok()?,
        send_queue: 0,
        uid: fields.get(7)?.parse().ok()?,
        inode: fields.get(8)?.parse().ok()?,
        processes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_tables_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000002 00:00000000 00000000  \
                    1000        0 4711 1 0000000000000000 100 0 0 10 0";
        let socket = read_inet(line, "tcp", 4).expect("a socket");
        assert_eq!(socket.state, "LISTEN");
        assert_eq!(
            socket.local.expect("its address").to_string(),
            "127.0.0.1:8080"
        );
        assert_eq!((socket.remote, socket.receive_queue), (None, 2));
        assert_eq!((socket.uid, socket.inode), (1000, 4711));
        assert!(socket.is_listening());
        let line = "1: B80D0120000000000000000001000000:0016 00000000000000000000000000000000:0000 \
                    07 00000000:00000000 00:00000000 00000000 0 0 12 2";
        let socket = read_inet(line, "udp", 6).expect("a socket");
        assert_eq!(
            socket.local.expect("its address").to_string(),
            "[2001:db8::1]:22"
        );
        assert_eq!(socket.state, "UNCONN");
        let line = "0000000000000000 3      3    0003   7     1 512    0      815";
        let socket = read_packet(line, &|index| format!("if{index}")).expect("a socket");
        assert_eq!((socket.device.as_deref(), socket.inode), (Some("if7"), 815));
    }

    #[test]
    fn odd_lines_are_no_sockets() {
        for line in [
            "",
            "0:",
            "0: x:y z:w 0A 0:0 0 0 0 0 0",
            "0: ÄÄÄÄ:0016 00000000:0000 0A 0:0 0 0 0 0 0",
            "0: 0100007F:1F90 00000000:0000 0A 00000000 00 0 0 0 0",
        ] {
            assert_eq!(read_inet(line, "tcp", 4), None, "{line:?}");
        }
        for line in ["", "0 3 3 0003 x 1 512 0 815", "0 3 3 0003 7 1 512 0"] {
            assert_eq!(read_packet(line, &|_| String::new()), None, "{line:?}");
        }
    }
}
