//! Routes of every table but the local one, as `ip route show table all` lists them. Reads only.

use std::net::IpAddr;

use serde::Serialize;

use crate::topology::{
    netlink::{self, Netlink, NetlinkError, attribute, u16_at, u32_at},
    read_gateway_of,
};

/// RTA_NH_ID; include/uapi/linux/rtnetlink.h.
const RTA_NH_ID: u16 = 30;
/// struct rtmsg, fib_rule_hdr and ndmsg are of this size, all three.
pub(super) const HEADER: usize = 12;
/// What is kept of each table: a host that holds the whole Internet's routes has a million.
pub(super) const MOST: usize = 100_000;

/// A route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Route {
    /// 4 or 6.
    pub family: u8,
    /// `unicast`, or what else becomes of the packet: `blackhole`, `unreachable`, `prohibit` and
    /// so on.
    pub kind: String,
    /// `default`, or addresses with their prefix length.
    pub destination: String,
    /// The table that it is in; the main one is 254.
    pub table: u32,
    /// Where packets go, of one way.
    pub gateway: Option<IpAddr>,
    /// The device that they leave by. Not safe to print.
    pub device: Option<String>,
    /// Lower ones are preferred.
    pub metric: Option<u32>,
    /// Who made it: `kernel`, `static`, `dhcp`, a number and so on.
    pub protocol: String,
    /// How far the destination is: `global`, `link`, `host`.
    pub scope: String,
    /// The address that packets are sent from.
    pub source: Option<IpAddr>,
    /// The ways, of several.
    pub hops: Vec<Hop>,
    /// The number of its next hop object, where it has one.
    pub nexthop: Option<u32>,
    /// `onlink`, `linkdown`, `dead`.
    pub flags: Vec<&'static str>,
}

/// One way of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Where packets go.
    pub gateway: Option<IpAddr>,
    /// The device that they leave by. Not safe to print.
    pub device: Option<String>,
    /// Its share.
    pub weight: u32,
}

/// What an interface is called, by its index.
pub(crate) type Names<'a> = &'a dyn Fn(u32) -> String;

/// The routes of the calling thread's namespace, but those of the local table; and how many more
/// there are than are kept.
pub(super) fn routes_here(
    netlink: &mut Netlink,
    names: Names<'_>,
) -> Result<(Vec<Route>, usize), NetlinkError> {
    each_family(netlink, libc::RTM_GETROUTE, |body| read_route(body, names))
}

/// Reads a table of IPv4 and of IPv6, and counts what is not kept.
pub(super) fn each_family<T>(
    netlink: &mut Netlink,
    kind: u16,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<(Vec<T>, usize), NetlinkError> {
    let (mut all, mut left_out) = (Vec::new(), 0);
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut body = [0; HEADER];
        body[0] = family as u8;
        let (answers, more) = match netlink.dump_table(kind, &body, MOST) {
            // A kernel without IPv6, or without rules.
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => continue,
            other => other?,
        };
        left_out += more;
        all.extend(answers.iter().filter_map(|answer| read(&answer.body)));
    }
    Ok((all, left_out))
}

/// 4 or 6.
pub(super) fn family(number: u8) -> Option<u8> {
    match i32::from(number) {
        libc::AF_INET => Some(4),
        libc::AF_INET6 => Some(6),
        _ => None,
    }
}

// struct rtmsg and RTA_*; include/uapi/linux/rtnetlink.h.
pub(crate) fn read_route(body: &[u8], names: Names<'_>) -> Option<Route> {
    const FLAGS: [(u32, &str); 4] = [
        (1, "dead"),
        (2, "pervasive"),
        (4, "onlink"),
        (16, "linkdown"),
    ];
    let header = body.get(..HEADER)?;
    let family = family(header[0])?;
    let attributes = &body[HEADER..];
    let number = |kind| attribute(attributes, kind).and_then(|value| u32_at(value, 0));
    let table = number(libc::RTA_TABLE).unwrap_or(u32::from(header[4]));
    let flags = u32_at(header, 8)?;
    if table == u32::from(libc::RT_TABLE_LOCAL) || flags & libc::RTM_F_CLONED != 0 {
        return None;
    }
    let destination = attribute(attributes, libc::RTA_DST).and_then(netlink::address);
    Some(Route {
        family,
        kind: route_kind(header[7]),
        destination: match (destination, header[1]) {
            (None, 0) => "default".to_owned(),
            (None, bits) => format!("?/{bits}"),
            (Some(address), bits) => format!("{address}/{bits}"),
        },
        table,
        gateway: read_gateway_of(attributes),
        device: number(libc::RTA_OIF).map(names),
        metric: number(libc::RTA_PRIORITY),
        protocol: protocol(header[5]),
        scope: scope(header[6]),
        source: attribute(attributes, libc::RTA_PREFSRC).and_then(netlink::address),
        hops: attribute(attributes, libc::RTA_MULTIPATH)
            .map(|hops| read_hops(hops, names))
            .unwrap_or_default(),
        nexthop: number(RTA_NH_ID),
        flags: words(flags, &FLAGS),
    })
}

