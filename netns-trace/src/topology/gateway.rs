//! Where a namespace's packets go first: its default gateway, and the device that leads to an
//! address.

use std::net::IpAddr;

use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage},
};

use super::{
    TopologyError,
    link::read_default,
    netlink::{self, Answer, Netlink, attribute, u16_at, u32_at},
};
use crate::netns::NetNs;

/// The next hop of a default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    /// Its address; an IPv6 one for an IPv4 route too, where the route says so (`via inet6`).
    pub address: IpAddr,
    /// The device that leads to it, by its index in the namespace.
    pub index: u32,
}

/// The gateway of the default route with the best metric in the main table of `ns`: of IPv4 first,
/// of IPv6 where IPv4 has none; through the device `index` alone, where one is given. None where
/// there is no such route, or where it names a device without a gateway.
///
/// # Errors
/// When the namespace cannot be entered or the kernel refuses the list.
pub fn default_gateway(ns: &NetNs, index: Option<u32>) -> Result<Option<Gateway>, TopologyError> {
    ns.run(|| {
        let mut netlink = open()?;
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
            if let Some(gateway) = best(&answers, family as u8, index) {
                return Ok(Some(gateway));
            }
        }
        Ok(None)
    })?
}

/// The device by which the packets of `ns` go to an address, by its index; of a local address it
/// is that of `lo`. None where no route leads there.
///
/// # Errors
/// When the namespace cannot be entered or the kernel does not tell.
pub fn device_to(ns: &NetNs, address: IpAddr) -> Result<Option<u32>, TopologyError> {
    let mut message = RouteMessage::default();
    let (family, bits, to) = match address {
        IpAddr::V4(address) => (libc::AF_INET, 32, RouteAddress::Inet(address)),
        IpAddr::V6(address) => (libc::AF_INET6, 128, RouteAddress::Inet6(address)),
    };
    message.header.address_family = (family as u8).into();
    message.header.destination_prefix_length = bits;
    message.attributes.push(RouteAttribute::Destination(to));
    ns.run(
        || match open()?.ask(RouteNetlinkMessage::GetRoute(message), 0) {
            Ok(answers) => Ok(answers.iter().find_map(read_device)),
            Err(error) => match error.errno() {
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES) => {
                    Ok(None)
                }
                _ => Err(TopologyError::Netlink {
                    operation: "ask for a route",
                    source: error,
                }),
            },
        },
    )?
}

fn open() -> Result<Netlink, TopologyError> {
    Netlink::route().map_err(|e| TopologyError::Netlink {
        operation: "open a netlink socket",
        source: e.into(),
    })
}

fn best(answers: &[Answer], family: u8, index: Option<u32>) -> Option<Gateway> {
    answers
        .iter()
        .filter(|answer| answer.kind == libc::RTM_NEWROUTE)
        .filter_map(|answer| {
            let (metric, device) = read_default(&answer.body, family)?;
            let wanted = index.is_none_or(|index| index == device);
            let address = read_gateway(answer.body.get(12..)?)?;
            wanted.then_some((metric, device, address))
        })
        .min()
        .map(|(_, index, address)| Gateway { address, index })
}

/// The gateway among a route's attributes; of several next hops, the first one's.
fn read_gateway(attributes: &[u8]) -> Option<IpAddr> {
    /// struct rtnexthop; include/uapi/linux/rtnetlink.h.
    const NEXT_HOP: usize = 8;
    if let Some(hops) = attribute(attributes, libc::RTA_MULTIPATH) {
        let length = usize::from(u16_at(hops, 0)?);
        return read_gateway_of(hops.get(NEXT_HOP..length)?);
    }
    read_gateway_of(attributes)
}

pub(crate) fn read_gateway_of(attributes: &[u8]) -> Option<IpAddr> {
    let value = attribute(attributes, libc::RTA_GATEWAY)
        // struct rtvia: the family, then the address.
        .or_else(|| attribute(attributes, libc::RTA_VIA)?.get(2..))?;
    netlink::address(value)
}

fn read_device(answer: &Answer) -> Option<u32> {
    if answer.kind != libc::RTM_NEWROUTE {
        return None;
    }
    let kind = *answer.body.get(7)?;
    let leads = kind == libc::RTN_UNICAST || kind == libc::RTN_LOCAL;
    let device = attribute(answer.body.get(12..)?, libc::RTA_OIF)?;
    leads.then(|| u32_at(device, 0)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::netlink::write_attribute as attr;

    fn route(attributes: &[Vec<u8>]) -> Answer {
        let mut body = vec![2, 0, 0, 0, 254, 0, 0, libc::RTN_UNICAST, 0, 0, 0, 0];
        body.extend(attributes.concat());
        Answer {
            kind: libc::RTM_NEWROUTE,
            body,
        }
    }

    fn via(last: u8, index: u32, metric: u32) -> Answer {
        route(&[
            attr(libc::RTA_GATEWAY, &[10, 0, 0, last]),
            attr(libc::RTA_OIF, &index.to_ne_bytes()),
            attr(libc::RTA_PRIORITY, &metric.to_ne_bytes()),
        ])
    }

    #[test]
    fn the_best_default_route_with_a_gateway() {
        let bare = route(&[attr(libc::RTA_OIF, &7_u32.to_ne_bytes())]);
        let routes = [via(1, 2, 200), bare, via(9, 3, 100)];
        let found = |index| {
            best(&routes, 2, index).map(|hop: Gateway| (hop.address.to_string(), hop.index))
        };
        assert_eq!(found(None), Some(("10.0.0.9".to_owned(), 3)));
        assert_eq!(found(Some(2)), Some(("10.0.0.1".to_owned(), 2)));
        assert_eq!(found(Some(7)), None, "no gateway there");
        assert_eq!(best(&routes, 10, None), None);
    }

    #[test]
    fn gateways_in_their_other_forms() {
        let mut hop = vec![0, 0, 0, 0];
        hop.extend(5_u32.to_ne_bytes());
        hop.extend(attr(libc::RTA_GATEWAY, &[10, 0, 0, 4]));
        hop[..2].copy_from_slice(&16_u16.to_ne_bytes());
        let several = route(&[attr(libc::RTA_MULTIPATH, &hop)]);
        let address = |answer| best(&[answer], 2, None).map(|hop| hop.address.to_string());
        assert_eq!(address(several).as_deref(), Some("10.0.0.4"));
        let mut value = 10_u16.to_ne_bytes().to_vec();
        value.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let oif = attr(libc::RTA_OIF, &2_u32.to_ne_bytes());
        let six = route(&[attr(libc::RTA_VIA, &value), oif]);
        assert_eq!(address(six).as_deref(), Some("fe80::1"));
    }

    #[test]
    fn cut_messages_have_no_gateway() {
        let whole = via(1, 2, 3).body;
        for end in 0..whole.len() {
            let answer = Answer {
                kind: libc::RTM_NEWROUTE,
                body: whole[..end].to_vec(),
            };
            let found = best(std::slice::from_ref(&answer), 2, None);
            // Header, gateway and device have to be there.
            assert_eq!(found.is_some(), end >= 28, "{end} bytes");
            assert_eq!(read_device(&answer).is_some(), end >= 28, "{end} bytes");
        }
    }
}
