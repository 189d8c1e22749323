//! `netns-trace lab`: networks to try things on, by hand.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::IpAddr,
};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::lab::{
    self, AttachSpec, Cidr, Lab, LabError, LabSpec, Node, NodeRole, Record, Topology,
};

/// Build, list and remove networks of namespaces to try things on.
#[derive(Debug, Args)]
pub(super) struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Build a lab, or put one namespace on an existing bridge.
    Up(UpArgs),
    /// Remove labs and everything that belongs to them.
    Down(DownArgs),
    /// List the labs.
    List(ListArgs),
}

#[derive(Debug, Args)]
struct UpArgs {
    /// How the namespaces are joined.
    #[arg(value_enum, default_value_t = Shape::Bridge)]
    topology: Shape,
    /// The lab's name, which its namespaces' names begin with; with --bridge, the namespace's.
    #[arg(long, value_name = "NAME", default_value = "lab")]
    name: String,
    /// How many containers [default: 2; 3 in ring and mesh].
    #[arg(long, short = 'n', value_name = "N", allow_negative_numbers = true)]
    count: Option<usize>,
    /// The lab's IPv4 subnet.
    #[arg(long, value_name = "CIDR", default_value = "10.77.0.0/24")]
    subnet: Cidr,
    /// The lab's IPv6 subnet, a /64 [default: of the unique local range, made of --subnet].
    #[arg(long, value_name = "CIDR")]
    subnet6: Option<Cidr>,
    /// Put one namespace on this bridge instead, which is there already.
    #[arg(long, value_name = "BRIDGE", requires = "address")]
    #[arg(conflicts_with_all = ["topology", "count", "subnet", "subnet6"])]
    bridge: Option<String>,
    /// With --bridge: an address of the namespace (may be given for IPv4 and IPv6).
    #[arg(long, value_name = "CIDR", requires = "bridge")]
    address: Vec<Cidr>,
    /// With --bridge: where its default route leads.
    #[arg(long, value_name = "IP", requires = "bridge")]
    gateway: Vec<IpAddr>,
}

#[derive(Debug, Args)]
struct DownArgs {
    /// The labs to remove.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// Remove every lab that no running command owns.
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shape {
    /// Containers on a bridge in a lab router.
    Bridge,
    /// As bridge, with an uplink and masquerading to a namespace outside.
    Nat,
    /// Two namespaces joined by one veth pair.
    Direct,
    /// Each namespace joined to the next.
    Ring,
    /// Each namespace joined to each other one.
    Mesh,
}

impl From<Shape> for Topology {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Bridge => Self::Bridge,
            Shape::Nat => Self::Nat,
            Shape::Direct => Self::Direct,
            Shape::Ring => Self::Ring,
            Shape::Mesh => Self::Mesh,
        }
    }
}

impl LabArgs {
    /// Does what was asked for.
    ///
    /// # Errors
    /// As the functions of [`crate::lab`].
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            LabCommand::Up(args) => up(args),
            LabCommand::Down(args) => down(args),
            LabCommand::List(args) => list(&args),
        }
    }
}

fn up(args: UpArgs) -> anyhow::Result<()> {
    sweep();
    let lab = match args.bridge {
        Some(bridge) => lab::attach(&AttachSpec {
            name: args.name,
            bridge,
            addresses: args.address,
            gateways: args.gateway,
        })?,
        None => lab::up(&LabSpec {
            topology: args.topology.into(),
            name: args.name,
            count: args.count,
            subnet: args.subnet,
            subnet6: args.subnet6,
        })?,
    };
    print(&built(&lab))
}

fn down(args: DownArgs) -> anyhow::Result<()> {
    sweep();
    let mut failed = Vec::new();
    let names = if args.all {
        let (records, damaged) = records();
        failed.extend(damaged);
        let ours = records.into_iter().filter(|record| !record.private);
        ours.map(|record| record.name).collect()
    } else {
        args.names
    };
    // All that can be removed is.
    failed.extend(names.iter().filter_map(|name| lab::down(name).err()));
    Ok(LabError::gather(failed)?)
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let (records, failed) = records();
    if args.json {
        let labs: Vec<_> = records.iter().map(as_json).collect();
        let text = serde_json::to_string(&json!({ "labs": labs }))?;
        print(&format!("{text}\n"))?;
    } else {
        let mut text = String::new();
        for record in &records {
            let owner = if record.private {
                format!(", of process {}", record.pid)
            } else {
                String::new()
            };
            let end = if record.complete {
                ""
            } else {
                ", not finished"
            };
            writeln!(text, "{} ({}{owner}{end})", record.name, record.topology)?;
            text.push_str(&table(&record.nodes));
        }
        if records.is_empty() && failed.is_empty() {
            eprintln!("there are no labs; `netns-trace lab up` builds one");
        }
        print(&text)?;
    }
    Ok(LabError::gather(failed)?)
}

