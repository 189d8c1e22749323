//! What a network namespace is like: its interfaces, routes, sockets, name lookup, packet filter,
//! connections, settings and programs, as plain data ([`Report`]). One file for each topic reads
//! its part, as far as possible on one thread inside ([`NetNs::run`]); `text` writes a report for
//! people, `diff` compares two, both as pure functions.
//!
//! Nothing here changes anything. What cannot be had is told in [`Report::missing`], never left
//! out in silence.

pub(crate) mod conntrack;
mod diff;
pub(crate) mod dns;
pub(crate) mod files;
pub(crate) mod firewall;
pub(crate) mod links;
mod lookup;
pub(crate) mod neighbours;
mod offloads;
mod owners;
mod peers;
mod processes;
pub(crate) mod resolver;
pub(crate) mod routes;
pub(crate) mod rules;
pub(crate) mod sockets;
mod sysctls;
mod text;
mod tool;

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Serialize;

pub use self::{
    conntrack::{Connection, Conntrack, Tuple},
    diff::{Changed, Difference, Topic, diff},
    dns::Kind,
    firewall::{Chain, Firewall, Table},
    links::{Address, Counters, Interface, Port, Way, Xdp},
    lookup::{Lookup, Outcome, Question},
    neighbours::Neighbour,
    offloads::Offloads,
    owners::socket_owners,
    peers::Peer,
    processes::{Holder, Process},
    resolver::{Host, Resolver},
    routes::{Hop, Route},
    rules::Rule,
    sockets::{Endpoint, Socket},
    sysctls::Sysctl,
};
use self::{links::Details, resolver::Whose};
use crate::{
    container,
    netns::{NetNs, NetNsError, named, names},
    probe,
    target::{self, Target, TargetSpec},
    topology::netlink::{Netlink, NetlinkError},
};

/// How many of its processes are listed.
const MOST_PROCESSES: usize = 1000;

/// Everything about a namespace at one moment. Strings from outside are as they are: they may hold
/// control characters.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// The version of this form: 1.
    pub version: u32,
    /// The namespace's name for people, safe to print.
    pub label: String,
    /// As it was asked for, safe to print.
    pub target: String,
    /// Its inode, as `lsns` prints it.
    pub inode: u64,
    /// Whether it is the machine's initial one.
    pub host: bool,
    /// Its names in /run/netns.
    pub names: Vec<String>,
    /// Containers whose processes are in it.
    pub containers: Vec<Member>,
    /// How many processes are in it.
    pub process_count: usize,
    /// These processes, the first thousand.
    pub processes: Vec<Process>,
    /// Its interfaces, by index.
    pub interfaces: Vec<Interface>,
    /// Its routes, but those of the local table.
    pub routes: Vec<Route>,
    /// The rules that choose a routing table.
    pub rules: Vec<Rule>,
    /// Its neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Its sockets, listening ones first.
    pub sockets: Vec<Socket>,
    /// How names are looked up.
    pub resolver: Option<Resolver>,
    /// What became of the name that was asked for.
    pub lookup: Option<Lookup>,
    /// What filters and translates packets.
    pub firewall: Firewall,
    /// The connections that it tracks; `None` where the kernel tracks none anywhere.
    pub conntrack: Option<Conntrack>,
    /// The settings that matter, and those of interfaces that are unusual.
    pub sysctls: Vec<Sysctl>,
    /// What could not be had, in sentences that are safe to print.
    pub missing: Vec<String>,
}

/// A container in the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// What runs it.
    pub runtime: container::Runtime,
    /// Its id. Not safe to print.
    pub id: String,
    /// Its name for people, safe to print.
    pub label: String,
}

impl Report {
    /// As text for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        text::report(self)
    }
}

/// What is read on one thread in the namespace.
struct Inside {
    details: Vec<Details>,
    report: Report,
}

