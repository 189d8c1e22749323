//! TCP (RFC 9293).

use std::net::IpAddr;

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    checksum, put,
    transport::Ip,
    words::{Words, bits, proto},
};
use crate::recent::Recent;

const HEADER: usize = 20;
pub(super) const SYN: u8 = 0x02;
pub(super) const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const URG: u8 = 0x20;
const FLAGS: &Words = &[
    (0x01, "F"),
    (0x02, "S"),
    (0x04, "R"),
    (0x08, "P"),
    (0x10, "."),
    (0x20, "U"),
    (0x40, "E"),
    (0x80, "W"),
];

/// Most bytes of a reset's data that are shown.
const MAX_RESET_DATA: usize = 30;
/// Connections that are remembered at least.
const MAX_CONVERSATIONS: usize = 32 << 10;

/// Both ends of a connection, in an order that both directions share.
type Ends = (IpAddr, IpAddr, u16, u16);

/// Sequence numbers from which a connection's are counted: of the end that comes first, and of the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Starts {
    first: u32,
    second: u32,
}

/// Connections seen so far. Of a very large number, those not seen for long are forgotten.
#[derive(Debug)]
pub(super) struct Conversations(Recent<Ends, Starts>);

impl Default for Conversations {
    fn default() -> Self {
        Self(Recent::new(MAX_CONVERSATIONS))
    }
}

/// Sequence numbers as they are printed, and from where those in options are counted.
struct Sequence {
    seq: u32,
    ack: u32,
    /// What the peer's acknowledged ranges are counted from.
    acknowledged_from: u32,
}

