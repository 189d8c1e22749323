//! Which interfaces a capture taps, at which hooks, and what each tap is there for.
//!
//! Decides on plain data: what topology found and what the user asked for. Touches nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Result, bail, ensure};
use netns_trace_ebpf::{MAX_TAPS, TapConfig, feature, hook_index};

use super::{
    config::Direction,
    ways::{TargetTaps, Ways},
};
use crate::{
    capture::LinkType,
    filter::{Filter, FilterError, Insn, translate},
    netns::NetNs,
    probe::Hook,
    topology::{Link, LinkKind, PathMap, Role, Site},
};

/// A translated filter, which taps of one link type share.
pub(super) type FilterCode = Arc<Vec<Insn>>;

/// One tap: where it goes, and what for.
#[derive(Clone, Debug)]
pub(super) struct PlannedTap {
    /// Its number, which its records carry.
    pub number: u32,
    /// The interface.
    pub site: Site,
    /// Its hooks that are needed.
    pub hooks: Vec<Hook>,
    /// The hooks whose packets are written.
    pub written: Vec<Hook>,
    /// What its programs are specialised with.
    pub config: TapConfig,
    /// How its packets start.
    pub link_type: LinkType,
    /// The other end of its pair, where that is known.
    pub peer: Option<String>,
    /// The namespace whose sockets are behind its packets, where that is one.
    pub owner: Option<Arc<NetNs>>,
    /// The translated filter, where there is one.
    pub filter: Option<FilterCode>,
    /// Whether the run does without it when its interface goes before it is attached.
    pub optional: bool,
}

/// What taps are wanted for.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    /// Roles whose packets are written.
    pub written: BTreeSet<Role>,
    /// Roles between which times are recorded.
    pub timed: BTreeSet<Role>,
    /// Which packets are written, seen from the tap's interface.
    pub direction: Direction,
    /// Records after which the capture ends.
    pub count: Option<u64>,
    /// Most bytes of a packet.
    pub snaplen: u32,
    /// How long nothing must have passed a tap for a packet to be idle, in nanoseconds.
    pub idle_gap_ns: u64,
    /// Most segments that get a histogram.
    pub max_segments: usize,
    /// Whether the run does without taps whose interface goes before they are attached.
    pub optional: bool,
    /// Whether packets tell the sockets that sent them.
    pub sockets: bool,
    /// Bytes after which the reader of the ring is woken, a power of two; 0: at once.
    pub wake_bytes: u32,
    /// What is left out of packets while the ring is filling up.
    pub shed: Option<Shed>,
    /// One of so many packets is recorded.
    pub sample: u32,
}

/// With more bytes than `above` in the ring, records hold `len` bytes of a packet at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shed {
    pub above: u32,
    pub len: u32,
}

impl PlannedTap {
    /// Whether its packets go into the file.
    #[must_use]
    pub(super) fn is_written(&self) -> bool {
        !self.written.is_empty()
    }

    /// Whether the capture starts with it: it is written, or shared taps depend on its word. Had
    /// these nobody to tell them, they would take the target's first packets for others'.
    #[must_use]
    pub(super) fn is_first(&self) -> bool {
        self.is_written() || (self.site.role == Role::Inside && !self.tells().is_empty())
    }

    /// Its hooks whose word on a packet the records of shared taps wait for.
    #[must_use]
    pub(super) fn tells(&self) -> Vec<Hook> {
        let tells = |hook: &&Hook| self.config.features[hook.index() as usize] & feature::TELL != 0;
        self.hooks.iter().filter(tells).copied().collect()
    }

    /// Whether packets at a hook leave the target; otherwise they enter it.
    #[must_use]
    pub(super) fn is_leaving(&self, hook: Hook) -> bool {
        leaves(self.site.role, hook)
    }

    /// What its interface's block in the file says of it.
    #[must_use]
    pub(super) fn description(&self) -> String {
        let site = &self.site;
        format!(
            "{} of {}, network namespace inode {}, interface index {}{}",
            site.role,
            site.ns_label,
            site.ns.inode(),
            site.link.index,
            self.peer
                .as_ref()
                .map_or_else(String::new, |peer| format!(", peer {peer}"))
        )
    }
}

