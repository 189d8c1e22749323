//! What IP carries: which protocol it is, and what those over IP need to know of it.

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    checksum, put,
    words::{PROTOCOLS, proto, word},
};

/// The IP header around a payload.
#[derive(Clone, Copy)]
pub(super) struct Ip<'a> {
    /// 4 or 6.
    pub(super) version: u8,
    /// From the header's first byte on.
    pub(super) header: Bytes<'a>,
    /// The protocol that the header itself names.
    pub(super) protocol: u8,
    /// Whether more fragments follow, or went before.
    pub(super) is_fragment: bool,
}

impl Ip<'_> {
    /// What is left of the checksum of a segment of `len` bytes with its pseudo-header (RFC 768, 8200);
    /// `None` if not all of it is there.
    pub(super) fn checksum(&self, segment: Bytes<'_>, len: usize, protocol: u8) -> Option<u16> {
        let payload = segment.slice(0, len).ok()?;
        let rest = [0, 0, 0, protocol];
        let (from, to) = match self.version {
            4 => (
                self.header.slice(12, 4).ok()?,
                self.header.slice(16, 4).ok()?,
            ),
            _ => (self.header.slice(8, 16).ok()?, self.destination().ok()?),
        };
        let len = u32::try_from(len).ok()?.to_be_bytes();
        Some(checksum::remainder(&[from, to, &len, &rest, payload]))
    }

    /// The last destination of an IPv6 packet: that of a routing header, if there is one.
    fn destination(&self) -> Result<&[u8], Truncated> {
        let mut next = self.protocol;
        let mut at = 40;
        while self.header.has(at + 8) {
            let len = usize::from(self.header.u8(at + 1)?);
            match next {
                proto::HOP_BY_HOP | proto::DESTINATION_OPTIONS => {}
                proto::FRAGMENT => {
                    next = self.header.u8(at)?;
                    at += 8;
                    continue;
                }
                proto::ROUTING => {
                    let segments = len / 2;
                    match self.header.u8(at + 2)? {
                        0 | 2 if len % 2 == 0 && segments > 0 => {
                            return self.header.slice(at + 8 + (segments - 1) * 16, 16);
                        }
                        4 if len % 2 == 0 => return self.header.slice(at + 8, 16),
                        _ => break,
                    }
                }
                _ => break,
            }
            next = self.header.u8(at)?;
            at += (len + 1) * 8;
        }
        self.header.slice(24, 16)
    }
}

impl Printer<'_> {
    /// A payload of `protocol`, `len` bytes long.
    pub(super) fn transport(
        &mut self,
        mut bytes: Bytes<'_>,
        mut len: usize,
        ip: &Ip<'_>,
        mut protocol: u8,
    ) -> Printed {
        while protocol == proto::AH {
            self.protocol = "ah";
            if bytes.is_empty() {
                self.say_truncated();
                return Ok(());
            }
            let header = self.authentication(bytes)?;
            protocol = bytes.u8(0)?;
            bytes = bytes.from(header);
            len = len.saturating_sub(header);
        }
        let name = word(PROTOCOLS, protocol.into());
        match protocol {
            proto::TCP => self.tcp(bytes, len, ip),
            proto::UDP => self.udp(bytes, len, ip),
            proto::ICMP | proto::IGMP if ip.version != 4 => self.wrong_version(protocol, 4),
            proto::ICMPV6 | proto::ETHERNET if ip.version != 6 => self.wrong_version(protocol, 6),
            proto::ICMP => self.icmp(bytes, len, ip),
            proto::ICMPV6 => self.icmp6(bytes, len, ip),
            proto::IGMP => self.igmp(bytes, len),
            proto::IPV4 => self.ip(bytes, len),
            proto::IPV6 => self.ip6(bytes, len),
            proto::GRE => self.gre(bytes, len),
            proto::ETHERNET => self.nested(|printer| printer.ethernet(bytes, len).map(drop)),
            proto::NONE => {
                self.to.push_str("no next header");
                Ok(())
            }
            proto::SCTP | proto::DCCP => {
                self.protocol = "ports";
                self.ports(ip, protocol, bytes.u16(0)?, bytes.u16(2)?)?;
                put!(self, "{}, length {len}", name.unwrap_or_default());
                Ok(())
            }
            _ => {
                match name {
                    Some(name) => put!(self, "{name}, length {len}"),
                    None => put!(self, " ip-proto-{protocol} {len}"),
                }
                Ok(())
            }
        }
    }

    /// `10.0.0.1.1234 > 10.0.0.2.80: `; without the addresses where they were printed already.
    pub(super) fn ports(&mut self, ip: &Ip<'_>, protocol: u8, from: u16, to: u16) -> Printed {
        if ip.protocol == protocol {
            let (source, destination) = self.ends(ip)?;
            put!(self, "{source}.{from} > {destination}.{to}: ");
        } else {
            put!(self, "{from} > {to}: ");
        }
        Ok(())
    }

    /// Source and destination.
    pub(super) fn ends(&self, ip: &Ip<'_>) -> Result<(String, String), Truncated> {
        Ok(if ip.version == 4 {
            (self.v4(ip.header, 12)?, self.v4(ip.header, 16)?)
        } else {
            (self.v6(ip.header, 8)?, self.v6(ip.header, 24)?)
        })
    }

    fn wrong_version(&mut self, protocol: u8, version: u8) -> Printed {
        let name = word(PROTOCOLS, protocol.into()).unwrap_or("unknown");
        put!(self, "[{name} requires IPv{version}]");
        self.say_invalid();
        Ok(())
    }

    /// The authentication header (RFC 4302); how long it is.
    fn authentication(&mut self, bytes: Bytes<'_>) -> Result<usize, Truncated> {
        self.to.push_str("AH");
        let words = bytes.u8(1)?;
        let len = (usize::from(words) + 2) * 4;
        self.to.push('(');
        if self.verbose() > 0 {
            put!(self, "length={words}({len}-bytes),");
        }
        let reserved = bytes.u16(2)?;
        if reserved != 0 {
            put!(self, "reserved=0x{reserved:x}[MustBeZero],");
        }
        put!(self, "spi=0x{:08x},", bytes.u32(4)?);
        put!(self, "seq=0x{:x},", bytes.u32(8)?);
        self.to.push_str("icv=0x");
        for at in 12..len {
            put!(self, "{:02x}", bytes.u8(at)?);
        }
        self.to.push_str("): ");
        Ok(len)
    }
}
