//! What crosses the line between kernel and user, by topic.

mod histogram;
mod ring;
mod stamp;
mod tap;

pub use self::{histogram::*, ring::*, stamp::*, tap::*};
