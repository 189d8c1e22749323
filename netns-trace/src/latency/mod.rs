//! How long packets took from tap to tap: histograms become percentiles, tables, JSON and pictures.
//!
//! Plain data in and out: knows nothing of namespaces, of the kernel side, or of captures.

mod chart;
mod diagram;
mod hgrm;
mod html;
pub mod live;
mod overhead;
mod paths;
mod picture;
mod report;
mod samples;
mod svg;
mod table;
mod units;
#[cfg(test)]
mod xml;

pub(crate) use self::report::TOTAL;
pub use self::{
    hgrm::hgrm,
    html::html,
    overhead::{Centre, Comparison, Ended, Overhead, Part, Round, Split, Trips},
    report::{Direction, Report, Segment, TargetLabel},
    samples::{Figures, Samples},
    svg::svg,
    table::{bars, table},
    units::time,
};
