//! pcapng: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>.

use std::net::IpAddr;

use super::{
    InputError, InputPacket, Interface, Item, MAX_PACKET, Problem, order::Order, stream::Stream,
};

/// What a section starts with, in either byte order.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const NAMES: u32 = 4;
const PACKET: u32 = 6;

/// Most bytes of a block, as libpcap has it.
const MAX_BLOCK: u32 = 16 << 20;
/// Most interfaces, in all sections.
const MAX_INTERFACES: usize = 64 << 10;
/// Most bytes of a name.
const MAX_NAME: usize = 255;

/// Times of an interface.
#[derive(Clone, Copy)]
struct Clock {
    /// Ticks of a second.
    per_second: u64,
    /// Seconds that are added.
    offset: i64,
}

impl Clock {
    fn time_ns(self, ticks: u64) -> u64 {
        let ns = u128::from(ticks) * 1_000_000_000 / u128::from(self.per_second);
        let ns = i128::try_from(ns).unwrap_or(i128::MAX) + i128::from(self.offset) * 1_000_000_000;
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

/// An interface of the section that is read.
#[derive(Clone, Copy)]
struct Known {
    /// Its number among those of all sections.
    number: usize,
    snaplen: u32,
    clock: Clock,
}

pub(super) struct PcapNg {
    order: Order,
    /// Those of this section.
    interfaces: Vec<Known>,
    /// How many there were in all sections.
    count: usize,
    names: Vec<(IpAddr, String)>,
    /// The packet's bytes within the block last read.
    block: Vec<u8>,
}

/// Where a packet's fields are in its block.
struct Fields {
    interface: u32,
    ticks: u64,
    captured: u32,
    original: u32,
    data: usize,
    /// Whether the flags and the id mean what they mean in the newer block.
    is_enhanced: bool,
}

impl PcapNg {
    /// Reads the rest of the first section's header.
    pub(super) fn open(stream: &mut Stream) -> Result<Self, InputError> {
        let mut file = Self {
            order: Order::Little,
            interfaces: Vec::new(),
            count: 0,
            names: Vec::new(),
            block: Vec::new(),
        };
        file.section(stream)?;
        Ok(file)
    }

    /// A section's header, behind its type: it tells the byte order of all that follows.
    fn section(&mut self, stream: &mut Stream) -> Result<(), InputError> {
        let offset = stream.offset() - 4;
        let bad = |what: String| InputError {
            offset,
            what: Problem::Bad(what),
        };
        let start = stream.take(8, "a section's header")?.to_vec();
        let order = &start[4..8];
        self.order = if order == BYTE_ORDER.to_be_bytes() {
            Order::Big
        } else if order == BYTE_ORDER.to_le_bytes() {
            Order::Little
        } else {
            return Err(bad("a section whose byte order is not told".to_owned()));
        };
        let len = self.order.u32(&start, 0);
        if !(28..=MAX_BLOCK).contains(&len) || !len.is_multiple_of(4) {
            return Err(bad(format!("a section's header of {len} bytes")));
        }
        let rest = stream
            .take(len as usize - 12, "a section's header")?
            .to_vec();
        let (major, minor) = (self.order.u16(&rest, 0), self.order.u16(&rest, 2));
        // 1.2 is read as 1.0: some wrote it.
        if major != 1 || !matches!(minor, 0 | 2) {
            return Err(bad(format!(
                "version {major}.{minor} of pcapng is not known, only 1.0"
            )));
        }
        self.check_end(&rest, len, offset)?;
        self.interfaces.clear();
        Ok(())
    }

    /// A block's length stands at both of its ends.
    fn check_end(&self, rest: &[u8], len: u32, offset: u64) -> Result<(), InputError> {
        let told = self.order.u32(rest, rest.len().saturating_sub(4));
        if told == len {
            return Ok(());
        }
        Err(InputError {
            offset,
            what: Problem::Bad(format!(
                "a block of {len} bytes, which says {told} at its end"
            )),
        })
    }

    pub(super) fn next<'a>(
        &'a mut self,
        stream: &mut Stream,
    ) -> Result<Option<Item<'a>>, InputError> {
        loop {
            if stream.is_at_end()? {
                return Ok(None);
            }
            let offset = stream.offset();
            let mut kind = [0; 4];
            kind.copy_from_slice(stream.take(4, "a block's header")?);
            if kind == SECTION_HEADER {
                self.section(stream)?;
                continue;
            }
            let kind = self.order.u32(&kind, 0);
            let head = stream.take(4, "a block's header")?;
            let mut len_bytes = [0; 4];
            len_bytes.copy_from_slice(head);
            let len = self.order.u32(&len_bytes, 0);
            if !(12..=MAX_BLOCK).contains(&len) || !len.is_multiple_of(4) {
                return Err(InputError {
                    offset,
                    what: Problem::Bad(format!("a block of {len} bytes")),
                });
            }
            let mut block = std::mem::take(&mut self.block);
            block.clear();
            block.extend_from_slice(stream.take(len as usize - 8, "a block")?);
            self.check_end(&block, len, offset)?;
            block.truncate(len as usize - 12);
            self.block = block;
            let bad = |what: String| InputError {
                offset,
                what: Problem::Bad(what),
            };
            debug_assert_ne!(kind, SECTION, "told apart by its bytes");
            match kind {
                INTERFACE => {
                    let interface = self.interface().map_err(bad)?;
                    return Ok(Some(Item::Interface(interface)));
                }
                PACKET | OLD_PACKET | SIMPLE_PACKET => {
                    let fields = self.fields(kind).map_err(bad)?;
                    return self
                        .packet(&fields)
                        .map(|packet| Some(Item::Packet(packet)))
                        .map_err(bad);
                }
                NAMES => {
                    self.names = self.read_names();
                    return Ok(Some(Item::Names(std::mem::take(&mut self.names))));
                }
                _ => {}
            }
        }
    }

