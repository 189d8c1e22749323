//! Being built.

pub mod lab;
