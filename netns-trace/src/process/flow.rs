//! The ends of a packet, seen from one of them.

use std::net::IpAddr;

const ICMP: u8 = 1;
const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;
pub(super) const TCP: u8 = 6;
/// Flags of TCP.
const SYN: u8 = 2;
const ACK: u8 = 16;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const ECHO_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// An address and a port; of an echo, its identifier stands in the port's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port; 0 where the protocol has none.
    pub port: u16,
}

/// A packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketFlow {
    /// Its protocol and ends.
    pub flow: Flow,
    /// It belongs to the opening of a TCP connection that is accepted here: a SYN that comes, or the answer to one.
    /// What was known of these ends before is of another connection.
    pub is_accepted: bool,
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

impl PacketFlow {
    /// Of an Ethernet frame that is sent by the local end, or goes to it. `None` for what is no IP, for fragments
    /// without ports, and for ICMP that no socket asked for: errors, and others' echoes with our replies, whose
    /// identifiers may be those of our own.
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
            (ICMP, Some(&ECHO)) | (ICMPV6, Some(&ECHO_V6)) if is_sent => (port(4)?, port(4)?),
            (ICMP, Some(&ECHO_REPLY)) | (ICMPV6, Some(&ECHO_REPLY_V6)) if !is_sent => {
                (port(4)?, port(4)?)
            }
            (ICMP | ICMPV6, _) => return None,
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
        let flags = payload.get(13).filter(|_| protocol == TCP);
        let opening = if is_sent { SYN | ACK } else { SYN };
        Some(Self {
            flow: Flow {
                protocol,
                local,
                remote,
            },
            is_accepted: flags.is_some_and(|flags| flags & (SYN | ACK) == opening),
        })
    }
}

impl Flow {
    /// Whether a socket can be found by it.
    #[must_use]
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP | UDP_LITE | SCTP) && self.local.port != 0
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
        let sent = PacketFlow::of_frame(&frame, true).expect("a flow");
        assert_eq!(
            (
                sent.flow.protocol,
                sent.flow.local.port,
                sent.flow.remote.port
            ),
            (17, 0x1234, 53)
        );
        let mut back = datagram();
        back[12..20].rotate_left(4);
        back[20..24].rotate_left(2);
        assert_eq!(PacketFlow::of_packet(&back, false), Some(sent));
    }

    #[test]
    fn what_has_no_ends_is_no_flow() {
        let whole = datagram();
        for len in 0..24 {
            assert_eq!(PacketFlow::of_packet(&whole[..len], true), None, "{len}");
        }
        let mut fragment = datagram();
        fragment[7] = 1;
        assert_eq!(PacketFlow::of_packet(&fragment, true), None);
        assert_eq!(PacketFlow::of_frame(&[0; 60], true), None);
    }

    #[test]
    fn a_connection_that_is_accepted_starts_with_its_syn() {
        let mut segment = datagram();
        segment[9] = TCP;
        segment.resize(40, 0);
        let mut opens = |flags, is_sent| {
            segment[33] = flags;
            let packet = PacketFlow::of_packet(&segment, is_sent);
            packet.expect("a flow").is_accepted
        };
        assert!(opens(SYN, false) && opens(SYN | ACK, true));
        // Those of a connection that is made from here.
        assert!(!opens(SYN, true) && !opens(SYN | ACK, false));
        assert!(!opens(ACK, true) && !opens(ACK, false));
    }

    #[test]
    fn an_echo_is_known_by_its_identifier() {
        let mut echo = datagram();
        echo[9] = 1;
        echo[20] = 8;
        echo[24..26].copy_from_slice(&[0xab, 0xcd]);
        let request = PacketFlow::of_packet(&echo, true).expect("a flow");
        echo[20] = 0;
        echo[12..20].rotate_left(4);
        assert_eq!(PacketFlow::of_packet(&echo, false), Some(request));
        assert_eq!(request.flow.local.port, 0xabcd);
        assert_eq!(
            PacketFlow::of_packet(&echo, true),
            None,
            "the kernel's reply"
        );
        echo[20] = 8;
        assert_eq!(
            PacketFlow::of_packet(&echo, false),
            None,
            "another's request"
        );
        echo[20] = 3;
        assert_eq!(PacketFlow::of_packet(&echo, false), None, "an error");
    }
}
