//! The interfaces of one namespace, as the kernel lists them.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use netlink_packet_route::{
    RouteNetlinkMessage, address::AddressMessage, link::LinkMessage, route::RouteMessage,
};

use super::{
    TopologyError,
    netlink::{self, Answer, Attributes, Netlink, attribute, text, u16_at, u32_at},
};
use crate::netns::NetNs;

// include/uapi/linux/rtnetlink.h
const RTNH_F_DEAD: u32 = 1;
const RTNH_F_LINKDOWN: u32 = 16;

/// What sort of device an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkKind {
    /// `lo`.
    Loopback,
    /// One end of a veth pair.
    Veth,
    /// One end of a netkit pair, from 6.7: a pair as veth is, without its queues.
    Netkit,
    /// A bridge.
    Bridge,
    /// A device with a MAC address of its own on top of another one.
    Macvlan,
    /// As macvlan, with a character device.
    Macvtap,
    /// A device that shares another one's MAC address.
    Ipvlan,
    /// A tun or tap device.
    Tun,
    /// An 802.1Q or 802.1ad subinterface.
    Vlan,
    /// A VXLAN tunnel.
    Vxlan,
    /// A WireGuard tunnel.
    Wireguard,
    /// A bond of several devices.
    Bond,
    /// A device that drops what it is given.
    Dummy,
    /// Another virtual device, by the kernel's name for it.
    Other(String),
    /// A device of the machine: the kernel gives no kind for it.
    Physical,
}

impl LinkKind {
    fn from_name(name: &str) -> Self {
        match name {
            "veth" => Self::Veth,
            "netkit" => Self::Netkit,
            "bridge" => Self::Bridge,
            "macvlan" => Self::Macvlan,
            "macvtap" => Self::Macvtap,
            "ipvlan" => Self::Ipvlan,
            "tun" => Self::Tun,
            "vlan" => Self::Vlan,
            "vxlan" => Self::Vxlan,
            "wireguard" => Self::Wireguard,
            "bond" => Self::Bond,
            "dummy" => Self::Dummy,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether such a device is one end of a pair whose other end may be in another namespace.
    pub fn is_pair(&self) -> bool {
        matches!(self, Self::Veth | Self::Netkit)
    }
}

/// The kernel's name for the kind, escaped; `loopback` and `physical` where it has none.
impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Veth => "veth",
            Self::Netkit => "netkit",
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Macvtap => "macvtap",
            Self::Ipvlan => "ipvlan",
            Self::Tun => "tun",
            Self::Vlan => "vlan",
            Self::Vxlan => "vxlan",
            Self::Wireguard => "wireguard",
            Self::Bond => "bond",
            Self::Dummy => "dummy",
            Self::Physical => "physical",
            Self::Other(name) => return write!(f, "{}", name.escape_debug()),
        })
    }
}

/// An interface. Its index means nothing outside its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The number that the kernel knows the interface by, in this namespace.
    pub index: u32,
    /// The name as the kernel has it, which may hold control characters: escape it to print it.
    pub name: String,
    /// What sort of device it is.
    pub kind: LinkKind,
    /// The device type, an `ARPHRD_*` number of include/uapi/linux/if_arp.h: it decides the link
    /// type of a capture.
    pub arp_type: u16,
    /// The hardware address, where the device has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// The largest packet without link-layer header, in bytes.
    pub mtu: u32,
    /// Whether the interface is set up (`IFF_UP`); its carrier may be missing all the same.
    pub up: bool,
    /// IFLA_LINK: the index of a pair's other end, or of the device below.
    pub peer_index: Option<u32>,
    /// IFLA_LINK_NETNSID: which namespace `peer_index` belongs to, as a number that this
    /// namespace gave it; `None` for this namespace itself.
    pub peer_netnsid: Option<i32>,
    /// The index of the bridge, bond or VRF that this is a port of.
    pub master: Option<u32>,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Link {
    /// The name, safe to print.
    pub fn printable_name(&self) -> String {
        self.name.escape_debug().to_string()
    }
}

