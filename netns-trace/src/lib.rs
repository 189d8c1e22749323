//! netns-trace sees and times every packet of a container from the host.
//!
//! Imports run one way: `cli` → `demo`, `session`, `watch`, `exec`, `clean` → `capture`, `probe`, `filter`, `lab`, `link`,
//! `inspect` → `inventory`, `target` → `container` → `topology` → `netns` → `dissect`, `process`, `privilege`,
//! `place`, `plain_file`, `helper`, `recent`, `signals`. `ARCHITECTURE.md` tells the way that a packet takes through them.

pub mod capture;
pub mod clean;
pub mod cli;
pub mod container;
pub mod demo;
pub mod dissect;
pub mod exec;
pub mod filter;
#[doc(hidden)]
pub mod fuzzing;
mod helper;
pub mod inspect;
pub mod inventory;
pub mod lab;
pub mod latency;
pub mod link;
mod locked;
pub mod netns;
pub mod place;
mod plain_file;
pub mod privilege;
pub mod probe;
pub mod process;
mod recent;
pub mod session;
pub mod signals;
pub mod target;
pub mod topology;
pub mod watch;
