//! The line between kernel and user: what the kernel side is configured with, and what it
//! hands over. Both sides compile this file, so a layout is written down once.
//!
//! Builds on the host and needs no aya-ebpf; nothing here may touch the kernel or the user's
//! system. Every type that crosses the line is `repr(C)`, has its padding spelled out, and
//! holds neither `bool` nor an enum.

#![cfg_attr(not(test), no_std)]

/// Largest number of packet bytes in one record: what tcpdump, tshark and capinfos accept
/// (`MAXIMUM_SNAPLEN` in libpcap, `WTAP_MAX_PACKET_SIZE_STANDARD` in Wireshark).
pub const MAX_SNAPLEN: u32 = 262_144;

/// Size of [`RecordHeader`] in bytes.
pub const HEADER_LEN: usize = size_of::<RecordHeader>();

/// Bytes of the scratch buffer that each CPU builds its record in.
pub const SCRATCH_LEN: usize = HEADER_LEN + MAX_SNAPLEN as usize;

/// Most taps that one capture may have.
pub const MAX_TAPS: u32 = 1024;

/// Slots of the table that recognises a packet from tap to tap; a power of two.
pub const IDENTITY_SLOTS: u32 = 1 << 15;

/// How long a packet is recognised after its last sighting, in nanoseconds. An address that
/// comes back later belongs to another packet.
pub const IDENTITY_AGE_NS: u64 = 1_000_000_000;

/// Which of an interface's two hooks: packets that it receives.
pub const INGRESS: u32 = 0;
/// Which of an interface's two hooks: packets that it sends.
pub const EGRESS: u32 = 1;

/// Bits of [`RecordHeader::flags`].
pub mod record {
    /// The interface sent the packet (otherwise it received it).
    pub const EGRESS: u16 = 1 << 0;
    /// `vlan_tci` and `vlan_proto` hold a tag that the kernel keeps beside the packet.
    pub const VLAN: u16 = 1 << 1;
    /// The checksum is yet to be filled in by the device (`CHECKSUM_PARTIAL`).
    pub const CHECKSUM_NOT_READY: u16 = 1 << 2;
    /// A device has verified the checksum (`CHECKSUM_UNNECESSARY`).
    pub const CHECKSUM_VALID: u16 = 1 << 3;
    /// One packet here, several on the wire (`gso_size` is set).
    pub const SEGMENTED: u16 = 1 << 4;
    /// Whether a tap of the target sees this packet too is not known yet.
    pub const UNDECIDED: u16 = 1 << 5;
    /// A record without data, of a tap that is not written: it tells that the target saw the
    /// packet.
    pub const SIGHTING: u16 = 1 << 6;
}

/// Places on a packet's way, by the hook that stands there. A packet moves to higher places
/// alone; those that it starts at share the lowest, so that it is never taken for another there.
pub mod place {
    /// The target sends it.
    pub const INSIDE_OUT: u32 = 1;
    /// The machine receives it.
    pub const UPLINK_IN: u32 = 1;
    /// The host side of the veth receives it from the target.
    pub const VETH_UP: u32 = 2;
    /// The bridge hands it to the host.
    pub const BRIDGE_UP: u32 = 3;
    /// The machine sends it.
    pub const UPLINK_OUT: u32 = 4;
    /// The host hands it to the bridge.
    pub const BRIDGE_DOWN: u32 = 5;
    /// The host side of the veth sends it to the target.
    pub const VETH_DOWN: u32 = 6;
    /// The target receives it.
    pub const INSIDE_IN: u32 = 7;
}

/// Bits of [`TapConfig::features`].
pub mod feature {
    /// Packets of this tap go into the ring.
    pub const EMIT: u32 = 1 << 0;
    /// Packets are recognised from tap to tap and carry a packet id.
    pub const IDENTIFY: u32 = 1 << 1;
    /// The tap belongs to the target itself.
    pub const TARGET: u32 = 1 << 2;
    /// The tap is not the target's: only packets that a tap of the target sees too are wanted.
    pub const SHARED: u32 = 1 << 3;
    /// Other taps wait for this one's word on whether it saw their packet.
    pub const TELL: u32 = 1 << 5;
    /// The interface's packets start with the IP header.
    pub const RAW: u32 = 1 << 6;
    /// The capture ends after [`super::TapConfig::limit`] records.
    pub const LIMIT: u32 = 1 << 4;
}

