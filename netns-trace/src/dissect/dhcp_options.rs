//! DHCP's options (RFC 2132 and later).

use super::{
    Printer,
    bytes::{Bytes, Truncated},
    put,
    words::{Words, word},
};

const PAD: u8 = 0;
const END: u8 = 255;
const NETBIOS_NODE: u8 = 46;
const OVERLOAD: u8 = 52;
const MESSAGE: u8 = 53;
const PARAMETERS: u8 = 55;
const CLIENT_ID: u8 = 61;
const USER_CLASS: u8 = 77;
const FQDN: u8 = 81;
const AGENT: u8 = 82;
const ROUTES: u8 = 121;
const ROUTES_MICROSOFT: u8 = 249;

/// How an option's data is printed.
#[derive(Clone, Copy)]
enum Form {
    /// `"text"`.
    Text,
    /// IPv4 addresses.
    Addresses,
    /// Pairs of them.
    AddressPairs,
    /// 32-bit numbers.
    Longs,
    /// 32-bit numbers with a sign.
    SignedLongs,
    /// 16-bit numbers.
    Shorts,
    /// Bytes in decimal.
    Bytes,
    /// Y or N.
    Switches,
    /// In a way of its own.
    Own,
}

/// Options: number, name and form.
const OPTIONS: &[(u8, &str, Form)] = {
    use Form::{
        AddressPairs as P, Addresses as I, Bytes as B, Longs as L, Own, Shorts as S, SignedLongs,
        Switches as Y, Text as T,
    };
    &[
        (PAD, "PAD", B),
        (1, "Subnet-Mask", I),
        (2, "Time-Zone", SignedLongs),
        (3, "Default-Gateway", I),
        (4, "Time-Server", I),
        (5, "IEN-Name-Server", I),
        (6, "Domain-Name-Server", I),
        (7, "LOG", I),
        (8, "CS", I),
        (9, "LPR-Server", I),
        (10, "IM", I),
        (11, "RL", I),
        (12, "Hostname", T),
        (13, "BS", S),
        (END, "END", B),
        (14, "DP", T),
        (15, "Domain-Name", T),
        (16, "SS", I),
        (17, "RP", T),
        (18, "EP", T),
        (19, "IPF", Y),
        (20, "SRT", Y),
        (21, "PF", P),
        (22, "RSZ", S),
        (23, "TTL", B),
        (24, "MTU-Timeout", L),
        (25, "MTU-Table", S),
        (26, "MTU", S),
        (27, "LSN", Y),
        (28, "BR", I),
        (29, "MD", Y),
        (30, "MS", Y),
        (31, "Router-Discovery", Y),
        (32, "RSA", I),
        (33, "Static-Route", P),
        (34, "UT", Y),
        (35, "AT", L),
        (36, "IE", Y),
        (37, "TT", B),
        (38, "KI", L),
        (39, "KG", Y),
        (40, "YD", T),
        (41, "YS", I),
        (42, "NTP", I),
        (43, "Vendor-Option", B),
        (44, "Netbios-Name-Server", I),
        (45, "WDD", I),
        (NETBIOS_NODE, "Netbios-Node", Own),
        (47, "Netbios-Scope", T),
        (48, "XFS", I),
        (49, "XDM", I),
        (50, "Requested-IP", I),
        (51, "Lease-Time", L),
        (OVERLOAD, "OO", Own),
        (MESSAGE, "DHCP-Message", B),
        (54, "Server-ID", I),
        (PARAMETERS, "Parameter-Request", B),
        (56, "MSG", T),
        (57, "MSZ", S),
        (58, "RN", L),
        (59, "RB", L),
        (60, "Vendor-Class", T),
        (CLIENT_ID, "Client-ID", Own),
        (64, "N+D", S),
        (65, "N+S", I),
        (66, "TFTP", T),
        (67, "BF", T),
        (68, "MH", I),
        (69, "SMTP", I),
        (70, "POP3", I),
        (71, "NNTP", I),
        (72, "WWW", I),
        (73, "FG", I),
        (74, "IRC", I),
        (75, "STS", I),
        (76, "STDA", I),
        (USER_CLASS, "User-Class", Own),
        (78, "SLP-DA", B),
        (79, "SLP-SCOPE", B),
        (80, "SLP-NA", T),
        (FQDN, "FQDN", Own),
        (AGENT, "Agent-Information", Own),
        (83, "ARMT", B),
        (88, "TZSTR", T),
        (89, "FQDNS", B),
        (90, "AUTH", B),
        (91, "Last-Transaction-Time", SignedLongs),
        (92, "Associated-IP", I),
        (93, "ARCH", S),
        (94, "NDI", B),
        (97, "GUID", B),
        (95, "LDAP", T),
        (100, "POSIX-TZ", T),
        (101, "TZ-Name", T),
        (112, "NI", I),
        (113, "NITAG", T),
        (114, "URL", T),
        (116, "NOAUTO", Y),
        (117, "NSSEARCH", S),
        (118, "SUBNET", I),
        (ROUTES, "Classless-Static-Route", Own),
        (ROUTES_MICROSOFT, "Classless-Static-Route-Microsoft", Own),
        (150, "TFTP-Server-Address", I),
        (161, "MUD-URL", T),
        (98, "UAP", T),
    ]
};

