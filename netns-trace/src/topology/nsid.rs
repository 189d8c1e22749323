//! What a namespace can ask the kernel about another one, which it knows by a number (RTM_GETNSID,
//! IFLA_LINK_NETNSID). Asking gives out no new number.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::DefaultNla;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};

use super::{
    TopologyError,
    link::{Link, read_link},
    netlink::{Netlink, NetlinkError, attribute, u32_at},
};
use crate::netns::NetNs;

/// From 4.20, and as IFLA_IF_NETNSID from 4.15; include/uapi/linux/if_link.h.
const IFLA_TARGET_NETNSID: u16 = 46;

pub(super) fn open_netlink() -> Result<Netlink, TopologyError> {
    Netlink::route().map_err(|error| TopologyError::Netlink {
        operation: "open a netlink socket",
        source: error.into(),
    })
}

/// The number by which the socket's namespace knows `other`; `None` when it knows it not.
pub(crate) fn nsid(netlink: &mut Netlink, other: &NetNs) -> Result<Option<i32>, TopologyError> {
    const NETNSA_NSID: u16 = 1; // include/uapi/linux/net_namespace.h
    const HEADER: usize = 4; // struct rtgenmsg, padded
    let mut message = NsidMessage::default();
    let fd = other.as_fd().as_raw_fd() as u32;
    message.attributes.push(NsidAttribute::Fd(fd));
    let answers = netlink
        .ask(RouteNetlinkMessage::GetNsId(message), 0)
        .map_err(|source| TopologyError::Netlink {
            operation: "ask for the number of a namespace",
            source,
        })?;
    let id = answers
        .iter()
        .find_map(|answer| attribute(answer.body.get(HEADER..)?, NETNSA_NSID))
        .and_then(|value| u32_at(value, 0))
        .map(|id| id as i32);
    Ok(id.filter(|&id| id >= 0)) // -1: it has none
}

/// An interface of the namespace that the socket's one knows by the number `id`, without its
/// addresses; also when nothing else leads to that namespace. Needs CAP_NET_ADMIN there.
pub(crate) fn link_there(
    netlink: &mut Netlink,
    id: i32,
    index: u32,
) -> Result<Option<Link>, NetlinkError> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let number = DefaultNla::new(IFLA_TARGET_NETNSID, id.to_ne_bytes().to_vec());
    message.attributes.push(LinkAttribute::Other(number));
    let answers = netlink.ask(RouteNetlinkMessage::GetLink(message), 0)?;
    Ok(answers
        .iter()
        .filter(|answer| answer.kind == libc::RTM_NEWLINK)
        .find_map(|answer| read_link(&answer.body)))
}
