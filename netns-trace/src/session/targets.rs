//! From what was asked for to the taps: refuses what cannot be meant, resolves the targets, and finds
//! the ways of their packets. Attaches nothing and writes nothing.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::{
    CaptureConfig, OutputTo, Usage,
    config::{IDLE_GAP, max_segments},
    outline::Outline,
    plan::{self, Plan, Shed, Wishes},
};
use crate::{
    capture::Format,
    target::{Resolver, Target, TargetSpec},
    topology::{self, Link, LinkKind, PathMap, Role, Survey, TopologyError},
};

/// The word of `-i` that means every interface.
const ANY: &str = "any";

/// Refuses what no machine and no target could make possible.
pub(super) fn check_wishes(config: &CaptureConfig) -> Result<(), Usage> {
    check_follow(config)?;
    check_processes(config)?;
    if are_all(&config.targets) {
        return Ok(()); // how many there are is not known yet
    }
    check_peers(config, config.targets.len())
}

/// Refuses to follow what is no name: it can never come back.
fn check_follow(config: &CaptureConfig) -> Result<(), Usage> {
    let is_one = |spec: &&TargetSpec| {
        matches!(
            spec,
            TargetSpec::Process(_) | TargetSpec::Inode(_) | TargetSpec::Path(_) | TargetSpec::Host
        )
    };
    match config.targets.iter().find(is_one) {
        Some(spec) if config.follow => Err(Usage(format!(
            "--follow waits for a name to come back, and {spec} is one namespace only: name a \
             container, netns:NAME or all"
        ))),
        _ => Ok(()),
    }
}

/// Refuses to tell processes where there is no room for them.
fn check_processes(config: &CaptureConfig) -> Result<(), Usage> {
    let is_told = config.processes.is_some() && !config.chooses_processes();
    if is_told && config.format == Format::Pcap && !matches!(config.output, OutputTo::Text(_)) {
        return Err(Usage(
            "a pcap file has no room for processes: use --format pcapng, or choose some with --pid or \
             --comm"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Refuses to tap another target's interface where there is only one target.
pub(super) fn check_peers(config: &CaptureConfig, targets: usize) -> Result<(), Usage> {
    if config.taps.contains(&Role::Peer) && targets < 2 {
        return Err(Usage(
            "--taps peer means another target's interface: name a second target".to_owned(),
        ));
    }
    Ok(())
}

/// The namespaces of the targets; one that is named twice counts once. Those that are not there are an
/// error, unless they `may_come` later.
pub(super) fn find_targets(specs: &[TargetSpec], may_come: bool) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    let resolver = Resolver::new();
    for spec in specs {
        let found = match resolver.resolve(spec) {
            Err(why) if may_come && why.is_absent() => Vec::new(),
            found => found?,
        };
        for target in found {
            say(&target.notes);
            match targets.iter().find(|other| other.ns.is_same(&target.ns)) {
                // `all` means those that are named beside it, too.
                Some(_) if *spec == TargetSpec::All => {}
                Some(other) => eprintln!(
                    "netns-trace: {spec} names a namespace that is captured already, as {}",
                    other.spec
                ),
                None => targets.push(target),
            }
        }
    }
    Ok(targets)
}

/// Says what is to be said of a target.
pub(super) fn say(notes: &[String]) {
    for note in notes {
        eprintln!("netns-trace: {note}");
    }
}

/// The ways of the targets' packets. Of `all`, what has no interface to choose is left out.
pub(super) fn find_paths(targets: &[Target], interface: Option<&str>) -> Result<Vec<PathMap>> {
    let mut paths = Vec::new();
    let mut left_out = Vec::new();
    let mut survey = Survey::default();
    for target in targets {
        match paths_of(&mut survey, target, interface) {
            Ok(found) => paths.extend(found),
            Err(why) if target.spec == TargetSpec::All => left_out.push(why.to_string()),
            Err(why) => return Err(why.into()),
        }
    }
    if paths.is_empty() && !left_out.is_empty() {
        bail!(
            "none of all namespaces has anything to capture: {}",
            left_out.join("; ")
        );
    }
    for why in left_out {
        log::info!("left out: {why}");
    }
    Ok(paths)
}

/// The ways of one target's packets: one for each interface that is meant.
fn paths_of(
    survey: &mut Survey,
    target: &Target,
    interface: Option<&str>,
) -> Result<Vec<PathMap>, TopologyError> {
    let mut one = |name| survey.discover(&target.ns, &target.label, name);
    match interface {
        Some(ANY) => each(survey, target, |_| true),
        Some(name) => Ok(vec![one(Some(name))?]),
        // Nobody is there to choose for each of them.
        None if target.spec == TargetSpec::All => match one(None) {
            Ok(path) if path.others.is_empty() => Ok(vec![path]),
            Ok(_) | Err(TopologyError::Ambiguous { .. }) => {
                each(survey, target, |link| link.kind != LinkKind::Loopback)
            }
            Err(why) => Err(why),
        },
        None => Ok(vec![one(None)?]),
    }
}

fn each(
    survey: &mut Survey,
    target: &Target,
    is_meant: impl Fn(&Link) -> bool,
) -> Result<Vec<PathMap>, TopologyError> {
    let links = topology::links(&target.ns)?;
    let meant = links.iter().filter(|link| is_meant(link));
    meant
        .map(|link| survey.discover(&target.ns, &target.label, Some(&link.name)))
        .collect()
}

/// Plans the taps of these targets.
pub(super) fn plan_for(targets: &[Target], config: &CaptureConfig) -> Result<Plan> {
    plan_paths(&find_paths(targets, config.interface.as_deref())?, config)
}

/// Whether all there are are meant, of which one that goes is none.
pub(super) fn are_all(specs: &[TargetSpec]) -> bool {
    specs.contains(&TargetSpec::All)
}

/// As [`plan_for`], where the ways are known.
pub(super) fn plan_paths(paths: &[PathMap], config: &CaptureConfig) -> Result<Plan> {
    let wishes = Wishes {
        written: config.taps.clone(),
        timed: config.latency_taps.clone(),
        direction: config.direction,
        // By their processes they are chosen, and counted, after the kernel.
        count: config.count.filter(|_| !config.chooses_processes()),
        snaplen: config.snaplen,
        idle_gap_ns: IDLE_GAP.as_nanos() as u64,
        max_segments: max_segments(),
        optional: are_all(&config.targets),
        sockets: config.processes.is_some(),
        wake_bytes: config.wake_bytes(),
        // What is left is for headers alone.
        shed: config.shed.map(|len| Shed {
            above: config.ring_bytes / 4 * 3,
            len,
        }),
        sample: config.sample,
    };
    let plan = plan::plan(paths, &wishes)?;
    Ok(match &config.filter {
        Some(filter) => plan.filtered(filter, config.snaplen)?,
        None => plan,
    })
}

/// Refuses what the output cannot hold, beside the link types that are there `before`; tells all link
/// types then.
pub(super) fn check_link_types(
    config: &CaptureConfig,
    before: &BTreeSet<u16>,
    plan: &Outline,
) -> Result<BTreeSet<u16>, Usage> {
    let all = &plan.link_types() | before;
    if all.len() > 1 && !matches!(config.output, OutputTo::Text(_)) {
        if config.format == Format::Pcap {
            return Err(Usage(
                "the taps have different link types, which a pcap file cannot hold: use --format \
                 pcapng, or name fewer taps"
                    .to_owned(),
            ));
        }
        if before.len() < 2 {
            eprintln!(
                "netns-trace: the taps have different link types: only Wireshark's tools read this \
                 file, tcpdump does not"
            );
        }
    }
    Ok(all)
}
