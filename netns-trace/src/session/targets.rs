//! From what was asked for to the taps: refuses what cannot be meant, resolves the targets, and finds
//! the ways of their packets. Attaches nothing and writes nothing.

use anyhow::Result;

use super::{
    CaptureConfig, OutputTo, Usage,
    config::{IDLE_GAP, max_segments},
    plan::{self, Plan, Wishes},
};
use crate::{
    capture::Format,
    target::{self, Target, TargetSpec},
    topology::{self, PathMap, Role},
};

/// Refuses what no machine and no target could make possible.
pub(super) fn check_wishes(config: &CaptureConfig) -> Result<(), Usage> {
    if config.interface.as_deref() == Some("any") {
        return Err(Usage(
            "-i any does not work in this version: name one interface, and run one capture for \
             each"
                .to_owned(),
        ));
    }
    check_peers(config, config.targets.len())
}

/// Refuses to tap another target's interface where there is only one target.
fn check_peers(config: &CaptureConfig, targets: usize) -> Result<(), Usage> {
    if config.taps.contains(&Role::Peer) && targets < 2 {
        return Err(Usage(
            "--taps peer means another target's interface: name a second target".to_owned(),
        ));
    }
    Ok(())
}

/// Resolves the targets, and finds the ways of their packets; a namespace that is named twice
/// counts once.
pub(super) fn find_paths(specs: &[TargetSpec], interface: Option<&str>) -> Result<Vec<PathMap>> {
    let mut targets: Vec<Target> = Vec::new();
    for spec in specs {
        let target = target::resolve(spec)?;
        match targets.iter().find(|other| other.ns.is_same(&target.ns)) {
            Some(other) => eprintln!(
                "netns-trace: {spec} names a namespace that is captured already, as {}",
                other.spec
            ),
            None => targets.push(target),
        }
    }
    let find = |target: &Target| topology::discover(&target.ns, &target.label, interface);
    Ok(targets.iter().map(find).collect::<Result<_, _>>()?)
}

/// Plans a capture's taps.
pub(super) fn plan_capture(config: &CaptureConfig) -> Result<Plan> {
    let paths = find_paths(&config.targets, config.interface.as_deref())?;
    check_peers(config, paths.len())?;
    let wishes = Wishes {
        written: config.taps.clone(),
        timed: config.latency_taps.clone(),
        direction: config.direction,
        count: config.count,
        snaplen: config.snaplen,
        idle_gap_ns: IDLE_GAP.as_nanos() as u64,
        max_segments: max_segments(),
    };
    let plan = plan::plan(&paths, &wishes)?;
    if plan::link_types(&plan).len() > 1 && config.output != OutputTo::Text {
        if config.format == Format::Pcap {
            return Err(Usage(
                "the taps have different link types, which a pcap file cannot hold: use --format \
                 pcapng, or name fewer taps"
                    .to_owned(),
            )
            .into());
        }
        eprintln!(
            "netns-trace: the taps have different link types: only Wireshark's tools read this \
             file, tcpdump does not"
        );
    }
    Ok(plan)
}
