//! How names are looked up: the resolv.conf that the namespace's processes read, and what is in
//! it; resolv.conf(5). Reads only. The file may be anybody's: nothing in it is trusted.

use std::{io, net::IpAddr};

use serde::Serialize;

use super::{
    files::{Content, LONGEST, Root},
    processes::Process,
};
use crate::netns::NetNs;

const PATH: &str = "/etc/resolv.conf";
/// MAXNS, and what it took for the search list before it was unlimited; resolv.h.
const MOST_SERVERS: usize = 3;
const MOST_SEARCHED: usize = 32;
/// RES_MAXNDOTS.
const MOST_DOTS: usize = 15;
/// Docker's own resolver, inside each container on a network of the user's.
const DOCKER: &str = "127.0.0.11";

/// The configuration of name lookup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resolver {
    /// Whose file it is, safe to print: `/etc/resolv.conf of process 4711 (nginx)`.
    pub source: String,
    /// Who is asked, in this order. Not safe to print.
    pub nameservers: Vec<String>,
    /// What is put behind names. Not safe to print.
    pub search: Vec<String>,
    /// Options as they are written. Not safe to print.
    pub options: Vec<String>,
    /// A name with as many dots is first asked for as it is.
    pub ndots: usize,
    /// Whether Docker's own resolver is asked, 127.0.0.11.
    pub docker: bool,
    /// Whom that asks for names of the outside, as Docker wrote it down. Not safe to print.
    pub docker_upstreams: Vec<String>,
    /// Names in the same process's /etc/hosts, by address. Not safe to print.
    pub hosts: Vec<Host>,
}

/// A line of /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The address.
    pub address: IpAddr,
    /// Its names.
    pub names: Vec<String>,
}

/// Whose view of the file system names are looked up in.
#[derive(Debug)]
pub(super) enum Whose<'a> {
    /// A process of the namespace.
    Process(&'a Process),
    /// The machine's own.
    Host,
    /// Nobody's: the namespace has only these names in /run/netns, by which `ip netns exec` would
    /// choose a file.
    Nobody(&'a [String]),
}

/// The configuration that counts in a namespace, with sentences about what could not be had.
pub(super) fn resolver(ns: &NetNs, whose: &Whose<'_>) -> (Option<Resolver>, Vec<String>) {
    let mut missing = Vec::new();
    let (source, content, hosts) = match whose {
        Whose::Process(process) => {
            let pid = process.pid;
            let source = format!(
                "{PATH} of process {pid} ({})",
                process.command.escape_debug()
            );
            match Root::of_process(pid, ns) {
                Ok(root) => (source, root.read(PATH), root.read("/etc/hosts").ok()),
                Err(why) => (source, Err(why), None),
            }
        }
        Whose::Host | Whose::Nobody(_) => {
            let own = match Root::own() {
                Ok(root) => root,
                Err(why) => return (None, vec![format!("{PATH} cannot be read: {why}")]),
            };
            let (source, content) = of_nobody(&own, whose);
            (source, content, own.read("/etc/hosts").ok())
        }
    };
    let content = match content {
        Ok(content) => content,
        // Without the file, the library asks the machine itself.
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            missing.push(format!("{source}: there is none"));
            Content {
                text: String::new(),
                cut: false,
            }
        }
        Err(why) => {
            missing.push(format!("the resolver is not known: {source}: {why}"));
            return (None, missing);
        }
    };
    if content.cut {
        missing.push(format!(
            "{source} is longer than {} KiB: what comes after is not read",
            LONGEST >> 10
        ));
    }
    let mut resolver = parse(&content.text);
    resolver.source = source;
    resolver.hosts = hosts
        .map(|hosts| parse_hosts(&hosts.text))
        .unwrap_or_default();
    (Some(resolver), missing)
}

/// What counts where no process has a view of its own.
fn of_nobody(own: &Root, whose: &Whose<'_>) -> (String, io::Result<Content>) {
    let Whose::Nobody(names) = whose else {
        return (format!("{PATH} of the host"), own.read(PATH));
    };
    for name in *names {
        let path = format!("/etc/netns/{name}/resolv.conf");
        if let Ok(content) = own.read(&path) {
            return (path.escape_debug().to_string(), Ok(content));
        }
    }
    let source = format!("{PATH} of the host, as no process lives in the namespace");
    (source, own.read(PATH))
}

