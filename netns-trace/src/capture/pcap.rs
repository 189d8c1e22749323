//! The classic pcap format, with times in nanoseconds.

use pcap_file::{
    DataLink, Endianness,
    pcap::{PcapHeader, PcapTsResolution, PcapWriteError},
};

use super::{InterfaceInfo, Packet};

/// The file's header, in this machine's byte order.
pub(super) fn header(info: &InterfaceInfo) -> Result<Vec<u8>, PcapWriteError> {
    let mut bytes = Vec::new();
    PcapHeader {
        snaplen: info.snaplen,
        datalink: DataLink::from(u32::from(info.link_type.number())),
        ts_resolution: PcapTsResolution::NanoSecond,
        endianness: Endianness::native(),
        ..PcapHeader::default()
    }
    .write_to(&mut bytes)?;
    Ok(bytes)
}

/// Appends a packet.
pub(crate) fn packet(to: &mut Vec<u8>, packet: &Packet<'_>) {
    let words = [
        (packet.time_ns / 1_000_000_000) as u32,
        (packet.time_ns % 1_000_000_000) as u32,
        packet.data.len() as u32,
        packet.original_len,
    ];
    for word in words {
        to.extend_from_slice(&word.to_ne_bytes());
    }
    to.extend_from_slice(packet.data);
}
