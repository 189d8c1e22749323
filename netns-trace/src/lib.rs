//! netns-trace sees and times every packet of a container from the host.
//!
//! Imports run one way: `cli` → `demo`, `session`, `watch` → `capture`, `probe`, `lab`, `inspect` → `inventory`, `target` → `container` →
//! `topology` → `netns` → `privilege`, `place`. `ARCHITECTURE.md` tells the way that a packet takes through them.

pub mod capture;
pub mod cli;
pub mod container;
pub mod demo;
pub mod lab;
pub mod latency;
pub mod netns;
pub mod place;
pub mod privilege;
pub mod probe;
pub mod session;
pub mod signals;
pub mod target;
pub mod topology;
pub mod watch;
