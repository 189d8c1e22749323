//! What addresses are called, for the file's name resolution blocks: the targets' names are known from
//! the start; those of the machine's other containers and named namespaces come from an inventory, for
//! which nobody waits. Knows names and addresses; writes nothing.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use super::outline::Outline;
use crate::{
    inventory::{Inventory, Namespace},
    topology::{Link, Role},
};

/// Most names that are told of others: some megabytes of the file.
const MOST: usize = 65_536;

/// An address and what it is called. Safe to print.
pub(super) type Named = (IpAddr, String);

/// The names that have been told, and those that are still to come.
#[derive(Debug, Default)]
pub(super) struct Names {
    told: HashMap<IpAddr, String>,
    asked: Option<Receiver<Vec<Named>>>,
}

impl Names {
    /// The targets' own, as far as they are news.
    pub(super) fn of_targets(&mut self, plan: &Outline) -> Vec<Named> {
        let inside = plan.taps.iter();
        let inside = inside.filter(|tap| matches!(tap.role, Role::Inside | Role::Peer));
        let named = inside.flat_map(|tap| {
            let addresses = tap.addresses.iter().copied().filter(means_it_everywhere);
            addresses.map(|address| (address, tap.ns_label.clone()))
        });
        let mut news = Vec::new();
        for (address, name) in named {
            if self.told.get(&address) != Some(&name) {
                self.told.insert(address, name.clone());
                news.push((address, name));
            }
        }
        news
    }

    /// Asks for those of all others.
    pub(super) fn ask(&mut self) {
        let (sender, names) = channel();
        let asked = std::thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || {
                // Nobody waits for them once the capture has ended.
                drop(sender.send(of_all(&Inventory::take().namespaces)));
            });
        match asked {
            Ok(_) => self.asked = Some(names),
            Err(why) => log::warn!("cannot start a thread to ask for names: {why}"),
        }
    }

    /// Those of all others, once, if they come in this time. What a target has been called it is called
    /// still.
    pub(super) fn of_others(&mut self, wait: Duration) -> Vec<Named> {
        let Some(asked) = &self.asked else {
            return Vec::new();
        };
        let mut named = match asked.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => return Vec::new(),
            came => came.unwrap_or_default(),
        };
        self.asked = None;
        named.retain(|(address, _)| !self.told.contains_key(address));
        named.truncate(MOST);
        self.told.extend(named.iter().cloned());
        named
    }
}

/// What each address of the machine is called, sorted. One that differently named namespaces have is
/// nobody's.
fn of_all(namespaces: &[Namespace]) -> Vec<Named> {
    let mut all: HashMap<IpAddr, Option<String>> = HashMap::new();
    for one in namespaces {
        let (Some(label), Ok(interfaces)) = (one.label(), &one.interfaces) else {
            continue;
        };
        for address in interfaces.iter().flat_map(|one| addresses(&one.link)) {
            let name = all.entry(address).or_insert_with(|| Some(label.clone()));
            if name.as_ref() != Some(&label) {
                *name = None;
            }
        }
    }
    let named = all.into_iter();
    let mut named: Vec<Named> = named
        .filter_map(|(address, name)| Some((address, name?)))
        .collect();
    named.sort();
    named
}

/// An interface's addresses that mean it beyond its own namespace.
fn addresses(link: &Link) -> impl Iterator<Item = IpAddr> {
    let all = link.addresses.iter().map(|(address, _)| *address);
    all.filter(means_it_everywhere)
}

fn means_it_everywhere(address: &IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        inventory::{Interface, Name, Reference},
        topology::LinkKind,
    };

    fn namespace(name: Option<&str>, addresses: &[&str]) -> Namespace {
        let link = Link {
            index: 2,
            name: "eth0".to_owned(),
            kind: LinkKind::Veth,
            arp_type: libc::ARPHRD_ETHER,
            mac: None,
            mtu: 1500,
            up: true,
            peer_index: None,
            peer_netnsid: None,
            master: None,
            addresses: addresses
                .iter()
                .map(|text| (text.parse().expect("an address"), 24))
                .collect(),
        };
        let names = name.map(|name| Name {
            name: name.to_owned(),
            path: format!("/run/netns/{name}").into(),
        });
        Namespace {
            reference: Reference {
                names: names.into_iter().collect(),
                ..Reference::default()
            },
            containers: Vec::new(),
            interfaces: Ok(vec![Interface {
                link,
                master: None,
                peer: None,
            }]),
        }
    }

    #[test]
    fn an_address_has_the_name_of_its_only_owner() {
        let all = [
            namespace(Some("a"), &["127.0.0.1", "10.0.0.1", "fd00::1", "::1"]),
            namespace(Some("b"), &["127.0.0.1", "10.0.0.2", "10.0.0.9"]),
            namespace(Some("c\x1b"), &["10.0.0.3", "10.0.0.9"]),
            namespace(None, &["10.0.0.4", "10.0.0.1"]),
        ];
        let told: Vec<String> = of_all(&all)
            .iter()
            .map(|(address, name)| format!("{address} {name}"))
            .collect();
        assert_eq!(
            told,
            ["10.0.0.1 a", "10.0.0.2 b", "10.0.0.3 c\\u{1b}", "fd00::1 a"]
        );
    }

    #[test]
    fn names_come_once_and_never_in_place_of_a_targets() {
        let (sender, asked) = channel();
        let name = |text: &str, name: &str| (text.parse().expect("an address"), name.to_owned());
        let mut names = Names::default();
        names.told.extend([name("10.0.0.1", "target")]);
        assert_eq!(names.of_others(Duration::ZERO), []);
        names.asked = Some(asked);
        assert_eq!(names.of_others(Duration::ZERO), []);
        let others = vec![name("10.0.0.1", "other"), name("10.0.0.2", "other")];
        sender.send(others).expect("it waits");
        assert_eq!(names.of_others(Duration::ZERO), [name("10.0.0.2", "other")]);
        assert_eq!(names.of_others(Duration::ZERO), []);
    }
}
