//! The statistics block at the end of a file of one interface.

use std::{collections::HashMap, fs, path::Path};

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that passed the filter.
    pub received: u64,
    /// Packets that the kernel dropped.
    pub dropped: u64,
    /// Packets in the file.
    pub captured: u64,
    /// When the capture started, nanoseconds since 1970.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
}

/// The one at the end of a file, taken apart by hand: no tool here prints it.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn of(file: &Path) -> Statistics {
    let bytes = fs::read(file).expect("the file");
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let length = word(bytes.len() - 4) as usize;
    let start = bytes.len() - length;
    assert_eq!(word(start), 5, "a statistics block ends the file");
    let mut found = HashMap::new();
    let mut at = start + 20;
    while at < bytes.len() - 4 {
        let (code, len) = (word(at) & 0xffff, (word(at) >> 16) as usize);
        if len == 8 {
            let value = u64::from_ne_bytes(bytes[at + 4..at + 12].try_into().expect("8 bytes"));
            found.insert(code, value);
        }
        at += 4 + len.next_multiple_of(4);
    }
    // Times are two words, the high one first.
    let time = |value: u64| value.rotate_right(32);
    Statistics {
        start_ns: time(found[&2]),
        end_ns: time(found[&3]),
        received: found[&6],
        dropped: found[&7],
        captured: found[&8],
    }
}
