//! Records how long packets take from tap to tap.

use netns_trace_ebpf::{
    BUCKETS, Group, Pair, Stamp, bucket, feature, hook_index, pair_index, trace,
};

use crate::maps::{HISTOGRAMS, PAIRS, has, tap};

/// Records a packet that a neighbouring tap has seen: the time since then and, where its way ends,
/// since its first tap.
#[inline(always)]
pub(crate) fn matched(hook: u32, seen: &Stamp, pair: Pair, now_ns: u64) {
    let shared = has(hook, feature::SHARED);
    let by_target = seen.last() & trace::OF_TARGET != 0;
    // Between two taps that others share it is not known yet whose packet it is: the first tap of
    // the target tells, and makes up for it.
    if !shared || by_target {
        add(pair.segment, seen.last(), now_ns.wrapping_sub(seen.time_ns));
    }
    if !shared && !by_target && seen.first() != seen.last() {
        let before = pair_of(seen.first(), seen.last());
        add(
            before.segment,
            seen.first(),
            seen.time_ns.wrapping_sub(seen.first_ns),
        );
    }
    if has(hook, feature::END) && seen.first() != seen.last() {
        let whole = pair_of(seen.first(), hook_index(tap!(tap), hook));
        add(
            whole.total,
            seen.first(),
            now_ns.wrapping_sub(seen.first_ns),
        );
    }
}

#[inline(always)]
fn pair_of(from: u32, to: u32) -> Pair {
    PAIRS
        .get(pair_index(
            from & trace::NUMBER,
            to & trace::NUMBER,
            tap!(hooks),
        ))
        .copied()
        .unwrap_or_default()
}

/// Adds a sample to a segment, given by 1 + its number.
#[inline(always)]
fn add(segment: u32, from: u32, ns: u64) {
    if segment == 0 || segment == Pair::NO_HISTOGRAM {
        return;
    }
    let Some(histogram) = HISTOGRAMS.get_ptr_mut(segment - 1) else {
        return;
    };
    let idle = usize::from(from & trace::IDLE != 0);
    // SAFETY: a per-CPU value, which only this CPU writes, with bottom halves disabled.
    let group: &mut Group = unsafe { &mut (*histogram).groups[idle & 1] };
    group.sum_ns += ns;
    if u64::MAX - ns > group.min_inverted {
        group.min_inverted = u64::MAX - ns;
    }
    if ns > group.max_ns {
        group.max_ns = ns;
    }
    let at = in_range(u64::from(bucket(ns)));
    // SAFETY: `in_range` keeps it below the number of buckets.
    unsafe { *group.buckets.get_unchecked_mut(at as usize) += 1 };
}

/// Bounds a bucket's number where the verifier can see it: the compiler would leave out a mask
/// that it knows to do nothing.
#[inline(always)]
fn in_range(mut bucket: u64) -> u64 {
    // SAFETY: one operation on one register.
    unsafe {
        core::arch::asm!(
            "{bucket} &= {mask}",
            bucket = inout(reg) bucket,
            mask = const BUCKETS - 1,
            options(nomem, nostack, preserves_flags),
        );
    }
    bucket
}

const _: () = assert!(BUCKETS.is_power_of_two());
