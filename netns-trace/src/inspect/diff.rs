//! What two namespaces differ in, topic by topic: what a container on a bridge, one on the host's
//! network and one that shares another's have and lack. Counters, ages and numbers that differ by
//! nature are left out. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{Report, routes::table};

/// What two reports differ in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The version of this form: 1.
    pub version: u32,
    /// The first's name for people, safe to print.
    pub a: String,
    /// The second's.
    pub b: String,
    /// Whether both are in the same namespace: then only what is not of the network can differ.
    pub same_namespace: bool,
    /// How the two are related, in sentences that are safe to print.
    pub relation: Vec<String>,
    /// Every topic.
    pub topics: Vec<Topic>,
    /// What could not be had of either, and so is not compared.
    pub missing: Vec<String>,
}

/// One topic. Strings may hold control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// Its name, such as `routes`.
    pub topic: &'static str,
    /// How many entries are the same in both.
    pub same: usize,
    /// What the first alone has.
    pub only_a: Vec<String>,
    /// What the second alone has.
    pub only_b: Vec<String>,
    /// What both have, each in its own way.
    pub changed: Vec<Changed>,
}

/// Something that both have, each in its own way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// What it is.
    pub what: String,
    /// What it is like in the first.
    pub a: String,
    /// In the second.
    pub b: String,
}

/// A topic's entries: what they are called, and what they are like.
type Facts = BTreeMap<String, String>;

/// Compares two reports.
#[must_use]
pub fn diff(a: &Report, b: &Report) -> Difference {
    const TOPICS: [(&str, fn(&Report) -> Facts); 10] = [
        ("interfaces", interfaces),
        ("addresses", addresses),
        ("routes", routes),
        ("rules", rules),
        ("resolver", resolver),
        ("listening sockets", listening),
        ("packet filter", firewall),
        ("settings", settings),
        ("offloads", offloads),
        ("programs", programs),
    ];
    let (label_a, label_b) = labels(a, b);
    let of_one = |label: &str, report: &Report, other: &Report| {
        let alone = report
            .missing
            .iter()
            .filter(|why| !other.missing.contains(*why));
        alone
            .map(|why| format!("{label}: {why}"))
            .collect::<Vec<_>>()
    };
    let of_both = a.missing.iter().filter(|why| b.missing.contains(*why));
    let mut missing: Vec<String> = of_both.map(|why| format!("both: {why}")).collect();
    missing.extend(of_one(&label_a, a, b));
    missing.extend(of_one(&label_b, b, a));
    Difference {
        version: 1,
        same_namespace: a.inode == b.inode,
        relation: relation(&label_a, a, &label_b, b),
        topics: TOPICS
            .iter()
            .map(|(topic, facts)| compare(topic, facts(a), &facts(b)))
            .collect(),
        missing,
        a: label_a,
        b: label_b,
    }
}

/// Both as they were asked for, where they would have the same name.
fn labels(a: &Report, b: &Report) -> (String, String) {
    if a.label == b.label {
        (a.target.clone(), b.target.clone())
    } else {
        (a.label.clone(), b.label.clone())
    }
}

