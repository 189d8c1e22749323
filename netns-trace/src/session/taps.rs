//! Brings the planned taps up and down: those that the capture starts with before it is announced,
//! the others behind it, since each hook takes the kernel about 9 ms.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, Result};

use super::plan::PlannedTap;
use crate::{
    privilege::raised,
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
    thread: JoinHandle<()>,
    arrivals: Receiver<(u32, Result<AttachedTap>)>,
    stop: Arc<AtomicBool>,
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
                for tap in &taps {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let result = bring_up(&mut probe, tap, method);
                    if let Err(unwanted) = sender.send((tap.number, result)) {
                        // Nobody waits any more: what was attached goes again.
                        drop(unwanted);
                        return;
                    }
                }
            })
            .context("cannot start the thread that attaches the other taps")?;
        self.rest = Some(Rest {
            thread,
            arrivals,
            stop,
        });
        Ok(())
    }

    /// Takes in the taps that have come up meanwhile. One that could not is a warning: what was
    /// asked for is up.
    pub(super) fn take_in(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        while let Ok((number, result)) = rest.arrivals.try_recv() {
            match result {
                Ok(tap) => self.live.push(LiveTap { number, tap }),
                Err(why) => log::warn!("a tap is missing: {why:#}"),
            }
        }
    }

    /// Whether no tap is still to come.
    pub(super) fn is_complete(&self) -> bool {
        self.rest
            .as_ref()
            .is_none_or(|rest| rest.thread.is_finished())
    }

    /// The numbers of taps whose interface is gone; they are not asked again.
    pub(super) fn take_gone(&mut self) -> Vec<u32> {
        raised(|| self.take_gone_ones())
    }

    fn take_gone_ones(&mut self) -> Vec<u32> {
        let (gone, live) = std::mem::take(&mut self.live)
            .into_iter()
            .partition(|live| live.tap.is_gone());
        self.live = live;
        let gone: Vec<LiveTap> = gone;
        gone.into_iter()
            .map(|gone| {
                let number = gone.number;
                self.detach(gone.tap);
                number
            })
            .collect()
    }

    /// Whether a tap is up.
    pub(super) fn has(&self, number: u32) -> bool {
        self.live.iter().any(|live| live.number == number)
    }

    fn detach(&self, tap: AttachedTap) {
        let label = tap.label().to_owned();
        if let Err(errors) = tap.detach() {
            for why in errors {
                log::error!("{label}: {why}");
            }
        }
    }

    /// Detaches everything.
    pub(super) fn bring_down(&mut self) {
        if let Some(rest) = &self.rest {
            rest.stop.store(true, Ordering::Relaxed);
        }
        if let Some(rest) = self.rest.take() {
            if rest.thread.join().is_err() {
                log::error!("the thread that attaches taps has panicked");
            }
            while let Ok((number, result)) = rest.arrivals.try_recv() {
                if let Ok(tap) = result {
                    self.live.push(LiveTap { number, tap });
                }
            }
        }
        raised(|| {
            for live in std::mem::take(&mut self.live) {
                self.detach(live.tap);
            }
        });
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        self.bring_down();
    }
}
