//! RESP, the protocol of Redis: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use super::{Printed, Printer, bytes::Bytes, put};

/// Most items that an array is followed for, and how deep.
const MAX_DEPTH: u32 = 8;

/// What stands where a length should be.
enum Length {
    /// So many.
    Of(usize),
    /// Nothing: -1.
    Null,
    /// Something else, which is said.
    Odd(&'static str),
}

impl Printer<'_> {
    /// Commands or answers, as many as there are.
    pub(super) fn redis(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "resp";
        self.to.push_str(": RESP");
        let bytes = bytes.up_to(len);
        let mut at = 0;
        while at < len {
            match self.redis_value(bytes.from(at), 0) {
                Some(used) => at += used,
                None => {
                    self.say_truncated();
                    break;
                }
            }
        }
        Ok(())
    }

    /// A value; its length, `None` if it does not end here.
    fn redis_value(&mut self, bytes: Bytes<'_>, depth: u32) -> Option<usize> {
        match bytes.u8(0).ok()? {
            b'+' | b'-' | b':' => {
                let text = bytes.from(1).all();
                let end = text.windows(2).position(|pair| pair == b"\r\n")?;
                self.redis_text(&text[..end]);
                Some(1 + end + 2)
            }
            b'$' => self.redis_string(bytes),
            b'*' => self.redis_array(bytes, depth),
            _ => {
                let all = bytes.all();
                let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
                let start = all.iter().position(|byte| !is_end(byte))?;
                let end = start + all[start..].iter().position(is_end)?;
                self.redis_text(&all[start..end]);
                let ends = all[end..].iter().take_while(|byte| is_end(byte)).count();
                Some(end + ends)
            }
        }
    }

    fn redis_text(&mut self, text: &[u8]) {
        self.to.push_str(" \"");
        self.characters(text);
        self.to.push('"');
    }

    fn redis_string(&mut self, bytes: Bytes<'_>) -> Option<usize> {
        let (len, start) = length(bytes)?;
        let len = match len {
            Length::Of(0) => {
                self.to.push_str(" empty");
                0
            }
            Length::Of(len) => {
                self.redis_text(bytes.slice(start, len).ok()?);
                len
            }
            other => return self.redis_no_length(&other, start),
        };
        let rest = bytes.from(start + len).all();
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        Some(start + len + end + 2)
    }

    fn redis_array(&mut self, bytes: Bytes<'_>, depth: u32) -> Option<usize> {
        let (len, mut at) = length(bytes)?;
        match len {
            Length::Of(0) => self.to.push_str(" empty"),
            Length::Of(_) if depth >= MAX_DEPTH => return None,
            // Each item takes bytes, so a length that is not true ends with the packet.
            Length::Of(len) => {
                for _ in 0..len {
                    at += self.redis_value(bytes.from(at), depth + 1)?;
                }
            }
            other => return self.redis_no_length(&other, at),
        }
        Some(at)
    }

    fn redis_no_length(&mut self, length: &Length, used: usize) -> Option<usize> {
        let what = match length {
            Length::Odd(what) => what,
            Length::Null | Length::Of(_) => "null",
        };
        put!(self, " {what}");
        Some(used)
    }
}

/// The length behind the first byte, and where what it counts starts.
fn length(bytes: Bytes<'_>) -> Option<(Length, usize)> {
    let is_negative = bytes.u8(1).ok()? == b'-';
    let start = 1 + usize::from(is_negative);
    let mut at = start;
    let mut number = Some(0_i32);
    while let digit @ b'0'..=b'9' = bytes.u8(at).ok()? {
        let digit = i32::from(digit - b'0');
        number = number.and_then(|number| number.checked_mul(10)?.checked_add(digit));
        at += 1;
    }
    if at == start || bytes.u8(at).ok()? != b'\r' {
        return Some((Length::Odd("invalid"), at + 1));
    }
    if bytes.u8(at + 1).ok()? != b'\n' {
        return Some((Length::Odd("invalid"), at + 2));
    }
    let length = match number {
        Some(1) if is_negative => Length::Null,
        _ if is_negative => Length::Odd("length negative and not -1"),
        Some(number) => Length::Of(usize::try_from(number).ok()?),
        None => Length::Odd("length too large"),
    };
    Some((length, at + 2))
}