fn relation(label_a: &str, a: &Report, label_b: &str, b: &Report) -> Vec<String> {
    let mut sentences = Vec::new();
    if a.inode == b.inode {
        let whose = if a.host { ", which is the host's" } else { "" };
        sentences.push(format!(
            "{label_a} and {label_b} are in the same namespace ({}){whose}: they share its \
             interfaces, ports and rules.",
            a.inode
        ));
        return sentences;
    }
    sentences.push(format!(
        "{label_a} ({}) and {label_b} ({}) are in different namespaces.",
        a.inode, b.inode
    ));
    for (label, report) in [(label_a, a), (label_b, b)] {
        if report.host && label != "host" {
            sentences.push(format!("{label} is in the host's namespace."));
        }
    }
    for (label, report, other_label, other) in [(label_a, a, label_b, b), (label_b, b, label_a, a)]
    {
        for interface in &report.interfaces {
            if let Some(peer) = interface
                .peer
                .as_ref()
                .filter(|peer| peer.inode == other.inode)
            {
                // From the other's side it is the same pair.
                if label == label_b
                    && a.interfaces
                        .iter()
                        .any(|one| one.peer.as_ref().is_some_and(|back| back.inode == b.inode))
                {
                    continue;
                }
                let on = peer.master.as_deref().map_or_else(String::new, |master| {
                    format!(", a port of {}", master.escape_debug())
                });
                sentences.push(format!(
                    "{} of {label} leads to {} of {other_label}{on}.",
                    interface.name.escape_debug(),
                    peer.name.escape_debug()
                ));
            }
        }
    }
    let bridge_of = |report: &Report| {
        let peers = report
            .interfaces
            .iter()
            .filter_map(|interface| interface.peer.as_ref());
        peers
            .filter_map(|peer| Some((peer.inode, peer.namespace.clone(), peer.master.clone()?)))
            .collect::<Vec<_>>()
    };
    let theirs = bridge_of(b);
    if let Some((_, namespace, bridge)) = bridge_of(a)
        .into_iter()
        .find(|bridge| theirs.contains(bridge))
    {
        let bridge = bridge.escape_debug();
        sentences.push(format!("Both are on the bridge {bridge} of {namespace}."));
    }
    sentences
}

fn compare(topic: &'static str, a: Facts, b: &Facts) -> Topic {
    let only_b = b.iter().filter(|(what, _)| !a.contains_key(*what));
    let mut result = Topic {
        topic,
        same: 0,
        only_a: Vec::new(),
        only_b: only_b.map(|(what, like)| described(what, like)).collect(),
        changed: Vec::new(),
    };
    for (what, like) in a {
        match b.get(&what) {
            None => result.only_a.push(described(&what, &like)),
            Some(other) if *other == like => result.same += 1,
            Some(other) => result.changed.push(Changed {
                what,
                a: like,
                b: other.clone(),
            }),
        }
    }
    result
}

fn described(what: &str, like: &str) -> String {
    if like.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {like}")
    }
}

fn interfaces(report: &Report) -> Facts {
    let facts = report.interfaces.iter().map(|one| {
        let mut like = format!(
            "{}, {}, mtu {}",
            one.kind,
            if one.up { "up" } else { "down" },
            one.mtu
        );
        if let Some(peer) = &one.peer {
            like.push_str(&format!(", peer {}@{}", peer.name, peer.namespace));
            if let Some(master) = &peer.master {
                like.push_str(&format!(" on {master}"));
            }
        }
        if let Some(master) = &one.master {
            like.push_str(&format!(", port of {master}"));
        }
        (one.name.clone(), like)
    });
    facts.collect()
}

fn addresses(report: &Report) -> Facts {
    let all = report.interfaces.iter().flat_map(|one| {
        let of = move |address: &super::Address| format!("{} on {}", address.address, one.name);
        one.addresses.iter().map(of)
    });
    all.map(|address| (address, String::new())).collect()
}

fn routes(report: &Report) -> Facts {
    let mut facts = Facts::new();
    for route in &report.routes {
        let kind = if route.kind == "unicast" {
            ""
        } else {
            &format!("{} ", route.kind)
        };
        let metric = route
            .metric
            .map_or_else(String::new, |metric| format!(" metric {metric}"));
        let what = format!(
            "IPv{} {kind}{} in table {}{metric}",
            route.family,
            route.destination,
            table(route.table)
        );
        let mut ways = vec![(route.gateway, route.device.as_deref())];
        if !route.hops.is_empty() {
            ways = route
                .hops
                .iter()
                .map(|hop| (hop.gateway, hop.device.as_deref()))
                .collect();
        }
        let ways = ways.into_iter().map(|(gateway, device)| {
            let via = gateway.map(|gateway| format!("via {gateway}"));
            let dev = device.map(|device| format!("dev {device}"));
            via.into_iter().chain(dev).collect::<Vec<_>>().join(" ")
        });
        // The same destination on two devices is two routes.
        let like = facts.entry(what).or_default();
        for way in ways {
            if !like.is_empty() {
                like.push_str(", ");
            }
            like.push_str(&way);
        }
    }
    facts
}

