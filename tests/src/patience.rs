//! How long a test waits: on an emulated machine, more. `NETNS_TRACE_SLOWNESS` says how many times slower
//! than a machine that one is; `cargo xtask vm` sets it for its guests.

use std::time::Duration;

/// How long anything may take that a test waits for.
#[must_use]
pub fn patience() -> Duration {
    slowed(Duration::from_secs(30))
}

/// A time limit, as it is on this machine.
///
/// # Panics
///
/// If the environment names no number.
#[must_use]
pub fn slowed(limit: Duration) -> Duration {
    limit * slowness()
}

/// How many times slower than a machine this one is.
///
/// # Panics
///
/// If the environment names no number.
#[must_use]
pub fn slowness() -> u32 {
    let value = std::env::var("NETNS_TRACE_SLOWNESS");
    value.map_or(1, |text| {
        text.parse().expect("NETNS_TRACE_SLOWNESS is a number")
    })
}
