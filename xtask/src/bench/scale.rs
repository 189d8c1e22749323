//! How the cost of a record grows with the CPUs that make records at once, in one ring or in rings of their own, and how that of
//! a packet grows with the number of targets.

use std::{
    path::Path,
    process::Command,
    sync::Barrier,
    thread::{self, available_parallelism},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use netns_trace::probe::{Hook, LoadedTap, Probe, ProbeOptions, SharedMaps, TapConfig};
use netns_trace_ebpf::feature;

use super::{
    page::Section,
    range,
    running::Running,
    spread,
    traffic::{Containers, SMALL},
};

/// What `cargo xtask bench scale` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds of runs
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each flood
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

/// Records of each thread: all of a round find room, and nobody has to read.
const RECORDS: u32 = 400_000;
const RING: u32 = 256 << 20;
/// Bytes of the packets.
const PACKET: usize = 96;
/// Targets that are captured at once.
const TARGETS: [usize; 4] = [2, 20, 100, 200];

/// Runs it.
pub(crate) fn run(program: &Path, options: &Options) -> Result<[Section; 2]> {
    ensure!(options.rounds > 0 && options.seconds > 0, "nothing to run");
    Ok([cpus(options)?, targets(program, options)?])
}

fn cpus(options: &Options) -> Result<Section> {
    let mut section = Section::new(
        "Records of several CPUs at once",
        "Nanoseconds of a program that puts a packet of 96 bytes into a ring, without a reader, run by the kernel on as many \
         threads.",
        &["threads", "one ring", "rings of their own"],
    );
    let most = available_parallelism().map_or(1, usize::from);
    let mut counts = vec![1];
    while counts.last().is_some_and(|last| last * 2 <= most) {
        counts.push(counts[counts.len() - 1] * 2);
    }
    for count in counts {
        let (mut shared, mut own) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let (mut probe, mut taps) = (new_probe(count)?, Vec::new());
            for tap in 0..count {
                taps.push(load(&mut probe, tap)?);
            }
            shared.extend(together(&mut taps)?);
            drop((taps, probe));
            let mut rings = Vec::new();
            for _ in 0..count {
                let mut probe = new_probe(1)?;
                rings.push((load(&mut probe, 0)?, probe));
            }
            let (mut taps, _probes): (Vec<_>, Vec<_>) = rings.into_iter().unzip();
            own.extend(together(&mut taps)?);
        }
        section.row(&[
            count.to_string(),
            format!("{} ns", range(&mut shared, 0)),
            format!("{} ns", range(&mut own, 0)),
        ]);
    }
    Ok(section)
}

fn new_probe(taps: usize) -> Result<Probe> {
    Ok(Probe::new(ProbeOptions {
        ring_bytes: RING,
        taps: taps as u32,
        segments: 1,
        pairs: Default::default(),
        makers: false,
        verbose: false,
    })?)
}

/// Loads a tap; the maps are kept beside the first.
fn load(probe: &mut Probe, tap: usize) -> Result<(LoadedTap, Option<SharedMaps>)> {
    let config = TapConfig {
        tap: tap as u32,
        snaplen: PACKET as u32,
        wake_bytes: RING / 16,
        features: [feature::EMIT; 2],
        ..TapConfig::default()
    };
    Ok((probe.load(config, None)?, probe.take_maps().ok()))
}

/// Runs all at once; the nanoseconds of one run of each.
fn together(taps: &mut [(LoadedTap, Option<SharedMaps>)]) -> Result<Vec<f64>> {
    let mut packet = vec![0; PACKET];
    packet[12..15].copy_from_slice(&[8, 0, 0x45]);
    let (packet, start) = (&packet, &Barrier::new(taps.len()));
    thread::scope(|scope| {
        let run = |tap: &mut LoadedTap| {
            start.wait();
            tap.time(Hook::Egress, packet, RECORDS)
        };
        let threads: Vec<_> = taps
            .iter_mut()
            .map(|(tap, _)| scope.spawn(move || run(tap)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                let time = thread.join().ok().context("a thread has panicked")?;
                Ok(time?)
            })
            .collect()
    })
}

fn targets(program: &Path, options: &Options) -> Result<Section> {
    let mut section = Section::new(
        "Capturing many targets",
        "A 64-byte UDP flood from one container to another, headers of which are captured at eth0 of so many, these two \
         among them.",
        &["targets", "alone", "with", "ratio", "lost"],
    );
    let time = Duration::from_secs(options.seconds);
    for count in TARGETS {
        let containers = Containers::several(count, time)?;
        let all = containers.targets().join(",");
        let (mut alone, mut with, mut ratios) = (vec![], vec![], vec![]);
        let mut lost = vec![];
        for _ in 0..options.rounds.div_ceil(2) {
            let a = containers.send(SMALL)?;
            let mut command = Command::new(program);
            command.args([
                "capture",
                &all,
                "-s",
                "96",
                "--no-latency",
                "-w",
                "/dev/null",
            ]);
            let running = Running::start(&mut command, "listening on")?;
            let b = containers.send(SMALL)?;
            let ended = running.stop()?;
            let dropped = ended.said.iter().find_map(|line| {
                let number = line.strip_suffix(" packets dropped by kernel")?;
                number.parse::<f64>().ok()
            });
            alone.push(a);
            with.push(b);
            ratios.push(b / a);
            lost.push(dropped.context("it does not say what it dropped")?);
        }
        section.row(&[
            count.to_string(),
            format!("{:.0} k/s", spread(&mut alone).0 / 1e3),
            format!("{:.0} k/s", spread(&mut with).0 / 1e3),
            range(&mut ratios, 3),
            range(&mut lost, 0),
        ]);
        containers.down()?;
    }
    Ok(section)
}
