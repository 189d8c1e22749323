//! Packets, put in words.

use super::{Bytes, assert_printable, piece};
use crate::{
    capture::input::{Input, Item},
    dissect::{Dissector, Dump, DumpForm, Frame, Options},
};

/// Link types that can be put in words, and one that cannot.
const LINK_TYPES: [u16; 9] = [1, 0, 101, 108, 113, 228, 229, 276, 105];

/// Longest text of a packet: so much for each of its bytes, and this besides. Names in DNS, which point to one
/// another, are the longest for their bytes.
const FOR_EACH_BYTE: usize = 600;
const BESIDES: usize = 4096;

/// Options in two bytes, any of which have a meaning.
pub(super) fn options(bytes: &mut Bytes<'_>) -> Options {
    let (flags, dump) = (bytes.byte(), bytes.byte());
    let form = match dump % 4 {
        0 => None,
        1 => Some(DumpForm::Hex),
        2 => Some(DumpForm::HexAscii),
        _ => Some(DumpForm::Ascii),
    };
    Options {
        verbose: flags & 3,
        quiet: flags >> 2 & 3,
        link_header: flags & 0x10 != 0,
        absolute_sequence: flags & 0x20 != 0,
        skip_checksums: flags & 0x40 != 0,
        dump: form.map(|form| Dump {
            form,
            link_header: dump & 4 != 0,
        }),
    }
}

/// Options, a link type, how much longer packets were than they are, and packets of one conversation. The text of
/// each is printable, and no longer than its packet allows.
pub fn packets(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut dissector = Dissector::new(options(&mut bytes));
    let link_type = usize::from(bytes.byte());
    let link_type = LINK_TYPES[link_type % LINK_TYPES.len()];
    let cut = u32::from(bytes.byte());
    let mut text = String::new();
    while let Some(data) = bytes.piece() {
        text.clear();
        let frame = Frame {
            link_type,
            data,
            original_len: data.len() as u32 + cut,
        };
        dissector.describe(&mut text, &frame);
        assert_printable(&text);
        assert_bounded(&text, data);
    }
}

#[track_caller]
pub(super) fn assert_bounded(text: &str, data: &[u8]) {
    let most = BESIDES + FOR_EACH_BYTE * data.len();
    assert!(text.len() <= most, "{} bytes of {data:?}", text.len());
}

/// Each packet by itself, in as many words as there are.
pub(super) fn seeds(file: &[u8]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    each(file, |link_type, data| {
        if let Some(link_type) = LINK_TYPES.iter().position(|known| *known == link_type) {
            let mut seed = vec![0x13, 0, link_type as u8, 0];
            seed.extend(piece(data));
            seeds.push(seed);
        }
    });
    seeds
}

/// The packets of a capture file, with their link types.
pub(super) fn each(file: &[u8], mut take: impl FnMut(u16, &[u8])) {
    let Ok(mut input) = Input::open(std::io::Cursor::new(file.to_vec())) else {
        return;
    };
    let mut link_types = Vec::new();
    while let Ok(Some(item)) = input.next() {
        match item {
            Item::Interface(interface) => link_types.push(interface.link_type),
            Item::Packet(packet) => take(link_types[packet.interface], packet.data),
            Item::Names(_) => {}
        }
    }
}
