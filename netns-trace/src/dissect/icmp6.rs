//! ICMP for IPv6 (RFC 4443), neighbour discovery (RFC 4861) and multicast listeners (RFC 3810).

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    checksum, put,
    transport::Ip,
    words::{Words, bits, proto, word},
};

const UNREACHABLE: u8 = 1;
const TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const LISTENER_QUERY: u8 = 130;
const LISTENER_REPORT: u8 = 131;
const LISTENER_DONE: u8 = 132;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
const LISTENER_REPORT_2: u8 = 143;
const HOME_AGENT_REQUEST: u8 = 144;
const HOME_AGENT_REPLY: u8 = 145;
const MOBILE_SOLICITATION: u8 = 146;
const MOBILE_ADVERTISEMENT: u8 = 147;
const RPL: u8 = 155;

const KINDS: &Words = &[
    (1, "destination unreachable"),
    (2, "packet too big"),
    (3, "time exceeded in-transit"),
    (4, "parameter problem"),
    (128, "echo request"),
    (129, "echo reply"),
    (130, "multicast listener query"),
    (131, "multicast listener report"),
    (132, "multicast listener done"),
    (133, "router solicitation"),
    (134, "router advertisement"),
    (135, "neighbor solicitation"),
    (136, "neighbor advertisement"),
    (137, "redirect"),
    (138, "router renumbering"),
    (139, "node information query"),
    (140, "node information reply"),
    (141, "inverse neighbor solicitation"),
    (142, "inverse neighbor advertisement"),
    (143, "multicast listener report v2"),
    (144, "ha discovery request"),
    (145, "ha discovery reply"),
    (146, "mobile router solicitation"),
    (147, "mobile router advertisement"),
    (155, "RPL"),
    (200, "mtrace response"),
    (201, "mtrace message"),
];
const UNREACHABLE_CODES: &Words = &[
    (0, "unreachable route"),
    (1, " unreachable prohibited"),
    (2, "beyond scope"),
    (3, "unreachable address"),
    (4, "unreachable port"),
];
const ROUTER_FLAGS: &Words = &[
    (0x80, "managed"),
    (0x40, "other stateful"),
    (0x20, "home agent"),
    (0x02, "ipv6 only"),
];
const NEIGHBOUR_FLAGS: &Words = &[
    (0x8000_0000, "router"),
    (0x4000_0000, "solicited"),
    (0x2000_0000, "override"),
];

/// Where the datagram that an error is about starts, and its addresses.
const INNER: usize = 8;
const INNER_SOURCE: usize = INNER + 8;
const INNER_DESTINATION: usize = INNER + 24;

