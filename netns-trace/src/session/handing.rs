//! How the helper process hands over what it has attached: taps, their maps, and what is to know of them.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
};

use anyhow::Result;

use super::{
    follow::News,
    outline::Outline,
    plan::{Plan, PlannedTap},
    taps::bring_up_each,
};
use crate::{
    helper::Channel,
    probe::{AttachMethod, AttachedTap, HandedMaps, KernelLog, Probe},
};

/// The capture, as the one who gets what is attached together.
pub(super) struct Recipient {
    channel: Arc<Channel>,
    together: u64,
}

impl Recipient {
    /// `together` is a number that nothing else has.
    pub(super) fn new(channel: Arc<Channel>, together: u64) -> Self {
        Self { channel, together }
    }

    /// Hands a tap over, or tells why there is none. A filter that nobody takes goes with this process.
    pub(super) fn tap(&self, number: u32, tap: Result<AttachedTap>) -> io::Result<()> {
        let together = self.together;
        match tap {
            Ok(tap) => {
                let (tap, fds) = tap.hand_over();
                let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
                let news = News::Tap {
                    together,
                    number,
                    tap,
                };
                self.channel.send(&news, &fds)
            }
            Err(why) => {
                let why = format!("{why:#}");
                self.channel.send(&News::NoTap { together, why }, &[])
            }
        }
    }

    /// The first taps are up: hands the maps over.
    pub(super) fn arrived(
        &self,
        plan: &Plan,
        maps: HandedMaps,
        fds: &[BorrowedFd<'_>],
        note: Option<String>,
    ) -> io::Result<()> {
        let news = News::Arrived {
            together: self.together,
            plan: Box::new(Outline::of(plan)),
            maps,
            note,
        };
        self.channel.send(&news, fds)
    }
}

/// What is brought up behind the first taps.
pub(super) struct Behind {
    pub(super) probe: Probe,
    pub(super) taps: Vec<PlannedTap>,
    /// The kernel side's diagnostics, where they are wanted.
    pub(super) log: Option<KernelLog>,
}

impl Behind {
    /// Brings it up, as long as somebody takes it.
    pub(super) fn bring_up(mut self, method: AttachMethod, to: &Recipient) {
        bring_up_each(&mut self.probe, &self.taps, method, |number, tap| {
            to.tap(number, tap).is_ok()
        });
        let together = to.together;
        if let Err(why) = to.channel.send(&News::Complete { together }, &[]) {
            log::debug!("the capture does not listen: {why}");
        }
    }
}
