//! How packets start: one printer for each link type.

use super::{
    Frame, Printed, Printer,
    address::Mac,
    bytes::Bytes,
    put,
    words::{self, ETHERTYPES, Words, ethertype, word},
};

const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const RAW: u16 = 101;
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const LINUX_SLL2: u16 = 276;

/// Link types: number, name and description, as libpcap has them.
const LINK_TYPES: &[(u16, &str, &str)] = &[
    (NULL, "NULL", "BSD loopback"),
    (ETHERNET, "EN10MB", "Ethernet"),
    (6, "IEEE802", "Token ring"),
    (9, "PPP", "PPP"),
    (50, "PPP_SERIAL", "PPP over serial"),
    (51, "PPP_ETHER", "PPPoE"),
    (RAW, "RAW", "Raw IP"),
    (104, "C_HDLC", "Cisco HDLC"),
    (105, "IEEE802_11", "802.11"),
    (107, "FRELAY", "Frame Relay"),
    (LOOP, "LOOP", "OpenBSD loopback"),
    (LINUX_SLL, "LINUX_SLL", "Linux cooked v1"),
    (127, "IEEE802_11_RADIO", "802.11 plus radiotap header"),
    (IPV4, "IPV4", "Raw IPv4"),
    (IPV6, "IPV6", "Raw IPv6"),
    (239, "NFLOG", "Linux netfilter log messages"),
    (LINUX_SLL2, "LINUX_SLL2", "Linux cooked v2"),
];

/// `EN10MB (Ethernet)`, as tcpdump names a link type, and its number for one that has no name here.
#[must_use]
pub fn link_type_name(link_type: u16) -> String {
    LINK_TYPES
        .iter()
        .find(|(number, ..)| *number == link_type)
        .map_or_else(
            || format!("LINKTYPE {link_type}"),
            |(_, name, description)| format!("{name} ({description})"),
        )
}

pub(super) fn is_known(link_type: u16) -> bool {
    matches!(
        link_type,
        NULL | ETHERNET | RAW | LOOP | LINUX_SLL | IPV4 | IPV6 | LINUX_SLL2
    )
}

/// Whom a packet of a cooked capture was for.
const PACKET_TYPES: &Words = &[(0, "In"), (1, "B"), (2, "M"), (3, "P"), (4, "Out")];

/// Address families of BSD's loopback header.
const FAMILIES: &Words = &[
    (2, "IPv4"),
    (6, "NS"),
    (7, "ISO"),
    (16, "Appletalk"),
    (23, "IPX"),
    (24, "IPv6"),
    (28, "IPv6"),
    (30, "IPv6"),
];

