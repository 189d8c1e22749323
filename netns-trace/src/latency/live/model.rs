//! What the view shows: the last readings, what is selected, and how.

use std::{borrow::Cow, time::Duration};

use super::{history::History, keys::Action, text};
use crate::latency::{Report, Samples, Segment};

/// Intervals for which a message stays.
const MESSAGE_STAYS: u32 = 5;

/// Which packets are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// All.
    #[default]
    All,
    /// Those that followed others closely.
    Busy,
    /// Those before which nothing had passed for the idle gap.
    Idle,
}

impl Kind {
    const fn next(self) -> Self {
        match self {
            Self::All => Self::Busy,
            Self::Busy => Self::Idle,
            Self::Idle => Self::All,
        }
    }

    /// Whether it includes a group: 0 busy, 1 idle.
    pub(super) const fn includes(self, group: usize) -> bool {
        matches!(
            (self, group),
            (Self::All, _) | (Self::Busy, 0) | (Self::Idle, 1)
        )
    }

    /// The samples of a segment that it includes.
    pub(super) fn samples(self, segment: &Segment) -> Cow<'_, Samples> {
        match self {
            Self::All => Cow::Owned(segment.all()),
            Self::Busy => Cow::Borrowed(&segment.busy),
            Self::Idle => Cow::Borrowed(&segment.idle),
        }
    }
}

/// What was read, as it is shown.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The last interval; nothing before the first is over.
    pub(super) last: Option<Report>,
    /// All since the start, or since the figures were started anew.
    pub(super) run: Report,
    /// How long it has been measured in all.
    pub(super) elapsed_ns: u64,
    /// The intervals before.
    pub(super) history: History,
}

/// Everything that a frame is drawn from.
#[derive(Debug)]
pub struct Model {
    interval: Duration,
    /// The last reading, since the start.
    latest: Report,
    /// The reading at which the figures were started anew.
    base: Option<Report>,
    seen: Seen,
    /// What is shown instead while the display is held.
    held: Option<Box<Seen>>,
    selected: usize,
    kind: Kind,
    help: bool,
    message: Option<(String, u32)>,
}

/// A report whose names do no harm in a terminal.
fn harmless(mut report: Report) -> Report {
    for target in &mut report.targets {
        target.label = text::harmless(&target.label);
    }
    for segment in &mut report.segments {
        for name in [&mut segment.name, &mut segment.from, &mut segment.to] {
            *name = text::harmless(name);
        }
    }
    report
}

impl Model {
    /// Starts with a first reading. The following ones come each time `interval` has passed.
    #[must_use]
    pub fn new(first: Report, interval: Duration) -> Self {
        let first = harmless(first);
        Self {
            interval,
            seen: Seen {
                last: None,
                elapsed_ns: first.duration_ns,
                run: first.clone(),
                history: History::default(),
            },
            latest: first,
            base: None,
            held: None,
            selected: 0,
            kind: Kind::default(),
            help: false,
            message: None,
        }
    }

    /// Takes the next reading of the same run.
    pub fn add(&mut self, report: Report) {
        let report = harmless(report);
        let last = report.since(&self.latest);
        self.seen.history.add(&last);
        self.seen.last = Some(last);
        self.seen.elapsed_ns = report.duration_ns;
        self.seen.run = match &self.base {
            Some(base) => report.since(base),
            None => report.clone(),
        };
        self.latest = report;
        self.message = self
            .message
            .take()
            .filter(|(_, stays)| *stays > 0)
            .map(|(text, stays)| (text, stays - 1));
    }

    /// Shows a message for a while.
    pub fn say(&mut self, message: &str) {
        self.message = Some((text::harmless(message), MESSAGE_STAYS));
    }

    /// Does what a key asks for; whether the measurement goes on.
    pub fn apply(&mut self, action: Action) -> bool {
        let count = self.segments().len().max(1);
        match action {
            Action::Quit => return false,
            Action::Leave if !self.help => return false,
            Action::Leave => self.help = false,
            Action::Help => self.help = !self.help,
            Action::Next => self.selected = (self.selected + 1) % count,
            Action::Previous => self.selected = (self.selected + count - 1) % count,
            Action::Kind => self.kind = self.kind.next(),
            Action::Pause => {
                self.held = match self.held {
                    Some(_) => None,
                    None => Some(Box::new(self.seen.clone())),
                }
            }
            Action::Reset => {
                self.held = None;
                self.seen.last = None;
                self.seen.history = History::default();
                self.seen.run = self.latest.since(&self.latest);
                self.base = Some(self.latest.clone());
            }
        }
        true
    }

