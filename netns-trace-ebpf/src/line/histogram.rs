//! Log-linear histograms of times in nanoseconds: each power of two is split into 32 buckets, so
//! that a bucket is at most 1/32 of its values wide; below 64 ns each value has its own.

/// Buckets of one group.
pub const BUCKETS: usize = 1024;

/// Largest time that has a bucket of its own kind, in nanoseconds (about 69 s); what is longer is
/// counted there.
pub const LONGEST_NS: u64 = (1 << 36) - 1;

/// Each power of two is split into `1 << SPLIT` buckets.
const SPLIT: u32 = 5;

/// The bucket of a time.
#[must_use]
#[inline(always)]
pub const fn bucket(ns: u64) -> u32 {
    let ns = if ns > LONGEST_NS { LONGEST_NS } else { ns };
    // The highest bit that is set, by halves: BPF has no instruction that counts zeroes.
    let mut rest = ns >> (SPLIT + 1);
    let mut shift = 0;
    let mut half = 16;
    while half > 0 {
        if rest >> half != 0 {
            rest >>= half;
            shift += half;
        }
        half /= 2;
    }
    if rest != 0 {
        shift += 1;
    }
    (shift << SPLIT) + (ns >> shift) as u32
}

/// The largest time in a bucket, in nanoseconds.
#[must_use]
pub const fn bucket_end(bucket: u32) -> u64 {
    if bucket < 2 << SPLIT {
        return bucket as u64;
    }
    let shift = (bucket >> SPLIT) - 1;
    let step = (bucket & ((1 << SPLIT) - 1)) + (1 << SPLIT);
    ((step as u64 + 1) << shift) - 1
}

/// The smallest time in a bucket, in nanoseconds.
#[must_use]
pub const fn bucket_start(bucket: u32) -> u64 {
    if bucket == 0 {
        0
    } else {
        bucket_end(bucket - 1) + 1
    }
}

/// Samples of one kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Sum of all times, in nanoseconds.
    pub sum_ns: u64,
    /// `u64::MAX` less the smallest time, so that zero means none.
    pub min_inverted: u64,
    /// The largest time.
    pub max_ns: u64,
    /// Nothing; it makes the buckets start at a multiple of 32 bytes.
    pub padding: u64,
    /// How many samples fell into each bucket.
    pub buckets: [u64; BUCKETS],
}

/// What one CPU recorded of one segment: packets that followed others closely, and packets that
/// came after a while of nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// By whether the packet was idle: 0 busy, 1 idle.
    pub groups: [Group; 2],
}

const _: () = assert!(size_of::<Histogram>() == 16_448);
// A per-CPU value may not exceed 32 KiB (`PCPU_MIN_UNIT_SIZE`).
const _: () = assert!(size_of::<Histogram>() <= 32 << 10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_everything_without_a_gap() {
        for bucket in 0..BUCKETS as u32 {
            assert_eq!(
                super::bucket(bucket_start(bucket)),
                bucket,
                "start of {bucket}"
            );
            assert_eq!(super::bucket(bucket_end(bucket)), bucket, "end of {bucket}");
            assert!(bucket_start(bucket) <= bucket_end(bucket), "{bucket}");
        }
        assert_eq!(bucket_end(BUCKETS as u32 - 1), LONGEST_NS);
        assert_eq!(super::bucket(u64::MAX), BUCKETS as u32 - 1);
    }

    #[test]
    fn buckets_are_narrow() {
        for bucket in 0..BUCKETS as u32 {
            let width = bucket_end(bucket) - bucket_start(bucket);
            assert!(
                width * 32 <= bucket_start(bucket),
                "{bucket} is {width} wide"
            );
        }
    }

    #[test]
    fn neighbouring_times_are_in_order() {
        let mut last = 0;
        for ns in (0..200_000).chain((200_000..1 << 36).step_by(999_983)) {
            let bucket = super::bucket(ns);
            assert!(bucket >= last, "{ns}");
            assert!(
                (bucket_start(bucket)..=bucket_end(bucket)).contains(&ns),
                "{ns}"
            );
            last = bucket;
        }
    }
}