/// What one packet at one tap leaves in the ring; `captured` bytes of the packet follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHeader {
    /// When the tap saw it: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// The same number on every sighting of one packet; 0 where packets are not recognised.
    pub packet_id: u64,
    /// The packet's length at the hook, in bytes, link-layer header included and the tag
    /// beside the packet not.
    pub len: u32,
    /// Bytes of the packet that follow.
    pub captured: u32,
    /// Records of this tap and direction lost on this CPU since its last that got through.
    pub drops: u32,
    /// VLAN tag control information, where [`record::VLAN`] is set.
    pub vlan_tci: u16,
    /// The tag's protocol (`0x8100`, `0x88a8`), host byte order.
    pub vlan_proto: u16,
    /// Payload bytes of each wire packet that this one stands for; 0 where it is one.
    pub gso_size: u16,
    /// Wire packets that this one stands for; 0 where it is one.
    pub gso_segs: u16,
    /// Which tap.
    pub tap: u16,
    /// Bits of [`record`].
    pub flags: u16,
}

const _: () = assert!(size_of::<RecordHeader>() == 40);
const _: () = assert!(align_of::<RecordHeader>() == 8);

impl RecordHeader {
    /// Takes a record from the ring apart into its header and the packet's bytes.
    ///
    /// # Errors
    ///
    /// A record that is shorter than its header, or than its header says.
    pub fn split(record: &[u8]) -> Result<(Self, &[u8]), BadRecord> {
        let bad = BadRecord { len: record.len() };
        let (header, data) = record.split_at_checked(HEADER_LEN).ok_or(bad)?;
        let u64_at = |at: usize| u64::from_ne_bytes(take(header, at));
        let u32_at = |at: usize| u32::from_ne_bytes(take(header, at));
        let u16_at = |at: usize| u16::from_ne_bytes(take(header, at));
        let header = Self {
            time_ns: u64_at(0),
            packet_id: u64_at(8),
            len: u32_at(16),
            captured: u32_at(20),
            drops: u32_at(24),
            vlan_tci: u16_at(28),
            vlan_proto: u16_at(30),
            gso_size: u16_at(32),
            gso_segs: u16_at(34),
            tap: u16_at(36),
            flags: u16_at(38),
        };
        let data = data.get(..header.captured as usize).ok_or(bad)?;
        Ok((header, data))
    }
}

/// The `N` bytes of `bytes` from `at` on; zeroes where they are not all there.
fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut taken = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        taken.copy_from_slice(found);
    }
    taken
}

/// A record of the ring that does not hold what its header promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Its length in bytes.
    pub len: usize,
}

impl core::fmt::Display for BadRecord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "a ring record of {} bytes is shorter than it says",
            self.len
        )
    }
}

impl core::error::Error for BadRecord {}

/// What one load of the programs is specialised with: a read-only global, so that the verifier
/// removes what is off.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapConfig {
    /// Records of all taps after which the capture ends, where [`feature::LIMIT`] is set.
    pub limit: u64,
    /// The tap's number.
    pub tap: u32,
    /// Most bytes of a packet that go into its record, 1..=[`MAX_SNAPLEN`].
    pub snaplen: u32,
    /// Bits of [`feature`], for each hook ([`INGRESS`], [`EGRESS`]).
    pub features: [u32; 2],
    /// [`place`] of each hook ([`INGRESS`], [`EGRESS`]): a packet is recognised only at places
    /// further on than where it was seen last.
    pub place: [u32; 2],
    /// Byte of `struct sk_buff` that holds `ip_summed`, from the running kernel's BTF; 0 where
    /// unknown.
    pub ip_summed_offset: u32,
    /// Bit at which `ip_summed` (two bits) starts in that byte.
    pub ip_summed_shift: u32,
    /// CPUs that the kernel may have: packet ids of different CPUs interleave by it.
    pub cpus: u32,
    /// Nothing; it makes the size a multiple of the alignment.
    pub padding: u32,
}

