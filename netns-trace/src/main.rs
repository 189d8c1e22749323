//! The command `netns-trace`: a thin binary over the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    netns_trace::cli::main()
}
