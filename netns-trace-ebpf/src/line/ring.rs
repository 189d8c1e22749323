//! What one packet at one tap leaves in the ring.

/// Largest number of packet bytes in one record: what tcpdump, tshark and capinfos accept
/// (`MAXIMUM_SNAPLEN` in libpcap, `WTAP_MAX_PACKET_SIZE_STANDARD` in Wireshark).
pub const MAX_SNAPLEN: u32 = 262_144;

/// Bytes of a record before the packet's.
pub const HEADER_LEN: usize = size_of::<RecordHeader>() - size_of::<u64>();

/// The same, where the socket is told.
pub const LONG_HEADER_LEN: usize = size_of::<RecordHeader>();

/// Bytes of the scratch buffer that each CPU builds its record in.
pub const SCRATCH_LEN: usize = LONG_HEADER_LEN + MAX_SNAPLEN as usize;

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
    /// The header ends with the socket's cookie.
    pub const SOCKET: u16 = 1 << 7;
    /// The packet's body was left out: the ring was filling up.
    pub const SHED: u16 = 1 << 8;
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
    /// The number of the socket that sent it, which no other has before the next boot; 0 where there is none.
    /// Only there where [`record::SOCKET`] is set: else the packet's bytes are in its place.
    pub socket: u64,
}

const _: () = assert!(size_of::<RecordHeader>() == 48);
const _: () = assert!(core::mem::offset_of!(RecordHeader, socket) == HEADER_LEN);
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
        let mut header = Self {
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
            socket: 0,
        };
        let mut data = data;
        if header.flags & self::record::SOCKET != 0 {
            let (socket, rest) = data.split_at_checked(size_of::<u64>()).ok_or(bad)?;
            header.socket = u64::from_ne_bytes(take(socket, 0));
            data = rest;
        }
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
        if header.flags & record::SOCKET != 0 {
            bytes.extend(header.socket.to_ne_bytes());
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
            socket: 0xb1b2_b3b4_b5b6_b7b8,
        }
    }

    /// The kernel writes the struct's memory; user space reads field by field. They must agree.
    #[test]
    fn decoding_agrees_with_memory_layout() {
        let header = header();
        // SAFETY: `RecordHeader` is `repr(C)`, without padding (its size is the sum of its
        // fields' sizes), and all its bytes are initialised.
        let memory = unsafe {
            core::slice::from_raw_parts((&raw const header).cast::<u8>(), LONG_HEADER_LEN)
        };
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
    fn without_a_socket_the_packet_follows_at_once() {
        let header = RecordHeader {
            flags: 0,
            socket: 0,
            ..header()
        };
        let mut record = bytes_of(&header);
        assert_eq!(record.len(), HEADER_LEN);
        record.extend([1, 2, 3]);
        assert_eq!(RecordHeader::split(&record), Ok((header, &[1, 2, 3][..])));
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
}
