//! Making interfaces, addresses and routes through netlink, in the calling thread's namespace.

use std::{
    fs, io,
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{
        InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    },
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use super::{Cidr, LabError};
use crate::topology::{NetlinkError, netlink::Netlink, netlink::u32_at};

pub(super) struct Wire(Netlink);

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// How long the kernel may take to notice that an interface has a carrier: a moment, as a rule;
/// its link watch may put it off by a second.
const CARRIER: Duration = Duration::from_secs(3);

impl Wire {
    pub(super) fn here() -> Result<Self, LabError> {
        let socket = Netlink::route().map_err(|e| LabError::io("open a netlink socket", e))?;
        Ok(Self(socket))
    }

    /// A bridge, set up. Without multicast snooping, for which the kernel would send reports of its
    /// own, seconds later: what is seen in a lab is what somebody sends there.
    pub(super) fn bridge(&mut self, name: &str) -> Result<(), LabError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
            ]),
        ];
        let made = self.0.ask(RouteNetlinkMessage::NewLink(message), NEW);
        made.map_err(|e| refused(format!("make the bridge {name:?}"), e))?;
        self.set_up(name)
    }

    /// A veth pair: one end here, the other in `peer_ns`.
    pub(super) fn veth(
        &mut self,
        name: &str,
        peer: &str,
        peer_ns: BorrowedFd<'_>,
    ) -> Result<(), LabError> {
        let mut other = LinkMessage::default();
        other.attributes = vec![
            LinkAttribute::IfName(peer.into()),
            LinkAttribute::NetNsFd(peer_ns.as_raw_fd()),
        ];
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
            ]),
        ];
        let made = self.0.ask(RouteNetlinkMessage::NewLink(message), NEW);
        made.map_err(|e| refused(format!("make the veth pair {name:?} and {peer:?}"), e))?;
        Ok(())
    }

    pub(super) fn set_up(&mut self, name: &str) -> Result<(), LabError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(name)?;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        let set = self.0.ask(RouteNetlinkMessage::SetLink(message), 0);
        set.map_err(|e| refused(format!("set the interface {name:?} up"), e))?;
        Ok(())
    }

    /// Makes an interface a port of a bridge.
    pub(super) fn set_master(&mut self, name: &str, bridge: &str) -> Result<(), LabError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index(name)?;
        message.attributes = vec![LinkAttribute::Controller(self.index(bridge)?)];
        let set = self.0.ask(RouteNetlinkMessage::SetLink(message), 0);
        set.map_err(|e| refused(format!("make {name:?} a port of {bridge:?}"), e))?;
        Ok(())
    }

    /// Removes an interface, and with it the other end of a pair; false when it is not there.
    pub(super) fn delete(&mut self, name: &str) -> Result<bool, LabError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.into())];
        match self.0.ask(RouteNetlinkMessage::DelLink(message), 0) {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(refused(format!("remove the interface {name:?}"), error)),
        }
    }

    /// Gives an interface an address, usable at once: without duplicate address detection.
    pub(super) fn address(&mut self, name: &str, cidr: Cidr) -> Result<(), LabError> {
        if cidr.address.is_ipv6() && !has_ipv6() {
            return Ok(());
        }
        let mut message = AddressMessage::default();
        message.header.family = family(cidr.address);
        message.header.prefix_len = cidr.prefix;
        message.header.index = self.index(name)?;
        message.attributes = vec![
            AddressAttribute::Local(cidr.address),
            AddressAttribute::Address(cidr.address),
        ];
        if cidr.address.is_ipv6() {
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let given = self.0.ask(RouteNetlinkMessage::NewAddress(message), NEW);
        given.map_err(|e| refused(format!("give {name:?} the address {cidr}"), e))?;
        Ok(())
    }

    /// A route to `destination` (`None` for all) by way of `gateway`.
    pub(super) fn route(
        &mut self,
        destination: Option<Cidr>,
        gateway: IpAddr,
    ) -> Result<(), LabError> {
        if gateway.is_ipv6() && !has_ipv6() {
            return Ok(());
        }
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(gateway),
            destination_prefix_length: destination.map_or(0, |cidr| cidr.prefix),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes = vec![RouteAttribute::Gateway(gateway.into())];
        if let Some(cidr) = destination {
            let network = RouteAttribute::Destination(network(cidr).into());
            message.attributes.push(network);
        }
        let made = self.0.ask(RouteNetlinkMessage::NewRoute(message), NEW);
        made.map_err(|e| refused(format!("make a route by way of {gateway}"), e))?;
        Ok(())
    }

    /// Waits until an interface that is set up passes packets: until the kernel has noticed the
    /// carrier, in its own time, what is sent is dropped. One that never has any is no error.
    pub(super) fn wait_until_running(&mut self, name: &str) -> Result<(), LabError> {
        let end = Instant::now() + CARRIER;
        while self.link_word(name, 8)? & libc::IFF_RUNNING as u32 == 0 {
            if Instant::now() >= end {
                log::warn!("the interface {name} has no carrier");
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn index(&mut self, name: &str) -> Result<u32, LabError> {
        self.link_word(name, 4)
    }

    /// A word of the `struct ifinfomsg` that describes an interface: its index is at 4, its flags
    /// are at 8.
    fn link_word(&mut self, name: &str, at: usize) -> Result<u32, LabError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.into())];
        let answers = self.0.ask(RouteNetlinkMessage::GetLink(message), 0);
        let answers = answers.map_err(|e| refused(format!("find the interface {name:?}"), e))?;
        let word = answers.first().and_then(|answer| u32_at(&answer.body, at));
        word.ok_or_else(|| {
            let odd = io::Error::from(io::ErrorKind::InvalidData);
            LabError::io(format!("find the interface {name:?}"), odd)
        })
    }
}

