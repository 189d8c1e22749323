//! GRE (RFC 2784, 2890): tunnels between hosts.

use super::{
    Printed, Printer,
    bytes::Bytes,
    put,
    words::{ETHERTYPES, Words, bits, ethertype, word},
};

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const ACKNOWLEDGEMENT: u16 = 0x0080;
const FLAGS: &Words = &[
    (0x8000, "checksum present"),
    (0x4000, "routing present"),
    (0x2000, "key present"),
    (0x1000, "sequence# present"),
    (0x0800, "source routing present"),
    (0x0080, "ack present"),
];

impl Printer<'_> {
    pub(super) fn gre(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "gre";
        if !bytes.has(2) || len < 2 {
            self.say_truncated();
            return Ok(());
        }
        let flags = bytes.u16(0)?;
        let version = flags & 7;
        put!(self, "GREv{version}");
        if version > 1 {
            self.to.push_str(" ERROR: unknown-version");
            return Ok(());
        }
        let present = bytes.up_to(len);
        let printed = self.gre_header(present, len, flags);
        let Ok((header, kind)) = printed else {
            self.say_truncated();
            return Ok(());
        };
        if version == 1 && flags & SEQUENCE == 0 {
            return Ok(());
        }
        self.to
            .push_str(if self.verbose() == 0 { ": " } else { "\n\t" });
        let (payload, payload_len) = (bytes.from(header), len - header);
        match kind {
            ethertype::IPV4 if version == 0 => self.ip(payload, payload_len),
            ethertype::IPV6 if version == 0 => self.ip6(payload, payload_len),
            ethertype::TEB if version == 0 => {
                self.nested(|printer| printer.ethernet(payload, payload_len).map(drop))
            }
            other => {
                put!(self, "gre-proto-0x{other:x}");
                Ok(())
            }
        }
    }

    /// The fields of the header; where the payload starts, and its type.
    fn gre_header(
        &mut self,
        bytes: Bytes<'_>,
        len: usize,
        flags: u16,
    ) -> Result<(usize, u16), super::Truncated> {
        let version = flags & 7;
        if self.verbose() > 0 {
            put!(
                self,
                ", Flags [{}]",
                bits(FLAGS, flags.into(), ", ", "none")
            );
        }
        let kind = bytes.u16(2)?;
        let mut at = 4;
        if version == 0 && flags & (CHECKSUM | ROUTING) != 0 {
            let sum = bytes.u16(at)?;
            if self.verbose() > 0 {
                put!(self, ", sum 0x{sum:x}");
            }
            put!(self, ", off 0x{:x}", bytes.u16(at + 2)?);
            at += 4;
        }
        if flags & KEY != 0 {
            let key = bytes.u32(at)?;
            if version == 0 {
                put!(self, ", key=0x{key:x}");
            } else {
                put!(self, ", call {}", key & 0xffff);
            }
            at += 4;
        }
        if flags & SEQUENCE != 0 {
            put!(self, ", seq {}", bytes.u32(at)?);
            at += 4;
        }
        if version == 1 {
            if flags & ACKNOWLEDGEMENT != 0 {
                put!(self, ", ack {}", bytes.u32(at)?);
                at += 4;
            }
            if flags & SEQUENCE == 0 {
                self.to.push_str(", no-payload");
            }
        } else if flags & ROUTING != 0 {
            // Routes are skipped: an address family of 0 and no length end them.
            loop {
                let (family, route_len) = (bytes.u16(at)?, usize::from(bytes.u8(at + 3)?));
                at += 4;
                if family == 0 && route_len == 0 {
                    break;
                }
                bytes.slice(at, route_len)?;
                at += route_len;
            }
        }
        if self.options.link_header {
            let name = word(ETHERTYPES, kind.into()).unwrap_or("unknown");
            put!(self, ", proto {name} (0x{kind:04x})");
        }
        put!(self, ", length {len}");
        Ok((at, kind))
    }
}
