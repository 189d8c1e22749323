//! The command line: one file for each subcommand, which turns arguments into a typed
//! configuration. No logic.

mod capture;
mod clean;
mod demo;
mod exec;
mod filter;
mod inspect;
mod lab;
mod latency;
mod link;
mod list;
mod logger;
mod out;
mod overhead;
mod read;
mod refusal;
mod rotation;
mod text;
mod units;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Sees and times every packet of a container from the host.
#[derive(Debug, Parser)]
#[command(name = "netns-trace", version, about, long_about = None)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a lab of two containers on a bridge, send traffic, capture it, report, clean up
    Demo(demo::DemoArgs),
    /// List every network namespace of this machine, and who refers to it
    List(list::ListArgs),
    /// Tell of network namespaces and containers that come and go, as it happens
    Watch(watch::WatchArgs),
    /// Capture the packets of a network namespace, as tcpdump does
    Capture(Box<capture::CaptureArgs>),
    /// Print a capture file, as tcpdump -r does
    Read(Box<read::ReadArgs>),
    /// Time packets between eth0, veth, bridge and uplink
    Latency(latency::LatencyArgs),
    /// Show what a network namespace is like: interfaces, routes, sockets, name lookup, rules
    Inspect(inspect::InspectArgs),
    /// Compare round trips on loopback with those to the gateway, and show where the difference goes
    Overhead(overhead::OverheadArgs),
    /// Run a tool of the host in a network namespace
    Exec(exec::ExecArgs),
    /// Give a network namespace a name for `ip netns`
    Link(link::LinkArgs),
    /// Remove stale names of namespaces, and what netns-trace has left behind
    Clean(clean::CleanArgs),
    /// Build, list and remove networks of namespaces to try things on
    Lab(lab::LabArgs),
}

/// The command line as clap has it, for what is made of it: man pages and shell completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process. Exit status: 0 done, 1 failed, 2 usage.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refusal::misused(error),
    };
    let result = match cli.command {
        Command::Demo(args) => args.run(),
        Command::List(args) => args.run(),
        Command::Watch(args) => args.run(),
        Command::Capture(args) => args.run(),
        Command::Read(args) => args.run(),
        Command::Latency(args) => args.run(),
        Command::Inspect(args) => args.run(),
        Command::Overhead(args) => args.run(),
        Command::Exec(args) => args.run(),
        Command::Link(args) => args.run(),
        Command::Clean(args) => args.run(),
        Command::Lab(args) => args.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refusal::failed(&error),
    }
}
