//! From the kernel's monotonic clock to the time of day, by one measured offset.
//!
//! Never a clock read per packet. Time in a file never runs backwards: what the clock is set back
//! by is not followed, small differences are approached slowly.

use std::fmt;

use nix::{
    errno::Errno,
    time::{ClockId, clock_gettime},
};

/// A difference up to this is drift, and slewed; beyond it the clock was set.
const STEP_NS: i64 = 10_000_000;
/// Slewing changes the offset by at most one part in this of the time that passes.
const SLEW: i64 = 50;
/// Tries to read both clocks close together.
const TRIES: usize = 10;

/// The clock of the machine was set while a capture ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockNote {
    /// Forward by so many nanoseconds: the file follows.
    Forward(u64),
    /// Back by so many nanoseconds: the file does not follow.
    Back(u64),
}

impl fmt::Display for ClockNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ns: u64| ns as f64 / 1e9;
        match self {
            Self::Forward(ns) => write!(
                f,
                "the machine's clock was set forward by {:.3} s; times from here on follow it",
                seconds(*ns)
            ),
            Self::Back(ns) => write!(
                f,
                "the machine's clock was set back by {:.3} s; times in this file go on without",
                seconds(*ns)
            ),
        }
    }
}

/// Both clocks at one moment, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    monotonic: i64,
    offset: i64,
}

/// An offset on its way to another.
#[derive(Clone, Copy, Debug)]
struct Course {
    /// Where slewing started: the offset that holds at that time.
    from: Sample,
    /// The offset that is approached.
    goal: i64,
}

impl Course {
    fn offset_at(&self, monotonic: i64) -> i64 {
        let most = (monotonic - self.from.monotonic).max(0) / SLEW;
        self.from.offset + (self.goal - self.from.offset).clamp(-most, most)
    }
}

/// Turns monotonic nanoseconds into nanoseconds since 1970.
#[derive(Debug)]
pub struct WallClock {
    /// Since the last measurement.
    course: Course,
    /// Before it: for packets that are older and were read only now.
    before: Course,
    /// How far the machine's clock was set back in all, which is not followed.
    held_back: i64,
}

impl WallClock {
    /// Measures the offset.
    ///
    /// # Errors
    ///
    /// A clock cannot be read.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self::at(measure()?))
    }

    fn at(sample: Sample) -> Self {
        let course = Course {
            from: sample,
            goal: sample.offset,
        };
        Self {
            course,
            before: course,
            held_back: 0,
        }
    }

    /// Measures the offset again, and says if the clock was set meanwhile. Call it about once a
    /// second.
    ///
    /// # Errors
    ///
    /// A clock cannot be read.
    pub fn resample(&mut self) -> Result<Option<ClockNote>, Errno> {
        Ok(self.take(measure()?))
    }

    fn take(&mut self, sample: Sample) -> Option<ClockNote> {
        let now = self.course.offset_at(sample.monotonic);
        let wanted = sample.offset + self.held_back;
        let step = wanted - now;
        self.before = self.course;
        self.course.from = Sample {
            monotonic: sample.monotonic,
            offset: now,
        };
        if step > STEP_NS {
            self.course.from.offset = wanted;
            self.course.goal = wanted;
            Some(ClockNote::Forward(step.unsigned_abs()))
        } else if step < -STEP_NS {
            self.held_back -= step;
            self.course.goal = now;
            Some(ClockNote::Back(step.unsigned_abs()))
        } else {
            self.course.goal = wanted;
            None
        }
    }

    /// Nanoseconds since 1970 at a time of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn time_ns(&self, monotonic_ns: u64) -> u64 {
        let monotonic = monotonic_ns as i64;
        let course = match monotonic < self.course.from.monotonic {
            true => &self.before,
            false => &self.course,
        };
        (monotonic + course.offset_at(monotonic)).max(0) as u64
    }
}

/// `CLOCK_MONOTONIC` now, in nanoseconds.
///
/// # Errors
///
/// The clock cannot be read.
pub fn monotonic_ns() -> Result<u64, Errno> {
    Ok(read(ClockId::CLOCK_MONOTONIC)? as u64)
}

