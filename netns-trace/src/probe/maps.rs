//! The maps that all taps of a capture share: the ring, the counters, the word that ends it.

use std::{
    ops::Deref,
    os::fd::{AsFd, BorrowedFd},
};

use aya::{
    Ebpf, Pod,
    maps::{Array, MapData, PerCpuArray, RingBuf},
};
use aya_log::EbpfLogger;
use netns_trace_ebpf::{HookCounters, TapConfig, hook_index};

use super::{Hook, ProbeError, error};

/// Maps of the object that exist once for all its loads.
pub(super) const SHARED: [&str; 7] = [
    "RECORDS",
    "SCRATCH",
    "COUNTERS",
    "CONTROL",
    "IDENTITIES",
    "PACKET_IDS",
    "AYA_LOGS",
];

/// The configuration, as aya takes a global's value.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct PodTap(pub(super) TapConfig);

// SAFETY: `repr(C)` integers without padding.
unsafe impl Pod for PodTap {}

/// [`HookCounters`], as words: all its fields are `u64`.
type CounterWords = [u64; 8];

/// What all taps of a capture share, for the one who reads it.
pub struct ProbeMaps {
    /// The records.
    pub ring: Ring,
    /// The kernel side's diagnostics, where they are wanted.
    pub log: Option<KernelLog>,
    counters: PerCpuArray<MapData, CounterWords>,
    /// [`netns_trace_ebpf::Control`] as words.
    control: Array<MapData, [u64; 2]>,
}

impl ProbeMaps {
    pub(super) fn take(ebpf: &mut Ebpf, verbose: bool) -> Result<Self, ProbeError> {
        let mut map = |name| {
            ebpf.take_map(name)
                .ok_or(ProbeError::Incomplete { part: name })
        };
        let ring = Ring(RingBuf::try_from(map("RECORDS")?).map_err(error::map)?);
        let counters = PerCpuArray::try_from(map("COUNTERS")?).map_err(error::map)?;
        let control = Array::try_from(map("CONTROL")?).map_err(error::map)?;
        let log = if verbose {
            Some(KernelLog(EbpfLogger::init(ebpf).map_err(error::log)?))
        } else {
            None
        };
        Ok(Self {
            ring,
            log,
            counters,
            control,
        })
    }

    /// What all CPUs counted at one hook of a tap so far.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn counters(&self, tap: u32, hook: Hook) -> Result<HookCounters, ProbeError> {
        let per_cpu = self
            .counters
            .get(&hook_index(tap, hook.index()), 0)
            .map_err(error::map)?;
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
        })
    }

    /// Ends the capture at all taps at once: what they see from now on is counted as discarded.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn end(&mut self) -> Result<(), ProbeError> {
        let recorded = self.control.get(&0, 0).map_err(error::map)?[1];
        self.control.set(0, [1, recorded], 0).map_err(error::map)
    }
}

/// The ring that the records of all taps come through, in the order in which they were made.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    /// The next record; none while the ring is empty. Its room is free again once it is dropped.
    pub fn take(&mut self) -> Option<impl Deref<Target = [u8]> + '_> {
        self.0.next()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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
