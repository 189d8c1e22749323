//! Routes of every table but the local one, the rules that choose a table, and neighbours: what
//! `ip route show table all`, `ip rule` and `ip neigh` list. Reads only.

use std::net::IpAddr;

use serde::Serialize;

use crate::topology::{
    netlink::{self, Netlink, NetlinkError, attribute, text, u16_at, u32_at},
    read_gateway_of,
};

/// FRA_*; include/uapi/linux/fib_rules.h.
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_L3MDEV: u16 = 19;
const FRA_UID_RANGE: u16 = 20;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
const FIB_RULE_INVERT: u32 = 2;
/// RTA_NH_ID; include/uapi/linux/rtnetlink.h.
const RTA_NH_ID: u16 = 30;
/// struct rtmsg, fib_rule_hdr and ndmsg are of this size, all three.
const HEADER: usize = 12;
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

/// A rule that chooses a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// 4 or 6.
    pub family: u8,
    /// Lower ones are asked first.
    pub priority: u32,
    /// What a packet must be like, as `ip rule` writes it: `from 10.0.0.0/8 fwmark 0x1`. Not safe
    /// to print.
    pub selector: String,
    /// What is done then, as `ip rule` writes it: `lookup main`.
    pub action: String,
}

/// A neighbour on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// The device that leads to it. Not safe to print.
    pub device: String,
    /// Its hardware address, once it is known.
    pub mac: Option<String>,
    /// `reachable`, `stale`, `failed`, `permanent` and so on.
    pub state: &'static str,
}

/// What an interface is called, by its index.
pub(super) type Names<'a> = &'a dyn Fn(u32) -> String;

/// The routes of the calling thread's namespace, but those of the local table; and how many more
/// there are than are kept.
pub(super) fn routes_here(
    netlink: &mut Netlink,
    names: Names<'_>,
) -> Result<(Vec<Route>, usize), NetlinkError> {
    each_family(netlink, libc::RTM_GETROUTE, |body| read_route(body, names))
}

/// The rules of the calling thread's namespace.
pub(super) fn rules_here(netlink: &mut Netlink) -> Result<(Vec<Rule>, usize), NetlinkError> {
    each_family(netlink, libc::RTM_GETRULE, read_rule)
}

/// The neighbours in the calling thread's namespace, but those that need no asking (`noarp`).
pub(super) fn neighbours_here(
    netlink: &mut Netlink,
    names: Names<'_>,
) -> Result<(Vec<Neighbour>, usize), NetlinkError> {
    let (answers, more) = netlink.dump_table(libc::RTM_GETNEIGH, &[0; HEADER], MOST)?;
    let read = |body: &[u8]| read_neighbour(body, names);
    Ok((
        answers
            .iter()
            .filter_map(|answer| read(&answer.body))
            .collect(),
        more,
    ))
}