impl Printer<'_> {
    pub(super) fn tcp(&mut self, bytes: Bytes<'_>, len: usize, ip: &Ip<'_>) -> Printed {
        self.protocol = "tcp";
        if !bytes.has(4) {
            let (from, to) = self.ends(ip)?;
            put!(self, "{from} > {to}:");
            self.say_truncated();
            return Ok(());
        }
        let (from, to) = (bytes.u16(0)?, bytes.u16(2)?);
        self.ports(ip, proto::TCP, from, to)?;
        if !bytes.has(HEADER) {
            self.say_truncated();
            return Ok(());
        }
        let header = usize::from(bytes.u8(12)? >> 4) * 4;
        // As tcpdump has it: in 32 bits, also where the header is longer than the segment.
        let payload = (len as u32).wrapping_sub(header as u32);
        if header < HEADER {
            put!(
                self,
                " tcp {payload} [bad hdr length {header} - too short, < {HEADER}]"
            );
            return Ok(());
        }
        if self.options.quiet > 0 {
            put!(self, "tcp {payload}");
            if header > len {
                put!(self, " [bad hdr length {header} - too long, > {len}]");
            }
            return Ok(());
        }
        let flags = bytes.u8(13)?;
        put!(self, "Flags [{}]", bits(FLAGS, flags.into(), "", "none"));
        let sequence = self.sequence(bytes, ip, flags)?;
        if header > len {
            put!(self, " [bad hdr length {header} - too long, > {len}]");
            return Ok(());
        }
        if self.verbose() > 0
            && !self.options.skip_checksums
            && !ip.is_fragment
            && let Some(left) = ip.checksum(bytes, len, proto::TCP)
        {
            let found = bytes.u16(16)?;
            put!(self, ", cksum 0x{found:04x}");
            if left == 0 {
                self.to.push_str(" (correct)");
            } else {
                put!(
                    self,
                    " (incorrect -> 0x{:04x})",
                    checksum::expected(found, left)
                );
            }
        }
        if self.verbose() > 1 || payload > 0 || flags & (SYN | FIN | RST) != 0 {
            put!(self, ", seq {}", sequence.seq);
            if payload > 0 {
                put!(self, ":{}", sequence.seq.wrapping_add(payload));
            }
        }
        if flags & ACK != 0 {
            put!(self, ", ack {}", sequence.ack);
        }
        put!(self, ", win {}", bytes.u16(14)?);
        if flags & URG != 0 {
            put!(self, ", urg {}", bytes.u16(18)?);
        }
        if header > HEADER {
            let options = bytes.from(HEADER);
            let whole =
                self.tcp_options(options, header - HEADER, flags, sequence.acknowledged_from)?;
            if !whole {
                return Ok(());
            }
        }
        put!(self, ", length {payload}");
        if payload == 0 {
            return Ok(());
        }
        if !bytes.has(header) {
            put!(
                self,
                " [remaining caplen({}) < header length({header})]",
                bytes.len()
            );
            return Err(Truncated);
        }
        let data = bytes.from(header);
        if flags & RST != 0 && self.verbose() > 0 {
            self.reset_data(data, payload as usize);
            return Ok(());
        }
        self.tcp_payload(data, payload as usize, from, to)
    }

    /// Sequence numbers: those of the first segments of a connection as they are, all others from there.
    fn sequence(
        &mut self,
        bytes: Bytes<'_>,
        ip: &Ip<'_>,
        flags: u8,
    ) -> Result<Sequence, Truncated> {
        let (seq, ack) = (bytes.u32(4)?, bytes.u32(8)?);
        let plain = Sequence {
            seq,
            ack,
            acknowledged_from: 0,
        };
        if self.options.absolute_sequence || flags & ACK == 0 {
            return Ok(plain);
        }
        let (from, to) = (bytes.u16(0)?, bytes.u16(2)?);
        let (source, destination): (IpAddr, IpAddr) = if ip.version == 4 {
            (
                ip.header.array::<4>(12)?.into(),
                ip.header.array::<4>(16)?.into(),
            )
        } else {
            (
                ip.header.array::<16>(8)?.into(),
                ip.header.array::<16>(24)?.into(),
            )
        };
        let is_back = from > to || (from == to && source > destination);
        let ends = if is_back {
            (destination, source, to, from)
        } else {
            (source, destination, from, to)
        };
        let (starts, is_new) = match self.conversations.0.get(&ends).copied() {
            Some(starts) if flags & SYN == 0 => (starts, false),
            _ => {
                let before = ack.wrapping_sub(1);
                let starts = if is_back {
                    Starts {
                        first: before,
                        second: seq,
                    }
                } else {
                    Starts {
                        first: seq,
                        second: before,
                    }
                };
                self.conversations.0.insert(ends, starts);
                (starts, true)
            }
        };
        let (own, other) = if is_back {
            (starts.second, starts.first)
        } else {
            (starts.first, starts.second)
        };
        Ok(Sequence {
            acknowledged_from: other,
            ..if is_new {
                plain
            } else {
                Sequence {
                    seq: seq.wrapping_sub(own),
                    ack: ack.wrapping_sub(other),
                    acknowledged_from: other,
                }
            }
        })
    }

    /// The reason that a reset may carry as text (RFC 9293, 3.5.3).
    fn reset_data(&mut self, data: Bytes<'_>, len: usize) {
        self.to
            .push_str(if data.has(len) { " [RST" } else { " [!RST" });
        if len > MAX_RESET_DATA {
            self.to.push('+');
        }
        self.to.push(' ');
        self.characters(data.up_to(len.min(MAX_RESET_DATA)).all());
        self.to.push(']');
    }

    /// What is carried, told by the ports.
    fn tcp_payload(&mut self, data: Bytes<'_>, len: usize, from: u16, to: u16) -> Printed {
        let is = |port| from == port || to == port;
        let mut lines = |protocol, lines| {
            self.to.push_str(": ");
            self.protocol = protocol;
            self.text_protocol(data, len, lines)
        };
        use super::text_lines::{HTTP, Lines, RTSP};
        if is(25) {
            lines("smtp", Lines::All)
        } else if is(43) {
            lines("whois", Lines::All)
        } else if is(179) {
            self.to.push_str(": BGP");
            Ok(())
        } else if is(6379) {
            self.redis(data, len)
        } else if is(22) {
            self.ssh(data, len)
        } else if is(21) {
            lines("ftp", Lines::All)
        } else if is(80) || is(8080) {
            lines("http", Lines::Of(HTTP))
        } else if is(554) || is(8554) {
            lines("rtsp", Lines::Of(RTSP))
        } else if is(53) {
            self.dns_over_tcp(data, len)
        } else {
            Ok(())
        }
    }
}
