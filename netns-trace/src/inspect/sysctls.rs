//! The settings of the protocol stack that decide where packets go and who may do what, as far as
//! each namespace has its own. Reads only.

use std::{collections::BTreeMap, fs};

use serde::Serialize;

/// Those that matter, by their paths under /proc/sys/net.
const SETTINGS: [&str; 29] = [
    "core/somaxconn",
    "ipv4/conf/all/accept_local",
    "ipv4/conf/all/arp_ignore",
    "ipv4/conf/all/forwarding",
    "ipv4/conf/all/proxy_arp",
    "ipv4/conf/all/route_localnet",
    "ipv4/conf/all/rp_filter",
    "ipv4/conf/default/rp_filter",
    "ipv4/fwmark_reflect",
    "ipv4/icmp_echo_ignore_all",
    "ipv4/ip_default_ttl",
    "ipv4/ip_forward",
    "ipv4/ip_local_port_range",
    "ipv4/ip_nonlocal_bind",
    "ipv4/ip_unprivileged_port_start",
    "ipv4/ping_group_range",
    "ipv4/tcp_congestion_control",
    "ipv4/tcp_ecn",
    "ipv4/tcp_keepalive_time",
    "ipv4/tcp_mtu_probing",
    "ipv4/tcp_rmem",
    "ipv4/tcp_syncookies",
    "ipv4/tcp_timestamps",
    "ipv4/tcp_tw_reuse",
    "ipv4/tcp_wmem",
    "ipv6/conf/all/disable_ipv6",
    "ipv6/conf/all/forwarding",
    "bridge/bridge-nf-call-ip6tables",
    "bridge/bridge-nf-call-iptables",
];

/// Those of each interface, by protocol and name.
const OF_INTERFACE: [(&str, &str); 7] = [
    ("ipv4", "accept_local"),
    ("ipv4", "arp_ignore"),
    ("ipv4", "forwarding"),
    ("ipv4", "proxy_arp"),
    ("ipv4", "rp_filter"),
    ("ipv6", "accept_ra"),
    ("ipv6", "disable_ipv6"),
];

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sysctl {
    /// As `sysctl` writes it: `net.ipv4.ip_forward`. Not safe to print, as an interface's name may
    /// be part of it.
    pub name: String,
    /// What it is set to, with single blanks.
    pub value: String,
    /// What the initial namespace has, where that is something else; of an interface's setting, what
    /// new interfaces of its namespace get.
    pub usual: Option<String>,
}

/// What is set, by name.
pub(super) type Values = BTreeMap<String, String>;

/// The settings of the calling thread's namespace: /proc/sys/net shows those of whoever opens it.
pub(super) fn values_here() -> Values {
    SETTINGS
        .iter()
        .filter_map(|path| Some((dotted(path), read(path)?)))
        .collect()
}

/// Those of these interfaces that differ from what new interfaces get.
pub(super) fn odd_ones_here(interfaces: &[String]) -> Vec<Sysctl> {
    let mut odd = Vec::new();
    for (protocol, setting) in OF_INTERFACE {
        let Some(usual) = read(&format!("{protocol}/conf/default/{setting}")) else {
            continue;
        };
        for interface in interfaces.iter().filter(|name| *name != "lo") {
            let value = read(&format!("{protocol}/conf/{interface}/{setting}"));
            if let Some(value) = value.filter(|value| *value != usual) {
                odd.push(Sysctl {
                    name: format!("net.{protocol}.conf.{interface}.{setting}"),
                    value,
                    usual: Some(usual.clone()),
                });
            }
        }
    }
    odd
}

/// The values with what the initial namespace has instead.
pub(super) fn compared(values: Values, host: Option<&Values>) -> Vec<Sysctl> {
    let usual = |name: &String, value: &String| {
        host.and_then(|host| host.get(name))
            .filter(|usual| *usual != value)
            .cloned()
    };
    values
        .into_iter()
        .map(|(name, value)| Sysctl {
            usual: usual(&name, &value),
            name,
            value,
        })
        .collect()
}

/// A number among the settings of connection tracking, in the calling thread's namespace.
pub(super) fn number_here(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

fn dotted(path: &str) -> String {
    format!("net.{}", path.replace('/', "."))
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/net/{path}")).ok()?;
    Some(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_the_host_is_marked() {
        let values = |forward: &str| {
            Values::from([
                ("net.ipv4.ip_forward".to_owned(), forward.to_owned()),
                ("net.core.somaxconn".to_owned(), "4096".to_owned()),
            ])
        };
        let list = compared(values("0"), Some(&values("1")));
        assert_eq!(list[0].usual, None);
        assert_eq!(list[1].usual.as_deref(), Some("1"));
        assert!(
            compared(values("0"), None)
                .iter()
                .all(|sysctl| sysctl.usual.is_none())
        );
    }

    #[test]
    fn our_own_settings_are_read() {
        let values = values_here();
        assert!(values.contains_key("net.ipv4.ip_forward"), "{values:?}");
        let range = &values["net.ipv4.ip_local_port_range"];
        assert_eq!(range.split(' ').count(), 2, "{range}");
    }
}
