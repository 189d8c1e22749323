//! A packet as one line, in tcpdump's words (`-n`). What is hostile in a packet stays out: only
//! numbers, addresses and our own words are printed.

use std::fmt::Write as _;

use etherparse::{
    ArpPacketSlice, Icmpv4Type, Icmpv6Type, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket,
    TcpSlice, TransportSlice,
};

use super::{LinkType, Packet};

/// Ethernet header without a type, and bytes of an 802.1Q tag.
const ETHERNET: usize = 14;

/// Appends the line of a packet. `tap` is printed before it where several taps are.
pub(super) fn line(to: &mut String, packet: &Packet<'_>, link_type: LinkType, tap: Option<&str>) {
    to.push_str(&time_of_day(packet.time_ns));
    to.push(' ');
    if let Some(tap) = tap {
        put(
            to,
            format_args!("{tap} {} ", if packet.egress { "Out" } else { "In " }),
        );
    }
    describe(to, packet, link_type);
    to.push('\n');
}

/// Local time of day with microseconds: `05:12:33.123456`.
#[must_use]
pub fn time_of_day(time_ns: u64) -> String {
    let seconds = (time_ns / 1_000_000_000) as libc::time_t;
    // SAFETY: all-zero bytes are a valid `tm`; both pointers are to live values.
    let local = unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut local);
        local
    };
    format!(
        "{:02}:{:02}:{:02}.{:06}",
        local.tm_hour,
        local.tm_min,
        local.tm_sec,
        time_ns % 1_000_000_000 / 1000
    )
}

/// Writing to a string cannot fail.
fn put(to: &mut String, what: std::fmt::Arguments<'_>) {
    if to.write_fmt(what).is_err() {
        debug_assert!(false, "a string takes all");
    }
}

fn describe(to: &mut String, packet: &Packet<'_>, link_type: LinkType) {
    let parsed = match link_type {
        LinkType::Ethernet => LaxSlicedPacket::from_ethernet(packet.data).ok(),
        LinkType::Raw => LaxSlicedPacket::from_ip(packet.data).ok(),
    };
    let Some(parsed) = parsed else {
        put(
            to,
            format_args!("[|{link_type}], length {}", packet.original_len),
        );
        return;
    };
    for extension in &parsed.link_exts {
        if let LaxLinkExtSlice::Vlan(vlan) = extension {
            let (id, priority) = (
                vlan.vlan_identifier().value(),
                vlan.priority_code_point().value(),
            );
            put(to, format_args!("vlan {id}, p {priority}, "));
        }
    }
    match &parsed.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let ends = (
                header.source_addr().to_string(),
                header.destination_addr().to_string(),
            );
            // Segmentation offload can leave the total length 0 (BIG TCP).
            let total = match usize::from(header.total_len()) {
                0 => (packet.original_len as usize).saturating_sub(ETHERNET),
                total => total,
            };
            let payload = total.saturating_sub(header.slice().len());
            let later_fragment = header.fragments_offset().value() > 0;
            to.push_str("IP ");
            network(
                to,
                &parsed,
                &ends,
                header.protocol().0,
                payload,
                later_fragment,
            );
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let ends = (
                header.source_addr().to_string(),
                header.destination_addr().to_string(),
            );
            let protocol = ip.payload().ip_number.0;
            let extensions = ip.extensions().slice().len();
            let payload = usize::from(header.payload_length()).saturating_sub(extensions);
            to.push_str("IP6 ");
            network(
                to,
                &parsed,
                &ends,
                protocol,
                payload,
                ip.is_payload_fragmented(),
            );
        }
        Some(LaxNetSlice::Arp(arp)) => arp_line(to, arp, packet),
        None => {
            let kind = packet
                .data
                .get(12..ETHERNET)
                .filter(|_| link_type == LinkType::Ethernet);
            let kind = kind.map_or(0, |kind| u16::from_be_bytes([kind[0], kind[1]]));
            put(
                to,
                format_args!("ethertype 0x{kind:04x}, length {}", packet.original_len),
            );
        }
    }
}

