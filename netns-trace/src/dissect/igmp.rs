//! IGMP (RFC 1112, 2236, 3376).

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    checksum, put,
    words::{Words, word},
};

/// What a group record says; MLD's are the same (RFC 3810).
const RECORDS: &Words = &[
    (1, "is_in"),
    (2, "is_ex"),
    (3, "to_in"),
    (4, "to_ex"),
    (5, "allow"),
    (6, "block"),
];

impl Printer<'_> {
    pub(super) fn igmp(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "igmp";
        if self.options.quiet > 0 {
            self.to.push_str("igmp");
            return Ok(());
        }
        match bytes.u8(0)? {
            0x11 if len >= 12 => {
                self.to.push_str("igmp query v3");
                self.igmp_query(bytes, len)?;
            }
            0x11 => {
                self.to.push_str("igmp query");
                match bytes.u8(1)? {
                    0 => self.to.push_str(" v1"),
                    100 => self.to.push_str(" v2"),
                    time => put!(self, " v2 [max resp time {time}]"),
                }
                if bytes.u32(4)? != 0 {
                    put!(self, " [gaddr {}]", self.v4(bytes, 4)?);
                }
                if len != 8 {
                    put!(self, " [len {len}]");
                }
            }
            0x12 => {
                put!(self, "igmp v1 report {}", self.v4(bytes, 4)?);
                if len != 8 {
                    put!(self, " [len {len}]");
                }
            }
            0x16 => put!(self, "igmp v2 report {}", self.v4(bytes, 4)?),
            0x22 => {
                self.to.push_str("igmp v3 report");
                self.igmp_report(bytes, len)?;
            }
            0x17 => put!(self, "igmp leave {}", self.v4(bytes, 4)?),
            0x13 => self.to.push_str("igmp dvmrp"),
            0x14 => self.to.push_str("igmp pimv1"),
            0x1e => self.igmp_trace("mresp", bytes, len)?,
            0x1f => self.igmp_trace("mtrace", bytes, len)?,
            other => put!(self, "igmp-{other}"),
        }
        if self.verbose() > 0
            && len >= 4
            && let Ok(message) = bytes.slice(0, len)
            && checksum::remainder(&[message]) != 0
        {
            put!(self, " bad igmp cksum {:x}!", bytes.u16(2)?);
        }
        Ok(())
    }

    fn igmp_trace(&mut self, name: &str, bytes: Bytes<'_>, len: usize) -> Printed {
        if len < 24 {
            put!(self, " [invalid len {len}]");
            return Ok(());
        }
        put!(self, "{name} {}: ", bytes.u24(21)?);
        put!(self, "{} to {} ", self.v4(bytes, 8)?, self.v4(bytes, 12)?);
        put!(self, "reply-to {}", self.v4(bytes, 16)?);
        if bytes.u8(16)? >> 4 == 0xe {
            put!(self, " with-ttl {}", bytes.u8(20)?);
        }
        Ok(())
    }

    fn igmp_query(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        if !len.is_multiple_of(4) {
            put!(self, " [invalid len {len}]");
            return Ok(());
        }
        let code = u32::from(bytes.u8(1)?);
        // From 128 on in a form of its own, with an exponent; in tenths of a second.
        let time = if code < 128 {
            code
        } else {
            (code & 0xf | 0x10) << ((code >> 4 & 7) + 3)
        };
        if code != 100 {
            self.to.push_str(" [max resp time ");
            if time < 600 {
                put!(self, "{:.1}s", f64::from(time) * 0.1);
            } else {
                self.duration(time / 10);
            }
            self.to.push(']');
        }
        if bytes.u32(4)? == 0 {
            return Ok(());
        }
        put!(self, " [gaddr {}", self.v4(bytes, 4)?);
        let sources = usize::from(bytes.u16(10)?);
        if sources > 0 {
            if len < 12 + sources * 4 {
                self.to.push_str(" [invalid number of sources]");
            } else if self.verbose() > 1 {
                self.sources(bytes, 12, sources, 4)?;
            } else {
                put!(self, ", {sources} source(s)");
            }
        }
        self.to.push(']');
        Ok(())
    }

    fn igmp_report(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        if len < 16 || !len.is_multiple_of(4) {
            put!(self, " [invalid len {len}]");
            return Ok(());
        }
        self.group_records(bytes, len, 4, "v3")
    }

    /// The group records of a report, whose addresses have `width` bytes; IGMP's and MLD's.
    pub(super) fn group_records(
        &mut self,
        bytes: Bytes<'_>,
        len: usize,
        width: usize,
        version: &str,
    ) -> Printed {
        let groups = bytes.u16(6)?;
        put!(self, ", {groups} group record(s)");
        if self.verbose() == 0 {
            return Ok(());
        }
        let mut at = 8;
        for _ in 0..groups {
            let first = at + 4 + width;
            if len < first {
                self.to.push_str(" [invalid number of groups]");
                return Ok(());
            }
            put!(self, " [gaddr {}", self.address_at(bytes, at + 4, width)?);
            let kind = bytes.u8(at)?;
            match word(RECORDS, kind.into()) {
                Some(name) => put!(self, " {name}"),
                None => put!(self, "  [{version}-report-#{kind}]"),
            }
            let sources = usize::from(bytes.u16(at + 2)?);
            if len < first + sources * width {
                put!(self, " [invalid number of sources {sources}]");
                return Ok(());
            }
            if self.verbose() == 1 {
                put!(self, ", {sources} source(s)");
            } else {
                self.sources(bytes, first, sources, width)?;
            }
            at = first + sources * width;
            self.to.push(']');
        }
        Ok(())
    }

    /// The addresses that a query or a record lists.
    pub(super) fn sources(
        &mut self,
        bytes: Bytes<'_>,
        at: usize,
        count: usize,
        width: usize,
    ) -> Printed {
        self.to.push_str(" {");
        for source in 0..count {
            put!(
                self,
                " {}",
                self.address_at(bytes, at + source * width, width)?
            );
        }
        self.to.push_str(" }");
        Ok(())
    }

    /// An address of 4 or 16 bytes.
    fn address_at(&self, bytes: Bytes<'_>, at: usize, width: usize) -> Result<String, Truncated> {
        match width {
            4 => self.v4(bytes, at),
            _ => self.v6(bytes, at),
        }
    }

    /// `1h5m1s`.
    pub(super) fn duration(&mut self, mut seconds: u32) {
        const UNITS: [(u32, &str); 6] = [
            (31_536_000, "y"),
            (604_800, "w"),
            (86_400, "d"),
            (3600, "h"),
            (60, "m"),
            (1, "s"),
        ];
        if seconds == 0 {
            self.to.push_str("0s");
        }
        for (unit, name) in UNITS {
            if seconds >= unit {
                put!(self, "{}{name}", seconds / unit);
                seconds %= unit;
            }
        }
    }
}
