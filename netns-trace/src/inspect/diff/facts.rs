//! What is compared of a report, topic by topic: what each entry is called, and what it is like.
//! Counters, ages and numbers that differ by nature are left out.

use super::Facts;
use crate::inspect::{Report, routes::table};

pub(super) fn interfaces(report: &Report) -> Facts {
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

pub(super) fn addresses(report: &Report) -> Facts {
    let all = report.interfaces.iter().flat_map(|one| {
        let of =
            move |address: &crate::inspect::Address| format!("{} on {}", address.address, one.name);
        one.addresses.iter().map(of)
    });
    all.map(|address| (address, String::new())).collect()
}

pub(super) fn routes(report: &Report) -> Facts {
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

pub(super) fn rules(report: &Report) -> Facts {
    let facts = report.rules.iter().map(|rule| {
        let what = format!("IPv{} {}: {}", rule.family, rule.priority, rule.selector);
        (what, rule.action.clone())
    });
    facts.collect()
}

pub(super) fn resolver(report: &Report) -> Facts {
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

pub(super) fn listening(report: &Report) -> Facts {
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

pub(super) fn firewall(report: &Report) -> Facts {
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

pub(super) fn settings(report: &Report) -> Facts {
    let all = report.sysctls.iter();
    all.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
        .collect()
}

pub(super) fn offloads(report: &Report) -> Facts {
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

pub(super) fn programs(report: &Report) -> Facts {
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
