//! ARP and its relatives (RFC 826, 903, 2390).

use super::{
    Printed, Printer,
    address::Mac,
    bytes::{Bytes, Truncated},
    put,
    words::{ETHERTYPES, Words, ethertype, word},
};

const HEADER: usize = 8;

const HARDWARE: &Words = &[
    (1, "Ethernet"),
    (6, "TokenRing"),
    (7, "ArcNet"),
    (15, "FrameRelay"),
    (23, "Strip"),
    (24, "IEEE 1394"),
    (19, "ATM"),
    (32, "InfiniBand"),
];

const OPERATIONS: &Words = &[
    (1, "Request"),
    (2, "Reply"),
    (3, "Reverse Request"),
    (4, "Reverse Reply"),
    (8, "Inverse Request"),
    (9, "Inverse Reply"),
    (10, "NACK Reply"),
];

/// The four addresses, behind the header.
struct Parts<'a> {
    is_ip: bool,
    sender: &'a [u8],
    sender_ip: &'a [u8],
    target: &'a [u8],
    target_ip: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(bytes: Bytes<'a>, protocol: u16) -> Result<Self, Truncated> {
        let (hardware_len, protocol_len) = (bytes.u8(4)?.into(), bytes.u8(5)?.into());
        let target = HEADER + hardware_len + protocol_len;
        Ok(Self {
            is_ip: protocol == ethertype::IPV4 || protocol == ethertype::TRAIL,
            sender: bytes.slice(HEADER, hardware_len)?,
            sender_ip: bytes.slice(HEADER + hardware_len, protocol_len)?,
            target: bytes.slice(target, hardware_len)?,
            target_ip: bytes.slice(target + hardware_len, protocol_len)?,
        })
    }
}

impl Printer<'_> {
    pub(super) fn arp(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "arp";
        bytes.slice(0, HEADER)?;
        let hardware = bytes.u16(0)?;
        let protocol = bytes.u16(2)?;
        let operation = bytes.u16(6)?;
        let parts = Parts::read(bytes, protocol)?;
        if !self.options.link_header {
            self.to.push_str("ARP, ");
        }
        let verbose = self.verbose() > 0;
        let is_odd = !parts.is_ip || parts.target_ip.len() != 4 || parts.target.is_empty();
        if is_odd || verbose {
            match word(HARDWARE, hardware.into()) {
                Some(name) => put!(self, "{name}"),
                None => put!(self, "Unknown Hardware ({hardware})"),
            }
            put!(self, " (len {}), ", parts.target.len());
            match word(ETHERTYPES, protocol.into()) {
                Some(name) => put!(self, "{name}"),
                None => put!(self, "Unknown Protocol (0x{protocol:04x})"),
            }
            put!(self, " (len {})", parts.target_ip.len());
            if !verbose {
                put!(self, ", length {len}");
                return Ok(());
            }
        }
        if verbose {
            self.to.push_str(", ");
        }
        match word(OPERATIONS, operation.into()) {
            Some(name) => put!(self, "{name} "),
            None => put!(self, "Unknown ({operation}) "),
        }
        let (sender, target) = (Mac(parts.sender), Mac(parts.target));
        match operation {
            1 => {
                put!(self, "who-has {}", self.arp_ip(&parts, parts.target_ip));
                if parts.target.iter().any(|byte| *byte != 0) {
                    put!(self, " ({target})");
                }
                put!(self, " tell {}", self.arp_ip(&parts, parts.sender_ip));
            }
            2 => put!(
                self,
                "{} is-at {sender}",
                self.arp_ip(&parts, parts.sender_ip)
            ),
            3 | 8 => put!(self, "who-is {target} tell {sender}"),
            4 => put!(self, "{target} at {}", self.arp_ip(&parts, parts.target_ip)),
            9 => put!(self, "{sender} at {}", self.arp_ip(&parts, parts.sender_ip)),
            _ => return self.unknown(bytes, bytes.len()),
        }
        put!(self, ", length {len}");
        Ok(())
    }

    fn arp_ip(&self, parts: &Parts<'_>, address: &[u8]) -> String {
        if !parts.is_ip {
            return "<wrong proto type>".to_owned();
        }
        match <[u8; 4]>::try_from(address) {
            Ok(address) => self.address(address.into()),
            Err(_) => "<wrong len>".to_owned(),
        }
    }
}
