//! Bytes of a file in pieces of known length, and where they were.

use std::io::{self, BufRead as _, BufReader, Read};

use super::{InputError, Problem};

/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;
/// Bytes by which a piece grows while it is read: so much memory is taken for a length that is not true.
const STEP: usize = 64 << 10;

pub(super) struct Stream {
    file: BufReader<Box<dyn Read + Send>>,
    offset: u64,
    piece: Vec<u8>,
}

impl Stream {
    pub(super) fn new(file: Box<dyn Read + Send>) -> Self {
        Self {
            file: BufReader::with_capacity(BUFFER, file),
            offset: 0,
            piece: Vec::new(),
        }
    }

    /// How many bytes were taken so far.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `len` bytes, which are of `what`.
    pub(super) fn take(&mut self, len: usize, what: &'static str) -> Result<&[u8], InputError> {
        let start = self.offset;
        let error = |what| InputError {
            offset: start,
            what,
        };
        self.piece.clear();
        while self.piece.len() < len {
            let before = self.piece.len();
            let step = (len - before).min(STEP);
            self.piece.resize(before + step, 0);
            let read = self.file.read(&mut self.piece[before..]);
            let got = match read {
                Err(why) if why.kind() == io::ErrorKind::Interrupted => 0,
                Err(why) => return Err(error(why.into())),
                Ok(0) => {
                    let what = Problem::Short {
                        what,
                        wanted: len,
                        there: before,
                    };
                    return Err(error(what));
                }
                Ok(got) => got,
            };
            self.piece.truncate(before + got);
        }
        self.offset += len as u64;
        Ok(&self.piece)
    }

    /// Whether the file ends here.
    pub(super) fn is_at_end(&mut self) -> Result<bool, InputError> {
        loop {
            match self.file.fill_buf() {
                Ok(rest) => return Ok(rest.is_empty()),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => {
                    return Err(InputError {
                        offset: self.offset,
                        what: why.into(),
                    });
                }
            }
        }
    }

    pub(super) fn has_more(&self) -> bool {
        !self.file.buffer().is_empty()
    }
}
