//! pcapng blocks: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>.
//!
//! All but the packet blocks come from pcap-file. It keeps a packet's options in a vector, which is
//! an allocation for each packet, and knows no packet id; so those blocks are written here.

use std::{borrow::Cow, net::IpAddr, time::Duration};

use pcap_file::{
    DataLink, Endianness,
    pcapng::{
        PcapNgWriter,
        blocks::{
            block_common::PcapNgBlock,
            interface_description::{
                InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
            },
            interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption},
            name_resolution::{Ipv4Record, Ipv6Record, NameResolutionBlock, Record},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

use super::{Checksum, InterfaceInfo, Packet};

const ENHANCED_PACKET: u32 = 6;
const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const EPB_PACKETID: u16 = 5;

/// On a packet that was cut short of what was asked for.
const SHED: &str = "shed: cut short while the buffer was filling up";

/// Bits of `epb_flags`.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
const CHECKSUM_NOT_READY: u32 = 1 << 9;
const CHECKSUM_VALID: u32 = 1 << 10;
const SEGMENTED: u32 = 1 << 11;

/// What a statistics block says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// Start and end of the capture, nanoseconds since 1970.
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    /// Packets seen before the filter, where that is known.
    pub(super) seen: Option<u64>,
    /// Packets that passed it.
    pub(super) received: u64,
    /// Packets that the kernel dropped.
    pub(super) dropped: u64,
    /// Packets in the file.
    pub(super) captured: u64,
}

/// Makes blocks. What is written in between goes through `ready`.
pub(super) struct PcapNg {
    blocks: PcapNgWriter<Vec<u8>>,
    os: String,
}

impl PcapNg {
    /// Starts a section, with blocks in this machine's byte order.
    pub(super) fn new(os: String) -> Result<Self, String> {
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![
                SectionHeaderOption::Hardware(std::env::consts::ARCH.into()),
                SectionHeaderOption::OS(os.as_str().into()),
                SectionHeaderOption::UserApplication(
                    concat!("netns-trace ", env!("CARGO_PKG_VERSION")).into(),
                ),
            ],
            ..SectionHeaderBlock::default()
        };
        let blocks = PcapNgWriter::with_section_header(Vec::new(), section)
            .map_err(|why| why.to_string())?;
        Ok(Self { blocks, os })
    }

    /// The blocks made since the last call, packets excepted.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.blocks.get_mut())
    }

    /// Adds an interface; packets name it by the order of these calls.
    pub(super) fn interface(&mut self, info: &InterfaceInfo) -> Result<(), String> {
        let mut options = vec![
            InterfaceDescriptionOption::IfName(info.name.as_str().into()),
            InterfaceDescriptionOption::IfDescription(info.description.as_str().into()),
            InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
            InterfaceDescriptionOption::IfOs(self.os.clone().into()),
        ];
        if let Some(mac) = &info.mac {
            options.push(InterfaceDescriptionOption::IfMacAddr(mac[..].into()));
        }
        if let Some(filter) = &info.filter {
            // 0: a libpcap filter string follows.
            let mut bytes = vec![0];
            bytes.extend_from_slice(filter.as_bytes());
            options.push(InterfaceDescriptionOption::IfFilter(Cow::Owned(bytes)));
        }
        self.block(InterfaceDescriptionBlock {
            linktype: DataLink::from(u32::from(info.link_type.number())),
            snaplen: info.snaplen,
            options,
        })
    }

    /// Adds names of addresses.
    pub(super) fn names(&mut self, names: &[(IpAddr, String)]) -> Result<(), String> {
        let record = |(address, name): &(IpAddr, String)| {
            let names = vec![Cow::Owned(name.clone())];
            match address {
                IpAddr::V4(address) => Record::Ipv4(Ipv4Record {
                    ip_addr: *address,
                    names,
                }),
                IpAddr::V6(address) => Record::Ipv6(Ipv6Record {
                    ip_addr: *address,
                    names,
                }),
            }
        };
        self.block(NameResolutionBlock {
            records: names.iter().map(record).collect(),
            options: Vec::new(),
        })
    }

    /// Adds an interface's statistics.
    pub(super) fn statistics(
        &mut self,
        interface: u32,
        statistics: &Statistics,
    ) -> Result<(), String> {
        let mut options = vec![
            InterfaceStatisticsOption::IsbStartTime(Duration::from_nanos(statistics.start_ns)),
            InterfaceStatisticsOption::IsbEndTime(Duration::from_nanos(statistics.end_ns)),
        ];
        options.extend(statistics.seen.map(InterfaceStatisticsOption::IsbIfRecv));
        options.extend([
            InterfaceStatisticsOption::IsbFilterAccept(statistics.received),
            InterfaceStatisticsOption::IsbOsDrop(statistics.dropped),
            InterfaceStatisticsOption::IsbUsrDeliv(statistics.captured),
        ]);
        self.block(InterfaceStatisticsBlock {
            interface_id: interface,
            timestamp: Duration::from_nanos(statistics.end_ns),
            options,
        })
    }

    /// pcap-file keeps its error type to itself.
    fn block<'a>(&mut self, block: impl PcapNgBlock<'a>) -> Result<(), String> {
        self.blocks
            .write_pcapng_block(block)
            .map(|_| ())
            .map_err(|why| why.to_string())
    }
}

