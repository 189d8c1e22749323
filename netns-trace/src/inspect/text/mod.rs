//! A report for a terminal: short sections, only what is there, nothing of a name but text. Pure.

mod interfaces;
mod network;

use super::{Lookup, Outcome, Process, Question, Report, Resolver, Sysctl};

/// Lines of a long list that are shown; JSON has them all.
const MOST_LINES: usize = 40;
/// Columns of a line that is broken by us.
const WIDTH: usize = 96;

/// The whole report.
pub(super) fn report(report: &Report) -> String {
    let mut text = head(report);
    let sections = [
        ("Interfaces", interfaces::interfaces(&report.interfaces)),
        ("Routes", network::routes(&report.routes)),
        ("Rules", network::rules(&report.rules)),
        ("Neighbours", network::neighbours(&report.neighbours)),
        ("Sockets", network::sockets(&report.sockets)),
        (
            "Resolver",
            report.resolver.as_ref().map(resolver).unwrap_or_default(),
        ),
        (
            "Lookup",
            report.lookup.as_ref().map(lookup).unwrap_or_default(),
        ),
        ("Packet filter", network::firewall(&report.firewall)),
        (
            "Connections",
            report
                .conntrack
                .as_ref()
                .map(network::conntrack)
                .unwrap_or_default(),
        ),
        ("Settings", sysctls(&report.sysctls)),
        (
            "Missing",
            report.missing.iter().flat_map(|why| wrapped(why)).collect(),
        ),
    ];
    for (title, lines) in sections {
        section(&mut text, title, &lines);
    }
    text
}

fn head(report: &Report) -> String {
    let mut text = format!("{}: network namespace {}", report.label, report.inode);
    if report.host && report.label != "host" {
        text.push_str(", the host's");
    }
    let others = report
        .names
        .iter()
        .map(|name| safe(name))
        .filter(|name| *name != report.label);
    let others: Vec<String> = others.collect();
    if !others.is_empty() {
        text.push_str(&format!(", also named {}", others.join(", ")));
    }
    text.push('\n');
    for container in &report.containers {
        let id: String = safe(&container.id).chars().take(12).collect();
        let named = if id == container.label {
            String::new()
        } else {
            format!(" ({id})")
        };
        text.push_str(&format!(
            "  container  {} {}{named}\n",
            container.runtime, container.label
        ));
    }
    let shown: Vec<String> = report.processes.iter().take(5).map(process).collect();
    let text_of = match report.process_count {
        0 => "none".to_owned(),
        // The first ones there are the kernel's.
        count if report.host => count.to_string(),
        count if count > shown.len() => format!("{count}: {}, …", shown.join(", ")),
        count => format!("{count}: {}", shown.join(", ")),
    };
    text.push_str(&format!("  processes  {text_of}\n"));
    text
}

/// A heading with its lines; nothing where there are none.
fn section(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("\n{title}\n"));
    for line in lines {
        text.push_str(format!("  {line}").trim_end());
        text.push('\n');
    }
}

fn resolver(resolver: &Resolver) -> Vec<String> {
    let mut lines = vec![resolver.source.clone()];
    for server in &resolver.nameservers {
        let note = if server == "127.0.0.11" {
            "   Docker's own: knows containers by name, asks others for the rest"
        } else {
            ""
        };
        lines.push(format!("nameserver  {}{note}", safe(server)));
    }
    for (word, list) in [
        ("  asks", &resolver.docker_upstreams),
        ("search", &resolver.search),
        ("options", &resolver.options),
    ] {
        if !list.is_empty() {
            let list: Vec<String> = list.iter().map(|one| safe(one)).collect();
            lines.push(format!("{word:<11} {}", list.join(" ")));
        }
    }
    lines
}

fn lookup(lookup: &Lookup) -> Vec<String> {
    let mut lines = Vec::new();
    if !lookup.hosts.is_empty() {
        let hosts: Vec<String> = lookup.hosts.iter().map(ToString::to_string).collect();
        let name = safe(&lookup.name);
        lines.push(format!("/etc/hosts has {name}: {}", hosts.join(", ")));
    }
    let head = ["server", "name", "kind", "took", "by", "answer"].map(str::to_owned);
    let rows = lookup.questions.iter().map(|question| {
        [
            safe(&question.server),
            safe(&question.name),
            format!("{:?}", question.kind).to_uppercase(),
            format!("{:.1} ms", question.took_ns as f64 / 1e6),
            if question.tcp { "tcp" } else { "udp" }.to_owned(),
            outcome(question),
        ]
    });
    if !lookup.questions.is_empty() {
        lines.extend(columns(std::iter::once(head).chain(rows).collect(), &[3]));
    }
    lines
}

