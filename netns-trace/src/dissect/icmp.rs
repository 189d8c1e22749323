//! ICMP (RFC 792) and its extensions.

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    checksum, put,
    transport::Ip,
    words::{Words, proto, word},
};

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const ROUTER_ADVERTISEMENT: u8 = 9;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
const TIME_STAMP: u8 = 13;
const TIME_STAMP_REPLY: u8 = 14;
const MASK_REPLY: u8 = 18;

const KINDS: &Words = &[
    (0, "echo reply"),
    (4, "source quench"),
    (8, "echo request"),
    (10, "router solicitation"),
    (13, "time stamp request"),
    (14, "time stamp reply"),
    (15, "information request"),
    (16, "information reply"),
    (17, "address mask request"),
];

/// Why a host, a net or a path cannot be reached; with `host` or `net` before the address where that is told.
const UNREACHABLE_CODES: &[(u8, &str, &str)] = &[
    (0, "net ", " unreachable"),
    (1, "host ", " unreachable"),
    (5, "", " unreachable - source route failed"),
    (6, "net ", " unreachable - unknown"),
    (7, "host ", " unreachable - unknown"),
    (8, "", " unreachable - source host isolated"),
    (9, "net ", " unreachable - admin prohibited"),
    (10, "host ", " unreachable - admin prohibited"),
    (11, "net ", " unreachable - tos prohibited"),
    (12, "host ", " unreachable - tos prohibited"),
    (13, "host ", " unreachable - admin prohibited filter"),
    (14, "host ", " unreachable - host precedence violation"),
    (15, "host ", " unreachable - precedence cutoff"),
];

/// Where the datagram that an error is about starts, and its destination.
const INNER: usize = 8;
const INNER_DESTINATION: usize = INNER + 16;
/// Where extensions start (RFC 4884), and from how many bytes on there may be some.
const EXTENSION: usize = 136;

const OBJECTS: &Words = &[(1, "MPLS Stack Entry"), (2, "Interface Identification")];

