//! Interfaces and how they hang together: from a container's `eth0` to its host side, the bridge
//! and the uplink. Everything is asked of the kernel through netlink, on threads that are in the
//! namespace meant; an interface index is never used without its namespace. This module knows
//! nothing of names for targets, and changes nothing.

mod error;
mod gateway;
pub(crate) mod link;
pub(crate) mod netlink;
pub(crate) mod news;
mod nsid;
mod path;
mod peer;

pub use self::{
    error::TopologyError,
    gateway::{Gateway, default_gateway, device_to},
    link::{Link, LinkKind, links},
    netlink::NetlinkError,
    path::{Missing, PathMap, Role, Site, Survey, discover},
};
pub(crate) use self::{
    gateway::read_gateway_of,
    link::{links_here, read_link},
    nsid::{link_there, nsid},
    peer::each_namespace,
};
