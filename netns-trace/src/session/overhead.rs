//! One run of `overhead`: round trips over two loopbacks and to the gateway, in turns, on one
//! thread; then the same again with taps on the way, which tell where the time goes.
//!
//! Unlike a capture, it sends. The sockets inside the target keep its namespace alive for as long as
//! the run takes, which is bounded.

use std::{
    net::IpAddr,
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    IDLE_GAP, LatencyConfig, Measurement, Signals, Wish,
    echo::ECHO_BYTES,
    echo_ways::{EchoWays, WARM_UP, open, warm_up, way_of},
    max_segments,
    targets::say,
};
use crate::{
    latency::{Comparison, Ended, Overhead, Report, Round, TargetLabel, Trips},
    probe::AttachMethod,
    target::{self, TargetSpec},
    topology::Role,
};

/// The pause before a round trip that is to find everything asleep: longer than the idle gap of the
/// taps.
const PAUSE: Duration = Duration::from_millis(20);
const _: () = assert!(PAUSE.as_nanos() > IDLE_GAP.as_nanos());
/// Round trips back to back on one way before it is the next one's turn.
const BATCH: u64 = 50;
/// What is granted besides four times the estimate.
const GRACE: Duration = Duration::from_secs(30);

/// Everything that decides what `overhead` measures.
#[derive(Clone, Debug)]
pub struct OverheadConfig {
    /// The namespace.
    pub target: TargetSpec,
    /// The interface that is tapped; the one that leads to `to` where none is named.
    pub interface: Option<String>,
    /// Where echoes are sent to; the default gateway where nothing is named.
    pub to: Option<IpAddr>,
    /// Round trips back to back, on each way.
    pub count: u64,
    /// Round trips with a pause of 20 ms before each, on each way.
    pub idle_count: u64,
    /// How programs are attached.
    pub attach: AttachMethod,
    /// Whether the kernel side's diagnostics are wanted.
    pub verbose: bool,
}

/// Compares round trips on the loopbacks with those to the gateway, and finds where the difference
/// goes. `tell` gets a line for people before the measuring starts. A signal ends it early, with
/// what there is.
///
/// # Errors
///
/// No such target, interface, or route; no right to send echoes (`CAP_NET_RAW`); nobody answers at
/// the far end. What else cannot be measured is in [`Overhead::missing`].
pub fn overhead(config: &OverheadConfig, tell: impl FnMut(&str) + Send) -> Result<Overhead> {
    let signals = Signals::new()?;
    let stop = AtomicBool::new(false);
    let (ended, ends) = std::io::pipe().context("cannot make a pipe")?;
    thread::scope(|scope| {
        let stop = &stop;
        let worker = thread::Builder::new()
            .name("overhead".to_owned())
            .spawn_scoped(scope, move || {
                let result = measure(config, stop, tell);
                drop(ends); // also when it panics
                result
            })
            .context("cannot start a thread")?;
        let waited = wait(&signals, &ended, stop);
        if waited.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let result = match worker.join() {
            Ok(result) => result,
            Err(cause) => std::panic::resume_unwind(cause),
        };
        waited.and(result)
    })
}

/// Waits until the other end of the pipe is closed, and passes a signal on meanwhile.
fn wait(signals: &Signals, ended: &std::io::PipeReader, stop: &AtomicBool) -> Result<()> {
    loop {
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for signals"),
        }
        let over = fds[1].any().unwrap_or(false);
        while let Some(wish) = signals.next()? {
            if wish == Wish::End {
                stop.store(true, Ordering::Relaxed);
            }
        }
        if over {
            return Ok(());
        }
    }
}

/// When to stop early.
struct Bounds<'a> {
    stop: &'a AtomicBool,
    end: Option<Instant>,
}

impl Bounds<'_> {
    fn are_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.end.is_some_and(|end| Instant::now() >= end)
    }

    fn ended(&self) -> Ended {
        if self.stop.load(Ordering::Relaxed) {
            Ended::Interrupted
        } else if self.are_over() {
            Ended::TimeLimit
        } else {
            Ended::Done
        }
    }
}

fn measure(
    config: &OverheadConfig,
    stop: &AtomicBool,
    mut tell: impl FnMut(&str),
) -> Result<Overhead> {
    let target = target::resolve(&config.target)?;
    say(&target.notes);
    let way = way_of(&target, config)?;
    let mut result = Overhead {
        version: 1,
        target: TargetLabel {
            label: target.label.clone(),
            inode: target.ns.inode(),
        },
        interface: way.interface.escape_debug().to_string(),
        to: way.to.to_string(),
        is_gateway: config.to.is_none(),
        echo_bytes: ECHO_BYTES,
        socket: String::new(),
        pause_ns: PAUSE.as_nanos() as u64,
        ended: Ended::Done,
        probe_cost_ns: None,
        taps: Vec::new(),
        busy: Comparison::default(),
        idle: Comparison::default(),
        missing: way.missing.clone(),
    };
    let (kind, mut ways) = open(&target, &way, &mut result.missing)?;
    result.socket = kind.name().to_owned();
    drop(target);
    let mut bounds = Bounds { stop, end: None };
    let trip = warm_up(&mut ways, &mut result, || bounds.are_over())?;
    let (text, most) = plan(config, trip);
    bounds.end = Some(Instant::now() + most);
    tell(&text);

    let [busy, idle] = both(&mut ways, config, &bounds, || Ok(()))?.0;
    result.busy = Comparison::new(busy);
    result.idle = Comparison::new(idle);
    if bounds.are_over() {
        result
            .missing
            .push("where the difference goes: it ended before".to_owned());
    } else if let Err(why) = split(config, &way.interface, &mut ways, &bounds, &mut result) {
        result
            .missing
            .push(format!("where the difference goes: {why:#}"));
    }
    result.ended = bounds.ended();
    Ok(result)
}

