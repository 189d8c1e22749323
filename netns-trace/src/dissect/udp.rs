//! UDP (RFC 768), and what is told by its ports.

use super::{
    Printed, Printer,
    bytes::Bytes,
    checksum, put,
    text_lines::{Lines, SIP},
    transport::Ip,
    words::proto,
};

const HEADER: usize = 8;

impl Printer<'_> {
    pub(super) fn udp(&mut self, bytes: Bytes<'_>, len: usize, ip: &Ip<'_>) -> Printed {
        self.protocol = "udp";
        if !bytes.has(4) {
            if ip.protocol == proto::UDP {
                let (from, to) = self.ends(ip)?;
                put!(self, "{from} > {to}: ");
            }
            self.say_truncated();
            return Ok(());
        }
        let (from, to) = (bytes.u16(0)?, bytes.u16(2)?);
        self.ports(ip, proto::UDP, from, to)?;
        if len < HEADER {
            put!(self, "truncated-udp {len}");
            return Ok(());
        }
        if !bytes.has(6) {
            self.say_truncated();
            return Ok(());
        }
        let mut told = usize::from(bytes.u16(4)?);
        // A jumbogram (RFC 2675), or what segmentation offload has not cut yet.
        if told == 0 && len > usize::from(u16::MAX) {
            told = len;
        }
        if told < HEADER {
            put!(self, "truncated-udplength {told}");
            return Ok(());
        }
        let told = told - HEADER;
        let payload_len = (len - HEADER).min(told);
        if !bytes.has(HEADER) {
            self.say_truncated();
            return Ok(());
        }
        let payload = bytes.from(HEADER);
        if self.verbose() > 0 && !self.options.skip_checksums && !ip.is_fragment {
            self.udp_checksum(bytes, payload_len + HEADER, ip)?;
        }
        let plain = |printer: &mut Self| {
            if told > payload_len && !ip.is_fragment {
                put!(printer, "UDP, bad length {told} > {payload_len}");
            } else {
                put!(printer, "UDP, length {told}");
            }
            Ok(())
        };
        if self.options.quiet > 0 {
            return plain(self);
        }
        let is = |port| from == port || to == port;
        if is(53) {
            self.dns(payload, payload_len, false)
        } else if is(5353) {
            self.dns(payload, payload_len, true)
        } else if is(67) || is(68) {
            self.dhcp(payload, payload_len)
        } else if is(123) {
            self.ntp(payload, payload_len)
        } else if is(546) || is(547) {
            self.dhcp6(payload, payload_len)
        } else if is(4789) {
            self.vxlan(payload, payload_len)
        } else if is(6081) {
            self.geneve(payload, payload_len)
        } else if is(5060) {
            self.protocol = "sip";
            self.text_protocol(payload, payload_len, Lines::Of(SIP))
        } else {
            plain(self)
        }
    }

    fn udp_checksum(&mut self, bytes: Bytes<'_>, len: usize, ip: &Ip<'_>) -> Printed {
        let found = bytes.u16(6)?;
        if ip.version == 4 {
            if self.verbose() < 2 {
                return Ok(());
            }
            if found == 0 {
                self.to.push_str("[no cksum] ");
                return Ok(());
            }
        }
        match ip.checksum(bytes, len, proto::UDP) {
            None => {}
            Some(0) => self.to.push_str("[udp sum ok] "),
            Some(left) => {
                let expected = checksum::expected(found, left);
                put!(self, "[bad udp cksum 0x{found:04x} -> 0x{expected:04x}!] ");
            }
        }
        Ok(())
    }
}
