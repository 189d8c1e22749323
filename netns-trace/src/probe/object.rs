//! The built object, and what is put into it before it is loaded: a tap's configuration, the user's filter, and the
//! number that a function has in this kernel.

use object::{
    LittleEndian, elf,
    read::elf::{FileHeader as _, SectionHeader as _, Sym as _},
};

use netns_trace_ebpf::{CAST, TapConfig};

use super::ProbeError;
use crate::filter::Insn;

/// The built object: the same bytes for every little-endian machine.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!("../../../netns-trace-ebpf/object/netns-trace.bpf.o");

/// The function that a filter stands in for.
const FILTER: &str = "netns_trace_filter";
/// The global that holds a tap's configuration.
const TAP: &str = "TAP";

type Header = elf::FileHeader64<LittleEndian>;
type Section = elf::SectionHeader64<LittleEndian>;
type Symbol = elf::Sym64<LittleEndian>;

/// The object for one tap. `cast` is the number of `bpf_cast_to_kern_ctx`, where the kernel has it.
pub(super) fn specialised(
    config: &TapConfig,
    cast: Option<u32>,
    filter: Option<&[Insn]>,
) -> Result<Vec<u8>, ProbeError> {
    let mut bytes = OBJECT.to_vec();
    configure(&mut bytes, config)?;
    call(&mut bytes, cast).map_err(damaged)?;
    if let Some(filter) = filter {
        put_filter(&mut bytes, filter)?;
    }
    Ok(bytes)
}

/// Sets the global that the verifier knows the value of.
fn configure(bytes: &mut [u8], config: &TapConfig) -> Result<(), ProbeError> {
    let tap = find(TAP)?;
    // SAFETY: `repr(C)` integers without padding.
    let value = unsafe {
        std::slice::from_raw_parts((&raw const *config).cast::<u8>(), size_of::<TapConfig>())
    };
    put(bytes, tap.at, value, TAP)
}

/// Puts the call of the kernel's function where programs have [`CAST`]; what is never run, where it has none.
fn call(bytes: &mut [u8], cast: Option<u32>) -> object::Result<()> {
    /// `r0 = 0`
    const NOTHING: u64 = 0xb7;
    let insn = match cast {
        // The call's opcode, `BPF_PSEUDO_KFUNC_CALL` in its source register, and the number.
        Some(number) => CAST & 0xffff_ffff | u64::from(number) << 32,
        None => NOTHING,
    };
    let header = Header::parse(OBJECT)?;
    let endian = header.endian()?;
    for section in header.sections(endian, OBJECT)?.iter() {
        if section.sh_flags(endian) & u64::from(elf::SHF_EXECINSTR) == 0 {
            continue;
        }
        let (start, len) = section.file_range(endian).unwrap_or_default();
        let code = bytes.get_mut(start as usize..(start + len) as usize);
        for word in code.unwrap_or_default().chunks_exact_mut(size_of::<u64>()) {
            if word == CAST.to_le_bytes() {
                word.copy_from_slice(&insn.to_le_bytes());
            }
        }
    }
    Ok(())
}

/// Puts the filter in its function's place.
///
/// It goes behind the file's end, and the section's header and the function's symbol say so: nothing
/// else moves. What BTF knows of the function stays true: what it takes and returns, and lines for its
/// first few instructions.
fn put_filter(bytes: &mut Vec<u8>, filter: &[Insn]) -> Result<(), ProbeError> {
    let place = find(FILTER)?;
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let (start, size) = (bytes.len() as u64, filter.len() as u64 * 8);
    bytes.extend(filter.iter().flat_map(|insn| insn.to_bytes()));
    for (at, value) in [
        (
            place.section + std::mem::offset_of!(Section, sh_offset),
            start,
        ),
        (place.section + std::mem::offset_of!(Section, sh_size), size),
        (place.symbol + std::mem::offset_of!(Symbol, st_size), size),
    ] {
        put(bytes, at, &value.to_le_bytes(), FILTER)?;
    }
    Ok(())
}

fn put(bytes: &mut [u8], at: usize, value: &[u8], part: &'static str) -> Result<(), ProbeError> {
    let place = bytes.get_mut(at..at + value.len());
    place
        .ok_or(ProbeError::Incomplete { part })?
        .copy_from_slice(value);
    Ok(())
}

