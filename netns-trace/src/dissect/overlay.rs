//! Overlay networks between hosts: VXLAN (RFC 7348) and Geneve (RFC 8926).

use super::{
    Printed, Printer,
    bytes::Bytes,
    put,
    words::{ETHERTYPES, Words, bits, ethertype, word},
};

const HEADER: usize = 8;
const GENEVE_FLAGS: &Words = &[
    (0x80, "O"),
    (0x40, "C"),
    (0x20, "R1"),
    (0x10, "R2"),
    (0x08, "R3"),
    (0x04, "R4"),
    (0x02, "R5"),
    (0x01, "R6"),
];

impl Printer<'_> {
    pub(super) fn vxlan(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "vxlan";
        self.to.push_str("VXLAN");
        if len < HEADER {
            self.say_invalid();
            return Ok(());
        }
        let flags = bytes.u8(0)?;
        let name = if flags & 8 == 0 { "invalid" } else { "I" };
        put!(self, ", flags [{name}] (0x{flags:02x}), ");
        put!(self, "vni {}\n", bytes.u24(4)?);
        bytes.u8(7)?;
        let payload = bytes.from(HEADER);
        self.nested(|printer| printer.ethernet(payload, len - HEADER).map(drop))
    }

    pub(super) fn geneve(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "geneve";
        self.to.push_str("Geneve");
        if len < HEADER {
            put!(self, " [length {len} < {HEADER}]");
            self.say_invalid();
            return Ok(());
        }
        if !bytes.has(HEADER) {
            self.say_truncated();
            return Ok(());
        }
        let version = bytes.u8(0)? >> 6;
        if version != 0 {
            put!(self, " ERROR: unknown-version {version}");
            return Ok(());
        }
        let flags = bits(GENEVE_FLAGS, bytes.u8(1)?.into(), "", "none");
        let kind = bytes.u16(2)?;
        put!(self, ", Flags [{flags}], vni 0x{:x}", bytes.u24(4)?);
        let reserved = bytes.u8(7)?;
        if reserved != 0 {
            put!(self, ", rsvd 0x{reserved:x}");
        }
        if self.options.link_header {
            let name = word(ETHERTYPES, kind.into()).unwrap_or("unknown");
            put!(self, ", proto {name} (0x{kind:04x})");
        }
        let options_len = usize::from(bytes.u8(0)? & 0x3f) * 4;
        let left = len - HEADER;
        if left < options_len {
            put!(
                self,
                " truncated-geneve - {} bytes missing",
                options_len - left
            );
            return Ok(());
        }
        let Ok(options) = bytes.slice(HEADER, options_len) else {
            self.say_truncated();
            return Ok(());
        };
        if options_len > 0 {
            self.to.push_str(", options [");
            if self.verbose() > 0 {
                self.geneve_options(Bytes::new(options))?;
            } else {
                put!(self, "{options_len} bytes");
            }
            self.to.push(']');
        }
        self.to
            .push_str(if self.verbose() == 0 { ": " } else { "\n\t" });
        let (payload, payload_len) = (bytes.from(HEADER + options_len), left - options_len);
        if kind == ethertype::TEB {
            return self.nested(|printer| printer.ethernet(payload, payload_len).map(drop));
        }
        if !self.ethernet_payload(kind, payload, payload_len)? {
            put!(self, "geneve-proto-0x{kind:x}");
        }
        Ok(())
    }

    fn geneve_options(&mut self, bytes: Bytes<'_>) -> Printed {
        let mut at = 0;
        while at < bytes.len() {
            if at > 0 {
                self.to.push_str(", ");
            }
            let (class, kind) = (bytes.u16(at)?, bytes.u8(at + 2)?);
            let len = 4 + usize::from(bytes.u8(at + 3)? & 0x1f) * 4;
            let name = match class {
                0x100 => "Linux",
                0x101 => "Open vSwitch",
                0x102 => "Open Virtual Networking (OVN)",
                0x103 => "In-band Network Telemetry (INT)",
                0x104 => "VMware",
                0..=0xff => "Standard",
                0xfff0.. => "Experimental",
                _ => "Unknown",
            };
            let critical = if kind & 0x80 == 0 { "" } else { "(C)" };
            put!(
                self,
                "class {name} (0x{class:x}) type 0x{kind:x}{critical} len {len}"
            );
            if len > bytes.len() - at {
                self.to.push_str(" [bad length]");
                return Ok(());
            }
            if self.verbose() > 1 && len > 4 {
                self.to.push_str(" data");
                for word in (4..len).step_by(4) {
                    put!(self, " {:08x}", bytes.u32(at + word)?);
                }
            }
            at += len;
        }
        Ok(())
    }
}
