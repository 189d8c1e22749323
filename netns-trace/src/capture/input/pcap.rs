//! The classic format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html>, and what was written
//! before that was written down.

use super::{
    InputError, InputPacket, Interface, Item, MAX_PACKET, Problem, order::Order, stream::Stream,
};

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Of patches by Alexey Kuznetsov: eight more bytes before each packet.
const PATCHED: u32 = 0xa1b2_cd34;

/// What the first number tells.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    order: Order,
    /// Nanoseconds of a tick.
    tick_ns: u64,
    /// Bytes before each packet.
    record: usize,
}

impl Kind {
    pub(super) fn of(magic: [u8; 4]) -> Option<Self> {
        let little = u32::from_le_bytes(magic);
        let is_known = |number| matches!(number, MICROSECONDS | NANOSECONDS | PATCHED);
        let (order, number) = if is_known(little) {
            (Order::Little, little)
        } else {
            (Order::Big, little.swap_bytes())
        };
        is_known(number).then_some(Self {
            order,
            tick_ns: if number == NANOSECONDS { 1 } else { 1000 },
            record: if number == PATCHED { 24 } else { 16 },
        })
    }
}

/// Whether the two lengths of a packet stand the other way round, as in versions before 2.3.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Swapped {
    No,
    Yes,
    /// Of version 2.3: where the first is larger.
    IfLarger,
}

pub(super) struct Pcap {
    kind: Kind,
    swapped: Swapped,
    interface: Interface,
    is_told: bool,
}

impl Pcap {
    /// Reads the header behind the first number.
    pub(super) fn open(stream: &mut Stream, kind: Kind) -> Result<Self, InputError> {
        let header = stream.take(20, "the file header")?;
        let (major, minor) = (kind.order.u16(header, 0), kind.order.u16(header, 2));
        // 543 is what DG/UX wrote.
        if major != 2 && major != 543 {
            return Err(InputError {
                offset: 4,
                what: Problem::Bad(format!(
                    "version {major}.{minor} of pcap is not known, only 2"
                )),
            });
        }
        let swapped = match (major, minor) {
            (543, _) | (2, 0..=2) => Swapped::Yes,
            (2, 3) => Swapped::IfLarger,
            _ => Swapped::No,
        };
        let interface = Interface {
            link_type: link_type(kind.order.u32(header, 16)),
            snaplen: kind.order.u32(header, 12),
            name: None,
        };
        Ok(Self {
            kind,
            swapped,
            interface,
            is_told: false,
        })
    }

    pub(super) fn next<'a>(
        &mut self,
        stream: &'a mut Stream,
    ) -> Result<Option<Item<'a>>, InputError> {
        if !self.is_told {
            self.is_told = true;
            return Ok(Some(Item::Interface(self.interface.clone())));
        }
        if stream.is_at_end()? {
            return Ok(None);
        }
        let offset = stream.offset();
        let header = stream.take(self.kind.record, "a packet's header")?;
        let word = |at| self.kind.order.u32(header, at);
        let (seconds, fraction) = (u64::from(word(0)), u64::from(word(4)));
        let (mut captured, mut original) = (word(8), word(12));
        if self.swapped == Swapped::Yes
            || (self.swapped == Swapped::IfLarger && captured > original)
        {
            (captured, original) = (original, captured);
        }
        if captured > MAX_PACKET {
            return Err(InputError {
                offset,
                what: Problem::Bad(format!(
                    "a packet of {captured} captured bytes, where {MAX_PACKET} are the most"
                )),
            });
        }
        let mut data = stream.take(captured as usize, "a packet")?;
        // Some have more than they say at their start: what is beyond is not shown, as libpcap has it.
        let snaplen = self.interface.snaplen;
        if snaplen > 0 && snaplen <= i32::MAX as u32 {
            data = data.get(..snaplen as usize).unwrap_or(data);
        }
        let time_ns = seconds * 1_000_000_000 + fraction * self.kind.tick_ns;
        Ok(Some(Item::Packet(InputPacket {
            interface: 0,
            time_ns,
            original_len: original,
            data,
            egress: None,
            id: 0,
            comment: None,
        })))
    }
}

/// The link type of the header's field: above it are lengths of check sums. Raw IP was once written as the number
/// that libpcap has for it inside.
fn link_type(field: u32) -> u16 {
    match field as u16 {
        12 | 14 => 101,
        other => other,
    }
}