/// The round trips under taps, and what these saw during them.
fn split(
    config: &OverheadConfig,
    interface: &str,
    ways: &mut EchoWays,
    bounds: &Bounds<'_>,
    result: &mut Overhead,
) -> Result<()> {
    let run = Measurement::start(&LatencyConfig {
        targets: vec![config.target.clone()],
        interface: Some(interface.to_owned()),
        filter: None,
        taps: [Role::Inside, Role::Veth, Role::Bridge].into(),
        duration: None,
        interval: None,
        idle_gap: IDLE_GAP,
        max_segments: max_segments(),
        attach: config.attach,
        writes_files: false,
        user: None,
        verbose: config.verbose,
    })?;
    for socket in ways.iter_mut().flatten() {
        for _ in 0..WARM_UP {
            if bounds.are_over() {
                break;
            }
            socket.trip();
        }
    }
    let (rounds, reports) = both(ways, config, bounds, || run.report())?;
    let (taps, missing) = (run.taps().to_vec(), run.missing().to_vec());
    let last = run.end()?;
    if last.targets.iter().any(|target| *target != result.target) {
        bail!("{} is another namespace meanwhile", config.target);
    }
    result.probe_cost_ns = last.probe_cost_ns;
    result.missing.extend(missing);
    let comparisons = [&mut result.busy, &mut result.idle];
    for ((comparison, round), between) in comparisons.into_iter().zip(rounds).zip(&reports) {
        if round.gateway.as_ref().is_some_and(|trips| trips.sent > 0) {
            comparison.split_by(round, between, taps.len());
        }
    }
    result.taps = taps;
    Ok(())
}

/// What is read before, between and after the two rhythms.
trait Reading {
    /// What came between two readings.
    fn since(&self, earlier: &Self) -> Self;
}

impl Reading for () {
    fn since(&self, (): &Self) {}
}

impl Reading for Report {
    fn since(&self, earlier: &Self) -> Self {
        Self::since(self, earlier)
    }
}

/// Round trips back to back, then with pauses; and what `read` saw during each.
fn both<T: Reading>(
    ways: &mut EchoWays,
    config: &OverheadConfig,
    bounds: &Bounds<'_>,
    read: impl Fn() -> Result<T>,
) -> Result<([Round; 2], [T; 2])> {
    let start = read()?;
    let busy = round_trips(ways, config.count, BATCH, None, bounds);
    let middle = read()?;
    let idle = round_trips(ways, config.idle_count, 1, Some(PAUSE), bounds);
    let end = read()?;
    Ok(([busy, idle], [middle.since(&start), end.since(&middle)]))
}

/// So many round trips on each way, in turns of `batch`.
fn round_trips(
    ways: &mut EchoWays,
    count: u64,
    batch: u64,
    pause: Option<Duration>,
    bounds: &Bounds<'_>,
) -> Round {
    let mut sent = [0_u64; 3];
    let mut times: [Vec<u64>; 3] = std::array::from_fn(|_| Vec::with_capacity(count as usize));
    let mut left = count;
    'all: while left > 0 {
        let now = left.min(batch);
        left -= now;
        for (n, socket) in ways.iter_mut().enumerate() {
            let Some(socket) = socket else { continue };
            for _ in 0..now {
                if bounds.are_over() {
                    break 'all;
                }
                if let Some(pause) = pause {
                    thread::sleep(pause);
                }
                sent[n] += 1;
                times[n].extend(socket.trip());
            }
        }
    }
    let trips = |n: usize| ways[n].as_ref().map(|_| Trips::new(sent[n], &times[n]));
    Round {
        loopback: trips(0),
        host_loopback: trips(1),
        gateway: trips(2),
    }
}

/// What will be done, for people, and the time that it gets.
fn plan(config: &OverheadConfig, trip: Duration) -> (String, Duration) {
    let trips = 2 * (config.count + config.idle_count);
    let pauses = 2 * 3 * config.idle_count;
    let seconds = trips as f64 * trip.as_secs_f64() + pauses as f64 * PAUSE.as_secs_f64();
    let most = GRACE + Duration::from_secs_f64(seconds * 4.0);
    let text = format!(
        "{} round trips back to back and {} after {} ms of silence on each way, without taps and \
         with: about {:.0} s, at most {:.0} s",
        config.count,
        config.idle_count,
        PAUSE.as_millis(),
        (seconds + 1.0).ceil(),
        most.as_secs_f64().ceil()
    );
    (text, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_told_and_bounded() {
        let config = OverheadConfig {
            target: "host".parse().expect("a target"),
            interface: None,
            to: None,
            count: 2000,
            idle_count: 50,
            attach: AttachMethod::Auto,
            verbose: false,
        };
        let (text, most) = plan(&config, Duration::from_micros(100));
        assert_eq!(
            text,
            "2000 round trips back to back and 50 after 20 ms of silence on each way, without taps \
             and with: about 8 s, at most 56 s"
        );
        assert_eq!(most, GRACE + Duration::from_millis(6_410 * 4));
    }

    #[test]
    fn a_stop_ends_at_once() {
        let stop = AtomicBool::new(true);
        let bounds = Bounds {
            stop: &stop,
            end: None,
        };
        let round = round_trips(
            &mut [None, None, None],
            u64::from(u16::MAX),
            1,
            None,
            &bounds,
        );
        assert_eq!(round, Round::default());
        assert_eq!(bounds.ended(), Ended::Interrupted);
        stop.store(false, Ordering::Relaxed);
        let end = Some(Instant::now());
        assert_eq!(Bounds { stop: &stop, end }.ended(), Ended::TimeLimit);
    }
}