/// The interfaces of a namespace, by index.
///
/// # Errors
/// When the namespace cannot be entered or the kernel refuses the lists.
pub fn links(ns: &NetNs) -> Result<Vec<Link>, TopologyError> {
    ns.run(links_here)?
}

/// As [`links`], in the calling thread's namespace.
pub(crate) fn links_here() -> Result<Vec<Link>, TopologyError> {
    let failed = |operation| move |source| TopologyError::Netlink { operation, source };
    let mut netlink = Netlink::route().map_err(|e| failed("open a netlink socket")(e.into()))?;
    let answers = netlink
        .dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .map_err(failed("list the interfaces"))?;
    let mut links: BTreeMap<u32, Link> = answers
        .iter()
        .filter(|answer| answer.kind == libc::RTM_NEWLINK)
        .filter_map(|answer| read_link(&answer.body))
        .map(|link| (link.index, link))
        .collect();
    let answers = netlink
        .dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))
        .map_err(failed("list the addresses"))?;
    for answer in answers.iter().filter(|a| a.kind == libc::RTM_NEWADDR) {
        if let Some((index, address)) = read_address(&answer.body)
            && let Some(link) = links.get_mut(&index)
        {
            link.addresses.push(address);
        }
    }
    Ok(links.into_values().collect())
}

/// The default route's device in the calling thread's namespace: the best metric of the main
/// table, of IPv4 first and IPv6 otherwise.
pub(crate) fn default_route_here() -> Result<Option<u32>, TopologyError> {
    let mut netlink = Netlink::route().map_err(|e| TopologyError::Netlink {
        operation: "open a netlink socket",
        source: e.into(),
    })?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut message = RouteMessage::default();
        message.header.address_family = (family as u8).into();
        let answers = match netlink.dump(&RouteNetlinkMessage::GetRoute(message)) {
            // A kernel without IPv6.
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => continue,
            other => other.map_err(|source| TopologyError::Netlink {
                operation: "list the routes",
                source,
            })?,
        };
        if let Some(index) = best_default(&answers, family as u8) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

// struct ifinfomsg and IFLA_*; include/uapi/linux/rtnetlink.h, if_link.h.
pub(crate) fn read_link(body: &[u8]) -> Option<Link> {
    let arp_type = u16_at(body, 2)?;
    let index = u32_at(body, 4)?;
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index,
        name: String::new(),
        kind: LinkKind::Physical,
        arp_type,
        mac: None,
        mtu: 0,
        up: flags & libc::IFF_UP as u32 != 0,
        peer_index: None,
        peer_netnsid: None,
        master: None,
        addresses: Vec::new(),
    };
    for (kind, value) in Attributes(body.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_ADDRESS => link.mac = value.try_into().ok(),
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            libc::IFLA_LINK => link.peer_index = u32_at(value, 0),
            libc::IFLA_LINK_NETNSID => link.peer_netnsid = u32_at(value, 0).map(|id| id as i32),
            libc::IFLA_MASTER => link.master = u32_at(value, 0),
            libc::IFLA_LINKINFO => {
                if let Some(name) = attribute(value, libc::IFLA_INFO_KIND) {
                    link.kind = LinkKind::from_name(&text(name));
                }
            }
            _ => {}
        }
    }
    if flags & libc::IFF_LOOPBACK as u32 != 0 {
        link.kind = LinkKind::Loopback;
    }
    Some(link)
}

// struct ifaddrmsg and IFA_*; include/uapi/linux/if_addr.h.
pub(crate) fn read_address(body: &[u8]) -> Option<(u32, (IpAddr, u8))> {
    let prefix = *body.get(1)?;
    let index = u32_at(body, 4)?;
    let attributes = body.get(8..)?;
    // On a point-to-point link, IFA_ADDRESS is the other end's.
    let value = attribute(attributes, libc::IFA_LOCAL)
        .or_else(|| attribute(attributes, libc::IFA_ADDRESS))?;
    Some((index, (netlink::address(value)?, prefix)))
}

