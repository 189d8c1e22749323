//! What a run leaves to a helper process, so that the one that reads packets can give its rights up: taking clsact filters
//! off, following targets, and looking whose sockets are behind packets.

use std::thread;

use anyhow::{Context as _, Result};

use super::{CaptureConfig, following, processes, rights};
use crate::{
    helper::{Channel, Helper},
    probe::{AttachMethod, keeper, lift_memlock_limit, share_list},
};

/// What there is to do.
#[derive(Clone, Copy, Default)]
pub(super) struct Jobs<'a> {
    /// How programs are attached, and so whether they have to be taken off.
    pub(super) attach: AttachMethod,
    /// The capture whose targets are followed.
    pub(super) following: Option<&'a CaptureConfig>,
    /// Sockets are looked at.
    pub(super) sockets: bool,
}

/// A helper process that has been started, and the channels to it for what it has to do. It ends with this value, which
/// goes last.
#[derive(Default)]
pub(super) struct Left {
    pub(super) follow: Option<Channel>,
    pub(super) sockets: Option<Channel>,
    pub(super) helper: Option<Helper>,
}

/// Starts it, where there is something to do. Nothing is attached yet, and there is no other thread.
///
/// # Errors
///
/// There can be no other process, or the list of filters that both have cannot be made.
pub(super) fn start(jobs: Jobs<'_>) -> Result<Left> {
    if !jobs.takes_off() && jobs.following.is_none() && !jobs.sockets {
        return Ok(Left::default());
    }
    if jobs.takes_off() {
        share_list()?;
    }
    let (helper, [filters, follow, sockets]) = Helper::start(|channels| work(jobs, channels))
        .context("cannot start the helper process")?;
    log::info!("the helper process is {}", helper.pid());
    if jobs.takes_off() {
        keeper::rely_on(filters);
    }
    Ok(Left {
        follow: jobs.following.map(|_| follow),
        sockets: jobs.sockets.then_some(sockets),
        helper: Some(helper),
    })
}

impl Jobs<'_> {
    fn takes_off(&self) -> bool {
        self.attach.resolve() == AttachMethod::Clsact
    }
}

/// What the helper process does, until the one that reads packets has ended.
fn work(jobs: Jobs<'_>, [filters, follow, sockets]: [Channel; 3]) {
    // While there is the right to.
    lift_memlock_limit();
    if let Err(why) = rights::give_up_as_helper(jobs.following.is_some()) {
        log::warn!("the helper process: {why}");
    }
    if jobs.following.is_none() {
        rights::confine(rights::HELPERS_DOINGS);
    }
    thread::scope(|scope| {
        scope.spawn(|| processes::look(&sockets));
        let follows =
            (jobs.following).map(|config| scope.spawn(|| following::follow(config, follow)));
        keeper::keep(&filters);
        // What it has attached and nobody has taken is on the list, too.
        if follows.is_some_and(|follows| follows.join().is_err()) {
            log::error!("what follows has panicked");
        }
    });
    if jobs.takes_off() {
        keeper::take_off_the_rest();
    }
}
