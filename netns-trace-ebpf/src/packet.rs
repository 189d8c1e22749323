//! What happens to a packet at a hook, in order: count, recognise, record.

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_ktime_get_ns, programs::TcContext};
use aya_log_ebpf::debug;
use netns_trace_ebpf::{HookCounters, INGRESS, feature, hook_index};

use crate::{
    capture::{self, Sighting},
    filter,
    maps::{COUNTERS, has, tap},
    stamp::{self, Known},
};

/// `__sk_buff::pkt_type` of the copy of own multicast and broadcast that the kernel loops back.
/// <https://github.com/torvalds/linux/blob/v5.10/include/uapi/linux/if_packet.h#L31>
const PACKET_LOOPBACK: u32 = 5;

/// Takes a packet in.
#[inline(always)]
pub(crate) fn packet(ctx: &TcContext, hook: u32) {
    // SAFETY: the context is the kernel's, valid for the whole run.
    let pkt_type = unsafe { (*ctx.skb.skb).pkt_type };
    if hook == INGRESS && pkt_type == PACKET_LOOPBACK {
        return;
    }
    let Some(counters) = COUNTERS.get_ptr_mut(hook_index(tap!(tap), hook)) else {
        return;
    };
    // SAFETY: a per-CPU value, which only this CPU writes, with bottom halves disabled.
    let counters = unsafe { &mut *counters };
    if counters.seen == 0 {
        // Copies: the logger keeps their addresses, and what has one is no constant any more.
        let (tap, hook, len) = (tap!(tap), hook, ctx.len());
        debug!(
            ctx,
            "tap {}, hook {}: first packet on this CPU, {} bytes", tap, hook, len
        );
    }
    counters.seen += 1;
    let passes = !has(hook, feature::FILTER) || filter::passes(ctx, hook);
    // Other taps may want what this one does not, and wait for its word.
    if !passes && !has(hook, feature::TELL) {
        return;
    }
    let skb = address(ctx, &mut counters.cell);
    // SAFETY: the helper only reads the clock.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let known = if has(hook, feature::IDENTIFY) {
        stamp::recognise(ctx, hook, skb, time_ns, counters)
    } else {
        Known::NOTHING
    };
    if known.foreign {
        counters.foreign += 1;
        return;
    }
    if passes {
        if !is_sampled(hook, known.packet_id, counters) {
            counters.unsampled += 1;
            // Nobody records it, so nobody waits for word of it.
            return;
        }
        counters.received += 1;
    }
    let sighting = Sighting {
        ctx,
        hook,
        skb,
        time_ns,
        known,
    };
    if passes && has(hook, feature::EMIT) {
        capture::record(&sighting, counters);
    } else if has(hook, feature::TELL) {
        capture::tell(&sighting, counters);
    }
}

/// Whether the packet is the one of many that is recorded: at all taps the same, as far as packets are recognised.
#[inline(always)]
fn is_sampled(hook: u32, packet_id: u64, counters: &HookCounters) -> bool {
    let sample = u64::from(tap!(sample));
    if sample < 2 {
        return true;
    }
    let number = if has(hook, feature::IDENTIFY) && has(hook, feature::NUMBER) {
        // Not a plain division, which would have a way to a panic.
        packet_id.checked_div(u64::from(tap!(cpus))).unwrap_or(0)
    } else {
        counters.received + counters.unsampled
    };
    number % sample == 0
}

/// The address of the packet's `struct sk_buff`: a classifier's context pointer is just that, and
/// `cell`, a word of a map value, turns the pointer into a number.
#[inline(always)]
fn address(ctx: &TcContext, cell: &mut u64) -> u64 {
    let cell: *mut u64 = cell;
    // SAFETY: `cell` is valid; volatile, so that the pointer really takes the way through memory.
    unsafe {
        core::ptr::write_volatile(cell.cast(), ctx.as_ptr());
        core::ptr::read_volatile(cell)
    }
}