/// All taps of a capture, those that it starts with first, and what could not be had.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The taps, by number.
    pub taps: Vec<PlannedTap>,
    /// What might be expected and is not tapped, in sentences.
    pub missing: Vec<String>,
    /// Whether some of the written taps are shared, so that records may have to wait.
    pub holds: bool,
    /// Which hooks are neighbours, and between which of them times are recorded.
    pub ways: Ways,
    /// The targets: labels and inodes.
    pub targets: Vec<(String, u64)>,
}

impl Plan {
    /// Tells of a namespace what is known of it now: how it is called, and its interfaces, which may
    /// have been renamed and given addresses since the plan was made.
    #[must_use]
    pub(super) fn updated(mut self, inode: u64, label: &str, links: &[Link]) -> Self {
        let before: Vec<String> = self.taps.iter().map(|tap| tap.site.to_string()).collect();
        for site in self.taps.iter_mut().map(|tap| &mut tap.site) {
            if site.ns.inode() == inode {
                label.clone_into(&mut site.ns_label);
                let link = links.iter().find(|link| link.index == site.link.index);
                site.link = link.unwrap_or(&site.link).clone();
            }
        }
        let after: Vec<String> = self.taps.iter().map(|tap| tap.site.to_string()).collect();
        for peer in self.taps.iter_mut().filter_map(|tap| tap.peer.as_mut()) {
            if let Some(at) = before.iter().position(|site| site == peer) {
                peer.clone_from(&after[at]);
            }
        }
        for target in self.targets.iter_mut().filter(|target| target.1 == inode) {
            label.clone_into(&mut target.0);
        }
        self
    }

    /// Filters the packets of all taps.
    ///
    /// # Errors
    ///
    /// The filter is none, for the link type of one of the taps.
    pub(super) fn filtered(mut self, filter: &Filter, snaplen: u32) -> Result<Self, FilterError> {
        let mut compiled: Vec<(LinkType, FilterCode)> = Vec::new();
        for tap in &mut self.taps {
            let known = compiled
                .iter()
                .find(|(link_type, _)| *link_type == tap.link_type);
            let insns = match known {
                Some((_, insns)) => Arc::clone(insns),
                None => {
                    let program = filter.compile(tap.link_type.number(), snaplen)?;
                    let insns = Arc::new(translate(&program)?);
                    compiled.push((tap.link_type, Arc::clone(&insns)));
                    insns
                }
            };
            tap.filter = Some(insns);
        }
        Ok(self)
    }
}

fn leaves(role: Role, hook: Hook) -> bool {
    match role {
        Role::Inside | Role::Peer | Role::Uplink => hook == Hook::Egress,
        Role::Veth | Role::Bridge => hook == Hook::Ingress,
    }
}

const fn is_shared(role: Role) -> bool {
    matches!(role, Role::Bridge | Role::Uplink)
}

/// Plans the taps for these targets' paths.
///
/// # Errors
///
/// What was asked for cannot be written into one file, more segments than fit, or nothing is left to
/// do.
pub(super) fn plan(paths: &[PathMap], wishes: &Wishes) -> Result<Plan> {
    let mut missing = left_alone(paths);
    let sites = choose(paths, wishes, &mut missing);
    let holds = sites
        .iter()
        .any(|(site, written)| *written && is_shared(site.role));
    ensure!(
        sites.len() <= MAX_TAPS as usize,
        "{} taps are more than the {MAX_TAPS} that one run may have: name fewer targets or taps",
        sites.len()
    );
    let number = |site: &Option<Site>| {
        let site = site.as_ref()?;
        let at = sites.iter().position(|(other, _)| is_same(other, site))?;
        Some(at as u32)
    };
    let targets: Vec<TargetTaps> = paths
        .iter()
        .map(|path| TargetTaps {
            inside: number(&Some(path.inside.clone())),
            veth: number(&path.veth),
            bridge: number(&path.bridge),
            uplink: number(&path.uplink),
            outside: path.veth.as_ref().map(|site| site.ns.inode()),
            port_of: path.bridge.as_ref().map(|site| site.link.index),
        })
        .collect();
    let is_timed = |tap: u32| {
        let role = sites.get(tap as usize).map(|(site, _)| site.role);
        role.is_some_and(|role| wishes.timed.contains(&role))
    };
    let ways = within(Ways::find(&targets, is_timed), wishes)?;
    let hooks = sites.len() as u32 * 2;
    let features = ways.features();
    let mut taps = Vec::new();
    for (number, (site, written)) in sites.into_iter().enumerate() {
        let mut tap = tap(number as u32, site, written, holds, &features, wishes)?;
        tap.config.hooks = hooks;
        tap.peer = peer_of(&tap.site, paths);
        tap.owner = owner_of(&tap.site, paths);
        taps.push(tap);
    }
    let plan = Plan {
        taps,
        missing,
        holds,
        ways,
        targets: targets_of(paths),
    };
    if !wishes.written.is_empty() && !plan.taps.iter().any(PlannedTap::is_written) {
        bail!("there is nothing to capture: {}", plan.missing.join("; "));
    }
    Ok(plan)
}

