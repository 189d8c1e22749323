//! Protocols of text lines: HTTP and its relatives, mail, SSH's greeting.

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    put,
};

/// Which packets begin with a line worth showing.
#[derive(Clone, Copy)]
pub(super) enum Lines {
    /// All.
    All,
    /// Requests of these methods, and responses, which have a number of three digits.
    Of(&'static [&'static str]),
}

pub(super) const HTTP: &[&str] = &[
    "GET",
    "PUT",
    "COPY",
    "HEAD",
    "LOCK",
    "MOVE",
    "POLL",
    "POST",
    "BCOPY",
    "BMOVE",
    "MKCOL",
    "TRACE",
    "LABEL",
    "MERGE",
    "DELETE",
    "SEARCH",
    "UNLOCK",
    "REPORT",
    "UPDATE",
    "NOTIFY",
    "BDELETE",
    "CONNECT",
    "OPTIONS",
    "CHECKIN",
    "PROPFIND",
    "CHECKOUT",
    "CCM_POST",
    "SUBSCRIBE",
    "PROPPATCH",
    "BPROPFIND",
    "BPROPPATCH",
    "UNCHECKOUT",
    "MKACTIVITY",
    "MKWORKSPACE",
    "UNSUBSCRIBE",
    "RPC_CONNECT",
    "VERSION-CONTROL",
    "BASELINE-CONTROL",
];
pub(super) const RTSP: &[&str] = &[
    "DESCRIBE",
    "ANNOUNCE",
    "GET_PARAMETER",
    "OPTIONS",
    "PAUSE",
    "PLAY",
    "RECORD",
    "REDIRECT",
    "SETUP",
    "SET_PARAMETER",
    "TEARDOWN",
];
pub(super) const SIP: &[&str] = &[
    "ACK",
    "BYE",
    "CANCEL",
    "DO",
    "INFO",
    "INVITE",
    "MESSAGE",
    "NOTIFY",
    "OPTIONS",
    "PRACK",
    "QAUTH",
    "REFER",
    "REGISTER",
    "SPRACK",
    "SUBSCRIBE",
    "UPDATE",
    "PUBLISH",
];

/// Longest word that is looked at.
const MAX_WORD: usize = 128;

/// How a line ended.
enum End {
    /// With a line's end; the next begins there.
    Line(usize),
    /// With the packet.
    Packet,
    /// It is no text.
    Binary,
}

impl Printer<'_> {
    /// The first line of `len` bytes, or all of them with `-v`.
    pub(super) fn text_protocol(&mut self, bytes: Bytes<'_>, len: usize, lines: Lines) -> Printed {
        let is_shown = match lines {
            Lines::All => true,
            Lines::Of(methods) => is_start(bytes, len, methods)?,
        };
        let name = self.protocol.to_ascii_uppercase();
        self.to.push_str(&name);
        if !is_shown {
            return Ok(());
        }
        if self.verbose() == 0 {
            self.text_line(": ", bytes, len)?;
            return Ok(());
        }
        put!(self, ", length: {len}");
        let mut at = 0;
        while at < len {
            match self.text_line("\n\t", bytes.from(at), len - at)? {
                End::Line(next) => at += next,
                End::Packet | End::Binary => break,
            }
        }
        Ok(())
    }

    fn text_line(&mut self, prefix: &str, bytes: Bytes<'_>, len: usize) -> Result<End, Truncated> {
        let (line, end) = line(bytes, len)?;
        if !matches!(end, End::Binary) {
            self.to.push_str(prefix);
            self.to.extend(line.iter().map(|byte| char::from(*byte)));
        }
        if matches!(end, End::Packet) {
            self.say_truncated();
        }
        Ok(end)
    }

    /// The greeting of SSH (RFC 4253, 4.2), and nothing of what is encrypted.
    pub(super) fn ssh(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "ssh";
        for (at, wanted) in b"SSH-".iter().enumerate() {
            if bytes.u8(at)? != *wanted {
                return Ok(());
            }
        }
        let (line, end) = line(bytes, len)?;
        if matches!(end, End::Line(_)) && !line.contains(&b'\t') {
            self.to.push_str(": SSH: ");
            self.to.extend(line.iter().map(|byte| char::from(*byte)));
        }
        Ok(())
    }
}

/// The line at the start, and how it ends. Its bytes are printable, or tabs.
fn line(bytes: Bytes<'_>, len: usize) -> Result<(&[u8], End), Truncated> {
    for at in 0..len {
        let end = match bytes.u8(at)? {
            b'\n' => End::Line(at + 1),
            b'\r' if at + 1 < len && bytes.u8(at + 1)? == b'\n' => End::Line(at + 2),
            b'\t' | 0x20..=0x7e => continue,
            _ => End::Binary,
        };
        return Ok((bytes.slice(0, at)?, end));
    }
    Ok((bytes.slice(0, len)?, End::Packet))
}

/// Whether this is a request or a response, not the middle of one.
fn is_start(bytes: Bytes<'_>, len: usize, methods: &[&str]) -> Result<bool, Truncated> {
    let Some((first, next)) = next_word(bytes, 0, len)? else {
        return Ok(false);
    };
    if methods
        .iter()
        .any(|method| method.as_bytes().eq_ignore_ascii_case(first))
    {
        return Ok(true);
    }
    let second = next_word(bytes, next, len)?;
    Ok(
        second
            .is_some_and(|(second, _)| second.len() == 3 && second.iter().all(u8::is_ascii_digit)),
    )
}

/// The word at `at`, and where the next one of its line starts.
fn next_word(bytes: Bytes<'_>, at: usize, len: usize) -> Result<Option<(&[u8], usize)>, Truncated> {
    let rest = bytes.up_to(len).from(at).all();
    let is_end = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let word_len = match rest.iter().position(is_end) {
        Some(end) => end,
        None if bytes.has(len) => rest.len(),
        None => return Ok(None),
    };
    let word = &rest[..word_len];
    if word.is_empty() || word_len >= MAX_WORD || !word.iter().all(u8::is_ascii_graphic) {
        return Ok(None);
    }
    let blanks = rest[word_len..]
        .iter()
        .take_while(|byte| **byte == b' ')
        .count();
    Ok(Some((word, at + word_len + blanks)))
}
