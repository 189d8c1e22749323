//! Giving up rights once they are not needed any more.
//!
//! Capabilities belong to a thread. What is given up here is given up by the calling thread and by those that it
//! starts afterwards; threads that it started before keep what they had. All share one memory, so what they keep
//! bounds what a mistake may do, not what an attacker may who runs code here.

use std::{
    fmt, io,
    sync::atomic::{AtomicBool, Ordering},
};

use caps::{CapSet, CapsHashSet, errors::CapsError};

use super::{Capability, User};

/// Whether something may be raised again: then there is a difference between what is permitted and in force.
static CAN_RAISE: AtomicBool = AtomicBool::new(false);

/// What a thread goes on with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// In force all the time.
    pub always: Vec<Capability>,
    /// In force only within [`raised`].
    pub at_times: Vec<Capability>,
}

/// As people read it.
impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |all: &[Capability]| {
            let names: Vec<String> = all.iter().map(Capability::to_string).collect();
            names.join(", ")
        };
        match (self.always.as_slice(), self.at_times.as_slice()) {
            ([], []) => f.write_str("no capability"),
            (always, []) => f.write_str(&names(always)),
            ([], at_times) => write!(f, "{} at times", names(at_times)),
            (always, at_times) => write!(f, "{}, and {} at times", names(always), names(at_times)),
        }
    }
}

/// Rights that could not be given up.
#[derive(Debug, thiserror::Error)]
#[error("cannot give up {what}: {why}")]
pub struct GiveUpError {
    what: &'static str,
    why: String,
}

impl GiveUpError {
    fn of(what: &'static str) -> impl Fn(CapsError) -> Self {
        move |why| Self {
            what,
            why: why.to_string(),
        }
    }

    fn io(what: &'static str) -> Self {
        Self {
            what,
            why: io::Error::last_os_error().to_string(),
        }
    }
}

impl Capability {
    const fn set_member(self) -> caps::Capability {
        match self {
            Self::Bpf => caps::Capability::CAP_BPF,
            Self::DacOverride => caps::Capability::CAP_DAC_OVERRIDE,
            Self::DacReadSearch => caps::Capability::CAP_DAC_READ_SEARCH,
            Self::NetAdmin => caps::Capability::CAP_NET_ADMIN,
            Self::NetRaw => caps::Capability::CAP_NET_RAW,
            Self::Perfmon => caps::Capability::CAP_PERFMON,
            Self::SysAdmin => caps::Capability::CAP_SYS_ADMIN,
            Self::SysPtrace => caps::Capability::CAP_SYS_PTRACE,
            Self::SysResource => caps::Capability::CAP_SYS_RESOURCE,
        }
    }
}

/// Gives up, for the calling thread and those that it starts, every capability but those kept, and the way to get
/// any by running a program (`no_new_privs`); and becomes `user`, if there is one. What is to be kept and is not
/// there stays away.
///
/// # Errors
///
/// The kernel refuses. Some rights may be gone then, none is added.
pub fn give_up(kept: &Kept, user: Option<&User>) -> Result<(), GiveUpError> {
    let capabilities = GiveUpError::of("capabilities");
    let permitted = caps::read(None, CapSet::Permitted).map_err(&capabilities)?;
    if permitted.contains(&caps::Capability::CAP_SETPCAP) {
        for capability in caps::runtime::thread_all_supported() {
            caps::drop(None, CapSet::Bounding, capability).map_err(&capabilities)?;
        }
    }
    let members = |all: &[Capability]| -> CapsHashSet {
        let members = all.iter().map(|capability| capability.set_member());
        members
            .filter(|member| permitted.contains(member))
            .collect()
    };
    let always = members(&kept.always);
    let at_times = members(&kept.at_times);
    let all: CapsHashSet = always.union(&at_times).copied().collect();
    if let Some(user) = user {
        // Without this, the change of the user would take all of them.
        caps::securebits::set_keepcaps(!all.is_empty()).map_err(&capabilities)?;
        user.become_it().map_err(|why| GiveUpError {
            what: "the user's rights",
            why: why.to_string(),
        })?;
    }
    // What is in force must be permitted at any time.
    caps::set(None, CapSet::Effective, &always).map_err(&capabilities)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).map_err(&capabilities)?;
    caps::set(None, CapSet::Permitted, &all).map_err(&capabilities)?;
    // SAFETY: this prctl takes numbers alone.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(GiveUpError::io("new privileges"));
    }
    CAN_RAISE.store(!at_times.is_empty(), Ordering::Relaxed);
    Ok(())
}

/// Does some work with all that the calling thread has kept in force.
pub fn raised<T>(work: impl FnOnce() -> T) -> T {
    if !CAN_RAISE.load(Ordering::Relaxed) {
        return work();
    }
    let before = caps::read(None, CapSet::Effective);
    let raise = caps::read(None, CapSet::Permitted)
        .and_then(|permitted| caps::set(None, CapSet::Effective, &permitted));
    if let Err(why) = raise {
        log::warn!("cannot raise capabilities: {why}");
    }
    let done = work();
    let lower = before.and_then(|before| caps::set(None, CapSet::Effective, &before));
    if let Err(why) = lower {
        log::warn!("cannot lower capabilities: {why}");
    }
    done
}
