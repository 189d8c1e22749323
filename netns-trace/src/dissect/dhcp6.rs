//! DHCP for IPv6 (RFC 8415).

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    put,
    words::{Words, word},
};

const RELAY_FORWARD: u8 = 12;
const RELAY_REPLY: u8 = 13;
const MESSAGES: &Words = &[
    (1, "solicit"),
    (2, "advertise"),
    (3, "request"),
    (4, "confirm"),
    (5, "renew"),
    (6, "rebind"),
    (7, "reply"),
    (8, "release"),
    (9, "decline"),
    (10, "reconfigure"),
    (11, "inf-req"),
    (12, "relay-fwd"),
    (13, "relay-reply"),
    (14, "leasequery"),
    (15, "leasequery-reply"),
];
const OPTIONS: &Words = &[
    (1, "client-ID"),
    (2, "server-ID"),
    (3, "IA_NA"),
    (4, "IA_TA"),
    (5, "IA_ADDR"),
    (6, "option-request"),
    (7, "preference"),
    (8, "elapsed-time"),
    (9, "relay-message"),
    (11, "authentication"),
    (12, "server-unicast"),
    (13, "status-code"),
    (14, "rapid-commit"),
    (15, "user-class"),
    (16, "vendor-class"),
    (17, "vendor-specific-info"),
    (18, "interface-ID"),
    (19, "reconfigure-message"),
    (20, "reconfigure-accept"),
    (21, "SIP-servers-domain"),
    (22, "SIP-servers-address"),
    (23, "DNS-server"),
    (24, "DNS-search-list"),
    (25, "IA_PD"),
    (26, "IA_PD-prefix"),
    (31, "SNTP-servers"),
    (32, "lifetime"),
    (27, "NIS-server"),
    (28, "NIS+-server"),
    (29, "NIS-domain-name"),
    (30, "NIS+-domain-name"),
    (33, "BCMCS-domain-name"),
    (34, "BCMCS-server"),
    (36, "Geoconf-Civic"),
    (37, "Remote-ID"),
    (38, "Subscriber-ID"),
    (39, "Client-FQDN"),
    (40, "PANA-agent"),
    (41, "POSIX-timezone"),
    (42, "POSIX-tz-database"),
    (43, "Echo-request-option"),
    (44, "Lease-query"),
    (45, "LQ-client-data"),
    (46, "Clt-time"),
    (47, "LQ-relay-data"),
    (48, "LQ-client-link"),
    (56, "NTP-server"),
    (64, "AFTR-Name"),
    (112, "MUD-URL"),
];
const STATUS: &Words = &[
    (0, "Success"),
    (1, "UnspecFail"),
    (2, "NoAddrsAvail"),
    (3, "NoBinding"),
    (4, "NotOnLink"),
    (5, "UseMulticast"),
    (6, "NoPrefixAvail"),
    (7, "UnknownQueryType"),
    (8, "MalformedQuery"),
    (9, "NotConfigured"),
    (10, "NotAllowed"),
];

