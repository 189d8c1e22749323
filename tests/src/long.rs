//! How long tests try that can try for any time: `NETNS_TRACE_LONG`, which `cargo xtask test --long`
//! sets.

use crate::patience::slowness;

/// Whether there is time.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("NETNS_TRACE_LONG").is_some()
}

/// So much, or so much where there is time; on an emulated machine less, but something.
#[must_use]
pub fn times(short: usize, long: usize) -> usize {
    if is_long() {
        long
    } else {
        short.div_ceil(slowness() as usize)
    }
}
