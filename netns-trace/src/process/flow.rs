//! The ends of a packet, seen from one of them.

use std::net::IpAddr;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// An address and a port; of an echo, its identifier stands in the port's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port; 0 where the protocol has none.
    pub port: u16,
}

/// What belongs together, by a protocol and both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The protocol's number.
    pub protocol: u8,
    /// The end whose process is looked for.
    pub local: Endpoint,
    /// The other one.
    pub remote: Endpoint,
}

impl Flow {
    /// Of an Ethernet frame that is sent by the local end, or goes to it. `None` for what is no IP, and for
    /// fragments without ports.
    #[must_use]
    pub fn of_frame(frame: &[u8], is_sent: bool) -> Option<Self> {
        let mut at = 12;
        // Tags stand before the type.
        while matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8]) {
            at += 4;
        }
        match frame.get(at..at + 2)? {
            [0x08, 0] | [0x86, 0xdd] => Self::of_packet(frame.get(at + 2..)?, is_sent),
            _ => None,
        }
    }

    /// Whether a socket can be found by it. Echo replies, for one, are the kernel's.
    #[must_use]
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP | UDP_LITE | SCTP) && self.local.port != 0
    }

    /// Of an IP packet.
    #[must_use]
    pub fn of_packet(ip: &[u8], is_sent: bool) -> Option<Self> {
        let (protocol, from, to, payload) = match ip.first()? >> 4 {
            4 => {
                let header_len = usize::from(ip[0] & 0xf) * 4;
                // A fragment but the first has no ports.
                if u16::from_be_bytes(*ip.get(6..)?.first_chunk()?) & 0x1fff != 0 {
                    return None;
                }
                let from: [u8; 4] = *ip.get(12..)?.first_chunk()?;
                let to: [u8; 4] = *ip.get(16..)?.first_chunk()?;
                (*ip.get(9)?, from.into(), to.into(), ip.get(header_len..)?)
            }
            6 => {
                let from: [u8; 16] = *ip.get(8..)?.first_chunk()?;
                let to: [u8; 16] = *ip.get(24..)?.first_chunk()?;
                (
                    *ip.get(6)?,
                    IpAddr::from(from),
                    IpAddr::from(to),
                    ip.get(40..)?,
                )
            }
            _ => return None,
        };
        let port = |at: usize| -> Option<u16> {
            Some(u16::from_be_bytes(*payload.get(at..)?.first_chunk()?))
        };
        let (from_port, to_port) = match (protocol, payload.first()) {
            (TCP | UDP | UDP_LITE | SCTP, _) => (port(0)?, port(2)?),
            // Requests and replies of an echo carry one identifier.
            (ICMP, Some(0 | 8)) | (ICMPV6, Some(128 | 129)) => (port(4)?, port(4)?),
            _ => (0, 0),
        };
        let from = Endpoint {
            address: from,
            port: from_port,
        };
        let to = Endpoint {
            address: to,
            port: to_port,
        };
        let (local, remote) = if is_sent { (from, to) } else { (to, from) };
        Some(Self {
            protocol,
            local,
            remote,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram() -> Vec<u8> {
        vec![
            0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0, 53,
            0, 8, 0, 0,
        ]
    }

    #[test]
    fn both_directions_are_one_flow() {
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0, 0, 5, 0x08, 0]);
        frame.extend(datagram());
        let sent = Flow::of_frame(&frame, true).expect("a flow");
        assert_eq!(
            (sent.protocol, sent.local.port, sent.remote.port),
            (17, 0x1234, 53)
        );
        let mut back = datagram();
        back[12..20].rotate_left(4);
        back[20..24].rotate_left(2);
        assert_eq!(Flow::of_packet(&back, false), Some(sent));
    }

    #[test]
    fn what_has_no_ends_is_no_flow() {
        let whole = datagram();
        for len in 0..24 {
            assert_eq!(Flow::of_packet(&whole[..len], true), None, "{len}");
        }
        let mut fragment = datagram();
        fragment[7] = 1;
        assert_eq!(Flow::of_packet(&fragment, true), None);
        assert_eq!(Flow::of_frame(&[0; 60], true), None);
    }

    #[test]
    fn an_echo_is_known_by_its_identifier() {
        let mut echo = datagram();
        echo[9] = 1;
        echo[20] = 8;
        echo[24..26].copy_from_slice(&[0xab, 0xcd]);
        let request = Flow::of_packet(&echo, true).expect("a flow");
        echo[20] = 0;
        echo[12..20].rotate_left(4);
        assert_eq!(Flow::of_packet(&echo, false), Some(request));
        assert_eq!(request.local.port, 0xabcd);
    }
}
