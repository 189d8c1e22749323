//! What a tap costs each packet, measured on this machine at start.

use netns_trace_ebpf::{EGRESS, Pair, TapConfig, feature};

use super::{Hook, Probe, ProbeError, ProbeOptions};

/// Runs of the program for one figure.
const RUNS: u32 = 20_000;
/// Figures, of which the smallest counts: what disturbs only adds.
const TRIES: usize = 5;

/// The time that a tap takes which finds a packet and records its time, in nanoseconds: the program's
/// own, run by the kernel on a packet that its last run has stamped. None where the kernel refuses.
#[must_use]
pub fn measure_cost() -> Option<f64> {
    match measure() {
        Ok(cost) => Some(cost),
        Err(why) => {
            log::info!("the cost of a tap is not measured: {why}");
            None
        }
    }
}

fn measure() -> Result<f64, ProbeError> {
    const HOOKS: u32 = 2;
    // Each run finds the packet of the run before: a hook that is its own neighbour.
    let pair = Pair {
        segment: 1,
        total: 0,
    };
    let pairs = [(netns_trace_ebpf::pair_index(EGRESS, EGRESS, HOOKS), pair)];
    let mut probe = Probe::new(ProbeOptions {
        ring_bytes: 4096,
        taps: 1,
        segments: 1,
        pairs: pairs.into(),
        makers: false,
        verbose: false,
    })?;
    let features = feature::IDENTIFY | feature::TARGET | feature::LATENCY | feature::EXPECT;
    let loaded = probe.load(
        TapConfig {
            idle_gap_ns: 10_000_000,
            hooks: HOOKS,
            snaplen: 1,
            features: [features; 2],
            ..TapConfig::default()
        },
        None,
    )?;
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        best = best.min(loaded.time(Hook::Egress, &packet(), RUNS)?);
    }
    Ok(best)
}

/// A UDP datagram of 64 bytes.
fn packet() -> Vec<u8> {
    let mut packet = vec![0; 64];
    packet[12..14].copy_from_slice(&[8, 0]);
    packet[14..18].copy_from_slice(&[0x45, 0, 0, 50]);
    packet[22..24].copy_from_slice(&[64, 17]);
    packet
}