impl Printer<'_> {
    pub(super) fn dhcp6(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.nested(|printer| printer.dhcp6_message(bytes.up_to(len)))
    }

    fn dhcp6_message(&mut self, bytes: Bytes<'_>) -> Printed {
        self.protocol = "dhcp6";
        self.to.push_str("dhcp6");
        if !bytes.has(4) {
            self.say_truncated();
            return Ok(());
        }
        let kind = bytes.u8(0)?;
        match word(MESSAGES, kind.into()) {
            Some(name) => put!(self, " {name}"),
            None => put!(self, " msgtype-{kind}"),
        }
        if self.verbose() == 0 {
            return Ok(());
        }
        self.to.push_str(" (");
        if kind == RELAY_FORWARD || kind == RELAY_REPLY {
            put!(self, "linkaddr={}", self.v6(bytes, 2)?);
            put!(self, " peeraddr={}", self.v6(bytes, 18)?);
            self.dhcp6_options(bytes.from(34))?;
        } else {
            put!(self, "xid={:x}", bytes.u24(1)?);
            self.dhcp6_options(bytes.from(4))?;
        }
        self.to.push(')');
        Ok(())
    }

    fn dhcp6_options(&mut self, bytes: Bytes<'_>) -> Printed {
        let mut at = 0;
        while at < bytes.len() {
            let (Ok(kind), Ok(len)) = (bytes.u16(at), bytes.u16(at + 2)) else {
                self.say_truncated();
                return Ok(());
            };
            let Ok(data) = bytes.slice(at + 4, len.into()) else {
                self.say_truncated();
                return Ok(());
            };
            self.to.push_str(" (");
            self.dhcp6_option_name(kind);
            let data = Bytes::new(data);
            match self.dhcp6_option(kind, data) {
                // What is too short for what it should be is marked so.
                Err(Truncated) => self.to.push_str(" ?)"),
                Ok(()) => self.to.push(')'),
            }
            at += 4 + data.len();
        }
        Ok(())
    }

    fn dhcp6_option_name(&mut self, kind: u16) {
        match word(OPTIONS, kind.into()) {
            Some(name) => self.to.push_str(name),
            None => put!(self, "opt_{kind}"),
        }
    }

    fn dhcp6_option(&mut self, kind: u16, data: Bytes<'_>) -> Printed {
        let len = data.len();
        match kind {
            1 | 2 => return self.dhcp6_unique_id(data),
            3 | 25 => {
                data.slice(0, 12)?;
                put!(
                    self,
                    " IAID:{} T1:{} T2:{}",
                    data.u32(0)?,
                    data.u32(4)?,
                    data.u32(8)?
                );
                self.dhcp6_options(data.from(12))?;
            }
            4 => {
                put!(self, " IAID:{}", data.u32(0)?);
                self.dhcp6_options(data.from(4))?;
            }
            5 => {
                data.slice(0, 24)?;
                put!(
                    self,
                    " {} pltime:{} vltime:{}",
                    self.v6(data, 0)?,
                    data.u32(16)?,
                    data.u32(20)?
                );
                self.dhcp6_options(data.from(24))?;
            }
            26 => {
                data.slice(0, 25)?;
                put!(
                    self,
                    " {}/{} pltime:{} vltime:{}",
                    self.v6(data, 9)?,
                    data.u8(8)?,
                    data.u32(0)?,
                    data.u32(4)?
                );
                self.dhcp6_options(data.from(25))?;
            }
            6 | 43 if len.is_multiple_of(2) => {
                for at in (0..len).step_by(2) {
                    self.to.push(' ');
                    self.dhcp6_option_name(data.u16(at)?);
                }
            }
            7 if len == 1 => put!(self, " {}", data.u8(0)?),
            8 if len == 2 => put!(self, " {}", data.u16(0)?),
            32 | 46 if len == 4 => put!(self, " {}", data.u32(0)?),
            9 => {
                self.to.push_str(" (");
                self.dhcp6(data, len)?;
                self.protocol = "dhcp6";
            }
            13 => match data.u16(0)? {
                code if code > 255 => self.to.push_str(" INVALID code"),
                code => match word(STATUS, code.into()) {
                    Some(name) => put!(self, " {name}"),
                    None => put!(self, " code{code}"),
                },
            },
            19 if len == 1 => match data.u8(0)? {
                5 => self.to.push_str(" for renew"),
                11 => self.to.push_str(" for inf-req"),
                other => put!(self, " for ???({other:02x})"),
            },
            18 | 38 => {
                self.to.push(' ');
                self.digits(data.up_to(10).all());
                self.to.push_str("...");
            }
            37 => {
                put!(self, " {} ", data.u32(0)?);
                self.digits(data.from(4).up_to(10).all());
                self.to.push_str("...");
            }
            12 | 22 | 23 | 27 | 28 | 31 | 34 | 40 | 48 if len.is_multiple_of(16) => {
                for at in (0..len).step_by(16) {
                    put!(self, " {}", self.v6(data, at)?);
                }
            }
            21 | 24 => {
                let mut at = 0;
                while at < len {
                    self.to.push(' ');
                    at = self.dns_name(data, at).ok_or(Truncated)?;
                }
            }
            56 => self.dhcp6_time_servers(data)?,
            64 => self.dhcp6_gateway(data)?,
            6 | 7 | 8 | 12 | 19 | 22 | 23 | 27 | 28 | 31 | 32 | 34 | 40 | 43 | 46 | 48 => {
                return Err(Truncated);
            }
            _ => {}
        }
        Ok(())
    }

    /// NTP's servers: addresses and names (RFC 5908).
    fn dhcp6_time_servers(&mut self, data: Bytes<'_>) -> Printed {
        data.slice(0, 4)?;
        let mut at = 0;
        while data.len() - at >= 4 {
            let (kind, len) = (data.u16(at)?, usize::from(data.u16(at + 2)?));
            at += 4;
            put!(self, " subopt:{kind}");
            match kind {
                1 | 2 if len == 16 => put!(self, " {}", self.v6(data, at)?),
                3 => {
                    self.to.push(' ');
                    self.dns_name(data, at).ok_or(Truncated)?;
                }
                _ => self.to.push_str(" ?"),
            }
            at = data.len().min(at + len);
        }
        Ok(())
    }

    /// The name of a tunnel's end (RFC 6334).
    fn dhcp6_gateway(&mut self, data: Bytes<'_>) -> Printed {
        data.slice(0, 3)?;
        self.to.push(' ');
        let mut at = 0;
        while let Ok(len) = data.u8(at).map(usize::from) {
            at += 1;
            if len > data.len() - at {
                self.to.push_str(" ?");
                break;
            }
            self.text(data.from(at), len);
            at += len;
            if data.u8(at).is_ok_and(|next| next != 0) {
                self.to.push('.');
            }
        }
        Ok(())
    }

    /// By what a client or a server is known (RFC 8415, 11).
    fn dhcp6_unique_id(&mut self, data: Bytes<'_>) -> Printed {
        match data.u16(0)? {
            1 => {
                data.slice(0, 8)?;
                put!(
                    self,
                    " hwaddr/time type {} time {} ",
                    data.u16(2)?,
                    data.u32(4)?
                );
                self.digits(data.from(8).all());
            }
            2 => {
                let id = data.slice(2, 8)?;
                self.to.push_str(" vid ");
                self.digits(id);
            }
            3 => {
                put!(self, " hwaddr type {} ", data.u16(2)?);
                self.digits(data.from(4).all());
            }
            other => put!(self, " type {other}"),
        }
        Ok(())
    }
}
