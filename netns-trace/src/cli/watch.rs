//! `netns-trace watch`.

use std::ffi::OsString;

use anyhow::Result;
use clap::{ArgAction, Args};

use super::logger;
use crate::watch::{WatchConfig, watch};

/// What `watch` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
CMD finds the event in its environment: NETNS_TRACE_EVENT (namespace-added, namespace-removed, \
name-added, name-removed, container-started, container-named, container-stopped), NETNS_TRACE_TIME_NS, \
NETNS_TRACE_JSON, and where they are known NETNS_TRACE_INODE, NETNS_TRACE_PATH, NETNS_TRACE_NAME, \
NETNS_TRACE_CONTAINER, NETNS_TRACE_CONTAINER_ID and NETNS_TRACE_PID. Eight run at once at most.")]
pub(super) struct WatchArgs {
    /// One line of JSON for each event
    #[arg(long)]
    json: bool,

    /// Also tell what is there already
    #[arg(long)]
    existing: bool,

    /// Run a command by `sh -c` for each event
    #[arg(long, value_name = "CMD")]
    exec: Option<OsString>,

    /// Say what is done; twice, also why
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,
}

impl WatchArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(self.verbose);
        watch(&WatchConfig {
            json: self.json,
            existing: self.existing,
            exec: self.exec,
        })
    }
}
