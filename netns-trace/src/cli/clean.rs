//! `netns-trace clean`.

use anyhow::{Result, bail};
use clap::{ArgAction, Args};

use super::{logger, out::print};
use crate::clean::clean;

/// What `clean` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Removed are: files in /run/netns on which no namespace is mounted, in no mount namespace, and links \
to nothing; names made by `netns-trace link` whose namespace no process lives in any more; filters \
and labs of runs that were killed. What has a namespace, is younger than five seconds, or is no \
namespace's name stays.")]
pub(super) struct CleanArgs {
    /// Say what would be removed and why, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// One line of JSON
    #[arg(long)]
    json: bool,

    /// Say what is done; twice, also why
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,
}

impl CleanArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(self.verbose);
        let report = clean(self.dry_run)?;
        if self.json {
            print(&(serde_json::to_string(&report)? + "\n"))?;
        } else {
            print(&report.text())?;
            if report.is_empty() {
                eprintln!("there is nothing to clean");
            }
        }
        match report.failed.len() {
            0 => Ok(()),
            1 => bail!("one thing could not be removed"),
            n => bail!("{n} things could not be removed"),
        }
    }
}
