//! `netns-trace inspect`.

use anyhow::Result;
use clap::{ArgAction, Args};

use super::{
    logger,
    out::{print, say},
};
use crate::{
    inspect::{Report, diff, look},
    target::{Resolver, TargetSpec},
};

/// What `inspect` takes.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// A container's name or id, NAMESPACE/POD, docker:NAME, podman:NAME, ctr:ID, pod:NAMESPACE/NAME,
    /// netns:NAME, pid:N, inode:N, /a/path or host
    #[arg(value_name = "TARGET")]
    target: TargetSpec,

    /// Look a name up from inside, at each of its name servers
    #[arg(long, value_name = "NAME")]
    resolve: Option<String>,

    /// Say what differs between TARGET and this one
    #[arg(long, value_name = "TARGET", conflicts_with = "resolve")]
    diff: Option<TargetSpec>,

    /// One line of JSON, with everything
    #[arg(long)]
    json: bool,

    /// Say what is done; twice, also why
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,
}

impl InspectArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(self.verbose);
        let resolver = Resolver::new();
        let report = |spec, name| -> Result<Report> {
            let target = resolver.one(spec)?;
            say(&target.notes);
            Ok(look(&target, &resolver, name)?)
        };
        let first = report(&self.target, self.resolve.as_deref())?;
        let text = match &self.diff {
            Some(other) => {
                let difference = diff(&first, &report(other, None)?);
                if self.json {
                    serde_json::to_string(&difference)? + "\n"
                } else {
                    difference.text()
                }
            }
            None if self.json => serde_json::to_string(&first)? + "\n",
            None => first.text(),
        };
        Ok(print(&text)?)
    }
}
