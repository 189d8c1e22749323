//! `netns-trace exec`.

use std::ffi::OsString;

use anyhow::Result;
use clap::{ArgAction, Args};

use super::{logger, out::say};
use crate::{
    exec::{ExecError, Resolver, Tool, exec},
    target::{TargetSpec, resolve},
};

/// What `exec` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
The tool is the host's and takes netns-trace's place: it has the terminal, the signals, the \
environment and the files of the host, and only the network of TARGET.

Exit status: that of CMD; 127 if it is not found, 126 if it cannot be run, 1 if TARGET cannot be \
entered, 2 for wrong arguments.")]
pub(super) struct ExecArgs {
    /// A container's name or id, NAMESPACE/POD, docker:NAME, podman:NAME, ctr:ID, pod:NAMESPACE/NAME,
    /// netns:NAME, pid:N, inode:N, /a/path or host
    #[arg(value_name = "TARGET")]
    target: TargetSpec,

    /// Also use TARGET's resolver and see its devices in /sys, as with `ip netns exec`: what is in
    /// /etc/netns/NAME, or the /etc/resolv.conf of its processes, is mounted for CMD alone
    #[arg(long)]
    resolv: bool,

    /// Say what is done; twice, also why
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,

    /// The host's tool to run, with its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

impl ExecArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(self.verbose);
        let mut command = self.command.into_iter();
        let Some(program) = command.next() else {
            unreachable!("clap requires it");
        };
        let tool = Tool {
            program,
            args: command.collect(),
        };
        let target = resolve(&self.target).map_err(ExecError::from)?;
        // Stderr is the tool's. That it works on the host's own network is said all the same.
        if self.verbose > 0 || target.ns.is_host() {
            say(&target.notes);
        }
        let resolver = self.resolv.then(|| Resolver::of(&target)).transpose()?;
        if resolver == Some(Resolver::Host) && !target.ns.is_host() {
            eprintln!(
                "netns-trace: {} has no resolver of its own; the host's is used",
                target.label
            );
        }
        match exec(&target, resolver.as_ref(), &tool)? {}
    }
}
