//! Options of IPv4's header.

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    put,
    words::{Words, word},
};

const END: u8 = 0;
const NOP: u8 = 1;
const OPTIONS: &Words = &[
    (0, "EOL"),
    (1, "NOP"),
    (68, "timestamp"),
    (130, "security"),
    (7, "RR"),
    (137, "SSRR"),
    (131, "LSRR"),
    (148, "RA"),
    (82, "traceroute"),
];

impl Printer<'_> {
    pub(super) fn ip_options(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        let mut at = 0;
        while at < len {
            if at > 0 {
                self.to.push(',');
            }
            let code = bytes.u8(at)?;
            match word(OPTIONS, code.into()) {
                Some(name) => self.to.push_str(name),
                None => put!(self, "unknown {code}"),
            }
            let option_len = match code {
                END | NOP => 1,
                _ => usize::from(bytes.u8(at + 1)?),
            };
            if (option_len < 2 && code > NOP) || option_len > len - at {
                put!(self, " [bad length {option_len}]");
                return Ok(());
            }
            let option = Bytes::new(bytes.slice(at, option_len)?);
            match code {
                END => return Ok(()),
                68 => self.ip_timestamps(option)?,
                7 | 131 | 137 => self.ip_route(option)?,
                148 if option_len < 4 => put!(self, " [bad length {option_len}]"),
                148 => {
                    let value = option.u16(2)?;
                    if value != 0 {
                        put!(self, " value {value}");
                    }
                }
                _ => {}
            }
            at += option_len;
        }
        Ok(())
    }

    fn ip_route(&mut self, option: Bytes<'_>) -> Printed {
        let len = option.len();
        if len < 3 {
            put!(self, " [bad length {len}]");
            return Ok(());
        }
        if (len + 1) & 3 != 0 {
            put!(self, " [bad length {len}]");
        }
        let told = option.u8(2)?;
        let pointer = usize::from(told).wrapping_sub(1);
        if pointer < 3 || pointer.wrapping_add(1) & 3 != 0 || pointer > len + 1 {
            put!(self, " [bad ptr {told}]");
        }
        for at in (3..len).step_by(4) {
            put!(self, " {}", self.v4(option, at)?);
            if pointer > at {
                self.to.push(',');
            }
        }
        Ok(())
    }

    fn ip_timestamps(&mut self, option: Bytes<'_>) -> Printed {
        let len = option.len();
        if len < 4 {
            put!(self, "[bad length {len}]");
            return Ok(());
        }
        self.to.push_str(" TS{");
        let flags = option.u8(3)?;
        let hop = if flags & 0xf == 0 { 4 } else { 8 };
        if (len - 4) & (hop - 1) != 0 {
            put!(self, "[bad length {len}]");
        }
        let told = option.u8(2)?;
        let pointer = usize::from(told).wrapping_sub(1);
        if pointer < 4 || pointer.wrapping_sub(4) & (hop - 1) != 0 || pointer > len + 1 {
            put!(self, "[bad ptr {told}]");
        }
        let mut at = 0;
        match flags & 0xf {
            0 => self.to.push_str("TSONLY"),
            1 => self.to.push_str("TS+ADDR"),
            3 => self.to.push_str("PRESPEC"),
            other => put!(self, "[bad ts type {other}]"),
        }
        if matches!(flags & 0xf, 0 | 1 | 3) {
            let mut separator = " ";
            at = 4;
            while at < len {
                if pointer == at {
                    separator = " ^ ";
                }
                let time = option.u32(at + hop - 4).map_err(|_| Truncated)?;
                let address = if hop == 8 {
                    self.v4(option, at)?
                } else {
                    String::new()
                };
                put!(self, "{separator}{time}@{address}");
                separator = " ";
                at += hop;
            }
        }
        if pointer == at {
            self.to.push_str(" ^ ");
        }
        if flags >> 4 == 0 {
            self.to.push('}');
        } else {
            put!(self, " [{} hops not recorded]}} ", flags >> 4);
        }
        Ok(())
    }
}
