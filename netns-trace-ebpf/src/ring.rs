//! The way of a record into the ring: room for it, the packet's bytes, and whether its reader is woken.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_PROD_POS,
    },
    helpers::generated::{
        bpf_get_smp_processor_id, bpf_ringbuf_discard, bpf_ringbuf_output, bpf_ringbuf_query,
        bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_skb_load_bytes,
    },
    programs::TcContext,
};
use netns_trace_ebpf::{HEADER_LEN, LONG_HEADER_LEN, MAX_SNAPLEN, RecordHeader};

use crate::maps::{RECORDS, SCRATCH, tap};

/// Packets from this length on are copied into the ring at once.
const IN_PLACE: u64 = 16 << 10;
/// The sizes that records of such packets have are multiples of this...
const STEP: u64 = 8 << 10;
/// ...and of those above 64 KiB, as the longest that GSO makes are (unless they are BIG TCP's), this.
const LARGEST: u64 = 68 << 10;
/// The longest of these packets.
const MOST_IN_PLACE: u64 = LARGEST - LONG_HEADER_LEN as u64;

/// The size of the place for a record of so many bytes, header included.
#[inline(always)]
fn place_for(len: u64) -> u64 {
    if len > LARGEST / STEP * STEP {
        LARGEST
    } else {
        len.next_multiple_of(STEP)
    }
}

/// What became of a record.
#[derive(Clone, Copy)]
pub(crate) enum Copied {
    Whole,
    NoRoom,
    Failed,
}

/// A record that is to go into the ring.
pub(crate) struct Record<'a> {
    pub(crate) ctx: &'a TcContext,
    /// Bytes of the header.
    pub(crate) header_len: usize,
    /// Bytes of the packet.
    pub(crate) captured: u64,
    /// The capture has all it wanted with this one.
    pub(crate) is_last: bool,
}

impl Record<'_> {
    /// Puts it there. The header is at the start of `scratch`, a buffer of this CPU.
    #[inline(always)]
    pub(crate) fn put(&self, scratch: *mut u8) -> Copied {
        // The length itself is compared, not its sum with the header's: 6.12's verifier, which has learnt the sum's
        // bounds, forgets the length's own.
        if self.captured < IN_PLACE || self.captured > MOST_IN_PLACE {
            return self.by_scratch(scratch, wake(self.len(), self.is_last));
        }
        let wakes = wake(place_for(self.len()), self.is_last);
        let (header_len, captured) = (self.header_len as u64, self.captured);
        match netns_trace_large(self.ctx.skb.skb, header_len, captured, wakes) {
            WHOLE => Copied::Whole,
            NO_ROOM => Copied::NoRoom,
            _ => Copied::Failed,
        }
    }

    #[inline(always)]
    fn len(&self) -> u64 {
        self.header_len as u64 + self.captured
    }

    /// Builds it in the buffer, and puts it into the ring as long as it is.
    #[inline(always)]
    fn by_scratch(&self, scratch: *mut u8, wakes: u64) -> Copied {
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
                wakes,
            )
        };
        match output {
            0 => Copied::Whole,
            _ => Copied::NoRoom,
        }
    }
}

/// What [`netns_trace_large`] returns: 0 is for what must not happen.
const WHOLE: i32 = 1;
const NO_ROOM: i32 = 2;
const FAILED: i32 = 3;

