//! Recognises a packet from tap to tap by its `struct sk_buff`'s address, which survives the
//! veth, the bridge and routing. A wrong match would be a lie, a missed one is only a new id:
//! whatever is in doubt is a new packet.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use netns_trace_ebpf::{Identity, feature};

use crate::maps::{IDENTITIES, PACKET_IDS, has, tap};

/// What is known of a packet at this tap.
pub(crate) struct Known {
    /// Its id; 0 if none could be given.
    pub(crate) packet_id: u64,
    /// A tap of the target has seen it before this one.
    pub(crate) by_target: bool,
    /// A tap has seen it before this one.
    pub(crate) before: bool,
}

/// Recognises the packet at `skb`, or gives it a new id, and leaves it for the next tap.
#[inline(always)]
pub(crate) fn recognise(hook: u32, skb: u64, len: u32, place: u32, now_ns: u64) -> Known {
    let mut known = Known {
        packet_id: 0,
        by_target: false,
        before: false,
    };
    let Some(slot) = IDENTITIES.get_ptr_mut(Identity::slot(skb)) else {
        return known;
    };
    // SAFETY: the pointer is to a map value; another CPU may write it meanwhile, which the check
    // value shows.
    let seen = unsafe { ptr::read(slot) };
    if seen.is(skb, len, place, now_ns) {
        known.packet_id = seen.packet_id;
        known.by_target = seen.place & Identity::OF_TARGET != 0;
        known.before = true;
    } else {
        known.packet_id = new_id();
    }
    let mut now = Identity {
        skb,
        packet_id: known.packet_id,
        time_ns: now_ns,
        len,
        place,
        check: 0,
    };
    if known.by_target || has(hook, feature::TARGET) {
        now.place |= Identity::OF_TARGET;
    }
    now.check = now.checksum();
    // SAFETY: as above.
    unsafe { ptr::write(slot, now) };
    known
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