fn outcome(question: &Question) -> String {
    match &question.outcome {
        Outcome::Answer { addresses, aliases } => {
            let mut parts: Vec<String> = aliases
                .iter()
                .map(|alias| format!("{} ->", safe(alias)))
                .collect();
            parts.push(
                addresses
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            );
            parts.join(" ")
        }
        Outcome::NoData => "none of this kind".to_owned(),
        Outcome::NoSuchName => "no such name (NXDOMAIN)".to_owned(),
        Outcome::ServerFailure => "the server failed (SERVFAIL)".to_owned(),
        Outcome::Refused => "the server refuses (REFUSED)".to_owned(),
        Outcome::Code { code } => format!("the server says error {code}"),
        Outcome::Silent => "no answer within 2 s".to_owned(),
        Outcome::Unreachable { why } => safe(why),
        Outcome::Rubbish { why } => format!("rubbish came: {why}"),
    }
}

/// Those that always are of interest; the others are shown where they are unlike the host's.
const SHOWN: [&str; 9] = [
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.ipv6.conf.all.disable_ipv6",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.core.somaxconn",
    "net.ipv4.tcp_congestion_control",
];

fn sysctls(sysctls: &[Sysctl]) -> Vec<String> {
    let shown = |one: &&Sysctl| one.usual.is_some() || SHOWN.contains(&one.name.as_str());
    let mut rows = vec![Default::default()];
    rows.extend(sysctls.iter().filter(shown).map(|one| {
        let of_interface = !one.name.starts_with("net.ipv4.conf.all.")
            && !one.name.starts_with("net.ipv6.conf.all.")
            && !one.name.contains(".conf.default.")
            && one.name.contains(".conf.");
        let whose = if of_interface {
            "new interfaces"
        } else {
            "the host"
        };
        let usual = one.usual.as_deref();
        [
            safe(&one.name),
            safe(&one.value),
            usual.map_or_else(String::new, |usual| format!("{whose}: {}", safe(usual))),
        ]
    }));
    let mut lines = columns(rows, &[]).split_off(1);
    let rest = sysctls.iter().filter(|one| !shown(one)).count();
    if rest > 0 {
        lines.push(format!("{rest} more are not shown (--json has all)"));
    }
    lines
}

fn process(process: &Process) -> String {
    format!("{} {}", process.pid, safe(&process.command))
}

/// Text of a stranger's, in which no control character is left.
fn safe(text: &str) -> String {
    text.escape_debug()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

/// Columns of equal width, to the left but for those with these numbers.
fn columns<const N: usize>(rows: Vec<[String; N]>, right: &[usize]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    // A column of nothing takes no room.
    let shown: Vec<usize> = (0..N)
        .filter(|&column| rows.iter().skip(1).any(|row| !row[column].is_empty()))
        .collect();
    let line = |row: &[String; N]| {
        let cells = shown.iter().map(|&column| {
            let (cell, width) = (&row[column], widths[column]);
            let gap = " ".repeat(width - cell.chars().count());
            if right.contains(&column) {
                format!("{gap}{cell}")
            } else {
                format!("{cell}{gap}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// The first lines of a long list, and how many more there are.
fn some(mut lines: Vec<String>, head: usize) -> Vec<String> {
    let more = lines.len().saturating_sub(MOST_LINES + head);
    if more > 0 {
        lines.truncate(MOST_LINES + head);
        lines.push(format!("… and {more} more (--json has all)"));
    }
    lines
}

/// A paragraph in lines; the second and further ones are set in.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let rows = vec![
            ["a", "b", "c"].map(str::to_owned),
            ["x", "", "100"].map(str::to_owned),
            ["long", "", "1"].map(str::to_owned),
        ];
        assert_eq!(columns(rows, &[2]), ["a       c", "x     100", "long    1"]);
    }

    #[test]
    fn strangers_text_is_only_text() {
        assert_eq!(safe("a\x1b[2J'\n"), "a\\u{1b}[2J'\\n");
    }

    #[test]
    fn long_lists_say_what_they_leave_out() {
        let lines = (0..50).map(|n| n.to_string()).collect();
        let shown = some(lines, 1);
        assert_eq!(
            shown.last().map(String::as_str),
            Some("… and 9 more (--json has all)")
        );
    }

    #[test]
    fn paragraphs_are_broken() {
        let lines = wrapped(&"word ".repeat(40));
        assert_eq!(lines.len(), 3);
        assert!(
            lines.iter().all(|line| line.len() <= WIDTH + 2),
            "{lines:?}"
        );
    }
}
