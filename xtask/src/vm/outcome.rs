//! What the tests in a guest came to, read from its console.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// What a guest prints before a test.
pub(super) const BEGIN: &str = "NETNS_TRACE_TEST_BEGIN";
/// What it prints behind one, with the exit status and how many seconds it took.
pub(super) const END: &str = "NETNS_TRACE_TEST_END";
/// The exit status that `timeout` has for what it ended, and that of a process that it killed.
const TIMED_OUT: [i32; 2] = [124, 137];

/// What a line of the console means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A test begins.
    Begin,
    /// It has ended.
    End { status: i32, seconds: u64 },
    /// Anything else: what the test or the kernel says.
    Said,
}

impl Event {
    pub(super) fn of(line: &str) -> Self {
        if line.contains(BEGIN) {
            return Self::Begin;
        }
        let figures = line.split_once(END).and_then(|(_, rest)| {
            let (status, seconds) = rest.trim().split_once(' ')?;
            Some((status.parse().ok()?, seconds.parse().ok()?))
        });
        figures.map_or(Self::Said, |(status, seconds)| Self::End {
            status,
            seconds,
        })
    }
}

/// How a test ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it; or all but what these sentences say, each of which names what the kernel lacks.
    Passed(Vec<String>),
    /// It did not run, for these reasons.
    Skipped(Vec<String>),
    /// With what it said.
    Failed(String),
}

impl Outcome {
    pub(super) fn new(status: i32, said: &[String]) -> Self {
        if status != 0 {
            let mut said = said.join("\n");
            if TIMED_OUT.contains(&status) {
                said.push_str("\nit took too long");
            }
            return Self::Failed(said);
        }
        let with = |word: &str| -> Vec<String> {
            let found = said.iter().filter_map(|line| line.strip_prefix(word));
            found.map(str::to_owned).collect()
        };
        let skipped = with("skipped: ");
        if skipped.is_empty() {
            Self::Passed(with("not tried: "))
        } else {
            Self::Skipped(skipped)
        }
    }
}

/// Counts of some tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
    seconds: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed", self.passed)?;
        if self.failed > 0 {
            write!(f, ", {} FAILED", self.failed)?;
        }
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        write!(f, " in {} s", self.seconds)
    }
}

/// What all tests on one kernel came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    files: BTreeMap<String, Counts>,
    failed: Vec<String>,
    /// Reasons, each with the tests that were skipped for it.
    skipped: BTreeMap<String, BTreeSet<String>>,
    /// The same for parts of tests.
    not_tried: BTreeMap<String, BTreeSet<String>>,
    /// How long all of it took, boots included.
    pub(super) took: Duration,
}

impl Tally {
    /// Adds a test.
    pub(super) fn add(&mut self, file: &str, test: &str, outcome: Outcome, seconds: u64) {
        let counts = self.files.entry(file.to_owned()).or_default();
        let name = format!("{file}::{test}");
        counts.seconds += seconds;
        let (list, reasons) = match outcome {
            Outcome::Failed(_) => {
                counts.failed += 1;
                self.failed.push(name);
                return;
            }
            Outcome::Passed(reasons) => {
                counts.passed += 1;
                (&mut self.not_tried, reasons)
            }
            Outcome::Skipped(reasons) => {
                counts.skipped += 1;
                (&mut self.skipped, reasons)
            }
        };
        for reason in reasons {
            list.entry(reason).or_default().insert(name.clone());
        }
    }

    /// What the tests of one file came to, in words.
    pub(super) fn of_file(&self, file: &str) -> String {
        self.files
            .get(file)
            .copied()
            .unwrap_or_default()
            .to_string()
    }

    /// Whether tests ran, and none failed.
    pub(super) fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.files.values().any(|counts| counts.passed > 0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Counts::default();
        for counts in self.files.values() {
            all.passed += counts.passed;
            all.failed += counts.failed;
            all.skipped += counts.skipped;
        }
        all.seconds = self.took.as_secs();
        write!(f, "{all}")?;
        for name in &self.failed {
            write!(f, "\n  failed: {name}")?;
        }
        for (word, list) in [("skipped", &self.skipped), ("not tried", &self.not_tried)] {
            for (reason, tests) in list {
                let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
                write!(f, "\n  {word}: {reason}: {}", tests.join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_is_read() {
        assert_eq!(Event::of("NETNS_TRACE_TEST_BEGIN"), Event::Begin);
        // The kernel may speak in between.
        let end = "[  1.2] x NETNS_TRACE_TEST_END 101 14";
        let (status, seconds) = (101, 14);
        assert_eq!(Event::of(end), Event::End { status, seconds });
        assert_eq!(Event::of("NETNS_TRACE_TEST_END x"), Event::Said);
    }

    #[test]
    fn skips_are_told_from_what_was_left_out_and_from_failures() {
        let said = ["not tried: a".to_owned(), "skipped: b".to_owned()];
        assert_eq!(Outcome::new(0, &said), Outcome::Skipped(vec!["b".into()]));
        assert_eq!(
            Outcome::new(0, &said[..1]),
            Outcome::Passed(vec!["a".into()])
        );
        assert!(matches!(Outcome::new(1, &said), Outcome::Failed(_)));
        assert!(
            matches!(Outcome::new(124, &[]), Outcome::Failed(said) if said.contains("too long"))
        );
    }

    #[test]
    fn reasons_are_listed_with_their_tests() {
        let mut tally = Tally::default();
        tally.add("a", "x", Outcome::Passed(vec!["no TCX".into()]), 2);
        tally.add("a", "y", Outcome::Skipped(vec!["no netem".into()]), 1);
        assert_eq!(tally.of_file("a"), "1 passed, 1 skipped in 3 s");
        assert!(tally.is_clean());
        tally.add("b", "z", Outcome::Failed("why".into()), 1);
        assert!(!tally.is_clean());
        assert_eq!(
            tally.to_string(),
            "1 passed, 1 FAILED, 1 skipped in 0 s\n  failed: b::z\n  \
             skipped: no netem: a::y\n  not tried: no TCX: a::x"
        );
    }
}
