//! How long packets took from tap to tap: histograms become percentiles, tables, JSON and pictures.
//!
//! Plain data in and out: knows nothing of namespaces, of the kernel side, or of captures.

pub mod live;
mod overhead;
mod report;
mod samples;
mod table;
mod units;

pub(crate) use self::report::TOTAL;
pub use self::{
    overhead::{Centre, Comparison, Ended, Overhead, Part, Round, Split, Trips},
    report::{Direction, Report, Segment, TargetLabel},
    samples::{Figures, Samples},
    table::{bars, table},
    units::time,
};