fn rules(report: &Report) -> Facts {
    let facts = report.rules.iter().map(|rule| {
        let what = format!("IPv{} {}: {}", rule.family, rule.priority, rule.selector);
        (what, rule.action.clone())
    });
    facts.collect()
}

fn resolver(report: &Report) -> Facts {
    let Some(resolver) = &report.resolver else {
        return Facts::new();
    };
    [
        ("nameservers", &resolver.nameservers),
        ("search", &resolver.search),
        ("options", &resolver.options),
        ("Docker's own asks", &resolver.docker_upstreams),
    ]
    .into_iter()
    .filter(|(_, list)| !list.is_empty())
    .map(|(what, list)| (what.to_owned(), list.join(" ")))
    .collect()
}

fn listening(report: &Report) -> Facts {
    let sockets = report.sockets.iter().filter(|socket| socket.is_listening());
    let facts = sockets.filter_map(|socket| {
        let mut commands: Vec<&str> = socket
            .processes
            .iter()
            .map(|holder| holder.process.command.as_str())
            .collect();
        commands.dedup();
        Some((
            format!("{} {}", socket.protocol, socket.local?),
            commands.join(", "),
        ))
    });
    facts.collect()
}

fn firewall(report: &Report) -> Facts {
    let mut facts = Facts::new();
    for table in &report.firewall.tables {
        for chain in &table.chains {
            let what = format!(
                "{} {} {} {}",
                table.by, table.family, table.name, chain.name
            );
            let policy = chain.policy.as_ref();
            let policy = policy.map_or_else(String::new, |policy| format!(", policy {policy}"));
            let rules = if chain.rules == 1 { "rule" } else { "rules" };
            facts.insert(what, format!("{} {rules}{policy}", chain.rules));
        }
    }
    facts
}

fn settings(report: &Report) -> Facts {
    let all = report.sysctls.iter();
    all.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
        .collect()
}

fn offloads(report: &Report) -> Facts {
    let all = report
        .interfaces
        .iter()
        .filter_map(|one| Some((&one.name, one.offloads?)));
    all.map(|(name, offloads)| {
        let on = offloads
            .each()
            .into_iter()
            .filter(|(_, on)| *on)
            .map(|(word, _)| word);
        (name.clone(), on.collect::<Vec<_>>().join(" "))
    })
    .collect()
}

fn programs(report: &Report) -> Facts {
    let mut facts = Facts::new();
    for interface in &report.interfaces {
        for listed in &interface.programs {
            let program = listed.program.as_ref();
            let name = program
                .and_then(|program| program.name.clone())
                .unwrap_or_default();
            let like = facts
                .entry(format!("{} {}", interface.name, listed.hook))
                .or_default();
            if !like.is_empty() {
                like.push_str(", ");
            }
            like.push_str(format!("{} {name}", listed.method).trim_end());
        }
    }
    facts
}

impl Difference {
    /// As text for a terminal: what one alone has is marked `-` and `+`, as in a patch from the
    /// first to the second.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.relation.join("\n") + "\n";
        let mut alike = Vec::new();
        for topic in &self.topics {
            if topic.only_a.is_empty() && topic.only_b.is_empty() && topic.changed.is_empty() {
                if topic.same > 0 {
                    alike.push(topic.topic);
                }
                continue;
            }
            let mut title = topic.topic.to_owned();
            title[..1].make_ascii_uppercase();
            let same = match topic.same {
                0 => String::new(),
                same => format!(" ({same} alike)"),
            };
            let _written = writeln!(text, "\n{title}{same}");
            let mut line = |sign: char, rest: &str| {
                let _written = writeln!(text, "  {sign} {}", rest.escape_debug());
            };
            for changed in &topic.changed {
                line('-', &described(&changed.what, &changed.a));
                line('+', &described(&changed.what, &changed.b));
            }
            topic.only_a.iter().for_each(|what| line('-', what));
            topic.only_b.iter().for_each(|what| line('+', what));
        }
        if !alike.is_empty() {
            let _written = writeln!(text, "\nAlike: {}", alike.join(", "));
        }
        if !self.missing.is_empty() {
            text.push_str("\nMissing, and so not compared\n");
            for why in &self.missing {
                let _written = writeln!(text, "  {why}");
            }
        }
        text
    }
}
