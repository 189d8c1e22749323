//! One run of the tool: joins targets, topology, probe and capture, and ends cleanly.
//!
//! The only module that knows both the kernel side and the files. Reads no arguments, formats no
//! packets.

mod aside;
mod candidate;
mod completed;
mod config;
mod early;
mod echo;
mod echo_ways;
mod follow;
mod following;
mod generation;
mod handing;
mod helper;
mod hold;
mod latency;
mod live;
mod meter;
mod names;
mod outline;
mod overhead;
mod plan;
mod processes;
mod read;
mod rights;
mod run;
mod screen;
mod taken;
mod taps;
mod targets;
mod ways;

pub(crate) use self::hold::Hold;
pub use self::{
    config::{
        CaptureConfig, Direction, IDLE_GAP, LatencyConfig, OutputTo, SummaryFormat, max_segments,
    },
    latency::{Measurement, Told, latency},
    live::live,
    overhead::{OverheadConfig, overhead},
    read::{ReadConfig, read},
    run::{Report, capture, filter_code},
    screen::Screen,
    signals::{Signals, Wish},
};
use crate::signals;

/// An error in what the user asked for, as only the session can tell: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
