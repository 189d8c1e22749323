//! IPv4 (RFC 791).

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    checksum, put,
    transport::Ip,
    words::{PROTOCOLS, Words, bits, proto, word},
};

const HEADER: usize = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
const FLAGS: &Words = &[(0x2000, "+"), (0x4000, "DF"), (0x8000, "rsvd")];

impl Printer<'_> {
    pub(super) fn ip(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.nested(|printer| printer.ip_datagram(bytes, len))
    }

    fn ip_datagram(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "ip";
        let version = bytes.u8(0)? >> 4;
        if version != 4 {
            if version == 6 {
                self.to.push_str("IP6, wrong link-layer encapsulation");
            } else {
                put!(self, "IP{version}");
            }
            self.say_invalid();
            return Ok(());
        }
        if !self.options.link_header {
            self.to.push_str("IP ");
        }
        if !bytes.has(HEADER) {
            self.say_truncated();
            return Ok(());
        }
        if len < HEADER {
            put!(self, "truncated-ip {len}");
            return Ok(());
        }
        let header_len = usize::from(bytes.u8(0)? & 0xf) * 4;
        if header_len < HEADER {
            put!(self, "bad-hlen {header_len}");
            return Ok(());
        }
        let told = usize::from(bytes.u16(2)?);
        if len < told {
            put!(self, "truncated-ip - {} bytes missing! ", told - len);
        }
        let mut total = told;
        if total < header_len {
            if total > 0 || len <= usize::from(u16::MAX) {
                put!(self, "bad-len {total}");
                return Ok(());
            }
            // Linux leaves it 0 where the packet is larger than the field can say (BIG TCP).
            total = len;
        }
        let bytes = bytes.up_to(total);
        let payload_len = total.saturating_sub(header_len);
        let fragment = bytes.u16(6)?;
        let protocol = bytes.u8(9)?;
        if self.verbose() > 0 {
            let whole = self.ip_header(bytes, header_len, fragment, protocol)?;
            if !whole {
                put!(self, "{} > {}: ", self.v4(bytes, 12)?, self.v4(bytes, 16)?);
                self.say_truncated();
                return Ok(());
            }
        }
        if fragment & OFFSET != 0 {
            if self.options.quiet > 1 {
                return Ok(());
            }
            put!(self, "{} > {}:", self.v4(bytes, 12)?, self.v4(bytes, 16)?);
            put!(self, " ip-proto-{protocol}");
            return Ok(());
        }
        if !matches!(
            protocol,
            proto::TCP | proto::UDP | proto::SCTP | proto::DCCP
        ) {
            put!(self, "{} > {}: ", self.v4(bytes, 12)?, self.v4(bytes, 16)?);
        }
        if !bytes.has(header_len) {
            put!(
                self,
                " [remaining caplen({}) < header length({header_len})]",
                bytes.len()
            );
            return Err(Truncated);
        }
        let ip = Ip {
            version: 4,
            header: bytes,
            protocol,
            is_fragment: fragment & MORE_FRAGMENTS != 0,
        };
        self.transport(bytes.from(header_len), payload_len, &ip, protocol)
    }

    /// The header's fields; whether its options were all there.
    fn ip_header(
        &mut self,
        bytes: Bytes<'_>,
        header_len: usize,
        fragment: u16,
        protocol: u8,
    ) -> Result<bool, Truncated> {
        let service = bytes.u8(1)?;
        let congestion = ["", ",ECT(1)", ",ECT(0)", ",CE"][usize::from(service & 3)];
        put!(self, "(tos 0x{service:x}{congestion}");
        let hops = bytes.u8(8)?;
        if hops >= 1 {
            put!(self, ", ttl {hops}");
        }
        put!(
            self,
            ", id {}, offset {}, flags [{}], proto {} ({protocol}), length {}",
            bytes.u16(4)?,
            u32::from(fragment & OFFSET) * 8,
            bits(FLAGS, (fragment & !OFFSET).into(), ", ", "none"),
            word(PROTOCOLS, protocol.into()).unwrap_or("unknown"),
            bytes.u16(2)?
        );
        let mut whole = true;
        if header_len > HEADER {
            self.to.push_str(", options (");
            whole = self
                .ip_options(bytes.from(HEADER), header_len - HEADER)
                .is_ok();
            if !whole {
                self.to.push_str(" [truncated-option]");
            }
            self.to.push(')');
        }
        if !self.options.skip_checksums && bytes.has(header_len) {
            let left = checksum::remainder(&[bytes.slice(0, header_len)?]);
            if left != 0 {
                let found = bytes.u16(10)?;
                put!(
                    self,
                    ", bad cksum {found:x} (->{:x})!",
                    checksum::expected(found, left)
                );
            }
        }
        self.to.push_str(")\n    ");
        Ok(whole)
    }
}
