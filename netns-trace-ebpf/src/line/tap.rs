//! What a tap is specialised with, and what its hooks count.

/// Most taps that one capture may have.
pub const MAX_TAPS: u32 = 1024;

/// Which of an interface's two hooks: packets that it receives.
pub const INGRESS: u32 = 0;
/// Which of an interface's two hooks: packets that it sends.
pub const EGRESS: u32 = 1;

/// Bits of [`TapConfig::features`].
pub mod feature {
    /// Packets of this hook go into the ring.
    pub const EMIT: u32 = 1 << 0;
    /// Packets are recognised from tap to tap and carry a packet id.
    pub const IDENTIFY: u32 = 1 << 1;
    /// The tap belongs to the target itself.
    pub const TARGET: u32 = 1 << 2;
    /// The tap is not the target's: only packets that a tap of the target sees too are wanted.
    pub const SHARED: u32 = 1 << 3;
    /// The capture ends after [`super::TapConfig::limit`] records.
    pub const LIMIT: u32 = 1 << 4;
    /// Other taps wait for this one's word on whether it saw their packet.
    pub const TELL: u32 = 1 << 5;
    /// The interface's packets start with the IP header.
    pub const RAW: u32 = 1 << 6;
    /// At a shared tap: the target's taps come before it, so that it is known whose a packet is.
    pub const DECIDED: u32 = 1 << 7;
    /// The time since the tap before goes into a histogram.
    pub const LATENCY: u32 = 1 << 8;
    /// A packet that no tap before has seen is unmatched.
    pub const EXPECT: u32 = 1 << 9;
    /// Ways end here, so the time since the first tap is recorded too.
    pub const END: u32 = 1 << 10;
    /// No tap is further on: nobody will look for the packet again.
    pub const LAST: u32 = 1 << 11;
    /// No tap is before this one: nothing can have been seen already.
    pub const ORIGIN: u32 = 1 << 12;
    /// Packets that no tap before has seen are numbered: somebody reads their ids.
    pub const NUMBER: u32 = 1 << 13;
    /// There is a filter: what it rejects is not received.
    pub const FILTER: u32 = 1 << 14;
    /// Records tell the socket that sent the packet.
    pub const SOCKET: u32 = 1 << 15;
}

/// What one load of the programs is specialised with: a read-only global, so that the verifier
/// removes what is off.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapConfig {
    /// Records of all taps after which the capture ends, where [`feature::LIMIT`] is set.
    pub limit: u64,
    /// A packet is *idle* if none passed its tap for so many nanoseconds before it.
    pub idle_gap_ns: u64,
    /// The tap's number.
    pub tap: u32,
    /// Hooks of all taps: what a pair of hooks is numbered by.
    pub hooks: u32,
    /// Most bytes of a packet that go into its record, 1..=[`MAX_SNAPLEN`](super::MAX_SNAPLEN).
    pub snaplen: u32,
    /// Bits of [`feature`], for each hook ([`INGRESS`], [`EGRESS`]).
    pub features: [u32; 2],
    /// Byte of `struct sk_buff` that holds `ip_summed`, from the running kernel's BTF; 0 where
    /// unknown.
    pub ip_summed_offset: u32,
    /// Bit at which `ip_summed` (two bits) starts in that byte.
    pub ip_summed_shift: u32,
    /// CPUs that the kernel may have: packet ids of different CPUs interleave by it.
    pub cpus: u32,
    /// The reader of the ring is woken each time that so many bytes more have gone into it, a power of two; 0: whenever
    /// it waits.
    pub wake_bytes: u32,
    /// Not 0 where the kernel lets programs read its own `struct sk_buff` (`bpf_cast_to_kern_ctx`, 6.2).
    pub reads_skb: u32,
    /// With more bytes than this in the ring, records hold `shed_len` bytes of a packet at most; 0: never.
    pub shed_above: u32,
    /// See `shed_above`.
    pub shed_len: u32,
    /// One of so many packets is recorded; 0 and 1: all.
    pub sample: u32,
    /// Nothing: fills up a word.
    pub padding: u32,
}

const _: () = assert!(size_of::<TapConfig>() == 72);

/// Where the programs read the kernel's `struct sk_buff`, they have this instruction, which no kernel takes: before they
/// are loaded, user space puts a call of `bpf_cast_to_kern_ctx` in its place, whose number differs from kernel to
/// kernel.
pub const CAST: u64 = 0x6e6e_7463_0000_2085;

/// What one CPU counted at one hook of one tap. Each packet is counted once in `seen`, and,
/// unless it is foreign, filtered out or not sampled, once in `received` and once in what became of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookCounters {
    /// Packets that the classifier saw, copies of own multicast excepted.
    pub seen: u64,
    /// Of these, packets that are wanted.
    pub received: u64,
    /// Wanted packets whose record is in the ring.
    pub recorded: u64,
    /// Wanted packets for which the ring had no room.
    pub ring_full: u64,
    /// Wanted packets whose bytes could not be copied.
    pub copy_failed: u64,
    /// Wanted packets after the end of the capture.
    pub discarded: u64,
    /// Packets of other containers at a tap that they share.
    pub foreign: u64,
    /// Losses that no record has carried yet.
    pub pending_drops: u64,
    /// Packets stamped here, for a tap further on to find.
    pub stamped: u64,
    /// Of these, packets that a tap further on has found.
    pub matched: u64,
    /// Of these, packets whose stamp gave way to another packet's before that.
    pub overwritten: u64,
    /// Packets that should have a stamp of a tap before, and have none.
    pub unmatched: u64,
    /// Nothing: where the kernel side turns a pointer into a number.
    pub cell: u64,
    /// Of those recorded, packets whose body was left out to make room for the headers of others.
    pub shed: u64,
    /// Packets that would be wanted and are left out, as one of many is recorded.
    pub unsampled: u64,
}

const _: () = assert!(size_of::<HookCounters>() == 120);

/// Where a hook's counters are in the map of counters, and what the hook is numbered by.
#[must_use]
#[inline(always)]
pub const fn hook_index(tap: u32, hook: u32) -> u32 {
    tap * 2 + hook
}

/// What all taps share.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Not 0 once the capture has ended: what comes now is discarded.
    pub ended: u64,
    /// Records in the ring so far, where a limit is set.
    pub recorded: u64,
}
