//! What the end-to-end tests share.

pub mod command;
pub mod names;
pub mod namespaces;
pub mod root;
