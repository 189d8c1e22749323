//! Bytes as hexadecimal digits and as characters.

use super::{
    DumpForm, Printed, Printer,
    bytes::{Bytes, Truncated},
    put,
};

/// Bytes in a line.
const LINE: usize = 16;
/// Columns of a line's hexadecimal digits.
const WIDTH: usize = LINE / 2 * 5;

impl Printer<'_> {
    /// What `-x`, `-X` and `-A` show.
    pub(super) fn dump(&mut self, form: DumpForm, bytes: Bytes<'_>) {
        match form {
            DumpForm::Hex => self.hex("\n\t", bytes.all()),
            DumpForm::HexAscii => self.hex_and_ascii("\n\t", bytes.all()),
            DumpForm::Ascii => self.ascii(bytes.all()),
        }
    }

    /// What is shown of a payload that is not understood, unless less is asked for, or its bytes are shown
    /// anyway.
    pub(super) fn unknown(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        if self.options.quiet > 0 || self.options.dump.is_some() {
            return Ok(());
        }
        self.hex_and_ascii("\n\t", bytes.up_to(len).all());
        if bytes.has(len) {
            Ok(())
        } else {
            Err(Truncated)
        }
    }

    /// Lines of pairs of digits, each behind `indent` and its offset.
    pub(super) fn hex(&mut self, indent: &str, bytes: &[u8]) {
        for (line, chunk) in bytes.chunks(LINE).enumerate() {
            put!(self, "{indent}0x{:04x}: {}", line * LINE, digits(chunk));
        }
    }

    fn hex_and_ascii(&mut self, indent: &str, bytes: &[u8]) {
        for (line, chunk) in bytes.chunks(LINE).enumerate() {
            let characters: String = chunk
                .iter()
                .map(|byte| {
                    if byte.is_ascii_graphic() {
                        char::from(*byte)
                    } else {
                        '.'
                    }
                })
                .collect();
            put!(
                self,
                "{indent}0x{:04x}: {:<WIDTH$}  {characters}",
                line * LINE,
                digits(chunk)
            );
        }
    }

    fn ascii(&mut self, bytes: &[u8]) {
        self.to.push('\n');
        for (at, byte) in bytes.iter().enumerate() {
            let rest = &bytes[at + 1..];
            match byte {
                // Before a line's end it is left out, as anywhere near the packet's.
                b'\r' => {
                    if rest.len() > 1 && rest[0] != b'\n' {
                        self.to.push('.');
                    }
                }
                b'\t' | b' ' | b'\n' | 0x21..=0x7e => self.to.push(char::from(*byte)),
                _ => self.to.push('.'),
            }
        }
    }
}

/// ` 4500 0054`.
fn digits(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(WIDTH);
    for (at, byte) in bytes.iter().enumerate() {
        if at % 2 == 0 {
            text.push(' ');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
