//! Brings the planned taps up and down: those that the capture starts with before it is announced,
//! the others behind it, since each hook takes the kernel about 9 ms.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, Result};

use super::plan::PlannedTap;
use crate::{
    probe::{AttachMethod, AttachedTap, Hook, LoadedTap, Probe, TapSite},
    topology::Site,
};

/// A tap that is up.
pub(super) struct LiveTap {
    /// Its number.
    pub(super) number: u32,
    tap: AttachedTap,
}

/// The taps of a capture that are up, and the thread that brings up the rest.
pub(super) struct Taps {
    live: Vec<LiveTap>,
    rest: Option<Rest>,
}

struct Rest {
    arrivals: Receiver<(u32, Result<AttachedTap>)>,
    /// The thread, where it is one of this process, and the word that stops it.
    thread: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
}

/// The interface as the probe takes it.
pub(super) fn tap_site(site: &Site) -> TapSite {
    TapSite {
        ns: Arc::clone(&site.ns),
        ifname: site.link.name.clone(),
        ifindex: site.link.index,
        label: site.to_string(),
    }
}

fn bring_up(probe: &mut Probe, tap: &PlannedTap, method: AttachMethod) -> Result<AttachedTap> {
    let loaded = probe.load(
        tap.config,
        tap.filter.as_ref().map(|filter| filter.as_slice()),
    )?;
    Ok(loaded.attach(&tap_site(&tap.site), &tap.hooks, method)?)
}

/// Loads and attaches taps, one after the other, as long as what becomes of them is wanted.
pub(super) fn bring_up_each(
    probe: &mut Probe,
    taps: &[PlannedTap],
    method: AttachMethod,
    mut tell: impl FnMut(u32, Result<AttachedTap>) -> bool,
) {
    for tap in taps {
        let result = bring_up(probe, tap, method);
        if !tell(tap.number, result) {
            return;
        }
    }
}

/// Detaches a tap; what fails is told.
pub(super) fn detach(tap: AttachedTap) {
    let label = tap.label().to_owned();
    if let Err(errors) = tap.detach() {
        for why in errors {
            log::error!("{label}: {why}");
        }
    }
}

impl Taps {
    pub(super) fn new() -> Self {
        Self {
            live: Vec::new(),
            rest: None,
        }
    }

    /// Loads and attaches one tap. One that the run can do without may be missing afterwards.
    pub(super) fn bring_up(
        &mut self,
        probe: &mut Probe,
        tap: &PlannedTap,
        method: AttachMethod,
    ) -> Result<()> {
        match bring_up(probe, tap, method) {
            Ok(attached) => self.live.push(LiveTap {
                number: tap.number,
                tap: attached,
            }),
            Err(why) if tap.optional && !tap_site(&tap.site).is_there() => {
                log::info!("left out: {why:#}");
            }
            Err(why) => return Err(why),
        }
        Ok(())
    }

    /// Attaches what was loaded as a tap, at another place than a plan's.
    pub(super) fn attach(
        &mut self,
        number: u32,
        loaded: LoadedTap,
        site: &TapSite,
        hooks: &[Hook],
        method: AttachMethod,
    ) -> Result<()> {
        let tap = loaded.attach(site, hooks, method)?;
        self.live.push(LiveTap { number, tap });
        Ok(())
    }

    /// Taps that another process has brought up; `arrivals` is where the rest will come.
    pub(super) fn handed(
        live: Vec<(u32, AttachedTap)>,
        arrivals: Receiver<(u32, Result<AttachedTap>)>,
    ) -> Self {
        let live = live
            .into_iter()
            .map(|(number, tap)| LiveTap { number, tap });
        Self {
            live: live.collect(),
            rest: Some(Rest {
                arrivals,
                thread: None,
            }),
        }
    }

    /// Those that are up, which somebody else keeps from now on.
    pub(super) fn take_live(&mut self) -> Vec<(u32, AttachedTap)> {
        let live = std::mem::take(&mut self.live).into_iter();
        live.map(|live| (live.number, live.tap)).collect()
    }

    /// Loads and attaches the remaining taps on a thread of its own.
    pub(super) fn bring_up_behind(
        &mut self,
        mut probe: Probe,
        taps: Vec<PlannedTap>,
        method: AttachMethod,
    ) -> Result<()> {
        let (sender, arrivals) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("attach".to_owned())
            .spawn(move || {
                bring_up_each(&mut probe, &taps, method, |number, result| {
                    // They are waited for until this thread has ended.
                    sender.send((number, result)).is_ok() && !stopped.load(Ordering::Relaxed)
                });
            })
            .context("cannot start the thread that attaches the other taps")?;
        self.rest = Some(Rest {
            arrivals,
            thread: Some((thread, stop)),
        });
        Ok(())
    }

    /// Takes in the taps that have come up meanwhile. One that could not is a warning: what was
    /// asked for is up.
    pub(super) fn take_in(&mut self) {
        while let Some(rest) = &self.rest {
            match rest.arrivals.try_recv() {
                Ok((number, Ok(tap))) => self.live.push(LiveTap { number, tap }),
                Ok((_, Err(why))) => log::warn!("a tap is missing: {why:#}"),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.rest = None,
            }
        }
    }

    /// Whether no tap is still to come, as far as they have been taken in.
    pub(super) fn is_complete(&self) -> bool {
        self.rest.is_none()
    }

    /// The numbers of taps whose interface is gone; they are not asked again.
    pub(super) fn take_gone(&mut self) -> Vec<u32> {
        let (gone, live) = std::mem::take(&mut self.live)
            .into_iter()
            .partition(|live| live.tap.is_gone());
        self.live = live;
        let gone: Vec<LiveTap> = gone;
        gone.into_iter()
            .map(|gone| {
                let number = gone.number;
                detach(gone.tap);
                number
            })
            .collect()
    }

    /// Whether a tap is up.
    pub(super) fn has(&self, number: u32) -> bool {
        self.live.iter().any(|live| live.number == number)
    }

    /// Detaches everything.
    pub(super) fn bring_down(&mut self) {
        if let Some((thread, stop)) = self.rest.as_mut().and_then(|rest| rest.thread.take()) {
            stop.store(true, Ordering::Relaxed);
            if thread.join().is_err() {
                log::error!("the thread that attaches taps has panicked");
            }
        }
        self.take_in();
        self.rest = None;
        for live in std::mem::take(&mut self.live) {
            detach(live.tap);
        }
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        self.bring_down();
    }
}
