//! Headers of IPv6 that hold options or a route.

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    put,
};

/// A header's length, or `None` where nothing more can be printed.
type Length = Result<Option<usize>, Truncated>;

/// Kind and length of the option at a place, if all of it is there.
fn option_at(bytes: Bytes<'_>, at: usize) -> Result<Option<(u8, usize)>, Truncated> {
    let kind = bytes.u8(at)?;
    let left = bytes.len() - at;
    let len = match kind {
        0 => 1,
        _ if left < 2 => return Ok(None),
        _ => usize::from(bytes.u8(at + 1)?) + 2,
    };
    Ok((len <= left).then_some((kind, len)))
}

impl Printer<'_> {
    pub(super) fn hop_by_hop(
        &mut self,
        bytes: Bytes<'_>,
        payload_len: usize,
        jumbo: &mut Option<u32>,
    ) -> Length {
        self.protocol = "hbhopt";
        let Some(header) = self.ip6_option_header(bytes)? else {
            return Ok(None);
        };
        self.to.push_str("HBH ");
        let mut found = None;
        let whole = self.ip6_options(header.from(2), Some(payload_len), &mut found)?;
        *jumbo = found;
        Ok(self.whole_or_truncated(whole, header.len()))
    }

    pub(super) fn destination_options(&mut self, bytes: Bytes<'_>) -> Length {
        self.protocol = "dstopt";
        let Some(header) = self.ip6_option_header(bytes)? else {
            return Ok(None);
        };
        self.to.push_str("DSTOPT ");
        let whole = self.verbose() == 0 || self.ip6_options(header.from(2), None, &mut None)?;
        Ok(self.whole_or_truncated(whole, header.len()))
    }

    fn whole_or_truncated(&mut self, whole: bool, len: usize) -> Option<usize> {
        if !whole {
            self.say_truncated();
        }
        whole.then_some(len)
    }

    fn ip6_option_header<'a>(&mut self, bytes: Bytes<'a>) -> Result<Option<Bytes<'a>>, Truncated> {
        let len = (usize::from(bytes.u8(1)?) + 1) * 8;
        if bytes.has(len) {
            Ok(Some(bytes.up_to(len)))
        } else {
            self.say_truncated();
            Ok(None)
        }
    }

    /// The options; whether they were whole. `payload_len` is there in the one header where a jumbo option
    /// may be (RFC 2675).
    fn ip6_options(
        &mut self,
        bytes: Bytes<'_>,
        payload_len: Option<usize>,
        jumbo: &mut Option<u32>,
    ) -> Result<bool, Truncated> {
        let verbose = self.verbose() > 0;
        let mut seen_jumbo = false;
        let mut at = 0;
        while at < bytes.len() {
            let left = bytes.len() - at;
            let Some((kind, len)) = option_at(bytes, at)? else {
                return Ok(false);
            };
            match kind {
                0 if verbose => self.to.push_str("(pad1)"),
                1 if verbose => self.to.push_str("(padn)"),
                0 | 1 => {}
                5 => {
                    if let Some(wrong) = odd_len(left, len, 4) {
                        put!(self, "(rtalert: {wrong})");
                        return Ok(false);
                    }
                    if verbose {
                        put!(self, "(rtalert: 0x{:04x}) ", bytes.u16(at + 2)?);
                    }
                }
                0xc2 => {
                    if let Some(wrong) = odd_len(left, len, 6) {
                        put!(self, "(jumbo: {wrong})");
                        return Ok(false);
                    }
                    let told = bytes.u32(at + 2)?;
                    let wrong = match payload_len {
                        _ if seen_jumbo => Some("already seen"),
                        None => Some("not a hop-by-hop option"),
                        Some(len) if len != 0 => Some("payload len != 0"),
                        Some(_) if told < 65536 => Some("< 65536"),
                        Some(_) => None,
                    };
                    seen_jumbo = true;
                    match wrong {
                        None => {
                            *jumbo = Some(told);
                            if verbose {
                                put!(self, "(jumbo: {told}) ");
                            }
                        }
                        Some(wrong) if verbose => put!(self, "(jumbo: {told} - {wrong}) "),
                        Some(_) => {}
                    }
                }
                0xc9 => {
                    if left < 18 {
                        self.to.push_str("(homeaddr: trunc)");
                        return Ok(false);
                    }
                    if len < 18 {
                        put!(self, "(homeaddr: invalid len {})", len - 2);
                        return Ok(false);
                    }
                    if verbose {
                        put!(self, "(homeaddr: {}", self.v6(bytes, at + 2)?);
                        let more = bytes.from(at).up_to(len).from(18);
                        if !self.ip6_suboptions(more)? {
                            return Ok(false);
                        }
                        self.to.push(')');
                    }
                }
                _ if verbose => put!(self, "(opt_type 0x{kind:02x}: len={})", len - 2),
                _ => {}
            }
            at += len;
        }
        if verbose && !bytes.is_empty() {
            self.to.push(' ');
        }
        Ok(true)
    }

    fn ip6_suboptions(&mut self, bytes: Bytes<'_>) -> Result<bool, Truncated> {
        let mut at = 0;
        while at < bytes.len() {
            let Some((kind, len)) = option_at(bytes, at)? else {
                return Ok(false);
            };
            match kind {
                0 => self.to.push_str(", pad1"),
                1 => self.to.push_str(", padn"),
                _ => put!(self, ", sopt_type 0x{kind:02x}: len={}", len - 2),
            }
            at += len;
        }
        Ok(true)
    }

    /// A routing header (RFC 8200, 4.4; RFC 8754).
    pub(super) fn routing(&mut self, bytes: Bytes<'_>) -> Length {
        self.protocol = "rt6";
        let len = usize::from(bytes.u8(1)?);
        let kind = bytes.u8(2)?;
        put!(self, "RT6 (len={len}, type={kind}");
        if kind == 0 {
            self.to.push_str(" [Deprecated]");
        }
        put!(self, ", segleft={}", bytes.u8(3)?);
        match kind {
            0 | 2 => {
                let reserved = bytes.u32(4)?;
                if reserved != 0 || self.verbose() > 0 {
                    put!(self, ", rsv=0x{reserved:x}");
                }
            }
            4 => {
                put!(self, ", last-entry={}", bytes.u8(4)?);
                let flags = bytes.u8(5)?;
                if flags != 0 || self.verbose() > 0 {
                    put!(self, ", flags=0x{flags:x}");
                }
                put!(self, ", tag={:x}", bytes.u16(6)?);
            }
            _ => {
                self.to.push_str(" (unknown type)");
                self.say_invalid();
                return Ok(None);
            }
        }
        if len % 2 == 1 {
            put!(self, " (invalid length {len})");
            self.say_invalid();
            return Ok(None);
        }
        self.segments(bytes, len / 2)?;
        self.to.push_str(") ");
        Ok(Some((len + 1) * 8))
    }

    fn segments(&mut self, bytes: Bytes<'_>, count: usize) -> Printed {
        for segment in 0..count {
            put!(self, ", [{segment}]{}", self.v6(bytes, 8 + segment * 16)?);
        }
        Ok(())
    }
}

/// What is wrong with an option that must have `wanted` bytes.
fn odd_len(left: usize, len: usize, wanted: usize) -> Option<String> {
    if left < wanted {
        Some("trunc".to_owned())
    } else if len != wanted {
        Some(format!("invalid len {}", len - 2))
    } else {
        None
    }
}
