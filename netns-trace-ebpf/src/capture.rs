//! Turns a packet into a record in the ring, or into a count of what became of it.

use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    helpers::generated::{bpf_get_smp_processor_id, bpf_get_socket_cookie, bpf_probe_read_kernel},
    programs::TcContext,
};
use aya_log_ebpf::warn;
use netns_trace_ebpf::{
    CAST, Control, EGRESS, HEADER_LEN, HookCounters, LONG_HEADER_LEN, RecordHeader, feature, record,
};

use crate::{
    maps::{CONTROL, SCRATCH, has, tap},
    ring::{self, Copied, Record, clamp},
    stamp::Known,
};

/// `ip_summed` of a packet whose checksum a device has verified.
/// <https://github.com/torvalds/linux/blob/v5.10/include/linux/skbuff.h#L220>
const CHECKSUM_UNNECESSARY: u8 = 1;
/// `ip_summed` of a packet whose checksum is yet to be filled in.
const CHECKSUM_PARTIAL: u8 = 3;

/// What the classifier knows of a packet before it copies it.
pub(crate) struct Sighting<'a> {
    pub(crate) ctx: &'a TcContext,
    /// [`INGRESS`](netns_trace_ebpf::INGRESS) or [`EGRESS`].
    pub(crate) hook: u32,
    /// The address of its `struct sk_buff`.
    pub(crate) skb: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(crate) time_ns: u64,
    pub(crate) known: Known,
}

/// Copies a wanted packet into the ring, or counts why not.
#[inline(always)]
pub(crate) fn record(packet: &Sighting<'_>, counters: &mut HookCounters) {
    let (ctx, hook) = (packet.ctx, packet.hook);
    // SAFETY: the helper only reads the CPU's number.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let (Some(scratch), Some(control)) = (SCRATCH.get_ptr_mut(cpu), CONTROL.get_ptr_mut(0)) else {
        return;
    };
    // SAFETY: map values; user space writes `ended`, all CPUs add to `recorded`.
    let control = unsafe { &*control };
    if ended(hook, control) {
        counters.discarded += 1;
        return;
    }
    // SAFETY: the scratch buffer belongs to this CPU; it is 8-byte aligned, as map values are.
    let header = unsafe { &mut *scratch.cast::<RecordHeader>() };
    *header = packet.header(counters);
    // SAFETY: the context is the kernel's, valid for the whole run.
    describe(header, unsafe { &*ctx.skb.skb });
    match checksum(ctx, packet.skb) {
        CHECKSUM_PARTIAL => header.flags |= record::CHECKSUM_NOT_READY,
        CHECKSUM_UNNECESSARY => header.flags |= record::CHECKSUM_VALID,
        _ => {}
    }
    let mut header_len = HEADER_LEN;
    if has(hook, feature::SOCKET) {
        header_len = LONG_HEADER_LEN;
        header.flags |= record::SOCKET;
        // SAFETY: the context is the kernel's; the helper gives the socket a number, if it has none.
        header.socket = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    }
    let mut captured = min(header.len, tap!(snaplen));
    let sheds = tap!(shed_above) != 0
        && captured > u64::from(tap!(shed_len))
        && ring::filled() > u64::from(tap!(shed_above));
    if sheds {
        captured = u64::from(tap!(shed_len));
        header.flags |= record::SHED;
    }
    let captured = clamp(captured);
    header.captured = captured as u32;
    let record = Record {
        ctx,
        header_len,
        captured,
        is_last: has(hook, feature::LIMIT) && recorded(control) + 1 >= tap!(limit),
    };
    match record.put(scratch.cast()) {
        Copied::Whole => {}
        Copied::NoRoom => {
            counters.ring_full += 1;
            counters.pending_drops += 1;
            return;
        }
        Copied::Failed => {
            counters.copy_failed += 1;
            counters.pending_drops += 1;
            let tap = tap!(tap);
            warn!(ctx, "tap {}: a packet's bytes could not be copied", tap);
            return;
        }
    }
    counters.recorded += 1;
    counters.pending_drops = 0;
    if sheds {
        counters.shed += 1;
    }
    if has(hook, feature::LIMIT) {
        count_up((&raw const control.recorded).cast_mut());
    }
}

