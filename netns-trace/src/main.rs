//! The command `netns-trace`.

fn main() {}
