//! `netns-trace overhead`.

use std::net::IpAddr;

use anyhow::Result;
use clap::{ArgAction, Args};

use super::{logger, out::print};
use crate::{
    probe::AttachMethod,
    session::{self, OverheadConfig},
    target::TargetSpec,
};

/// What `overhead` takes.
#[derive(Debug, Args)]
pub(super) struct OverheadArgs {
    /// A container's name or id, NAMESPACE/POD, docker:NAME, podman:NAME, ctr:ID, pod:NAMESPACE/NAME,
    /// netns:NAME, pid:N, inode:N, /a/path or host
    #[arg(value_name = "TARGET")]
    target: TargetSpec,

    /// Interface in the namespace [default: the one that leads to the gateway]
    #[arg(short = 'i', long = "interface", value_name = "IFACE")]
    interface: Option<String>,

    /// Address to send echoes to [default: the default route's gateway]
    #[arg(long, value_name = "ADDRESS")]
    to: Option<IpAddr>,

    /// Round trips back to back, of each kind
    #[arg(long, value_name = "N", default_value_t = 2000, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,

    /// Round trips with a pause before each, of each kind; 0 for none
    #[arg(long, value_name = "N", default_value_t = 50, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(0..=100_000))]
    idle_count: u64,

    /// One line of JSON
    #[arg(long)]
    json: bool,

    /// Say what is done; twice, also why
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,

    /// How programs are attached
    #[arg(
        long,
        value_name = "auto|tcx|clsact",
        default_value = "auto",
        hide = true
    )]
    attach: AttachMethod,
}

impl OverheadArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(self.verbose);
        let json = self.json;
        let overhead = session::overhead(&self.configure(), |line| eprintln!("{line}"))?;
        let text = if json {
            overhead.json() + "\n"
        } else {
            overhead.text()
        };
        Ok(print(&text)?)
    }

    fn configure(self) -> OverheadConfig {
        OverheadConfig {
            target: self.target,
            interface: self.interface,
            to: self.to,
            count: self.count,
            idle_count: self.idle_count,
            attach: self.attach,
            verbose: self.verbose > 0,
        }
    }
}
