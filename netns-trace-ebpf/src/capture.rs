//! Turns a packet into a record in the ring, or into a count of what became of it.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_PROD_POS,
    },
    helpers::generated::{
        bpf_get_smp_processor_id, bpf_get_socket_cookie, bpf_probe_read_kernel, bpf_ringbuf_output,
        bpf_ringbuf_discard, bpf_ringbuf_query, bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_skb_load_bytes,
    },
    programs::TcContext,
};
use aya_log_ebpf::warn;
use netns_trace_ebpf::{
    CAST, Control, EGRESS, HEADER_LEN, HookCounters, LONG_HEADER_LEN, MAX_SNAPLEN, RecordHeader,
    feature, record,
};

use crate::{
    maps::{CONTROL, RECORDS, SCRATCH, has, tap},
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
        && in_ring(BPF_RB_AVAIL_DATA) > u64::from(tap!(shed_above));
    if sheds {
        captured = u64::from(tap!(shed_len));
        header.flags |= record::SHED;
    }
    let captured = clamp(captured);
    header.captured = captured as u32;
    let is_last = has(hook, feature::LIMIT) && recorded(control) + 1 >= tap!(limit);
    let wakes = wake(header_len as u64 + captured, is_last);
    let copy = Copy {
        ctx,
        header,
        header_len,
        captured,
        wakes,
    };
    match if captured < IN_PLACE { copy.by_scratch(scratch.cast()) } else { copy.in_place(scratch.cast()) } {
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

/// Packets from this length on are copied into the ring at once.
const IN_PLACE: u64 = 16 << 10;
/// The sizes that records of such packets have are multiples of this.
const STEP: u64 = 4 << 10;

/// What became of a record.
#[derive(Clone, Copy)]
enum Copied {
    Whole,
    NoRoom,
    Failed,
}

/// A record that is to go into the ring.
struct Copy<'a> {
    ctx: &'a TcContext,
    header: &'a RecordHeader,
    header_len: usize,
    captured: u64,
    /// Flags for the helper that puts it there.
    wakes: u64,
}

impl Copy<'_> {
    /// Builds it in a buffer of this CPU, behind the header that is there, and puts it into the ring as long as it is.
    #[inline(always)]
    fn by_scratch(&self, scratch: *mut u8) -> Copied {
        // SAFETY: the buffer has room for a header and `MAX_SNAPLEN` bytes, and `captured` is at most that.
        let copied = unsafe {
            bpf_skb_load_bytes(
                self.ctx.as_ptr(),
                0,
                scratch.add(self.header_len).cast(),
                self.captured as u32,
            )
        };
        if copied != 0 {
            return Copied::Failed;
        }
        // SAFETY: as above.
        let output = unsafe {
            bpf_ringbuf_output(
                (&raw const RECORDS).cast_mut().cast(),
                scratch.cast(),
                self.header_len as u64 + clamp(self.captured),
                self.wakes,
            )
        };
        match output {
            0 => Copied::Whole,
            _ => Copied::NoRoom,
        }
    }

    /// Builds it in the ring, in a place of the next larger size that is known when the program is loaded, as the kernel
    /// wants it: a copy less, and none where there is no room.
    #[inline(always)]
    fn in_place(&self, scratch: *mut u8) -> Copied {
        macro_rules! sizes {
            ($($steps:literal)+) => {
                match (self.header_len as u64 + self.captured).div_ceil(STEP) {
                    $($steps => self.at_size::<{ $steps * STEP }>(),)+
                    _ => self.by_scratch(scratch),
                }
            };
        }
        // Up to what a GSO packet has at most, unless it is a BIG TCP one.
        sizes!(5 6 7 8 9 10 11 12 13 14 15 16 17)
    }

    #[inline(always)]
    fn at_size<const SIZE: u64>(&self) -> Copied {
        // SAFETY: asks for a place, of a size that is known.
        let place = unsafe { bpf_ringbuf_reserve((&raw const RECORDS).cast_mut().cast(), SIZE, 0) };
        if place.is_null() {
            return Copied::NoRoom;
        }
        let captured = clamp_to::<SIZE>(self.captured);
        // SAFETY: the place has room for the header and as many bytes, and is 8-byte aligned.
        let copied = unsafe {
            core::ptr::write(place.cast(), *self.header);
            bpf_skb_load_bytes(
                self.ctx.as_ptr(),
                0,
                place.cast::<u8>().add(self.header_len).cast(),
                captured as u32,
            )
        };
        if copied != 0 {
            // SAFETY: a place that is neither given up nor handed over yet.
            unsafe { bpf_ringbuf_discard(place, self.wakes) };
            return Copied::Failed;
        }
        // SAFETY: as above.
        unsafe { bpf_ringbuf_submit(place, self.wakes) };
        Copied::Whole
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

/// Whether the next record, of `len` bytes, wakes the reader, as flags of the helpers that put it into the ring.
///
/// Waking costs a packet more than all else, so it is done by amount: where the ring's end goes past a
/// multiple of `wake_bytes`. Two CPUs at once may both miss one, and meet the next; the reader looks from time to time anyway.
#[inline(always)]
fn wake(len: u64, is_last: bool) -> u64 {
    /// Before each record, `BPF_RINGBUF_HDR_SZ`; <https://github.com/torvalds/linux/blob/v5.10/include/uapi/linux/bpf.h#L4128>.
    const RING_HEADER: u64 = 8;
    let step = u64::from(tap!(wake_bytes));
    if step == 0 {
        return 0;
    }
    if is_last {
        return u64::from(BPF_RB_FORCE_WAKEUP);
    }
    let start = in_ring(BPF_RB_PROD_POS);
    let end = start + RING_HEADER + len;
    if (start ^ end) & !(step - 1) == 0 {
        u64::from(BPF_RB_NO_WAKEUP)
    } else {
        u64::from(BPF_RB_FORCE_WAKEUP)
    }
}

/// Tells the taps that wait for it that the target has seen their packet.
#[inline(always)]
pub(crate) fn tell(packet: &Sighting<'_>, counters: &mut HookCounters) {
    if !packet.known.before || packet.known.by_target {
        return;
    }
    let mut header = packet.header(counters);
    header.flags |= record::SIGHTING;
    // SAFETY: an initialised value on the stack.
    let output = unsafe {
        bpf_ringbuf_output(
            (&raw const RECORDS).cast_mut().cast(),
            (&raw mut header).cast(),
            HEADER_LEN as u64,
            wake(HEADER_LEN as u64, false),
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

/// What the ring says of itself.
#[inline(always)]
fn in_ring(what: u32) -> u64 {
    // SAFETY: the helper reads numbers of the map.
    unsafe { bpf_ringbuf_query((&raw const RECORDS).cast_mut().cast(), u64::from(what)) }
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

/// As [`clamp`], to what fits a record of `SIZE` bytes.
#[inline(always)]
fn clamp_to<const SIZE: u64>(mut len: u64) -> u64 {
    // SAFETY: two comparisons and moves on one register.
    unsafe {
        core::arch::asm!(
            "if {len} > 0 goto +1",
            "{len} = 1",
            "if {len} < {end} goto +1",
            "{len} = {max}",
            len = inout(reg) len,
            end = const SIZE - LONG_HEADER_LEN as u64 + 1,
            max = const SIZE - LONG_HEADER_LEN as u64,
            options(nomem, nostack, preserves_flags),
        );
    }
    len
}