impl Printer<'_> {
    pub(super) fn icmp6(&mut self, bytes: Bytes<'_>, len: usize, ip: &Ip<'_>) -> Printed {
        self.protocol = "icmp6";
        if len == 0 {
            self.to.push_str("ICMP6, length 0");
            self.say_invalid();
            return Ok(());
        }
        let verbose = self.verbose() > 0;
        if verbose
            && !ip.is_fragment
            && let Some(left) = ip.checksum(bytes, len, proto::ICMPV6)
        {
            if left == 0 {
                self.to.push_str("[icmp6 sum ok] ");
            } else {
                let found = bytes.u16(2)?;
                let expected = checksum::expected(found, left);
                put!(
                    self,
                    "[bad icmp6 cksum 0x{found:04x} -> 0x{expected:04x}!] "
                );
            }
        }
        let kind = bytes.u8(0)?;
        match word(KINDS, kind.into()) {
            Some(name) => put!(self, "ICMP6, {name}"),
            None => put!(self, "ICMP6, unknown icmp6 type ({kind})"),
        }
        if verbose
            && matches!(
                kind,
                ROUTER_SOLICITATION..=REDIRECT | HOME_AGENT_REPLY | MOBILE_ADVERTISEMENT
            )
        {
            put!(self, ", length {len}");
        }
        let code = bytes.u8(1)?;
        if word(KINDS, kind.into()).is_none() {
            put!(self, ", length {len}");
            if self.verbose() <= 1 {
                self.hex("\n\t", bytes.up_to(len).all());
            }
            return Ok(());
        }
        if self.icmp6_body(bytes, len, kind, code)? && !verbose {
            put!(self, ", length {len}");
        }
        Ok(())
    }

    /// What a message says; whether that was all there.
    fn icmp6_body(
        &mut self,
        bytes: Bytes<'_>,
        len: usize,
        kind: u8,
        code: u8,
    ) -> Result<bool, Truncated> {
        let verbose = self.verbose() > 0;
        match kind {
            UNREACHABLE => return self.icmp6_unreachable(bytes, len, code),
            TOO_BIG => put!(self, ", mtu {}", bytes.u32(4)?),
            TIME_EXCEEDED => match code {
                0 => put!(self, " for {}", self.v6(bytes, INNER_DESTINATION)?),
                1 => self.to.push_str(" (reassembly)"),
                _ => put!(self, ", unknown code ({code})"),
            },
            PARAMETER_PROBLEM => {
                if !bytes.has(INNER_DESTINATION + 16) {
                    self.say_truncated();
                    return Ok(false);
                }
                let what = match code {
                    0 => "erroneous",
                    1 => "next header",
                    2 => "option",
                    3 => "incomplete header chain",
                    _ => {
                        put!(self, ", code-#{code}");
                        return Ok(true);
                    }
                };
                put!(self, ", {what} - octet {}", bytes.u32(4)?);
            }
            ECHO_REQUEST | ECHO_REPLY => {
                put!(self, ", id {}, seq {}", bytes.u16(4)?, bytes.u16(6)?);
            }
            LISTENER_QUERY if len >= 28 => {
                self.to.push_str(" v2");
                self.listener_query(bytes, len)?;
            }
            LISTENER_QUERY if len != 24 => put!(self, " unknown-version (len {len}) "),
            LISTENER_QUERY | LISTENER_REPORT | LISTENER_DONE if bytes.has(24) => {
                put!(self, "max resp delay: {} ", bytes.u16(4)?);
                put!(self, "addr: {}", self.v6(bytes, 8)?);
            }
            ROUTER_SOLICITATION if verbose => return self.icmp6_options(bytes, 8, len),
            ROUTER_ADVERTISEMENT if verbose => {
                let flags = bytes.u8(5)?;
                put!(
                    self,
                    "\n\thop limit {}, Flags [{}], pref {}, router lifetime {}s, reachable time {}ms, \
                     retrans timer {}ms",
                    bytes.u8(4)?,
                    bits(ROUTER_FLAGS, flags.into(), ", ", "none"),
                    preference(flags),
                    bytes.u16(6)?,
                    bytes.u32(8)?,
                    bytes.u32(12)?
                );
                return self.icmp6_options(bytes, 16, len);
            }
            NEIGHBOUR_SOLICITATION => {
                put!(self, ", who has {}", self.v6(bytes, 8)?);
                if verbose {
                    return self.icmp6_options(bytes, 24, len);
                }
            }
            NEIGHBOUR_ADVERTISEMENT => {
                put!(self, ", tgt is {}", self.v6(bytes, 8)?);
                if verbose {
                    let flags = bits(NEIGHBOUR_FLAGS, bytes.u32(4)?, ", ", "none");
                    put!(self, ", Flags [{flags}]");
                    return self.icmp6_options(bytes, 24, len);
                }
            }
            REDIRECT => {
                put!(self, ", {} to {}", self.v6(bytes, 24)?, self.v6(bytes, 8)?);
                if verbose {
                    return self.icmp6_options(bytes, 40, len);
                }
            }
            LISTENER_REPORT_2 => self.listener_report(bytes, len)?,
            HOME_AGENT_REQUEST | MOBILE_SOLICITATION => put!(self, ", id 0x{:04x}", bytes.u16(4)?),
            HOME_AGENT_REPLY if verbose => {
                put!(self, ", id 0x{:04x}", bytes.u16(4)?);
                for at in (INNER..len).step_by(16) {
                    put!(self, ", {}", self.v6(bytes, at)?);
                }
            }
            MOBILE_ADVERTISEMENT if verbose => {
                put!(self, ", id 0x{:04x}", bytes.u16(4)?);
                let flags = bytes.u16(6)? >> 14;
                self.to
                    .push_str(["", " O", " M", " MO"][usize::from(flags)]);
                return self.icmp6_options(bytes, 8, len);
            }
            RPL if code & 0x80 != 0 => self.to.push_str(", (SEC) [worktodo]"),
            RPL => match code {
                0 => self.to.push_str(", (CLR)DODAG Information Solicitation"),
                1 => self.to.push_str(", (CLR)DODAG Information Object"),
                2 => self.to.push_str(", (CLR)Destination Advertisement Object"),
                3 => self
                    .to
                    .push_str(", (CLR)Destination Advertisement Object Ack"),
                _ => put!(self, ", (CLR)RPL message, unknown code {code}"),
            },
            _ => {}
        }
        Ok(true)
    }

    fn icmp6_unreachable(
        &mut self,
        bytes: Bytes<'_>,
        len: usize,
        code: u8,
    ) -> Result<bool, Truncated> {
        match word(UNREACHABLE_CODES, code.into()) {
            Some(name) => put!(self, ", {name}"),
            None => put!(self, ", unknown unreach code ({code})"),
        }
        match code {
            0 | 1 | 3 => put!(self, " {}", self.v6(bytes, INNER_DESTINATION)?),
            2 => put!(
                self,
                " {}, source address {}",
                self.v6(bytes, INNER_DESTINATION)?,
                self.v6(bytes, INNER_SOURCE)?
            ),
            4 => {
                let Some((protocol, port)) = inner_port(bytes.from(INNER)) else {
                    self.say_truncated();
                    return Ok(false);
                };
                let to = self.v6(bytes, INNER_DESTINATION)?;
                let name = if protocol == proto::TCP { "tcp" } else { "udp" };
                put!(self, ", {to} {name} port {port}");
            }
            _ if self.verbose() <= 1 => {
                self.hex("\n\t", bytes.up_to(len).all());
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }

    /// A query of the second version: for a group, or all of them.
    fn listener_query(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        let code = u32::from(bytes.u16(4)?);
        // From 32768 on in a form of its own, with an exponent; in milliseconds.
        let delay = if code < 32768 {
            code
        } else {
            (code & 0xfff | 0x1000) << ((code >> 12 & 7) + 3)
        };
        if self.verbose() > 0 {
            put!(self, " [max resp delay={delay}]");
        }
        put!(self, " [gaddr {}", self.v6(bytes, 8)?);
        if self.verbose() > 0 {
            let flags = bytes.u8(24)?;
            if flags & 8 != 0 {
                self.to.push_str(" sflag");
            }
            if flags & 7 != 0 {
                put!(self, " robustness={}", flags & 7);
            }
            let code = u32::from(bytes.u8(25)?);
            let interval = if code < 128 {
                code
            } else {
                (code & 0xf | 0x10) << ((code >> 4 & 7) + 3)
            };
            put!(self, " qqi={interval}");
        }
        let sources = usize::from(bytes.u16(26)?);
        if sources > 0 {
            if len < 28 + sources * 16 {
                self.to.push_str(" [invalid number of sources]");
            } else if self.verbose() > 1 {
                self.sources(bytes, 28, sources, 16)?;
            } else {
                put!(self, ", {sources} source(s)");
            }
        }
        self.to.push(']');
        Ok(())
    }

    fn listener_report(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        if len < 8 {
            put!(self, " [invalid len {len}]");
            return Ok(());
        }
        self.group_records(bytes, len, 16, "v2")
    }
}

/// How much a router wants to be chosen (RFC 4191).
pub(super) fn preference(flags: u8) -> &'static str {
    ["medium", "high", "rsv", "low"][usize::from(flags >> 3 & 3)]
}

/// Protocol and destination port of a datagram, behind its extension headers.
fn inner_port(bytes: Bytes<'_>) -> Option<(u8, u16)> {
    let mut next = bytes.u8(6).ok()?;
    let mut at = 40;
    loop {
        let here = bytes.from(at);
        let len = match next {
            proto::UDP | proto::TCP => return Some((next, here.u16(2).ok()?)),
            proto::HOP_BY_HOP | proto::DESTINATION_OPTIONS | proto::ROUTING => {
                (usize::from(here.u8(1).ok()?) + 1) * 8
            }
            proto::FRAGMENT if here.u16(2).ok()? & 0xfff8 != 0 => return None,
            proto::FRAGMENT => 8,
            proto::AH => (usize::from(here.u8(1).ok()?) + 2) * 4,
            _ => return None,
        };
        next = here.u8(0).ok()?;
        at += len;
    }
}
