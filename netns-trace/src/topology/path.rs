//! The way of a packet out of a namespace: which interfaces it passes, and where they are.

use std::{fmt, sync::Arc};

use super::{
    TopologyError,
    link::{Link, LinkKind, default_route_here, links},
    peer::find_peer,
};
use crate::netns::NetNs;

/// What an interface is on the way of the target's packets.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Role {
    /// The target's own interface.
    Inside,
    /// The other end of its pair, usually on the host.
    Veth,
    /// The bridge that the host side is a port of.
    Bridge,
    /// The device of the default route beyond the bridge.
    Uplink,
    /// An interface of another target.
    Peer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inside => "inside",
            Self::Veth => "veth",
            Self::Bridge => "bridge",
            Self::Uplink => "uplink",
            Self::Peer => "peer",
        })
    }
}

/// An interface in its namespace: where a tap goes. Printed as `eth0@web`.
#[derive(Debug, Clone)]
pub struct Site {
    /// What it is on the way.
    pub role: Role,
    /// The namespace that it is in.
    pub ns: Arc<NetNs>,
    /// That namespace's name for people, safe to print.
    pub ns_label: String,
    /// The interface.
    pub link: Link,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.link.printable_name(), self.ns_label)
    }
}

/// A part of the way that is not there, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which part.
    pub role: Role,
    /// A sentence for people, such as "eth0 is a macvlan device: it has no host side".
    pub why: String,
}

/// The interfaces that the target's packets pass, as far as they exist.
#[derive(Debug, Clone)]
pub struct PathMap {
    /// The target's own interface.
    pub inside: Site,
    /// The other end of its pair.
    pub veth: Option<Site>,
    /// The bridge that this is a port of.
    pub bridge: Option<Site>,
    /// The device of the default route in the bridge's namespace, or in the other end's.
    pub uplink: Option<Site>,
    /// Why parts of the way are not there.
    pub missing: Vec<Missing>,
    /// The namespace's other interfaces besides loopback, where nobody named the one to take. Safe to
    /// print.
    pub others: Vec<String>,
}

/// Finds the way of one interface's packets, as [`Survey::discover`] does.
///
/// # Errors
/// As [`Survey::discover`].
pub fn discover(ns: &NetNs, label: &str, iface: Option<&str>) -> Result<PathMap, TopologyError> {
    Survey::default().discover(ns, label, iface)
}

/// Finds the ways of many interfaces, at one moment: what lies outside of them, which is the same for
/// most, is listed once. Holds the namespaces outside open.
#[derive(Debug, Default)]
pub struct Survey {
    outside: Vec<Outside>,
}

/// A namespace that other ends of pairs are in.
#[derive(Debug, Clone)]
pub(super) struct Outside {
    pub(super) ns: Arc<NetNs>,
    pub(super) label: String,
    pub(super) links: Arc<Vec<Link>>,
}

impl Survey {
    /// Finds the way of the packets of one interface of the namespace `ns`, which people call
    /// `label`. Without `iface`, `eth0` is taken, or else the only interface besides loopback.
    ///
    /// What does not exist, such as the host side of a macvlan device, is no error: it is listed in
    /// [`PathMap::missing`].
    ///
    /// # Errors
    /// When there is no such interface, none to choose by itself, or the kernel refuses to list them.
    pub fn discover(
        &mut self,
        ns: &NetNs,
        label: &str,
        iface: Option<&str>,
    ) -> Result<PathMap, TopologyError> {
        let inside_links = links(ns)?;
        let inside = Site {
            role: Role::Inside,
            ns: Arc::new(ns.try_clone()?),
            ns_label: label.to_owned(),
            link: choose(&inside_links, label, iface)?.clone(),
        };
        let mut map = PathMap {
            inside,
            veth: None,
            bridge: None,
            uplink: None,
            missing: Vec::new(),
            others: Vec::new(),
        };
        if iface.is_none() {
            let index = map.inside.link.index;
            let is_other = |link: &&Link| link.index != index && link.kind != LinkKind::Loopback;
            let others = inside_links.iter().filter(is_other);
            map.others = others.map(Link::printable_name).collect();
        }
        let (site, outside) = match find_peer(&map.inside, inside_links, &mut self.outside)? {
            Ok(found) => found,
            Err(why) => {
                let name = map.inside.link.printable_name();
                map.miss(Role::Veth, why);
                map.miss(
                    Role::Bridge,
                    format!("without a host side of {name}, none is known"),
                );
                map.miss(
                    Role::Uplink,
                    format!("without a host side of {name}, none is known"),
                );
                return Ok(map);
            }
        };
        match find_bridge(&site, &outside.links) {
            Ok(bridge) => map.bridge = Some(bridge),
            Err(why) => map.miss(Role::Bridge, why),
        }
        match find_uplink(map.bridge.as_ref().unwrap_or(&site), &site, &outside.links)? {
            Ok(uplink) => map.uplink = Some(uplink),
            Err(why) => map.miss(Role::Uplink, why),
        }
        map.veth = Some(site);
        Ok(map)
    }
}

