//! Who is in a namespace: its containers, and what is to be said of them.

use std::collections::HashMap;

use super::names;
use crate::{
    container::{Container, Containers, Network, State},
    netns::{NetNs, inode_of_process},
};

/// Most containers that a note names.
const MOST_NAMED: usize = 5;

/// The inode of the namespace that a container's first process is in.
pub(super) fn inode(container: &Container) -> Option<u64> {
    inode_of_process(container.pid?)
}

/// The containers that run, by the inode of their namespace.
pub(super) fn by_inode(containers: &Containers) -> HashMap<u64, Vec<&Container>> {
    let mut members: HashMap<u64, Vec<&Container>> = HashMap::new();
    for container in containers.iter() {
        if let Some(inode) = inode(container) {
            members.entry(inode).or_default().push(container);
        }
    }
    members
}

/// The container that a namespace is called after: the one that has it of its own.
pub(super) fn owner<'a>(members: &[&'a Container]) -> Option<&'a Container> {
    let rank = |container: &Container| match (&container.pod, &container.network) {
        (Some(pod), _) if pod.sandbox => 0,
        (_, Network::Own | Network::None) => 1,
        _ => 2,
    };
    members
        .iter()
        .copied()
        .min_by_key(|container| (rank(container), &container.key))
}

/// What is to be said of a container whose namespace is taken.
pub(super) fn notes(container: &Container, ns: &NetNs, containers: &Containers) -> Vec<String> {
    let mut notes = Vec::new();
    let spoken = names::spoken(container);
    if container.state == State::Paused {
        notes.push(format!("{spoken} is paused"));
    }
    if ns.is_host() {
        notes.push(format!("{spoken} uses the host's network"));
        return notes;
    }
    let is_other = |other: &&Container| {
        other.key != container.key
            && !names::is_same_pod(other, container)
            && inode(other) == Some(ns.inode())
    };
    let others: Vec<String> = containers
        .iter()
        .filter(is_other)
        .map(Container::label)
        .collect();
    if !others.is_empty() {
        let more = match others.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = &others[..others.len().min(MOST_NAMED)];
        notes.push(format!(
            "{spoken} shares its network with {}{more}",
            named.join(", ")
        ));
    }
    notes
}
