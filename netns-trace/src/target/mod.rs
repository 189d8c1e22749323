//! From what a user writes to the namespace that is meant. Container names come later, in files
//! beside this one; nothing here looks at interfaces or packets.

mod resolve;
mod spec;

pub use self::{
    resolve::{Target, TargetError, label, resolve, resolve_many, resolve_with},
    spec::{TargetSpec, UsageError},
};
