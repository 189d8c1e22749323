//! The option of Multipath TCP (RFC 8684).

use super::{
    Printer,
    bytes::{Bytes, Truncated},
    put,
    tcp::{ACK, SYN},
};

const KINDS: [&str; 9] = [
    "capable",
    "join",
    "dss",
    "add-addr",
    "rem-addr",
    "prio",
    "fail",
    "fast-close",
    "unknown",
];

/// Whether an option was right.
type Right = Result<bool, Truncated>;

impl Printer<'_> {
    /// The option, from its kind on.
    pub(super) fn mptcp(&mut self, option: Bytes<'_>, flags: u8) -> Right {
        self.protocol = "mptcp";
        let len = option.len();
        if len < 3 {
            return Ok(false);
        }
        let kind = usize::from(option.u8(2)? >> 4).min(KINDS.len() - 1);
        put!(self, " {len} {}", KINDS[kind]);
        match kind {
            0 => self.mptcp_capable(option, flags),
            1 => self.mptcp_join(option, flags),
            2 => self.mptcp_sequence(option, flags),
            3 => self.mptcp_add_address(option),
            4 if len < 4 => Ok(false),
            4 => {
                self.to.push_str(" id");
                for at in 3..len {
                    put!(self, " {}", option.u8(at)?);
                }
                Ok(true)
            }
            5 if len != 3 && len != 4 => Ok(false),
            5 => {
                self.to.push_str(if option.u8(2)? & 1 == 1 {
                    " backup"
                } else {
                    " non-backup"
                });
                if len == 4 {
                    put!(self, " id {}", option.u8(3)?);
                }
                Ok(true)
            }
            6 | 7 if len != 12 => Ok(false),
            6 => {
                put!(self, " seq {}", option.u64(4)?);
                Ok(true)
            }
            7 => {
                put!(self, " key 0x{:x}", option.u64(4)?);
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    fn mptcp_capable(&mut self, option: Bytes<'_>, flags: u8) -> Right {
        let len = option.len();
        let fits = match len {
            4 | 12 => flags & SYN != 0,
            20 | 22 => flags & (SYN | ACK) == ACK,
            _ => false,
        };
        if !fits {
            return Ok(false);
        }
        let version = option.u8(2)? & 0xf;
        if version > 1 {
            put!(self, " Unknown Version ({version})");
            return Ok(true);
        }
        put!(self, " v{version}");
        if option.u8(3)? & 0x80 != 0 {
            self.to.push_str(" csum");
        }
        if len >= 12 {
            put!(self, " {{0x{:x}", option.u64(4)?);
            if len >= 20 {
                put!(self, ",0x{:x}", option.u64(12)?);
            }
            self.to.push('}');
        }
        Ok(true)
    }

    fn mptcp_join(&mut self, option: Bytes<'_>, flags: u8) -> Right {
        let len = option.len();
        let fits = match len {
            12 => flags & SYN != 0,
            16 => flags & (SYN | ACK) == SYN | ACK,
            24 => flags & ACK != 0,
            _ => false,
        };
        if !fits {
            return Ok(false);
        }
        if len != 24 {
            if option.u8(2)? & 1 == 1 {
                self.to.push_str(" backup");
            }
            put!(self, " id {}", option.u8(3)?);
        }
        match len {
            12 => put!(
                self,
                " token 0x{:x} nonce 0x{:x}",
                option.u32(4)?,
                option.u32(8)?
            ),
            16 => put!(
                self,
                " hmac 0x{:x} nonce 0x{:x}",
                option.u64(4)?,
                option.u32(12)?
            ),
            _ => {
                self.to.push_str(" hmac 0x");
                self.digits(option.slice(4, 20)?);
            }
        }
        Ok(true)
    }

    /// Data sequence numbers and acknowledgements.
    fn mptcp_sequence(&mut self, option: Bytes<'_>, flags: u8) -> Right {
        if option.len() < 4 || flags & SYN != 0 {
            return Ok(false);
        }
        let told = option.u8(3)?;
        if told & 0x10 != 0 {
            self.to.push_str(" fin");
        }
        let mut rest = option.from(4);
        // A number of 8 or 4 bytes; `None` if it is not there.
        let mut number = |is_long: bool| -> Option<u64> {
            let (number, len) = if is_long {
                (rest.u64(0).ok()?, 8)
            } else {
                (rest.u32(0).ok()?.into(), 4)
            };
            rest = rest.from(len);
            Some(number)
        };
        if told & 1 != 0 {
            self.to.push_str(" ack ");
            let Some(ack) = number(told & 2 != 0) else {
                return Ok(false);
            };
            put!(self, "{ack}");
        }
        if told & 4 != 0 {
            self.to.push_str(" seq ");
            let Some(seq) = number(told & 8 != 0) else {
                return Ok(false);
            };
            put!(self, "{seq}");
            let Some(subflow) = number(false) else {
                return Ok(false);
            };
            put!(self, " subseq {subflow}");
            let Ok(len) = rest.u16(0) else {
                return Ok(false);
            };
            put!(self, " len {len}");
            rest = rest.from(2);
            if let Ok(sum) = rest.u16(0) {
                put!(self, " csum 0x{sum:x}");
                rest = rest.from(2);
            }
        }
        Ok(rest.is_empty())
    }

    fn mptcp_add_address(&mut self, option: Bytes<'_>) -> Right {
        let len = option.len();
        let (is_v4, has_port, has_mac) = match len {
            8 => (true, false, false),
            10 => (true, true, false),
            16 => (true, false, true),
            18 => (true, true, true),
            20 => (false, false, false),
            22 => (false, true, false),
            28 => (false, false, true),
            30 => (false, true, true),
            _ => return Ok(false),
        };
        let what = match option.u8(2)? & 0xf {
            6 => "v0-ip6",
            4 => "v0-ip4",
            1 => "v1-echo",
            0 => "v1",
            _ => "[bad version/echo]",
        };
        put!(self, " {what} id {}", option.u8(3)?);
        let mut at = if is_v4 {
            put!(self, " {}", self.v4(option, 4)?);
            8
        } else {
            put!(self, " {}", self.v6(option, 4)?);
            20
        };
        if has_port {
            put!(self, ":{}", option.u16(at)?);
            at += 2;
        }
        if has_mac {
            put!(self, " hmac 0x{:x}", option.u64(at)?);
        }
        Ok(true)
    }
}
