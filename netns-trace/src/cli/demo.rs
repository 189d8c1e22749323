//! `netns-trace demo`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgAction, Args};

use super::logger;
use crate::demo;

/// What `demo` takes.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where the capture file goes [default: a new directory under the system's temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Say what is done; twice, also why
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,
}

impl DemoArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(self.verbose);
        demo::run(self.dir.as_deref())
    }
}
