//! What two namespaces differ in, topic by topic: what a container on a bridge, one on the host's
//! network and one that shares another's have and lack. Pure; `facts` says what is compared.

mod facts;

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::Report;

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

/// How many containers are named where they share a namespace.
const MOST_NAMED: usize = 10;

/// A topic, and how its entries are had of a report.
type Compared = (&'static str, fn(&Report) -> Facts);

/// A topic's entries: what they are called, and what they are like.
type Facts = BTreeMap<String, String>;

/// Compares two reports.
#[must_use]
pub fn diff(a: &Report, b: &Report) -> Difference {
    const TOPICS: [Compared; 10] = [
        ("interfaces", facts::interfaces),
        ("addresses", facts::addresses),
        ("routes", facts::routes),
        ("rules", facts::rules),
        ("resolver", facts::resolver),
        ("listening sockets", facts::listening),
        ("packet filter", facts::firewall),
        ("settings", facts::settings),
        ("offloads", facts::offloads),
        ("programs", facts::programs),
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
        if !a.host {
            sentences.extend(standing("It", a));
        }
        return sentences;
    }
    sentences.push(format!(
        "{label_a} ({}) and {label_b} ({}) are in different namespaces.",
        a.inode, b.inode
    ));
    for (label, report) in [(label_a, a), (label_b, b)] {
        sentences.extend(standing(label, report));
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

/// What sort of place a namespace is by itself.
fn standing(label: &str, report: &Report) -> Vec<String> {
    let mut sentences = Vec::new();
    if report.host && label != "host" {
        sentences.push(format!("{label} is in the host's namespace."));
    }
    if !report.interfaces.is_empty() && report.interfaces.iter().all(|one| one.kind == "loopback") {
        sentences.push(format!("{label} has loopback alone."));
    }
    if !report.host && report.containers.len() > 1 {
        let labels = report
            .containers
            .iter()
            .map(|container| container.label.as_str());
        let labels: Vec<&str> = labels.take(MOST_NAMED).collect();
        let more = report.containers.len() - labels.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        sentences.push(format!("{label} is shared by {}{more}.", labels.join(", ")));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Interface, Peer, Resolver, Sysctl};

    fn interface(name: &str, peer: Option<Peer>) -> Interface {
        Interface {
            index: 2,
            name: name.to_owned(),
            kind: "veth".to_owned(),
            mac: None,
            mtu: 1500,
            up: true,
            state: "up",
            qdisc: None,
            queue_length: None,
            master: None,
            port: None,
            addresses: Vec::new(),
            counters: None,
            peer,
            offloads: None,
            xdp: None,
            programs: Vec::new(),
        }
    }

    fn peer(name: &str, inode: u64) -> Peer {
        Peer {
            index: 7,
            name: name.to_owned(),
            namespace: "host".to_owned(),
            inode,
            state: "up",
            master: Some("br0".to_owned()),
            port: None,
        }
    }

    fn report(label: &str, inode: u64) -> Report {
        Report {
            label: label.to_owned(),
            target: format!("netns:{label}"),
            inode,
            ..Report::default()
        }
    }

    fn sysctl(value: &str) -> Sysctl {
        Sysctl {
            name: "net.ipv4.ip_forward".to_owned(),
            value: value.to_owned(),
            usual: None,
        }
    }

    #[test]
    fn what_differs_is_told_from_both_sides() {
        let (mut a, mut b) = (report("a", 1), report("b", 2));
        a.interfaces = vec![
            interface("eth0", Some(peer("va", 9))),
            interface("x\x1b", None),
        ];
        b.interfaces = vec![interface("eth0", Some(peer("vb", 9)))];
        (a.sysctls, b.sysctls) = (vec![sysctl("0")], vec![sysctl("1")]);
        a.resolver = Some(Resolver::default());
        a.missing = vec!["this".to_owned(), "that".to_owned()];
        b.missing = vec!["this".to_owned()];
        let difference = diff(&a, &b);
        assert!(!difference.same_namespace);
        let text = difference.text();
        for line in [
            "a (1) and b (2) are in different namespaces.",
            "Both are on the bridge br0 of host.",
            "  - eth0: veth, up, mtu 1500, peer va@host on br0",
            "  + eth0: veth, up, mtu 1500, peer vb@host on br0",
            "  - x\\u{1b}: veth, up, mtu 1500",
            "  - net.ipv4.ip_forward: 0",
            "  + net.ipv4.ip_forward: 1",
            "  both: this",
            "  a: that",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn one_namespace_under_two_names_is_said_to_be_one() {
        let (mut a, b) = (report("web", 1), report("web", 1));
        a.target = "pid:7".to_owned();
        a.host = true;
        let difference = diff(&a, &b);
        assert!(difference.same_namespace);
        let said = &difference.relation[0];
        assert!(
            said.starts_with("pid:7 and netns:web are in the same namespace (1)"),
            "{said}"
        );
        assert!(said.contains("which is the host's"), "{said}");
        assert!(
            difference
                .topics
                .iter()
                .all(|topic| topic.changed.is_empty())
        );
    }

    #[test]
    fn a_pair_between_the_two_is_told_once() {
        let (mut a, mut b) = (report("a", 1), report("b", 2));
        a.interfaces = vec![interface("eth0", Some(peer("va", 2)))];
        b.interfaces = vec![interface("va", Some(peer("eth0", 1)))];
        let relation = diff(&a, &b).relation;
        assert_eq!(
            relation[1..],
            ["eth0 of a leads to va of b, a port of br0."]
        );
    }
}
