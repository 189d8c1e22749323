//! NTP (RFC 5905).

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    put,
    words::{Words, word},
};

const MODES: &Words = &[
    (0, "unspecified"),
    (1, "symmetric active"),
    (2, "symmetric passive"),
    (3, "Client"),
    (4, "Server"),
    (5, "Broadcast"),
    (CONTROL, "Control Message"),
    (7, "Reserved"),
];
const CONTROL: u32 = 6;
const LEAPS: &Words = &[
    (0, ""),
    (0x40, "+1s"),
    (0x80, "-1s"),
    (0xc0, "clock unsynchronized"),
];
/// Bytes of a message without what may follow.
const MESSAGE: usize = 48;
const CONTROL_MESSAGE: usize = 12;
/// Seconds from 1900, where NTP's time starts, to 1970.
const TO_1970: i64 = 2_208_988_800;

/// Seconds since 1900 and 2^-32 of them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Time {
    seconds: u32,
    fraction: u32,
}

impl Time {
    fn read(bytes: Bytes<'_>, at: usize) -> Result<Self, Truncated> {
        Ok(Self {
            seconds: bytes.u32(at)?,
            fraction: bytes.u32(at + 4)?,
        })
    }
}

impl Printer<'_> {
    pub(super) fn ntp(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "ntp";
        let status = bytes.u8(0)?;
        let mode = u32::from(status & 7);
        let name = word(MODES, mode).unwrap_or("Unknown mode");
        put!(self, "NTPv{}, {name}, length {len}", status >> 3 & 7);
        if self.verbose() == 0 {
            return Ok(());
        }
        let leap = u32::from(status & 0xc0);
        put!(
            self,
            "\n\tLeap indicator: {} ({leap})",
            word(LEAPS, leap).unwrap_or("Unknown")
        );
        match mode {
            CONTROL if len < CONTROL_MESSAGE => self.say_invalid(),
            CONTROL => self.ntp_control(bytes, len)?,
            7 => {}
            _ if len < MESSAGE => self.say_invalid(),
            _ => {
                if self.ntp_message(bytes, len).is_err() {
                    self.say_truncated();
                }
            }
        }
        Ok(())
    }

    fn ntp_message(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        let stratum = bytes.u8(1)?;
        let meaning = match stratum {
            0 => "unspecified",
            1 => "primary reference",
            2..=15 => "secondary reference",
            _ => "reserved",
        };
        let (poll, precision) = (bytes.u8(2)?.cast_signed(), bytes.u8(3)?.cast_signed());
        put!(self, ", Stratum {stratum} ({meaning}), poll {poll}");
        match poll {
            0..32 => put!(self, " ({}s)", 1_u32 << poll),
            -31..0 => put!(self, " (1/{}s)", 1_u32 << -poll),
            _ => {}
        }
        put!(self, ", precision {precision}");
        bytes.slice(4, 4)?;
        put!(self, "\n\tRoot Delay: {}", short(bytes, 4)?);
        bytes.slice(8, 4)?;
        put!(self, ", Root dispersion: {}", short(bytes, 8)?);
        bytes.slice(12, 4)?;
        self.to.push_str(", Reference-ID: ");
        match stratum {
            0 => self.to.push_str("(unspec)"),
            1 => self.characters(bytes.slice(12, 4)?),
            62 | 63 => {
                let what = if stratum == 62 { "QUERY" } else { "REPLY" };
                put!(self, "{} INFO_{what}", self.v4(bytes, 12)?);
                return Ok(());
            }
            _ => put!(self, "0x{:08x}", bytes.u32(12)?),
        }
        for (at, name) in [
            (16, "Reference Timestamp:  "),
            (24, "Originator Timestamp: "),
            (32, "Receive Timestamp:    "),
            (40, "Transmit Timestamp:   "),
        ] {
            bytes.slice(at, 8)?;
            put!(self, "\n\t  {name}");
            self.ntp_time(Time::read(bytes, at)?);
        }
        let originator = Time::read(bytes, 24)?;
        for (at, name) in [(32, "Receive Timestamp:  "), (40, "Transmit Timestamp: ")] {
            put!(self, "\n\t    Originator - {name}");
            self.ntp_difference(originator, Time::read(bytes, at)?);
        }
        let digest = match len - MESSAGE {
            0 => return Ok(()),
            4 => 0,
            20 => 16,
            24 => 20,
            more => {
                put!(self, "\n\t({more} more bytes after the header)");
                return Ok(());
            }
        };
        put!(self, "\n\tKey id: {}", bytes.u32(MESSAGE)?);
        if digest > 0 {
            let digest = bytes.slice(MESSAGE + 4, digest)?;
            self.to.push_str("\n\tAuthentication: ");
            self.digits(digest);
        }
        Ok(())
    }

    fn ntp_control(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        let control = bytes.u8(1)?;
        put!(
            self,
            ", {}, {}, {}, OpCode={}\n",
            if control & 0x80 == 0 {
                "Request"
            } else {
                "Response"
            },
            if control & 0x40 == 0 { "OK" } else { "Error" },
            if control & 0x20 == 0 { "Last" } else { "More" },
            control & 0x1f
        );
        put!(self, "\tSequence={}", bytes.u16(2)?);
        match bytes.u16(4)? {
            0 => self.to.push_str(", Status=0"),
            status => put!(self, ", Status=0x{status:x}"),
        }
        let count = usize::from(bytes.u16(10)?);
        put!(
            self,
            ", Assoc.={}, Offset={}, Count={count}",
            bytes.u16(6)?,
            bytes.u16(8)?
        );
        if CONTROL_MESSAGE + count > len {
            self.say_invalid();
        } else if count > 0 {
            if bytes.has(CONTROL_MESSAGE + count) {
                self.to.push_str("\n\tTO-BE-DONE: data not interpreted");
            } else {
                self.say_truncated();
            }
        }
        Ok(())
    }

    fn ntp_time(&mut self, time: Time) {
        put!(self, "{}.{:09}", time.seconds, billionths(time.fraction));
        if time.seconds != 0 {
            put!(self, " ({})", date(i64::from(time.seconds) - TO_1970));
        }
    }

    fn ntp_difference(&mut self, from: Time, to: Time) {
        if (from.seconds, from.fraction) == (0, 0) {
            return self.ntp_time(to);
        }
        let wide = |time: Time| i128::from(time.seconds) << 32 | i128::from(time.fraction);
        let difference = wide(to) - wide(from);
        // No difference at all counts as a negative one.
        let sign = if difference > 0 { "+" } else { "-" };
        let size = difference.unsigned_abs();
        put!(self, "{sign}{}.{:09}", size >> 32, billionths(size as u32));
    }
}

/// 2^-32ths as billionths, as floating-point numbers have it.
fn billionths(fraction: u32) -> u32 {
    (f64::from(fraction) / 4_294_967_296.0 * 1e9) as u32
}

/// 16 bits and 16 bits behind the point.
fn short(bytes: Bytes<'_>, at: usize) -> Result<String, Truncated> {
    let millionths = (f64::from(bytes.u16(at + 2)?) / 65536.0 * 1e6) as u32;
    Ok(format!("{}.{millionths:06}", bytes.u16(at)?))
}

/// `2026-11-25T12:00:00Z`, from days since 1970 by the calendar's rules.
fn date(seconds: i64) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Counted in eras of 400 years from the 1st of March of the year 0, so that leap days come last.
    let from_march = days + 719_468;
    let (era, of_era) = (
        from_march.div_euclid(146_097),
        from_march.rem_euclid(146_097),
    );
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_826_154), "2000-02-29T12:09:14Z");
        assert_eq!(date(-2_208_988_800), "1900-01-01T00:00:00Z");
        assert_eq!(date(1_795_564_799), "2026-11-24T23:59:59Z");
    }
}