const _: () = assert!(size_of::<TapConfig>() == 48);

/// What one CPU counted at one hook of one tap. Each packet is counted once in `seen`, and,
/// unless it is foreign or filtered out, once in `received` and once in what became of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookCounters {
    /// Packets that the classifier saw, copies of own multicast excepted.
    pub seen: u64,
    /// Of these, packets that are wanted.
    pub received: u64,
    /// Wanted packets whose record is in the ring.
    pub recorded: u64,
    /// Wanted packets for which the ring had no room.
    pub ring_full: u64,
    /// Wanted packets whose bytes could not be copied.
    pub copy_failed: u64,
    /// Wanted packets after the end of the capture.
    pub discarded: u64,
    /// Packets of other containers at a tap that they share.
    pub foreign: u64,
    /// Losses that no record has carried yet.
    pub pending_drops: u64,
}

const _: () = assert!(size_of::<HookCounters>() == 64);

/// Where a hook's counters are in the map of counters.
#[must_use]
pub const fn hook_index(tap: u32, hook: u32) -> u32 {
    tap * 2 + hook
}

/// What all taps share.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Not 0 once the capture has ended: what comes now is discarded.
    pub ended: u64,
    /// Records in the ring so far, where a limit is set.
    pub recorded: u64,
}

/// A packet on its way, as its last tap left it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The packet's `struct sk_buff`.
    pub skb: u64,
    /// Its id.
    pub packet_id: u64,
    /// When it was seen last: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// What of its content stays the same on its way.
    pub fingerprint: u64,
    /// Its length.
    pub len: u32,
    /// The tap that saw it.
    pub tap: u32,
    /// [`place`] of the hook that saw it, plus [`Identity::OF_TARGET`].
    pub place: u32,
    /// Nothing; it makes the size a multiple of the alignment.
    pub padding: u32,
    /// [`Identity::checksum`] of all that: a slot that two CPUs wrote at once does not pass.
    pub check: u64,
}

const _: () = assert!(size_of::<Identity>() == 56);

impl Identity {
    /// Set in `place` once a tap of the target has seen the packet.
    pub const OF_TARGET: u32 = 1 << 31;

