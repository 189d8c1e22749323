//! The line between kernel and user: what the kernel side is configured with, and what it
//! hands over. Both sides compile this library, so a layout is written down once.
//!
//! Builds on the host and needs no aya-ebpf; nothing here may touch the kernel or the user's
//! system. Every type that crosses the line is `repr(C)`, has its padding spelled out, and
//! holds neither `bool` nor an enum.

#![cfg_attr(not(test), no_std)]

mod line;

pub use self::line::*;