/// Looks at a namespace, whose containers are called as `resolver` knows them. With `name`, that name is
/// looked up from inside.
///
/// # Errors
/// When the namespace may not be entered; anything less is told in [`Report::missing`].
pub fn look(
    target: &Target,
    resolver: &target::Resolver,
    name: Option<&str>,
) -> Result<Report, NetNsError> {
    let ns = &target.ns;
    let empty = Report {
        version: 1,
        label: target.label.clone(),
        target: target.spec.to_string(),
        inode: ns.inode(),
        host: ns.is_host(),
        names: names_of(ns),
        ..Report::default()
    };
    let (inside, settings) = ns.run(|| (look_here(empty), sysctls::values_here()))?;
    let Inside {
        details,
        mut report,
    } = inside;
    let lost = peers::find_peers(
        ns,
        &report.label,
        &details,
        &mut report.interfaces,
        resolver,
    );
    report.missing.extend(lost);
    // The settings of interfaces are there already; those of the namespace come before them.
    let host = match report.host {
        true => None,
        false => match NetNs::host().and_then(|ns| ns.run(sysctls::values_here)) {
            Ok(values) => Some(values),
            Err(why) => {
                let sentence = format!("settings are not compared with the host's: {why}");
                report.missing.push(sentence);
                None
            }
        },
    };
    let of_interfaces = std::mem::take(&mut report.sysctls);
    report.sysctls = sysctls::compared(settings, host.as_ref());
    report.sysctls.extend(of_interfaces);
    add_processes(&mut report, ns, resolver);
    add_resolver(&mut report, target);
    report.processes.truncate(MOST_PROCESSES);
    if let Some(name) = name {
        match &report.resolver {
            Some(resolver) => {
                let (lookup, missing) = ns.run(|| lookup::look_up_here(name, resolver))?;
                report.lookup = Some(lookup);
                report.missing.extend(missing);
            }
            None => report.missing.push(format!(
                "\"{}\" is not looked up, as no name servers are known",
                name.escape_debug()
            )),
        }
    }
    Ok(report)
}

/// All that can be read from inside.
fn look_here(mut report: Report) -> Inside {
    let mut missing = Vec::new();
    let mut details = Vec::new();
    match Netlink::route() {
        Ok(mut netlink) => {
            details = tables_here(&mut netlink, &mut report, &mut missing);
        }
        Err(why) => missing.push(format!(
            "interfaces, routes and neighbours are missing: cannot open a netlink socket: {why}"
        )),
    }
    let numbers: HashMap<u32, &str> = numbered(&details);
    let (sockets, without) = sockets::sockets_here(&|index| named_as(&numbers, index));
    report.sockets = sockets;
    missing.extend(without);
    let (firewall, without) = firewall::firewall_here();
    report.firewall = firewall;
    missing.extend(without);
    let (conntrack, without) = conntrack::conntrack_here();
    report.conntrack = conntrack;
    missing.extend(without);
    let interfaces: Vec<String> = details.iter().map(|d| d.link.name.clone()).collect();
    report.sysctls = sysctls::odd_ones_here(&interfaces);
    report.missing = missing;
    Inside { details, report }
}

/// Interfaces with all that hangs on them, routes, rules and neighbours.
fn tables_here(
    netlink: &mut Netlink,
    report: &mut Report,
    missing: &mut Vec<String>,
) -> Vec<Details> {
    let mut got = Got(missing);
    let details = got.of("interfaces", links::details_here(netlink));
    let mut addresses = got.of("addresses", links::addresses_here(netlink));
    report.interfaces = details.iter().map(|one| one.interface(&details)).collect();
    let mut blind = BTreeSet::new();
    for interface in &mut report.interfaces {
        interface.addresses = addresses.remove(&interface.index).unwrap_or_default();
        // An interface that went away meanwhile is no loss.
        interface.offloads = offloads::offloads_here(&interface.name).ok().flatten();
        let (programs, unseen) = probe::programs_here(interface.index);
        interface.programs = programs;
        blind.extend(unseen);
    }
    got.0.extend(
        blind
            .into_iter()
            .map(|why| format!("TC programs are missing: {why}")),
    );
    let numbers: HashMap<u32, &str> = numbered(&details);
    let name = |index| named_as(&numbers, index);
    report.routes = got.table("routes", routes::routes_here(netlink, &name));
    report.rules = got.table("rules", rules::rules_here(netlink));
    report.neighbours = got.table("neighbours", neighbours::neighbours_here(netlink, &name));
    details
}

