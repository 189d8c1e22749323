//! A namespace that has appeared while a name is missing: tapped as soon as it has an interface, until
//! it is known whose it is.

use std::{
    fmt,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{CaptureConfig, early::EarlyTaps, generation::Attached, plan::Plan, targets::plan_for};
use crate::{
    container::{self, Container, ContainerKey, Containers},
    netns::{NetNs, named, pids_in},
    target::{Target, TargetSpec},
    topology::news::LinkNews,
};

/// How long an interface may have been there before we listened.
const NEW: Duration = Duration::from_millis(100);

/// A namespace that nobody has a name for yet. Holds it open: for some seconds, until that is decided.
pub(super) struct Candidate {
    ns: NetNs,
    since: Instant,
    /// Says when an interface appears in it.
    news: LinkNews,
    /// The container that a process in it belongs to, as the kernel tells.
    key: Option<ContainerKey>,
    taps: Option<(Plan, Attached)>,
}

impl Candidate {
    /// Opens it.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let ns = NetNs::open(path)?;
        let news = ns
            .run(LinkNews::here)?
            .context("cannot listen for changes of interfaces")?;
        Ok(Self {
            ns,
            since: Instant::now(),
            news,
            key: None,
            taps: None,
        })
    }

    pub(super) fn ns(&self) -> &NetNs {
        &self.ns
    }

    pub(super) fn inode(&self) -> u64 {
        self.ns.inode()
    }

    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Where word of its interfaces comes, while there is none to tap.
    pub(super) fn news(&self) -> Option<BorrowedFd<'_>> {
        self.taps.is_none().then(|| self.news.as_fd())
    }

    /// Attaches to its interface if there is one by now; whether that was tried, which takes its time.
    pub(super) fn tap(&mut self, config: &CaptureConfig, early: Option<&mut EarlyTaps>) -> bool {
        if self.key.is_none() {
            self.key = pids_in(&self.ns).find_map(container::of_process);
        }
        // Without news there is nothing new to try; what came before we listened is no news.
        if self.taps.is_some() || !(self.news.take() || self.age() < NEW) {
            return false;
        }
        match self.attach(config, early) {
            Ok(taps) => self.taps = Some(taps),
            Err(why) => log::debug!("{self}: {why:#}"),
        }
        true
    }

    fn attach(
        &self,
        config: &CaptureConfig,
        early: Option<&mut EarlyTaps>,
    ) -> Result<(Plan, Attached)> {
        let target = Target {
            spec: TargetSpec::Inode(self.inode()),
            label: self.to_string(),
            ns: self.ns.try_clone()?,
            notes: Vec::new(),
        };
        let plan = plan_for(&[target], config)?;
        let attached = match early {
            Some(early) => early.attach(&plan)?,
            None => Attached::attach(&plan, config)?,
        };
        Ok((plan, attached))
    }

    /// Its taps, which see packets.
    pub(super) fn take_taps(&mut self) -> Option<(Plan, Attached)> {
        self.taps.take()
    }

    /// Whether it has taps, which take a ring.
    pub(super) fn is_tapped(&self) -> bool {
        self.taps.is_some()
    }

    /// Whether nobody but us has it any more: a name that was taken away, or a process that ended.
    pub(super) fn is_abandoned(&mut self) -> bool {
        if self.ns.is_at(self.ns.path()) {
            return false;
        }
        match NetNs::find(self.ns.identity()) {
            Some(elsewhere) => {
                self.ns = elsewhere;
                false
            }
            None => true,
        }
    }

    /// Whether it is called `name` in /run/netns.
    pub(super) fn has_name(&self, name: &str) -> bool {
        named(name).is_some_and(|path| self.ns.is_at(&path))
    }

    /// The container that it belongs to, as far as that is known.
    pub(super) fn owner<'a>(&self, containers: &'a Containers) -> Option<&'a Container> {
        let by_key = self.key.as_ref().and_then(|key| containers.get(key));
        by_key.or_else(|| {
            containers.iter().find(|container| {
                let path = container.netns.as_deref();
                path.is_some_and(|path| self.ns.is_at(path))
            })
        })
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inode:{}", self.inode())
    }
}
