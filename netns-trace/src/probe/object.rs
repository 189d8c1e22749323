//! The built object, and the place in it that the user's filter takes.

use std::borrow::Cow;

use object::{
    LittleEndian, U64, elf,
    read::elf::{FileHeader as _, SectionHeader as _, Sym as _},
};

use super::ProbeError;
use crate::filter::Insn;

/// The built object: the same bytes for every little-endian machine.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!("../../../netns-trace-ebpf/object/netns-trace.bpf.o");

/// The function that a filter stands in for, and its section.
const FUNCTION: &[u8] = b"netns_trace_filter";
const SECTION: &[u8] = b".text.filter";

type Header = elf::FileHeader64<LittleEndian>;

/// The object, with the function replaced where there is a filter.
///
/// The filter goes behind the file's end, and the section's header and the function's symbol say so: nothing
/// else moves. What BTF knows of the function stays true: what it takes and returns, and lines for its
/// first few instructions.
pub(super) fn with_filter(filter: Option<&[Insn]>) -> Result<Cow<'static, [u8]>, ProbeError> {
    let Some(filter) = filter else {
        return Ok(OBJECT.into());
    };
    let place = find().map_err(|why| ProbeError::Object(why.to_string()))?;
    let place = place.ok_or(ProbeError::Incomplete {
        part: "a place for filters",
    })?;
    let mut bytes = OBJECT.to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let (start, size) = (bytes.len() as u64, filter.len() as u64 * 8);
    bytes.extend(filter.iter().flat_map(|insn| insn.to_bytes()));
    for (at, value) in [
        (
            place.section + std::mem::offset_of!(elf::SectionHeader64<LittleEndian>, sh_offset),
            start,
        ),
        (
            place.section + std::mem::offset_of!(elf::SectionHeader64<LittleEndian>, sh_size),
            size,
        ),
        (
            place.symbol + std::mem::offset_of!(elf::Sym64<LittleEndian>, st_size),
            size,
        ),
    ] {
        let word = bytes.get_mut(at..at + size_of::<U64<LittleEndian>>());
        let word = word.ok_or(ProbeError::Incomplete {
            part: "a place for filters",
        })?;
        word.copy_from_slice(&value.to_le_bytes());
    }
    Ok(bytes.into())
}

/// Where in the object the section's header and the function's symbol are.
struct Place {
    section: usize,
    symbol: usize,
}

fn find() -> object::Result<Option<Place>> {
    let header = Header::parse(OBJECT)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, OBJECT)?;
    let symbols = sections.symbols(endian, OBJECT, elf::SHT_SYMTAB)?;
    let Some((section, _)) = sections.section_by_name(endian, SECTION) else {
        return Ok(None);
    };
    let mut all = symbols.enumerate();
    let function = all.find(|(_, symbol)| symbol.name(endian, symbols.strings()) == Ok(FUNCTION));
    let table = sections.section(symbols.section())?;
    let (table, _) = table.file_range(endian).unwrap_or_default();
    Ok(function.map(|(number, _)| Place {
        section: header.e_shoff(endian) as usize
            + section.0 * size_of::<elf::SectionHeader64<LittleEndian>>(),
        symbol: table as usize + number.0 * size_of::<elf::Sym64<LittleEndian>>(),
    }))
}

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

    use super::*;
    use crate::filter::{Program, translate};

    #[test]
    fn a_filter_takes_its_place_and_nothing_else_moves() {
        let program = Program::parse("2\n40 0 0 12\n22 0 0 0\n").expect("a filter");
        let insns = translate(&program).expect("translated");
        let patched = with_filter(Some(&insns)).expect("patched");
        let read = |bytes: &[u8]| -> Vec<(String, u64, Vec<u8>)> {
            let file = object::File::parse(bytes).expect("an object");
            let of = |section: object::Section<'_, '_>| {
                let name = section.name().expect("a name").to_owned();
                (
                    name,
                    section.size(),
                    section.data().expect("bytes").to_vec(),
                )
            };
            file.sections().map(of).collect()
        };
        for (before, after) in read(OBJECT).into_iter().zip(read(&patched)) {
            assert_eq!(before.0, after.0);
            match before.0.as_str() {
                ".text.filter" => {
                    let code: Vec<u8> = insns.iter().flat_map(|insn| insn.to_bytes()).collect();
                    assert_eq!(after.2, code);
                }
                ".symtab" => assert_eq!(before.1, after.1),
                _ => assert_eq!(before, after),
            }
        }
        let file = object::File::parse(&*patched).expect("an object");
        let sizes = file
            .symbols()
            .filter(|one| one.name_bytes() == Ok(FUNCTION));
        assert_eq!(
            sizes.map(|one| one.size()).collect::<Vec<_>>(),
            [insns.len() as u64 * 8]
        );
        assert_eq!(with_filter(None).expect("the object"), OBJECT);
    }
}
