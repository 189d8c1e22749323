//! An inventory as a table for people. A namespace takes a line, and more where it has several names,
//! containers or interfaces. Everything is escaped.

use std::{collections::HashMap, path::Path};

use super::{
    names::{Stale, StaleReason},
    peers::Peer,
    references::{Descriptor, Thread},
    take::{Interface, Inventory, Namespace},
};
use crate::{
    container::{Container, State},
    topology::LinkKind,
};

const HEAD: [&str; 4] = ["NETNS", "TARGET", "PROCESSES", "INTERFACES"];
/// What is longer has a line of its own, so that one long name does not push all the others aside.
const WIDEST: usize = 32;
/// Most lines of a namespace's cell.
const MOST_LINES: usize = 6;
/// Most addresses of an interface.
const MOST_ADDRESSES: usize = 3;
/// Columns between two cells.
const GAP: usize = 2;
/// Narrower than this, lines are cut rather than wrapped.
const NARROWEST: usize = 24;
/// A blank at which no line is broken.
const GLUE: char = '\u{a0}';

impl Inventory {
    /// The table; where `width` is given, the interfaces are wrapped to it, and lines that are still
    /// too long are cut.
    #[must_use]
    pub fn table(&self, width: Option<usize>) -> String {
        let labels: HashMap<u64, String> = self
            .namespaces
            .iter()
            .filter_map(|one| Some((one.reference.inode, targets(one).into_iter().next()?.name)))
            .collect();
        let mut rows = vec![HEAD.map(|head| vec![head.to_owned()])];
        rows.extend(self.namespaces.iter().map(|one| {
            [
                vec![one.reference.inode.to_string()],
                short(
                    targets(one)
                        .into_iter()
                        .map(|target| target.text())
                        .collect(),
                ),
                vec![processes(one)],
                short(interfaces(one, &labels)),
            ]
        }));
        let mut lines = Vec::new();
        let widths: [usize; 3] = std::array::from_fn(|at| {
            let cells = rows
                .iter()
                .flat_map(|row| &row[at])
                .map(|text| length(text));
            cells.filter(|&length| length <= WIDEST).max().unwrap_or(0)
        });
        let before: usize = widths.iter().map(|width| width + GAP).sum();
        let room = width.map(|width| width.saturating_sub(before).max(NARROWEST));
        for mut row in rows {
            if let (Some(room), [.., last]) = (room, &mut row) {
                *last = last.iter().flat_map(|text| wrap(text, room)).collect();
            }
            lay_out(&row, widths, &mut lines);
        }
        lines.extend(self.left_over());
        let mut text = String::new();
        for line in lines {
            text.push_str(&cut(line.trim_end(), width).replace(GLUE, " "));
            text.push('\n');
        }
        text
    }

    /// What is said of names that lead to nothing here.
    fn left_over(&self) -> Vec<String> {
        let (elsewhere, stale): (Vec<&Stale>, Vec<&Stale>) = self
            .stale
            .iter()
            .partition(|stale| matches!(stale.reason, StaleReason::MountedElsewhere { .. }));
        let mut lines = Vec::new();
        for (head, names) in [
            ("stale names (`netns-trace clean` removes them):", stale),
            (
                "names that are in use in another mount namespace:",
                elsewhere,
            ),
        ] {
            if names.is_empty() {
                continue;
            }
            lines.extend([String::new(), head.to_owned()]);
            lines.extend(
                names
                    .iter()
                    .map(|name| format!("  {}: {}", escaped(&name.path), name.reason)),
            );
        }
        lines
    }
}

/// What a namespace can be called on the command line, and what is to be said of that.
struct Target {
    name: String,
    note: Option<&'static str>,
}

impl Target {
    fn plain(name: String) -> Self {
        Self { name, note: None }
    }

    fn text(&self) -> String {
        match self.note {
            Some(note) => format!("{} ({note})", self.name),
            None => self.name.clone(),
        }
    }
}