impl Printer<'_> {
    /// A packet from its first byte on.
    pub(super) fn frame(&mut self, frame: &Frame<'_>) -> Printed {
        let bytes = Bytes::new(frame.data);
        let captured = bytes.len() as u32;
        let len = frame.original_len;
        let mut wrong = Vec::new();
        if captured == 0 {
            wrong.push(" caplen==0".to_owned());
        }
        if len == 0 {
            wrong.push(" len==0".to_owned());
        } else if len < captured {
            wrong.push(format!(" len({len}) < caplen({captured})"));
        }
        if !wrong.is_empty() {
            put!(self, "[Invalid header:{}]", wrong.join(","));
            return Ok(());
        }
        let len = len as usize;
        match frame.link_type {
            ETHERNET => self.link_ethernet(bytes, len),
            RAW | IPV4 | IPV6 => self.raw(bytes, len),
            NULL | LOOP => self.null(bytes, len),
            LINUX_SLL => self.cooked(bytes, len),
            LINUX_SLL2 => self.cooked2(bytes, len),
            other => {
                put!(self, "{}, length {len}", link_type_name(other));
                Ok(())
            }
        }
    }

    fn link_ethernet(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        let headers = self.ethernet(bytes, len)?;
        self.link_len += headers;
        Ok(())
    }

    fn raw(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "raw";
        if self.options.link_header {
            self.to.push_str("ip: ");
        }
        self.protocol = "ipn";
        match bytes.u8(0)? >> 4 {
            4 => self.ip(bytes, len),
            6 => self.ip6(bytes, len),
            version => {
                put!(self, "unknown ip {version}");
                Ok(())
            }
        }
    }

    fn null(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "null";
        let mut family = u32::from_le_bytes(bytes.array(0)?);
        self.link_len += 4;
        // From a machine of another byte order.
        if family & 0xffff_0000 != 0 {
            family = family.swap_bytes();
        }
        if self.options.link_header {
            self.null_header(family, len);
        }
        let (payload, payload_len) = (bytes.from(4), len.saturating_sub(4));
        match family {
            2 => self.ip(payload, payload_len),
            24 | 28 | 30 => self.ip6(payload, payload_len),
            _ => {
                if !self.options.link_header {
                    self.null_header(family, len);
                }
                self.unknown(payload, payload.len())
            }
        }
    }

    fn null_header(&mut self, family: u32, len: usize) {
        let name = word(FAMILIES, family);
        if self.options.quiet > 0 {
            match name {
                Some(name) => put!(self, "{name}"),
                None => put!(self, "Unknown AF {family}"),
            }
        } else {
            put!(self, "AF {} ({family})", name.unwrap_or("Unknown"));
        }
        put!(self, ", length {len}: ");
    }

    /// Linux' own header for captures on all interfaces.
    fn cooked(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        const HEADER: usize = 16;
        self.protocol = "sll";
        bytes.slice(0, HEADER)?;
        let header = bytes.up_to(HEADER);
        if self.options.link_header {
            self.cooked_header(header, len)?;
        }
        let kind = header.u16(14)?;
        self.cooked_payload(
            bytes.from(HEADER),
            len.saturating_sub(HEADER),
            kind,
            HEADER,
            |printer, len| printer.cooked_header(header, len + HEADER),
        )
    }

    fn cooked_header(&mut self, header: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "sll";
        let packet_type = word(PACKET_TYPES, header.u16(0)?.into()).unwrap_or("?");
        put!(self, "{packet_type:>3} ");
        if header.u16(4)? == 6 {
            put!(self, "{} ", Mac(header.slice(6, 6)?));
        }
        self.cooked_type(header.u16(14)?, len);
        Ok(())
    }

    fn cooked2(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        const HEADER: usize = 20;
        self.protocol = "sll2";
        bytes.slice(0, HEADER)?;
        let header = bytes.up_to(HEADER);
        let packet_type = word(PACKET_TYPES, header.u8(10)?.into()).unwrap_or("?");
        // tcpdump prints what the index means on the machine that reads, which is none of the packet's.
        put!(self, "{:<5} {packet_type:<3} ", "?");
        if self.options.link_header {
            self.cooked2_header(header, len)?;
        }
        let kind = header.u16(0)?;
        self.cooked_payload(
            bytes.from(HEADER),
            len.saturating_sub(HEADER),
            kind,
            HEADER,
            |printer, len| printer.cooked2_header(header, len + HEADER),
        )
    }

    fn cooked2_header(&mut self, header: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "sll2";
        put!(self, "ifindex {} ", header.u32(4)?);
        if header.u8(11)? == 6 {
            put!(self, "{} ", Mac(header.slice(12, 6)?));
        }
        self.cooked_type(header.u16(0)?, len);
        Ok(())
    }

    fn cooked_type(&mut self, kind: u16, len: usize) {
        if self.options.quiet > 0 {
            return;
        }
        match kind {
            1 => self.to.push_str("802.3"),
            4 => self.to.push_str("802.2"),
            kind if kind <= ethertype::MAX_LENGTH => put!(self, "ethertype Unknown (0x{kind:04x})"),
            kind => {
                let name = word(ETHERTYPES, kind.into()).unwrap_or("Unknown");
                put!(self, "ethertype {name} (0x{kind:04x})");
            }
        }
        put!(self, ", length {len}: ");
    }

    fn cooked_payload(
        &mut self,
        mut bytes: Bytes<'_>,
        mut len: usize,
        mut kind: u16,
        mut headers: usize,
        print_header: impl FnOnce(&mut Self, usize) -> Printed,
    ) -> Printed {
        const LLC: u16 = 4;
        while kind == ethertype::VLAN {
            if bytes.len() < 4 {
                self.protocol = "vlan";
                self.say_truncated();
                self.link_len += headers + bytes.len();
                return Ok(());
            }
            if self.options.link_header {
                let tag = bytes.u16(0)?;
                self.tag(tag);
            }
            kind = bytes.u16(2)?;
            if kind <= ethertype::MAX_LENGTH {
                kind = LLC;
            }
            if self.options.quiet == 0 {
                let name = word(words::ETHERTYPES, kind.into()).unwrap_or("Unknown");
                put!(self, "ethertype {name}, ");
            }
            bytes = bytes.from(4);
            len = len.saturating_sub(4);
            headers += 4;
        }
        if kind == LLC {
            match self.llc(bytes, len, None)? {
                Ok(header) => headers += header,
                Err(_) => self.unknown(bytes, bytes.len())?,
            }
        } else if kind <= ethertype::MAX_LENGTH {
            self.unknown(bytes, bytes.len())?;
        } else if !self.ethernet_payload(kind, bytes, len)? {
            if !self.options.link_header {
                print_header(self, len)?;
            }
            self.unknown(bytes, bytes.len())?;
        }
        self.link_len += headers;
        Ok(())
    }
}
