//! Packets of a file of several taps: which tap saw which packet, by foreign readers. tshark tells
//! what pcapng keeps beside the bytes, tcpdump the bytes themselves.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
};

use crate::packets::{self, Packet};

/// One packet at one tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its tap's interface, as the file names it: `eth0@web`.
    pub interface: String,
    /// `epb_packetid`.
    pub id: Option<u64>,
    /// The interface sent it; otherwise it received it. From `epb_flags`.
    pub egress: bool,
    /// The packet.
    pub packet: Packet,
}

/// Reads a pcapng file, which neither tshark nor tcpdump may find fault with.
///
/// # Panics
///
/// If one does, if they do not agree, or if a packet has no direction.
#[must_use]
pub fn read(path: &Path) -> Vec<Sighting> {
    let fields = [
        "frame.interface_name",
        "frame.packet_id",
        "frame.packet_flags_direction",
        "frame.len",
    ];
    let output = Command::new("tshark")
        .args(["-n", "-T", "fields"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .arg("-r")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("tshark runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let packets = packets::read(path);
    assert_eq!(
        text.lines().count(),
        packets.len(),
        "packets that tshark and tcpdump find"
    );
    let sighting = |(line, packet): (&str, Packet)| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [interface, id, direction, len] = fields[..] else {
            panic!("four fields, not {line:?}");
        };
        assert_eq!(len, packet.len.to_string(), "{line}");
        let direction = u32::from_str_radix(direction.trim_start_matches("0x"), 16);
        let egress = match direction {
            Ok(1) => false,
            Ok(2) => true,
            _ => panic!("a packet without a direction: {line}"),
        };
        Sighting {
            interface: interface.to_owned(),
            id: id.parse().ok(),
            egress,
            packet,
        }
    };
    text.lines().zip(packets).map(sighting).collect()
}

/// The packets of one tap and direction, in the file's order.
#[must_use]
pub fn of(sightings: &[Sighting], interface: &str, egress: bool) -> Vec<Packet> {
    sightings
        .iter()
        .filter(|seen| seen.interface == interface && seen.egress == egress)
        .map(|seen| seen.packet.clone())
        .collect()
}

/// Asserts that ids and packets belong together one to one, where `key` tells what packet a
/// sighting is of by its content, independently of the id; none for packets that the test did not
/// number. Returns how often each packet was seen.
///
/// # Panics
///
/// With both sides, if two packets share an id, one has two, or one has none.
pub fn assert_ids<K: Eq + Hash + Clone + Debug>(
    sightings: &[Sighting],
    key: impl Fn(&Sighting) -> Option<K>,
) -> HashMap<K, usize> {
    let mut by_id: HashMap<u64, (K, &Sighting)> = HashMap::new();
    let mut by_key: HashMap<K, (u64, &Sighting)> = HashMap::new();
    let mut seen: HashMap<K, usize> = HashMap::new();
    for sighting in sightings {
        let Some(what) = key(sighting) else { continue };
        let id = sighting.id.unwrap_or_else(|| panic!("no id: {sighting:?}"));
        let (first, other) = by_id.entry(id).or_insert((what.clone(), sighting));
        assert!(
            *first == what,
            "two packets share the id {id}:\n {first:?} {other:?}\n {what:?} {sighting:?}"
        );
        let (first, other) = by_key.entry(what.clone()).or_insert((id, sighting));
        assert!(
            *first == id,
            "{what:?} has two ids:\n {first} {other:?}\n {id} {sighting:?}"
        );
        *seen.entry(what).or_default() += 1;
    }
    seen
}

/// An IPv4 packet of UDP or TCP, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// From where.
    pub from: (Ipv4Addr, u16),
    /// Where to.
    pub to: (Ipv4Addr, u16),
    /// 6 or 17.
    pub protocol: u8,
    /// What tells it from all others of its flow, and what no router changes: identification and
    /// length of IPv4, then for TCP sequence, acknowledgement and flags, for UDP the payload.
    pub content: Vec<u8>,
}

/// Takes an Ethernet frame apart; none for what is no unfragmented IPv4 packet of UDP or TCP.
#[must_use]
pub fn flow(frame: &[u8]) -> Option<Flow> {
    let ip = frame.get(14..)?;
    if frame[12..14] != [8, 0] || *ip.first()? != 0x45 || ip.len() < 28 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    let port = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
    let mut content = ip[2..6].to_vec();
    match ip[9] {
        // Not the checksum, which translation changes.
        6 => content.extend(ip.get(24..34)?),
        17 => content.extend(&ip[28..]),
        _ => return None,
    }
    Some(Flow {
        from: (address(12), port(20)),
        to: (address(16), port(22)),
        protocol: ip[9],
        content,
    })
}
