//! The packet filter of a namespace: nftables by the host's `nft`, and the tables of the older
//! iptables by its `save` commands, where such are in use. Reads only: what no tool shows without
//! setting something up is not asked for.

use std::fs;

use serde::Serialize;
use serde_json::Value;

use super::tool::{ToolError, run_here};

/// What filters and translates packets.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Firewall {
    /// Every table, with its chains.
    pub tables: Vec<Table>,
    /// The whole of nftables' rules, as `nft -j list ruleset` prints them.
    pub nftables: Option<Value>,
    /// What `iptables-save -c` of the older kind prints.
    pub iptables: Option<String>,
    /// As that, of IPv6.
    pub ip6tables: Option<String>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// `nftables`, `iptables` or `ip6tables`.
    pub by: &'static str,
    /// `ip`, `ip6`, `inet`, `bridge` and so on.
    pub family: String,
    /// Its name. Not safe to print.
    pub name: String,
    /// Its chains.
    pub chains: Vec<Chain>,
    /// Sets and maps in it.
    pub sets: usize,
}

/// A chain of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Its name. Not safe to print.
    pub name: String,
    /// Where packets come into it: `input`, `prerouting` and so on; none of a chain that only
    /// others jump to.
    pub hook: Option<String>,
    /// Lower ones come first at the same hook.
    pub priority: Option<i64>,
    /// What becomes of a packet that no rule decides on.
    pub policy: Option<String>,
    /// How many rules it has.
    pub rules: usize,
    /// How many packets the counters of its rules have counted, where there are any.
    pub packets: Option<u64>,
}

/// The packet filter of the calling thread's namespace, with sentences about what could not be had.
pub(super) fn firewall_here() -> (Firewall, Vec<String>) {
    let mut firewall = Firewall::default();
    let mut missing = Vec::new();
    match run_here(&["nft"], &["-j", "list", "ruleset"]) {
        Ok(text) => match serde_json::from_str::<Value>(&text) {
            Ok(ruleset) => {
                firewall.tables = nftables(&ruleset);
                firewall.nftables = Some(ruleset);
            }
            Err(why) => missing.push(format!(
                "nftables rules are missing: nft's JSON is odd: {why}"
            )),
        },
        Err(ToolError::NotInstalled) => missing.push(
            "nftables rules are missing: nft is not installed (apt-get install nftables)"
                .to_owned(),
        ),
        Err(why) => missing.push(format!("nftables rules are missing: nft: {why}")),
    }
    for (by, family, names, tools) in [
        (
            "iptables",
            "ip",
            "ip_tables_names",
            ["iptables-legacy-save", "iptables-save"],
        ),
        (
            "ip6tables",
            "ip6",
            "ip6_tables_names",
            ["ip6tables-legacy-save", "ip6tables-save"],
        ),
    ] {
        // Asked without need, the tool would set its tables up.
        let names = fs::read_to_string(format!("/proc/thread-self/net/{names}"));
        if !names.is_ok_and(|names| !names.trim().is_empty()) {
            continue;
        }
        match run_here(&tools, &["-c"]) {
            Ok(text) => {
                firewall.tables.extend(iptables(by, family, &text));
                let kept = match by {
                    "iptables" => &mut firewall.iptables,
                    _ => &mut firewall.ip6tables,
                };
                *kept = Some(text);
            }
            Err(ToolError::NotInstalled) => missing.push(format!(
                "{by} rules are missing: {} is not installed (apt-get install iptables)",
                tools[0]
            )),
            Err(why) => missing.push(format!("{by} rules are missing: {}: {why}", tools[0])),
        }
    }
    (firewall, missing)
}

/// Tables and chains of a ruleset in JSON; libnftables-json(5).
pub(crate) fn nftables(ruleset: &Value) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for item in ruleset["nftables"].as_array().into_iter().flatten() {
        let Some((kind, item)) = item.as_object().and_then(|item| item.iter().next()) else {
            continue;
        };
        let (family, name) = (text(&item["family"]), text(&item["table"]));
        let found = tables
            .iter_mut()
            .find(|table| table.family == family && table.name == name);
        match (kind.as_str(), found) {
            ("table", _) => tables.push(Table {
                by: "nftables",
                family,
                name: text(&item["name"]),
                chains: Vec::new(),
                sets: 0,
            }),
            ("chain", Some(table)) => table.chains.push(Chain {
                name: text(&item["name"]),
                hook: item["hook"].as_str().map(str::to_owned),
                priority: item["prio"].as_i64(),
                policy: item["policy"].as_str().map(str::to_owned),
                ..Chain::default()
            }),
            ("rule", Some(table)) => {
                let chain = item["chain"].as_str().unwrap_or_default();
                if let Some(chain) = table.chains.iter_mut().find(|found| found.name == chain) {
                    chain.rules += 1;
                    for expression in item["expr"].as_array().into_iter().flatten() {
                        if let Some(packets) = expression["counter"]["packets"].as_u64() {
                            let sum = chain.packets.unwrap_or(0);
                            chain.packets = Some(sum.saturating_add(packets));
                        }
                    }
                }
            }
            ("set" | "map", Some(table)) => table.sets += 1,
            _ => {}
        }
    }
    tables
}

