//! What the programs share with user space, and what each load of them is specialised with.

use core::ptr;

use aya_ebpf::{
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, RingBuf},
};
use netns_trace_ebpf::{
    Control, Histogram, HookCounters, Pair, SCRATCH_LEN, STAMP_SLOTS, SocketMaker, Stamp, TapConfig,
};

/// The records of all taps. User space sets its size.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 24, 0);

/// Where each CPU builds its record. A plain array indexed by the CPU: a per-CPU value may not
/// exceed 32 KiB (`PCPU_MIN_UNIT_SIZE`). The hooks run with bottom halves disabled, so a CPU
/// builds one record at a time.
/// <https://github.com/torvalds/linux/blob/v5.10/kernel/bpf/arraymap.c#L51>
#[map]
pub(crate) static SCRATCH: Array<[u8; SCRATCH_LEN]> = Array::with_max_entries(1, 0);

/// Counters by [`netns_trace_ebpf::hook_index`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<HookCounters> = PerCpuArray::with_max_entries(2, 0);

/// One entry: what all taps share.
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// Packets on their way, by [`Stamp::slot`].
#[map]
pub(crate) static STAMPS: Array<Stamp> = Array::with_max_entries(STAMP_SLOTS, 0);

/// Which hooks are neighbours, by [`netns_trace_ebpf::pair_index`].
#[map]
pub(crate) static PAIRS: Array<Pair> = Array::with_max_entries(4, 0);

/// Times between taps, by segment.
#[map]
pub(crate) static HISTOGRAMS: PerCpuArray<Histogram> = PerCpuArray::with_max_entries(1, 0);

/// When the last packet passed each tap, give or take a little.
#[map]
pub(crate) static LAST_SEEN: Array<u64> = Array::with_max_entries(1, 0);

/// One entry: the last packet id that each CPU gave.
#[map]
pub(crate) static PACKET_IDS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Who made a socket, by its cookie. User space sets its size: one entry where nobody asks.
#[map]
pub(crate) static SOCKETS: LruHashMap<u64, SocketMaker> = LruHashMap::with_max_entries(1, 0);

/// This tap's configuration, in a frozen map: the verifier knows the values.
#[unsafe(no_mangle)]
static TAP: TapConfig = TapConfig {
    limit: 0,
    idle_gap_ns: 0,
    tap: 0,
    hooks: 0,
    snaplen: 0,
    features: [0; 2],
    ip_summed_offset: 0,
    ip_summed_shift: 0,
    cpus: 0,
    wake_bytes: 0,
    reads_skb: 0,
    shed_above: 0,
    shed_len: 0,
    sample: 0,
    padding: 0,
};

/// Reads one field of [`TAP`]. Volatile, since its value is set when the programs are loaded.
macro_rules! tap {
    ($($field:tt)+) => {
        // SAFETY: `TAP` is an initialised static that nothing writes while programs run.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::maps::tap_ptr()).$($field)+) }
    };
}
pub(crate) use tap;

/// Where the configuration lies.
#[inline(always)]
pub(crate) fn tap_ptr() -> *const TapConfig {
    ptr::addr_of!(TAP)
}

/// Whether a hook of this tap has a feature (a bit of [`netns_trace_ebpf::feature`]).
#[inline(always)]
pub(crate) fn has(hook: u32, feature: u32) -> bool {
    tap!(features[hook as usize]) & feature != 0
}