impl PathMap {
    fn miss(&mut self, role: Role, why: String) {
        self.missing.push(Missing { role, why });
    }

    /// The interfaces that exist, from the inside out.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        std::iter::once(&self.inside)
            .chain(&self.veth)
            .chain(&self.bridge)
            .chain(&self.uplink)
    }
}

fn choose<'a>(
    links: &'a [Link],
    label: &str,
    iface: Option<&str>,
) -> Result<&'a Link, TopologyError> {
    let label = label.to_owned();
    let there = || {
        let names: Vec<String> = links.iter().map(Link::printable_name).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    if let Some(name) = iface {
        return links.iter().find(|link| link.name == name).ok_or_else(|| {
            TopologyError::NoSuchInterface {
                label,
                name: name.to_owned(),
                there: there(),
            }
        });
    }
    if let Some(eth0) = links.iter().find(|link| link.name == "eth0") {
        return Ok(eth0);
    }
    let mut others = links.iter().filter(|link| link.kind != LinkKind::Loopback);
    match (others.next(), others.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(TopologyError::OnlyLoopback { label }),
        _ => Err(TopologyError::Ambiguous {
            label,
            there: there(),
        }),
    }
}

/// A part of the way, or the sentence that says why it is not there.
pub(super) type Found<T> = Result<T, String>;

fn find_bridge(veth: &Site, outside: &[Link]) -> Found<Site> {
    let name = veth.link.printable_name();
    let Some(index) = veth.link.master else {
        return Err(format!(
            "{name}@{} is not a port of a bridge",
            veth.ns_label
        ));
    };
    let Some(master) = outside.iter().find(|link| link.index == index) else {
        return Err(format!(
            "the bridge of {name} went away while we looked for it"
        ));
    };
    if master.kind != LinkKind::Bridge {
        let kind = &master.kind;
        return Err(format!(
            "{name} is a port of {}, which is {} {kind} device and no bridge",
            master.printable_name(),
            article(kind),
        ));
    }
    Ok(Site {
        role: Role::Bridge,
        link: master.clone(),
        ..veth.clone()
    })
}

fn find_uplink(last: &Site, veth: &Site, outside: &[Link]) -> Result<Found<Site>, TopologyError> {
    let label = &veth.ns_label;
    let Some(index) = veth.ns.run(default_route_here)?? else {
        return Ok(Err(format!("{label} has no default route")));
    };
    if index == last.link.index || index == veth.link.index {
        let name = last.link.printable_name();
        return Ok(Err(format!(
            "the default route of {label} leads back through {name}"
        )));
    }
    Ok(match outside.iter().find(|link| link.index == index) {
        Some(link) => Ok(Site {
            role: Role::Uplink,
            link: link.clone(),
            ..veth.clone()
        }),
        None => Err(format!(
            "the default route of {label} changed while we looked for it"
        )),
    })
}

pub(super) fn article(kind: &LinkKind) -> &'static str {
    match kind {
        LinkKind::Ipvlan => "an",
        LinkKind::Other(name) if name.starts_with(['a', 'e', 'i', 'o', 'u']) => "an",
        _ => "a",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: LinkKind) -> Link {
        Link {
            index,
            name: name.into(),
            kind,
            arp_type: 1,
            mac: None,
            mtu: 1500,
            up: true,
            peer_index: None,
            peer_netnsid: None,
            master: None,
            addresses: Vec::new(),
        }
    }

    #[test]
    fn eth0_goes_before_the_others() {
        let lo = link(1, "lo", LinkKind::Loopback);
        let wg = link(2, "wg0", LinkKind::Wireguard);
        let eth0 = link(3, "eth0", LinkKind::Veth);
        let all = [lo.clone(), wg.clone(), eth0];
        assert_eq!(choose(&all, "web", None).expect("eth0").index, 3);
        assert_eq!(choose(&all, "web", Some("wg0")).expect("wg0").index, 2);
        assert_eq!(choose(&[lo, wg], "web", None).expect("wg0").index, 2);
    }

    #[test]
    fn a_choice_that_cannot_be_made_tells_what_there_is() {
        let lo = link(1, "lo", LinkKind::Loopback);
        let a = link(2, "a\x1b", LinkKind::Veth);
        let b = link(3, "b", LinkKind::Veth);
        let text = |links: &[Link], iface| {
            choose(links, "web", iface)
                .expect_err("no choice")
                .to_string()
        };
        assert_eq!(
            text(&[lo.clone(), a, b], None),
            "web has no eth0; choose an interface with -i (it has: lo, a\\u{1b}, b)"
        );
        assert_eq!(
            text(std::slice::from_ref(&lo), None),
            "web has no interface but lo; pass -i lo to watch that"
        );
        assert_eq!(
            text(&[lo], Some("eth\x1b")),
            "web has no interface \"eth\\u{1b}\" (it has: lo)"
        );
        assert_eq!(
            text(&[], Some("eth0")),
            "web has no interface \"eth0\" (it has: none)"
        );
    }
}