impl Printer<'_> {
    pub(super) fn icmp(&mut self, bytes: Bytes<'_>, len: usize, ip: &Ip<'_>) -> Printed {
        self.protocol = "icmp";
        let kind = bytes.u8(0)?;
        let code = bytes.u8(1)?;
        let Some(what) = self.icmp_kind(bytes, kind, code)? else {
            self.say_truncated();
            return Ok(());
        };
        put!(self, "ICMP {what}, length {len}");
        if self.verbose() == 0 {
            return Ok(());
        }
        if !ip.is_fragment
            && let Ok(message) = bytes.slice(0, len)
        {
            let left = checksum::remainder(&[message]);
            if left != 0 {
                let found = bytes.u16(2)?;
                let expected = checksum::expected(found, left);
                put!(self, " (wrong icmp cksum {found:x} (->{expected:x})!)");
            }
        }
        if matches!(
            kind,
            UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
        ) {
            self.to.push_str("\n\t");
            let inner = bytes.from(INNER);
            let inner_len = usize::from(inner.u16(2)?);
            self.ip(inner.up_to(inner_len), inner_len)?;
        }
        self.protocol = "icmp";
        if len > EXTENSION && matches!(kind, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM) {
            return self.icmp_extension(bytes, len);
        }
        Ok(())
    }

    /// What a message says; `None` if that is not there.
    fn icmp_kind(&self, bytes: Bytes<'_>, kind: u8, code: u8) -> Result<Option<String>, Truncated> {
        let destination = |printer: &Self| printer.v4(bytes, INNER_DESTINATION);
        Ok(Some(match kind {
            ECHO_REQUEST | ECHO_REPLY => {
                let what = if kind == ECHO_REQUEST {
                    "request"
                } else {
                    "reply"
                };
                format!("echo {what}, id {}, seq {}", bytes.u16(4)?, bytes.u16(6)?)
            }
            UNREACHABLE => match self.icmp_unreachable(bytes, code) {
                Ok(what) => what,
                // That of ports alone is said to be cut short; all others end the line.
                Err(Truncated) if code == 3 && !bytes.has(INNER + 10) => return Ok(None),
                Err(Truncated) => return Err(Truncated),
            },
            REDIRECT => {
                let (to, gateway) = (destination(self)?, self.v4(bytes, 4)?);
                match code {
                    0 => format!("redirect {to} to net {gateway}"),
                    1 => format!("redirect {to} to host {gateway}"),
                    2 => format!("redirect-tos {to} to net {gateway}"),
                    3 => format!("redirect-tos {to} to host {gateway}"),
                    _ => format!("redirect-#{code} {to} to {gateway}"),
                }
            }
            ROUTER_ADVERTISEMENT => match self.icmp_routers(bytes) {
                Ok(what) => what,
                Err(Truncated) => return Ok(None),
            },
            TIME_EXCEEDED if !bytes.has(INNER_DESTINATION + 4) => return Ok(None),
            TIME_EXCEEDED => match code {
                0 => "time exceeded in-transit".to_owned(),
                1 => "ip reassembly time exceeded".to_owned(),
                _ => format!("time exceeded-#{code}"),
            },
            PARAMETER_PROBLEM if code != 0 => format!("parameter problem - code {code}"),
            PARAMETER_PROBLEM => format!("parameter problem - octet {}", bytes.u8(4)?),
            MASK_REPLY => format!("address mask is 0x{:08x}", bytes.u32(8)?),
            TIME_STAMP => {
                format!(
                    "time stamp query id {} seq {}",
                    bytes.u16(4)?,
                    bytes.u16(6)?
                )
            }
            TIME_STAMP_REPLY if !bytes.has(20) => return Ok(None),
            TIME_STAMP_REPLY => format!(
                "time stamp reply id {} seq {}: org {}, recv {}, xmit {}",
                bytes.u16(4)?,
                bytes.u16(6)?,
                time_of_day(bytes.u32(8)?),
                time_of_day(bytes.u32(12)?),
                time_of_day(bytes.u32(16)?)
            ),
            _ => match word(KINDS, kind.into()) {
                Some(name) => name.to_owned(),
                None => format!("type-#{kind}"),
            },
        }))
    }

    fn icmp_unreachable(&self, bytes: Bytes<'_>, code: u8) -> Result<String, Truncated> {
        let known = UNREACHABLE_CODES.iter().find(|(other, ..)| *other == code);
        if code == 3 {
            let protocol = bytes.u8(INNER + 9)?;
            let header = usize::from(bytes.u8(INNER)? & 0xf) * 4;
            let port = bytes.u16(INNER + header + 2)?;
            let to = self.v4(bytes, INNER_DESTINATION)?;
            return Ok(match protocol {
                proto::TCP => format!("{to} tcp port {port} unreachable"),
                proto::UDP => format!("{to} udp port {port} unreachable"),
                _ => format!("{to} protocol {protocol} port {port} unreachable"),
            });
        }
        let to = self.v4(bytes, INNER_DESTINATION)?;
        Ok(match (code, known) {
            (_, Some((_, before, behind))) => format!("{before}{to}{behind}"),
            (2, _) => format!("{to} protocol {} unreachable", bytes.u8(INNER + 9)?),
            (4, _) => match bytes.u16(6)? {
                0 => format!("{to} unreachable - need to frag"),
                mtu => format!("{to} unreachable - need to frag (mtu {mtu})"),
            },
            _ => format!("{to} unreachable - #{code}"),
        })
    }

    /// Routers that say that they are there (RFC 1256).
    fn icmp_routers(&self, bytes: Bytes<'_>) -> Result<String, Truncated> {
        let lifetime = bytes.u16(6)?;
        let (hours, minutes, seconds) = (lifetime / 3600, lifetime / 60 % 60, lifetime % 60);
        let mut text = String::from("router advertisement lifetime ");
        text.push_str(&match (hours, minutes) {
            (0, 0) => format!("{seconds}"),
            (0, _) => format!("{minutes}:{seconds:02}"),
            _ => format!("{hours}:{minutes:02}:{seconds:02}"),
        });
        let (count, size) = (bytes.u8(4)?, bytes.u8(5)?);
        text.push_str(&format!(" {count}:"));
        if size != 2 {
            text.push_str(&format!(" [size {size}]"));
            return Ok(text);
        }
        for entry in 0..usize::from(count) {
            let at = 8 + entry * 8;
            text.push_str(&format!(
                " {{{} {}}}",
                self.v4(bytes, at)?,
                bytes.u32(at + 4)?
            ));
        }
        Ok(text)
    }

    /// What routers add to errors (RFC 4884, 4950).
    fn icmp_extension(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        if !bytes.has(EXTENSION + 5) {
            self.say_truncated();
            return Ok(());
        }
        let size = len - EXTENSION;
        let extension = bytes.from(EXTENSION);
        let whole = extension.slice(0, size).ok();
        let is_right = whole.is_some_and(|bytes| checksum::remainder(&[bytes]) == 0);
        if bytes.u8(5)? == 0 && whole.is_some() && !is_right {
            return Ok(());
        }
        let version = extension.u8(0)? >> 4;
        put!(self, "\n\tICMP Multi-Part extension v{version}");
        if version != 2 {
            self.to.push_str(" packet not supported");
            return Ok(());
        }
        if whole.is_some() {
            put!(
                self,
                ", checksum 0x{:04x} ({}correct), length {size}",
                extension.u16(2)?,
                if is_right { "" } else { "in" }
            );
        }
        let (mut at, mut left) = (4, size.saturating_sub(4));
        while left > 4 {
            let object = extension.from(at);
            if !object.has(4) {
                self.say_truncated();
                return Ok(());
            }
            let (object_len, class, kind) =
                (usize::from(object.u16(0)?), object.u8(2)?, object.u8(3)?);
            put!(
                self,
                "\n\t  {} Object ({class}), Class-Type: {kind}, length {object_len}",
                word(OBJECTS, class.into()).unwrap_or("unknown")
            );
            if class == 0 || object_len < 4 {
                return Ok(());
            }
            left -= 4;
            let data_len = object_len - 4;
            if (class, kind) == (1, 1) {
                let label = object.u32(4)?;
                put!(self, "\n\t    label {}, tc {}", label >> 12, label >> 9 & 7);
                if label & 0x100 != 0 {
                    self.to.push_str(", [S]");
                }
                put!(self, ", ttl {}", label & 0xff);
            } else {
                self.hex("\n\t    ", object.from(4).up_to(data_len).all());
            }
            if left < data_len {
                break;
            }
            left -= data_len;
            at += object_len;
        }
        Ok(())
    }
}

/// Milliseconds since midnight, UTC.
fn time_of_day(time: u32) -> String {
    let seconds = time / 1000;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        time % 1000
    )
}