/// struct rtnexthop and its attributes, one after another.
fn read_hops(mut hops: &[u8], names: Names<'_>) -> Vec<Hop> {
    const NEXT_HOP: usize = 8;
    let mut all = Vec::new();
    while let Some(length) = u16_at(hops, 0).map(usize::from)
        && let Some(hop) = hops.get(..length).filter(|hop| hop.len() >= NEXT_HOP)
    {
        all.push(Hop {
            gateway: read_gateway_of(&hop[NEXT_HOP..]),
            device: u32_at(hop, 4).map(names),
            weight: u32::from(hop[3]) + 1,
        });
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

/// The words of the bits that are set.
pub(super) fn words(flags: u32, known: &[(u32, &'static str)]) -> Vec<&'static str> {
    let set = known.iter().filter(|(bit, _)| flags & bit != 0);
    set.map(|&(_, word)| word).collect()
}

/// RTN_*.
pub(super) fn route_kind(number: u8) -> String {
    const KINDS: [&str; 12] = [
        "unspec",
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
        "nat",
        "xresolve",
    ];
    name(&KINDS, number)
}

/// /etc/iproute2/rt_protos, as far as it is the same everywhere.
fn protocol(number: u8) -> String {
    match number {
        0..=4 => name(&["unspec", "redirect", "kernel", "boot", "static"], number),
        8..=18 => name(
            &[
                "gated",
                "ra",
                "mrt",
                "zebra",
                "bird",
                "dnrouted",
                "xorp",
                "ntk",
                "dhcp",
                "mrouted",
                "keepalived",
            ],
            number - 8,
        ),
        186 => "bgp".to_owned(),
        187 => "isis".to_owned(),
        188 => "ospf".to_owned(),
        other => other.to_string(),
    }
}

/// RT_SCOPE_*.
pub(super) fn scope(number: u8) -> String {
    match number {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        other => other.to_string(),
    }
}

fn name(names: &[&str], number: u8) -> String {
    let known = names.get(usize::from(number)).map(|&name| name.to_owned());
    known.unwrap_or_else(|| number.to_string())
}

/// A routing table's name, where the kernel gives it one.
pub(super) fn table(number: u32) -> String {
    match number {
        253 => "default".to_owned(),
        254 => "main".to_owned(),
        255 => "local".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::netlink::write_attribute as attr;

    fn named(index: u32) -> String {
        format!("if{index}")
    }

    fn hop(gateway: u8, device: u32, weight: u8) -> Vec<u8> {
        let mut hop = vec![16, 0, 0, weight - 1];
        hop.extend(device.to_ne_bytes());
        hop.extend(attr(libc::RTA_GATEWAY, &[10, 0, 0, gateway]));
        hop
    }

    #[test]
    fn a_route_of_several_ways_is_read_and_cut_ones_do_no_harm() {
        let mut body = vec![libc::AF_INET as u8, 24, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        body.extend(attr(libc::RTA_DST, &[10, 2, 0, 0]));
        body.extend(attr(libc::RTA_TABLE, &100_u32.to_ne_bytes()));
        body.extend(attr(
            libc::RTA_MULTIPATH,
            &[hop(1, 2, 1), hop(2, 3, 5)].concat(),
        ));
        let route = read_route(&body, &named).expect("a route");
        assert_eq!(
            (route.destination.as_str(), route.table),
            ("10.2.0.0/24", 100)
        );
        assert_eq!(
            (route.protocol.as_str(), route.scope.as_str()),
            ("boot", "global")
        );
        let hops: Vec<String> = route
            .hops
            .iter()
            .map(|hop| format!("{:?} {:?} {}", hop.gateway, hop.device, hop.weight))
            .collect();
        assert_eq!(
            hops,
            [
                "Some(10.0.0.1) Some(\"if2\") 1",
                "Some(10.0.0.2) Some(\"if3\") 5"
            ]
        );
        for end in 0..body.len() {
            assert_eq!(
                read_route(&body[..end], &named).is_some(),
                end >= HEADER,
                "{end}"
            );
        }
        // A length of nought must not be read for ever.
        assert!(read_hops(&[0; 64], &named).is_empty());
    }

    #[test]
    fn the_local_table_is_left_out() {
        let body = [libc::AF_INET as u8, 32, 0, 0, 255, 2, 254, 2, 0, 0, 0, 0];
        assert_eq!(read_route(&body, &named), None);
    }
}
