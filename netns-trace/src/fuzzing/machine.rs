//! Runs translated filters as the kernel does: as many kinds of instructions as those are made of.

use crate::filter::Insn;

/// A VLAN tag that the kernel keeps beside the packet.
pub(super) struct Tag {
    protocol: u16,
    control: u16,
}

impl Tag {
    /// Takes a tag out of a packet, whatever is in its place.
    pub(super) fn take(data: &mut Vec<u8>) -> Option<Self> {
        let tag: [u8; 4] = data.get(12..16)?.try_into().ok()?;
        data.drain(12..16);
        Some(Self {
            protocol: u16::from_be_bytes([tag[0], tag[1]]),
            control: u16::from_be_bytes([tag[2], tag[3]]),
        })
    }
}

/// A packet in the kernel.
pub(super) struct Machine {
    pub(super) data: Vec<u8>,
    pub(super) tag: Option<Tag>,
    pub(super) is_outgoing: bool,
    pub(super) interface: u32,
}

/// Registers of the program's context and frame, as they are never read but by loads and stores.
const CONTEXT: u64 = 1 << 40;
const FRAME: u64 = 1 << 41;

impl Machine {
    /// Whether the packet passes.
    pub(super) fn run(&self, program: &[Insn]) -> bool {
        let mut r = [0_u64; 11];
        (r[1], r[2], r[10]) = (CONTEXT, self.is_outgoing.into(), FRAME);
        let mut stack = [None; 128];
        let mut at = 0;
        // Jumps lead forwards alone, so it ends.
        loop {
            let bytes = program[at].to_bytes();
            at += 1;
            let code = bytes[0];
            let (to, from) = (usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
            let offset = i16::from_le_bytes([bytes[2], bytes[3]]);
            let immediate = i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let operand = match code & 8 {
                0 => i64::from(immediate).cast_unsigned(),
                _ => r[from],
            };
            match code & 7 {
                0 => {
                    let base = if code & 0xe0 == 0x40 {
                        r[from] as u32
                    } else {
                        0
                    };
                    let Some(value) = self.load(code, base.cast_signed().wrapping_add(immediate))
                    else {
                        return false;
                    };
                    r[0] = value.into();
                    // What a call leaves in them is nobody's.
                    r[1..6].fill(0xdead_dead_dead_dead);
                }
                1 if r[from] == CONTEXT => r[to] = self.context(offset).into(),
                1 => {
                    assert_eq!(r[from], FRAME);
                    let word: Option<u32> = stack[slot(offset)];
                    r[to] = word.expect("what is read was written").into();
                }
                3 => {
                    assert_eq!(r[to], FRAME);
                    stack[slot(offset)] = Some(r[from] as u32);
                }
                4 if code & 0xf0 == 0xd0 => r[to] = u16::swap_bytes(r[to] as u16).into(),
                4 => r[to] = arithmetic(code & 0xf0, r[to] as u32, operand as u32).into(),
                7 if code & 0xf0 == 0 => r[to] = r[to].wrapping_add(operand),
                7 => {
                    assert_eq!(code & 0xf0, 0xb0);
                    r[to] = operand;
                }
                5 if code == 0x95 => return r[0] as u32 != 0,
                5 | 6 => {
                    let mask = if code & 7 == 5 {
                        u64::MAX
                    } else {
                        u32::MAX.into()
                    };
                    if code == 5 || compare(code & 0xf0, r[to] & mask, operand & mask) {
                        at += usize::try_from(offset).expect("jumps lead forwards");
                    }
                }
                class => panic!("class {class}"),
            }
        }
    }

    /// What the kernel tells of the packet; include/uapi/linux/bpf.h.
    fn context(&self, offset: i16) -> u32 {
        let tag = |of: fn(&Tag) -> u16| self.tag.as_ref().map_or(0, of).into();
        match offset {
            0 => self.data.len() as u32,
            20 => self.tag.is_some().into(),
            24 => tag(|tag| tag.control),
            28 => tag(|tag| tag.protocol.to_be()),
            40 => self.interface,
            other => panic!("offset {other}"),
        }
    }

    fn load(&self, code: u8, at: i32) -> Option<u32> {
        let len = match code & 0x18 {
            0x10 => 1,
            0x08 => 2,
            _ => 4,
        };
        // Below 0 are headers that the kernel knows by other names, which no filter of ours means.
        let at = usize::try_from(at).expect("an offset in the packet");
        let bytes = self.data.get(at..at.checked_add(len)?)?;
        let value = |value, byte: &u8| value << 8 | u32::from(*byte);
        Some(bytes.iter().fold(0, value))
    }
}

fn slot(offset: i16) -> usize {
    assert!((-512..0).contains(&offset) && offset % 4 == 0, "{offset}");
    usize::from(offset.unsigned_abs() / 4) - 1
}

fn arithmetic(operation: u8, a: u32, b: u32) -> u32 {
    match operation {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 => a / b,
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a << b,
        0x70 => a >> b,
        0x80 => a.wrapping_neg(),
        0x90 => a % b,
        0xa0 => a ^ b,
        0xb0 => b,
        other => panic!("operation {other:#x}"),
    }
}

fn compare(operation: u8, a: u64, b: u64) -> bool {
    match operation {
        0x10 => a == b,
        0x20 => a > b,
        0x30 => a >= b,
        0x40 => a & b != 0,
        0x50 => a != b,
        0xa0 => a < b,
        0xb0 => a <= b,
        other => panic!("comparison {other:#x}"),
    }
}