/// An IP packet from its addresses on; `payload` is its length behind the IP headers.
fn network(
    to: &mut String,
    parsed: &LaxSlicedPacket<'_>,
    ends: &(String, String),
    protocol: u8,
    payload: usize,
    later_fragment: bool,
) {
    let (from, towards) = ends;
    match &parsed.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let ports = (tcp.source_port(), tcp.destination_port());
            put(
                to,
                format_args!("{from}.{} > {towards}.{}: ", ports.0, ports.1),
            );
            tcp_line(to, tcp, payload);
        }
        Some(TransportSlice::Udp(udp)) => {
            let ports = (udp.source_port(), udp.destination_port());
            put(
                to,
                format_args!("{from}.{} > {towards}.{}: ", ports.0, ports.1),
            );
            put(
                to,
                format_args!("UDP, length {}", payload.saturating_sub(8)),
            );
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            put(to, format_args!("{from} > {towards}: ICMP "));
            match icmp.icmp_type() {
                Icmpv4Type::EchoRequest(echo) => {
                    put(
                        to,
                        format_args!("echo request, id {}, seq {}", echo.id, echo.seq),
                    );
                }
                Icmpv4Type::EchoReply(echo) => {
                    put(
                        to,
                        format_args!("echo reply, id {}, seq {}", echo.id, echo.seq),
                    );
                }
                _ => put(
                    to,
                    format_args!("type {}, code {}", icmp.type_u8(), icmp.code_u8()),
                ),
            }
            put(to, format_args!(", length {payload}"));
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            put(to, format_args!("{from} > {towards}: ICMP6, "));
            match icmp.icmp_type() {
                Icmpv6Type::EchoRequest(echo) => {
                    put(
                        to,
                        format_args!("echo request, id {}, seq {}", echo.id, echo.seq),
                    );
                }
                Icmpv6Type::EchoReply(echo) => {
                    put(
                        to,
                        format_args!("echo reply, id {}, seq {}", echo.id, echo.seq),
                    );
                }
                _ => put(
                    to,
                    format_args!("type {}, code {}", icmp.type_u8(), icmp.code_u8()),
                ),
            }
            put(to, format_args!(", length {payload}"));
        }
        _ => {
            let what = if later_fragment { " fragment" } else { "" };
            put(
                to,
                format_args!("{from} > {towards}: ip-proto-{protocol}{what}, length {payload}"),
            );
        }
    }
}

fn tcp_line(to: &mut String, tcp: &TcpSlice<'_>, payload: usize) {
    let flags = [
        (tcp.fin(), 'F'),
        (tcp.syn(), 'S'),
        (tcp.rst(), 'R'),
        (tcp.psh(), 'P'),
        (tcp.ack(), '.'),
        (tcp.urg(), 'U'),
        (tcp.ece(), 'E'),
        (tcp.cwr(), 'W'),
    ];
    to.push_str("Flags [");
    if flags.iter().all(|(set, _)| !set) {
        to.push_str("none");
    }
    to.extend(
        flags
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, letter)| letter),
    );
    to.push(']');
    let data = payload.saturating_sub(tcp.header_slice().len());
    let seq = tcp.sequence_number();
    if data > 0 {
        put(
            to,
            format_args!(", seq {seq}:{}", seq.wrapping_add(data as u32)),
        );
    } else if tcp.syn() || tcp.fin() || tcp.rst() {
        put(to, format_args!(", seq {seq}"));
    }
    if tcp.ack() {
        put(to, format_args!(", ack {}", tcp.acknowledgment_number()));
    }
    put(
        to,
        format_args!(", win {}, length {data}", tcp.window_size()),
    );
}

