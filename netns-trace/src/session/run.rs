//! A capture from start to end: attach, read the rings, write, drain, account.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    future::poll_fn,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    task::Poll,
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::unix::AsyncFd,
    time::{MissedTickBehavior, interval},
};

use super::{
    CaptureConfig, OutputTo, SummaryFormat,
    completed::Completed,
    follow::{Arrival, Follower},
    generation::{Attached, Generation, readable},
    helper::{self, Jobs, Left},
    outline::Outline,
    processes::Processes,
    rights,
    signals::{Signals, Wish},
    taken::Taken,
    targets::{check_link_types, check_peers, check_wishes, find_targets, plan_for},
};
use crate::{
    capture::{Account, Output},
    filter::translate,
    latency::{self, table},
    privilege::User,
    probe::{check_kernel, check_memory, check_privileges, measure_cost, prepare, sweep},
};

/// How often the session looks after what no event tells of.
const TICK: Duration = Duration::from_millis(50);
/// How long packets may lie in the file's buffer.
const FLUSH_AFTER: Duration = Duration::from_millis(250);
/// How long the end of a short capture waits for the names of addresses.
const NAMES_AT_END: Duration = Duration::from_millis(100);
/// How often the taps are asked whether their interface is still there.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// What a capture came to.
#[derive(Debug)]
pub struct Report {
    /// The counts.
    pub account: Account,
}

/// Captures until a signal, the count, the time, the reader's or the namespace's end, prints the
/// summary, and leaves nothing behind.
///
/// # Errors
///
/// What could not be set up, or a file that could not be written to its end. The summary is
/// printed in the latter case too.
pub fn capture(config: &CaptureConfig) -> Result<Report> {
    check_wishes(config)?;
    let user = match &config.user {
        Some(name) => Some(User::find(name)?),
        None if matches!(config.output, OutputTo::File(_)) => User::behind_sudo()?,
        None => None,
    };
    check_kernel()?;
    check_privileges()?;
    check_memory(config.ring_bytes)?;
    let signals = Signals::new()?;
    let mut left = helper::start(Jobs {
        attach: config.attach,
        following: config.follow.then_some(config),
        sockets: config.processes.is_some(),
    })?;
    prepare();
    let swept = sweep();
    if swept > 0 {
        log::info!("swept {swept} filters that an earlier run had left behind");
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the event loop")?
        .block_on(run(config, &signals, &mut left, user.as_ref()))
}

/// The code of the filter for the targets' link types, classic BPF and eBPF, as text.
///
/// # Errors
///
/// The targets cannot be found, or there is no filter.
pub fn filter_code(config: &CaptureConfig) -> Result<String> {
    let filter = config
        .filter
        .as_ref()
        .context("there is no filter to print")?;
    let targets = find_targets(&config.targets, false)?;
    let plan = plan_for(&targets, config)?;
    let mut text = String::new();
    for link_type in Outline::of(&plan).link_types() {
        let program = filter.compile(link_type, config.snaplen)?;
        writeln!(text, "classic BPF, link type {link_type}:\n{program}")?;
        writeln!(text, "eBPF, link type {link_type}:")?;
        for (at, insn) in translate(&program)?.iter().enumerate() {
            writeln!(text, "{at:4}: {insn}")?;
        }
    }
    Ok(text)
}

async fn run(
    config: &CaptureConfig,
    signals: &Signals,
    left: &mut Left,
    user: Option<&User>,
) -> Result<Report> {
    let targets = find_targets(&config.targets, config.follow)?;
    if !config.follow {
        check_peers(config, targets.len())?;
    }
    let plan = match targets.as_slice() {
        [] => None,
        targets => Some(plan_for(targets, config)?),
    };
    let outline = plan.as_ref().map(Outline::of);
    let link_types = match &outline {
        Some(plan) => check_link_types(config, &BTreeSet::new(), plan)?,
        None => BTreeSet::new(),
    };
    let output = match user {
        // The file is theirs, and made with their rights alone.
        Some(user) => user
            .run(|| open_output(config))?
            .with_context(|| user.as_whom(Some("-Z root writes as root")))?,
        None => open_output(config)?,
    };
    let mut taken = Taken::new(config, signals, output, left.sockets.take())?;
    let written = outline.as_ref().map(|plan| taken.admit(plan));
    let written = written.transpose()?;
    // The file's head goes out first: what takes no byte is refused before anything is attached.
    taken.flush();
    if let Some(why) = taken.failure.as_ref().filter(|why| !why.is_closed_pipe()) {
        bail!("{why}");
    }
    let mut generations = Vec::new();
    if let (Some(plan), Some(outline), Some(written)) = (&plan, &outline, written) {
        let attached = Attached::attach(plan, config)?;
        for why in &plan.missing {
            eprintln!("netns-trace: {why}");
        }
        written.announce();
        let rising = attached.bring_up_rest(plan, config)?;
        generations.push(Generation::new(rising, outline, written)?);
    }
    taken.ask_names();
    let follower = (left.follow.take()).map(|channel| Follower::start(channel, config, &targets));
    let follower = follower.transpose()?;
    drop((plan, targets));
    if generations.is_empty() {
        let names: Vec<String> = config.targets.iter().map(ToString::to_string).collect();
        eprintln!("netns-trace: waiting for {}", names.join(", "));
    }
    // Beside the reading of the ring, which must not wait; and while there are the rights to.
    let cost = if config.latency_taps.is_empty() {
        None
    } else {
        let thread = thread::Builder::new().name("cost".to_owned());
        Some(
            thread
                .spawn(measure_cost)
                .context("cannot start a thread")?,
        )
    };
    let opens_files = config.rotation.is_some() && user.is_none();
    rights::give_up_after_attaching(opens_files, user)?;
    taken.completed = Completed::start(config.rotation.command.clone())
        .context("cannot start the thread that runs the command of -z")?;
    rights::confine_reader(config.rotation.is_some());
    let mut capture = Capture {
        config,
        signals,
        cost,
        taken,
        generations,
        follower,
        link_types,
        times: None,
    };
    capture.pump().await?;
    capture.end()
}

fn open_output(config: &CaptureConfig) -> Result<Output> {
    Ok(match &config.output {
        OutputTo::Text(options) => Output::text(options, config.names)?,
        OutputTo::Stdout => Output::create(Path::new("-"), config.format)?,
        OutputTo::File(path) if config.rotation.is_some() => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            Output::rotating(path, config.format, &config.rotation, now_ns)?
        }
        OutputTo::File(path) => Output::create(path, config.format)?,
    })
}

