//! Options of TCP's header.

use super::{
    Printer,
    bytes::{Bytes, Truncated},
    put,
    words::{Words, word},
};

const END: u8 = 0;
const NOP: u8 = 1;
const OPTIONS: &Words = &[
    (0, "eol"),
    (1, "nop"),
    (2, "mss"),
    (3, "wscale"),
    (4, "sackOK"),
    (5, "sack"),
    (6, "echo"),
    (7, "echoreply"),
    (8, "TS"),
    (11, "cc"),
    (12, "ccnew"),
    (13, ""),
    (19, "md5"),
    (20, "scps"),
    (28, "uto"),
    (29, "tcp-ao"),
    (30, "mptcp"),
    (34, "tfo"),
    (254, "exp"),
];

/// Why an option cannot be printed.
enum Wrong {
    /// Its length cannot be.
    Bad,
    /// Its data was not captured.
    Cut,
    /// Its kind or length was not.
    Missing(Truncated),
}

impl From<Truncated> for Wrong {
    fn from(truncated: Truncated) -> Self {
        Self::Missing(truncated)
    }
}

impl Printer<'_> {
    /// The options; whether what follows can be printed too.
    pub(super) fn tcp_options(
        &mut self,
        bytes: Bytes<'_>,
        len: usize,
        flags: u8,
        acknowledged_from: u32,
    ) -> Result<bool, Truncated> {
        self.to.push_str(", options [");
        let mut at = 0;
        while at < len {
            if at > 0 {
                self.to.push(',');
            }
            match self.tcp_option(bytes.from(at), len - at, flags, acknowledged_from) {
                Ok(Some(option_len)) => at += option_len,
                Ok(None) => break,
                Err(Wrong::Bad) => {
                    self.to.push_str("[bad opt]");
                    if at > 0 {
                        self.to.push(']');
                    }
                    return Ok(false);
                }
                Err(Wrong::Cut) => {
                    self.say_truncated();
                    if at > 0 {
                        self.to.push('>');
                    }
                    return Ok(false);
                }
                Err(Wrong::Missing(truncated)) => return Err(truncated),
            }
        }
        self.to.push(']');
        Ok(true)
    }

    /// One option; its length, `None` for the last one.
    fn tcp_option(
        &mut self,
        bytes: Bytes<'_>,
        left: usize,
        flags: u8,
        acknowledged_from: u32,
    ) -> Result<Option<usize>, Wrong> {
        let kind = bytes.u8(0)?;
        let len = match kind {
            END | NOP => 1,
            _ => usize::from(bytes.u8(1)?),
        };
        if kind > NOP && (len < 2 || len > left) {
            return Err(Wrong::Bad);
        }
        match word(OPTIONS, kind.into()) {
            Some(name) => self.to.push_str(name),
            None => put!(self, "unknown-{kind}"),
        }
        if kind == END {
            return Ok(None);
        }
        if kind == NOP {
            return Ok(Some(1));
        }
        // What an option of this kind must have; what is left of the header bounds it, not its own length.
        let data_left = left - 2;
        let need = |need: usize| {
            if need > data_left {
                Err(Wrong::Bad)
            } else if bytes.has(2 + need) {
                Ok(())
            } else {
                Err(Wrong::Cut)
            }
        };
        let mut data_len = len - 2;
        match kind {
            2 => {
                data_len = 2;
                need(2)?;
                put!(self, " {}", bytes.u16(2)?);
            }
            3 => {
                data_len = 1;
                need(1)?;
                put!(self, " {}", bytes.u8(2)?);
            }
            4 => data_len = 0,
            5 if data_len % 8 != 0 => self.to.push_str(" invalid sack"),
            5 => {
                put!(self, " {} ", data_len / 8);
                for at in (2..2 + data_len).step_by(8) {
                    need(at + 6)?;
                    let start = bytes.u32(at)?.wrapping_sub(acknowledged_from);
                    let end = bytes.u32(at + 4)?.wrapping_sub(acknowledged_from);
                    put!(self, "{{{start}:{end}}}");
                }
            }
            6 | 7 | 11..=13 => {
                data_len = 4;
                need(4)?;
                put!(self, " {}", bytes.u32(2)?);
            }
            8 => {
                data_len = 8;
                need(8)?;
                put!(self, " val {} ecr {}", bytes.u32(2)?, bytes.u32(6)?);
            }
            19 => {
                data_len = 16;
                need(16)?;
                self.to.push_str(" can't check - ");
                self.digits(bytes.slice(2, 16)?);
            }
            20 => {
                data_len = 2;
                need(2)?;
                put!(self, " cap {:02x} id {}", bytes.u8(2)?, bytes.u8(3)?);
            }
            28 => {
                data_len = 2;
                need(2)?;
                let told = bytes.u16(2)?;
                // The lowest bit tells minutes from seconds (RFC 5482).
                let seconds = u32::from(told >> 1) * if told & 1 == 1 { 60 } else { 1 };
                put!(self, " 0x{told:x} {seconds}");
            }
            29 if data_len < 2 => self.say_invalid(),
            29 => {
                need(1)?;
                put!(self, " keyid {}", bytes.u8(2)?);
                need(2)?;
                put!(self, " rnextkeyid {}", bytes.u8(3)?);
                if data_len > 2 {
                    self.to.push_str(" mac 0x");
                    for at in 4..2 + data_len {
                        need(at - 1)?;
                        put!(self, "{:02x}", bytes.u8(at)?);
                    }
                }
            }
            30 => {
                need(data_len)?;
                if !self.mptcp(bytes.up_to(len), flags)? {
                    return Err(Wrong::Bad);
                }
            }
            34 => {
                need(data_len)?;
                self.to.push(' ');
                self.fast_open(bytes.slice(2, data_len)?);
            }
            254 => {
                need(data_len)?;
                if data_len < 2 {
                    return Err(Wrong::Bad);
                }
                self.to.push('-');
                match bytes.u16(2)? {
                    0xf989 => {
                        self.to.push_str("tfo");
                        self.fast_open(bytes.slice(4, data_len - 2)?);
                    }
                    other => put!(self, "{other:04x}"),
                }
            }
            _ => {
                if data_len > 0 {
                    self.to.push_str(" 0x");
                }
                for at in 2..2 + data_len {
                    need(at - 1)?;
                    put!(self, "{:02x}", bytes.u8(at)?);
                }
            }
        }
        if data_len + 2 != len {
            put!(self, "[len {len}]");
        }
        Ok(Some(data_len + 2))
    }

    /// A cookie (RFC 7413).
    fn fast_open(&mut self, data: &[u8]) {
        if data.is_empty() {
            self.to.push_str(" cookiereq");
        } else if !data.len().is_multiple_of(2) || !(4..=16).contains(&data.len()) {
            self.say_invalid();
        } else {
            self.to.push_str(" cookie ");
            self.digits(data);
        }
    }

    pub(super) fn digits(&mut self, data: &[u8]) {
        for byte in data {
            put!(self, "{byte:02x}");
        }
    }
}
