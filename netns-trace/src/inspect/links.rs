//! The interfaces of a namespace with all that the kernel tells of them. Reads only; where their
//! other ends are is found in `peers`.

use std::collections::BTreeMap;

use netlink_packet_route::{RouteNetlinkMessage, address::AddressMessage, link::LinkMessage};
use serde::Serialize;

use super::{offloads::Offloads, peers::Peer};
use crate::{
    probe::{Listed, Program},
    topology::{
        Link,
        netlink::{self, Attributes, Netlink, NetlinkError, attribute, text, u32_at, u64_at},
        read_link,
    },
};

/// IFLA_INFO_SLAVE_KIND and _DATA, IFLA_BRPORT_*, IFLA_XDP_*; include/uapi/linux/if_link.h.
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const BRPORT_STATE: u16 = 1;
const BRPORT_MODE: u16 = 4;
const BRPORT_ISOLATED: u16 = 33;
const XDP_ATTACHED: u16 = 2;
const XDP_PROG_ID: u16 = 4;
const IFLA_XDP: u16 = 43;

/// An interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interface {
    /// The kernel's number for it, in its namespace.
    pub index: u32,
    /// Its name. Not safe to print.
    pub name: String,
    /// What sort of device it is: `veth`, `bridge`, `loopback`, `physical` and so on.
    pub kind: String,
    /// Its hardware address, where it has one of six bytes.
    pub mac: Option<String>,
    /// The largest packet without link-layer header, in bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
    /// What it can do at present, in the words of RFC 2863: `up`, `down`, `lowerlayerdown`,
    /// `unknown` and so on.
    pub state: &'static str,
    /// Its queueing discipline.
    pub qdisc: Option<String>,
    /// The most packets that its queue holds.
    pub queue_length: Option<u32>,
    /// The bridge, bond or VRF that it is a port of.
    pub master: Option<String>,
    /// How it is a port of its bridge.
    pub port: Option<Port>,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// What has passed it.
    pub counters: Option<Counters>,
    /// The other end of a pair, or the device that it sits on.
    pub peer: Option<Peer>,
    /// What the device does for the protocol stack.
    pub offloads: Option<Offloads>,
    /// The XDP program, before everything else.
    pub xdp: Option<Xdp>,
    /// TCX and clsact programs, in the order in which packets meet them.
    pub programs: Vec<Listed>,
}

/// A port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// `forwarding`, or why it does not forward: `disabled`, `listening`, `learning`, `blocking`.
    pub state: &'static str,
    /// Whether packets may leave where they came in.
    pub hairpin: bool,
    /// Whether it sends nothing to other isolated ports.
    pub isolated: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Address {
    /// With its prefix length, `10.0.0.2/24`.
    pub address: String,
    /// The other end's, of a point-to-point link.
    pub peer: Option<String>,
    /// How far it is known: `global`, `link`, `host`, `site`.
    pub scope: String,
    /// `tentative`, `deprecated`, `dynamic` and the like.
    pub flags: Vec<&'static str>,
}

/// What an interface has counted since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// What came in.
    pub received: Way,
    /// What went out.
    pub sent: Way,
}

/// One direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Packets that were bad.
    pub errors: u64,
    /// Packets for which there was no room, or no use.
    pub dropped: u64,
}

/// An XDP program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Xdp {
    /// `driver`, `generic` or `offloaded`.
    pub mode: &'static str,
    /// What it is.
    #[serde(flatten)]
    pub program: Program,
}

