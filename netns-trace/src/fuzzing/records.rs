//! Records of the ring: decoded, held back, made into packets, written to files, and read from those again.

use std::io::Cursor;

use netns_trace_ebpf::{MAX_SNAPLEN, RecordHeader, record};

use super::{
    Bytes, assert_printable,
    packets::{assert_bounded, each},
    piece,
};
use crate::{
    capture::{
        InterfaceInfo, LinkType, Packet, PacketBuilder, TextOptions, TextPrinter, encode,
        input::{Input, Item},
    },
    process::PacketFlow,
    session::Hold,
};

/// How packets are made, and records. Each is refused, or becomes a packet that is within its record; and what is
/// written of all is what a reader finds.
pub fn records(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let flags = bytes.byte();
    let link_type = match flags & 1 {
        0 => LinkType::Ethernet,
        _ => LinkType::Raw,
    };
    let snaplen = match flags >> 1 & 1 {
        0 => MAX_SNAPLEN,
        _ => 60,
    };
    let mut taken: Vec<(RecordHeader, Vec<u8>)> = Vec::new();
    let mut hold = Hold::default();
    while let Some(bytes) = bytes.piece() {
        let Ok((header, data)) = RecordHeader::split(bytes) else {
            continue;
        };
        assert_eq!(data.len(), header.captured as usize);
        for is_sent in [false, true] {
            let (frame, packet) = (
                PacketFlow::of_frame(data, is_sent),
                PacketFlow::of_packet(data, is_sent),
            );
            for found in [frame, packet].into_iter().flatten() {
                assert!(found.flow.has_ports() || !data.is_empty());
            }
        }
        hold.push(header, data, |header, data, _| {
            taken.push((*header, data.to_vec()));
        });
    }
    hold.release(u64::MAX, &mut |header, data, _| {
        taken.push((*header, data.to_vec()));
    });
    write_and_read(&taken, link_type, snaplen);
}

fn write_and_read(taken: &[(RecordHeader, Vec<u8>)], link_type: LinkType, snaplen: u32) {
    let info = InterfaceInfo {
        name: "eth0@web".to_owned(),
        description: String::new(),
        link_type,
        snaplen,
        mac: None,
        filter: None,
    };
    let (mut pcapng, mut pcap) = encode::heads(&info).expect("heads of files");
    let mut builder = PacketBuilder::default();
    let mut printer = TextPrinter::new(TextOptions::default());
    let mut text = String::new();
    for (header, data) in taken {
        let packet = builder.build(header, data, 0, link_type, snaplen, header.time_ns);
        assert!(packet.data.len() <= (data.len() + 4).min(snaplen as usize));
        text.clear();
        printer.print(&mut text, &packet, link_type.number(), None);
        assert_printable(&text);
        assert_bounded(&text, packet.data);
        encode::pcapng(&mut pcapng, &packet, None);
        encode::pcap(&mut pcap, &packet);
    }
    for (file, is_pcapng) in [(pcapng, true), (pcap, false)] {
        let mut input = Input::open(Cursor::new(file)).expect("a file of ours");
        let mut taken = taken.iter();
        while let Some(item) = input.next().expect("a file of ours") {
            let Item::Packet(read) = item else { continue };
            let (header, data) = taken.next().expect("as many as were written");
            let made: Packet<'_> =
                builder.build(header, data, 0, link_type, snaplen, header.time_ns);
            assert_eq!(
                (read.data, read.original_len),
                (made.data, made.original_len)
            );
            if is_pcapng {
                assert_eq!(
                    (read.time_ns, read.egress, read.id),
                    (made.time_ns, Some(made.egress), made.id)
                );
            }
        }
        assert!(taken.next().is_none(), "all that was written is read");
    }
}

/// A record of each packet.
pub(super) fn seeds(file: &[u8]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    each(file, |_, data| {
        let mut bytes = vec![0; netns_trace_ebpf::HEADER_LEN];
        let len = (data.len() as u32).to_ne_bytes();
        bytes[16..20].copy_from_slice(&len);
        bytes[20..24].copy_from_slice(&len);
        bytes[38..40].copy_from_slice(&(record::EGRESS | record::VLAN).to_ne_bytes());
        bytes.extend(data);
        let mut seed = vec![0];
        seed.extend(piece(&bytes));
        seeds.push(seed);
    });
    seeds.truncate(1);
    seeds
}