fn each_family<T>(
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

fn family(number: u8) -> Option<(u8, u8)> {
    match i32::from(number) {
        libc::AF_INET => Some((4, 32)),
        libc::AF_INET6 => Some((6, 128)),
        _ => None,
    }
}

// struct rtmsg and RTA_*; include/uapi/linux/rtnetlink.h.
fn read_route(body: &[u8], names: Names<'_>) -> Option<Route> {
    const FLAGS: [(u32, &str); 4] = [
        (1, "dead"),
        (2, "pervasive"),
        (4, "onlink"),
        (16, "linkdown"),
    ];
    let header = body.get(..HEADER)?;
    let (family, _) = family(header[0])?;
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

fn words(flags: u32, known: &[(u32, &'static str)]) -> Vec<&'static str> {
    let set = known.iter().filter(|(bit, _)| flags & bit != 0);
    set.map(|&(_, word)| word).collect()
}

fn route_kind(number: u8) -> String {
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

// struct fib_rule_hdr and FRA_*; include/uapi/linux/fib_rules.h.
fn read_rule(body: &[u8]) -> Option<Rule> {
    let header = body.get(..HEADER)?;
    let (family, _) = family(header[0])?;
    let attributes = &body[HEADER..];
    let get = |kind| attribute(attributes, kind);
    let number = |kind| get(kind).and_then(|value| u32_at(value, 0));
    let prefix = |kind, bits: u8| {
        let address = get(kind).and_then(netlink::address);
        address.map(|address| format!("{address}/{bits}"))
    };
    let mut selector: Vec<String> = Vec::new();
    if u32_at(header, 8)? & FIB_RULE_INVERT != 0 {
        selector.push("not".to_owned());
    }
    let from = prefix(FRA_SRC, header[2]);
    selector.push(format!("from {}", from.as_deref().unwrap_or("all")));
    if let Some(to) = prefix(FRA_DST, header[1]) {
        selector.push(format!("to {to}"));
    }
    if header[3] != 0 {
        selector.push(format!("tos {:#04x}", header[3]));
    }
    if let Some(mark) = number(FRA_FWMARK).filter(|_| number(FRA_FWMASK) != Some(0)) {
        let mask = number(FRA_FWMASK).filter(|&mask| mask != u32::MAX);
        let mask = mask.map_or_else(String::new, |mask| format!("/{mask:#x}"));
        selector.push(format!("fwmark {mark:#x}{mask}"));
    }
    for (word, kind) in [("iif", FRA_IIFNAME), ("oif", FRA_OIFNAME)] {
        if let Some(device) = get(kind) {
            selector.push(format!("{word} {}", text(device)));
        }
    }
    if get(FRA_L3MDEV)
        .and_then(|value| value.first().copied())
        .unwrap_or(0)
        != 0
    {
        selector.push("l3mdev".to_owned());
    }
    if let Some(range) = get(FRA_UID_RANGE) {
        selector.push(format!(
            "uidrange {}-{}",
            u32_at(range, 0)?,
            u32_at(range, 4)?
        ));
    }
    if let Some(number) = get(FRA_IP_PROTO).and_then(|value| value.first().copied()) {
        selector.push(format!("ipproto {}", super::protocol_name(number)));
    }
    for (word, kind) in [("sport", FRA_SPORT_RANGE), ("dport", FRA_DPORT_RANGE)] {
        if let Some(range) = get(kind) {
            let (first, last) = (u16_at(range, 0)?, u16_at(range, 2)?);
            let last = if first == last {
                String::new()
            } else {
                format!("-{last}")
            };
            selector.push(format!("{word} {first}{last}"));
        }
    }
    let number_of_table = number(FRA_TABLE).unwrap_or(u32::from(header[4]));
    let mut action = match header[7] {
        1 if number_of_table == 0 => "lookup the device's table".to_owned(),
        1 => format!("lookup {}", table(number_of_table)),
        2 => format!("goto {}", number(FRA_GOTO).unwrap_or(0)),
        3 => "nop".to_owned(),
        6..=8 => route_kind(header[7]),
        other => format!("action {other}"),
    };
    if let Some(bits) = number(FRA_SUPPRESS_PREFIXLEN).filter(|&bits| bits != u32::MAX) {
        action.push_str(&format!(" suppress_prefixlength {bits}"));
    }
    Some(Rule {
        family,
        priority: number(FRA_PRIORITY).unwrap_or(0),
        selector: selector.join(" "),
        action,
    })
}

// struct ndmsg and NDA_*; include/uapi/linux/neighbour.h.
fn read_neighbour(body: &[u8], names: Names<'_>) -> Option<Neighbour> {
    const NDA_DST: u16 = 1;
    const NDA_LLADDR: u16 = 2;
    let header = body.get(..HEADER)?;
    family(header[0])?; // a bridge's forwarding entries are something else
    let attributes = &body[HEADER..];
    let state = match u16_at(header, 8)? {
        0x01 => "incomplete",
        0x02 => "reachable",
        0x04 => "stale",
        0x08 => "delay",
        0x10 => "probe",
        0x20 => "failed",
        0x40 => return None, // noarp
        0x80 => "permanent",
        _ => "none",
    };
    let mac = attribute(attributes, NDA_LLADDR);
    let mac = mac.map(|mac| {
        mac.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
    });
    Some(Neighbour {
        address: attribute(attributes, NDA_DST).and_then(netlink::address)?,
        device: names(u32_at(header, 4)?),
        mac: mac.map(|mac| mac.join(":")),
        state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

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

    #[test]
    fn a_rule_reads_as_ip_writes_it() {
        let mut body = vec![libc::AF_INET as u8, 0, 8, 0, 0, 0, 0, 1, 2, 0, 0, 0];
        body.extend(attr(FRA_SRC, &[10, 0, 0, 0]));
        body.extend(attr(FRA_PRIORITY, &7_u32.to_ne_bytes()));
        body.extend(attr(FRA_FWMARK, &0x10_u32.to_ne_bytes()));
        body.extend(attr(FRA_FWMASK, &0xff_u32.to_ne_bytes()));
        body.extend(attr(FRA_IIFNAME, b"eth0\0"));
        body.extend(attr(FRA_DPORT_RANGE, &[80, 0, 80, 0]));
        body.extend(attr(FRA_TABLE, &254_u32.to_ne_bytes()));
        let rule = read_rule(&body).expect("a rule");
        assert_eq!(rule.priority, 7);
        assert_eq!(
            rule.selector,
            "not from 10.0.0.0/8 fwmark 0x10/0xff iif eth0 dport 80"
        );
        assert_eq!(rule.action, "lookup main");
        for end in 0..body.len() {
            assert_eq!(read_rule(&body[..end]).is_some(), end >= HEADER, "{end}");
        }
    }

    #[test]
    fn neighbours_have_a_state_in_words() {
        let mut body = vec![libc::AF_INET as u8, 0, 0, 0, 5, 0, 0, 0, 0x20, 0, 0, 1];
        body.extend(attr(1, &[10, 0, 0, 9]));
        let neighbour = read_neighbour(&body, &named).expect("a neighbour");
        assert_eq!(
            (neighbour.device.as_str(), neighbour.state),
            ("if5", "failed")
        );
        assert_eq!(neighbour.mac, None);
        for end in 0..body.len() {
            assert_eq!(read_neighbour(&body[..end], &named), None);
        }
        body[0] = libc::AF_BRIDGE as u8;
        assert_eq!(read_neighbour(&body, &named), None);
    }
}