/// The settings of a namespace, before it has interfaces, which take them over.
pub(super) fn settings(forward: bool) -> Result<(), LabError> {
    let forward = if forward { "1" } else { "0" };
    set("ipv4/ip_forward", forward)?;
    // The paths of a ring may differ by direction; the initial namespace's values are inherited.
    set("ipv4/conf/all/rp_filter", "0")?;
    set("ipv4/conf/default/rp_filter", "0")?;
    if has_ipv6() {
        for scope in ["all", "default"] {
            set(&format!("ipv6/conf/{scope}/disable_ipv6"), "0")?;
            set(&format!("ipv6/conf/{scope}/forwarding"), forward)?;
            // Link-local addresses come by themselves, and are to be usable at once as well.
            set(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
        }
    }
    Ok(())
}

/// Whether the kernel has IPv6 at all.
fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

fn set(name: &str, value: &str) -> Result<(), LabError> {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).map_err(|e| LabError::io(format!("write {value} to {path}"), e))
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// The address without its host bits.
pub(super) fn network(cidr: Cidr) -> IpAddr {
    let host = |bits: u32| bits - u32::from(cidr.prefix);
    match cidr.address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(host(32)).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(host(128)).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

pub(super) fn refused(operation: String, error: NetlinkError) -> LabError {
    match error.errno() {
        Some(libc::EPERM | libc::EACCES) => LabError::denied(operation),
        _ => LabError::Step {
            operation,
            source: error.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cut_off() {
        for (cidr, expected) in [
            ("10.77.0.9/30", "10.77.0.8"),
            ("10.77.0.9/0", "0.0.0.0"),
            ("10.77.0.9/32", "10.77.0.9"),
            ("fd00::2:1/112", "fd00::2:0"),
            ("fd00::1/0", "::"),
        ] {
            let cidr: Cidr = cidr.parse().expect("an address");
            assert_eq!(network(cidr).to_string(), expected, "{cidr}");
        }
    }
}
