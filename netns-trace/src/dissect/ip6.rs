//! IPv6 (RFC 8200) and its chain of headers.

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    put,
    transport::Ip,
    words::{PROTOCOLS, proto, word},
};

const HEADER: usize = 40;

/// What the chain of headers has told so far.
#[derive(Default)]
struct Chain {
    /// The length that a jumbo option gave.
    jumbo: Option<u32>,
    has_options: bool,
    has_extension: bool,
    is_fragment: bool,
}

/// Where the chain goes on.
enum Step {
    /// Behind so many bytes.
    Next(usize),
    /// Nowhere: what is to be said is said.
    End,
}

impl Printer<'_> {
    pub(super) fn ip6(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.nested(|printer| printer.ip6_datagram(bytes, len))
    }

    fn ip6_datagram(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "ip6";
        if !bytes.has(HEADER) {
            self.say_truncated();
            return Ok(());
        }
        if len < HEADER {
            put!(self, "truncated-ip6 {len}");
            return Ok(());
        }
        if !self.options.link_header {
            self.to.push_str("IP6 ");
        }
        let version = bytes.u8(0)? >> 4;
        if version != 6 {
            put!(self, "version error: {version} != 6");
            return Ok(());
        }
        let payload_len = usize::from(bytes.u16(4)?);
        // Without a length it is a jumbogram, whose option tells it, or has no payload.
        let total = if payload_len == 0 {
            len + HEADER
        } else {
            let total = payload_len + HEADER;
            if len < total {
                put!(self, "truncated-ip6 - {} bytes missing!", total - len);
            }
            total
        };
        let next = bytes.u8(6)?;
        if self.verbose() > 0 {
            self.ip6_header(bytes, next, payload_len)?;
        }
        self.ip6_chain(bytes, len, total, payload_len, next)
    }

    fn ip6_header(&mut self, bytes: Bytes<'_>, next: u8, payload_len: usize) -> Printed {
        let flow = bytes.u32(0)?;
        self.to.push('(');
        if flow & 0x0ff0_0000 != 0 {
            put!(self, "class 0x{:02x}, ", (flow & 0x0ff0_0000) >> 20);
        }
        if flow & 0x000f_ffff != 0 {
            put!(self, "flowlabel 0x{:05x}, ", flow & 0x000f_ffff);
        }
        put!(
            self,
            "hlim {}, next-header {} ({next}) payload length: {payload_len}) ",
            bytes.u8(7)?,
            word(PROTOCOLS, next.into()).unwrap_or("unknown"),
        );
        Ok(())
    }

    /// Follows the headers to what they carry. `uncut` are the bytes of the packet, which may be more than
    /// the header says; `len` is how many there were.
    fn ip6_chain(
        &mut self,
        uncut: Bytes<'_>,
        len: usize,
        total: usize,
        payload_len: usize,
        mut next: u8,
    ) -> Printed {
        let first = next;
        let bytes = uncut.up_to(total);
        let mut chain = Chain::default();
        let (mut at, mut step) = (0, HEADER);
        while at < bytes.len() && step > 0 {
            if total - at < step {
                self.protocol = "ip6";
                self.say_truncated();
                return Ok(());
            }
            at += step;
            if at == HEADER && !matches!(next, proto::TCP | proto::UDP | proto::DCCP | proto::SCTP)
            {
                put!(self, "{} > {}: ", self.v6(bytes, 8)?, self.v6(bytes, 24)?);
            }
            let here = bytes.from(at);
            match self.ip6_extension(here, next, at, payload_len, &mut chain)? {
                Some(Step::Next(bytes)) => step = bytes,
                Some(Step::End) => return Ok(()),
                None => {
                    let (bytes, rest) = match (chain.jumbo, payload_len) {
                        (Some(jumbo), _) => {
                            let total = jumbo as usize + HEADER;
                            if total < at {
                                self.protocol = "ip6";
                                self.say_truncated();
                                return Ok(());
                            }
                            if len < total {
                                put!(self, "truncated-ip6 - {} bytes missing!", total - len);
                            }
                            (uncut.up_to(total), total - at)
                        }
                        (None, 0) if chain.has_extension => {
                            self.protocol = "ip6";
                            self.say_truncated();
                            return Ok(());
                        }
                        // Too large for the field, and no option for it: Linux' own, until a device cuts it into
                        // pieces.
                        (None, 0) if len - HEADER > usize::from(u16::MAX) => {
                            (uncut.up_to(len), len - HEADER)
                        }
                        (None, 0) => (uncut.up_to(HEADER), 0),
                        (None, _) => (bytes, total - at),
                    };
                    let ip = Ip {
                        version: 6,
                        header: bytes,
                        protocol: first,
                        is_fragment: chain.is_fragment,
                    };
                    return self.transport(bytes.from(at), rest, &ip, next);
                }
            }
            chain.has_extension = true;
            next = here.u8(0)?;
            self.protocol = "ip6";
        }
        Ok(())
    }

    /// A header of the chain; `None` if it is none.
    fn ip6_extension(
        &mut self,
        here: Bytes<'_>,
        kind: u8,
        at: usize,
        payload_len: usize,
        chain: &mut Chain,
    ) -> Result<Option<Step>, Truncated> {
        let step = match kind {
            proto::HOP_BY_HOP => {
                if chain.has_options {
                    self.to
                        .push_str("[The Hop-by-Hop Options header was already found]");
                    self.say_invalid();
                    return Ok(Some(Step::End));
                }
                if at != HEADER {
                    self.to
                        .push_str("[The Hop-by-Hop Options header don't follow the IPv6 header]");
                    self.say_invalid();
                    return Ok(Some(Step::End));
                }
                chain.has_options = true;
                let step = self.hop_by_hop(here, payload_len, &mut chain.jumbo)?;
                if payload_len == 0 && chain.jumbo.is_none() {
                    self.to
                        .push_str("[No valid Jumbo Payload Hop-by-Hop option found]");
                    self.say_invalid();
                    return Ok(Some(Step::End));
                }
                step
            }
            proto::DESTINATION_OPTIONS => self.destination_options(here)?,
            proto::ROUTING => self.routing(here)?,
            proto::FRAGMENT => {
                chain.is_fragment = true;
                self.fragment(here, at, payload_len)?
            }
            proto::MOBILITY | proto::MOBILITY_OLD => {
                self.protocol = "mobility";
                put!(self, "mobility, type {}", here.u8(2)?);
                None
            }
            _ => return Ok(None),
        };
        Ok(Some(step.map_or(Step::End, Step::Next)))
    }

    /// A fragment header (RFC 8200, 4.5); `None` if it is not of the first fragment.
    fn fragment(
        &mut self,
        here: Bytes<'_>,
        at: usize,
        payload_len: usize,
    ) -> Result<Option<usize>, Truncated> {
        const LEN: usize = 8;
        self.protocol = "frag6";
        let offset = here.u16(2)? & 0xfff8;
        let rest = (HEADER + payload_len).wrapping_sub(at + LEN);
        if self.verbose() > 0 {
            put!(self, "frag (0x{:08x}:{offset}|{rest})", here.u32(4)?);
        } else {
            put!(self, "frag ({offset}|{rest})");
        }
        if offset != 0 {
            return Ok(None);
        }
        self.to.push(' ');
        Ok((here.len() > LEN).then_some(LEN))
    }
}
