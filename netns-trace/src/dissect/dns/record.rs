//! Resource records, and the options of the one that extends DNS (RFC 6891).

use super::{MULTICAST_BIT, Message, Next, OPT, skip_name};
use crate::dissect::{
    Printer,
    bytes::{Bytes, Truncated},
    put,
    words::{Words, word},
};

pub(super) const TYPES: &Words = &[
    (1, "A"),
    (2, "NS"),
    (3, "MD"),
    (4, "MF"),
    (5, "CNAME"),
    (6, "SOA"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (19, "X25"),
    (20, "ISDN"),
    (21, "RT"),
    (22, "NSAP"),
    (23, "NSAP_PTR"),
    (24, "SIG"),
    (25, "KEY"),
    (26, "PX"),
    (27, "GPOS"),
    (28, "AAAA"),
    (29, "LOC"),
    (30, "NXT"),
    (31, "EID"),
    (32, "NIMLOC"),
    (33, "SRV"),
    (34, "ATMA"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (38, "A6"),
    (39, "DNAME"),
    (40, "SINK"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (99, "SPF"),
    (100, "UINFO"),
    (101, "UID"),
    (102, "GID"),
    (103, "UNSPEC"),
    (104, "UNSPECA"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
    (256, "URI"),
];

const EXTENSIONS: &Words = &[
    (1, "LLQ"),
    (2, "UL"),
    (3, "NSID"),
    (5, "DAU"),
    (6, "DHU"),
    (7, "N3U"),
    (8, "ECS"),
    (9, "EXPIRE"),
    (10, "COOKIE"),
    (11, "KEEPALIVE"),
    (12, "PADDING"),
    (13, "CHAIN"),
    (14, "KEY-TAG"),
    (16, "CLIENT-TAG"),
    (17, "SERVER-TAG"),
];
const SIGNATURES: &Words = &[
    (0, "DELETE"),
    (1, "RSAMD5"),
    (2, "DH"),
    (3, "DS"),
    (5, "RSASHA1"),
    (6, "DSA-NSEC3-SHA1"),
    (7, "RSASHA1-NSEC3-SHA1"),
    (8, "RSASHA256"),
    (10, "RSASHA512"),
    (12, "ECC-GOST"),
    (13, "ECDSAP256SHA256"),
    (14, "ECDSAP384SHA384"),
    (15, "ED25519"),
    (16, "ED448"),
    (252, "INDIRECT"),
    (253, "PRIVATEDNS"),
    (254, "PRIVATEOID"),
];
const DIGESTS: &Words = &[
    (1, "SHA-1"),
    (2, "SHA-256"),
    (3, "GOST_R_34.11-94"),
    (4, "SHA-384"),
];
const HASHES: &Words = &[(1, "SHA-1")];

impl Printer<'_> {
    /// A record; what is behind it.
    pub(super) fn dns_record(&mut self, message: Message<'_>, at: usize) -> Next {
        let bytes = message.bytes;
        let fields = if self.verbose() > 0 {
            self.to.push(' ');
            match self.dns_name(bytes, at) {
                None => return Ok(None),
                fields => fields,
            }
        } else {
            skip_name(bytes, at)
        };
        let Some(fields) = fields.filter(|fields| bytes.has(fields + 10)) else {
            return Ok(Some(bytes.len()));
        };
        let kind = bytes.u16(fields)?;
        let told_class = bytes.u16(fields + 2)?;
        let class = if message.is_multicast {
            told_class & !MULTICAST_BIT
        } else {
            told_class
        };
        if kind != OPT {
            self.dns_class(class);
        }
        if message.is_multicast && told_class & MULTICAST_BIT != 0 {
            self.to.push_str(" (Cache flush)");
        }
        if kind != OPT && self.verbose() > 2 {
            self.to.push_str(" [");
            self.duration(bytes.u32(fields + 4)?);
            self.to.push(']');
        }
        let len = usize::from(bytes.u16(fields + 8)?);
        let data = fields + 10;
        self.dns_type(kind);
        if !bytes.has(data + len) {
            return Ok(None);
        }
        let printed = if kind == OPT {
            put!(self, " UDPsize={class}");
            if bytes.u16(fields + 6)? & 0x8000 != 0 {
                self.to.push_str(" DO");
            }
            self.dns_extensions(bytes, data, data + len)?
        } else {
            self.dns_data(bytes, kind, data, len)?
        };
        Ok(printed.then_some(data + len))
    }

    /// What a record says; whether it could be followed.
    fn dns_data(
        &mut self,
        bytes: Bytes<'_>,
        kind: u16,
        at: usize,
        len: usize,
    ) -> Result<bool, Truncated> {
        let verbose = self.verbose() > 0;
        match kind {
            1 if !bytes.has(at + 4) => return Ok(false),
            1 => put!(self, " {}", self.v4(bytes, at)?),
            28 if !bytes.has(at + 16) => return Ok(false),
            28 => put!(self, " {}", self.v6(bytes, at)?),
            2 | 5 | 12 | 39 => {
                self.to.push(' ');
                return Ok(self.dns_name(bytes, at).is_some());
            }
            6 if verbose => return self.dns_start_of_authority(bytes, at),
            15 => {
                self.to.push(' ');
                if !bytes.has(at + 2) || self.dns_name(bytes, at + 2).is_none() {
                    return Ok(false);
                }
                put!(self, " {}", bytes.u16(at)?);
            }
            16 => {
                let mut next = at;
                while next < at + len {
                    self.to.push_str(" \"");
                    let Ok(text_len) = bytes.u8(next).map(usize::from) else {
                        return Ok(false);
                    };
                    if !self.text(bytes.from(next + 1), text_len) {
                        return Ok(false);
                    }
                    self.to.push('"');
                    next += 1 + text_len;
                }
            }
            33 => {
                self.to.push(' ');
                if !bytes.has(at + 6) || self.dns_name(bytes, at + 6).is_none() {
                    return Ok(false);
                }
                put!(
                    self,
                    ":{} {} {}",
                    bytes.u16(at + 4)?,
                    bytes.u16(at)?,
                    bytes.u16(at + 2)?
                );
            }
            38 => return self.dns_a6(bytes, at),
            256 => {
                put!(self, " {} {} ", bytes.u16(at)?, bytes.u16(at + 2)?);
                return Ok(self.text(bytes.from(at + 4), len.saturating_sub(4)));
            }
            104 => return Ok(self.text(bytes.from(at), len)),
            250 if verbose => return self.dns_signature(bytes, at),
            _ => {}
        }
        Ok(true)
    }

    fn dns_start_of_authority(&mut self, bytes: Bytes<'_>, at: usize) -> Result<bool, Truncated> {
        self.to.push(' ');
        let Some(next) = self.dns_name(bytes, at) else {
            return Ok(false);
        };
        self.to.push(' ');
        let Some(next) = self
            .dns_name(bytes, next)
            .filter(|next| bytes.has(next + 20))
        else {
            return Ok(false);
        };
        for number in 0..5 {
            put!(self, " {}", bytes.u32(next + number * 4)?);
        }
        Ok(true)
    }

    /// An IPv6 address in parts (RFC 2874).
    fn dns_a6(&mut self, bytes: Bytes<'_>, at: usize) -> Result<bool, Truncated> {
        let Ok(prefix) = bytes.u8(at) else {
            return Ok(false);
        };
        if prefix > 128 {
            put!(self, " {prefix}(bad plen)");
            return Ok(true);
        }
        let own = 16 - usize::from(prefix) / 8;
        if prefix < 128 {
            let mut address = [0; 16];
            address[16 - own..].copy_from_slice(bytes.slice(at + 1, own)?);
            put!(self, " {prefix} {}", self.address(address.into()));
        }
        if prefix > 0 {
            self.to.push(' ');
            return Ok(self.dns_name(bytes, at + 1 + own).is_some());
        }
        Ok(true)
    }

    /// A transaction's signature (RFC 8945).
    fn dns_signature(&mut self, bytes: Bytes<'_>, at: usize) -> Result<bool, Truncated> {
        self.to.push(' ');
        let Some(next) = self.dns_name(bytes, at) else {
            return Ok(false);
        };
        let mut at = next + 6;
        for name in ["fudge", "maclen", "origid", "error", "otherlen"] {
            let Ok(number) = bytes.u16(at) else {
                return Ok(false);
            };
            put!(self, " {name}={number}");
            at += 2;
            if name == "maclen" {
                at += usize::from(number);
            }
        }
        Ok(true)
    }

    fn dns_extensions(
        &mut self,
        bytes: Bytes<'_>,
        mut at: usize,
        end: usize,
    ) -> Result<bool, Truncated> {
        if at >= end {
            return Ok(true);
        }
        self.to.push_str(" [");
        while at < end {
            let Ok(kind) = bytes.u16(at) else {
                return Ok(false);
            };
            match word(EXTENSIONS, kind.into()) {
                Some(name) => self.to.push_str(name),
                None => put!(self, "Opt{kind}"),
            }
            let Ok(len) = bytes.u16(at + 2).map(usize::from) else {
                return Ok(false);
            };
            let Ok(data) = bytes.slice(at + 4, len) else {
                return Ok(false);
            };
            if len > 0 {
                self.to.push(' ');
                self.dns_extension(kind, Bytes::new(data))?;
            }
            at += 4 + len;
            if at < end {
                self.to.push(',');
            }
        }
        self.to.push(']');
        Ok(true)
    }

    fn dns_extension(&mut self, kind: u16, data: Bytes<'_>) -> Result<(), Truncated> {
        let len = data.len();
        match kind {
            5..=7 => {
                let algorithms = [SIGNATURES, DIGESTS, HASHES][usize::from(kind - 5)];
                for (number, algorithm) in data.all().iter().enumerate() {
                    if number > 0 {
                        self.to.push(' ');
                    }
                    match word(algorithms, (*algorithm).into()) {
                        Some(name) => self.to.push_str(name),
                        None => put!(self, "Alg_{algorithm}"),
                    }
                }
            }
            8 => self.dns_client_subnet(data)?,
            9 if len == 4 => put!(self, "{} sec", data.u32(0)?),
            10 if len == 8 || (16..=40).contains(&len) => {
                let (client, server) = data.all().split_at(8);
                self.digits(client);
                if !server.is_empty() {
                    self.to.push(' ');
                    self.digits(server);
                }
            }
            11 if len == 2 => put!(self, "{:.1} sec", f64::from(data.u16(0)?) / 10.0),
            12 => put!(self, "({len})"),
            13 => {
                // What it points to is not there: a name whose end is missing is left as it is.
                let _shown = self.dns_name(data, 0);
            }
            14 if len.is_multiple_of(2) => {
                for at in (0..len).step_by(2) {
                    if at > 0 {
                        self.to.push(' ');
                    }
                    put!(self, "{}", data.u16(at)?);
                }
            }
            9 | 10 | 11 | 14 => self.say_invalid(),
            _ => self.digits(data.all()),
        }
        Ok(())
    }

    /// The client's subnet (RFC 7871).
    fn dns_client_subnet(&mut self, data: Bytes<'_>) -> Result<(), Truncated> {
        if data.len() < 4 {
            self.say_invalid();
            return Ok(());
        }
        let (source, scope) = (data.u8(2)?, data.u8(3)?);
        let prefix = data.from(4).all();
        let fits = |bits: u8| {
            prefix.len() <= usize::from(bits / 8)
                && source <= bits
                && scope <= bits
                && usize::from(source).div_ceil(8) == prefix.len()
        };
        match data.u16(0)? {
            1 if fits(32) => {
                let mut address = [0; 4];
                address[..prefix.len()].copy_from_slice(prefix);
                put!(self, "{}/{source}/{scope}", self.address(address.into()));
            }
            2 if fits(128) => {
                let mut address = [0; 16];
                address[..prefix.len()].copy_from_slice(prefix);
                put!(self, "{}/{source}/{scope}", self.address(address.into()));
            }
            _ => self.say_invalid(),
        }
        Ok(())
    }
}
