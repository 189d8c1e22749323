//! `netns-trace link`.

use anyhow::Result;
use clap::{ArgAction, Args};

use super::{
    logger,
    out::{print, say},
};
use crate::{
    link::link,
    target::{TargetSpec, resolve},
};

/// What `link` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
The name keeps the namespace alive, also when its container has ended: `netns-trace clean` takes it \
away once no process lives there any more, `ip netns delete NAME` at once. What no process lived in \
when it was named stays until then.")]
pub(super) struct LinkArgs {
    /// A container's name or id, NAMESPACE/POD, docker:NAME, podman:NAME, ctr:ID, pod:NAMESPACE/NAME,
    /// netns:NAME, pid:N, inode:N, /a/path or host
    #[arg(value_name = "TARGET")]
    target: TargetSpec,

    /// Its name for `ip netns` [default: that of the container, else netns-INODE]
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// One line of JSON
    #[arg(long)]
    json: bool,

    /// Say what is done; twice, also why
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,
}

impl LinkArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(self.verbose);
        let target = resolve(&self.target)?;
        say(&target.notes);
        let link = link(&target, self.name.as_deref())?;
        let text = if self.json {
            serde_json::to_string(&link)? + "\n"
        } else {
            link.text()
        };
        Ok(print(&text)?)
    }
}