/// What is not tapped since nobody has chosen an interface; of the host's, that may be hundreds.
fn left_alone(paths: &[PathMap]) -> Vec<String> {
    let some = paths.iter().filter(|path| !path.others.is_empty());
    some.filter(|path| !path.inside.ns.is_host())
        .map(|path| {
            let (label, others) = (&path.inside.ns_label, path.others.join(", "));
            format!("{label} has {others}, too, which is left alone (choose with -i, or -i any)")
        })
        .collect()
}

/// Labels and inodes of the targets, each once, however many of its interfaces are tapped.
fn targets_of(paths: &[PathMap]) -> Vec<(String, u64)> {
    let mut targets = Vec::new();
    for path in paths {
        let target = (path.inside.ns_label.clone(), path.inside.ns.inode());
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    targets
}

/// The interfaces that are tapped, each once, and whether their packets are written; those that the
/// run starts with first.
fn choose(paths: &[PathMap], wishes: &Wishes, missing: &mut Vec<String>) -> Vec<(Site, bool)> {
    let mut sites = Vec::new();
    let writes_inside = [Role::Inside, Role::Peer]
        .iter()
        .any(|role| wishes.written.contains(role));
    for path in paths {
        add(&mut sites, &path.inside, writes_inside);
    }
    for path in paths {
        for (role, site) in [
            (Role::Veth, &path.veth),
            (Role::Bridge, &path.bridge),
            (Role::Uplink, &path.uplink),
        ] {
            let written = wishes.written.contains(&role);
            if !written && !wishes.timed.contains(&role) {
                continue;
            }
            if let Some(site) = site {
                add(&mut sites, site, written);
            } else {
                let why = path.missing.iter().find(|missing| missing.role == role);
                let why = why.map_or("it was not found", |missing| missing.why.as_str());
                missing.push(format!("no {role} tap for {}: {why}", path.inside));
            }
        }
    }
    let holds = sites
        .iter()
        .any(|(site, written)| *written && is_shared(site.role));
    let timed = wishes.timed.contains(&Role::Inside);
    // An inside tap that is not written is needed to time its packets, and to tell the shared ones
    // what it sees.
    sites.retain(|(site, written)| *written || holds || timed || site.role != Role::Inside);
    // The targets' own taps stay ahead of the shared ones, which wait for their word.
    sites.sort_by_key(|(site, written)| !(*written || (holds && site.role == Role::Inside)));
    sites
}

/// Does with fewer segments where not all have room, and says so: those between targets are given up
/// first. What is done for the times alone is refused without any.
fn within(ways: Ways, wishes: &Wishes) -> Result<Ways> {
    let (wanted, most) = (ways.segments().len(), wishes.max_segments);
    if wanted <= most {
        return Ok(ways);
    }
    let own = ways.own_alone();
    let (left_out, ways) = match own.segments().len() {
        1.. if own.segments().len() <= most => ("between targets is", own),
        _ if !wishes.written.is_empty() => ("is", own.untimed()),
        _ => bail!(
            "{wanted} segments between these targets' taps are more than the {most} that have room: \
             name fewer targets or taps, or raise --max-segments (each takes 16 KiB for each CPU)"
        ),
    };
    eprintln!(
        "netns-trace: no latency {left_out} measured: {wanted} segments are more than the {most} that \
         have room (see --max-segments of `netns-trace latency`)"
    );
    Ok(ways)
}

fn is_same(a: &Site, b: &Site) -> bool {
    a.ns.is_same(&b.ns) && a.link.index == b.link.index
}

/// The other end of a site's pair, as far as the paths tell.
fn peer_of(site: &Site, paths: &[PathMap]) -> Option<String> {
    paths.iter().find_map(|path| {
        let veth = path.veth.as_ref()?;
        if is_same(site, &path.inside) {
            Some(veth.to_string())
        } else if is_same(site, veth) {
            Some(path.inside.to_string())
        } else {
            None
        }
    })
}

/// The target whose packets alone pass a site.
fn owner_of(site: &Site, paths: &[PathMap]) -> Option<Arc<NetNs>> {
    if matches!(site.role, Role::Inside | Role::Peer) {
        return Some(Arc::clone(&site.ns));
    }
    let is_its = |path: &&PathMap| {
        let veth = path.veth.as_ref();
        veth.is_some_and(|veth| is_same(site, veth))
    };
    let path = paths.iter().find(is_its)?;
    Some(Arc::clone(&path.inside.ns))
}

/// Adds a site once, however many paths lead through it; a target's own interface stays one.
fn add(sites: &mut Vec<(Site, bool)>, site: &Site, written: bool) {
    match sites.iter_mut().find(|(other, _)| is_same(other, site)) {
        Some((_, already)) => *already |= written,
        None => sites.push((site.clone(), written)),
    }
}

fn tap(
    number: u32,
    site: Site,
    written: bool,
    holds: bool,
    on_ways: &BTreeMap<u32, u32>,
    wishes: &Wishes,
) -> Result<PlannedTap> {
    let link_type = LinkType::from_arp_type(site.link.arp_type)
        .map_err(|why| anyhow::anyhow!("{site}: {why}"))?;
    let loopback = site.link.kind == LinkKind::Loopback;
    if loopback && wishes.direction == Direction::Out {
        bail!(
            "{site}: packets on a loopback interface are taken as they come in, so -Q out would show none"
        );
    }
    let mut features = [0; 2];
    let mut hooks = Vec::new();
    let mut written_hooks = Vec::new();
    for hook in Hook::BOTH {
        if loopback && hook == Hook::Egress {
            continue;
        }
        let bits = &mut features[hook_index(0, hook.index()) as usize];
        if written && wishes.direction.includes(hook) {
            *bits |= feature::EMIT;
            if wishes.count.is_some() && !holds {
                *bits |= feature::LIMIT;
            }
            // On the uplink it is gone: the packet was received and sent anew.
            if wishes.sockets && leaves(site.role, hook) && site.role != Role::Uplink {
                *bits |= feature::SOCKET;
            }
            written_hooks.push(hook);
        }
        let on_a_way = on_ways.get(&hook_index(number, hook.index()));
        if !loopback && (on_a_way.is_some() || is_shared(site.role)) {
            *bits |= feature::IDENTIFY | on_a_way.copied().unwrap_or(Ways::OFF_WAYS);
        }
        if !wishes.written.is_empty() {
            *bits |= feature::NUMBER;
        }
        if link_type == LinkType::Raw {
            *bits |= feature::RAW;
        }
        *bits |= match (is_shared(site.role), holds) {
            (true, _) if is_decided(site.role, hook) => feature::SHARED | feature::DECIDED,
            (true, _) => feature::SHARED,
            (false, true) => feature::TARGET | feature::TELL,
            (false, false) => feature::TARGET,
        };
        // Whose packets they are is not told at these.
        if is_shared(site.role) {
            *bits &= !feature::EXPECT;
        }
        if *bits & (feature::EMIT | feature::IDENTIFY) != 0 {
            hooks.push(hook);
        }
    }
    Ok(PlannedTap {
        number,
        hooks,
        written: written_hooks,
        link_type,
        peer: None,
        owner: None,
        filter: None,
        optional: wishes.optional,
        config: TapConfig {
            limit: wishes.count.unwrap_or(0),
            idle_gap_ns: wishes.idle_gap_ns,
            tap: number,
            snaplen: wishes.snaplen,
            features,
            wake_bytes: wishes.wake_bytes,
            shed_above: wishes.shed.map_or(0, |shed| shed.above),
            shed_len: wishes.shed.map_or(0, |shed| shed.len),
            sample: wishes.sample,
            ..TapConfig::default()
        },
        site,
    })
}

/// Whether the target's taps come before this hook of a shared tap.
fn is_decided(role: Role, hook: Hook) -> bool {
    match role {
        Role::Bridge => hook == Hook::Ingress,
        _ => hook == Hook::Egress,
    }
}
