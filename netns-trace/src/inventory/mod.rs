//! The network namespaces of the machine, and who refers to each.
//!
//! `References` is the cheap part: what /proc and the mount tables tell, without entering anything.
//! `Inventory` adds containers by name, and enters each namespace once for its interfaces.
//! This module opens a namespace for the moment of looking at it, holds none, changes nothing, and
//! prints nothing.

mod json;
mod mounts;
mod names;
mod peers;
mod processes;
mod references;
mod table;
mod take;

pub use self::{
    names::{Stale, StaleReason},
    peers::Peer,
    references::{Descriptor, Name, Process, Reference, References, Scope, Thread},
    take::{Interface, Inventory, Namespace},
};
