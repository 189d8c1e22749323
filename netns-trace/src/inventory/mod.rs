//! The network namespaces of the machine, and who refers to each.
//!
//! `References` is the cheap part: what /proc and the mount tables tell, without entering anything.
//! This module opens a namespace for the moment of looking at it, holds none, changes nothing, and
//! prints nothing.

mod mounts;
mod names;
mod processes;
mod references;

pub use self::{
    names::{Stale, StaleReason},
    references::{Descriptor, Name, Process, Reference, References, Scope, Thread},
};
