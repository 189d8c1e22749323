//! Where the other ends of a namespace's interfaces are: of pairs, and of devices that sit on
//! others, in whatever namespaces they may be. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::links::{Details, Interface, Port, details_here, master};
use crate::{
    netns::NetNs,
    privilege::{Capability, lacking},
    target::Resolver,
    topology::{each_namespace, netlink::Netlink},
};

/// The other end of a pair, or the device that another one sits on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name there. Not safe to print.
    pub name: String,
    /// Its namespace's name for people, safe to print.
    pub namespace: String,
    /// Its namespace's inode.
    pub inode: u64,
    /// Whether it can pass packets.
    pub state: &'static str,
    /// The bridge, or other device, that it is a port of.
    pub master: Option<String>,
    /// How it is a port of its bridge.
    pub port: Option<Port>,
}

/// Finds the other ends of pairs, and the devices below others, in whatever namespaces they are.
/// What cannot be found is told in the sentences.
pub(super) fn find_peers(
    ns: &NetNs,
    label: &str,
    all: &[Details],
    interfaces: &mut [Interface],
    resolver: &Resolver,
) -> Vec<String> {
    let joined = |details: &&Details| {
        let index = details.link.peer_index;
        index.is_some_and(|index| index != 0 && index != details.link.index)
            || details.link.peer_netnsid.is_some()
    };
    // By number of the namespace, which is none for this one: which interface asks for which index.
    let mut wanted: BTreeMap<Option<i32>, Vec<(&Details, u32)>> = BTreeMap::new();
    for details in all.iter().filter(joined) {
        let index = details.link.peer_index.unwrap_or(0);
        wanted
            .entry(details.link.peer_netnsid)
            .or_default()
            .push((details, index));
    }
    let mut found: BTreeMap<u32, Peer> = BTreeMap::new();
    let mut take = |id: Option<i32>, there: &[Details], label: &str, inode: u64| {
        for (details, index) in wanted.get(&id).into_iter().flatten() {
            let peer = there.iter().find(|other| {
                // An index may have been given to another device since we asked.
                other.link.index == *index
                    && (!details.link.kind.is_pair()
                        || other.link.peer_index == Some(details.link.index))
            });
            if let Some(peer) = peer {
                found.insert(details.link.index, self::peer(peer, there, label, inode));
            }
        }
    };
    take(None, all, label, ns.inode());
    let ids: BTreeSet<i32> = wanted.keys().copied().flatten().collect();
    let mut sentences = Vec::new();
    let looked = each_namespace(ns, ids, |id, other| {
        let there = other.run(|| details_here(&mut Netlink::route()?));
        if let Ok(Ok(there)) = there {
            take(Some(id), &there, &resolver.label(other), other.inode());
        }
    });
    if let Err(why) = looked {
        sentences.push(format!(
            "the other ends of pairs cannot be looked for: {why}"
        ));
    }
    let mut lost: Vec<String> = Vec::new();
    for (interface, details) in interfaces.iter_mut().zip(all) {
        interface.peer = found.remove(&interface.index);
        let is_pair = details.link.kind.is_pair();
        if interface.peer.is_none() && is_pair {
            lost.push(details.link.printable_name());
        }
    }
    if !lost.is_empty() {
        let unknown = || "no name, process or mount leads to their namespaces".to_owned();
        let why = lacking(&[Capability::SysPtrace]).unwrap_or_else(unknown);
        sentences.push(format!(
            "the other ends of pairs cannot be found of {}: {why}",
            lost.join(", ")
        ));
    }
    sentences
}

fn peer(details: &Details, all: &[Details], namespace: &str, inode: u64) -> Peer {
    Peer {
        index: details.link.index,
        name: details.link.name.clone(),
        namespace: namespace.to_owned(),
        inode,
        state: details.state,
        master: master(&details.link, all),
        port: details.port.clone(),
    }
}
