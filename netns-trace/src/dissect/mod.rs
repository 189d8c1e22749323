//! A packet in words: what tcpdump prints of it with `-n`, to the letter where the protocol is one of those
//! that containers speak, and a short line for the rest.
//!
//! Pure: bytes go in, text comes out. Every byte is untrusted. All reads go through `bytes::Bytes`, which
//! cannot reach beyond the packet, and whatever a packet says goes out escaped.

mod address;
mod arp;
mod bytes;
mod checksum;
mod dhcp;
mod dhcp6;
mod dhcp_options;
mod dns;
mod ethernet;
mod gre;
mod hex;
mod icmp;
mod icmp6;
mod icmp6_options;
mod igmp;
mod ip;
mod ip6;
mod ip6_options;
mod ip_options;
mod link;
mod llc;
mod mptcp;
mod ntp;
mod overlay;
mod redis;
mod stp;
mod tcp;
mod tcp_options;
mod text_lines;
mod transport;
mod udp;
mod words;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, net::IpAddr};

use bytes::{Bytes, Truncated};
use tcp::Conversations;

pub use link::link_type_name;

/// How deep headers within headers are followed. A packet of nothing but headers would else decide how much
/// stack is used.
const MAX_DEPTH: u32 = 24;

/// Most addresses whose names are known: a file may tell of them without end.
const MOST_NAMES: usize = 1 << 18;

/// What is printed of a packet. The letters are tcpdump's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-e`: the link-layer header.
    pub link_header: bool,
    /// `-v`, as often as it was given.
    pub verbose: u8,
    /// `-q`, as often as it was given: less.
    pub quiet: u8,
    /// `-S`: sequence numbers as they are, not counted from the start of the connection.
    pub absolute_sequence: bool,
    /// `-K`: checksums are not verified.
    pub skip_checksums: bool,
    /// `-x`, `-X`, `-A`.
    pub dump: Option<Dump>,
}

/// How bytes are shown below the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dump {
    /// In what form.
    pub form: DumpForm,
    /// Whether the link-layer header is shown too.
    pub link_header: bool,
}

/// The form of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpForm {
    /// `-x`: in hexadecimal.
    Hex,
    /// `-X`: in hexadecimal and as characters.
    HexAscii,
    /// `-A`: as characters.
    Ascii,
}

/// A packet as it is in a file or came from a tap.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// How it starts: a `LINKTYPE_` number, <https://www.tcpdump.org/linktypes.html>.
    pub link_type: u16,
    /// The bytes that were captured.
    pub data: &'a [u8],
    /// How many there were.
    pub original_len: u32,
}

impl Frame<'_> {
    /// Whether its lengths can be: there is something of it, and no more than there was.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        !self.data.is_empty() && self.data.len() <= self.original_len as usize
    }
}

/// What addresses are called.
pub type Names = HashMap<IpAddr, String>;

/// Puts packets in words. Remembers connections, to count sequence numbers from their start.
#[derive(Debug, Default)]
pub struct Dissector {
    options: Options,
    names: Names,
    conversations: Conversations,
}

impl Dissector {
    /// One that has seen no packet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Whether packets of a link type can be put in words.
    #[must_use]
    pub fn knows(link_type: u16) -> bool {
        link::is_known(link_type)
    }

    /// Stands these names beside their addresses from now on.
    pub fn name(&mut self, names: impl IntoIterator<Item = (IpAddr, String)>) {
        for (address, name) in names {
            if self.names.len() < MOST_NAMES || self.names.contains_key(&address) {
                self.names.insert(address, name);
            }
        }
    }

    /// Appends what there is to say of a packet: a line without its end, with more lines where the options ask
    /// for them.
    pub fn describe(&mut self, to: &mut String, frame: &Frame<'_>) {
        let mut printer = Printer {
            to,
            options: &self.options,
            names: &self.names,
            conversations: &mut self.conversations,
            protocol: "",
            link_len: 0,
            depth: 0,
        };
        if printer.frame(frame).is_err() {
            printer.say_truncated();
            printer.link_len = 0;
        }
        let link_len = printer.link_len;
        if let Some(dump) = self.options.dump {
            let data = Bytes::new(frame.data);
            let bytes = if dump.link_header {
                data
            } else {
                data.from(link_len)
            };
            if !bytes.is_empty() {
                printer.dump(dump.form, bytes);
            }
        }
    }
}

/// `Err` once a packet ended in the middle of what was to be printed.
type Printed = Result<(), Truncated>;

/// Prints one packet. Each protocol is a method, in a file of its own.
struct Printer<'a> {
    to: &'a mut String,
    options: &'a Options,
    names: &'a Names,
    conversations: &'a mut Conversations,
    /// The protocol being printed, as `[|tcp]` names it.
    protocol: &'static str,
    /// Bytes of link-layer headers, which dumps leave out.
    link_len: usize,
    /// How many headers there are around this one.
    depth: u32,
}

impl Printer<'_> {
    /// Appends words.
    fn put(&mut self, what: fmt::Arguments<'_>) {
        if fmt::Write::write_fmt(self.to, what).is_err() {
            debug_assert!(false, "a string takes all");
        }
    }

    fn verbose(&self) -> u8 {
        self.options.verbose
    }

    /// Says that the packet ended here.
    fn say_truncated(&mut self) {
        let protocol = self.protocol;
        self.put(format_args!(" [|{protocol}]"));
    }

    /// Says that what was printed last cannot be.
    fn say_invalid(&mut self) {
        self.to.push_str(" (invalid)");
    }

    /// Goes one header deeper, unless that is too deep.
    fn nested(&mut self, print: impl FnOnce(&mut Self) -> Printed) -> Printed {
        if self.depth >= MAX_DEPTH {
            self.to.push_str(" [headers nested too deep]");
            return Ok(());
        }
        self.depth += 1;
        let printed = print(self);
        self.depth -= 1;
        printed
    }

    /// Appends bytes as text: what is not printable as `^X` and `M-X`.
    fn characters(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let mut byte = *byte;
            if byte >= 0x80 {
                byte &= 0x7f;
                self.to.push_str("M-");
            }
            if !(0x20..0x7f).contains(&byte) {
                byte ^= 0x40;
                self.to.push('^');
            }
            self.to.push(char::from(byte));
        }
    }

    /// Appends `len` bytes as text; tells whether all were there.
    fn text(&mut self, bytes: Bytes<'_>, len: usize) -> bool {
        self.characters(bytes.up_to(len).all());
        bytes.has(len)
    }
}

/// `put!(printer, "…", …)`: appends formatted words.
macro_rules! put {
    ($printer:expr, $($what:tt)*) => { $printer.put(format_args!($($what)*)) };
}
use put;