    fn interface(&mut self) -> Result<Interface, String> {
        let block = &self.block;
        if block.len() < 8 {
            return Err("an interface without a link type".to_owned());
        }
        if self.count >= MAX_INTERFACES {
            return Err(format!("more than {MAX_INTERFACES} interfaces"));
        }
        let mut clock = Clock {
            per_second: 1_000_000,
            offset: 0,
        };
        let mut name = None;
        for (code, value) in self.options(8) {
            match (code, value) {
                (2, value) => name = Some(self::name(value)),
                (9, [resolution, ..]) => clock.per_second = per_second(*resolution)?,
                (14, value) if value.len() >= 8 => {
                    clock.offset = self.order.u64(value, 0).cast_signed();
                }
                _ => {}
            }
        }
        let interface = Interface {
            link_type: self.order.u16(block, 0),
            snaplen: self.order.u32(block, 4),
            name,
        };
        self.interfaces.push(Known {
            number: self.count,
            snaplen: interface.snaplen,
            clock,
        });
        self.count += 1;
        Ok(interface)
    }

    fn fields(&self, kind: u32) -> Result<Fields, String> {
        let block = &self.block;
        let ticks = |high: usize| {
            u64::from(self.order.u32(block, high)) << 32
                | u64::from(self.order.u32(block, high + 4))
        };
        let least = if kind == SIMPLE_PACKET { 4 } else { 20 };
        if block.len() < least {
            return Err("a packet without its lengths".to_owned());
        }
        Ok(match kind {
            SIMPLE_PACKET => {
                let original = self.order.u32(block, 0);
                let snaplen = self.interfaces.first().map_or(0, |first| first.snaplen);
                let bound = if snaplen == 0 { u32::MAX } else { snaplen };
                Fields {
                    interface: 0,
                    ticks: 0,
                    captured: original.min(bound),
                    original,
                    data: 4,
                    is_enhanced: false,
                }
            }
            kind => Fields {
                interface: if kind == PACKET {
                    self.order.u32(block, 0)
                } else {
                    self.order.u16(block, 0).into()
                },
                ticks: ticks(4),
                captured: self.order.u32(block, 12),
                original: self.order.u32(block, 16),
                data: 20,
                is_enhanced: kind == PACKET,
            },
        })
    }

