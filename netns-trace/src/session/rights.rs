//! What a run may still do once everything is attached, and what its helper process may.

use crate::{
    privilege::{self, Capability, Doings, GiveUpError, Kept, User, give_up},
    probe::{needed_later, needed_to_attach, needed_to_detach},
};

/// Gives up what is needed to attach, and becomes another user where that is asked for.
///
/// # Errors
///
/// The kernel refuses.
pub(super) fn give_up_after_attaching(
    opens_files: bool,
    user: Option<&User>,
) -> Result<(), GiveUpError> {
    let kept = Kept {
        always: if opens_files {
            vec![Capability::DacOverride]
        } else {
            Vec::new()
        },
        at_times: needed_later(),
    };
    give_up(&kept, user)?;
    match user {
        Some(user) => log::info!("goes on as user {}, with {kept}", user.name()),
        None => log::info!("goes on with {kept}"),
    }
    Ok(())
}

/// In the helper process: gives up what it needs neither to take filters off nor, where it follows, to attach.
///
/// # Errors
///
/// The kernel refuses.
pub(super) fn give_up_as_helper(follows: bool) -> Result<(), GiveUpError> {
    let mut always = needed_to_detach();
    if follows {
        always.extend(needed_to_attach());
    }
    let kept = Kept {
        always,
        at_times: Vec::new(),
    };
    give_up(&kept, None)?;
    log::info!("the helper process goes on with {kept}");
    Ok(())
}

/// What a helper process does that follows nothing: filters are taken off where they are, and what tells of them in
/// /run is kept true.
pub(super) const HELPERS_DOINGS: Doings = Doings {
    opens_files: true,
    enters_namespaces: true,
};

/// Makes the calling thread, and those that it starts, do no more than that. A kernel that cannot see to it is warned
/// of.
pub(super) fn confine(doings: Doings) {
    match privilege::confine(doings) {
        Ok(()) => log::info!("goes on with the system calls that are still needed"),
        Err(why) => log::warn!("{why}"),
    }
}

/// As [`confine`], for the one who reads packets.
pub(super) fn confine_reader(opens_files: bool) {
    confine(Doings {
        opens_files,
        enters_namespaces: false,
    });
}
