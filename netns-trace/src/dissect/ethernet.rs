//! Ethernet, with the tags of virtual LANs, and what its types lead to.

use super::{
    Printer,
    address::Mac,
    bytes::{Bytes, Truncated},
    put,
    words::{ETHERTYPES, ethertype, word},
};

/// Bytes of the two addresses, and of those with the type.
const ADDRESSES: usize = 12;
const HEADER: usize = 14;

/// The addresses of a frame.
#[derive(Clone, Copy)]
pub(super) struct Addresses<'a> {
    pub(super) from: Mac<'a>,
    pub(super) to: Mac<'a>,
}

impl Printer<'_> {
    /// A frame; how many bytes its headers take.
    pub(super) fn ethernet(&mut self, bytes: Bytes<'_>, len: usize) -> Result<usize, Truncated> {
        self.protocol = "ether";
        if len < bytes.len() {
            put!(self, "[length {len} < caplen {}]", bytes.len());
            self.say_invalid();
            return Ok(len);
        }
        if bytes.len() < HEADER {
            self.say_truncated();
            return Ok(bytes.len());
        }
        let addresses = Addresses {
            from: Mac(bytes.slice(6, 6)?),
            to: Mac(bytes.slice(0, 6)?),
        };
        if self.options.link_header {
            self.addresses(addresses);
        }
        let mut kind = bytes.u16(ADDRESSES)?;
        let mut header = HEADER;
        let mut told_len = false;
        while matches!(
            kind,
            ethertype::VLAN | ethertype::VLAN_9100 | ethertype::VLAN_9200 | ethertype::QINQ
        ) {
            if bytes.len() < header + 4 {
                self.protocol = "vlan";
                self.say_truncated();
                return Ok(bytes.len());
            }
            if self.options.link_header {
                self.ethertype(kind);
                if told_len {
                    self.to.push_str(", ");
                } else {
                    put!(self, ", length {len}: ");
                    told_len = true;
                }
                self.tag(bytes.u16(header)?);
            }
            kind = bytes.u16(header + 2)?;
            header += 4;
        }
        let (payload, payload_len) = (bytes.from(header), len - header);
        if kind <= ethertype::MAX_LENGTH {
            let payload_len = payload_len.min(kind.into());
            let payload = payload.up_to(payload_len);
            if self.options.link_header {
                self.to.push_str("802.3");
                if !told_len {
                    put!(self, ", length {payload_len}: ");
                }
            }
            header += self.llc_or_bytes(payload, payload_len, addresses)?;
        } else if kind == ethertype::JUMBO {
            header += self.llc_or_bytes(payload, payload_len, addresses)?;
        } else {
            if self.options.link_header {
                self.ethertype(kind);
                if told_len {
                    self.to.push_str(", ");
                } else {
                    put!(self, ", length {len}: ");
                }
            }
            if !self.ethernet_payload(kind, payload, payload_len)? {
                if !self.options.link_header {
                    self.addresses(addresses);
                    self.ethertype(kind);
                    put!(self, ", length {len}: ");
                }
                self.unknown(payload, payload.len())?;
            }
        }
        Ok(header)
    }

    fn llc_or_bytes(
        &mut self,
        bytes: Bytes<'_>,
        len: usize,
        addresses: Addresses<'_>,
    ) -> Result<usize, Truncated> {
        match self.llc(bytes, len, Some(addresses))? {
            Ok(header) => Ok(header),
            Err(header) => {
                self.unknown(bytes, bytes.len())?;
                Ok(header)
            }
        }
    }

    fn addresses(&mut self, addresses: Addresses<'_>) {
        put!(self, "{} > {}, ", addresses.from, addresses.to);
    }

    fn ethertype(&mut self, kind: u16) {
        let name = word(ETHERTYPES, kind.into());
        if self.options.quiet == 0 {
            put!(
                self,
                "ethertype {} (0x{kind:04x})",
                name.unwrap_or("Unknown")
            );
        } else if let Some(name) = name {
            self.to.push_str(name);
        } else {
            put!(self, "Unknown Ethertype (0x{kind:04x})");
        }
    }

    /// A tag: number and priority of the virtual LAN.
    pub(super) fn tag(&mut self, tag: u16) {
        let eligible = if tag & 0x1000 == 0 { "" } else { ", DEI" };
        put!(self, "vlan {}, p {}{eligible}, ", tag & 0xfff, tag >> 13);
    }

    /// What a type leads to; whether it is one that is known.
    pub(super) fn ethernet_payload(
        &mut self,
        kind: u16,
        bytes: Bytes<'_>,
        len: usize,
    ) -> Result<bool, Truncated> {
        match kind {
            ethertype::IPV4 => self.ip(bytes, len)?,
            ethertype::IPV6 => self.ip6(bytes, len)?,
            ethertype::ARP | ethertype::REVERSE_ARP => self.arp(bytes, len)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