    fn packet(&self, fields: &Fields) -> Result<InputPacket<'_>, String> {
        let Some(known) = self.interfaces.get(fields.interface as usize) else {
            return Err(format!(
                "a packet of interface {}, which was not told",
                fields.interface
            ));
        };
        let captured = fields.captured;
        if captured > MAX_PACKET {
            return Err(format!(
                "a packet of {captured} captured bytes, where {MAX_PACKET} are the most"
            ));
        }
        let end = fields.data + captured as usize;
        let Some(data) = self.block.get(fields.data..end) else {
            return Err(format!(
                "a packet of {captured} captured bytes in a shorter block"
            ));
        };
        let mut packet = InputPacket {
            interface: known.number,
            time_ns: known.clock.time_ns(fields.ticks),
            original_len: fields.original,
            data,
            egress: None,
            id: 0,
            comment: None,
        };
        let options = fields.data + (captured as usize).next_multiple_of(4);
        for (code, value) in self.options(options) {
            match code {
                1 => packet.comment = str::from_utf8(text(value)).ok(),
                2 if value.len() >= 4 => {
                    packet.egress = match self.order.u32(value, 0) & 3 {
                        1 => Some(false),
                        2 => Some(true),
                        _ => None,
                    };
                }
                5 if fields.is_enhanced && value.len() >= 8 => packet.id = self.order.u64(value, 0),
                _ => {}
            }
        }
        Ok(packet)
    }

    /// The options of the block that are whole.
    fn options(&self, at: usize) -> impl Iterator<Item = (u16, &[u8])> {
        let mut at = at;
        std::iter::from_fn(move || {
            let head = self.block.get(at..at + 4)?;
            let (code, len) = (
                self.order.u16(head, 0),
                usize::from(self.order.u16(head, 2)),
            );
            if code == 0 {
                return None;
            }
            let value = self.block.get(at + 4..at + 4 + len)?;
            at += 4 + len.next_multiple_of(4);
            Some((code, value))
        })
    }

    /// The records of a name resolution block: an address, and its names, each behind a zero byte. The first
    /// name counts.
    fn read_names(&self) -> Vec<(IpAddr, String)> {
        let mut names = Vec::new();
        let mut at = 0;
        while let Some(head) = self.block.get(at..at + 4) {
            let (kind, len) = (
                self.order.u16(head, 0),
                usize::from(self.order.u16(head, 2)),
            );
            let Some(value) = self.block.get(at + 4..at + 4 + len) else {
                break;
            };
            let address = match kind {
                1 => value.first_chunk::<4>().map(|v4| (IpAddr::from(*v4), 4)),
                2 => value.first_chunk::<16>().map(|v6| (IpAddr::from(*v6), 16)),
                _ => None,
            };
            if kind == 0 {
                break;
            }
            if let Some((address, address_len)) = address {
                names.push((address, name(&value[address_len..])));
            }
            at += 4 + len.next_multiple_of(4);
        }
        names
    }
}

/// What something is called: no longer than a file's or a host's name may be, as it stands in each line.
fn name(bytes: &[u8]) -> String {
    let name = text(bytes);
    String::from_utf8_lossy(&name[..name.len().min(MAX_NAME)]).into_owned()
}

/// Up to the zero byte, where there is one.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

/// Ticks of a second: a power of ten, or with the top bit, of two.
fn per_second(resolution: u8) -> Result<u64, String> {
    let (base, power) = if resolution & 0x80 == 0 {
        (10_u64, u32::from(resolution))
    } else {
        (2, u32::from(resolution & 0x7f))
    };
    base.checked_pow(power).ok_or_else(|| {
        format!("times in units of {base}^-{power} s, which is more than 64 bits hold")
    })
}

#[cfg(test)]
mod tests {
    use crate::capture::input::{Input, Item, Problem};

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let len = (body.len() + 12) as u32;
        [
            &kind.to_le_bytes(),
            &len.to_le_bytes(),
            body,
            &len.to_le_bytes(),
        ]
        .concat()
    }

    fn section() -> Vec<u8> {
        let words = [super::BYTE_ORDER, 1, u32::MAX, u32::MAX];
        block(super::SECTION, &words.map(u32::to_le_bytes).concat())
    }

    /// Told in each line, one block would else make very many bytes of text.
    #[test]
    fn names_are_cut() {
        let name = [b'a'; 1000];
        let mut interface = vec![1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xe8, 3];
        interface.extend(name);
        let mut names = vec![1, 0, 0xec, 3, 10, 0, 0, 1];
        names.extend(name);
        let file = [section(), block(1, &interface), block(4, &names)].concat();
        let mut input = Input::open(std::io::Cursor::new(file)).expect("a file");
        let Ok(Some(Item::Interface(interface))) = input.next() else {
            panic!("an interface");
        };
        assert_eq!(interface.name.map(|name| name.len()), Some(super::MAX_NAME));
        let Ok(Some(Item::Names(names))) = input.next() else {
            panic!("names");
        };
        assert_eq!(names[0].1.len(), super::MAX_NAME);
    }

    #[test]
    fn interfaces_are_bounded_also_where_each_has_a_section() {
        let one = [section(), block(1, &[1, 0, 0, 0, 0, 0, 0, 0])].concat();
        let file = one.repeat(super::MAX_INTERFACES + 1);
        let mut input = Input::open(std::io::Cursor::new(file)).expect("a file");
        for _ in 0..super::MAX_INTERFACES {
            assert!(matches!(input.next(), Ok(Some(Item::Interface(_)))));
        }
        let refused = input.next().expect_err("too many");
        assert!(matches!(refused.what, Problem::Bad(_)), "{refused}");
    }
}
