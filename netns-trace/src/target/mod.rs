//! From what a user writes to the namespace that is meant: containers and pods by their names, and
//! namespaces in every other way. Nothing here looks at interfaces or packets, and nothing here asks a
//! runtime but through `container`.

mod error;
mod members;
mod named;
mod names;
mod near;
mod resolve;
mod spec;

pub use self::{
    error::TargetError,
    resolve::{Resolver, Target, label, resolve, resolve_with},
    spec::{TargetSpec, UsageError},
};
