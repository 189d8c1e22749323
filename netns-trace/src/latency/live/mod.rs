//! A live view of a measurement, for a terminal: figures of each segment, and a map of its
//! latencies over time.
//!
//! Plain data in, a drawn frame out: touches no terminal, reads no key, knows nothing of where the
//! reports come from.

mod draw;
mod heat;
mod help;
mod history;
mod keys;
mod model;
mod rows;
mod text;
mod theme;
mod way;

pub use self::{
    draw::draw,
    keys::{Action, actions},
    model::{Kind, Model},
    theme::Theme,
};

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
