//! The ways in for hostile input: a function for each, which takes any bytes and panics where the code behind it
//! does not keep its word. `fuzz/` calls them with what libFuzzer makes, and a test with the corpus that is
//! committed.

mod answers;
mod files;
mod filters;
mod machine;
mod names;
mod packets;
mod records;
mod states;

pub use self::{
    answers::answers, files::files, filters::filters, names::names, packets::packets,
    records::records, states::states,
};

/// A way in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its function too.
    pub name: &'static str,
    /// Bytes of the longest input that is tried.
    pub longest: usize,
    /// Takes an input.
    pub run: fn(&[u8]),
    /// Makes inputs of a capture file, where such a file has any.
    pub seeds: fn(&[u8]) -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "packets",
        longest: 4096,
        run: packets,
        seeds: packets::seeds,
    },
    Target {
        name: "files",
        longest: 8192,
        run: files,
        seeds: files::seeds,
    },
    Target {
        name: "records",
        longest: 4096,
        run: records,
        seeds: records::seeds,
    },
    Target {
        name: "filters",
        longest: 2048,
        run: filters,
        seeds: filters::seeds,
    },
    Target {
        name: "names",
        longest: 512,
        run: names,
        seeds: none,
    },
    Target {
        name: "states",
        longest: 4096,
        run: states,
        seeds: none,
    },
    Target {
        name: "answers",
        longest: 2048,
        run: answers,
        seeds: none,
    },
];

/// Nothing in a capture file is an input.
fn none(_: &[u8]) -> Vec<Vec<u8>> {
    Vec::new()
}

/// Takes bytes from the front; zeroes once there are none.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// The next `len` bytes, or what is there.
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next piece, whose length stands before it.
    fn piece(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let len = self.u16();
        Some(self.take(len.into()))
    }
}

/// A piece as [`Bytes::piece`] takes it.
fn piece(bytes: &[u8]) -> Vec<u8> {
    let len = bytes.len().min(u16::MAX.into());
    let mut piece = (len as u16).to_be_bytes().to_vec();
    piece.extend(&bytes[..len]);
    piece
}

/// Whether a text can go to a terminal: it holds nothing that would do something there.
#[must_use]
pub fn is_printable(text: &str) -> bool {
    text.chars()
        .all(|c| !c.is_control() || c == '\n' || c == '\t')
}

#[track_caller]
fn assert_printable(text: &str) {
    assert!(is_printable(text), "control characters in {text:?}");
}