fn targets(one: &Namespace) -> Vec<Target> {
    let reference = &one.reference;
    let mut targets = Vec::new();
    if reference.is_host {
        targets.push(Target::plain("host".into()));
    }
    let mut is_guest = false;
    for container in &one.containers {
        let name = format!("{}:{}", container.key.runtime, container.label());
        // A pod is one thing, however many containers it has.
        if container.pod.is_some() && targets.iter().any(|target| target.name == name) {
            continue;
        }
        targets.push(Target {
            name,
            note: note(container, reference.is_host, is_guest),
        });
        is_guest = true;
    }
    let names = reference.names.iter();
    targets.extend(names.map(|name| Target::plain(format!("netns:{}", name.name.escape_debug()))));
    if !targets.is_empty() {
        return targets;
    }
    let process = reference.main.as_ref().map(|main| main.pid);
    let name = if let Some(pid) = process.or(reference.processes.first().copied()) {
        format!("pid:{pid}")
    } else if let Some(path) = reference.mounts.first() {
        escaped(path)
    } else if let Some(Thread { pid, tid }) = reference.threads.first() {
        format!("/proc/{pid}/task/{tid}/ns/net")
    } else if let Some(Descriptor { pid, fd }) = reference.descriptors.first() {
        format!("/proc/{pid}/fd/{fd}")
    } else {
        format!("inode:{}", reference.inode)
    };
    vec![Target::plain(name)]
}

fn note(container: &Container, is_host: bool, is_guest: bool) -> Option<&'static str> {
    match container.state {
        State::Paused => Some("paused"),
        State::Stopped => Some("stopped"),
        _ if is_host => Some("host network"),
        _ if is_guest => Some("shares it"),
        _ => None,
    }
}

/// How many processes, and the main one's name; otherwise what else keeps the namespace.
fn processes(one: &Namespace) -> String {
    let reference = &one.reference;
    let count = reference.processes.len();
    match &reference.main {
        Some(main) => format!("{count} {}", main.command.escape_debug()),
        None if count > 0 => count.to_string(),
        None if !reference.threads.is_empty() => match reference.threads.len() {
            1 => "1 thread".into(),
            threads => format!("{threads} threads"),
        },
        None if !reference.names.is_empty() || !reference.mounts.is_empty() => "-".into(),
        None => "held open".into(),
    }
}

fn interfaces(one: &Namespace, labels: &HashMap<u64, String>) -> Vec<String> {
    let interfaces = match &one.interfaces {
        Ok(interfaces) => interfaces,
        Err(why) => return vec![why.clone()],
    };
    let mut ports: HashMap<&str, usize> = HashMap::new();
    for master in interfaces.iter().filter_map(|one| one.master.as_deref()) {
        *ports.entry(master).or_default() += 1;
    }
    // Loopback is everywhere, and ports are told with their bridge and with their other end.
    let shown: Vec<String> = interfaces
        .iter()
        .filter(|one| one.link.kind != LinkKind::Loopback && one.master.is_none())
        .map(|one| interface(one, ports.get(one.link.name.as_str()).copied(), labels))
        .collect();
    if shown.is_empty() {
        return vec!["lo only".into()];
    }
    shown
}

fn interface(one: &Interface, ports: Option<usize>, labels: &HashMap<u64, String>) -> String {
    let link = &one.link;
    let mut text = link.printable_name();
    // Every interface makes itself a link-local one.
    let usual = |ip: &std::net::IpAddr| match ip {
        std::net::IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        std::net::IpAddr::V4(_) => true,
    };
    let addresses: Vec<_> = link.addresses.iter().filter(|(ip, _)| usual(ip)).collect();
    for (ip, prefix) in addresses.iter().take(MOST_ADDRESSES) {
        text.push_str(&format!(" {ip}/{prefix}"));
    }
    if let Some(more) = addresses.len().checked_sub(MOST_ADDRESSES + 1) {
        text.push_str(&format!(" and {} more", more + 1));
    }
    if !link.up {
        text.push_str(" (down)");
    }
    match ports {
        Some(1) => text.push_str(&format!(" (1{GLUE}port)")),
        Some(count) => text.push_str(&format!(" ({count}{GLUE}ports)")),
        None => {}
    }
    if let Some(peer) = &one.peer {
        let arrow = if link.kind.is_pair() {
            "→".to_owned()
        } else {
            format!("{}{GLUE}on", link.kind)
        };
        text.push_str(&format!(" {arrow}{GLUE}{}", peer_text(peer, labels)));
    }
    text
}

/// `vethce5c219@docker0`, and where that is, if it is not in the host's namespace.
fn peer_text(peer: &Peer, labels: &HashMap<u64, String>) -> String {
    let mut text = match &peer.name {
        Some(name) => name.escape_debug().to_string(),
        None => format!("interface {}", peer.index),
    };
    if let Some(master) = &peer.master {
        text.push_str(&format!("@{}", master.escape_debug()));
    }
    match (peer.netns_inode.map(|inode| labels.get(&inode)), peer.nsid) {
        (_, None) => {}
        (Some(Some(label)), _) if label == "host" => {}
        (Some(Some(label)), _) => text.push_str(&format!(" in{GLUE}{label}")),
        (Some(None), _) => {}
        (None, Some(id)) => text.push_str(&format!(" in an unknown namespace (nsid {id})")),
    }
    text
}