/// Waits until one of the rings has records.
async fn any_ready(generations: &[Generation]) -> Result<()> {
    poll_fn(|context| {
        let mut some = false;
        for generation in generations {
            while let Poll::Ready(mut guard) = generation.ready().poll_read_ready(context)? {
                guard.clear_ready();
                some = true;
            }
        }
        if some {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// A capture that runs.
struct Capture<'a> {
    config: &'a CaptureConfig,
    signals: &'a Signals,
    /// Measures what a tap costs each packet.
    cost: Option<JoinHandle<Option<f64>>>,
    taken: Taken<'a>,
    generations: Vec<Generation>,
    follower: Option<Follower>,
    /// Those of the file's interfaces.
    link_types: BTreeSet<u16>,
    /// What the generations that have ended recorded.
    times: Option<latency::Report>,
}

impl Capture<'_> {
    /// Reads the rings until the capture is over.
    async fn pump(&mut self) -> Result<()> {
        let signalled: AsyncFd<OwnedFd> =
            readable(self.signals.as_fd()).context("cannot wait for signals")?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let start = Instant::now();
        let (mut flushed, mut looked) = (start, start);
        loop {
            let mut emptied = true;
            for generation in &mut self.generations {
                emptied &= generation.read(&mut self.taken, self.config.unbuffered);
            }
            if self.taken.is_over() {
                return Ok(());
            }
            let now = Instant::now();
            let is_live = self.config.unbuffered || self.taken.output.is_live();
            if (emptied && is_live) || now - flushed >= FLUSH_AFTER {
                self.taken.flush();
                flushed = now;
            }
            let duration = self.config.duration;
            if duration.is_some_and(|duration| now - start >= duration) {
                return Ok(());
            }
            while let Some(wish) = self.signals.next()? {
                match wish {
                    Wish::End => return Ok(()),
                    Wish::Counts => self.print_counts()?,
                }
            }
            self.taken.follow_clock(now)?;
            self.taken.look_at_files()?;
            if now - looked >= LOOK_AFTER {
                looked = now;
                self.look_after()?;
                if self.generations.is_empty() && self.follower.is_none() {
                    return Ok(());
                }
            }
            self.taken.write_names(Duration::ZERO)?;
            while let Some(arrival) = self.follower.as_mut().and_then(Follower::next) {
                self.welcome(arrival)?;
            }
            for generation in &mut self.generations {
                generation.flush_log();
            }
            if !emptied {
                continue;
            }
            tokio::select! {
                ready = any_ready(&self.generations) => ready.context("cannot wait for the ring")?,
                guard = signalled.readable() => {
                    guard.context("cannot wait for signals")?.clear_ready();
                }
                _ = tick.tick() => {}
            }
        }
    }

    /// Takes in a target that has come, or come back.
    fn welcome(&mut self, arrival: Arrival) -> Result<()> {
        let plan = arrival.plan;
        match check_link_types(self.config, &self.link_types, &plan) {
            Ok(all) => self.link_types = all,
            Err(why) => {
                eprintln!("netns-trace: not captured: {why}");
                return Ok(());
            }
        }
        if let Some(note) = arrival.note {
            eprintln!("netns-trace: {note}");
            self.taken.output.comment(note);
        }
        let written = self.taken.admit(&plan)?;
        written.announce();
        let generation = Generation::new(arrival.taps, &plan, written)?;
        self.generations.push(generation);
        Ok(())
    }

    /// Ends the generations whose interfaces are gone.
    fn look_after(&mut self) -> Result<()> {
        let mut at = 0;
        while at < self.generations.len() {
            let looked = self.generations[at].look_after()?;
            if let Some(processes) = &mut self.taken.processes {
                looked
                    .lost
                    .iter()
                    .for_each(|inode| processes.forget(*inode));
            }
            if let Some(follower) = &self.follower
                && !looked.lost.is_empty()
            {
                eprintln!("netns-trace: waiting for it to come back");
                looked.lost.iter().for_each(|inode| follower.lost(*inode));
            }
            if looked.is_over {
                let ended = self.generations.remove(at).end(&mut self.taken)?;
                self.keep(ended);
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    fn keep(&mut self, times: Option<latency::Report>) {
        match (&mut self.times, times) {
            (Some(all), Some(more)) => all.append(more),
            (None, more) => self.times = more,
            (Some(_), None) => {}
        }
    }

    /// Ends the capture at all taps, takes what is still in the rings, detaches, counts, and writes
    /// the file's end and the summary.
    fn end(mut self) -> Result<Report> {
        drop(self.follower.take());
        self.taken.write_names(NAMES_AT_END)?;
        let mut closed = Ok(());
        for generation in &mut self.generations {
            closed = closed.and(generation.close());
        }
        for generation in std::mem::take(&mut self.generations) {
            let ended = generation.end(&mut self.taken);
            match ended {
                Ok(times) => self.keep(times),
                Err(why) => closed = closed.and(Err(why)),
            }
        }
        closed?;
        let end_ns = self.taken.now_ns()?;
        let taken = &mut self.taken;
        let finished = taken
            .output
            .finish(&mut taken.account, taken.start_ns, end_ns);
        self.print_summary()?;
        if let Some(last) = self.taken.output.current_file()
            && finished.is_ok()
            && self.taken.failure.is_none()
        {
            let last = last.to_owned();
            self.taken.completed.add(last);
        }
        std::mem::take(&mut self.taken.completed).finish();
        let account = self.taken.account;
        if let Err(why) = account.check() {
            eprintln!("netns-trace: {why}: please report this");
        }
        match self.taken.failure {
            Some(why) if !why.is_closed_pipe() => return Err(why.into()),
            Some(_) => {}
            None => finished?,
        }
        Ok(Report { account })
    }

    /// The counts so far, as SIGUSR1 asks for them.
    fn print_counts(&mut self) -> Result<()> {
        self.taken.flush();
        for generation in &self.generations {
            generation.read_counts(&mut self.taken)?;
        }
        let account = &self.taken.account;
        eprintln!(
            "netns-trace: {} packets captured, {} packets received by filter, {} packets dropped \
             by kernel",
            account.total_captured(),
            account.total_received(),
            account.total_dropped()
        );
        Ok(())
    }

    fn print_summary(&mut self) -> Result<()> {
        let account = &self.taken.account;
        let told = self.taken.processes.as_ref().map(Processes::told);
        let mut times = self.times.take();
        if let Some(report) = &mut times {
            let measured = self.cost.take().map(JoinHandle::join);
            report.probe_cost_ns = measured.and_then(Result::ok).flatten();
        }
        match self.config.summary {
            SummaryFormat::Text => {
                eprint!("{}", account.text());
                if let Some(told) = told {
                    eprintln!(
                        "  processes: {} packets attributed, {} unknown",
                        told.attributed, told.unknown
                    );
                }
                if let Some(report) = times {
                    eprint!("\n{}", table(&report));
                }
            }
            SummaryFormat::Json => {
                let file = match &self.config.output {
                    OutputTo::File(path) => Some((path.as_path(), self.taken.output.files())),
                    OutputTo::Text(_) | OutputTo::Stdout => None,
                };
                let mut summary = account.json(file);
                if let Some(told) = told {
                    summary["process"] = serde_json::to_value(told)?;
                }
                if let Some(report) = times {
                    summary["latency"] = serde_json::to_value(report)?;
                }
                eprintln!("{summary}");
            }
        }
        Ok(())
    }
}
