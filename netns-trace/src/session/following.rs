//! The helper process's part of [`super::follow`]: what it knows, what it waits for, and how it decides.

use std::{
    collections::{HashSet, VecDeque},
    os::fd::AsFd as _,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    CaptureConfig,
    candidate::Candidate,
    early::EarlyTaps,
    follow::{News, Present, Word},
    generation::Attached,
    handing::Recipient,
    plan::Plan,
    targets::plan_for,
};
use crate::{
    container::Containers,
    helper::Channel,
    netns::{Arrivals, Identity, NetNs, name_at, start_time},
    probe::{KernelLog, prepare},
    target::{self, TargetSpec},
    topology::{self, news::LinkNews},
};

/// Most namespaces that are tapped at once while it is not known whose they are. Each takes a ring.
const MOST_TAPPED: usize = 16;
/// Most of those that have no interface yet. Each takes two descriptors.
const MOST_UNTAPPED: usize = 128;
/// How long a namespace may stay unknown. A runtime that is up tells within a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a namespace goes without a name where any is wanted.
const NAMELESS_AFTER: Duration = Duration::from_secs(1);
/// How long to wait for news where none may come, since nothing tells of every new namespace; longer
/// where a look itself takes long.
const LOOK_AFTER: Duration = Duration::from_millis(50);
/// Of how many that have arrived the kernel side's diagnostics are printed.
const MOST_LOGS: usize = 16;
/// How often names are asked for while a namespace is unknown.
const ASK_AFTER: Duration = Duration::from_millis(20);
/// How often they are asked for otherwise: a target may come back in a namespace that was there.
const ASK_ANYWAY_AFTER: Duration = Duration::from_millis(500);

/// A name that is followed.
struct Name {
    spec: TargetSpec,
    /// The namespace that has it now; never one for `all`.
    has: Option<Identity>,
    /// Since when it is missed, where it was there before.
    missed: Option<Instant>,
}

impl Name {
    fn new(spec: &TargetSpec, at: usize, present: &[Present]) -> Self {
        let is_all = *spec == TargetSpec::All;
        let has = (present.iter()).find(|present| !is_all && present.name == at);
        Self {
            spec: spec.clone(),
            has: has.map(|present| present.ns.clone()),
            missed: None,
        }
    }

    fn lose(&mut self) {
        if self.has.take().is_some() {
            self.missed = Some(Instant::now());
        }
    }

    fn gain(&mut self, ns: &NetNs) -> Option<String> {
        if self.spec == TargetSpec::All {
            return None;
        }
        self.has = Some(ns.identity().clone());
        let missed = self.missed.take()?;
        Some(format!(
            "{} is back after about {:.3} s in which nothing was captured",
            self.spec,
            missed.elapsed().as_secs_f64()
        ))
    }
}

/// What it knows.
struct Following {
    config: CaptureConfig,
    names: Vec<Name>,
    /// Namespaces that are captured, by inode.
    captured: HashSet<u64>,
    arrivals: Arrivals,
    news: LinkNews,
    /// Something has changed since the last wait.
    heard: bool,
    /// New pairs, where taps move along with an interface.
    early: Option<EarlyTaps>,
    /// Namespaces that are there and not captured, since it is not known whose they are.
    candidates: Vec<Candidate>,
    /// Where the names that were asked for will come.
    asked: Option<Receiver<Containers>>,
    asked_at: Instant,
    look_after: Duration,
    /// To the capture.
    channel: Arc<Channel>,
    /// How many have arrived.
    handed: u64,
    /// Threads that bring up what is behind the first taps.
    behind: Vec<JoinHandle<()>>,
    /// The kernel side's diagnostics of the last that have arrived.
    logs: VecDeque<KernelLog>,
}

