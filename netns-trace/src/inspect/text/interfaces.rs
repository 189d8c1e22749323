//! The interfaces: a line for each, and below it what hangs on it.

use super::{columns, safe, wrapped};
use crate::{
    inspect::{Address, Interface, Peer, Port, Way},
    probe::Listed,
};

pub(super) fn interfaces(interfaces: &[Interface]) -> Vec<String> {
    interfaces.iter().flat_map(interface).collect()
}

fn interface(interface: &Interface) -> Vec<String> {
    let mut lines = vec![summary(interface)];
    let mut add = |word: &str, text: String| {
        for (number, line) in wrapped(&text).into_iter().enumerate() {
            let word = if number == 0 { word } else { "" };
            lines.push(format!("     {word:<10} {line}"));
        }
    };
    if !interface.addresses.is_empty() {
        let all: Vec<String> = interface.addresses.iter().map(address).collect();
        add("addresses", all.join(", "));
    }
    if let Some(other) = &interface.peer {
        let word = match interface.kind.as_str() {
            "veth" | "netkit" => "peer",
            _ => "on",
        };
        add(word, peer(other));
    }
    if let Some(master) = &interface.master {
        add("port of", port(master, interface.port.as_ref()));
    }
    if let Some(counters) = &interface.counters {
        add("received", way(&counters.received));
        add("sent", way(&counters.sent));
    }
    if let Some(offloads) = &interface.offloads {
        let of = |wanted| {
            let names = offloads.each().into_iter().filter(|(_, on)| *on == wanted);
            names.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
        };
        let off = of(false);
        let off = if off.is_empty() {
            off
        } else {
            format!(" (off: {off})")
        };
        add("offloads", format!("{}{off}", of(true)));
    }
    if let Some(xdp) = &interface.xdp {
        let program = &xdp.program;
        let name = program.name.as_deref().map(safe).unwrap_or_default();
        add("XDP", format!("{} {name}, {}", program.id, xdp.mode));
    }
    for hook in ["ingress", "egress"] {
        let here: Vec<&Listed> = interface
            .programs
            .iter()
            .filter(|p| p.hook == hook)
            .collect();
        for (number, line) in programs(&here).into_iter().enumerate() {
            let word = if number == 0 { hook } else { "" };
            lines.push(format!("     {word:<10} {line}"));
        }
    }
    lines
}

fn summary(interface: &Interface) -> String {
    let mut parts = vec![interface.kind.clone()];
    // Loopback and tun devices do not tell what they can do.
    parts.push(match (interface.up, interface.state) {
        (false, _) => "down".to_owned(),
        (true, "up" | "unknown") => "up".to_owned(),
        (true, state) => format!("set up, but {state}"),
    });
    parts.push(format!("mtu {}", interface.mtu));
    parts.extend(
        interface
            .mac
            .clone()
            .filter(|mac| mac != "00:00:00:00:00:00"),
    );
    if let Some(qdisc) = &interface.qdisc {
        let queue = match interface.queue_length {
            Some(length) if qdisc != "noqueue" && qdisc != "noop" => format!(", queue {length}"),
            _ => String::new(),
        };
        parts.push(format!("qdisc {}{queue}", safe(qdisc)));
    }
    format!(
        "{:>2}: {}  {}",
        interface.index,
        safe(&interface.name),
        parts.join(", ")
    )
}

fn address(address: &Address) -> String {
    let mut text = address.address.clone();
    if let Some(peer) = &address.peer {
        text.push_str(&format!(" to {peer}"));
    }
    if address.scope != "global" {
        text.push_str(&format!(" {}", address.scope));
    }
    for flag in &address.flags {
        text.push_str(&format!(" {flag}"));
    }
    text
}

fn peer(peer: &Peer) -> String {
    let mut text = format!(
        "{}@{} (index {}",
        safe(&peer.name),
        peer.namespace,
        peer.index
    );
    if peer.state != "up" {
        text.push_str(&format!(", {}", peer.state));
    }
    text.push(')');
    if let Some(master) = &peer.master {
        text.push_str(&format!(", port of {}", port(master, peer.port.as_ref())));
    }
    text
}

fn port(master: &str, port: Option<&Port>) -> String {
    let mut text = safe(master);
    if let Some(port) = port {
        text.push_str(&format!(" ({}", port.state));
        for (word, set) in [("hairpin", port.hairpin), ("isolated", port.isolated)] {
            if set {
                text.push_str(&format!(", {word}"));
            }
        }
        text.push(')');
    }
    text
}

fn way(way: &Way) -> String {
    let mut text = format!("{} packets, {} bytes", way.packets, way.bytes);
    for (count, word) in [(way.errors, "errors"), (way.dropped, "dropped")] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    text
}

/// In the order in which packets meet them.
fn programs(listed: &[&Listed]) -> Vec<String> {
    let mut rows = vec![Default::default()];
    rows.extend(listed.iter().map(|one| {
        let program = one.program.as_ref();
        [
            one.method.clone(),
            program.map_or_else(String::new, |program| program.id.to_string()),
            program
                .and_then(|program| program.name.as_deref())
                .map(safe)
                .unwrap_or_default(),
            program
                .and_then(|program| program.tag.as_deref())
                .map_or_else(String::new, |tag| format!("tag {tag}")),
            one.priority
                .map_or_else(String::new, |priority| format!("priority {priority}")),
            one.handle
                .map_or_else(String::new, |handle| format!("handle {handle:#x}")),
            if program.is_some_and(|program| program.ours) {
                "ours"
            } else {
                ""
            }
            .to_owned(),
        ]
    }));
    columns(rows, &[1]).split_off(1)
}
