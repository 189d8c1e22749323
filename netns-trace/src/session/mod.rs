//! One run of the tool: joins targets, topology, probe and capture, and ends cleanly.
//!
//! The only module that knows both the kernel side and the files. Reads no arguments, formats no
//! packets.

mod config;
mod hold;
mod plan;
mod run;
mod signals;
mod taps;

pub use self::{
    config::{CaptureConfig, Direction, OutputTo, SummaryFormat},
    run::{Report, capture},
    signals::{Signals, Wish},
};
