//! Names that no other test has, also when several test programs run side by side.

use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A name of at most 12 characters, so that one letter before it still makes an interface name.
pub fn unique(letter: char) -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{letter}{:x}-{number:x}", std::process::id())
}