/// What one answer of RTM_GETLINK holds beyond [`Link`].
#[derive(Debug, Clone)]
pub(crate) struct Details {
    pub(super) link: Link,
    pub(super) state: &'static str,
    qdisc: Option<String>,
    queue_length: Option<u32>,
    pub(super) port: Option<Port>,
    counters: Option<Counters>,
    xdp: Option<(&'static str, u32)>,
}

impl Details {
    /// As an interface, among all those of its namespace.
    pub(super) fn interface(&self, all: &[Details]) -> Interface {
        let link = &self.link;
        Interface {
            index: link.index,
            name: link.name.clone(),
            kind: link.kind.to_string(),
            mac: link
                .mac
                .map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
            mtu: link.mtu,
            up: link.up,
            state: self.state,
            qdisc: self.qdisc.clone(),
            queue_length: self.queue_length,
            master: master(link, all),
            port: self.port.clone(),
            addresses: Vec::new(),
            counters: self.counters,
            peer: None,
            offloads: None,
            xdp: self.xdp.map(|(mode, id)| Xdp {
                mode,
                program: crate::probe::describe(id),
            }),
            programs: Vec::new(),
        }
    }
}

/// The name of the device that a link is a port of.
pub(super) fn master(link: &Link, all: &[Details]) -> Option<String> {
    let index = link.master?;
    let found = all.iter().find(|other| other.link.index == index);
    Some(found.map_or_else(|| format!("index {index}"), |found| found.link.name.clone()))
}

/// The interfaces of the calling thread's namespace, by index.
pub(super) fn details_here(netlink: &mut Netlink) -> Result<Vec<Details>, NetlinkError> {
    let answers = netlink.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let mut all: Vec<Details> = answers
        .iter()
        .filter(|answer| answer.kind == libc::RTM_NEWLINK)
        .filter_map(|answer| read_details(&answer.body))
        .collect();
    all.sort_by_key(|details| details.link.index);
    Ok(all)
}

/// The addresses in the calling thread's namespace, by interface.
pub(super) fn addresses_here(
    netlink: &mut Netlink,
) -> Result<BTreeMap<u32, Vec<Address>>, NetlinkError> {
    let answers = netlink.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let mut addresses: BTreeMap<u32, Vec<Address>> = BTreeMap::new();
    for answer in answers.iter().filter(|a| a.kind == libc::RTM_NEWADDR) {
        if let Some((index, address)) = read_address(&answer.body) {
            addresses.entry(index).or_default().push(address);
        }
    }
    Ok(addresses)
}

// struct ifinfomsg and IFLA_*; include/uapi/linux/rtnetlink.h, if_link.h.
pub(crate) fn read_details(body: &[u8]) -> Option<Details> {
    let mut details = Details {
        link: read_link(body)?,
        state: "unknown",
        qdisc: None,
        queue_length: None,
        port: None,
        counters: None,
        xdp: None,
    };
    for (kind, value) in Attributes(body.get(16..)?) {
        match kind {
            libc::IFLA_OPERSTATE => details.state = state(value.first().copied()),
            libc::IFLA_QDISC => details.qdisc = Some(text(value)),
            libc::IFLA_TXQLEN => details.queue_length = u32_at(value, 0),
            libc::IFLA_STATS64 => details.counters = read_counters(value),
            libc::IFLA_LINKINFO => details.port = read_port(value),
            IFLA_XDP => details.xdp = read_xdp(value),
            _ => {}
        }
    }
    Some(details)
}

/// IF_OPER_*; include/uapi/linux/if.h.
fn state(number: Option<u8>) -> &'static str {
    match number {
        Some(1) => "notpresent",
        Some(2) => "down",
        Some(3) => "lowerlayerdown",
        Some(4) => "testing",
        Some(5) => "dormant",
        Some(6) => "up",
        _ => "unknown",
    }
}

/// struct rtnl_link_stats64.
fn read_counters(value: &[u8]) -> Option<Counters> {
    let number = |at: usize| u64_at(value, at * 8);
    let way = |first: usize| {
        Some(Way {
            packets: number(first)?,
            bytes: number(first + 2)?,
            errors: number(first + 4)?,
            dropped: number(first + 6)?,
        })
    };
    Some(Counters {
        received: way(0)?,
        sent: way(1)?,
    })
}

fn read_port(info: &[u8]) -> Option<Port> {
    if text(attribute(info, INFO_SLAVE_KIND)?) != "bridge" {
        return None;
    }
    let data = attribute(info, INFO_SLAVE_DATA)?;
    let byte = |kind| attribute(data, kind).and_then(|value| value.first().copied());
    Some(Port {
        // BR_STATE_*; include/uapi/linux/if_bridge.h.
        state: match byte(BRPORT_STATE)? {
            0 => "disabled",
            1 => "listening",
            2 => "learning",
            3 => "forwarding",
            4 => "blocking",
            _ => "unknown",
        },
        hairpin: byte(BRPORT_MODE) == Some(1),
        isolated: byte(BRPORT_ISOLATED) == Some(1),
    })
}

fn read_xdp(value: &[u8]) -> Option<(&'static str, u32)> {
    let mode = match attribute(value, XDP_ATTACHED)?.first()? {
        1 => "driver",
        2 => "generic",
        3 => "offloaded",
        4 => "several",
        _ => return None,
    };
    Some((mode, u32_at(attribute(value, XDP_PROG_ID)?, 0)?))
}