/// Builds a record in the ring, in a place of the next larger size that is known when the program is loaded, as the kernel
/// wants it: a copy less, and none where there is no room. The header is in this CPU's buffer.
///
/// A function by itself, and one that others may call as far as the kernel knows: so the verifier looks at it once,
/// rather than at each size again on each way to it, which took 40 ms a tap. Such a function takes the context and numbers
/// alone before 5.12.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netns_trace_large(
    packet: *mut __sk_buff,
    header_len: u64,
    captured: u64,
    wakes: u64,
) -> i32 {
    // SAFETY: the helper only reads the CPU's number.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(scratch) = SCRATCH.get_ptr_mut(cpu) else {
        return FAILED;
    };
    // SAFETY: this CPU's buffer, which starts with the header; 8-byte aligned, as map values are.
    let header = unsafe { &*scratch.cast::<RecordHeader>() };
    macro_rules! sizes {
        ($($size:tt)+) => {
            match place_for(header_len + captured) {
                $($size => at_size::<$size>(packet, header, header_len, captured, wakes),)+
                _ => FAILED,
            }
        };
    }
    sizes!(0x6000 0x8000 0xa000 0xc000 0xe000 0x1_0000 LARGEST)
}

#[inline(always)]
fn at_size<const SIZE: u64>(
    packet: *mut __sk_buff,
    header: &RecordHeader,
    header_len: u64,
    captured: u64,
    wakes: u64,
) -> i32 {
    // SAFETY: asks for a place, of a size that is known.
    let place = unsafe { bpf_ringbuf_reserve((&raw const RECORDS).cast_mut().cast(), SIZE, 0) };
    if place.is_null() {
        return NO_ROOM;
    }
    let captured = clamp_to::<SIZE>(captured);
    // Two lengths that the verifier knows, rather than one that it would have to take on trust.
    let header_len = match header_len as usize {
        LONG_HEADER_LEN => LONG_HEADER_LEN,
        _ => HEADER_LEN,
    };
    // SAFETY: the place has room for the header and as many bytes, and is 8-byte aligned.
    let copied = unsafe {
        core::ptr::write(place.cast(), *header);
        bpf_skb_load_bytes(
            packet.cast(),
            0,
            place.cast::<u8>().add(header_len).cast(),
            captured as u32,
        )
    };
    if copied != 0 {
        // SAFETY: a place that is neither given up nor handed over yet.
        unsafe { bpf_ringbuf_discard(place, wakes) };
        return FAILED;
    }
    // SAFETY: as above.
    unsafe { bpf_ringbuf_submit(place, wakes) };
    WHOLE
}

/// Puts a record without a packet there; whether there was room.
#[inline(always)]
pub(crate) fn put_header(header: &mut RecordHeader) -> bool {
    // SAFETY: an initialised value of that size.
    let output = unsafe {
        bpf_ringbuf_output(
            (&raw const RECORDS).cast_mut().cast(),
            (&raw mut *header).cast(),
            HEADER_LEN as u64,
            wake(HEADER_LEN as u64, false),
        )
    };
    output == 0
}

/// Bytes in the ring.
#[inline(always)]
pub(crate) fn filled() -> u64 {
    ask(BPF_RB_AVAIL_DATA)
}

/// What the ring says of itself.
#[inline(always)]
fn ask(what: u32) -> u64 {
    // SAFETY: the helper reads numbers of the map.
    unsafe { bpf_ringbuf_query((&raw const RECORDS).cast_mut().cast(), u64::from(what)) }
}

/// Whether the next record, of `len` bytes, wakes the reader, as flags of the helpers that put it into the ring.
///
/// Waking costs a packet more than all else, so it is done by amount: where the ring's end goes past a
/// multiple of `wake_bytes`. Two CPUs at once may both miss one, and meet the next; the reader looks from time to time
/// anyway.
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
    let start = ask(BPF_RB_PROD_POS);
    let end = start + RING_HEADER + len;
    if (start ^ end) & !(step - 1) == 0 {
        u64::from(BPF_RB_NO_WAKEUP)
    } else {
        u64::from(BPF_RB_FORCE_WAKEUP)
    }
}

/// Bounds a length to 1..=[`MAX_SNAPLEN`] where the verifier can see it: the compiler would
/// leave out comparisons that it knows to hold, and verifiers before 6.12 want both bounds on
/// the very register.
#[inline(always)]
pub(crate) fn clamp(mut len: u64) -> u64 {
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