/// Where in the object something is.
struct Place {
    /// Its first byte.
    at: usize,
    /// The header of its section.
    section: usize,
    /// Its symbol.
    symbol: usize,
}

fn find(name: &'static str) -> Result<Place, ProbeError> {
    let place = look_for(name.as_bytes()).map_err(damaged)?;
    place.ok_or(ProbeError::Incomplete { part: name })
}

fn look_for(name: &[u8]) -> object::Result<Option<Place>> {
    let header = Header::parse(OBJECT)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, OBJECT)?;
    let symbols = sections.symbols(endian, OBJECT, elf::SHT_SYMTAB)?;
    let mut all = symbols.enumerate();
    let Some((number, symbol)) =
        all.find(|(_, symbol)| symbol.name(endian, symbols.strings()) == Ok(name))
    else {
        return Ok(None);
    };
    let Some(section) = symbols.symbol_section(endian, symbol, number)? else {
        return Ok(None);
    };
    let start = |section| {
        let section = sections.section(section)?;
        Ok::<_, object::Error>(section.file_range(endian).unwrap_or_default().0)
    };
    Ok(Some(Place {
        at: (start(section)? + symbol.st_value(endian)) as usize,
        section: header.e_shoff(endian) as usize + section.0 * size_of::<Section>(),
        symbol: start(symbols.section())? as usize + number.0 * size_of::<Symbol>(),
    }))
}

fn damaged(why: object::Error) -> ProbeError {
    ProbeError::Object(why.to_string())
}

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

    use super::*;
    use crate::filter::{Program, translate};

    fn sections(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let file = object::File::parse(bytes).expect("an object");
        let of = |section: object::Section<'_, '_>| {
            let name = section.name().expect("a name").to_owned();
            (name, section.data().expect("bytes").to_vec())
        };
        file.sections().map(of).collect()
    }

    #[test]
    fn a_filter_takes_its_place_and_nothing_else_moves() {
        let program = Program::parse("2\n40 0 0 12\n22 0 0 0\n").expect("a filter");
        let insns = translate(&program).expect("translated");
        let mut patched = OBJECT.to_vec();
        put_filter(&mut patched, &insns).expect("patched");
        for (before, after) in sections(OBJECT).into_iter().zip(sections(&patched)) {
            assert_eq!(before.0, after.0);
            match before.0.as_str() {
                ".text.filter" => {
                    let code: Vec<u8> = insns.iter().flat_map(|insn| insn.to_bytes()).collect();
                    assert_eq!(after.1, code);
                }
                ".symtab" => assert_eq!(before.1.len(), after.1.len()),
                _ => assert_eq!(before, after),
            }
        }
        let file = object::File::parse(&*patched).expect("an object");
        let sizes = file
            .symbols()
            .filter(|one| one.name_bytes() == Ok(FILTER.as_bytes()));
        assert_eq!(
            sizes.map(|one| one.size()).collect::<Vec<_>>(),
            [insns.len() as u64 * 8]
        );
    }

    #[test]
    fn the_configuration_and_the_calls_are_all_that_is_changed() {
        let config = TapConfig {
            limit: 0x1112_1314_1516_1718,
            snaplen: 0x2122_2324,
            ..TapConfig::default()
        };
        let patched = specialised(&config, Some(0x0123_4567), None).expect("patched");
        let (mut calls, mut words) = (0, 0);
        for (before, after) in sections(OBJECT).into_iter().zip(sections(&patched)) {
            assert_eq!((&before.0, before.1.len()), (&after.0, after.1.len()));
            for (old, new) in before.1.chunks(8).zip(after.1.chunks(8)) {
                match (old == new, before.0.as_str()) {
                    (true, _) => {}
                    (false, ".rodata") => words += 1,
                    (false, "classifier") => {
                        assert_eq!(old, CAST.to_le_bytes());
                        assert_eq!(new, [0x85, 0x20, 0, 0, 0x67, 0x45, 0x23, 0x01]);
                        calls += 1;
                    }
                    (false, name) => panic!("{name} has changed"),
                }
            }
        }
        assert_eq!(
            (calls, words),
            (2, 2),
            "one call a hook, two words of the configuration"
        );
        let without = specialised(&config, None, None).expect("patched");
        assert!(without.windows(8).all(|word| word != CAST.to_le_bytes()));
    }
}
