//! Recognises a packet from tap to tap by its `struct sk_buff`'s address, which survives the
//! veth, the bridge and routing, and by what of its content stays the same. A wrong match would be
//! a lie, a missed one is only a new id: whatever is in doubt is a new packet.

use core::ptr;

use aya_ebpf::{helpers::generated::bpf_get_smp_processor_id, programs::TcContext};
use netns_trace_ebpf::{
    HookCounters, Pair, STAMP_AGE_NS, Stamp, feature, hook_index, pair_index, trace,
};

use crate::{
    latency,
    maps::{COUNTERS, LAST_SEEN, PACKET_IDS, PAIRS, STAMPS, has, tap},
};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Bytes from the network header on that a fingerprint takes: what ARP has.
const AT_HAND: usize = 28;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;
const IPPROTO_TCP: u8 = 6;

/// Reads a number of the packet, whose place the caller has compared with the packet's end; the
/// verifier checks it again. In assembly, since the compiler takes an unaligned number apart into
/// bytes; the kernel puts it together on machines that must.
macro_rules! load {
    ($size:literal, $at:expr) => {{
        let number: u64;
        // SAFETY: reads memory that is there, as the verifier has checked.
        unsafe {
            core::arch::asm!(
                concat!("{number} = *(", $size, " *)({at} + 0)"),
                number = out(reg) number,
                at = in(reg) $at as u64,
                options(nostack, readonly, preserves_flags),
            );
        }
        number
    }};
}
/// What is known of a packet at this tap.
pub(crate) struct Known {
    /// Its id; 0 if none could be given.
    pub(crate) packet_id: u64,
    /// A neighbouring tap has seen it before this one.
    pub(crate) before: bool,
    /// A tap of the target has seen it before this one.
    pub(crate) by_target: bool,
    /// Whose it is, a tap further on will tell.
    pub(crate) undecided: bool,
    /// It is somebody else's.
    pub(crate) foreign: bool,
}

impl Known {
    /// Where packets are not recognised.
    pub(crate) const NOTHING: Self = Self {
        packet_id: 0,
        before: false,
        by_target: false,
        undecided: false,
        foreign: false,
    };
}

/// Recognises the packet at address `skb`, or gives it a new id, and leaves a stamp for the next
/// tap.
#[inline(always)]
pub(crate) fn recognise(
    ctx: &TcContext,
    hook: u32,
    skb: u64,
    now_ns: u64,
    counters: &mut HookCounters,
) -> Known {
    let mut known = Known::NOTHING;
    let Some(slot) = STAMPS.get_ptr_mut(Stamp::slot(skb)) else {
        return known;
    };
    let content = content(ctx, hook);
    // SAFETY: the pointer is to a map value; another CPU may write it meanwhile, which the seal
    // shows.
    let seen = unsafe { ptr::read(slot) };
    let here = hook_index(tap!(tap), hook);
    let mut pair = Pair::default();
    if !has(hook, feature::ORIGIN) && seen.is_of(skb, content, now_ns) {
        pair = neighbours(seen.last(), here);
    }
    known.before = pair.segment != 0;
    known.by_target = known.before && seen.last() & trace::OF_TARGET != 0;
    if has(hook, feature::SHARED) {
        known.foreign = has(hook, feature::DECIDED) && !known.by_target;
        known.undecided = !has(hook, feature::DECIDED) && !known.by_target;
        if known.foreign {
            return known;
        }
    }
    if known.before {
        counted(seen.last(), |counters| counters.matched += 1);
        if has(hook, feature::LATENCY) {
            latency::matched(hook, &seen, pair, now_ns);
        }
    }
    // One that only a tap further off has seen is unmatched too.
    if has(hook, feature::EXPECT) && (!known.before || pair.segment == Pair::NO_HISTOGRAM) {
        counters.unmatched += 1;
    }
    if known.before {
        known.packet_id = seen.packet_id;
    } else if has(hook, feature::NUMBER) {
        known.packet_id = new_id();
    }
    if has(hook, feature::LAST) {
        if known.before {
            // SAFETY: as above. A stamp without an address is nobody's.
            unsafe { ptr::write_volatile(&raw mut (*slot).skb, 0) };
        }
        return known;
    }
    let mut mark = here;
    if has(hook, feature::LATENCY) && is_idle(now_ns) {
        mark |= trace::IDLE;
    }
    if known.by_target || has(hook, feature::TARGET) {
        mark |= trace::OF_TARGET;
    }
    let (first_ns, first) = if known.before {
        (seen.first_ns, seen.first())
    } else {
        give_way(&seen, skb, now_ns);
        (now_ns, mark)
    };
    let mut now = Stamp {
        skb,
        sealed: 0,
        time_ns: now_ns,
        first_ns,
        packet_id: known.packet_id,
        hooks: (first as u64) << 32 | mark as u64,
    };
    now.sealed = now.seal(content);
    // SAFETY: as above.
    unsafe { ptr::write(slot, now) };
    counters.stamped += 1;
    known
}

