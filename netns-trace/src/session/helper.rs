//! What a run leaves to a helper process, so that the one that reads packets can give its rights up: following targets,
//! and taking clsact filters off.

use std::thread;

use anyhow::{Context as _, Result};

use super::{CaptureConfig, following, rights};
use crate::{
    helper::{Channel, Helper},
    probe::{AttachMethod, keeper, lift_memlock_limit, share_list},
};

/// Starts it, where there is something to leave to it; gives the channel to it if it is to follow. Nothing is attached
/// yet, and there is no other thread.
///
/// # Errors
///
/// There can be no other process, or the list of filters that both have cannot be made.
pub(super) fn start(
    attach: AttachMethod,
    following: Option<&CaptureConfig>,
) -> Result<(Option<Helper>, Option<Channel>)> {
    let takes_off = attach.resolve() == AttachMethod::Clsact;
    if !takes_off && following.is_none() {
        return Ok((None, None));
    }
    if takes_off {
        share_list()?;
    }
    let (helper, [filters, follow]) =
        Helper::start(|[filters, follow]| work(filters, follow, takes_off, following))
            .context("cannot start the helper process")?;
    log::info!("the helper process is {}", helper.pid());
    if takes_off {
        keeper::rely_on(filters);
    }
    Ok((Some(helper), following.map(|_| follow)))
}

/// What the helper process does.
fn work(filters: Channel, follow: Channel, takes_off: bool, following: Option<&CaptureConfig>) {
    // While there is the right to.
    lift_memlock_limit();
    if let Err(why) = rights::give_up_as_helper(following.is_some()) {
        log::warn!("the helper process: {why}");
    }
    thread::scope(|scope| {
        let follows = following.map(|config| scope.spawn(|| following::follow(config, follow)));
        if follows.is_none() {
            rights::confine(rights::HELPERS_DOINGS);
        }
        keeper::keep(&filters);
        // What it has attached and nobody has taken is on the list, too.
        if follows.is_some_and(|follows| follows.join().is_err()) {
            log::error!("what follows has panicked");
        }
    });
    if takes_off {
        keeper::take_off_the_rest();
    }
}