const MESSAGES: &Words = &[
    (1, "Discover"),
    (2, "Offer"),
    (3, "Request"),
    (4, "Decline"),
    (5, "ACK"),
    (6, "NACK"),
    (7, "Release"),
    (8, "Inform"),
    (10, "LeaseQuery"),
    (11, "LeaseUnassigned"),
    (12, "LeaseUnknown"),
    (13, "LeaseActive"),
];
const NODES: &Words = &[(1, "b-node"), (2, "p-node"), (4, "m-node"), (8, "h-node")];
const OVERLOADS: &Words = &[(1, "file"), (2, "sname"), (3, "file+sname")];
const HARDWARE: &Words = &[
    (1, "ether"),
    (6, "ieee802"),
    (7, "arcnet"),
    (15, "frelay"),
    (23, "strip"),
    (24, "ieee1394"),
];
const AGENT_OPTIONS: &Words = &[(1, "Circuit-ID"), (2, "Remote-ID"), (6, "Subscriber-ID")];

/// How many bytes of an option's data were printed.
type Used = Result<usize, Truncated>;

impl Printer<'_> {
    /// The options behind the magic cookie, which is where `bytes` starts.
    pub(super) fn dhcp_options(&mut self, bytes: Bytes<'_>) -> Result<(), Truncated> {
        self.to.push_str("\n\t  Vendor-rfc1048 Extensions");
        put!(self, "\n\t    Magic Cookie 0x{:08x}", bytes.u32(0)?);
        let mut at = 4;
        while let Ok(tag) = bytes.u8(at) {
            at += 1;
            if tag == PAD && self.verbose() < 3 {
                continue;
            }
            if tag == END && self.verbose() < 3 {
                return Ok(());
            }
            let len = if tag == PAD || tag == END {
                0
            } else {
                at += 1;
                usize::from(bytes.u8(at - 1)?)
            };
            let name = option(tag).map_or("Unknown", |(name, _)| name);
            put!(
                self,
                "\n\t    {name} ({tag}), length {len}{}",
                if len > 0 { ": " } else { "" }
            );
            if tag == PAD {
                let more = bytes
                    .from(at)
                    .all()
                    .iter()
                    .take_while(|byte| **byte == PAD)
                    .count();
                at += more;
                if more > 0 {
                    put!(self, ", occurs {}", more + 1);
                }
            }
            let Ok(data) = bytes.slice(at, len) else {
                self.say_truncated();
                return Ok(());
            };
            at += len;
            let used = self.dhcp_option(tag, Bytes::new(data))?;
            if used < len {
                put!(self, "\n\t  trailing data length {}", len - used);
            }
        }
        Ok(())
    }

    fn dhcp_option(&mut self, tag: u8, data: Bytes<'_>) -> Used {
        let len = data.len();
        if tag == MESSAGE && len == 1 {
            let kind = data.u8(0)?;
            match word(MESSAGES, kind.into()) {
                Some(name) => self.to.push_str(name),
                None => put!(self, "Unknown ({kind})"),
            }
            return Ok(1);
        }
        if tag == PARAMETERS {
            for (number, tag) in data.all().iter().enumerate() {
                self.to
                    .push_str(if number % 4 == 0 { "\n\t      " } else { ", " });
                let name = option(*tag).map_or("Unknown", |(name, _)| name);
                put!(self, "{name} ({tag})");
            }
            return Ok(len);
        }
        // What is not known is printed by its length.
        let form = option(tag).map_or(
            match len % 4 {
                1 | 3 => Form::Bytes,
                2 => Form::Shorts,
                _ => Form::Longs,
            },
            |(_, form)| form,
        );
        match form {
            Form::Text => {
                self.quoted(data.all());
                Ok(len)
            }
            Form::Addresses => self.list(data, 4, ",", |printer, item| printer.v4(item, 0)),
            Form::AddressPairs => self.list(data, 8, ",", |printer, item| {
                Ok(format!(
                    "({}:{})",
                    printer.v4(item, 0)?,
                    printer.v4(item, 4)?
                ))
            }),
            Form::Longs => self.list(data, 4, ",", |_, item| Ok(item.u32(0)?.to_string())),
            Form::SignedLongs => self.list(data, 4, ",", |_, item| {
                Ok(item.u32(0)?.cast_signed().to_string())
            }),
            Form::Shorts => self.list(data, 2, ",", |_, item| Ok(item.u16(0)?.to_string())),
            Form::Bytes => self.list(data, 1, ".", |_, item| Ok(item.u8(0)?.to_string())),
            Form::Switches => self.list(data, 1, ",", |_, item| {
                Ok(match item.u8(0)? {
                    0 => "N".to_owned(),
                    1 => "Y".to_owned(),
                    other => format!("{other}?"),
                })
            }),
            Form::Own => self.dhcp_own(tag, data),
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        self.to.push('"');
        self.characters(text);
        self.to.push('"');
    }

    /// As many items of `size` bytes as there are.
    fn list(
        &mut self,
        data: Bytes<'_>,
        size: usize,
        separator: &str,
        item: impl Fn(&Self, Bytes<'_>) -> Result<String, Truncated>,
    ) -> Used {
        let count = data.len() / size;
        for number in 0..count {
            if number > 0 {
                self.to.push_str(separator);
            }
            let text = item(self, data.from(number * size))?;
            self.to.push_str(&text);
        }
        Ok(count * size)
    }

    fn dhcp_own(&mut self, tag: u8, data: Bytes<'_>) -> Used {
        let len = data.len();
        let least = match tag {
            FQDN => 3,
            USER_CLASS => 2,
            ROUTES | ROUTES_MICROSOFT => 5,
            AGENT => 0,
            _ => 1,
        };
        if len < least {
            put!(self, "[ERROR: length < {least} bytes]");
            return Ok(len);
        }
        match tag {
            NETBIOS_NODE | OVERLOAD => {
                let words = if tag == OVERLOAD { OVERLOADS } else { NODES };
                let number = data.u8(0)?;
                match word(words, number.into()) {
                    Some(name) => self.to.push_str(name),
                    None => put!(self, "#{number}"),
                }
                Ok(1)
            }
            FQDN => self.dhcp_name(data),
            CLIENT_ID => self.dhcp_client(data),
            AGENT => self.dhcp_agent(data),
            USER_CLASS => self.dhcp_user_class(data),
            _ => self.dhcp_routes(data),
        }
    }

    /// The client's own name (RFC 4702).
    fn dhcp_name(&mut self, data: Bytes<'_>) -> Used {
        let flags = data.u8(0)?;
        if flags & 0xf0 != 0 {
            put!(self, "[ERROR: MBZ nibble 0x{:x} != 0] ", flags >> 4);
        }
        if flags & 0xf != 0 {
            let letters: String = [(1, 'S'), (2, 'O'), (4, 'E'), (8, 'N')]
                .into_iter()
                .filter(|(bit, _)| flags & bit != 0)
                .map(|(_, letter)| letter)
                .collect();
            put!(self, "[{letters}] ");
        }
        let (forward, reverse) = (data.u8(1)?, data.u8(2)?);
        if (forward, reverse) != (0, 0) {
            put!(self, "{forward}/{reverse} ");
        }
        self.quoted(data.from(3).all());
        Ok(data.len())
    }

    fn dhcp_client(&mut self, data: Bytes<'_>) -> Used {
        let kind = data.u8(0)?;
        if kind == 0 {
            self.quoted(data.from(1).all());
        } else {
            match word(HARDWARE, kind.into()) {
                Some(name) => put!(self, "{name} "),
                None => put!(self, "hardware-type {kind}, "),
            }
            let id: Vec<String> = data
                .from(1)
                .all()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            self.to.push_str(&id.join(":"));
        }
        Ok(data.len())
    }

    /// What a relay adds (RFC 3046).
    fn dhcp_agent(&mut self, data: Bytes<'_>) -> Used {
        let mut at = 0;
        while data.len() - at >= 2 {
            let (kind, len) = (data.u8(at)?, usize::from(data.u8(at + 1)?));
            at += 2;
            let name = word(AGENT_OPTIONS, kind.into());
            put!(
                self,
                "\n\t      {} SubOption {kind}, length {len}: ",
                name.unwrap_or("Unknown")
            );
            let Ok(value) = data.slice(at, len) else {
                self.to.push_str("length goes past end of option");
                return Ok(data.len());
            };
            if name.is_some() {
                self.characters(value);
            } else {
                self.hex("\n\t\t", value);
            }
            at += len;
        }
        Ok(at)
    }

    /// Classes, each behind its length (RFC 3004).
    fn dhcp_user_class(&mut self, data: Bytes<'_>) -> Used {
        let mut at = 0;
        for instance in 1.. {
            if at >= data.len() {
                break;
            }
            let len = usize::from(data.u8(at)?);
            at += 1;
            put!(self, "\n\t      instance#{instance}: ");
            if len == 0 {
                self.to
                    .push_str("[ERROR: suboption length must be non-zero]");
                return Ok(data.len());
            }
            let Ok(class) = data.slice(at, len) else {
                self.to.push_str("[ERROR: invalid option]");
                return Ok(data.len());
            };
            self.quoted(class);
            put!(self, ", length {len}");
            at += len;
        }
        Ok(data.len())
    }

    /// Routes with prefixes of any length (RFC 3442).
    fn dhcp_routes(&mut self, data: Bytes<'_>) -> Used {
        let mut at = 0;
        while at < data.len() {
            if at > 0 {
                self.to.push(',');
            }
            let prefix_len = data.u8(at)?;
            at += 1;
            if prefix_len > 32 {
                put!(self, "[ERROR: Mask width ({prefix_len}) > 32]");
                break;
            }
            let octets = usize::from(prefix_len).div_ceil(8);
            let left = data.len() - at;
            if left < octets + 4 {
                put!(
                    self,
                    "[ERROR: Remaining length ({left}) < {} bytes]",
                    octets + 4
                );
                break;
            }
            if prefix_len == 0 {
                self.to.push_str("(default");
            } else {
                let mut prefix = [0; 4];
                prefix[..octets].copy_from_slice(data.slice(at, octets)?);
                put!(self, "({}/{prefix_len}", std::net::Ipv4Addr::from(prefix));
            }
            at += octets;
            put!(self, ":{})", self.v4(data, at)?);
            at += 4;
        }
        Ok(data.len())
    }
}

fn option(tag: u8) -> Option<(&'static str, Form)> {
    OPTIONS
        .iter()
        .find(|(other, ..)| *other == tag)
        .map(|(_, name, form)| (*name, *form))
}