pub(crate) fn parse(text: &str) -> Resolver {
    let mut resolver = Resolver {
        ndots: 1,
        ..Resolver::default()
    };
    for line in text.lines() {
        if let Some(upstreams) = docker_upstreams(line) {
            resolver.docker_upstreams = upstreams;
        }
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default();
        let rest: Vec<String> = words.take(MOST_SEARCHED).map(str::to_owned).collect();
        match keyword {
            "nameserver" if resolver.nameservers.len() < MOST_SERVERS => {
                resolver.nameservers.extend(rest.into_iter().take(1));
            }
            // The last of these counts.
            "search" => resolver.search = rest,
            "domain" => resolver.search = rest.into_iter().take(1).collect(),
            "options" => {
                for option in rest {
                    if let Some(dots) = option.strip_prefix("ndots:").and_then(|n| n.parse().ok()) {
                        resolver.ndots = MOST_DOTS.min(dots);
                    }
                    if resolver.options.len() < MOST_SEARCHED {
                        resolver.options.push(option);
                    }
                }
            }
            _ => {}
        }
    }
    if resolver.nameservers.is_empty() {
        resolver.nameservers.push("127.0.0.1".to_owned());
    }
    resolver.docker = resolver.nameservers.iter().any(|server| server == DOCKER);
    resolver
}

/// `# ExtServers: [10.0.0.1 host(127.0.0.53)]`, as Docker writes it since 24; older ones wrote
/// `# Based on host file` alone.
fn docker_upstreams(line: &str) -> Option<Vec<String>> {
    let list = line
        .trim()
        .strip_prefix("# ExtServers: [")?
        .strip_suffix(']')?;
    let servers = list.split([' ', ',']).filter(|server| !server.is_empty());
    Some(servers.take(MOST_SEARCHED).map(str::to_owned).collect())
}

pub(crate) fn parse_hosts(text: &str) -> Vec<Host> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_ascii_whitespace();
            let address = words.next()?.parse().ok()?;
            Some(Host {
                address,
                names: words.map(str::to_owned).collect(),
            })
        })
        .collect()
}

impl Resolver {
    /// The whole names that a name may stand for, in the order in which they are asked for.
    #[must_use]
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let searched = self.search.iter().filter(|domain| *domain != ".");
        let mut names: Vec<String> = searched
            .map(|domain| format!("{name}.{}", domain.trim_end_matches('.')))
            .collect();
        let whole = name.to_owned();
        if name.matches('.').count() >= self.ndots {
            names.insert(0, whole);
        } else {
            names.push(whole);
        }
        names
    }

    /// The addresses that /etc/hosts gives a name.
    #[must_use]
    pub fn in_hosts(&self, name: &str) -> Vec<IpAddr> {
        let is_it = |other: &String| other.eq_ignore_ascii_case(name.trim_end_matches('.'));
        let lines = self
            .hosts
            .iter()
            .filter(|host| host.names.iter().any(is_it));
        lines.map(|host| host.address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_docker_wrote_is_understood() {
        let resolver = parse(
            "# Generated by Docker Engine.\nnameserver 127.0.0.11\nsearch shop.local lan ; c\n\
             options edns0 ndots:0\n\n# ExtServers: [10.0.0.1 host(127.0.0.53)]\n",
        );
        assert_eq!(resolver.nameservers, ["127.0.0.11"]);
        assert_eq!(resolver.search, ["shop.local", "lan"]);
        assert_eq!((resolver.ndots, resolver.docker), (0, true));
        assert_eq!(resolver.docker_upstreams, ["10.0.0.1", "host(127.0.0.53)"]);
        assert_eq!(
            resolver.candidates("web"),
            ["web", "web.shop.local", "web.lan"]
        );
    }

    #[test]
    fn names_are_completed_as_the_library_does() {
        let resolver = parse("domain a\nsearch b. c .\noptions ndots:2 x\nnameserver ::1%lo\n");
        assert_eq!(resolver.candidates("web"), ["web.b", "web.c", "web"]);
        assert_eq!(
            resolver.candidates("a.b.c"),
            ["a.b.c", "a.b.c.b", "a.b.c.c"]
        );
        assert_eq!(resolver.candidates("web."), ["web"]);
        assert_eq!(resolver.nameservers, ["::1%lo"]);
        let empty = parse("");
        assert_eq!(empty.nameservers, ["127.0.0.1"]);
        assert_eq!(empty.candidates("web"), ["web"]);
    }

    #[test]
    fn odd_files_are_bounded() {
        let text = "nameserver a\n".repeat(100)
            + &format!("search {}\n", "x ".repeat(1000))
            + &"options ndots:99999999999999999999 ndots:77\n".repeat(1000)
            + "nameserver\nsearch\x1b\n";
        let resolver = parse(&text);
        assert_eq!(resolver.nameservers.len(), 3);
        assert_eq!((resolver.search.len(), resolver.ndots), (32, 15));
        assert!(resolver.options.len() <= 32);
    }

    #[test]
    fn hosts_are_found_by_any_of_their_names() {
        let hosts = parse_hosts("127.0.0.1 localhost\n10.0.0.2\tweb Web.lan # x\nrubbish y\n");
        let resolver = Resolver {
            hosts,
            ..Resolver::default()
        };
        let expected: Vec<IpAddr> = vec!["10.0.0.2".parse().expect("an address")];
        assert_eq!(resolver.in_hosts("WEB.lan."), expected);
        assert!(resolver.in_hosts("x").is_empty());
    }
}
