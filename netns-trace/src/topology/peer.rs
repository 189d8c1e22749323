//! The other end of a pair, in whatever namespace it is. The kernel names it by an index and by
//! a number that the asking namespace gave the other one; both mean nothing by themselves.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use super::{
    TopologyError,
    link::{Link, LinkKind, links},
    nsid::{nsid, open_netlink},
    path::{Found, Outside, Role, Site, article},
};
use crate::{
    netns::{Candidates, NetNs, label_of},
    privilege::{Capability, why_denied},
};

/// The other end of the pair, with all interfaces of its namespace. `known` are namespaces that others'
/// ends are in.
pub(super) fn find_peer(
    inside: &Site,
    inside_links: Vec<Link>,
    known: &mut Vec<Outside>,
) -> Result<Found<(Site, Outside)>, TopologyError> {
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
    // The pair may have been taken apart since we asked, and its index given to another device.
    let is_peer = |other: &&Link| {
        other.index == peer_index && other.kind.is_pair() && other.peer_index == Some(link.index)
    };
    let outside = match link.peer_netnsid {
        None => Outside {
            ns: Arc::clone(&inside.ns),
            label: inside.ns_label.clone(),
            links: Arc::new(inside_links),
        },
        Some(id) => match find_outside(&inside.ns, id, is_peer, known)? {
            Ok(outside) => outside,
            Err(why) => {
                return Ok(Err(format!(
                    "the other end of {name} is in a namespace that cannot be found: {why}"
                )));
            }
        },
    };
    let Some(peer) = outside.links.iter().find(is_peer) else {
        return Ok(Err(format!(
            "the other end of {name} changed while we looked for it"
        )));
    };
    if peer.peer_netnsid != nsid_of(&outside.ns, &inside.ns)? {
        return Ok(Err(format!(
            "the other end of {name} leads to another namespace now"
        )));
    }
    let site = Site {
        role: Role::Veth,
        ns: Arc::clone(&outside.ns),
        ns_label: outside.label.clone(),
        link: peer.clone(),
    };
    Ok(Ok((site, outside)))
}

/// The namespace that `inside` knows by the number `id`: a known one, where `is_peer` finds what it
/// should, or else one that is known from then on.
fn find_outside(
    inside: &NetNs,
    id: i32,
    is_peer: impl Fn(&&Link) -> bool,
    known: &mut Vec<Outside>,
) -> Result<Found<Outside>, TopologyError> {
    for outside in known.iter_mut() {
        if nsid_of(inside, &outside.ns)? == Some(id) {
            // What was listed before may be older than the pair.
            if !outside.links.iter().any(|link| is_peer(&link)) {
                outside.links = Arc::new(links(&outside.ns)?);
            }
            return Ok(Ok(outside.clone()));
        }
    }
    let ns = match find_namespace(inside, id)? {
        Ok(ns) => ns,
        Err(why) => return Ok(Err(why)),
    };
    let outside = Outside {
        label: label_of(&ns),
        links: Arc::new(links(&ns)?),
        ns: Arc::new(ns),
    };
    known.push(outside.clone());
    Ok(Ok(outside))
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
    let mut found = None;
    let denied = each_namespace(inside, BTreeSet::from([id]), |_, ns| {
        found = Some(ns.try_clone());
    })?;
    match found {
        Some(ns) => Ok(Ok(ns?)),
        None if denied => Ok(Err(format!(
            "some processes may not be looked at; {}",
            why_denied(&[Capability::SysPtrace])
        ))),
        None => Ok(Err("no name, process or mount leads to it".into())),
    }
}

/// The namespaces that `inside` knows by these numbers, each handed to `found` with its number; a
/// number that none is found for is left out. None stays open afterwards. Tells
/// whether there were processes that may not be looked at.
///
/// # Errors
/// When a namespace cannot be entered or the kernel does not tell the numbers.
pub(crate) fn each_namespace(
    inside: &NetNs,
    mut ids: BTreeSet<i32>,
    mut found: impl FnMut(i32, &NetNs),
) -> Result<bool, TopologyError> {
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
    let mut there: Vec<(i32, PathBuf, NetNs)> = Vec::new();
    let mut candidates = Candidates::new();
    inside.run(|| -> Result<(), TopologyError> {
        let mut netlink = open_netlink()?;
        while !ids.is_empty() {
            let Some((path, _)) = candidates.next() else {
                break;
            };
            if let Ok(candidate) = NetNs::open_plain(&path)
                && let Some(id) = nsid(&mut netlink, &candidate)?
                && ids.remove(&id)
            {
                there.push((id, path, candidate));
            }
        }
        Ok(())
    })??;
    for (id, path, candidate) in there {
        // The candidate is held open: its inode cannot have been handed out again.
        if let Ok(ns) = NetNs::open(&path)
            && ns.is_same(&candidate)
        {
            found(id, &ns);
        }
    }
    Ok(candidates.denied)
}

/// The number by which `inside` knows `other`; `None` for itself, and when it knows it not.
fn nsid_of(inside: &NetNs, other: &NetNs) -> Result<Option<i32>, TopologyError> {
    if inside.is_same(other) {
        return Ok(None);
    }
    inside.run(|| nsid(&mut open_netlink()?, other))?
}
