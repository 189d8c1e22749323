//! Which interfaces a capture taps, at which hooks, and what each tap is there for.
//!
//! Decides on plain data: what topology found and what the user asked for. Touches nothing.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use netns_trace_ebpf::{MAX_TAPS, TapConfig, feature, hook_index, place};

use super::config::{CaptureConfig, Direction};
use crate::{
    capture::LinkType,
    probe::Hook,
    topology::{LinkKind, PathMap, Role, Site},
};

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
        let tells = |features: &u32| features & feature::TELL != 0;
        self.is_written()
            || (self.site.role == Role::Inside && self.config.features.iter().any(tells))
    }

    /// Whether packets at a hook leave the target; otherwise they enter it.
    #[must_use]
    pub(super) fn is_leaving(&self, hook: Hook) -> bool {
        let place = self.config.place[hook.index() as usize];
        matches!(
            place,
            place::INSIDE_OUT | place::VETH_UP | place::BRIDGE_UP | place::UPLINK_OUT
        ) && !(self.site.role == Role::Uplink && hook == Hook::Ingress)
    }

    /// What its interface's block in the file says of it.
    #[must_use]
    pub(super) fn description(&self) -> String {
        let site = &self.site;
        format!(
            "{} of {}, network namespace inode {}, interface index {}",
            site.role,
            site.ns_label,
            site.ns.inode(),
            site.link.index
        )
    }
}

/// All taps of a capture, those that it starts with first, and what could not be had.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The taps, by number.
    pub taps: Vec<PlannedTap>,
    /// What was asked for and is not there, in sentences.
    pub missing: Vec<String>,
    /// Whether some of the written taps are shared, so that records may have to wait.
    pub holds: bool,
}

impl Plan {
    /// The hooks whose word on a packet the records of shared taps wait for.
    pub(crate) fn tellers(&self) -> Vec<(u32, Hook)> {
        let tells = |tap: &PlannedTap, hook: &Hook| {
            tap.config.features[hook.index() as usize] & feature::TELL != 0
        };
        self.taps
            .iter()
            .flat_map(|tap| {
                let hooks = tap.hooks.iter().filter(move |hook| tells(tap, hook));
                hooks.map(|hook| (tap.number, *hook))
            })
            .collect()
    }
}

const fn is_shared(role: Role) -> bool {
    matches!(role, Role::Bridge | Role::Uplink)
}

/// Plans the taps for these targets' paths.
///
/// # Errors
///
/// What was asked for cannot be written into one file, or nothing is left to capture.
pub(super) fn plan(paths: &[PathMap], config: &CaptureConfig) -> Result<Plan> {
    let mut sites: Vec<(Site, bool)> = Vec::new();
    let mut missing = Vec::new();
    for path in paths {
        add(&mut sites, &path.inside, wants_inside(config));
    }
    for path in paths {
        for (role, site) in [
            (Role::Veth, &path.veth),
            (Role::Bridge, &path.bridge),
            (Role::Uplink, &path.uplink),
        ] {
            let written = config.taps.contains(&role);
            if let Some(site) = site {
                if written || (role == Role::Veth && config.latency) {
                    add(&mut sites, site, written);
                }
            } else if written || (role == Role::Veth && config.latency) {
                let why = path.missing.iter().find(|missing| missing.role == role);
                let why = why.map_or("it was not found", |missing| missing.why.as_str());
                missing.push(format!("no {role} tap for {}: {why}", path.inside));
            }
        }
    }
    let holds = sites
        .iter()
        .any(|(site, written)| *written && is_shared(site.role));
    let many = sites.iter().filter(|(_, written)| *written).count() > 1;
    // An inside tap that is not written is needed only to tell the shared ones what it sees.
    sites.retain(|(site, written)| *written || holds || site.role != Role::Inside);
    // The targets' own taps stay ahead of the shared ones, which wait for their word.
    sites.sort_by_key(|(site, written)| !(*written || (holds && site.role == Role::Inside)));
    ensure!(
        sites.len() <= MAX_TAPS as usize,
        "{} taps are more than the {MAX_TAPS} that one capture may have: name fewer targets or taps",
        sites.len()
    );
    let identify = many || holds || config.latency;
    let mut taps = Vec::new();
    for (number, (site, written)) in sites.into_iter().enumerate() {
        taps.push(tap(number as u32, site, written, identify, holds, config)?);
    }
    let plan = Plan {
        taps,
        missing,
        holds,
    };
    if !plan.taps.iter().any(PlannedTap::is_written) {
        bail!("there is nothing to capture: {}", plan.missing.join("; "));
    }
    Ok(plan)
}

fn wants_inside(config: &CaptureConfig) -> bool {
    config.taps.contains(&Role::Inside) || config.taps.contains(&Role::Peer)
}

/// Adds a site once, however many paths lead through it; a target's own interface stays one.
fn add(sites: &mut Vec<(Site, bool)>, site: &Site, written: bool) {
    let same = |other: &Site| other.ns.is_same(&site.ns) && other.link.index == site.link.index;
    match sites.iter_mut().find(|(other, _)| same(other)) {
        Some((_, already)) => *already |= written,
        None => sites.push((site.clone(), written)),
    }
}

fn tap(
    number: u32,
    site: Site,
    written: bool,
    identify: bool,
    holds: bool,
    config: &CaptureConfig,
) -> Result<PlannedTap> {
    let link_type = LinkType::from_arp_type(site.link.arp_type)
        .map_err(|why| anyhow::anyhow!("{site}: {why}"))?;
    let loopback = site.link.kind == LinkKind::Loopback;
    if loopback && config.direction == Direction::Out {
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
        if written && config.direction.includes(hook) {
            *bits |= feature::EMIT;
            if config.count.is_some() && !holds {
                *bits |= feature::LIMIT;
            }
            written_hooks.push(hook);
        }
        if identify && !loopback {
            *bits |= feature::IDENTIFY;
        }
        if link_type == LinkType::Raw {
            *bits |= feature::RAW;
        }
        *bits |= match (is_shared(site.role), holds) {
            (true, _) => feature::SHARED,
            (false, true) => feature::TARGET | feature::TELL,
            (false, false) => feature::TARGET,
        };
        let needed = *bits & feature::EMIT != 0 || (identify && !loopback);
        if needed {
            hooks.push(hook);
        }
    }
    Ok(PlannedTap {
        number,
        hooks,
        written: written_hooks,
        link_type,
        config: TapConfig {
            limit: config.count.unwrap_or(0),
            tap: number,
            snaplen: config.snaplen,
            features,
            place: places(site.role),
            ..TapConfig::default()
        },
        site,
    })
}

/// Where the hooks of a tap stand on a packet's way: ingress, egress.
const fn places(role: Role) -> [u32; 2] {
    match role {
        Role::Inside | Role::Peer => [place::INSIDE_IN, place::INSIDE_OUT],
        Role::Veth => [place::VETH_UP, place::VETH_DOWN],
        Role::Bridge => [place::BRIDGE_UP, place::BRIDGE_DOWN],
        Role::Uplink => [place::UPLINK_IN, place::UPLINK_OUT],
    }
}

/// The link types of the written taps, each once.
#[must_use]
pub(super) fn link_types(plan: &Plan) -> BTreeSet<u16> {
    let written = plan.taps.iter().filter(|tap| tap.is_written());
    written.map(|tap| tap.link_type.number()).collect()
}