fn read(clock: ClockId) -> Result<i64, Errno> {
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// Reads the time of day between two reads of the monotonic clock, several times, and takes the
/// closest.
fn measure() -> Result<Sample, Errno> {
    let mut best: Option<(i64, Sample)> = None;
    for _ in 0..TRIES {
        let before = read(ClockId::CLOCK_MONOTONIC)?;
        let real = read(ClockId::CLOCK_REALTIME)?;
        let after = read(ClockId::CLOCK_MONOTONIC)?;
        let (window, middle) = (after - before, before + (after - before) / 2);
        if best.is_none_or(|(closest, _)| window < closest) {
            let sample = Sample {
                monotonic: middle,
                offset: real - middle,
            };
            best = Some((window, sample));
        }
    }
    best.map(|(_, sample)| sample).ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn sample(monotonic: i64, offset: i64) -> Sample {
        Sample { monotonic, offset }
    }

    #[test]
    fn agrees_with_the_machines_clock() {
        let clock = WallClock::new().expect("clocks");
        let (monotonic, real) = (
            monotonic_ns().expect("a clock"),
            read(ClockId::CLOCK_REALTIME).expect("a clock"),
        );
        let apart = clock.time_ns(monotonic).abs_diff(real as u64);
        assert!(apart < 50_000_000, "{apart} ns");
    }

    #[test]
    fn drift_is_approached_and_reached() {
        let mut clock = WallClock::at(sample(0, 1000 * SECOND));
        assert_eq!(clock.take(sample(SECOND, 1000 * SECOND + 5_000_000)), None);
        assert_eq!(
            clock.time_ns(SECOND as u64),
            (1001 * SECOND) as u64,
            "no jump"
        );
        assert_eq!(
            clock.time_ns(2 * SECOND as u64),
            (1002 * SECOND + 5_000_000) as u64
        );
    }

    #[test]
    fn a_step_forward_is_followed_and_told() {
        let mut clock = WallClock::at(sample(0, 0));
        let note = clock.take(sample(SECOND, 3600 * SECOND));
        assert_eq!(note, Some(ClockNote::Forward(3600 * SECOND as u64)));
        assert_eq!(clock.time_ns(SECOND as u64), (3601 * SECOND) as u64);
        // One that came before, and was read only afterwards.
        let before = SECOND - 1000;
        assert_eq!(clock.time_ns(before as u64), before as u64);
    }

    #[test]
    fn a_step_back_is_told_and_not_followed() {
        let mut clock = WallClock::at(sample(0, 5000 * SECOND));
        let note = clock.take(sample(SECOND, 1400 * SECOND));
        assert_eq!(note, Some(ClockNote::Back(3600 * SECOND as u64)));
        assert_eq!(clock.time_ns(SECOND as u64), (5001 * SECOND) as u64);
        // Drift is followed all the same.
        assert_eq!(
            clock.take(sample(2 * SECOND, 1400 * SECOND + 1_000_000)),
            None
        );
        assert_eq!(
            clock.time_ns(4 * SECOND as u64),
            (5004 * SECOND + 1_000_000) as u64
        );
    }

    #[test]
    fn time_never_runs_backwards() {
        let mut clock = WallClock::at(sample(0, 10_000 * SECOND));
        let mut last = 0;
        let mut random = 1_u64;
        let mut true_offset = 10_000 * SECOND;
        for step in 1..20_000_i64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let now = step * 100_000_000;
            if step % 10 == 0 {
                true_offset += match random >> 61 {
                    0 => 30 * SECOND,
                    1 => -20 * SECOND,
                    2 => 9_000_000,
                    3 => -9_900_000,
                    _ => (random >> 40) as i64 % 100_000 - 50_000,
                };
                clock.take(sample(now, true_offset));
            }
            let time = clock.time_ns(now as u64);
            assert!(time >= last, "step {step}: {time} after {last}");
            last = time;
        }
    }
}
