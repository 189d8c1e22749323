//! What a run may still do once everything is attached.

use crate::{
    privilege::{self, Capability, Doings, GiveUpError, Kept, User, give_up},
    probe::{AttachMethod, needed_later},
};

/// Gives up what is needed to attach, and becomes another user where that is asked for. What `--follow` and names
/// of addresses need stays with threads that run already.
///
/// # Errors
///
/// The kernel refuses.
pub(super) fn give_up_after_attaching(
    attach: AttachMethod,
    opens_files: bool,
    user: Option<&User>,
) -> Result<(), GiveUpError> {
    let kept = Kept {
        always: if opens_files {
            vec![Capability::DacOverride]
        } else {
            Vec::new()
        },
        at_times: needed_later(attach),
    };
    give_up(&kept, user)?;
    match user {
        Some(user) => log::info!("goes on as user {}, with {kept}", user.name()),
        None => log::info!("goes on with {kept}"),
    }
    Ok(())
}

/// What is done from now on, as system calls know it.
pub(super) fn doings(attach: AttachMethod, opens_files: bool) -> Doings {
    // Filters are taken off where they are, and what tells of them in /run is kept true.
    let enters_namespaces = attach.resolve() == AttachMethod::Clsact;
    Doings {
        opens_files: opens_files || enters_namespaces,
        enters_namespaces,
    }
}

/// Makes the calling thread do no more than that. A kernel that cannot see to it is warned of.
pub(super) fn confine(doings: Doings) {
    match privilege::confine(doings) {
        Ok(()) => log::info!("goes on with the system calls that are still needed"),
        Err(why) => log::warn!("{why}"),
    }
}
