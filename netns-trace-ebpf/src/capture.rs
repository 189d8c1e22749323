//! Turns a packet into a record in the ring, or into a count of what became of it.

use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    helpers::generated::{
        bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_ringbuf_output,
        bpf_skb_load_bytes,
    },
    programs::TcContext,
};
use aya_log_ebpf::{debug, warn};
use netns_trace_ebpf::{
    Control, EGRESS, HEADER_LEN, HookCounters, INGRESS, MAX_SNAPLEN, RecordHeader, feature,
    hook_index, place, record,
};

use crate::{
    identity::{Known, recognise},
    maps::{CONTROL, COUNTERS, RECORDS, SCRATCH, has, tap},
};

/// `__sk_buff::pkt_type` of the copy of own multicast and broadcast that the kernel loops back.
/// <https://github.com/torvalds/linux/blob/v5.10/include/uapi/linux/if_packet.h#L31>
const PACKET_LOOPBACK: u32 = 5;
/// `ip_summed` of a packet whose checksum a device has verified.
/// <https://github.com/torvalds/linux/blob/v5.10/include/linux/skbuff.h#L220>
const CHECKSUM_UNNECESSARY: u8 = 1;
/// `ip_summed` of a packet whose checksum is yet to be filled in.
const CHECKSUM_PARTIAL: u8 = 3;

/// Counts a packet and, where it is wanted, records it.
#[inline(always)]
pub(crate) fn packet(ctx: &TcContext, hook: u32) {
    // SAFETY: the context is the kernel's, valid for the whole run.
    let skb = unsafe { &*ctx.skb.skb };
    if hook == INGRESS && skb.pkt_type == PACKET_LOOPBACK {
        return;
    }
    let Some(counters) = COUNTERS.get_ptr_mut(hook_index(tap!(tap), hook)) else {
        return;
    };
    // SAFETY: a per-CPU value, which only this CPU writes, with bottom halves disabled.
    let counters = unsafe { &mut *counters };
    if counters.seen == 0 {
        // Copies: the logger keeps their addresses, and what has one is no constant any more.
        let (tap, hook, len) = (tap!(tap), hook, skb.len);
        debug!(
            ctx,
            "tap {}, hook {}: first packet on this CPU, {} bytes", tap, hook, len
        );
    }
    counters.seen += 1;

    // SAFETY: the helper only reads the CPU's number.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let (Some(scratch), Some(control)) = (SCRATCH.get_ptr_mut(cpu), CONTROL.get_ptr_mut(0)) else {
        return;
    };
    // SAFETY: the scratch buffer belongs to this CPU; it is 8-byte aligned, as map values are.
    let header = unsafe { &mut *scratch.cast::<RecordHeader>() };
    // SAFETY: the helper only reads the clock.
    header.time_ns = unsafe { bpf_ktime_get_ns() };
    header.packet_id = 0;
    header.tap = tap!(tap) as u16;
    header.flags = if hook == EGRESS { record::EGRESS } else { 0 };

    let skb_address = address(ctx, &mut header.packet_id);
    if has(hook, feature::IDENTIFY) {
        let place = tap!(place[hook as usize]);
        let known = recognise(ctx, hook, skb_address, header.time_ns);
        header.packet_id = known.packet_id;
        if has(hook, feature::SHARED) && !known.by_target {
            if place == place::BRIDGE_UP || place == place::UPLINK_OUT {
                counters.foreign += 1;
                return;
            }
            header.flags |= record::UNDECIDED;
        }
        if has(hook, feature::TELL) && !has(hook, feature::EMIT) {
            tell(header, &known, counters);
        }
    } else {
        header.packet_id = 0;
    }

    counters.received += 1;
    if !has(hook, feature::EMIT) {
        return;
    }
    // SAFETY: map values; user space writes `ended`, all CPUs add to `recorded`.
    let control = unsafe { &*control };
    if ended(hook, control) {
        counters.discarded += 1;
        return;
    }
    describe(header, skb, skb_address);
    let captured = clamp(min(skb.len, tap!(snaplen)));
    header.captured = captured as u32;
    header.drops = counters.pending_drops as u32;
    // SAFETY: `scratch` has room for a header and `MAX_SNAPLEN` bytes, and `captured` is at most
    // that.
    let copied = unsafe {
        bpf_skb_load_bytes(
            ctx.as_ptr(),
            0,
            scratch.cast::<u8>().add(HEADER_LEN).cast(),
            captured as u32,
        )
    };
    if copied != 0 {
        counters.copy_failed += 1;
        counters.pending_drops += 1;
        let tap = tap!(tap);
        warn!(
            ctx,
            "tap {}: a packet's bytes could not be copied: {}", tap, copied
        );
        return;
    }
    // SAFETY: as above.
    let output = unsafe {
        bpf_ringbuf_output(
            (&raw const RECORDS).cast_mut().cast(),
            scratch.cast(),
            HEADER_LEN as u64 + clamp(captured),
            0,
        )
    };
    if output != 0 {
        counters.ring_full += 1;
        counters.pending_drops += 1;
        return;
    }
    counters.recorded += 1;
    counters.pending_drops = 0;
    if has(hook, feature::LIMIT) {
        count_up((&raw const control.recorded).cast_mut());
    }
}