/// Keeps what could be had, and writes down what could not.
struct Got<'a>(&'a mut Vec<String>);

impl Got<'_> {
    fn of<T: Default>(&mut self, what: &str, result: Result<T, NetlinkError>) -> T {
        result.unwrap_or_else(|why| {
            self.0.push(format!("{what} are missing: {why}"));
            T::default()
        })
    }

    fn table<T>(&mut self, what: &str, result: Result<(Vec<T>, usize), NetlinkError>) -> Vec<T> {
        let (list, more) = self.of(what, result);
        if more > 0 {
            self.0
                .push(format!("{more} more {what} are there than are listed"));
        }
        list
    }
}

fn numbered(details: &[Details]) -> HashMap<u32, &str> {
    details
        .iter()
        .map(|one| (one.link.index, one.link.name.as_str()))
        .collect()
}

fn named_as(numbers: &HashMap<u32, &str>, index: u32) -> String {
    numbers
        .get(&index)
        .map_or_else(|| format!("index {index}"), |&name| name.to_owned())
}

fn add_processes(report: &mut Report, ns: &NetNs, resolver: &target::Resolver) {
    let inodes: HashSet<u64> = report.sockets.iter().map(|socket| socket.inode).collect();
    let mut found = processes::find(ns, &inodes);
    for socket in &mut report.sockets {
        if let Some(holders) = found.holders.get(&socket.inode) {
            socket.processes.clone_from(holders);
        }
    }
    report.missing.append(&mut found.missing);
    report.process_count = found.members.len();
    let keys: BTreeSet<_> = found
        .members
        .iter()
        .filter_map(|process| container::of_process(process.pid))
        .collect();
    if !keys.is_empty() {
        let all = resolver.containers();
        report.containers = keys
            .into_iter()
            .map(|key| Member {
                label: all
                    .get(&key)
                    .map_or_else(|| key.label(), container::Container::label),
                runtime: key.runtime,
                id: key.id,
            })
            .collect();
        report.missing.extend(all.notes().iter().cloned());
    }
    report.processes = found.members;
}

/// Whose file counts: that of the process by which the namespace was asked for; in the initial
/// namespace, the machine's own; else that of the first process in it.
fn add_resolver(report: &mut Report, target: &Target) {
    let asked_by = match target.spec {
        TargetSpec::Host | TargetSpec::Inode(_) | TargetSpec::Netns(_) => None,
        _ => target.ns.identity().process.map(|stamp| stamp.pid),
    };
    let by_pid = |pid: u32| report.processes.iter().find(|process| process.pid == pid);
    let whose = match (asked_by.and_then(by_pid), report.processes.first()) {
        (Some(process), _) => Whose::Process(process),
        _ if report.host => Whose::Host,
        (None, Some(process)) => Whose::Process(process),
        (None, None) => Whose::Nobody(&report.names),
    };
    let (resolver, missing) = resolver::resolver(&target.ns, &whose);
    report.resolver = resolver;
    report.missing.extend(missing);
}

fn names_of(ns: &NetNs) -> Vec<String> {
    names()
        .into_iter()
        .filter(|name| named(name).is_some_and(|path| ns.is_at(&path)))
        .collect()
}

/// An IP protocol's name.
fn protocol_name(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        2 => "igmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        33 => "dccp".to_owned(),
        47 => "gre".to_owned(),
        50 => "esp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        136 => "udplite".to_owned(),
        other => other.to_string(),
    }
}
