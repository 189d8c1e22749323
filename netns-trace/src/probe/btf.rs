//! Reads from the running kernel's BTF where a bit field of a struct lies, and which number a function has.
//!
//! The format: <https://docs.kernel.org/bpf/btf.html>. aya-obj parses it too, but keeps struct
//! members to itself.

use std::fs;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// A bit field that lies in one byte, on a little-endian machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BitField {
    /// Offset of the byte in its struct.
    pub(super) byte: u32,
    /// Its lowest bit in that byte.
    pub(super) shift: u32,
}

/// What the programs are told of the running kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Where `struct sk_buff` has `ip_summed`.
    pub(super) ip_summed: Option<BitField>,
    /// The number of the function that turns a program's context into the kernel's own struct (6.2);
    /// <https://github.com/torvalds/linux/blob/v6.2/kernel/bpf/helpers.c#L2085>.
    pub(super) cast_to_kernel_context: Option<u32>,
}

/// Reads them. Each that is missing is a feature less, and why is logged.
pub(super) fn facts() -> Facts {
    if cfg!(target_endian = "big") {
        log::info!("the state of checksums is not recorded on big-endian machines");
        return Facts::default();
    }
    let facts = match fs::read(VMLINUX) {
        Ok(bytes) => find(&bytes),
        Err(why) => {
            log::info!("{VMLINUX}: {why}");
            Facts::default()
        }
    };
    if facts.ip_summed.is_none() {
        log::info!("the state of checksums is not recorded: {VMLINUX} does not tell of it");
    }
    facts
}

fn find(bytes: &[u8]) -> Facts {
    let Some(btf) = Btf::parse(bytes) else {
        return Facts::default();
    };
    Facts {
        ip_summed: btf.bit_field("sk_buff", "ip_summed"),
        cast_to_kernel_context: btf.find(KIND_FUNC, "bpf_cast_to_kern_ctx"),
    }
}

struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Offset of each type in `types`, by id - 1.
    offsets: Vec<u32>,
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u16_at(bytes, 0)? != MAGIC {
            return None;
        }
        let header = u32_at(bytes, 4)? as usize;
        let section = |at: usize| {
            let start = header.checked_add(u32_at(bytes, at)? as usize)?;
            bytes.get(start..start.checked_add(u32_at(bytes, at + 4)? as usize)?)
        };
        let mut btf = Self {
            types: section(8)?,
            strings: section(16)?,
            offsets: Vec::new(),
        };
        let mut at = 0;
        while at < btf.types.len() {
            btf.offsets.push(at as u32);
            let info = u32_at(btf.types, at + 4)?;
            let members = (info & 0xffff) as usize;
            at += 12
                + match kind(info) {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => members * 12,
                    KIND_ENUM | KIND_FUNC_PROTO => members * 8,
                    _ => 0,
                };
        }
        Some(btf)
    }

    /// The number of the type of this kind and name.
    fn find(&self, wanted: u32, name: &str) -> Option<u32> {
        let is_it = |&at: &u32| {
            let at = at as usize;
            u32_at(self.types, at + 4).is_some_and(|info| kind(info) == wanted)
                && u32_at(self.types, at).is_some_and(|offset| self.is_called(offset, name))
        };
        let at = self.offsets.iter().position(is_it)?;
        Some(at as u32 + 1)
    }

    fn is_called(&self, offset: u32, name: &str) -> bool {
        let rest = self.strings.get(offset as usize..);
        let rest = rest.and_then(|rest| rest.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Where `member` lies in the struct; none where it is no bit field, or crosses its byte.
    fn bit_field(&self, structure: &str, member: &str) -> Option<BitField> {
        let (bit, size) = self.member(self.find(KIND_STRUCT, structure)?, member, 0)?;
        // A plain member has no size of its own here.
        (size > 0 && bit % 8 + size <= 8).then_some(BitField {
            byte: bit / 8,
            shift: bit % 8,
        })
    }

    fn string(&self, offset: u32) -> Option<&'a str> {
        let rest = self.strings.get(offset as usize..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// Bit offset and bit size (0: not a bit field) of a member, looked for in unnamed members
    /// too. `depth` bounds what a damaged BTF could make of that.
    fn member(&self, id: u32, wanted: &str, depth: u32) -> Option<(u32, u32)> {
        let at = *self.offsets.get((id as usize).checked_sub(1)?)? as usize;
        let info = u32_at(self.types, at + 4)?;
        if !matches!(kind(info), KIND_STRUCT | KIND_UNION) || depth > 8 {
            return None;
        }
        let has_bit_fields = info >> 31 != 0;
        for n in 0..(info & 0xffff) as usize {
            let member = at + 12 + n * 12;
            let name = self.string(u32_at(self.types, member)?)?;
            let offset = u32_at(self.types, member + 8)?;
            let (bit, size) = if has_bit_fields {
                (offset & 0x00ff_ffff, offset >> 24)
            } else {
                (offset, 0)
            };
            if name == wanted {
                return Some((bit, size));
            }
            if name.is_empty()
                && let Some((inner, size)) =
                    self.member(u32_at(self.types, member + 4)?, wanted, depth + 1)
            {
                return Some((bit + inner, size));
            }
        }
        None
    }
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct sk_buff { u32 len; struct { u8 pkt_type:3; u8 ip_summed:2; }; }`
    fn sample() -> Vec<u8> {
        let strings = b"\0sk_buff\0len\0pkt_type\0ip_summed\0bpf_cast_to_kern_ctx\0";
        let mut types: Vec<u32> = Vec::new();
        // 1: int
        types.extend([0, KIND_INT << 24, 4, 32]);
        // 2: the unnamed struct
        types.extend([0, 1 << 31 | KIND_STRUCT << 24 | 2, 1]);
        types.extend([13, 1, 3 << 24]);
        types.extend([22, 1, 2 << 24 | 3]);
        // 3: struct sk_buff
        types.extend([1, KIND_STRUCT << 24 | 2, 8]);
        types.extend([9, 1, 0]);
        types.extend([0, 2, 32]);
        // 4: a function
        types.extend([32, KIND_FUNC << 24, 0]);
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]);
        for word in [
            24,
            0,
            types.len() as u32 * 4,
            types.len() as u32 * 4,
            strings.len() as u32,
        ] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in types {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn finds_a_bit_field_in_an_unnamed_member_and_a_function() {
        assert_eq!(
            find(&sample()),
            Facts {
                ip_summed: Some(BitField { byte: 4, shift: 3 }),
                cast_to_kernel_context: Some(4),
            }
        );
    }

    #[test]
    fn does_not_find_what_is_not_there() {
        let sample = sample();
        let btf = Btf::parse(&sample).expect("BTF");
        assert_eq!(btf.bit_field("sk_buff", "mark"), None);
        assert_eq!(btf.bit_field("net_device", "ip_summed"), None);
        assert_eq!(btf.bit_field("sk_buff", "len"), None, "no bit field");
        assert_eq!(btf.find(KIND_FUNC, "sk_buff"), None, "no function");
        assert_eq!(btf.find(KIND_FUNC, "bpf_cast"), None, "a part of a name");
    }

    #[test]
    fn damaged_input_is_no_panic() {
        let sample = sample();
        for len in 0..sample.len() {
            find(&sample[..len]);
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = sample.clone();
                damaged[len] ^= flip;
                find(&damaged);
            }
        }
    }
}