/// Tables and chains as `iptables-save -c` prints them; iptables-save(8).
pub(crate) fn iptables(by: &'static str, family: &str, text: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            tables.push(Table {
                by,
                family: family.to_owned(),
                name: name.trim().to_owned(),
                chains: Vec::new(),
                sets: 0,
            });
            continue;
        }
        let Some(table) = tables.last_mut() else {
            continue;
        };
        if let Some(chain) = line.strip_prefix(':') {
            let mut fields = chain.split_ascii_whitespace();
            let name = fields.next().unwrap_or_default().to_owned();
            // A chain of the user's has none.
            let policy = fields.next().filter(|policy| *policy != "-");
            table.chains.push(Chain {
                hook: policy.map(|_| name.to_ascii_lowercase()),
                policy: policy.map(str::to_ascii_lowercase),
                name,
                ..Chain::default()
            });
        } else if let Some((packets, rule)) = counted_rule(line)
            && let Some(chain) = table.chains.iter_mut().find(|chain| chain.name == rule)
        {
            chain.rules += 1;
            chain.packets = Some(chain.packets.unwrap_or(0).saturating_add(packets));
        }
    }
    tables
}

/// `[5:420] -A INPUT …`: packets, and the chain.
fn counted_rule(line: &str) -> Option<(u64, &str)> {
    let (counters, rule) = line.strip_prefix('[')?.split_once("] -A ")?;
    let packets = counters.split(':').next()?.parse().ok()?;
    Some((packets, rule.split(' ').next()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_of_nftables_are_counted() {
        let ruleset = json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "ip", "name": "nat", "handle": 1}},
            {"chain": {"family": "ip", "table": "nat", "name": "out", "type": "nat",
                       "hook": "output", "prio": -100, "policy": "accept"}},
            {"chain": {"family": "ip", "table": "nat", "name": "mine"}},
            {"set": {"family": "ip", "table": "nat", "name": "s"}},
            {"rule": {"family": "ip", "table": "nat", "chain": "out", "expr": [
                {"counter": {"packets": 5, "bytes": 9}}, {"accept": null}]}},
            {"rule": {"family": "ip", "table": "nat", "chain": "out", "expr": [
                {"counter": {"packets": 2, "bytes": 9}}, {"xt": null}]}},
            {"rule": {"family": "ip", "table": "gone", "chain": "out", "expr": 7}},
            7, {}, {"rule": []},
        ]});
        let tables = nftables(&ruleset);
        assert_eq!(tables.len(), 1);
        assert_eq!((tables[0].name.as_str(), tables[0].sets), ("nat", 1));
        let [out, mine] = &tables[0].chains[..] else {
            panic!("{tables:?}");
        };
        assert_eq!(
            (out.hook.as_deref(), out.priority),
            (Some("output"), Some(-100))
        );
        assert_eq!((out.rules, out.packets), (2, Some(7)));
        assert_eq!(
            (mine.hook.as_deref(), mine.rules, mine.packets),
            (None, 0, None)
        );
        assert!(nftables(&json!("rubbish")).is_empty());
    }

    #[test]
    fn rules_of_iptables_are_counted() {
        let text = "# Generated\n*filter\n:INPUT DROP [3:180]\n:mine - [0:0]\n\
                    [5:420] -A INPUT -i lo -j ACCEPT\n[1:20] -A INPUT -j mine\n\
                    -A INPUT -j uncounted\n[x:1] -A INPUT\nCOMMIT\n";
        let tables = iptables("iptables", "ip", text);
        let [input, mine] = &tables[0].chains[..] else {
            panic!("{tables:?}");
        };
        assert_eq!(input.policy.as_deref(), Some("drop"));
        assert_eq!((input.rules, input.packets), (2, Some(6)));
        assert_eq!((mine.policy.as_deref(), mine.rules), (None, 0));
    }
}