/// Whether the capture is over: because user space says so, or all wanted records are there.
#[inline(always)]
fn ended(hook: u32, control: &Control) -> bool {
    // SAFETY: initialised words of a map value; volatile, since others write them.
    let (ended, recorded) = unsafe {
        (
            core::ptr::read_volatile(&raw const control.ended),
            core::ptr::read_volatile(&raw const control.recorded),
        )
    };
    ended != 0 || (has(hook, feature::LIMIT) && recorded >= tap!(limit))
}

/// Tells the taps that wait for it that the target has seen their packet.
#[inline(always)]
fn tell(header: &mut RecordHeader, known: &Known, counters: &mut HookCounters) {
    if !known.before || known.by_target {
        return;
    }
    header.flags |= record::SIGHTING;
    header.captured = 0;
    header.drops = counters.pending_drops as u32;
    // SAFETY: the header is initialised memory of the map value's first bytes.
    let output = unsafe {
        bpf_ringbuf_output(
            (&raw const RECORDS).cast_mut().cast(),
            core::ptr::from_mut(header).cast(),
            HEADER_LEN as u64,
            0,
        )
    };
    if output == 0 {
        counters.pending_drops = 0;
    } else {
        counters.pending_drops += 1;
    }
}

/// Fills in what the kernel keeps beside the packet's bytes.
#[inline(always)]
fn describe(header: &mut RecordHeader, skb: &__sk_buff, skb_address: u64) {
    header.len = skb.len;
    header.gso_size = skb.gso_size as u16;
    header.gso_segs = skb.gso_segs as u16;
    header.vlan_tci = 0;
    header.vlan_proto = 0;
    if skb.vlan_present != 0 {
        header.flags |= record::VLAN;
        header.vlan_tci = skb.vlan_tci as u16;
        header.vlan_proto = u16::from_be(skb.vlan_proto as u16);
    }
    if skb.gso_size != 0 {
        header.flags |= record::SEGMENTED;
    }
    let offset = tap!(ip_summed_offset);
    if offset != 0 {
        let mut byte = 0_u8;
        // SAFETY: reads one byte of the kernel's memory, and fails where there is none.
        let read = unsafe {
            bpf_probe_read_kernel(
                (&raw mut byte).cast(),
                1,
                (skb_address + u64::from(offset)) as *const _,
            )
        };
        if read == 0 {
            match (byte >> (tap!(ip_summed_shift) & 7)) & 3 {
                CHECKSUM_PARTIAL => header.flags |= record::CHECKSUM_NOT_READY,
                CHECKSUM_UNNECESSARY => header.flags |= record::CHECKSUM_VALID,
                _ => {}
            }
        }
    }
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

/// Adds 1 to a counter of all CPUs. The instruction that returns the sum needs Linux 5.12.
#[inline(always)]
fn count_up(counter: *mut u64) {
    // SAFETY: an aligned word of a map value.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({counter} + 0) += {one}",
            counter = in(reg) counter,
            one = in(reg) 1_u64,
            options(nostack, preserves_flags),
        );
    }
}

#[inline(always)]
fn min(a: u32, b: u32) -> u64 {
    u64::from(if a < b { a } else { b })
}

/// Bounds a length to 1..=[`MAX_SNAPLEN`] where the verifier can see it: the compiler would
/// leave out comparisons that it knows to hold, and verifiers before 6.12 want both bounds on
/// the very register.
#[inline(always)]
fn clamp(mut len: u64) -> u64 {
    // SAFETY: two comparisons and moves on one register.
    unsafe {
        core::arch::asm!(
            "if {len} > 0 goto +1",
            "{len} = 1",
            "if {len} < {end} goto +1",
            "{len} = {max}",
            len = inout(reg) len,
            end = const MAX_SNAPLEN + 1,
            max = const MAX_SNAPLEN,
            options(nomem, nostack, preserves_flags),
        );
    }
    len
}
