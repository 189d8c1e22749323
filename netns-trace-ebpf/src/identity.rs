//! Recognises a packet from tap to tap by its `struct sk_buff`'s address, which survives the
//! veth, the bridge and routing. A wrong match would be a lie, a missed one is only a new id:
//! whatever is in doubt is a new packet.

use core::ptr;

use aya_ebpf::{helpers::generated::bpf_get_smp_processor_id, programs::TcContext};
use netns_trace_ebpf::{Identity, feature};

use crate::maps::{IDENTITIES, PACKET_IDS, has, tap};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Bytes from the network header on that a fingerprint takes: what ARP has.
const AT_HAND: usize = 28;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;
const IPPROTO_TCP: u8 = 6;

/// What is known of a packet at this tap.
pub(crate) struct Known {
    /// Its id; 0 if none could be given.
    pub(crate) packet_id: u64,
    /// A tap of the target has seen it before this one.
    pub(crate) by_target: bool,
    /// A tap has seen it before this one.
    pub(crate) before: bool,
}

/// Recognises the packet at address `skb`, or gives it a new id, and leaves it for the next tap.
#[inline(always)]
pub(crate) fn recognise(ctx: &TcContext, hook: u32, skb: u64, now_ns: u64) -> Known {
    let mut known = Known {
        packet_id: 0,
        by_target: false,
        before: false,
    };
    let Some(slot) = IDENTITIES.get_ptr_mut(Identity::slot(skb)) else {
        return known;
    };
    let mut now = Identity {
        skb,
        packet_id: 0,
        time_ns: now_ns,
        fingerprint: fingerprint(ctx, hook),
        len: ctx.len(),
        tap: tap!(tap),
        place: tap!(place[hook as usize]),
        padding: 0,
        check: 0,
    };
    // SAFETY: the pointer is to a map value; another CPU may write it meanwhile, which the check
    // value shows.
    let seen = unsafe { ptr::read(slot) };
    if seen.is(&now) {
        known.packet_id = seen.packet_id;
        known.by_target = seen.place & Identity::OF_TARGET != 0;
        known.before = true;
    } else {
        known.packet_id = new_id();
    }
    now.packet_id = known.packet_id;
    if known.by_target || has(hook, feature::TARGET) {
        now.place |= Identity::OF_TARGET;
    }
    now.check = now.checksum();
    // SAFETY: as above.
    unsafe { ptr::write(slot, now) };
    known
}

/// What neither bridge nor router nor NAT changes in a packet, as far as its headers are at hand:
/// identification and fragment of IPv4 and the sequence number of TCP in it, flow label and payload
/// length of IPv6, all that matters of ARP. Length and address tell the rest.
#[inline(always)]
fn fingerprint(ctx: &TcContext, hook: u32) -> u64 {
    let raw = has(hook, feature::RAW);
    let (data, end) = (ctx.data(), ctx.data_end());
    let network = if raw { data } else { data + ETHERNET };
    if network + AT_HAND > end {
        return 0;
    }
    let half = |at: usize| u64::from(load::<u16>(network + at).to_be());
    let word = |at: usize| u64::from(load::<u32>(network + at));
    let ether_type = if raw {
        match load::<u8>(network) >> 4 {
            4 => ETH_P_IP,
            _ => ETH_P_IPV6,
        }
    } else {
        u16::from_be(load::<u16>(data + ETHERNET - 2))
    };
    match ether_type {
        ETH_P_IP => {
            let mut print = half(4) << 48 | half(6) << 32;
            if load::<u8>(network) == 0x45 && load::<u8>(network + 9) == IPPROTO_TCP {
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

/// Reads a number of the packet, whose place the caller has compared with the packet's end.
#[inline(always)]
fn load<T: Copy>(at: usize) -> T {
    // SAFETY: the caller has checked that so many bytes are there; the verifier checks it again.
    unsafe { ptr::read_unaligned(at as *const T) }
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
