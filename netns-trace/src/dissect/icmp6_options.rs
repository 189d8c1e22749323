//! Options of neighbour discovery (RFC 4861, 8106, 4191).

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    icmp6::preference,
    put,
    words::{Words, bits, word},
};

const OPTIONS: &Words = &[
    (1, "source link-address"),
    (2, "destination link-address"),
    (3, "prefix info"),
    (4, "redirected header"),
    (5, "mtu"),
    (25, "rdnss"),
    (31, "dnssl"),
    (7, "advertisement interval"),
    (8, "homeagent information"),
    (24, "route info"),
];
const PREFIX_FLAGS: &Words = &[(0x80, "onlink"), (0x40, "auto"), (0x20, "router")];

impl Printer<'_> {
    /// The options behind a message's own `header` bytes, of `len` in all; whether they were whole.
    pub(super) fn icmp6_options(
        &mut self,
        message: Bytes<'_>,
        header: usize,
        len: usize,
    ) -> Result<bool, Truncated> {
        let bytes = message.from(header);
        let mut left = len.saturating_sub(header);
        let mut at = 0;
        while at < bytes.len() {
            let (kind, Ok(words)) = (bytes.u8(at)?, bytes.u8(at + 1)) else {
                self.say_truncated();
                return Ok(false);
            };
            if left == 0 {
                return Ok(true);
            }
            let option_len = usize::from(words) * 8;
            if words == 0 || !bytes.has(at + option_len) {
                self.say_truncated();
                return Ok(false);
            }
            put!(
                self,
                "\n\t  {} option ({kind}), length {option_len} ({words}): ",
                word(OPTIONS, kind.into()).unwrap_or("unknown")
            );
            let option = bytes.from(at).up_to(option_len);
            let data = option.from(2).all();
            if word(OPTIONS, kind.into()).is_none() && self.verbose() <= 1 {
                self.hex("\n\t  ", data);
                return Ok(true);
            }
            if kind == 4 {
                self.hex("\n\t    ", bytes.up_to(option_len).all());
            } else if !self.icmp6_option(option, kind)? {
                self.say_truncated();
                return Ok(false);
            }
            if self.verbose() > 1 {
                self.hex("\n\t    ", data);
            }
            at += option_len;
            left = left.saturating_sub(option_len);
        }
        Ok(true)
    }

    fn icmp6_option(&mut self, option: Bytes<'_>, kind: u8) -> Result<bool, Truncated> {
        let words = option.len() / 8;
        match kind {
            1 | 2 => {
                let address = super::address::Mac(option.from(2).all());
                put!(self, "{address}");
            }
            3 => {
                put!(
                    self,
                    "{}/{}{}, Flags [{}], valid time {}, pref. time {}",
                    self.v6(option, 16)?,
                    option.u8(2)?,
                    if words == 4 { "" } else { "badlen" },
                    bits(PREFIX_FLAGS, option.u8(3)?.into(), ", ", "none"),
                    lifetime(option.u32(4)?),
                    lifetime(option.u32(8)?)
                );
            }
            5 => {
                let odd = if words == 1 { "" } else { "bad option length" };
                put!(self, " {}{odd}", option.u32(4)?);
            }
            7 => put!(self, " {}ms", option.u32(4)?),
            8 => put!(
                self,
                " preference {}, lifetime {}",
                option.u16(4)?,
                option.u16(6)?
            ),
            24 => {
                let mut prefix = [0; 16];
                match words {
                    1 => {}
                    2 | 3 => {
                        let len = (words - 1) * 8;
                        prefix[..len].copy_from_slice(option.slice(8, len)?);
                    }
                    _ => return Ok(false),
                }
                put!(
                    self,
                    " {}/{}, pref={}, lifetime={}",
                    self.address(prefix.into()),
                    option.u8(2)?,
                    preference(option.u8(3)?),
                    lifetime(option.u32(4)?)
                );
            }
            25 => self.icmp6_name_servers(option)?,
            31 => {
                put!(self, " lifetime {}s, domain(s):", option.u32(4)?);
                let mut at = 8;
                while at < option.len() && option.u8(at)? != 0 {
                    self.to.push(' ');
                    match self.dns_name(option, at) {
                        Some(next) => at = next,
                        None => return Ok(false),
                    }
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn icmp6_name_servers(&mut self, option: Bytes<'_>) -> Printed {
        put!(self, " lifetime {}s,", option.u32(4)?);
        for server in 0..(option.len() / 8 - 1) / 2 {
            put!(self, " addr: {}", self.v6(option, 8 + server * 16)?);
        }
        Ok(())
    }
}

fn lifetime(seconds: u32) -> String {
    if seconds == u32::MAX {
        "infinity".to_owned()
    } else {
        format!("{seconds}s")
    }
}
