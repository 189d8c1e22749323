//! Follows targets by their names: past a container's end into the next one of that name, and from
//! before its beginning.
//!
//! A name is known late: a container's namespace and its interface are there some time before its
//! runtime tells whose they are, and its first packets do not wait for that. So whenever a namespace
//! appears while a name is missing, taps are attached at once, and what they record stays in their
//! ring. Once the name is known, somebody reads the ring, or the taps go again with all that is in it.
//! What the kernel sends by itself while the interface comes up may be missed.
//!
//! All this happens in the helper process, since it takes rights, and since it waits: for the kernel to attach (9 ms a
//! hook), and for runtimes to answer. The capture goes on meanwhile. Descriptors of what is attached come with the
//! messages: from then on the capture keeps it, and nobody else.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::mpsc::{Receiver, Sender, channel},
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::{
    CaptureConfig,
    generation::Rising,
    outline::Outline,
    taps::{Taps, detach},
};
use crate::{
    helper::Channel,
    netns::Identity,
    probe::{AttachedTap, HandedMaps, HandedTap, SharedMaps},
    target::Target,
};

/// A target that has come, or come back.
pub(super) struct Arrival {
    /// Its taps, by the names that are known now.
    pub(super) plan: Outline,
    /// The first are up. What they have seen is in their ring.
    pub(super) taps: Rising,
    /// What was before, for people.
    pub(super) note: Option<String>,
}

/// A target that is captured already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Present {
    /// Which of the names has it.
    pub(super) name: usize,
    pub(super) ns: Identity,
}

/// What the capture tells the helper.
#[derive(Serialize, Deserialize)]
pub(super) enum Word {
    /// Follow from now on. These are there.
    Follow(Vec<Present>),
    /// Nothing of a namespace is captured any more.
    Lost(u64),
}

/// What the helper tells the capture. What is attached together has a number.
#[derive(Serialize, Deserialize)]
pub(super) enum News {
    /// It follows from now on, or why not.
    Following(Result<(), String>),
    /// A tap is up. Its links are the descriptors.
    Tap {
        together: u64,
        number: u32,
        tap: HandedTap,
    },
    /// A tap could not be brought up.
    NoTap { together: u64, why: String },
    /// The first taps are up, and it is known whose they are. Their maps are the descriptors.
    Arrived {
        together: u64,
        plan: Box<Outline>,
        maps: HandedMaps,
        note: Option<String>,
    },
    /// All its taps are up.
    Complete { together: u64 },
}

/// A tap that has been brought up, or why not.
type Came = (u32, Result<AttachedTap>);

/// The capture's end of the channel to the helper that follows.
pub(super) struct Follower {
    channel: Channel,
    /// The first taps of what has not arrived yet.
    first: HashMap<u64, Vec<(u32, AttachedTap)>>,
    /// Where the others go.
    rising: HashMap<u64, Sender<Came>>,
    ended: bool,
}

impl Follower {
    /// Lets the helper follow from now on. `present` are the targets that are captured already.
    ///
    /// # Errors
    ///
    /// It cannot, and says why.
    pub(super) fn start(
        channel: Channel,
        config: &CaptureConfig,
        present: &[Target],
    ) -> Result<Self> {
        let present = present.iter().filter_map(|target| {
            let name = config
                .targets
                .iter()
                .position(|spec| *spec == target.spec)?;
            let ns = target.ns.identity().clone();
            Some(Present { name, ns })
        });
        let ended = "the helper process has ended";
        channel
            .send(&Word::Follow(present.collect()), &[])
            .context(ended)?;
        match channel.receive().context(ended)? {
            Some((News::Following(Ok(())), _)) => {}
            Some((News::Following(Err(why)), _)) => bail!("cannot follow: {why}"),
            _ => bail!("cannot follow: {ended}"),
        }
        Ok(Self {
            channel,
            first: HashMap::new(),
            rising: HashMap::new(),
            ended: false,
        })
    }

    /// The next target that has come.
    pub(super) fn next(&mut self) -> Option<Arrival> {
        while !self.ended {
            let news = match self.channel.has_news() {
                Ok(false) => return None,
                Ok(true) => self.channel.receive(),
                Err(why) => Err(why),
            };
            match news {
                Ok(Some((news, fds))) => match self.take(news, fds) {
                    Ok(None) => {}
                    Ok(arrival) => return arrival,
                    Err(why) => log::warn!("not captured: {why:#}"),
                },
                Ok(None) => self.end("it has ended"),
                Err(why) => self.end(&why.to_string()),
            }
        }
        None
    }

    fn end(&mut self, why: &str) {
        self.ended = true;
        self.rising.clear();
        log::warn!(
            "what comes back from now on is not captured: the helper process cannot be heard ({why})"
        );
    }

    fn take(&mut self, news: News, fds: Vec<OwnedFd>) -> Result<Option<Arrival>> {
        match news {
            News::Tap {
                together,
                number,
                tap,
            } => {
                let tap = AttachedTap::take_over(tap, fds)?;
                match self.rising.get(&together) {
                    Some(rising) => tell(rising, (number, Ok(tap))),
                    None => self.first.entry(together).or_default().push((number, tap)),
                }
            }
            News::NoTap { together, why } => match self.rising.get(&together) {
                Some(rising) => tell(rising, (u32::MAX, Err(anyhow!(why)))),
                None => log::warn!("a tap is missing: {why}"),
            },
            News::Arrived {
                together,
                plan,
                maps,
                note,
            } => {
                let live = self.first.remove(&together).unwrap_or_default();
                let (rising, rest): (_, Receiver<Came>) = channel();
                self.rising.insert(together, rising);
                let maps = SharedMaps::take_over(&maps, fds);
                let taps = Rising::new(maps?, Taps::handed(live, rest));
                return Ok(Some(Arrival {
                    plan: *plan,
                    taps,
                    note,
                }));
            }
            News::Complete { together } => drop(self.rising.remove(&together)),
            News::Following(_) => {}
        }
        Ok(None)
    }

    /// Nothing of a namespace is captured any more.
    pub(super) fn lost(&self, inode: u64) {
        if let Err(why) = self.channel.send(&Word::Lost(inode), &[]) {
            log::debug!("the helper process cannot be told: {why}");
        }
    }
}

/// Hands a tap to those that it belongs to. Where these have ended it has nobody, and goes again.
fn tell(rising: &Sender<Came>, came: Came) {
    if let Err(unwanted) = rising.send(came)
        && let (_, Ok(tap)) = unwanted.0
    {
        detach(tap);
    }
}
