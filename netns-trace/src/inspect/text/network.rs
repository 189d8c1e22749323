//! Routes, rules, neighbours, sockets, packet filter and connections: one line for each.

use super::{columns, process, safe, some};
use crate::inspect::{
    Chain, Connection, Conntrack, Firewall, Neighbour, Route, Rule, Socket, Tuple, routes::table,
};

/// As `ip route` writes them.
pub(super) fn routes(routes: &[Route]) -> Vec<String> {
    let lines = routes.iter().flat_map(|route| {
        let mut parts = Vec::new();
        if route.kind != "unicast" {
            parts.push(route.kind.clone());
        }
        parts.push(route.destination.clone());
        parts.extend(route.gateway.map(|gateway| format!("via {gateway}")));
        parts.extend(
            route
                .device
                .as_deref()
                .map(|device| format!("dev {}", safe(device))),
        );
        if route.table != u32::from(libc::RT_TABLE_MAIN) {
            parts.push(format!("table {}", table(route.table)));
        }
        parts.push(format!("proto {}", route.protocol));
        if route.scope != "global" {
            parts.push(format!("scope {}", route.scope));
        }
        parts.extend(route.source.map(|source| format!("src {source}")));
        parts.extend(route.metric.map(|metric| format!("metric {metric}")));
        parts.extend(route.flags.iter().map(|flag| (*flag).to_owned()));
        let hops = route.hops.iter().map(|hop| {
            let mut parts = vec!["    nexthop".to_owned()];
            parts.extend(hop.gateway.map(|gateway| format!("via {gateway}")));
            parts.extend(
                hop.device
                    .as_deref()
                    .map(|device| format!("dev {}", safe(device))),
            );
            parts.push(format!("weight {}", hop.weight));
            parts.join(" ")
        });
        std::iter::once(parts.join(" "))
            .chain(hops)
            .collect::<Vec<_>>()
    });
    some(lines.collect(), 0)
}

/// Those that every namespace has are one line.
pub(super) fn rules(rules: &[Rule]) -> Vec<String> {
    let usual = |rule: &&Rule| {
        rule.selector == "from all"
            && matches!(
                (rule.priority, rule.action.as_str()),
                (0, "lookup local") | (32766, "lookup main") | (32767, "lookup default")
            )
    };
    if rules.is_empty() {
        return Vec::new();
    }
    if rules.iter().all(|rule| usual(&rule)) {
        return vec!["the usual ones: lookup local, main, default".to_owned()];
    }
    let line = |rule: &Rule| {
        let family = if rule.family == 4 { "IPv4" } else { "IPv6" };
        format!(
            "{family} {:>5}: {} {}",
            rule.priority,
            safe(&rule.selector),
            rule.action
        )
    };
    some(rules.iter().map(line).collect(), 0)
}

pub(super) fn neighbours(neighbours: &[Neighbour]) -> Vec<String> {
    if neighbours.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![["address", "device", "mac", "state"].map(str::to_owned)];
    rows.extend(neighbours.iter().map(|one| {
        [
            one.address.to_string(),
            safe(&one.device),
            one.mac.clone().unwrap_or_default(),
            one.state.to_owned(),
        ]
    }));
    some(columns(rows, &[]), 1)
}

pub(super) fn sockets(sockets: &[Socket]) -> Vec<String> {
    if sockets.is_empty() {
        return Vec::new();
    }
    let head = [
        "",
        "state",
        "recv-q",
        "send-q",
        "local",
        "remote",
        "processes",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(sockets.iter().map(|socket| {
        let local = socket.local.map(|local| local.to_string());
        let device = socket
            .device
            .as_deref()
            .map(|device| format!("on {}", safe(device)));
        let mut holders: Vec<String> = socket
            .processes
            .iter()
            .take(3)
            .map(|holder| process(&holder.process))
            .collect();
        if socket.processes.len() > holders.len() {
            holders.push("…".to_owned());
        }
        [
            socket.protocol.to_owned(),
            socket.state.to_owned(),
            socket.receive_queue.to_string(),
            socket.send_queue.to_string(),
            local.or(device).unwrap_or_default(),
            socket
                .remote
                .map_or_else(String::new, |remote| remote.to_string()),
            holders.join(", "),
        ]
    }));
    some(columns(rows, &[2, 3]), 1)
}

pub(super) fn firewall(firewall: &Firewall) -> Vec<String> {
    let mut lines = Vec::new();
    for table in &firewall.tables {
        let sets = match table.sets {
            0 => String::new(),
            sets => format!(", {sets} sets"),
        };
        lines.push(format!(
            "{} {} {}{sets}",
            table.by,
            table.family,
            safe(&table.name)
        ));
        let mut rows = vec![Default::default()];
        rows.extend(table.chains.iter().map(chain));
        let chains = columns(rows, &[]).split_off(1);
        lines.extend(chains.into_iter().map(|chain| format!("  {chain}")));
    }
    some(lines, 0)
}

fn chain(chain: &Chain) -> [String; 5] {
    let hook = chain.hook.as_deref().map(|hook| {
        let priority = chain
            .priority
            .map_or_else(String::new, |priority| format!(" {priority}"));
        format!("at {}{priority}", safe(hook))
    });
    let rules = if chain.rules == 1 { "rule" } else { "rules" };
    [
        safe(&chain.name),
        hook.unwrap_or_default(),
        chain
            .policy
            .as_deref()
            .map_or_else(String::new, |policy| format!("policy {}", safe(policy))),
        format!("{} {rules}", chain.rules),
        chain
            .packets
            .map_or_else(String::new, |packets| format!("{packets} packets counted")),
    ]
}

pub(super) fn conntrack(conntrack: &Conntrack) -> Vec<String> {
    if conntrack.count == 0 {
        return Vec::new();
    }
    let most = conntrack
        .max
        .map_or_else(String::new, |max| format!(" of at most {max}"));
    let mut lines = vec![format!("{} tracked{most}", conntrack.count)];
    let rows = conntrack.entries.iter().map(connection);
    let rows: Vec<_> = std::iter::once(Default::default()).chain(rows).collect();
    lines.extend(columns(rows, &[]).split_off(1));
    some(lines, 1)
}

fn connection(connection: &Connection) -> [String; 5] {
    let mut notes = Vec::new();
    if !connection.replied {
        notes.push("no answer yet".to_owned());
    }
    notes.extend(connection.mark.map(|mark| format!("mark {mark:#x}")));
    notes.extend(connection.zone.map(|zone| format!("zone {zone}")));
    [
        connection.protocol.clone(),
        connection.state.unwrap_or_default().to_owned(),
        tuple(&connection.original),
        if connection.is_translated() {
            format!("answers {}", tuple(&connection.reply))
        } else {
            String::new()
        },
        notes.join(", "),
    ]
}

fn tuple(tuple: &Tuple) -> String {
    let end = |address: std::net::IpAddr, port: Option<u16>| match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    let [from, to] = tuple.ports.map_or([None; 2], |ports| ports.map(Some));
    format!(
        "{} -> {}",
        end(tuple.source, from),
        end(tuple.destination, to)
    )
}
