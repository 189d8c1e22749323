//! When a capture goes on in another file, and what that is called: tcpdump's `-C`, `-G` and `-W`. Opens nothing.

use std::{
    ffi::{CString, OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use super::text::local_time;

/// Longest name that a pattern may come to.
const MAX_NAME: usize = 4096;

/// How a capture is spread over files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// `-C`: a file that has more bytes than this takes no further packet.
    pub bytes: Option<u64>,
    /// `-G`: seconds after which a file takes no further packet. Its name is then a pattern of strftime(3).
    pub seconds: Option<u64>,
    /// `-W`: with `-C`, how many files there are, which are then written over; with `-G` alone, after how many the
    /// capture ends.
    pub files: Option<u32>,
    /// `-z`: what is run on each file that is complete.
    pub command: Option<OsString>,
}

impl Rotation {
    /// Whether there is more than one file.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.bytes.is_some() || self.seconds.is_some()
    }

    /// Digits of the number in a name of the ring: as many as the largest has.
    fn digits(&self) -> usize {
        match self.files {
            Some(files) if files > 1 => (files - 1).to_string().len(),
            _ => 0,
        }
    }
}

/// Why the next packet goes into another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Size,
    Time,
}

/// The files of a capture, one after the other.
#[derive(Debug)]
pub(super) struct Sequence {
    pattern: PathBuf,
    rotation: Rotation,
    /// When the file in use was started, nanoseconds since 1970.
    started_ns: u64,
    /// The file's number among those of one time.
    number: u32,
    /// Files of times before.
    times: u32,
    /// The name in use, without a number.
    base: OsString,
    current: PathBuf,
}

impl Sequence {
    pub(super) fn new(pattern: &Path, rotation: &Rotation, now_ns: u64) -> Self {
        let mut sequence = Self {
            pattern: pattern.to_owned(),
            rotation: rotation.clone(),
            started_ns: now_ns,
            number: 0,
            times: 0,
            base: OsString::new(),
            current: PathBuf::new(),
        };
        sequence.base = sequence.base_at(now_ns);
        sequence.current = sequence.name();
        sequence
    }

    /// The file in use.
    pub(super) fn current(&self) -> &Path {
        &self.current
    }

    /// Whether a packet of `time_ns` goes into another file than the one in use, which has `bytes`.
    pub(super) fn due(&self, bytes: u64, time_ns: u64) -> Option<Due> {
        let age_ns = time_ns.saturating_sub(self.started_ns);
        let is_old = |seconds: u64| age_ns >= seconds.saturating_mul(1_000_000_000);
        if self.rotation.seconds.is_some_and(is_old) {
            Some(Due::Time)
        } else if self.rotation.bytes.is_some_and(|most| bytes > most) {
            Some(Due::Size)
        } else {
            None
        }
    }

    /// Whether the capture has all files that were asked for, and the time of the last one is over.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        let is_last = self.rotation.bytes.is_none()
            && self
                .rotation
                .files
                .is_some_and(|files| self.times + 1 >= files);
        is_last && self.due(0, now_ns) == Some(Due::Time)
    }

    /// Goes on to the next file; what it is called.
    pub(super) fn advance(&mut self, due: Due, time_ns: u64) -> &Path {
        let is_full_ring = |number| self.rotation.files.is_some_and(|files| number >= files);
        match due {
            Due::Time => {
                let base = self.base_at(time_ns);
                // A pattern whose unit is too coarse would write over what has just been captured.
                let is_same = base == self.base && !is_full_ring(self.number + 1);
                self.number = if is_same { self.number + 1 } else { 0 };
                self.base = base;
                self.started_ns = time_ns;
                self.times += 1;
            }
            Due::Size if is_full_ring(self.number + 1) => self.number = 0,
            Due::Size => self.number += 1,
        }
        self.current = self.name();
        &self.current
    }

    fn base_at(&self, time_ns: u64) -> OsString {
        match self.rotation.seconds {
            Some(_) => expand(self.pattern.as_os_str(), time_ns),
            None => self.pattern.clone().into_os_string(),
        }
    }

    fn name(&self) -> PathBuf {
        let mut name = self.base.clone();
        let digits = match self.rotation.bytes {
            Some(_) => self.rotation.digits(),
            None => 0,
        };
        if self.number > 0 || digits > 0 {
            name.push(format!("{:0digits$}", self.number));
        }
        name.into()
    }
}

