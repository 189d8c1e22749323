//! From what was asked for to the taps: refuses what cannot be meant, resolves the targets, and finds
//! the ways of their packets. Attaches nothing and writes nothing.

use anyhow::Result;

use super::{
    CaptureConfig, OutputTo, Usage,
    plan::{self, Plan},
};
use crate::{
    capture::Format,
    target::{self, Target},
    topology::{self, Role},
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

/// Resolves the targets, finds their paths, and plans the taps.
pub(super) fn plan_taps(config: &CaptureConfig) -> Result<Plan> {
    let mut targets: Vec<Target> = Vec::new();
    for spec in &config.targets {
        let target = target::resolve(spec)?;
        match targets.iter().find(|other| other.ns.is_same(&target.ns)) {
            Some(other) => eprintln!(
                "netns-trace: {spec} names a namespace that is captured already, as {}",
                other.spec
            ),
            None => targets.push(target),
        }
    }
    check_peers(config, targets.len())?;
    let interface = config.interface.as_deref();
    let mut paths = Vec::new();
    for target in &targets {
        paths.push(topology::discover(&target.ns, &target.label, interface)?);
    }
    let plan = plan::plan(&paths, config)?;
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
