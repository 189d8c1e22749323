//! The maps that all taps of a capture share: the ring, the counters, the word that ends it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::{
    Ebpf, Pod,
    maps::{Array, Map, MapData, PerCpuArray},
};
use aya_log::EbpfLogger;
use netns_trace_ebpf::{BUCKETS, Histogram, HookCounters, Pair, hook_index};
use serde::{Deserialize, Serialize};

use super::{
    Hook, ProbeError, ProbeOptions, error,
    makers::{Makers, NotedMakers},
    ring::Ring,
};
use crate::privilege::raised;

/// Maps of the object that exist once for all its loads.
pub(super) const SHARED: [&str; 11] = [
    "RECORDS",
    "SCRATCH",
    "COUNTERS",
    "CONTROL",
    "STAMPS",
    "PAIRS",
    "HISTOGRAMS",
    "LAST_SEEN",
    "PACKET_IDS",
    "SOCKETS",
    "AYA_LOGS",
];

/// [`HookCounters`], as words: all its fields are `u64`.
type CounterWords = [u64; 15];

/// What all taps of a capture share, for the one who reads it.
pub struct ProbeMaps {
    /// The records.
    pub ring: Ring,
    /// The kernel side's diagnostics, where they are wanted.
    pub log: Option<KernelLog>,
    /// Who makes sockets, where that is wanted and can be seen.
    pub makers: Option<Makers>,
    counters: PerCpuArray<MapData, CounterWords>,
    /// [`netns_trace_ebpf::Control`] as words.
    control: Array<MapData, [u64; 2]>,
    histograms: PerCpuArray<MapData, PodHistogram>,
}

/// [`Histogram`], as aya takes a map's value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodHistogram(Histogram);

// SAFETY: `repr(C)` integers without padding.
unsafe impl Pod for PodHistogram {}

/// [`Pair`], as aya takes a map's value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodPair(Pair);

// SAFETY: `repr(C)` integers without padding.
unsafe impl Pod for PodPair {}

/// What all CPUs recorded of one group of a segment.
#[derive(Clone, Debug)]
pub struct GroupSum {
    /// Sum of all times, in nanoseconds.
    pub sum_ns: u128,
    /// The smallest; `u64::MAX` where there is none.
    pub min_ns: u64,
    /// The largest.
    pub max_ns: u64,
    /// How many samples fell into each bucket.
    pub buckets: Vec<u64>,
}

/// The same, not used yet: they can go to another process first.
pub struct SharedMaps {
    /// [`HANDED`], in that order.
    maps: [MapData; 4],
    ring_bytes: u32,
    log: Option<KernelLog>,
    makers: Option<NotedMakers>,
}

/// What the reader uses, and so what is handed over.
const HANDED: [&str; 4] = ["RECORDS", "COUNTERS", "CONTROL", "HISTOGRAMS"];

fn each_handed<T>(
    mut map: impl FnMut(&'static str) -> Result<T, ProbeError>,
) -> Result<[T; 4], ProbeError> {
    let [records, counters, control, histograms] = HANDED;
    Ok([
        map(records)?,
        map(counters)?,
        map(control)?,
        map(histograms)?,
    ])
}

/// What has to be known of maps that come as descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct HandedMaps {
    ring_bytes: u32,
    /// Two more descriptors: the map of makers, and what keeps their program attached.
    makers: bool,
}

impl SharedMaps {
    pub(super) fn take(ebpf: &mut Ebpf, options: &ProbeOptions) -> Result<Self, ProbeError> {
        let mut map = |name| {
            ebpf.take_map(name)
                .ok_or(ProbeError::Incomplete { part: name })
        };
        let mut neighbours: Array<MapData, PodPair> =
            Array::try_from(map("PAIRS")?).map_err(error::map)?;
        for (index, pair) in &options.pairs {
            neighbours
                .set(*index, PodPair(*pair), 0)
                .map_err(error::map)?;
        }
        let data = |name| match map(name)? {
            Map::RingBuf(data) | Map::Array(data) | Map::PerCpuArray(data) => Ok(data),
            _ => Err(ProbeError::Incomplete { part: name }),
        };
        let maps = each_handed(data)?;
        let log = if options.verbose {
            Some(KernelLog(EbpfLogger::init(ebpf).map_err(error::log)?))
        } else {
            None
        };
        Ok(Self {
            maps,
            ring_bytes: options.ring_bytes,
            log,
            makers: None,
        })
    }

    pub(super) fn note_makers(&mut self, makers: NotedMakers) {
        self.makers = Some(makers);
    }