/// A pattern of strftime(3), in local time.
fn expand(pattern: &OsStr, time_ns: u64) -> OsString {
    let Ok(text) = CString::new(pattern.as_bytes()) else {
        return pattern.to_owned();
    };
    let local = local_time(time_ns);
    let mut name = vec![0_u8; MAX_NAME];
    // SAFETY: the buffer has the length that is passed, the pattern ends with a NUL, and `local` is a valid `tm`.
    let len = unsafe {
        libc::strftime(
            name.as_mut_ptr().cast(),
            name.len(),
            text.as_ptr(),
            &raw const local,
        )
    };
    if len == 0 {
        // It came to nothing, or to more than fits.
        return pattern.to_owned();
    }
    name.truncate(len);
    OsString::from_vec(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_700_000_000 * SECOND;

    fn sequence(pattern: &str, rotation: Rotation) -> Sequence {
        Sequence::new(Path::new(pattern), &rotation, START)
    }

    fn names(pattern: &str, rotation: Rotation, count: usize) -> Vec<String> {
        let mut sequence = sequence(pattern, rotation);
        let mut names = vec![sequence.current().display().to_string()];
        for _ in 1..count {
            names.push(sequence.advance(Due::Size, START).display().to_string());
        }
        names
    }

    #[test]
    fn files_of_a_size_are_numbered_as_tcpdumps() {
        let of = |files| Rotation {
            bytes: Some(1000),
            files,
            ..Rotation::default()
        };
        assert_eq!(
            names("x.pcap", of(None), 3),
            ["x.pcap", "x.pcap1", "x.pcap2"]
        );
        assert_eq!(names("x", of(Some(3)), 5), ["x0", "x1", "x2", "x0", "x1"]);
        assert_eq!(names("x", of(Some(11)), 2), ["x00", "x01"]);
        assert_eq!(names("x", of(Some(1)), 3), ["x", "x", "x"]);
    }

    #[test]
    fn a_file_is_full_once_it_has_more_than_was_asked_for() {
        let sequence = sequence(
            "x",
            Rotation {
                bytes: Some(1000),
                ..Rotation::default()
            },
        );
        assert_eq!(sequence.due(1000, START), None);
        assert_eq!(sequence.due(1001, START), Some(Due::Size));
        assert!(!sequence.is_over(u64::MAX));
    }

    #[test]
    fn files_of_a_time_are_named_by_it_and_come_to_an_end() {
        let mut sequence = sequence(
            "x-%s",
            Rotation {
                seconds: Some(10),
                files: Some(2),
                ..Rotation::default()
            },
        );
        assert_eq!(sequence.current(), Path::new("x-1700000000"));
        assert_eq!(sequence.due(9999, START + 10 * SECOND - 1), None);
        assert_eq!(sequence.due(0, START + 10 * SECOND), Some(Due::Time));
        assert!(
            !sequence.is_over(START + 10 * SECOND),
            "there is a second one"
        );
        let next = sequence.advance(Due::Time, START + 12 * SECOND);
        assert_eq!(next, Path::new("x-1700000012"));
        assert_eq!(sequence.due(0, START + 21 * SECOND), None);
        assert!(!sequence.is_over(START + 21 * SECOND));
        assert!(sequence.is_over(START + 22 * SECOND));
    }

    #[test]
    fn a_pattern_that_is_too_coarse_loses_nothing() {
        let mut sequence = sequence(
            "x-%Y",
            Rotation {
                seconds: Some(1),
                ..Rotation::default()
            },
        );
        let names: Vec<String> = (1..4)
            .map(|second| {
                let next = sequence.advance(Due::Time, START + second * SECOND);
                next.display().to_string()
            })
            .collect();
        assert_eq!(names, ["x-20231", "x-20232", "x-20233"]);
    }
}
