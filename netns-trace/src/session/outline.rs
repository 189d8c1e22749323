//! What the reader of the records has to know of a plan: plain data. No namespace, which an open descriptor would keep
//! alive; so it can come from another process.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    plan::{Plan, PlannedTap},
    ways::WaySegment,
};
use crate::{
    capture::LinkType,
    netns::{Identity, NetNs},
    probe::Hook,
    topology::Role,
};

/// A plan, as its reader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outline {
    /// The taps, by number.
    pub(super) taps: Vec<OutlinedTap>,
    /// Whether some of the written taps are shared, so that records may have to wait.
    pub(super) holds: bool,
    /// Between which hooks times are recorded.
    pub(super) segments: Vec<WaySegment>,
    /// The targets: labels and inodes.
    pub(super) targets: Vec<(String, u64)>,
}

/// One of its taps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutlinedTap {
    /// Its number, which its records carry.
    pub(super) number: u32,
    /// What it is on the way.
    pub(super) role: Role,
    /// `eth0@web`.
    pub(super) label: String,
    /// Its interface, safe to print.
    pub(super) ifname: String,
    /// The namespace that it is in: its name for people, safe to print.
    pub(super) ns_label: String,
    /// The same, as the kernel numbers it.
    pub(super) inode: u64,
    /// What its interface's block in the file says of it.
    pub(super) description: String,
    /// How its packets start.
    pub(super) link_type: LinkType,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) addresses: Vec<IpAddr>,
    /// The hooks whose packets are written, and whether these leave the target.
    pub(super) written: Vec<(Hook, bool)>,
    /// The hooks whose word on a packet the records of shared taps wait for.
    pub(super) tells: Vec<Hook>,
    /// The namespace whose sockets are behind its packets, where that is one.
    pub(super) owner: Option<Owner>,
}

/// A namespace, as it can be entered again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
}

impl Outline {
    /// Of a plan, as it is now.
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            taps: plan.taps.iter().map(OutlinedTap::of).collect(),
            holds: plan.holds,
            segments: plan.ways.segments().to_vec(),
            targets: plan.targets.clone(),
        }
    }

    /// The taps whose packets go into the output.
    pub(super) fn written(&self) -> impl Iterator<Item = &OutlinedTap> {
        self.taps.iter().filter(|tap| !tap.written.is_empty())
    }

    /// The link types of the written taps, by their numbers in files.
    pub(super) fn link_types(&self) -> BTreeSet<u16> {
        self.written().map(|tap| tap.link_type.number()).collect()
    }

    /// The targets' own taps, with the inodes of their namespaces.
    pub(super) fn inside(&self) -> Vec<(u32, u64)> {
        let own = self.taps.iter().filter(|tap| tap.role == Role::Inside);
        own.map(|tap| (tap.number, tap.inode)).collect()
    }

    /// The hooks whose word on a packet the records of shared taps wait for.
    pub(super) fn tellers(&self) -> Vec<(u32, Hook)> {
        let of = |tap: &OutlinedTap| {
            let number = tap.number;
            let hooks = tap.tells.clone().into_iter();
            hooks.map(move |hook| (number, hook))
        };
        self.taps.iter().flat_map(of).collect()
    }
}

impl OutlinedTap {
    fn of(tap: &PlannedTap) -> Self {
        let site = &tap.site;
        Self {
            number: tap.number,
            role: site.role,
            label: site.to_string(),
            ifname: site.link.printable_name(),
            ns_label: site.ns_label.clone(),
            inode: site.ns.inode(),
            description: tap.description(),
            link_type: tap.link_type,
            mac: site.link.mac,
            addresses: (site.link.addresses.iter())
                .map(|(address, _)| *address)
                .collect(),
            written: (tap.written.iter())
                .map(|hook| (*hook, tap.is_leaving(*hook)))
                .collect(),
            tells: tap.tells(),
            owner: tap.owner.as_deref().map(Owner::of),
        }
    }

    /// `web/eth0`, as segments name their ends.
    pub(super) fn end_label(&self) -> String {
        format!("{}/{}", self.ns_label, self.ifname)
    }
}

impl Owner {
    fn of(ns: &NetNs) -> Self {
        Self {
            path: ns.path().to_owned(),
            identity: ns.identity().clone(),
        }
    }
}