/// Lines of a cell, the last of too many a count of the rest.
fn short(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > MOST_LINES {
        let more = lines.len() - (MOST_LINES - 1);
        lines.truncate(MOST_LINES - 1);
        lines.push(format!("… and {more} more"));
    }
    lines
}

/// Cells side by side, each filled to its width. After one that is too wide the line ends, and the
/// next goes on below.
fn lay_out(row: &[Vec<String>; 4], widths: [usize; 3], lines: &mut Vec<String>) {
    let height = row.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..height {
        let mut line = String::new();
        let mut column = 0;
        for (cell, texts) in row.iter().enumerate() {
            let text = texts.get(at).map_or("", String::as_str);
            if length(&line) > column {
                let is_rest = row[cell..].iter().any(|texts| texts.get(at).is_some());
                if is_rest {
                    lines.push(std::mem::take(&mut line));
                }
            }
            let fill = column.saturating_sub(length(&line));
            if !text.is_empty() {
                line.push_str(&" ".repeat(fill));
                line.push_str(text);
            }
            column += widths.get(cell).map_or(0, |width| width + GAP);
        }
        lines.push(line);
    }
}

/// Breaks a text between words; what goes on is indented. A word that is too long stays whole.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if length(line) + 1 + length(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn cut(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if width > 1 && length(line) > width => {
            line.chars().take(width - 1).chain(['…']).collect()
        }
        _ => line.to_owned(),
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn escaped(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(texts: [&str; 4]) -> [Vec<String>; 4] {
        texts.map(|text| text.split('|').map(str::to_owned).collect())
    }

    #[test]
    fn a_cell_that_is_too_wide_ends_its_line() {
        let mut lines = Vec::new();
        lay_out(
            &cells(["1", "a|b", "2 sh", "eth0|eth1|eth2"]),
            [3, 3, 5],
            &mut lines,
        );
        assert_eq!(
            lines,
            [
                "1    a    2 sh   eth0",
                "     b           eth1",
                "                 eth2"
            ]
        );
        lines.clear();
        lay_out(
            &cells(["1", "abcdef", "2 sh", "eth0"]),
            [3, 3, 5],
            &mut lines,
        );
        assert_eq!(lines, ["1    abcdef", "          2 sh   eth0"]);
    }

    #[test]
    fn lines_are_wrapped_between_words_and_cut_otherwise() {
        assert_eq!(
            wrap("eth0 10.77.0.2/24 →\u{a0}veth@br0", 20),
            ["eth0 10.77.0.2/24", "  →\u{a0}veth@br0"]
        );
        assert_eq!(wrap("abcdefgh ijk", 4), ["abcdefgh", "  ijk"]);
        assert_eq!(cut("abcdef", Some(4)), "abc…");
        assert_eq!(cut("abcd", Some(4)), "abcd");
        assert_eq!(cut("abcdef", None), "abcdef");
    }

    #[test]
    fn many_lines_end_in_a_count() {
        let lines: Vec<String> = (0..9).map(|line| line.to_string()).collect();
        assert_eq!(
            short(lines.clone()),
            ["0", "1", "2", "3", "4", "… and 4 more"]
        );
        assert_eq!(short(lines[..6].to_vec()).len(), 6);
    }

    #[test]
    fn where_a_peer_is_is_told_unless_it_is_the_hosts() {
        let labels = HashMap::from([(1, "host".to_owned()), (2, "netns:r".to_owned())]);
        let told = |inode, nsid, name: Option<&str>| {
            let peer = Peer {
                netns_inode: inode,
                nsid,
                index: 7,
                name: name.map(str::to_owned),
                master: Some("br\x1b".into()),
            };
            peer_text(&peer, &labels)
        };
        assert_eq!(told(Some(1), Some(0), Some("v")), r"v@br\u{1b}");
        assert_eq!(
            told(Some(2), Some(0), Some("v")),
            "v@br\\u{1b} in\u{a0}netns:r"
        );
        assert_eq!(told(Some(2), None, Some("v")), r"v@br\u{1b}");
        assert_eq!(
            told(None, Some(3), None),
            r"interface 7@br\u{1b} in an unknown namespace (nsid 3)"
        );
    }
}
