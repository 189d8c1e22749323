//! Packets of a capture file, read by a foreign reader, and how two sets of them compare.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::patience::slowed;

/// A packet, as tcpdump reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    /// Length on the interface.
    pub len: u32,
    /// The bytes that were kept.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head: String = self
            .data
            .iter()
            .take(64)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        write!(
            f,
            "{} ns, {} of {} bytes: {head}",
            self.time_ns,
            self.data.len(),
            self.len
        )
    }
}

/// Reads a pcap or pcapng file with tcpdump, which must find nothing to complain about.
///
/// # Panics
///
/// If tcpdump does not read it to its end without a warning.
#[must_use]
pub fn read(path: &Path) -> Vec<Packet> {
    let output = Command::new("tcpdump")
        .args(["--time-stamp-precision=nano", "-w", "-", "-r"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("tcpdump runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let complaint = said
        .lines()
        .find(|line| !line.starts_with("reading from file"));
    assert!(
        output.status.success() && complaint.is_none(),
        "tcpdump -r {}: {} {said}",
        path.display(),
        output.status
    );
    parse(&output.stdout)
}

/// Packets of a nanosecond pcap file in this machine's byte order.
///
/// # Panics
///
/// If it is anything else.
#[must_use]
pub fn parse(file: &[u8]) -> Vec<Packet> {
    let word = |at: usize| u32::from_ne_bytes(file[at..at + 4].try_into().expect("4 bytes"));
    if file.is_empty() {
        return Vec::new();
    }
    assert_eq!(word(0), 0xa1b2_3c4d, "the magic of a nanosecond pcap file");
    let mut packets = Vec::new();
    let mut at = 24;
    // A file that is still written may end in the middle of a packet.
    while at + 16 <= file.len() && at + 16 + word(at + 8) as usize <= file.len() {
        let captured = word(at + 8) as usize;
        packets.push(Packet {
            time_ns: u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4)),
            len: word(at + 12),
            data: file[at + 16..at + 16 + captured].to_vec(),
        });
        at += 16 + captured;
    }
    packets
}

/// Reads a file that a tcpdump of ours wrote.
///
/// # Panics
///
/// If it cannot be read.
#[must_use]
pub fn read_own_pcap(path: &Path) -> Vec<Packet> {
    parse(&fs::read(path).expect("a pcap file"))
}

/// Asserts that two captures of one interface and direction hold the same packets: bytes,
/// lengths, order, and times within a millisecond. One packet in fifty may be further apart: between
/// our hook and tcpdump's the kernel may let another program run, which a busy machine shows.
///
/// # Panics
///
/// With the first difference, both sides shown.
pub fn assert_same(ours: &[Packet], theirs: &[Packet], what: &str) {
    let near = slowed(Duration::from_millis(1)).as_nanos() as u64;
    let mut interrupted = 0;
    for (n, (our, their)) in ours.iter().zip(theirs).enumerate() {
        assert!(
            our.len == their.len && our.data == their.data,
            "{what}: packet {n} differs\n ours:   {our:?}\n theirs: {their:?}"
        );
        let apart = our.time_ns.abs_diff(their.time_ns);
        interrupted += usize::from(apart >= near);
        assert!(
            interrupted <= ours.len() / 50 + 1 && apart < 1_000_000_000,
            "{what}: packet {n} is {apart} ns apart, {interrupted} over {near} ns\n \
             ours:   {our:?}\n theirs: {their:?}"
        );
    }
    let longer = if ours.len() > theirs.len() {
        ours
    } else {
        theirs
    };
    assert_eq!(
        ours.len(),
        theirs.len(),
        "{what}: the first packet that one side lacks: {:?}",
        longer.get(ours.len().min(theirs.len()))
    );
}

/// The packets between two marker frames of [`crate::raw::frame`], which everybody has seen, so
/// that what stirs while captures start and stop does not count. None while the second marker is
/// missing.
#[must_use]
pub fn between(packets: &[Packet], from: u32, to: u32) -> Option<Vec<Packet>> {
    let marker = |number: u32| {
        let wanted = crate::raw::frame(None, number, 60);
        packets.iter().position(|packet| packet.data == wanted)
    };
    Some(packets.get(marker(from)? + 1..marker(to)?)?.to_vec())
}

/// Those that are ICMP over IPv4.
#[must_use]
pub fn icmp(packets: Vec<Packet>) -> Vec<Packet> {
    let is_it = |packet: &Packet| {
        packet.data.get(12..14) == Some(&[8, 0]) && packet.data.get(23) == Some(&1)
    };
    packets.into_iter().filter(is_it).collect()
}
