//! Capture files, read: pcap and pcapng, of any machine's byte order, from a file or a pipe.
//!
//! A file is untrusted. Each error tells at which byte it is; all before it was given out.

mod order;
mod pcap;
mod pcapng;
mod stream;

use std::{io::Read, net::IpAddr};

use pcap::Pcap;
use pcapng::PcapNg;
use stream::Stream;

use super::{Checksum, Packet};

/// Most bytes of a packet, as libpcap has it for all link types that we know.
const MAX_PACKET: u32 = 256 << 10;

/// What is wrong with a capture file, and where.
#[derive(Debug, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub struct InputError {
    /// Where what cannot be read starts.
    pub offset: u64,
    /// What is wrong.
    pub what: Problem,
}

/// What is wrong with a capture file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It cannot be read.
    #[error("cannot read on: {0}")]
    Read(#[from] std::io::Error),
    /// It ends too early.
    #[error("the file ends within {what}: {wanted} bytes wanted, {there} there")]
    Short {
        /// In the middle of what.
        what: &'static str,
        /// How many bytes that has.
        wanted: usize,
        /// How many there are.
        there: usize,
    },
    /// It is something else.
    #[error(
        "this is no capture file: it starts with {0}, where pcap and pcapng have another number"
    )]
    Unknown(String),
    /// A field says what cannot be.
    #[error("{0}")]
    Bad(String),
}

/// An interface of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// How its packets start: a `LINKTYPE_` number.
    pub link_type: u16,
    /// Most bytes of each packet; 0 for no bound.
    pub snaplen: u32,
    /// What it is called, if that is told.
    pub name: Option<String>,
}

/// A packet of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputPacket<'a> {
    /// Which interface, in the order in which the file tells of them.
    pub interface: usize,
    /// Nanoseconds since 1970, UTC.
    pub time_ns: u64,
    /// How long it was.
    pub original_len: u32,
    /// The bytes that were captured.
    pub data: &'a [u8],
    /// Whether the interface sent it, if that is told.
    pub egress: Option<bool>,
    /// The same number on every sighting of one packet; 0 where none is told.
    pub id: u64,
    /// What somebody has noted about it.
    pub comment: Option<&'a str>,
}

/// What a file does not tell is as of a packet of which nothing more is known.
impl<'a> From<InputPacket<'a>> for Packet<'a> {
    fn from(packet: InputPacket<'a>) -> Self {
        Self {
            interface: packet.interface as u32,
            egress: packet.egress == Some(true),
            time_ns: packet.time_ns,
            original_len: packet.original_len,
            data: packet.data,
            checksum: Checksum::Unknown,
            segmented: false,
            shed: false,
            drops: 0,
            id: packet.id,
            process: None,
        }
    }
}

/// What a file holds.
#[derive(Debug)]
pub enum Item<'a> {
    /// An interface; packets name it by their order.
    Interface(Interface),
    /// A packet.
    Packet(InputPacket<'a>),
    /// What addresses are called.
    Names(Vec<(IpAddr, String)>),
}

enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

/// Reads a capture file.
pub struct Input {
    stream: Stream,
    format: Format,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

impl Input {
    /// Finds out what a file is.
    ///
    /// # Errors
    ///
    /// It is no capture file, or none that can be read.
    pub fn open(file: impl Read + Send + 'static) -> Result<Self, InputError> {
        let mut stream = Stream::new(Box::new(file));
        let magic = stream.take(4, "its first number")?;
        let magic: [u8; 4] = magic.try_into().unwrap_or_default();
        let format = if magic == pcapng::SECTION_HEADER {
            Format::PcapNg(PcapNg::open(&mut stream)?)
        } else {
            match pcap::Kind::of(magic) {
                Some(kind) => Format::Pcap(Pcap::open(&mut stream, kind)?),
                None => {
                    let digits: String = magic.iter().map(|byte| format!("{byte:02x}")).collect();
                    return Err(InputError {
                        offset: 0,
                        what: Problem::Unknown(format!("0x{digits}")),
                    });
                }
            }
        };
        Ok(Self { stream, format })
    }

    /// What comes next; `None` at the end.
    ///
    /// # Errors
    ///
    /// The file is broken here, or cannot be read. There is nothing behind that.
    #[expect(
        clippy::should_implement_trait,
        reason = "items borrow from the reader"
    )]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, InputError> {
        match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.stream),
            Format::PcapNg(pcapng) => pcapng.next(&mut self.stream),
        }
    }

    /// Whether more can be had without waiting.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.stream.has_more()
    }
}