// struct ifaddrmsg and IFA_*; include/uapi/linux/if_addr.h.
pub(crate) fn read_address(body: &[u8]) -> Option<(u32, Address)> {
    const FLAGS: [(u32, &str); 7] = [
        (0x002, "nodad"),
        (0x004, "optimistic"),
        (0x008, "dadfailed"),
        (0x020, "deprecated"),
        (0x040, "tentative"),
        (0x100, "mngtmpaddr"),
        (0x200, "noprefixroute"),
    ];
    const SECONDARY: u32 = 0x01;
    const PERMANENT: u32 = 0x80;
    let (family, prefix) = (*body.first()?, *body.get(1)?);
    let (short_flags, scope) = (*body.get(2)?, *body.get(3)?);
    let index = u32_at(body, 4)?;
    let attributes = body.get(8..)?;
    let get = |kind| attribute(attributes, kind).and_then(netlink::address);
    let (local, other) = (get(libc::IFA_LOCAL), get(libc::IFA_ADDRESS));
    let address = local.or(other)?;
    let peer = other.filter(|other| *other != address);
    let flags = attribute(attributes, libc::IFA_FLAGS)
        .and_then(|value| u32_at(value, 0))
        .unwrap_or(u32::from(short_flags));
    let mut words = Vec::new();
    if flags & SECONDARY != 0 {
        let of_ipv6 = i32::from(family) == libc::AF_INET6;
        words.push(if of_ipv6 { "temporary" } else { "secondary" });
    }
    words.extend(super::routes::words(flags, &FLAGS));
    if flags & PERMANENT == 0 {
        words.push("dynamic");
    }
    let address = Address {
        // The prefix belongs to the other end's address, where there is one.
        address: if peer.is_some() {
            address.to_string()
        } else {
            format!("{address}/{prefix}")
        },
        peer: peer.map(|peer| format!("{peer}/{prefix}")),
        scope: super::routes::scope(scope),
        flags: words,
    };
    Some((index, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::netlink::write_attribute as attr;

    #[test]
    fn what_a_link_tells_is_read_and_cut_messages_do_no_harm() {
        let counts: Vec<u8> = (1..=24_u64).flat_map(u64::to_ne_bytes).collect();
        let port = [
            attr(BRPORT_STATE, &[3]),
            attr(BRPORT_MODE, &[0]),
            attr(BRPORT_ISOLATED, &[1]),
        ];
        let info = [
            attr(INFO_SLAVE_KIND, b"bridge\0"),
            attr(INFO_SLAVE_DATA, &port.concat()),
        ];
        let xdp = [
            attr(XDP_ATTACHED, &[2]),
            attr(XDP_PROG_ID, &7_u32.to_ne_bytes()),
        ];
        let mut body = vec![0, 0, 1, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        body.extend(attr(libc::IFLA_OPERSTATE, &[6]));
        body.extend(attr(libc::IFLA_QDISC, b"noqueue\0"));
        body.extend(attr(libc::IFLA_STATS64, &counts));
        body.extend(attr(libc::IFLA_LINKINFO, &info.concat()));
        body.extend(attr(IFLA_XDP, &xdp.concat()));
        let details = read_details(&body).expect("a link");
        let port = details.port.expect("a port");
        assert_eq!(
            (port.state, port.hairpin, port.isolated),
            ("forwarding", false, true)
        );
        assert_eq!((details.state, details.xdp), ("up", Some(("generic", 7))));
        assert_eq!(details.qdisc.as_deref(), Some("noqueue"));
        let counters = details.counters.expect("counters");
        assert_eq!((counters.received.packets, counters.sent.packets), (1, 2));
        assert_eq!((counters.received.bytes, counters.sent.dropped), (3, 8));
        for end in 0..body.len() {
            assert_eq!(
                read_details(&body[..end]).is_some(),
                end >= 16,
                "{end} bytes"
            );
        }
    }

    #[test]
    fn addresses_have_their_flags_in_words() {
        let mut body = vec![libc::AF_INET6 as u8, 64, 0x80, 253, 7, 0, 0, 0];
        let local: std::net::Ipv6Addr = "fe80::1".parse().expect("an address");
        body.extend(attr(libc::IFA_ADDRESS, &local.octets()));
        body.extend(attr(libc::IFA_FLAGS, &0x41_u32.to_ne_bytes()));
        let (index, address) = read_address(&body).expect("an address");
        assert_eq!((index, address.address.as_str()), (7, "fe80::1/64"));
        assert_eq!(address.scope, "link");
        assert_eq!(address.flags, ["temporary", "tentative", "dynamic"]);
        for end in 0..body.len() {
            assert_eq!(
                read_address(&body[..end]).is_some(),
                end >= 28,
                "{end} bytes"
            );
        }
    }

    #[test]
    fn of_a_point_to_point_address_both_ends_are_told() {
        let mut body = vec![libc::AF_INET as u8, 32, 0x80, 0, 7, 0, 0, 0];
        body.extend(attr(libc::IFA_ADDRESS, &[10, 0, 0, 2]));
        body.extend(attr(libc::IFA_LOCAL, &[10, 0, 0, 1]));
        let (_, address) = read_address(&body).expect("an address");
        assert_eq!(address.address, "10.0.0.1");
        assert_eq!(address.peer.as_deref(), Some("10.0.0.2/32"));
        assert!(address.flags.is_empty());
    }
}
