//! Taps on veth pairs that are still being made: Docker makes a pair on the host, moves one end into the
//! container and starts its process some 20 ms later, which is less than attaching may take. So the end
//! that will move is tapped where it is made; the taps move along.
//!
//! This knows pairs, not whose they are. A pair that nobody claims in time is let go.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    CaptureConfig,
    generation::{Attached, Loaded, Shape},
    plan::Plan,
    taps::tap_site,
    targets::plan_paths,
};
use crate::{
    netns::NetNs,
    topology::{self, Link, LinkKind, PathMap, Role, Site},
};

/// How long a pair may take to be moved and named.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most pairs that are tapped at once. Each takes a ring.
const MOST: usize = 16;

/// One end of a new pair, tapped.
struct EarlyTap {
    /// Its index, which it keeps when it moves, unless that is taken there.
    index: u32,
    /// The other end's index, here.
    other: u32,
    since: Instant,
    attached: Attached,
}

/// The new pairs of one namespace, usually the host's.
pub(super) struct EarlyTaps {
    config: CaptureConfig,
    here: Arc<NetNs>,
    /// Interfaces whose fate is decided.
    known: HashSet<u32>,
    shape: Shape,
    /// The next tap's programs.
    spare: Option<Loaded>,
    taps: Vec<EarlyTap>,
}

impl EarlyTaps {
    /// For the calling thread's namespace, as it is now. None where taps would not move along.
    ///
    /// # Errors
    ///
    /// The interfaces cannot be listed, or the programs not be loaded.
    pub(super) fn new(config: &CaptureConfig) -> Result<Option<Self>> {
        if !config.attach.survives_moving() {
            log::warn!(
                "without TCX (Linux 6.6) taps cannot move along with an interface: what comes is captured once it is \
                 seen, without its first packets"
            );
            return Ok(None);
        }
        let here = Arc::new(NetNs::current()?);
        let shape = Shape::of(&usual_plan(&here, config)?, config);
        let mut early = Self {
            config: config.clone(),
            known: HashSet::new(),
            here,
            shape,
            spare: None,
            taps: Vec::new(),
        };
        early.pass_over()?;
        early.prepare()?;
        Ok(Some(early))
    }

    /// Loads the next tap's programs ahead, if they are not there.
    pub(super) fn prepare(&mut self) -> Result<()> {
        if self.spare.is_none() {
            self.spare = Some(Loaded::load(self.shape.clone())?);
        }
        Ok(())
    }

    /// Lets what has come since the last look be.
    pub(super) fn pass_over(&mut self) -> Result<()> {
        self.taps.clear();
        self.known = topology::links(&self.here)?
            .iter()
            .map(|link| link.index)
            .collect();
        Ok(())
    }

    /// Taps the pairs that have come since the last look.
    pub(super) fn look(&mut self) -> Result<()> {
        self.taps.retain(|tap| tap.since.elapsed() < PATIENCE);
        let links = topology::links(&self.here)?;
        for link in &links {
            let Some(other) = link.peer_index.filter(|_| will_move(link, &links)) else {
                continue;
            };
            // An end whose other one was there before comes back from a container that has ended.
            if self.known.contains(&link.index) || self.known.contains(&other) {
                continue;
            }
            self.known.extend([link.index, other]);
            if self.taps.len() >= MOST {
                self.taps.remove(0);
            }
            match self.tap(link) {
                Ok(attached) => self.taps.push(EarlyTap {
                    index: link.index,
                    other,
                    since: Instant::now(),
                    attached,
                }),
                Err(why) => log::info!("a new pair is not tapped early: {why:#}"),
            }
        }
        let there: HashSet<u32> = links.iter().map(|link| link.index).collect();
        self.known.retain(|index| there.contains(index));
        Ok(())
    }

    fn tap(&mut self, link: &Link) -> Result<Attached> {
        let loaded = match self.spare.take() {
            Some(loaded) => loaded,
            None => Loaded::load(self.shape.clone())?,
        };
        let site = Site {
            role: Role::Inside,
            ns: Arc::clone(&self.here),
            ns_label: "host".to_owned(),
            link: link.clone(),
        };
        loaded.attach(&tap_site(&site), self.config.attach)
    }

    /// The taps of a plan: those that are on its interface already, else the spare ones, else new ones.
    ///
    /// # Errors
    ///
    /// As [`Attached::attach`].
    pub(super) fn attach(&mut self, plan: &Plan) -> Result<Attached> {
        let shape = Shape::of(plan, &self.config);
        let inside = &plan
            .taps
            .first()
            .context("there is nothing to capture")?
            .site;
        let there = self.taps.iter().position(|tap| {
            inside.role == Role::Inside
                && inside.link.index == tap.index
                && inside.link.peer_index == Some(tap.other)
                && tap.attached.fits(&shape)
        });
        if let Some(there) = there {
            return Ok(self.taps.remove(there).attached);
        }
        match self.spare.take_if(|spare| spare.fits(&shape)) {
            Some(spare) => spare.attach(&tap_site(inside), self.config.attach),
            None => Attached::attach(plan, &self.config),
        }
    }
}

/// Whether a link is the end of a new pair that will go elsewhere: both are here still, and the other
/// one is the port of a bridge already.
fn will_move(link: &Link, links: &[Link]) -> bool {
    let is_pair = link.kind.is_pair() && link.peer_netnsid.is_none() && link.master.is_none();
    let other = links
        .iter()
        .find(|other| Some(other.index) == link.peer_index);
    is_pair && other.is_some_and(|other| other.master.is_some())
}

/// The plan for a target as most are: an Ethernet interface whose other end is here.
fn usual_plan(here: &Arc<NetNs>, config: &CaptureConfig) -> Result<Plan> {
    let site = |role, index| Site {
        role,
        ns: Arc::clone(here),
        ns_label: "?".to_owned(),
        link: Link {
            index,
            name: "eth0".to_owned(),
            kind: LinkKind::Veth,
            arp_type: libc::ARPHRD_ETHER,
            mac: None,
            mtu: 1500,
            up: true,
            peer_index: None,
            peer_netnsid: None,
            master: None,
            addresses: Vec::new(),
        },
    };
    let path = PathMap {
        inside: site(Role::Inside, 1),
        veth: Some(site(Role::Veth, 2)),
        bridge: Some(site(Role::Bridge, 3)),
        uplink: Some(site(Role::Uplink, 4)),
        missing: Vec::new(),
        others: Vec::new(),
    };
    plan_paths(&[path], config)
}