impl Sighting<'_> {
    /// The header of a record of it, without what [`describe`] adds.
    #[inline(always)]
    fn header(&self, counters: &HookCounters) -> RecordHeader {
        let mut flags = 0;
        if self.hook == EGRESS {
            flags |= record::EGRESS;
        }
        if self.known.undecided {
            flags |= record::UNDECIDED;
        }
        RecordHeader {
            time_ns: self.time_ns,
            packet_id: self.known.packet_id,
            drops: counters.pending_drops as u32,
            tap: tap!(tap) as u16,
            flags,
            ..RecordHeader::default()
        }
    }
}

/// Whether the capture is over: because user space says so, or all wanted records are there.
#[inline(always)]
fn ended(hook: u32, control: &Control) -> bool {
    // SAFETY: an initialised word of a map value; volatile, since user space writes it.
    let ended = unsafe { core::ptr::read_volatile(&raw const control.ended) };
    ended != 0 || (has(hook, feature::LIMIT) && recorded(control) >= tap!(limit))
}

/// Records in the ring so far, where a limit is set.
#[inline(always)]
fn recorded(control: &Control) -> u64 {
    // SAFETY: an initialised word of a map value; volatile, since other CPUs write it.
    unsafe { core::ptr::read_volatile(&raw const control.recorded) }
}

/// Tells the taps that wait for it that the target has seen their packet.
#[inline(always)]
pub(crate) fn tell(packet: &Sighting<'_>, counters: &mut HookCounters) {
    if !packet.known.before || packet.known.by_target {
        return;
    }
    let mut header = packet.header(counters);
    header.flags |= record::SIGHTING;
    if ring::put_header(&mut header) {
        counters.pending_drops = 0;
    } else {
        counters.pending_drops += 1;
    }
}

/// Fills in what the kernel keeps beside the packet's bytes.
#[inline(always)]
fn describe(header: &mut RecordHeader, skb: &__sk_buff) {
    header.len = skb.len;
    header.gso_size = skb.gso_size as u16;
    header.gso_segs = skb.gso_segs as u16;
    if skb.vlan_present != 0 {
        header.flags |= record::VLAN;
        header.vlan_tci = skb.vlan_tci as u16;
        header.vlan_proto = u16::from_be(skb.vlan_proto as u16);
    }
    if skb.gso_size != 0 {
        header.flags |= record::SEGMENTED;
    }
}

/// The packet's `ip_summed`; 0 where the kernel does not say where that is.
#[inline(always)]
fn checksum(ctx: &TcContext, skb_address: u64) -> u8 {
    let offset = u64::from(tap!(ip_summed_offset));
    if offset == 0 {
        return 0;
    }
    let byte = if tap!(reads_skb) != 0 {
        read_skb(ctx, offset)
    } else {
        let mut byte = 0_u8;
        // SAFETY: reads one byte of the kernel's memory, and fails where there is none.
        let read = unsafe {
            bpf_probe_read_kernel(
                (&raw mut byte).cast(),
                1,
                (skb_address + offset) as *const _,
            )
        };
        if read != 0 {
            return 0;
        }
        byte
    };
    (byte >> (tap!(ip_summed_shift) & 7)) & 3
}

/// A byte of the kernel's `struct sk_buff`, read in place: three times as fast as by the helper, which reckons with
/// addresses where nothing is.
#[inline(always)]
fn read_skb(ctx: &TcContext, offset: u64) -> u8 {
    let byte: u64;
    // SAFETY: the verifier knows what the call returns, and that the byte lies in it.
    unsafe {
        core::arch::asm!(
            ".8byte {cast}",
            "r0 += r6",
            "r0 = *(u8 *)(r0 + 0)",
            cast = const CAST,
            inlateout("r1") ctx.as_ptr() => _,
            in("r6") offset,
            lateout("r0") byte,
            lateout("r2") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            options(nostack, readonly),
        );
    }
    byte as u8
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
