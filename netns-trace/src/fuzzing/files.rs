//! Capture files, read and printed.

use std::io::Cursor;

use super::{
    Bytes, assert_printable,
    packets::{assert_bounded, options},
};
use crate::capture::{
    Packet, Tap, TextOptions, TextPrinter, TimeFormat,
    input::{Input, InputError, Item},
};

/// Longest names in a line, with escapes: of the interface, and of addresses.
const NAMED: usize = 64 << 10;

/// How packets are printed, and a file. It is read to its end or to where it is broken, which is within it; packets
/// are of interfaces that were told before, and what is printed is printable.
pub fn files(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let dissect = options(&mut bytes);
    let flags = bytes.byte();
    let mut printer = TextPrinter::new(TextOptions {
        dissect,
        time: TimeFormat::from_count(flags & 7),
        nanoseconds: flags & 8 != 0,
        number: flags & 16 != 0,
    });
    let len = bytes.0.len() as u64;
    if let Err(why) = print(&mut printer, bytes.0, flags & 32 != 0) {
        assert!(why.offset <= len, "{why}");
        assert_printable(&why.to_string());
    }
}

fn print(printer: &mut TextPrinter, file: &[u8], named: bool) -> Result<(), InputError> {
    let mut input = Input::open(Cursor::new(file.to_vec()))?;
    let mut interfaces = Vec::new();
    let mut text = String::new();
    while let Some(item) = input.next()? {
        match item {
            Item::Interface(interface) => interfaces.push(interface),
            Item::Names(names) if named => printer.name(names.into_iter().collect()),
            Item::Names(_) => {}
            Item::Packet(packet) => {
                let interface = &interfaces[packet.interface];
                let tap = interface.name.as_deref().map(|name| Tap {
                    name,
                    egress: packet.egress,
                });
                text.clear();
                printer.print(&mut text, &Packet::from(packet), interface.link_type, tap);
                assert_printable(&text);
                if text.len() > NAMED {
                    assert_bounded(&text[NAMED..], packet.data);
                }
            }
        }
    }
    Ok(())
}

/// The file itself.
pub(super) fn seeds(file: &[u8]) -> Vec<Vec<u8>> {
    let mut seed = vec![0x13, 0, 0x21];
    seed.extend(file);
    vec![seed]
}