fn best_default(answers: &[Answer], family: u8) -> Option<u32> {
    answers
        .iter()
        .filter(|answer| answer.kind == libc::RTM_NEWROUTE)
        .filter_map(|answer| read_default(&answer.body, family))
        .min()
        .map(|(_, index)| index)
}

/// Metric and device of a default route. struct rtmsg and RTA_*; include/uapi/linux/rtnetlink.h.
pub(crate) fn read_default(body: &[u8], family: u8) -> Option<(u32, u32)> {
    const UNUSABLE: u32 = RTNH_F_DEAD | RTNH_F_LINKDOWN;
    let header = body.get(..12)?;
    let cloned = u32_at(header, 8)? & libc::RTM_F_CLONED != 0;
    let usable = u32_at(header, 8)? & UNUSABLE == 0;
    if header[0] != family || header[1] != 0 || header[7] != libc::RTN_UNICAST || cloned || !usable
    {
        return None;
    }
    let attributes = &body[12..];
    let number = |kind| attribute(attributes, kind).and_then(|value| u32_at(value, 0));
    let table = number(libc::RTA_TABLE).unwrap_or(u32::from(header[4]));
    if table != u32::from(libc::RT_TABLE_MAIN) {
        return None;
    }
    // Of several next hops, the first: struct rtnexthop has the index at offset 4.
    let index =
        number(libc::RTA_OIF).or_else(|| u32_at(attribute(attributes, libc::RTA_MULTIPATH)?, 4))?;
    Some((number(libc::RTA_PRIORITY).unwrap_or(0), index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::netlink::write_attribute as attr;

    fn route(table: u8, metric: Option<u32>, index: u32, flags: u32) -> Answer {
        let mut body = vec![2, 0, 0, 0, table, 0, 0, libc::RTN_UNICAST];
        body.extend_from_slice(&flags.to_ne_bytes());
        body.extend(attr(libc::RTA_OIF, &index.to_ne_bytes()));
        if let Some(metric) = metric {
            body.extend(attr(libc::RTA_PRIORITY, &metric.to_ne_bytes()));
        }
        Answer {
            kind: libc::RTM_NEWROUTE,
            body,
        }
    }

    #[test]
    fn the_best_metric_of_the_main_table_wins() {
        let down = RTNH_F_LINKDOWN;
        let routes = [
            route(254, Some(600), 3, 0),
            route(254, Some(100), 2, 0),
            route(254, Some(1), 5, down),
            route(100, None, 4, 0),
        ];
        assert_eq!(best_default(&routes, 2), Some(2));
        assert_eq!(best_default(&routes, 10), None);
        assert_eq!(best_default(&[], 2), None);
    }

    #[test]
    fn a_short_message_is_no_link() {
        let mut body = vec![0, 0, 1, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        body.extend(attr(libc::IFLA_IFNAME, b"e\x1b\xff\0"));
        body.extend(attr(
            libc::IFLA_LINKINFO,
            &attr(libc::IFLA_INFO_KIND, b"veth\0"),
        ));
        body.extend(attr(libc::IFLA_ADDRESS, &[1; 8]));
        let link = read_link(&body).expect("a link");
        assert_eq!(
            (link.index, &link.kind, link.mac),
            (7, &LinkKind::Veth, None)
        );
        assert_eq!(link.printable_name(), "e\\u{1b}\u{fffd}");
        for end in 0..body.len() {
            let link = read_link(&body[..end]);
            assert_eq!(link.is_some(), end >= 16, "{end} bytes");
            assert!(read_address(&body[..end]).is_none(), "{end} bytes");
            assert!(read_default(&body[..end], 0).is_none(), "{end} bytes");
        }
    }

    #[test]
    fn our_own_loopback_is_listed() {
        let links = links_here().expect("our own interfaces");
        let lo = links.iter().find(|link| link.name == "lo").expect("lo");
        assert_eq!(
            (lo.index, &lo.kind, lo.arp_type),
            (1, &LinkKind::Loopback, 772)
        );
    }
}