    /// What is shown.
    pub(super) fn seen(&self) -> &Seen {
        self.held.as_deref().unwrap_or(&self.seen)
    }

    /// The segments, with what they measured in all.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.seen().run.segments
    }

    /// A segment's last interval.
    pub(super) fn last(&self, segment: usize) -> Option<&Segment> {
        self.seen().last.as_ref()?.segments.get(segment)
    }

    /// How often readings come.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Which segment is selected.
    pub(super) fn selected(&self) -> usize {
        self.selected
    }

    /// Which packets are shown.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the display is held.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether the figures were started anew.
    pub(super) fn is_anew(&self) -> bool {
        self.base.is_some()
    }

    /// Whether the keys are shown.
    pub(super) fn shows_help(&self) -> bool {
        self.help
    }

    /// The message that is shown.
    pub(super) fn message(&self) -> Option<&str> {
        self.message.as_ref().map(|(text, _)| text.as_str())
    }

    /// Whether nothing at all has been timed.
    pub(super) fn is_silent(&self) -> bool {
        let mut segments = self.segments().iter();
        segments.all(|segment| segment.busy.count() + segment.idle.count() == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    fn model(readings: u64) -> Model {
        let mut model = Model::new(fixture::report(0), Duration::from_secs(1));
        (1..=readings).for_each(|n| model.add(fixture::report(n)));
        model
    }

    fn count(report: &Report) -> u64 {
        report.segments[0].all().count()
    }

    #[test]
    fn an_interval_and_the_whole_are_told_apart() {
        let model = model(3);
        let (second, third) = (fixture::report(2), fixture::report(3));
        let last = model.seen().last.as_ref().expect("an interval");
        assert_eq!(count(last), count(&third) - count(&second));
        assert_eq!(count(&model.seen().run), count(&third));
        assert_eq!(model.seen().history.len(), 3);
    }

    #[test]
    fn a_held_display_stays_and_catches_up() {
        let mut model = model(2);
        model.apply(Action::Pause);
        model.add(fixture::report(3));
        assert_eq!(count(&model.seen().run), count(&fixture::report(2)));
        assert_eq!(model.seen().history.len(), 2);
        model.apply(Action::Pause);
        assert_eq!(count(&model.seen().run), count(&fixture::report(3)));
        assert_eq!(model.seen().history.len(), 3);
    }

    #[test]
    fn figures_start_anew() {
        let mut model = model(2);
        model.apply(Action::Reset);
        assert!(model.is_silent() && model.seen().history.len() == 0);
        model.add(fixture::report(3));
        let expected = count(&fixture::report(3)) - count(&fixture::report(2));
        assert_eq!(count(&model.seen().run), expected);
    }

    #[test]
    fn the_selection_goes_round() {
        let mut model = model(1);
        let count = model.segments().len();
        model.apply(Action::Previous);
        assert_eq!(model.selected(), count - 1);
        model.apply(Action::Next);
        assert_eq!(model.selected(), 0);
        let mut none = fixture::report(0);
        none.segments.clear();
        let mut model = Model::new(none, Duration::from_secs(1));
        model.apply(Action::Next);
        model.apply(Action::Previous);
        assert_eq!(model.selected(), 0);
    }

    #[test]
    fn leaving_closes_the_help_first() {
        let mut model = model(1);
        assert!(model.apply(Action::Help) && model.shows_help());
        assert!(model.apply(Action::Leave) && !model.shows_help());
        assert!(!model.apply(Action::Leave));
        assert!(!model.apply(Action::Quit));
    }

    #[test]
    fn a_message_stays_for_a_while() {
        let mut model = model(1);
        model.say("eth0@web is \x1b[31mgone");
        assert_eq!(model.message(), Some("eth0@web is \u{fffd}[31mgone"));
        (2..=2 + u64::from(MESSAGE_STAYS)).for_each(|n| model.add(fixture::report(n)));
        assert_eq!(model.message(), None);
    }
}
