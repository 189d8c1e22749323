//! Reads one thing from the running kernel's BTF: where a bit field of a struct lies.
//!
//! The format: <https://docs.kernel.org/bpf/btf.html>. aya-obj parses it too, but keeps struct
//! members to itself.

use std::{collections::HashMap, fs};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
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

/// Where `member` lies in the running kernel's `struct structure`; the error is a reason in words.
pub(super) fn bit_field(structure: &str, member: &str) -> Result<BitField, String> {
    if cfg!(target_endian = "big") {
        return Err("bit fields are read on little-endian machines alone".to_owned());
    }
    let bytes = fs::read(VMLINUX).map_err(|error| format!("{VMLINUX}: {error}"))?;
    find(&bytes, structure, member)
        .ok_or_else(|| format!("{VMLINUX} knows no {member} in struct {structure}"))
}

fn find(bytes: &[u8], structure: &str, member: &str) -> Option<BitField> {
    let btf = Btf::parse(bytes)?;
    let id = *btf.structs.get(structure)?;
    let (bit, size) = btf.member(id, member, 0)?;
    // A plain member has no size of its own here; a bit field must not cross its byte.
    (size > 0 && bit % 8 + size <= 8).then_some(BitField {
        byte: bit / 8,
        shift: bit % 8,
    })
}

struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Offset of each type in `types`, by id - 1.
    offsets: Vec<u32>,
    structs: HashMap<&'a str, u32>,
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
            structs: HashMap::new(),
        };
        let mut at = 0;
        while at < btf.types.len() {
            btf.offsets.push(at as u32);
            let info = u32_at(btf.types, at + 4)?;
            let (kind, members) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
            if kind == KIND_STRUCT {
                let name = btf.string(u32_at(btf.types, at)?)?;
                btf.structs.insert(name, btf.offsets.len() as u32);
            }
            at += 12
                + match kind {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => members * 12,
                    KIND_ENUM | KIND_FUNC_PROTO => members * 8,
                    _ => 0,
                };
        }
        Some(btf)
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
        if !matches!((info >> 24) & 0x1f, KIND_STRUCT | KIND_UNION) || depth > 8 {
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
        let strings = b"\0sk_buff\0len\0pkt_type\0ip_summed\0";
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
    fn finds_a_bit_field_in_an_unnamed_member() {
        let found = find(&sample(), "sk_buff", "ip_summed");
        assert_eq!(found, Some(BitField { byte: 4, shift: 3 }));
    }

    #[test]
    fn does_not_find_what_is_not_there() {
        assert_eq!(find(&sample(), "sk_buff", "mark"), None);
        assert_eq!(find(&sample(), "net_device", "ip_summed"), None);
        assert_eq!(find(&sample(), "sk_buff", "len"), None, "no bit field");
    }

    #[test]
    fn damaged_input_is_no_panic() {
        let sample = sample();
        for len in 0..sample.len() {
            find(&sample[..len], "sk_buff", "ip_summed");
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = sample.clone();
                damaged[len] ^= flip;
                find(&damaged, "sk_buff", "ip_summed");
            }
        }
    }
}
