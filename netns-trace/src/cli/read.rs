//! `netns-trace read`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgAction, Args};

use super::{filter::FilterArgs, logger, text::TextArgs};
use crate::session::{self, ReadConfig};

/// What `read` takes. Letters are tcpdump's, with its meaning.
#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    /// A pcap or pcapng file (- for stdin)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    filter: FilterArgs,
    /// End after N packets
    #[arg(short = 'c', value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Count packets rather than print them
    #[arg(long)]
    count: bool,
    /// Write each line at once
    #[arg(short = 'l')]
    line_buffered: bool,
    /// More of each packet; twice or thrice, still more
    #[arg(short = 'v', action = ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    text: TextArgs,
}

impl ReadArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(0);
        session::read(&ReadConfig {
            path: self.file,
            text: self.text.options(self.verbose),
            names: self.text.names,
            filter: self.filter.filter(),
            count: self.limit,
            count_only: self.count,
            line_buffered: self.line_buffered,
        })
    }
}
