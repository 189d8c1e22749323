//! The connections that a namespace tracks, asked of the kernel by ctnetlink: what
//! `conntrack -L` lists. Reads only.

use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_NETFILTER;
use serde::Serialize;

use super::sysctls::number_here;
use crate::topology::netlink::{self, Netlink, attribute};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`; include/uapi/linux/netfilter/nfnetlink.h and
/// nfnetlink_conntrack.h, as all numbers below.
const CT_GET: u16 = 1 << 8 | 1;
/// struct nfgenmsg, of any address family.
const HEADER: [u8; 4] = [0; 4];
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_MARK: u16 = 8;
const CTA_COUNTERS_ORIG: u16 = 9;
const CTA_COUNTERS_REPLY: u16 = 10;
const CTA_ZONE: u16 = 18;
/// How many are kept.
const MOST: usize = 20_000;

/// The connections of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conntrack {
    /// How many it tracks.
    pub count: u64,
    /// How many it may track; every namespace counts by itself.
    pub max: Option<u64>,
    /// Those that are listed.
    pub entries: Vec<Connection>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// `tcp`, `udp`, `icmp` and so on, or a number.
    pub protocol: String,
    /// Of TCP: `ESTABLISHED` and so on.
    pub state: Option<&'static str>,
    /// As the first packet was.
    pub original: Tuple,
    /// As answers are: differs from the original, turned round, where addresses are translated.
    pub reply: Tuple,
    /// Whether an answer was seen.
    pub replied: bool,
    /// Whether it stays when the table is full.
    pub assured: bool,
    /// Seconds after which it is forgotten.
    pub timeout: Option<u32>,
    /// Its mark, unless 0.
    pub mark: Option<u32>,
    /// Its zone, unless 0.
    pub zone: Option<u16>,
    /// Packets one way and the other, where they are counted (`nf_conntrack_acct`).
    pub packets: Option<[u64; 2]>,
}

/// Source and destination of one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tuple {
    /// Where packets come from.
    pub source: IpAddr,
    /// Where they go.
    pub destination: IpAddr,
    /// The ports, of protocols that have them; of ICMP none.
    pub ports: Option<[u16; 2]>,
}

impl Connection {
    /// Whether addresses or ports are translated.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        let turned = self.original.ports.map(|[from, to]| [to, from]);
        (self.reply.source, self.reply.destination)
            != (self.original.destination, self.original.source)
            || self.reply.ports != turned
    }
}

/// The connections that the calling thread's namespace tracks; none where nothing asked for
/// tracking, with sentences about what could not be had.
pub(super) fn conntrack_here() -> (Option<Conntrack>, Option<String>) {
    let Some(count) = number_here("netfilter/nf_conntrack_count") else {
        return (None, None); // the module is not loaded
    };
    let mut conntrack = Conntrack {
        count,
        max: number_here("netfilter/nf_conntrack_max"),
        entries: Vec::new(),
    };
    if count == 0 {
        return (Some(conntrack), None);
    }
    let listed = Netlink::open(NETLINK_NETFILTER)
        .map_err(Into::into)
        .and_then(|mut netlink| netlink.dump_table(CT_GET, &HEADER, MOST));
    let why = match listed {
        Ok((answers, more)) => {
            let bodies = answers.iter().map(|answer| &answer.body);
            conntrack.entries = bodies.filter_map(|body| read(body)).collect();
            (more > 0).then(|| format!("{more} more connections are tracked than are listed"))
        }
        Err(why) => Some(format!("connections cannot be listed by ctnetlink: {why}")),
    };
    (Some(conntrack), why)
}

pub(crate) fn read(body: &[u8]) -> Option<Connection> {
    /// IPS_SEEN_REPLY and IPS_ASSURED; nf_conntrack_common.h.
    const SEEN_REPLY: u32 = 2;
    const ASSURED: u32 = 4;
    let attributes = body.get(HEADER.len()..)?;
    let get = |kind| attribute(attributes, kind);
    let number = |kind| get(kind).and_then(be32);
    let (protocol, original) = tuple(get(CTA_TUPLE_ORIG)?)?;
    let (_, reply) = tuple(get(CTA_TUPLE_REPLY)?)?;
    let status = number(CTA_STATUS).unwrap_or(0);
    let packets = |kind| {
        let packets = attribute(get(kind)?, 1)?; // CTA_COUNTERS_PACKETS
        Some(u64::from_be_bytes(packets.try_into().ok()?))
    };
    let counted = packets(CTA_COUNTERS_ORIG).zip(packets(CTA_COUNTERS_REPLY));
    Some(Connection {
        protocol: super::protocol_name(protocol),
        state: get(CTA_PROTOINFO).and_then(tcp_state),
        original,
        reply,
        replied: status & SEEN_REPLY != 0,
        assured: status & ASSURED != 0,
        timeout: number(CTA_TIMEOUT),
        mark: number(CTA_MARK).filter(|&mark| mark != 0),
        zone: get(CTA_ZONE).and_then(be16).filter(|&zone| zone != 0),
        packets: counted.map(|(one, other)| [one, other]),
    })
}

/// Addresses of either family, protocol and ports.
fn tuple(value: &[u8]) -> Option<(u8, Tuple)> {
    let (addresses, protocol) = (attribute(value, 1)?, attribute(value, 2)?);
    let address = |v4, v6| {
        let value = attribute(addresses, v4).or_else(|| attribute(addresses, v6))?;
        netlink::address(value)
    };
    let port = |kind| attribute(protocol, kind).and_then(be16);
    let ports = port(2).zip(port(3));
    let tuple = Tuple {
        source: address(1, 3)?,
        destination: address(2, 4)?,
        ports: ports.map(|(from, to)| [from, to]),
    };
    Some((*attribute(protocol, 1)?.first()?, tuple))
}

/// TCP_CONNTRACK_*; nf_conntrack_tcp.h.
fn tcp_state(info: &[u8]) -> Option<&'static str> {
    const STATES: [&str; 10] = [
        "NONE",
        "SYN_SENT",
        "SYN_RECV",
        "ESTABLISHED",
        "FIN_WAIT",
        "CLOSE_WAIT",
        "LAST_ACK",
        "TIME_WAIT",
        "CLOSE",
        "SYN_SENT2",
    ];
    let state = attribute(attribute(info, 1)?, 1)?.first()?;
    STATES.get(usize::from(*state)).copied()
}

fn be16(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.get(..2)?.try_into().ok()?))
}

fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::netlink::write_attribute as attr;

    fn tuple_of(from: u8, to: u8, ports: [u16; 2]) -> Vec<u8> {
        let addresses = [attr(1, &[10, 0, 0, from]), attr(2, &[10, 0, 0, to])];
        let protocol = [
            attr(1, &[6]),
            attr(2, &ports[0].to_be_bytes()),
            attr(3, &ports[1].to_be_bytes()),
        ];
        [attr(1, &addresses.concat()), attr(2, &protocol.concat())].concat()
    }

    #[test]
    fn a_translated_connection_is_read_and_cut_ones_do_no_harm() {
        let mut body = HEADER.to_vec();
        body.extend(attr(CTA_TUPLE_ORIG, &tuple_of(2, 3, [4000, 80])));
        body.extend(attr(CTA_TUPLE_REPLY, &tuple_of(9, 2, [8080, 4000])));
        body.extend(attr(CTA_STATUS, &6_u32.to_be_bytes()));
        body.extend(attr(CTA_PROTOINFO, &attr(1, &attr(1, &[3]))));
        body.extend(attr(CTA_TIMEOUT, &120_u32.to_be_bytes()));
        body.extend(attr(CTA_COUNTERS_ORIG, &attr(1, &5_u64.to_be_bytes())));
        body.extend(attr(CTA_COUNTERS_REPLY, &attr(1, &4_u64.to_be_bytes())));
        let connection = read(&body).expect("a connection");
        assert_eq!(connection.protocol, "tcp");
        assert_eq!(connection.state, Some("ESTABLISHED"));
        assert!(connection.replied && connection.assured && connection.is_translated());
        assert_eq!(
            (connection.timeout, connection.packets),
            (Some(120), Some([5, 4]))
        );
        let plain = Connection {
            reply: Tuple {
                source: connection.original.destination,
                destination: connection.original.source,
                ports: Some([80, 4000]),
            },
            ..connection
        };
        assert!(!plain.is_translated());
        for end in 0..body.len() {
            assert!(
                read(&body[..end]).is_none_or(|found| found.protocol == "tcp"),
                "{end}"
            );
        }
    }
}