    /// The slot of the packet at this address. A `struct sk_buff` is 64-byte aligned at least,
    /// so the address's low bits say nothing.
    #[must_use]
    #[inline(always)]
    pub const fn slot(skb: u64) -> u32 {
        ((skb >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32 & (IDENTITY_SLOTS - 1)
    }

    /// The check value of the other fields.
    #[must_use]
    #[inline(always)]
    pub const fn checksum(&self) -> u64 {
        self.skb
            ^ self.packet_id.rotate_left(17)
            ^ self.time_ns.rotate_left(31)
            ^ self.fingerprint.rotate_left(43)
            ^ (((self.len as u64) << 32) | self.place as u64)
            ^ ((self.tap as u64) << 16)
    }

    /// Whether this slot holds the packet that another tap sees now: the same content at the same
    /// address, further on, soon enough. An address alone says little: the answer to a packet often
    /// gets its memory.
    #[must_use]
    #[inline(always)]
    pub const fn is(&self, now: &Self) -> bool {
        self.skb == now.skb
            && self.len == now.len
            && self.fingerprint == now.fingerprint
            && self.tap != now.tap
            && self.check == self.checksum()
            && (self.place & !Self::OF_TARGET) < now.place
            && now.time_ns.wrapping_sub(self.time_ns) < IDENTITY_AGE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(header: &RecordHeader) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(header.time_ns.to_ne_bytes());
        bytes.extend(header.packet_id.to_ne_bytes());
        for word in [header.len, header.captured, header.drops] {
            bytes.extend(word.to_ne_bytes());
        }
        for half in [
            header.vlan_tci,
            header.vlan_proto,
            header.gso_size,
            header.gso_segs,
            header.tap,
            header.flags,
        ] {
            bytes.extend(half.to_ne_bytes());
        }
        bytes
    }

    fn header() -> RecordHeader {
        RecordHeader {
            time_ns: 0x0102_0304_0506_0708,
            packet_id: 0x1112_1314_1516_1718,
            len: 0x2122_2324,
            captured: 3,
            drops: 0x4142_4344,
            vlan_tci: 0x5152,
            vlan_proto: 0x6162,
            gso_size: 0x7172,
            gso_segs: 0x8182,
            tap: 0x9192,
            flags: 0xa1a2,
        }
    }

    /// The kernel writes the struct's memory; user space reads field by field. They must agree.
    #[test]
    fn decoding_agrees_with_memory_layout() {
        let header = header();
        // SAFETY: `RecordHeader` is `repr(C)`, without padding (its size is the sum of its
        // fields' sizes), and all its bytes are initialised.
        let memory =
            unsafe { core::slice::from_raw_parts((&raw const header).cast::<u8>(), HEADER_LEN) };
        assert_eq!(memory, bytes_of(&header));
    }

    #[test]
    fn split_gives_header_and_exactly_the_captured_bytes() {
        let mut record = bytes_of(&header());
        record.extend([1, 2, 3, 0xee, 0xee]);
        let (decoded, data) = RecordHeader::split(&record).expect("long enough");
        assert_eq!(decoded, header());
        assert_eq!(data, [1, 2, 3]);
    }

    #[test]
    fn split_refuses_every_cut_of_a_record() {
        let mut record = bytes_of(&header());
        record.extend([1, 2, 3]);
        for len in 0..record.len() {
            assert_eq!(
                RecordHeader::split(&record[..len]),
                Err(BadRecord { len }),
                "cut at {len}"
            );
        }
    }

    fn seen(place: u32) -> Identity {
        let mut identity = Identity {
            skb: 0xffff_8880_0123_4500,
            packet_id: 7,
            time_ns: 1000,
            fingerprint: 0x1234,
            len: 98,
            tap: 1,
            place,
            padding: 0,
            check: 0,
        };
        identity.check = identity.checksum();
        identity
    }

    #[test]
    fn a_packet_is_recognised_further_on_only() {
        let before = seen(2 | Identity::OF_TARGET);
        let now = Identity {
            time_ns: 2000,
            tap: 2,
            place: 3,
            ..before
        };
        assert!(before.is(&now));
        let differing = [
            ("the same place", Identity { place: 2, ..now }),
            ("further back", Identity { place: 1, ..now }),
            ("the same tap", Identity { tap: 1, ..now }),
            ("another length", Identity { len: 99, ..now }),
            (
                "other content",
                Identity {
                    fingerprint: 0x1235,
                    ..now
                },
            ),
            (
                "another address",
                Identity {
                    skb: now.skb + 256,
                    ..now
                },
            ),
            (
                "too late",
                Identity {
                    time_ns: 1000 + IDENTITY_AGE_NS,
                    ..now
                },
            ),
        ];
        for (why, other) in differing {
            assert!(!before.is(&other), "{why}");
        }
    }

    #[test]
    fn a_torn_slot_is_not_recognised() {
        let mut before = seen(2);
        before.packet_id = 8;
        let now = Identity {
            tap: 2,
            place: 3,
            ..before
        };
        assert!(!before.is(&now));
    }

    #[test]
    fn slots_of_neighbouring_packets_differ() {
        let base = 0xffff_8880_0100_0000_u64;
        let slots: std::collections::HashSet<u32> =
            (0..4096).map(|n| Identity::slot(base + n * 256)).collect();
        assert!(slots.len() > 3900, "{} of 4096 slots used", slots.len());
        assert!(slots.iter().all(|slot| *slot < IDENTITY_SLOTS));
    }
}
