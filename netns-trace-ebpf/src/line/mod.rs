//! What crosses the line between kernel and user, by topic.

mod histogram;
mod ring;
mod socket;
mod stamp;
mod tap;

pub use self::{histogram::*, ring::*, socket::*, stamp::*, tap::*};
