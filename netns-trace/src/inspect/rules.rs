//! The rules that choose a routing table, as `ip rule` lists them. Reads only.

use serde::Serialize;

use super::routes::{HEADER, each_family, family, route_kind, table};
use crate::topology::netlink::{self, Netlink, NetlinkError, attribute, text, u16_at, u32_at};

/// FRA_*; include/uapi/linux/fib_rules.h.
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_L3MDEV: u16 = 19;
const FRA_UID_RANGE: u16 = 20;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
const FIB_RULE_INVERT: u32 = 2;

/// A rule that chooses a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// 4 or 6.
    pub family: u8,
    /// Lower ones are asked first.
    pub priority: u32,
    /// What a packet must be like, as `ip rule` writes it: `from 10.0.0.0/8 fwmark 0x1`. Not safe
    /// to print.
    pub selector: String,
    /// What is done then, as `ip rule` writes it: `lookup main`.
    pub action: String,
}

/// The rules of the calling thread's namespace.
pub(super) fn rules_here(netlink: &mut Netlink) -> Result<(Vec<Rule>, usize), NetlinkError> {
    each_family(netlink, libc::RTM_GETRULE, read_rule)
}

// struct fib_rule_hdr and FRA_*; include/uapi/linux/fib_rules.h.
pub(crate) fn read_rule(body: &[u8]) -> Option<Rule> {
    let header = body.get(..HEADER)?;
    let family = family(header[0])?;
    let attributes = &body[HEADER..];
    let get = |kind| attribute(attributes, kind);
    let number = |kind| get(kind).and_then(|value| u32_at(value, 0));
    let prefix = |kind, bits: u8| {
        let address = get(kind).and_then(netlink::address);
        address.map(|address| format!("{address}/{bits}"))
    };
    let mut selector: Vec<String> = Vec::new();
    if u32_at(header, 8)? & FIB_RULE_INVERT != 0 {
        selector.push("not".to_owned());
    }
    let from = prefix(FRA_SRC, header[2]);
    selector.push(format!("from {}", from.as_deref().unwrap_or("all")));
    if let Some(to) = prefix(FRA_DST, header[1]) {
        selector.push(format!("to {to}"));
    }
    if header[3] != 0 {
        selector.push(format!("tos {:#04x}", header[3]));
    }
    if let Some(mark) = number(FRA_FWMARK).filter(|_| number(FRA_FWMASK) != Some(0)) {
        let mask = number(FRA_FWMASK).filter(|&mask| mask != u32::MAX);
        let mask = mask.map_or_else(String::new, |mask| format!("/{mask:#x}"));
        selector.push(format!("fwmark {mark:#x}{mask}"));
    }
    for (word, kind) in [("iif", FRA_IIFNAME), ("oif", FRA_OIFNAME)] {
        if let Some(device) = get(kind) {
            selector.push(format!("{word} {}", text(device)));
        }
    }
    if get(FRA_L3MDEV)
        .and_then(|value| value.first().copied())
        .unwrap_or(0)
        != 0
    {
        selector.push("l3mdev".to_owned());
    }
    if let Some(range) = get(FRA_UID_RANGE) {
        selector.push(format!(
            "uidrange {}-{}",
            u32_at(range, 0)?,
            u32_at(range, 4)?
        ));
    }
    if let Some(number) = get(FRA_IP_PROTO).and_then(|value| value.first().copied()) {
        selector.push(format!("ipproto {}", super::protocol_name(number)));
    }
    for (word, kind) in [("sport", FRA_SPORT_RANGE), ("dport", FRA_DPORT_RANGE)] {
        if let Some(range) = get(kind) {
            let (first, last) = (u16_at(range, 0)?, u16_at(range, 2)?);
            let last = if first == last {
                String::new()
            } else {
                format!("-{last}")
            };
            selector.push(format!("{word} {first}{last}"));
        }
    }
    let number_of_table = number(FRA_TABLE).unwrap_or(u32::from(header[4]));
    let mut action = match header[7] {
        1 if number_of_table == 0 => "lookup the device's table".to_owned(),
        1 => format!("lookup {}", table(number_of_table)),
        2 => format!("goto {}", number(FRA_GOTO).unwrap_or(0)),
        3 => "nop".to_owned(),
        6..=8 => route_kind(header[7]),
        other => format!("action {other}"),
    };
    if let Some(bits) = number(FRA_SUPPRESS_PREFIXLEN).filter(|&bits| bits != u32::MAX) {
        action.push_str(&format!(" suppress_prefixlength {bits}"));
    }
    Some(Rule {
        family,
        priority: number(FRA_PRIORITY).unwrap_or(0),
        selector: selector.join(" "),
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::netlink::write_attribute as attr;

    #[test]
    fn a_rule_reads_as_ip_writes_it() {
        let mut body = vec![libc::AF_INET as u8, 0, 8, 0, 0, 0, 0, 1, 2, 0, 0, 0];
        body.extend(attr(FRA_SRC, &[10, 0, 0, 0]));
        body.extend(attr(FRA_PRIORITY, &7_u32.to_ne_bytes()));
        body.extend(attr(FRA_FWMARK, &0x10_u32.to_ne_bytes()));
        body.extend(attr(FRA_FWMASK, &0xff_u32.to_ne_bytes()));
        body.extend(attr(FRA_IIFNAME, b"eth0\0"));
        body.extend(attr(FRA_DPORT_RANGE, &[80, 0, 80, 0]));
        body.extend(attr(FRA_TABLE, &254_u32.to_ne_bytes()));
        let rule = read_rule(&body).expect("a rule");
        assert_eq!(rule.priority, 7);
        assert_eq!(
            rule.selector,
            "not from 10.0.0.0/8 fwmark 0x10/0xff iif eth0 dport 80"
        );
        assert_eq!(rule.action, "lookup main");
        for end in 0..body.len() {
            assert_eq!(read_rule(&body[..end]).is_some(), end >= HEADER, "{end}");
        }
    }
}
