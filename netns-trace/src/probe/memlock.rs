//! RLIMIT_MEMLOCK, against which maps and programs count before Linux 5.11: lifted where that may be, and told where
//! it may not, before anything is made. <https://github.com/torvalds/linux/commit/97306be45fbe>

use netns_trace_ebpf::{SCRATCH_LEN, STAMP_SLOTS, Stamp};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use super::{ProbeError, kernel};
use crate::privilege::{self, Capability};

/// The first release where the memory of maps and programs counts as their control group's.
const FREE: (u32, u32) = (5, 11);

/// Lifts the limit as far as may be. Where it counts and is still one, making maps tells why.
pub(crate) fn lift() {
    if !counts() {
        return;
    }
    let raise = |limit| setrlimit(Resource::RLIMIT_MEMLOCK, limit, limit);
    if raise(RLIM_INFINITY).is_ok() {
        return;
    }
    // Up to its upper bound, anybody may.
    let raised = getrlimit(Resource::RLIMIT_MEMLOCK).and_then(|(_, most)| raise(most));
    if let Err(errno) = raised {
        log::debug!("RLIMIT_MEMLOCK stays as it is: {errno}");
    }
}

/// Checks that the maps of a capture with such a ring have a chance to be made.
///
/// # Errors
///
/// [`ProbeError::LockedMemory`] tells what is allowed, and what is needed at least.
pub fn check_memory(ring_bytes: u32) -> Result<(), ProbeError> {
    lift();
    let needed = least(ring_bytes, u64::from(kernel::possible_cpus()?));
    match limit() {
        Some(allowed) if allowed < needed => Err(ProbeError::LockedMemory {
            why: why(allowed, Some(needed)),
        }),
        _ => Ok(()),
    }
}

/// The limit in bytes, where it counts and is one.
fn limit() -> Option<u64> {
    let (allowed, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (counts() && allowed != RLIM_INFINITY).then_some(allowed)
}

/// Why the kernel may have refused to make a map or a program, where it may be for the limit.
pub(super) fn why_refused() -> Option<String> {
    Some(why(limit()?, None))
}

fn counts() -> bool {
    kernel::is_before(FREE)
}

/// The large maps, whatever else is wanted.
fn least(ring_bytes: u32, cpus: u64) -> u64 {
    let stamps = STAMP_SLOTS as usize * size_of::<Stamp>();
    u64::from(ring_bytes) + stamps as u64 + cpus * SCRATCH_LEN as u64
}

fn why(allowed: u64, needed: Option<u64>) -> String {
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let needed = needed.map(|bytes| format!(" (at least {} KiB)", kib(bytes)));
    format!(
        "RLIMIT_MEMLOCK is {} KiB, and before Linux 5.11 eBPF maps count against it{}: raise it \
         (ulimit -l unlimited); {}",
        kib(allowed),
        needed.unwrap_or_default(),
        privilege::why_denied(&[Capability::SysResource])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_and_needed_is_told() {
        let said = why(65536, Some(least(16 << 20, 2)));
        assert!(
            said.starts_with(
                "RLIMIT_MEMLOCK is 64 KiB, and before Linux 5.11 eBPF maps count against it (at \
                 least 18433 KiB): raise it (ulimit -l unlimited); "
            ),
            "{said}"
        );
    }
}