impl Following {
    /// Knows what is there now.
    ///
    /// # Errors
    ///
    /// There is no descriptor left, or the programs cannot be loaded.
    fn new(config: &CaptureConfig, present: &[Present], channel: Arc<Channel>) -> Result<Self> {
        let names = config.targets.iter().enumerate();
        let names = names.map(|(at, spec)| Name::new(spec, at, present));
        Ok(Self {
            config: config.clone(),
            names: names.collect(),
            captured: present.iter().map(|present| present.ns.inode).collect(),
            arrivals: Arrivals::new(),
            news: LinkNews::here().context("cannot listen for changes of interfaces")?,
            heard: false,
            early: EarlyTaps::new(config)?,
            candidates: Vec::new(),
            asked: None,
            asked_at: Instant::now(),
            look_after: LOOK_AFTER,
            channel,
            handed: 0,
            behind: Vec::new(),
            logs: VecDeque::new(),
        })
    }

    /// Follows until the capture ends.
    fn run(mut self) {
        while self.listen() {
            self.look();
            if self.is_complete() {
                continue;
            }
            // One at a time: a new pair may be more urgent than the next.
            for candidate in &mut self.candidates {
                if candidate.tap(&self.config, self.early.as_mut()) {
                    break;
                }
            }
            self.give_up();
            if let Some(containers) = self.names_that_came() {
                self.decide(&containers);
            }
            self.ask();
        }
        for thread in self.behind {
            if thread.join().is_err() {
                log::error!("the thread that attaches taps has panicked");
            }
        }
    }

    /// Waits until something may have changed, and hears what the capture has to say; not when that has ended.
    fn listen(&mut self) -> bool {
        self.wait();
        self.logs.iter_mut().for_each(KernelLog::flush);
        self.behind.retain(|thread| !thread.is_finished());
        loop {
            let word = match self.channel.has_news() {
                Ok(false) => return true,
                Ok(true) => self.channel.receive(),
                Err(why) => Err(why),
            };
            match word {
                Ok(Some((Word::Lost(inode), _))) => self.lose(inode),
                Ok(Some((Word::Follow(_), _))) => {}
                Ok(None) => return false,
                Err(why) => {
                    log::debug!("the capture cannot be heard: {why}");
                    return false;
                }
            }
        }
    }

