//! A measurement that is watched: joins its reports, the keys, and the view.

use std::{
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use ratatui::crossterm::style::available_color_count;

use super::{LatencyConfig, Measurement, Screen, Signals, Told, Usage, Wish};
use crate::latency::{
    Report,
    live::{Model, Theme, actions, draw},
};

/// How often the view is renewed, where nothing else is said.
const INTERVAL: Duration = Duration::from_secs(1);
/// The shortest interval: what comes faster cannot be read.
const SHORTEST: Duration = Duration::from_millis(100);
/// How often the taps are asked whether their interface is still there.
const LOOK_AFTER: Duration = Duration::from_millis(250);
/// How long the view stays after the targets' end, if no key ends it.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Measures as [`super::latency`] does, and shows it on the terminal meanwhile, until a key asks
/// for the end. `tell` is called when all taps are up, before the terminal is taken.
///
/// # Errors
///
/// [`Usage`] if there is no terminal, what could not be set up, and errors of `tell`. The terminal
/// is as it was before.
pub fn live(
    config: &LatencyConfig,
    mut tell: impl FnMut(Told<'_>) -> Result<()>,
) -> Result<Report> {
    let interval = config.interval.unwrap_or(INTERVAL);
    if interval < SHORTEST {
        return Err(Usage(format!(
            "--live cannot be renewed more often than each {} ms: make --interval longer",
            SHORTEST.as_millis()
        ))
        .into());
    }
    Screen::check()?;
    let signals = Signals::new()?;
    let mut run = Measurement::start_and_give_up(config)?;
    tell(Told::Started {
        taps: run.taps().to_vec(),
        missing: run.missing(),
    })?;
    let mut model = Model::new(run.report()?, interval);
    if let Some(missing) = run.missing().first() {
        model.say(missing);
    }
    let mut view = View {
        screen: Screen::take()?,
        model,
        theme: theme(),
    };
    let watched = watch(&mut run, &mut view, &signals, config.duration, interval);
    view.screen.give_back();
    watched?;
    run.end()
}

/// What suits this terminal (see <https://no-color.org>).
fn theme() -> Theme {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Theme::new(unwanted, available_color_count())
}

struct View {
    screen: Screen,
    model: Model,
    theme: Theme,
}

impl View {
    fn draw(&mut self) -> Result<()> {
        let (model, theme) = (&self.model, self.theme);
        self.screen.draw(|frame| draw(frame, model, theme))
    }

    /// Says something on stderr, and shows it.
    fn say(&mut self, message: &str) {
        eprintln!("netns-trace: {message}");
        self.model.say(message);
    }

    /// Shows what others said on stderr.
    fn listen(&mut self) -> bool {
        let heard = self.screen.heard();
        if let Some(line) = &heard {
            let line = line.strip_prefix("netns-trace: ").unwrap_or(line);
            self.model.say(line);
        }
        heard.is_some()
    }
}

/// What waiting has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// The time is over.
    Nothing,
    /// The view has to be drawn anew.
    Change,
    /// A key or a signal asks for the end, or the terminal is gone.
    End,
}

/// Draws until a key, a signal, the time, or the targets' end.
fn watch(
    run: &mut Measurement,
    view: &mut View,
    signals: &Signals,
    duration: Option<Duration>,
    interval: Duration,
) -> Result<()> {
    let start = Instant::now();
    let end = duration.map(|duration| start + duration);
    let mut next = start + interval;
    let mut is_stale = true;
    loop {
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) {
            return Ok(());
        }
        if now >= next {
            view.model.add(run.report()?);
            // What was missed, say while the process was stopped, is not made up for.
            next = (next + interval).max(now);
            is_stale = true;
        }
        if is_stale {
            view.draw()?;
        }
        let until = end.map_or(next, |end| end.min(next));
        let wait = until.saturating_duration_since(now).min(LOOK_AFTER);
        is_stale = match wait_for(view, signals, wait)? {
            Came::End => return Ok(()),
            came => came == Came::Change,
        };
        run.flush_log();
        let (gone, ended) = run.take_gone();
        is_stale |= view.listen();
        for label in gone {
            view.say(&format!("{label} is gone"));
            is_stale = true;
        }
        if ended {
            return last_look(run, view, signals);
        }
    }
}

/// Shows for a moment why it ends.
fn last_look(run: &Measurement, view: &mut View, signals: &Signals) -> Result<()> {
    view.model.add(run.report()?);
    let end = Instant::now() + LAST_LOOK;
    loop {
        view.draw()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || wait_for(view, signals, left)? == Came::End {
            return Ok(());
        }
    }
}

/// Waits for keys and signals, at most so long, and does what keys ask for.
fn wait_for(view: &mut View, signals: &Signals, wait: Duration) -> Result<Came> {
    // Rounded up, so that the time is over afterwards.
    let wait = wait + Duration::from_micros(999);
    let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
    let mut fds = [
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        PollFd::new(view.screen.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut fds, timeout) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Came::Nothing),
        Err(errno) => return Err(errno).context("cannot wait for keys"),
    }
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    let is_gone = fds[1]
        .revents()
        .is_some_and(|events| events.intersects(gone));
    let has_keys = fds[1]
        .revents()
        .is_some_and(|events| events.contains(PollFlags::POLLIN));
    while let Some(wish) = signals.next()? {
        if wish == Wish::End {
            return Ok(Came::End);
        }
    }
    if is_gone {
        return Ok(Came::End);
    }
    let mut came = match view.screen.has_other_size() {
        true => Came::Change,
        false => Came::Nothing,
    };
    if has_keys {
        let bytes = view.screen.read_keys()?;
        if bytes.is_empty() {
            return Ok(Came::End);
        }
        for action in actions(&bytes) {
            if !view.model.apply(action) {
                return Ok(Came::End);
            }
            came = Came::Change;
        }
    }
    Ok(came)
}
