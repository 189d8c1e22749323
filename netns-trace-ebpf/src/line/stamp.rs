//! How a packet is recognised from tap to tap, and which taps are neighbours on a way.

/// Slots of the table of stamps; a power of two.
pub const STAMP_SLOTS: u32 = 1 << 15;

/// How long a packet is recognised after its last sighting, in nanoseconds. An address that
/// comes back later belongs to another packet.
pub const STAMP_AGE_NS: u64 = 1_000_000_000;

/// What the tap that saw a packet last left of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The packet's `struct sk_buff`; 0 in a stamp that nobody will look for any more.
    pub skb: u64,
    /// What of its content stays the same on its way, folded with all other fields of the stamp:
    /// one that two CPUs wrote at once fits no packet.
    pub sealed: u64,
    /// When it was seen last: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// When it was seen first.
    pub first_ns: u64,
    /// Its id.
    pub packet_id: u64,
    /// The hook that saw it last, in the low half; the one that saw it first, in the high half;
    /// each with bits of [`trace`].
    pub hooks: u64,
}

const _: () = assert!(size_of::<Stamp>() == 48);

/// Bits of each half of [`Stamp::hooks`], besides the hook's number.
pub mod trace {
    /// The hook's number.
    pub const NUMBER: u32 = 0xffff;
    /// Nothing had passed the tap for a while.
    pub const IDLE: u32 = 1 << 16;
    /// By then a tap of the target had seen the packet.
    pub const OF_TARGET: u32 = 1 << 17;
}

impl Stamp {
    /// The slot of the packet at this address. A `struct sk_buff` is 64-byte aligned at least,
    /// so the address's low bits say nothing.
    #[must_use]
    #[inline(always)]
    pub const fn slot(skb: u64) -> u32 {
        ((skb >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32 & (STAMP_SLOTS - 1)
    }

    /// The hook that saw the packet last, with bits of [`trace`].
    #[must_use]
    #[inline(always)]
    pub const fn last(&self) -> u32 {
        self.hooks as u32
    }

    /// The hook that saw it first.
    #[must_use]
    #[inline(always)]
    pub const fn first(&self) -> u32 {
        (self.hooks >> 32) as u32
    }

    /// [`Stamp::sealed`] of a packet with this content. Sums and exclusive ors in turn, each field by
    /// a factor of its own, so that fields of equal value do not cancel each other.
    #[must_use]
    #[inline(always)]
    pub const fn seal(&self, content: u64) -> u64 {
        let sum = (content ^ self.skb).wrapping_add(self.time_ns);
        let sum =
            (sum ^ self.first_ns.wrapping_mul(3)).wrapping_add(self.packet_id.wrapping_mul(5));
        sum ^ self.hooks.wrapping_mul(9)
    }

    /// Whether this is the stamp of the packet with this content that is at address `skb` now: an
    /// address alone says little, since the answer to a packet often gets its memory.
    #[must_use]
    #[inline(always)]
    pub const fn is_of(&self, skb: u64, content: u64, now_ns: u64) -> bool {
        self.skb == skb
            && self.sealed == self.seal(content)
            && now_ns.wrapping_sub(self.time_ns) < STAMP_AGE_NS
    }
}

/// What a packet has passed between two hooks: an entry of the map of pairs, by
/// [`pair_index`]. All zeroes: the two are no neighbours.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// 1 + the number of the segment between neighbours; [`Pair::NO_HISTOGRAM`] where none is
    /// kept.
    pub segment: u32,
    /// 1 + the number of the segment from a way's first tap to its last.
    pub total: u32,
}

impl Pair {
    /// Neighbours whose time is not recorded.
    pub const NO_HISTOGRAM: u32 = u32::MAX;
}

/// Where a pair of hooks is in the map of pairs.
#[must_use]
#[inline(always)]
pub const fn pair_index(from: u32, to: u32, hooks: u32) -> u32 {
    from * hooks + to
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKB: u64 = 0xffff_8880_0123_4500;
    const CONTENT: u64 = 0x1234_5678_9abc_def0;

    fn stamp() -> Stamp {
        let mut stamp = Stamp {
            skb: SKB,
            sealed: 0,
            time_ns: 1000,
            first_ns: 900,
            packet_id: 7,
            hooks: 3 << 32 | 5,
        };
        stamp.sealed = stamp.seal(CONTENT);
        stamp
    }

    #[test]
    fn a_packet_is_known_by_address_content_and_age() {
        assert!(stamp().is_of(SKB, CONTENT, 2000));
        assert!(!stamp().is_of(SKB + 256, CONTENT, 2000), "another address");
        assert!(!stamp().is_of(SKB, CONTENT ^ 1, 2000), "other content");
        assert!(
            !stamp().is_of(SKB, CONTENT, 1000 + STAMP_AGE_NS),
            "too late"
        );
        assert_eq!((stamp().last(), stamp().first()), (5, 3));
    }

    #[test]
    fn a_torn_stamp_fits_no_packet() {
        let whole = stamp();
        let torn = [
            Stamp {
                time_ns: 1001,
                ..whole
            },
            Stamp {
                first_ns: 901,
                ..whole
            },
            Stamp {
                packet_id: 8,
                ..whole
            },
            Stamp {
                hooks: 3 << 32 | 6,
                ..whole
            },
        ];
        for stamp in torn {
            assert!(!stamp.is_of(SKB, CONTENT, 2000), "{stamp:?}");
        }
        // Where a packet is seen first, both times are the same.
        let mut first = Stamp {
            first_ns: 1000,
            ..whole
        };
        first.sealed = first.seal(CONTENT);
        let torn = Stamp {
            time_ns: 1100,
            first_ns: 1100,
            ..first
        };
        assert!(!torn.is_of(SKB, CONTENT, 2000));
    }

    #[test]
    fn slots_of_neighbouring_packets_differ() {
        let base = 0xffff_8880_0100_0000_u64;
        let slots: std::collections::HashSet<u32> =
            (0..4096).map(|n| Stamp::slot(base + n * 256)).collect();
        assert!(slots.len() > 3900, "{} of 4096 slots used", slots.len());
        assert!(slots.iter().all(|slot| *slot < STAMP_SLOTS));
    }

    #[test]
    fn pairs_are_numbered_apart() {
        let all: std::collections::HashSet<u32> = (0..6)
            .flat_map(|from| (0..6).map(move |to| pair_index(from, to, 6)))
            .collect();
        assert_eq!(all.len(), 36);
    }
}