    /// Waits until something may have changed.
    fn wait(&mut self) {
        let is_waiting = !self.candidates.is_empty() || self.asked.is_some();
        let wait = if is_waiting {
            ASK_AFTER.min(self.look_after)
        } else {
            self.look_after
        };
        let mut fds = vec![
            PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.news.as_fd(), PollFlags::POLLIN),
        ];
        for inside in self.candidates.iter().filter_map(Candidate::news) {
            fds.push(PollFd::new(inside, PollFlags::POLLIN));
        }
        if let Some(mounts) = self.arrivals.mounts() {
            fds.push(PollFd::new(mounts, PollFlags::POLLPRI));
        }
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        if let Err(errno) = poll(&mut fds, timeout)
            && errno != Errno::EINTR
        {
            log::warn!("cannot wait for changes: {errno}");
            std::thread::sleep(wait);
        }
        drop(fds);
        self.heard = self.news.take();
    }

    /// Whether every name has its namespace.
    fn is_complete(&self) -> bool {
        self.names.iter().all(|name| name.has.is_some())
    }

    fn lose(&mut self, inode: u64) {
        self.captured.remove(&inode);
        for name in &mut self.names {
            if name.has.as_ref().is_some_and(|has| has.inode == inode) {
                name.lose();
            }
        }
    }

    /// Looks for new namespaces, and for new pairs. Where there are any, a name may have lost its
    /// namespace just before; where none is missing, they are nobody's business.
    fn look(&mut self) {
        let start = Instant::now();
        let new = self.arrivals.look();
        self.look_after = LOOK_AFTER.max(start.elapsed() * 20);
        if self.heard || !new.is_empty() {
            for name in &mut self.names {
                if name.has.as_ref().is_some_and(is_gone) {
                    name.lose();
                }
            }
        }
        if self.is_complete() {
            self.candidates.clear();
        } else {
            for (path, inode) in new {
                if self.may_be_meant(&path) {
                    self.suspect(&path, inode);
                }
            }
        }
        self.look_early();
    }

    fn look_early(&mut self) {
        let is_complete = self.is_complete();
        let Some(early) = &mut self.early else { return };
        let done = match (self.heard, is_complete) {
            (true, true) => early.pass_over(),
            (true, false) => early.look(),
            (false, _) => early.prepare(),
        };
        if let Err(why) = done {
            log::warn!("new interfaces are not tapped early any more: {why:#}");
            self.early = None;
        }
    }

    /// Lets go of those that nobody can have a name for any more, and of the oldest where there are too
    /// many. Held open, they and their interfaces would outlive their end.
    fn give_up(&mut self) {
        self.candidates
            .retain_mut(|candidate| candidate.age() < PATIENCE && !candidate.is_abandoned());
        let tapped = self.candidates.iter().filter(|one| one.is_tapped()).count();
        let mut too_many = [
            tapped.saturating_sub(MOST_TAPPED),
            (self.candidates.len() - tapped).saturating_sub(MOST_UNTAPPED),
        ];
        self.candidates.retain(|candidate| {
            let excess = &mut too_many[usize::from(!candidate.is_tapped())];
            if *excess == 0 {
                return true;
            }
            *excess -= 1;
            log::warn!("{candidate} is given up: too many new namespaces at once");
            false
        });
    }

    /// Whether one of the missing names may be that of a namespace: one with a name in /run/netns has no
    /// other there.
    fn may_be_meant(&self, path: &Path) -> bool {
        let name = name_at(path);
        let mut missing = self.names.iter().filter(|name| name.has.is_none());
        missing.any(|missing| match (&missing.spec, name) {
            (TargetSpec::Netns(wanted), Some(name)) => name == wanted.as_str(),
            _ => true,
        })
    }

    fn suspect(&mut self, path: &Path, inode: u64) {
        match Candidate::new(path) {
            Ok(candidate) if candidate.inode() == inode => self.candidates.push(candidate),
            // Another one has the path by now, or nobody: it may be there still by another path.
            Ok(_) => self.arrivals.forget(inode),
            Err(why) => {
                log::info!("{}: {why:#}", path.display());
                self.arrivals.forget(inode);
            }
        }
    }

    /// Asks for names, unless that is under way or was done just now.
    fn ask(&mut self) {
        let unknown = !self.candidates.is_empty();
        let after = if unknown { ASK_AFTER } else { ASK_ANYWAY_AFTER };
        if self.asked.is_some() || self.asked_at.elapsed() < after {
            return;
        }
        let (sender, names) = channel();
        let asked = std::thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || {
                // Nobody waits for them once the capture has ended.
                drop(sender.send(Containers::find()));
            });
        match asked {
            Ok(_) => self.asked = Some(names),
            Err(why) => log::warn!("cannot start a thread to ask for names: {why}"),
        }
    }

    fn names_that_came(&mut self) -> Option<Containers> {
        let came = self.asked.as_ref()?.try_recv();
        if matches!(came, Err(TryRecvError::Empty)) {
            return None;
        }
        self.asked = None;
        self.asked_at = Instant::now();
        came.ok()
    }

    /// Keeps or discards what is unknown, by the names that are known now.
    fn decide(&mut self, containers: &Containers) {
        let mut undecided = Vec::new();
        for mut candidate in std::mem::take(&mut self.candidates) {
            let owner = candidate.owner(containers);
            let name = self.names.iter_mut().find(|name| {
                name.has.is_none()
                    && match &name.spec {
                        TargetSpec::All => owner.is_some() || candidate.age() > NAMELESS_AFTER,
                        TargetSpec::Netns(name) => candidate.has_name(name),
                        spec => owner.is_some_and(|owner| spec.means(owner)),
                    }
            });
            match name {
                Some(name) => {
                    let Some((plan, attached)) = candidate.take_taps() else {
                        undecided.push(candidate); // its interface is still to come
                        continue;
                    };
                    let (ns, inode) = (candidate.ns(), candidate.inode());
                    let label = target::label(ns, containers);
                    // Gone by now, it is told as it was.
                    let links = topology::links(ns).unwrap_or_default();
                    let note = name.gain(ns);
                    self.captured.insert(inode);
                    self.keep(&plan.updated(inode, &label, &links), attached, note);
                }
                None if owner.is_some_and(|owner| owner.name.is_some() || owner.pod.is_some()) => {}
                None => undecided.push(candidate),
            }
        }
        self.candidates = undecided;
        for at in 0..self.names.len() {
            if self.names[at].has.is_none() && self.names[at].spec != TargetSpec::All {
                self.resolve(at, containers);
            }
        }
    }

    /// A name may be that of a namespace that is no news.
    fn resolve(&mut self, at: usize, containers: &Containers) {
        let Ok(target) = target::resolve_with(&self.names[at].spec, containers) else {
            return; // it is still missing
        };
        let inode = target.ns.inode();
        if self.captured.contains(&inode) {
            self.names[at].has = Some(target.ns.identity().clone());
            return;
        }
        if self
            .candidates
            .iter()
            .any(|candidate| candidate.inode() == inode)
        {
            return;
        }
        let targets = [target];
        let up = plan_for(&targets, &self.config)
            .and_then(|plan| Ok((Attached::attach(&plan, &self.config)?, plan)));
        match up {
            Ok((attached, plan)) => {
                let note = self.names[at].gain(&targets[0].ns);
                self.captured.insert(inode);
                self.keep(&plan, attached, note);
            }
            Err(why) => log::info!("{}: {why:#}", self.names[at].spec),
        }
    }

    /// Lets the capture have taps that it wants.
    fn keep(&mut self, plan: &Plan, attached: Attached, note: Option<String>) {
        self.handed += 1;
        let to = Recipient::new(Arc::clone(&self.channel), self.handed);
        let mut behind = match attached.hand_over(plan, &self.config, note, &to) {
            Ok(behind) => behind,
            Err(why) => return log::debug!("the capture does not listen: {why}"),
        };
        self.logs.extend(behind.log.take());
        if self.logs.len() > MOST_LOGS {
            self.logs.pop_front();
        }
        let method = self.config.attach;
        let thread = std::thread::Builder::new()
            .name("attach".to_owned())
            .spawn(move || behind.bring_up(method, &to));
        match thread {
            Ok(thread) => self.behind.push(thread),
            Err(why) => log::warn!("other taps are missing: cannot start a thread: {why}"),
        }
    }
}

/// In the helper process: follows, once it is told to, until the capture ends.
pub(super) fn follow(config: &CaptureConfig, channel: Channel) {
    let present = match channel.receive() {
        Ok(Some((Word::Follow(present), _))) => present,
        // It has ended before.
        Ok(_) => return,
        Err(why) => return log::debug!("the capture cannot be heard: {why}"),
    };
    prepare();
    let channel = Arc::new(channel);
    let following = Following::new(config, &present, Arc::clone(&channel));
    let said = following.as_ref().map(|_| ());
    let said = said.map_err(|why| format!("{why:#}"));
    match channel.send(&News::Following(said), &[]) {
        Ok(()) => drop(following.map(Following::run)),
        Err(why) => log::debug!("the capture does not listen: {why}"),
    }
}

/// Whether a namespace is gone, as far as a look from outside tells: the process that it was found by, or
/// all that leads to it.
fn is_gone(identity: &Identity) -> bool {
    match identity.process {
        Some(process) => start_time(process.pid) != Some(process.start_time),
        None => NetNs::find(identity).is_none(),
    }
}
