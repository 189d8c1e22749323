//! What the end-to-end tests share. The tests are real: they make their own namespaces, with names
//! of their own, and take them away again, also when they fail; they run side by side.

pub mod bed;
pub mod browser;
pub mod classifier;
pub mod cleaning;
pub mod command;
pub mod corpus;
pub mod dns;
pub mod dweller;
pub mod expressions;
pub mod held;
pub mod inspected;
pub mod kernel;
pub mod lines;
pub mod listed;
pub mod long;
pub mod lookup;
pub mod names;
pub mod namespaces;
pub mod net;
pub mod packets;
pub mod private_run;
pub mod processes;
pub mod programs;
pub mod raw;
pub mod refusal;
pub mod root;
pub mod runtimes;
pub mod sightings;
pub mod statistics;
pub mod summary;
pub mod tcx;
pub mod timing;
pub mod tmux;
pub mod tool;
pub mod watching;