/// The labs, and what went wrong with those that cannot be read.
fn records() -> (Vec<Record>, Vec<LabError>) {
    let mut failed = Vec::new();
    let records = lab::list().into_iter().filter_map(|result| {
        let note = |error| failed.push(error);
        result.map_err(note).ok()
    });
    let records = records.collect();
    (records, failed)
}

/// What a killed command left behind goes before anything new is made.
fn sweep() {
    for (name, result) in lab::sweep() {
        match result {
            Ok(()) => log::info!("removed the lab {name}, which a killed command had left"),
            Err(error) => log::warn!("the lab {name}, left by a killed command: {error}"),
        }
    }
}

fn as_json(record: &Record) -> serde_json::Value {
    let namespaces: Vec<_> = record
        .nodes
        .iter()
        .map(|node| {
            json!({
                "name": node.name,
                "role": node.role,
                "inode": node.inode,
                "present": node.open().is_ok(),
                "interfaces": node.interfaces,
            })
        })
        .collect();
    json!({
        "name": record.name,
        "topology": record.topology,
        "private": record.private,
        "complete": record.complete,
        "pid": record.pid,
        "namespaces": namespaces,
    })
}

/// What was built, and what to try next.
fn built(lab: &Lab) -> String {
    let mut text = format!("lab {} ({}):\n", lab.name(), lab.topology());
    text.push_str(&table(lab.nodes()));
    let mut try_next = Vec::new();
    let mut containers = lab.containers();
    if let Some(first) = containers.next() {
        try_next.push(format!("netns-trace capture netns:{}", first.name));
        let other = lab.outside().or(containers.next());
        if let Some(address) = other.and_then(|node| node.address(false)) {
            try_next.push(format!("ip netns exec {} ping {address}", first.name));
        }
    }
    try_next.push(format!("netns-trace lab down {}", lab.name()));
    text.push_str("try:\n");
    for command in try_next {
        text.push_str(&format!("  {command}\n"));
    }
    text
}

fn table(nodes: &[Node]) -> String {
    let width = nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for node in nodes {
        let interfaces: Vec<String> = node
            .interfaces
            .iter()
            .filter(|interface| !interface.addresses.is_empty())
            .map(|interface| {
                let addresses: Vec<String> =
                    interface.addresses.iter().map(Cidr::to_string).collect();
                format!("{} {}", interface.name, addresses.join(" "))
            })
            .collect();
        let role = match node.role {
            NodeRole::Container => "",
            NodeRole::Router => "  (router)",
            NodeRole::Outside => "  (outside)",
        };
        let gone = if node.open().is_ok() { "" } else { "  (gone)" };
        let name = &node.name;
        text.push_str(&format!(
            "  {name:width$}  {}{role}{gone}\n",
            interfaces.join(", ")
        ));
    }
    text
}

/// A reader that has seen enough is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        lab: LabArgs,
    }

    fn parse(line: &str) -> Result<LabArgs, String> {
        Cli::try_parse_from(line.split(' '))
            .map(|cli| cli.lab)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_forms_of_the_manual_are_read() {
        for line in [
            "lab up",
            "lab up nat --name x --count 5 --subnet 10.1.2.0/24 --subnet6 fd00:1::/64",
            "lab up --bridge docker0 --address 172.17.0.9/16 --gateway 172.17.0.1",
            "lab up --bridge b --address 10.0.0.2/8 --address fd00::2/64 --name web",
            "lab down lab",
            "lab down a b",
            "lab down --all",
            "lab list --json",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line));
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (line, hint) in [
            ("lab up star", "possible values"),
            ("lab up --bridge docker0", "--address"),
            ("lab up --address 10.0.0.2/8", "--bridge"),
            (
                "lab up ring --bridge b --address 10.0.0.2/8",
                "cannot be used with",
            ),
            (
                "lab up --subnet 10.0.0.0",
                "no address with a prefix length",
            ),
            ("lab down", "NAME"),
            ("lab down a --all", "cannot be used with"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(hint), "{line}: {error}");
        }
    }
}
