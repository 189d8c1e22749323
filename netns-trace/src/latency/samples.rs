//! Samples of one kind, in the buckets of the kernel side's histogram, and their figures.

use netns_trace_ebpf::{BUCKETS, bucket, bucket_end, bucket_start};
use serde::Serialize;

/// Times in nanoseconds, counted by bucket. A figure made of buckets is off by 1/64 at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
    buckets: Vec<u64>,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            sum_ns: 0,
            min_ns: u64::MAX,
            max_ns: 0,
            buckets: vec![0; BUCKETS],
        }
    }
}

/// What samples come to; nothing of it where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How many.
    pub count: u64,
    /// The shortest.
    pub min_ns: Option<u64>,
    /// The mean.
    pub mean_ns: Option<f64>,
    /// Half of them took no longer.
    pub p50_ns: Option<u64>,
    /// Nine of ten took no longer.
    pub p90_ns: Option<u64>,
    /// 99 of 100 took no longer.
    pub p99_ns: Option<u64>,
    /// 999 of 1000 took no longer.
    pub p999_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
}

impl Samples {
    /// Samples as the kernel side counted them: by bucket, with sum, smallest and largest of them.
    #[must_use]
    pub fn new(sum_ns: u128, min_ns: u64, max_ns: u64, mut buckets: Vec<u64>) -> Self {
        buckets.resize(BUCKETS, 0);
        Self {
            sum_ns,
            min_ns,
            max_ns,
            buckets,
        }
    }

    /// Adds a single sample.
    pub fn record(&mut self, ns: u64) {
        self.sum_ns += u128::from(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
        if let Some(count) = self.buckets.get_mut(bucket(ns) as usize) {
            *count += 1;
        }
    }

    /// Adds other samples.
    pub fn add(&mut self, other: &Self) {
        self.sum_ns += other.sum_ns;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
    }

    /// The samples that came after `earlier`, a reading of the same histogram. Their smallest and
    /// largest are known by bucket alone.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets: Vec<u64> = self
            .buckets
            .iter()
            .zip(&earlier.buckets)
            .map(|(now, then)| now.saturating_sub(*then))
            .collect();
        let used = |count: &u64| *count > 0;
        let lowest = buckets
            .iter()
            .position(used)
            .map(|at| bucket_start(at as u32));
        let highest = buckets
            .iter()
            .rposition(used)
            .map(|at| bucket_end(at as u32));
        Self {
            sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns),
            min_ns: lowest.map_or(u64::MAX, |ns| ns.max(self.min_ns)),
            max_ns: highest.map_or(0, |ns| ns.min(self.max_ns)),
            buckets,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The time that a share of the samples (0 to 1) does not exceed: the middle of its bucket.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((share * count as f64).ceil() as u64).clamp(1, count);
        let mut passed = 0;
        let at = self.buckets.iter().position(|in_bucket| {
            passed += in_bucket;
            passed >= rank
        })?;
        let (start, end) = (bucket_start(at as u32), bucket_end(at as u32));
        let middle = start + (end - start) / 2;
        Some(middle.clamp(self.min_ns, self.max_ns))
    }

    /// Their figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let count = self.count();
        if count == 0 {
            return Figures::default();
        }
        Figures {
            count,
            min_ns: Some(self.min_ns),
            mean_ns: Some(self.sum_ns as f64 / count as f64),
            p50_ns: self.quantile(0.5),
            p90_ns: self.quantile(0.9),
            p99_ns: self.quantile(0.99),
            p999_ns: self.quantile(0.999),
            max_ns: Some(self.max_ns),
        }
    }

    /// The buckets that hold samples: smallest and largest time of each, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let all = self.buckets.iter().enumerate();
        all.filter(|(_, count)| **count > 0)
            .map(|(at, count)| (bucket_start(at as u32), bucket_end(at as u32), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = u64>) -> Samples {
        let mut samples = Samples::default();
        times.into_iter().for_each(|ns| samples.record(ns));
        samples
    }

    #[test]
    fn figures_of_known_samples() {
        let figures = of(1..=10_000).figures();
        assert_eq!(
            (figures.count, figures.min_ns, figures.max_ns),
            (10_000, Some(1), Some(10_000))
        );
        assert_eq!(figures.mean_ns, Some(5000.5));
        for (found, exact) in [
            (figures.p50_ns, 5000),
            (figures.p90_ns, 9000),
            (figures.p99_ns, 9900),
            (figures.p999_ns, 9990),
        ] {
            let found = found.expect("samples");
            assert!(
                found.abs_diff(exact) * 64 <= exact + 64,
                "{found} for {exact}"
            );
        }
    }

    #[test]
    fn nothing_has_no_figures() {
        assert_eq!(Samples::default().figures(), Figures::default());
        assert_eq!(Samples::default().quantile(0.5), None);
    }

    #[test]
    fn one_sample_is_all_its_figures() {
        let figures = of([777]).figures();
        let all = [
            figures.min_ns,
            figures.p50_ns,
            figures.p999_ns,
            figures.max_ns,
        ];
        assert_eq!(all, [Some(777); 4]);
    }

    #[test]
    fn sums_and_differences() {
        let early = of([100, 200]);
        let mut all = early.clone();
        all.add(&of([5_000, 6_000, 7_000]));
        assert_eq!(all.figures().mean_ns, Some(3660.0));
        let late = all.since(&early).figures();
        assert_eq!((late.count, late.mean_ns), (3, Some(6000.0)));
        let (min, max) = (late.min_ns.expect("one"), late.max_ns.expect("one"));
        assert!(
            (4_900..=5_000).contains(&min) && max == 7_000,
            "{min}, {max}"
        );
        assert_eq!(all.since(&all).figures(), Figures::default());
    }
}