/// What lies between two hooks; nothing unless they are neighbours on a way.
#[inline(always)]
fn neighbours(from: u32, to: u32) -> Pair {
    PAIRS
        .get(pair_index(from & trace::NUMBER, to, tap!(hooks)))
        .copied()
        .unwrap_or_default()
}

/// Whether nothing has passed this tap for a while. The time is written down only where that
/// matters, so that CPUs do not fight for it: it may be late by 1/64 of the gap.
#[inline(always)]
fn is_idle(now_ns: u64) -> bool {
    let gap = tap!(idle_gap_ns);
    let Some(last) = LAST_SEEN.get_ptr_mut(tap!(tap)) else {
        return false;
    };
    // SAFETY: an aligned word of a map value; volatile, since other CPUs write it.
    let since = now_ns.wrapping_sub(unsafe { ptr::read_volatile(last) });
    // Another CPU may have written a time after ours.
    if (since as i64) < 0 {
        return false;
    }
    if since > gap / 64 {
        // SAFETY: as above.
        unsafe { ptr::write_volatile(last, now_ns) };
    }
    since >= gap
}

/// Counts a stamp that gives way before a tap further on has found it. One at the same address is
/// of a packet that is gone, and one past its age would not be found any more.
#[inline(always)]
fn give_way(seen: &Stamp, skb: u64, now_ns: u64) {
    if seen.skb != 0 && seen.skb != skb && now_ns.wrapping_sub(seen.time_ns) < STAMP_AGE_NS {
        counted(seen.last(), |counters| counters.overwritten += 1);
    }
}

/// Adds to the counters of another hook, this CPU's.
#[inline(always)]
fn counted(hook: u32, add: impl FnOnce(&mut HookCounters)) {
    if let Some(counters) = COUNTERS.get_ptr_mut(hook & trace::NUMBER) {
        // SAFETY: a per-CPU value, which only this CPU writes, with bottom halves disabled.
        add(unsafe { &mut *counters });
    }
}

/// What neither bridge nor router nor NAT changes in a packet: its length and, as far as its headers
/// are at hand, identification and fragment of IPv4 and the sequence number of TCP in it, flow label
/// and payload length of IPv6, all that matters of ARP.
#[inline(always)]
fn content(ctx: &TcContext, hook: u32) -> u64 {
    // An odd factor spreads the length over the word.
    u64::from(ctx.len()).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ headers(ctx, hook)
}

#[inline(always)]
fn headers(ctx: &TcContext, hook: u32) -> u64 {
    let raw = has(hook, feature::RAW);
    let (data, end) = (ctx.data(), ctx.data_end());
    let network = if raw { data } else { data + ETHERNET };
    if network + AT_HAND > end {
        return 0;
    }
    let half = |at: usize| u64::from(load!("u16", network + at) as u16).to_be() >> 48;
    let word = |at: usize| load!("u32", network + at);
    let byte = |at: usize| load!("u8", network + at) as u8;
    let ether_type = if raw {
        match byte(0) >> 4 {
            4 => ETH_P_IP,
            _ => ETH_P_IPV6,
        }
    } else {
        u16::from_be(load!("u16", data + ETHERNET - 2) as u16)
    };
    match ether_type {
        ETH_P_IP => {
            let mut print = half(4) << 48 | half(6) << 32;
            if byte(0) == 0x45 && byte(9) == IPPROTO_TCP {
                print |= word(24);
            }
            print
        }
        ETH_P_IPV6 => word(0) << 32 | half(4),
        // Operation, sender's and target's address.
        ETH_P_ARP => half(6) << 48 ^ word(14) << 16 ^ word(24),
        _ => word(0) << 32 | word(4),
    }
}

/// The next id of this CPU; ids of different CPUs interleave, so that none is given twice.
#[inline(always)]
fn new_id() -> u64 {
    let Some(last) = PACKET_IDS.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a per-CPU value, which only this CPU writes, with bottom halves disabled.
    let last = unsafe { &mut *last };
    // SAFETY: the helper only reads the CPU's number.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let given = *last;
    *last += 1;
    given * u64::from(tap!(cpus)) + u64::from(cpu) + 1
}