    /// Maps them for reading.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or they are not what they should be.
    pub fn open(self) -> Result<ProbeMaps, ProbeError> {
        let [records, counters, control, histograms] = self.maps;
        let (counters, histograms) = (Map::PerCpuArray(counters), Map::PerCpuArray(histograms));
        Ok(ProbeMaps {
            ring: Ring::open(Map::RingBuf(records), self.ring_bytes)?,
            log: self.log,
            makers: self.makers.map(NotedMakers::open).transpose()?,
            counters: PerCpuArray::try_from(counters).map_err(error::map)?,
            control: Array::try_from(Map::Array(control)).map_err(error::map)?,
            histograms: PerCpuArray::try_from(histograms).map_err(error::map)?,
        })
    }

    /// What another process needs to have them, and their descriptors. The kernel side's diagnostics stay here.
    #[must_use]
    pub fn handed(&self) -> (HandedMaps, Vec<BorrowedFd<'_>>) {
        let maps = self.maps.iter().map(|map| map.fd().as_fd());
        let makers = self.makers.iter().flat_map(NotedMakers::fds);
        let handed = HandedMaps {
            ring_bytes: self.ring_bytes,
            makers: self.makers.is_some(),
        };
        (handed, maps.chain(makers).collect())
    }

    /// What another process has handed over.
    ///
    /// # Errors
    ///
    /// It is not what it should be.
    pub fn take_over(handed: &HandedMaps, fds: Vec<OwnedFd>) -> Result<Self, ProbeError> {
        let mut fds = fds.into_iter();
        let mut fd = |part| fds.next().ok_or(ProbeError::Incomplete { part });
        let mut map = |name| {
            let fd = fd(name)?;
            // Some kernels ask for rights to tell what a map is like.
            raised(|| MapData::from_fd(fd)).map_err(error::map)
        };
        let maps = each_handed(&mut map)?;
        let makers = if handed.makers {
            Some(NotedMakers::new(map("SOCKETS")?, fd("their program")?))
        } else {
            None
        };
        Ok(Self {
            maps,
            ring_bytes: handed.ring_bytes,
            log: None,
            makers,
        })
    }

    /// The kernel side's diagnostics, where they are wanted and have not been taken.
    pub fn take_log(&mut self) -> Option<KernelLog> {
        self.log.take()
    }
}

impl ProbeMaps {
    /// What all CPUs counted at one hook of a tap so far.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn counters(&self, tap: u32, hook: Hook) -> Result<HookCounters, ProbeError> {
        let index = hook_index(tap, hook.index());
        let per_cpu = raised(|| self.counters.get(&index, 0)).map_err(error::map)?;
        let sum = |word: usize| per_cpu.iter().map(|words| words[word]).sum();
        Ok(HookCounters {
            seen: sum(0),
            received: sum(1),
            recorded: sum(2),
            ring_full: sum(3),
            copy_failed: sum(4),
            discarded: sum(5),
            foreign: sum(6),
            pending_drops: sum(7),
            stamped: sum(8),
            matched: sum(9),
            overwritten: sum(10),
            unmatched: sum(11),
            cell: 0,
            shed: sum(13),
            unsampled: sum(14),
        })
    }

    /// What all CPUs recorded of a segment so far: busy packets, and idle ones.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn histogram(&self, segment: u32) -> Result<[GroupSum; 2], ProbeError> {
        let per_cpu = raised(|| self.histograms.get(&segment, 0)).map_err(error::map)?;
        Ok([0, 1].map(|group| {
            let mut sum = GroupSum {
                sum_ns: 0,
                min_ns: u64::MAX,
                max_ns: 0,
                buckets: vec![0; BUCKETS],
            };
            for PodHistogram(histogram) in per_cpu.iter() {
                let part = &histogram.groups[group];
                sum.sum_ns += u128::from(part.sum_ns);
                sum.min_ns = sum.min_ns.min(u64::MAX - part.min_inverted);
                sum.max_ns = sum.max_ns.max(part.max_ns);
                for (count, more) in sum.buckets.iter_mut().zip(part.buckets) {
                    *count += more;
                }
            }
            sum
        }))
    }

    /// Ends the capture at all taps at once: what they see from now on is counted as discarded.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn end(&mut self) -> Result<(), ProbeError> {
        raised(|| {
            let recorded = self.control.get(&0, 0)?[1];
            self.control.set(0, [1, recorded], 0)
        })
        .map_err(error::map)
    }
}

/// Diagnostics of the kernel side, which go to the `log` crate's logger.
pub struct KernelLog(EbpfLogger<&'static dyn log::Log>);

impl KernelLog {
    /// Logs what has come since the last call.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}
