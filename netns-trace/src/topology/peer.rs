//! The other end of a pair, in whatever namespace it is. The kernel names it by an index and by
//! a number that the asking namespace gave the other one; both mean nothing by themselves.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};

use super::{
    TopologyError,
    link::{Link, LinkKind, links},
    netlink::{Netlink, attribute, u32_at},
    path::{Found, Role, Site, article},
};
use crate::netns::{Candidates, NetNs, label_of};

/// The other end of the pair, with all interfaces of its namespace.
pub(super) fn find_peer(
    inside: &Site,
    inside_links: Vec<Link>,
) -> Result<Found<(Site, Vec<Link>)>, TopologyError> {
    let link = &inside.link;
    let name = link.printable_name();
    if !link.kind.is_pair() {
        return Ok(Err(match &link.kind {
            LinkKind::Loopback => format!("{name} is the loopback device: it has no host side"),
            LinkKind::Physical => format!("{name} is a device of the machine: it has no host side"),
            kind => format!(
                "{name} is {} {kind} device: it has no host side",
                article(kind)
            ),
        }));
    }
    let Some(peer_index) = link.peer_index.filter(|&index| index != 0) else {
        return Ok(Err(format!("{name} has lost the other end of its pair")));
    };
    let (ns, label, outside) = match link.peer_netnsid {
        None => (
            Arc::clone(&inside.ns),
            inside.ns_label.clone(),
            inside_links,
        ),
        Some(id) => match find_namespace(&inside.ns, id)? {
            Ok(ns) => {
                let outside = links(&ns)?;
                let label = label_of(&ns);
                (Arc::new(ns), label, outside)
            }
            Err(why) => {
                return Ok(Err(format!(
                    "the other end of {name} is in a namespace that cannot be found: {why}"
                )));
            }
        },
    };
    // The pair may have been taken apart since we asked, and its index given to another device.
    let peer = outside.iter().find(|other| {
        other.index == peer_index && other.kind.is_pair() && other.peer_index == Some(link.index)
    });
    let Some(peer) = peer else {
        return Ok(Err(format!(
            "the other end of {name} changed while we looked for it"
        )));
    };
    if peer.peer_netnsid != nsid_of(&ns, &inside.ns)? {
        return Ok(Err(format!(
            "the other end of {name} leads to another namespace now"
        )));
    }
    let site = Site {
        role: Role::Veth,
        ns,
        ns_label: label,
        link: peer.clone(),
    };
    Ok(Ok((site, outside)))
}

/// The namespace that `inside` knows by the number `id`.
///
/// Such numbers are only asked for the other way round: RTM_GETNSID tells the number of a
/// namespace that we can open, so all that we can open are asked for; our own and the initial
/// one first, which is where the other end nearly always is.
fn find_namespace(inside: &NetNs, id: i32) -> Result<Found<NetNs>, TopologyError> {
    if id < 0 {
        return Ok(Err("it has no number here".into()));
    }
    for usual in [NetNs::current(), NetNs::host()].into_iter().flatten() {
        if !usual.is_same(inside) && nsid_of(inside, &usual)? == Some(id) {
            return Ok(Ok(usual));
        }
    }
    let mut candidates = Candidates::new();
    let found = inside.run(|| -> Result<Option<NetNs>, TopologyError> {
        let mut netlink = open_netlink()?;
        for (path, _) in candidates.by_ref() {
            // It may have ended since it was listed.
            if let Ok(candidate) = NetNs::open_plain(&path)
                && nsid(&mut netlink, &candidate)? == Some(id)
            {
                return Ok(reopen_with_identity(&path, &candidate));
            }
        }
        Ok(None)
    })??;
    Ok(found.ok_or_else(|| {
        if candidates.denied {
            "some processes may not be looked at; CAP_SYS_PTRACE is missing (run as root)".into()
        } else {
            "no name, process or mount leads to it".into()
        }
    }))
}

/// The namespaces that `inside` knows by these numbers, each handed to `found` with its number; a
/// number that none is found for is left out. Each is open only while `found` looks at it.
///
/// # Errors
/// When a namespace cannot be entered or the kernel does not tell the numbers.
pub(crate) fn each_namespace(
    inside: &NetNs,
    mut ids: BTreeSet<i32>,
    mut found: impl FnMut(i32, &NetNs),
) -> Result<(), TopologyError> {
    ids.retain(|&id| id >= 0);
    let usual = [NetNs::current(), NetNs::host()].into_iter().flatten();
    for ns in usual {
        if let Some(id) = nsid_of(inside, &ns)?
            && ids.remove(&id)
        {
            found(id, &ns);
        }
    }
    // Numbers first, on one thread; what is done with the namespaces needs threads of its own.
    let mut paths: Vec<(i32, PathBuf, u64)> = Vec::new();
    inside.run(|| -> Result<(), TopologyError> {
        let mut netlink = open_netlink()?;
        let mut candidates = Candidates::new();
        while !ids.is_empty() {
            let Some((path, inode)) = candidates.next() else {
                break;
            };
            if let Ok(candidate) = NetNs::open_plain(&path)
                && let Some(id) = nsid(&mut netlink, &candidate)?
                && ids.remove(&id)
            {
                paths.push((id, path, inode));
            }
        }
        Ok(())
    })??;
    for (id, path, inode) in paths {
        if let Ok(ns) = NetNs::open(&path)
            && ns.inode() == inode
        {
            found(id, &ns);
        }
    }
    Ok(())
}

fn reopen_with_identity(path: &Path, candidate: &NetNs) -> Option<NetNs> {
    NetNs::open(path).ok().filter(|ns| ns.is_same(candidate))
}

/// The number by which `inside` knows `other`; `None` for itself, and when it knows it not.
fn nsid_of(inside: &NetNs, other: &NetNs) -> Result<Option<i32>, TopologyError> {
    if inside.is_same(other) {
        return Ok(None);
    }
    inside.run(|| nsid(&mut open_netlink()?, other))?
}

fn open_netlink() -> Result<Netlink, TopologyError> {
    Netlink::route().map_err(|error| TopologyError::Netlink {
        operation: "open a netlink socket",
        source: error.into(),
    })
}

fn nsid(netlink: &mut Netlink, other: &NetNs) -> Result<Option<i32>, TopologyError> {
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