/// Appends a packet's block.
pub(crate) fn packet(to: &mut Vec<u8>, packet: &Packet<'_>, comment: Option<&str>) {
    let start = to.len();
    let captured = packet.data.len();
    let words = [
        ENHANCED_PACKET,
        0, // the block's length, known at its end
        packet.interface,
        (packet.time_ns >> 32) as u32,
        packet.time_ns as u32,
        captured as u32,
        packet.original_len,
    ];
    for word in words {
        to.extend_from_slice(&word.to_ne_bytes());
    }
    to.extend_from_slice(packet.data);
    pad(to, captured);
    if let Some(comment) = comment {
        option(to, OPT_COMMENT, comment.as_bytes());
    }
    if packet.shed {
        option(to, OPT_COMMENT, SHED.as_bytes());
    }
    if let Some(process) = packet.process {
        let text = format!("process: {}, pid {}", process.command, process.pid);
        option(to, OPT_COMMENT, text.as_bytes());
    }
    option(to, EPB_FLAGS, &flags(packet).to_ne_bytes());
    if packet.drops > 0 {
        option(to, EPB_DROPCOUNT, &u64::from(packet.drops).to_ne_bytes());
    }
    if packet.id != 0 {
        option(to, EPB_PACKETID, &packet.id.to_ne_bytes());
    }
    option(to, OPT_END, &[]);
    let len = (to.len() - start + 4) as u32;
    to.extend_from_slice(&len.to_ne_bytes());
    to[start + 4..start + 8].copy_from_slice(&len.to_ne_bytes());
}

fn flags(packet: &Packet<'_>) -> u32 {
    let mut flags = if packet.egress { OUTBOUND } else { INBOUND };
    flags |= match packet.checksum {
        Checksum::Unknown => 0,
        Checksum::NotReady => CHECKSUM_NOT_READY,
        Checksum::Valid => CHECKSUM_VALID,
    };
    if packet.segmented {
        flags |= SEGMENTED;
    }
    flags
}

fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    to.extend_from_slice(&code.to_ne_bytes());
    to.extend_from_slice(&(value.len() as u16).to_ne_bytes());
    to.extend_from_slice(value);
    pad(to, value.len());
}

/// Fills up to a multiple of four bytes.
fn pad(to: &mut Vec<u8>, len: usize) {
    to.extend_from_slice(&[0; 3][..len.next_multiple_of(4) - len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_its_length_at_both_ends_and_whole_words() {
        for len in 0..9 {
            let data = vec![7; len];
            let mut to = vec![0xee; 4];
            let sample = Packet {
                interface: 1,
                egress: true,
                time_ns: 0x0102_0304_0506_0708,
                original_len: 100,
                data: &data,
                checksum: Checksum::NotReady,
                segmented: true,
                shed: true,
                drops: 3,
                id: 9,
                process: None,
            };
            packet(&mut to, &sample, Some("set"));
            let block = &to[4..];
            let word = |at: usize| u32::from_ne_bytes(block[at..at + 4].try_into().expect("4"));
            assert_eq!(block.len() % 4, 0);
            assert_eq!(word(4) as usize, block.len());
            assert_eq!(word(block.len() - 4) as usize, block.len());
            assert_eq!(
                (word(12), word(16)),
                (0x0102_0304, 0x0506_0708),
                "high word first"
            );
            assert_eq!((word(20), word(24)), (len as u32, 100));
        }
    }
}