fn arp_line(to: &mut String, arp: &ArpPacketSlice<'_>, packet: &Packet<'_>) {
    let v4 = |bytes: &[u8]| {
        <[u8; 4]>::try_from(bytes)
            .ok()
            .map(std::net::Ipv4Addr::from)
    };
    let (sender, target) = (
        v4(arp.sender_protocol_addr()),
        v4(arp.target_protocol_addr()),
    );
    match (arp.operation().0, sender, target) {
        (1, Some(sender), Some(target)) => {
            put(
                to,
                format_args!("ARP, Request who-has {target} tell {sender}"),
            );
        }
        (2, Some(sender), Some(_)) => {
            put(to, format_args!("ARP, Reply {sender} is-at "));
            for (n, byte) in arp.sender_hw_addr().iter().enumerate() {
                put(
                    to,
                    format_args!("{}{byte:02x}", if n == 0 { "" } else { ":" }),
                );
            }
        }
        (operation, ..) => put(to, format_args!("ARP, operation {operation}")),
    }
    let len = (packet.original_len as usize).saturating_sub(ETHERNET);
    put(to, format_args!(", length {len}"));
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn text(data: &[u8], link_type: LinkType) -> String {
        let packet = Packet {
            interface: 0,
            egress: true,
            time_ns: 1_700_000_000_123_456_789,
            original_len: data.len() as u32,
            data,
            checksum: super::super::Checksum::Unknown,
            segmented: false,
            drops: 0,
            id: 0,
        };
        let mut to = String::new();
        line(&mut to, &packet, link_type, None);
        let (time, rest) = to.split_once(' ').expect("a time");
        assert!(time.ends_with(".123456"), "{time}");
        assert!(rest.ends_with('\n'));
        rest.trim_end().to_owned()
    }

    fn bytes<T>(
        builder: etherparse::PacketBuilderStep<T>,
        write: impl FnOnce(etherparse::PacketBuilderStep<T>, &mut Vec<u8>),
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(builder, &mut bytes);
        bytes
    }

    #[test]
    fn lines_in_tcpdumps_words() {
        let ether =
            || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let tcp = bytes(ether().tcp(1234, 80, 1000, 64240).syn(), |b, to| {
            b.write(to, &[]).expect("tcp");
        });
        assert_eq!(
            text(&tcp, LinkType::Ethernet),
            "IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [S], seq 1000, win 64240, length 0"
        );
        let data = bytes(ether().tcp(1234, 80, 1000, 500).psh().ack(7), |b, to| {
            b.write(to, &[0x1b; 10]).expect("tcp");
        });
        assert_eq!(
            text(&data, LinkType::Ethernet),
            "IP 10.0.0.1.1234 > 10.0.0.2.80: Flags [P.], seq 1000:1010, ack 7, win 500, length 10"
        );
        let udp = bytes(ether().udp(53, 5353), |b, to| {
            b.write(to, &[1; 12]).expect("udp");
        });
        assert_eq!(
            text(&udp, LinkType::Ethernet),
            "IP 10.0.0.1.53 > 10.0.0.2.5353: UDP, length 12"
        );
        assert_eq!(
            text(&udp[14..], LinkType::Raw),
            "IP 10.0.0.1.53 > 10.0.0.2.5353: UDP, length 12"
        );
        let echo = bytes(ether().icmpv4_echo_request(1, 2), |b, to| {
            b.write(to, &[0; 56]).expect("icmp");
        });
        assert_eq!(
            text(&echo, LinkType::Ethernet),
            "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 1, seq 2, length 64"
        );
    }

    #[test]
    fn no_bytes_are_too_odd() {
        let mut random = 1_u64;
        for len in 0..300 {
            let data: Vec<u8> = (0..len)
                .map(|_| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (random >> 56) as u8
                })
                .collect();
            for link_type in [LinkType::Ethernet, LinkType::Raw] {
                let line = text(&data, link_type);
                assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
            }
        }
    }
}
