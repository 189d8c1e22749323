//! A packet as files show it, made from a record of the kernel side.

use std::fmt;

use netns_trace_ebpf::{RecordHeader, record};

use crate::process::Process;

/// How packets of an interface start.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum LinkType {
    /// With an Ethernet header.
    Ethernet,
    /// With the IP header.
    Raw,
}

/// A device type whose packets cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "devices of type {0} (ARPHRD_* in linux/if_arp.h) cannot be captured: only Ethernet-like ones and those without a link-layer header"
)]
pub struct UnknownLinkType(pub u16);

impl LinkType {
    /// From a device's type, `ARPHRD_*` in
    /// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/if_arp.h>.
    ///
    /// # Errors
    ///
    /// A type with a link-layer header that we do not know.
    pub const fn from_arp_type(arp_type: u16) -> Result<Self, UnknownLinkType> {
        match arp_type {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Ok(Self::Ethernet),
            // PPP, RAWIP, TUNNEL, TUNNEL6, SIT, NONE: packets start with the IP header.
            512 | 519 | 768 | 769 | 776 | 0xfffe => Ok(Self::Raw),
            other => Err(UnknownLinkType(other)),
        }
    }

    /// The LINKTYPE number, <https://www.tcpdump.org/linktypes.html>.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::Raw => 101,
        }
    }
}

/// As tcpdump names it.
impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ethernet => "EN10MB (Ethernet)",
            Self::Raw => "RAW (Raw IP)",
        })
    }
}

/// An interface, as its block in the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// `eth0@web`.
    pub name: String,
    /// Namespace, peer, and what else is known.
    pub description: String,
    /// How its packets start.
    pub link_type: LinkType,
    /// Most bytes of a packet.
    pub snaplen: u32,
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
    /// The filter that its packets passed.
    pub filter: Option<String>,
}

/// What is known of the packet's checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing.
    #[default]
    Unknown,
    /// A device is yet to fill it in: what is in the packet is not it.
    NotReady,
    /// A device has verified it.
    Valid,
}

/// A packet as it goes into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its interface in the file.
    pub interface: u32,
    /// The interface sent it; otherwise it received it.
    pub egress: bool,
    /// Nanoseconds since 1970, UTC.
    pub time_ns: u64,
    /// Its length on the interface, in bytes.
    pub original_len: u32,
    /// The bytes that were kept.
    pub data: &'a [u8],
    /// State of its checksums.
    pub checksum: Checksum,
    /// It stands for several packets on the wire.
    pub segmented: bool,
    /// Its body was left out to make room for the headers of others.
    pub shed: bool,
    /// Packets of this interface lost since the one before.
    pub drops: u32,
    /// The same number on every sighting of one packet; 0 where unknown.
    pub id: u64,
    /// Whose socket sent it, or is to get it, where that is known.
    pub process: Option<&'a Process>,
}

/// Bytes of an 802.1Q tag.
const TAG: usize = 4;
/// Bytes of the two addresses that a tag stands behind.
const ADDRESSES: usize = 12;

/// Makes packets of records. Keeps a buffer for those whose tag must be put back.
#[derive(Debug, Default)]
pub struct PacketBuilder {
    tagged: Vec<u8>,
}

impl PacketBuilder {
    /// The packet of a record. A tag that the kernel keeps beside the packet is put back behind the
    /// addresses, as libpcap does: both lengths grow by it, and the snapshot length includes it.
    pub fn build<'a>(
        &'a mut self,
        header: &RecordHeader,
        data: &'a [u8],
        interface: u32,
        link_type: LinkType,
        snaplen: u32,
        time_ns: u64,
    ) -> Packet<'a> {
        let is = |flag| header.flags & flag != 0;
        let mut original_len = header.len;
        let mut data = data;
        if is(record::VLAN) && link_type == LinkType::Ethernet && data.len() >= ADDRESSES {
            let (addresses, rest) = data.split_at(ADDRESSES);
            self.tagged.clear();
            self.tagged.extend_from_slice(addresses);
            self.tagged
                .extend_from_slice(&header.vlan_proto.to_be_bytes());
            self.tagged
                .extend_from_slice(&header.vlan_tci.to_be_bytes());
            self.tagged.extend_from_slice(rest);
            original_len = original_len.saturating_add(TAG as u32);
            data = &self.tagged;
        }
        data = &data[..data.len().min(snaplen as usize)];
        Packet {
            interface,
            egress: is(record::EGRESS),
            time_ns,
            original_len,
            data,
            checksum: if is(record::CHECKSUM_NOT_READY) {
                Checksum::NotReady
            } else if is(record::CHECKSUM_VALID) {
                Checksum::Valid
            } else {
                Checksum::Unknown
            },
            segmented: is(record::SEGMENTED),
            shed: is(record::SHED),
            drops: header.drops,
            id: header.packet_id,
            process: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(flags: u16, data: &[u8], snaplen: u32) -> (u32, Vec<u8>) {
        let header = RecordHeader {
            len: 100,
            flags,
            vlan_tci: 0x6064,
            vlan_proto: 0x8100,
            ..RecordHeader::default()
        };
        let mut builder = PacketBuilder::default();
        let packet = builder.build(&header, data, 0, LinkType::Ethernet, snaplen, 0);
        (packet.original_len, packet.data.to_vec())
    }

    #[test]
    fn a_tag_goes_behind_the_addresses() {
        let data: Vec<u8> = (0..20).collect();
        let (len, tagged) = build(record::VLAN, &data, 1000);
        assert_eq!(len, 104);
        assert_eq!(tagged[..12], data[..12]);
        assert_eq!(tagged[12..16], [0x81, 0, 0x60, 0x64]);
        assert_eq!(tagged[16..], data[12..]);
    }

    #[test]
    fn the_snapshot_length_includes_the_tag() {
        let data: Vec<u8> = (0..20).collect();
        assert_eq!(build(record::VLAN, &data, 20).1.len(), 20);
        assert_eq!(build(0, &data, 20), (100, data));
    }

    #[test]
    fn a_packet_too_short_for_a_tag_stays_as_it_is() {
        assert_eq!(build(record::VLAN, &[1; 11], 100), (100, vec![1; 11]));
    }

    #[test]
    fn device_types() {
        assert_eq!(LinkType::from_arp_type(1), Ok(LinkType::Ethernet));
        assert_eq!(LinkType::from_arp_type(772), Ok(LinkType::Ethernet));
        assert_eq!(LinkType::from_arp_type(0xfffe), Ok(LinkType::Raw));
        assert_eq!(LinkType::from_arp_type(801), Err(UnknownLinkType(801)));
    }
}
