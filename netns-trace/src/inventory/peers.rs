//! The other ends of all pairs at once, and the devices that others sit on.
//!
//! Two ends name each other's index, and their namespaces by numbers that mean nothing elsewhere. So
//! an end's candidates are those that name its index back; where there are several, the kernel tells
//! name and address of the right one; and the number is asked for to be sure (RTM_GETNSID). Each
//! namespace is entered once at most, those with many pairs first: what is found there is known from
//! the other side as well.

use std::{cmp::Reverse, collections::HashMap};

use super::references::Reference;
use crate::{
    netns::NetNs,
    topology::{Link, TopologyError, link_there, netlink::Netlink, nsid},
};

/// Most questions after a namespace's number. Thousands of namespaces that are alike in all (indices,
/// names, addresses) would need the square of their number.
const MOST_ASKED: usize = 50_000;

/// The other end of a pair, or the device that an interface sits on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The inode of its namespace; `None` when nothing that we can see leads to that.
    pub netns_inode: Option<u64>,
    /// The number by which the interface's own namespace knows the peer's; `None` where both are the
    /// same.
    pub nsid: Option<i32>,
    /// Its index there.
    pub index: u32,
    /// Its name there, where the kernel tells. Not safe to print.
    pub name: Option<String>,
    /// The name of the bridge, or other device, that it is a port of. Not safe to print.
    pub master: Option<String>,
}

type Links = Result<Vec<Link>, TopologyError>;
/// Which namespace, and the index of an interface there.
type End = (usize, u32);

/// The peers by the interface that has them, and what is to be said of the search.
pub(super) fn find(namespaces: &[Reference], links: &[Links]) -> (HashMap<End, Peer>, Vec<String>) {
    let places: Vec<Place<'_>> = namespaces
        .iter()
        .zip(links)
        .map(|(reference, links)| Place {
            reference,
            links: links.as_deref().unwrap_or_default(),
        })
        .collect();
    let mut search = Search {
        by_indices: HashMap::new(),
        found: HashMap::new(),
        asked: 0,
        places: &places,
    };
    for (at, place) in places.iter().enumerate() {
        search.within(at);
        for link in place.abroad().filter(|link| link.kind.is_pair()) {
            let indices = (link.index, link.peer_index.unwrap_or(0));
            search.by_indices.entry(indices).or_default().push(at);
        }
    }
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_cached_key(|&at| Reverse(places[at].abroad().count()));
    for at in order {
        search.abroad(at);
    }
    let mut notes = Vec::new();
    if search.asked >= MOST_ASKED {
        notes.push(
            "there are too many pairs that look alike; the other ends of some are not told"
                .to_owned(),
        );
    }
    (search.found, notes)
}

struct Place<'a> {
    reference: &'a Reference,
    links: &'a [Link],
}

impl<'a> Place<'a> {
    /// The interfaces that name one of another namespace.
    fn abroad(&self) -> impl Iterator<Item = &'a Link> + use<'a> {
        self.links
            .iter()
            .filter(|link| link.peer_netnsid.is_some() && link.peer_index.is_some_and(|i| i != 0))
    }

    fn link(&self, index: u32) -> Option<&'a Link> {
        self.links.iter().find(|link| link.index == index)
    }
}

struct Search<'a> {
    places: &'a [Place<'a>],
    /// Where there is a pair's end with this index that names that one.
    by_indices: HashMap<(u32, u32), Vec<usize>>,
    found: HashMap<End, Peer>,
    /// How many numbers have been asked for.
    asked: usize,
}

impl Search<'_> {
    /// Pairs with both ends in one namespace, and devices on others there.
    fn within(&mut self, at: usize) {
        let place = &self.places[at];
        for link in place
            .links
            .iter()
            .filter(|link| link.peer_netnsid.is_none())
        {
            let index = link.peer_index.filter(|&i| i != 0 && i != link.index);
            let Some(peer) = index.and_then(|index| place.link(index)) else {
                continue;
            };
            if !link.kind.is_pair() || peer.peer_index == Some(link.index) {
                let peer = self.peer(at, peer, None);
                self.found.insert((at, link.index), peer);
            }
        }
    }

    /// The others of one namespace.
    fn abroad(&mut self, at: usize) {
        let place = &self.places[at];
        let open: Vec<&Link> = place
            .abroad()
            .filter(|link| !self.found.contains_key(&(at, link.index)))
            .collect();
        if open.is_empty() {
            return;
        }
        let looked = place.reference.within(|| -> Result<(), TopologyError> {
            let mut inside = Inside {
                at,
                netlink: Netlink::route().map_err(|error| TopologyError::Netlink {
                    operation: "open a netlink socket",
                    source: error.into(),
                })?,
                numbers: HashMap::new(),
                by_number: HashMap::new(),
            };
            for link in open {
                self.one(&mut inside, link);
            }
            Ok(())
        });
        // One that went meanwhile has its peers left out.
        if let Err(why) = looked.map_err(TopologyError::from).flatten() {
            log::debug!("inode {}: {why}", place.reference.inode);
        }
    }

    fn one(&mut self, inside: &mut Inside, link: &Link) {
        let (Some(index), Some(id)) = (link.peer_index, link.peer_netnsid) else {
            return;
        };
        // Below 0 the kernel gives no number: it may have run out of memory for one.
        let there = if id < 0 {
            None
        } else {
            match self.search(inside, link, index, id) {
                Ok(found) => {
                    let Some(peer) = self.places[found].link(index) else {
                        return;
                    };
                    self.join(inside.at, link, found, peer, id);
                    return;
                }
                Err(there) => there,
            }
        };
        let master = there.as_ref().and_then(|there| there.master);
        let master = master.and_then(|index| inside.link_there(id, index));
        let peer = Peer {
            netns_inode: None,
            nsid: Some(id),
            index,
            name: there.map(|there| there.name),
            master: master.map(|master| master.name),
        };
        self.found.insert((inside.at, link.index), peer);
    }

    /// Which namespace the number `id` means; otherwise what the kernel tells of the peer.
    fn search(
        &mut self,
        inside: &mut Inside,
        link: &Link,
        index: u32,
        id: i32,
    ) -> Result<usize, Option<Link>> {
        if let Some(&known) = inside.by_number.get(&id) {
            return Ok(known);
        }
        let mut candidates = self.candidates(inside.at, link, index);
        let mut there = None;
        if candidates.len() != 1 {
            there = inside.link_there(id, index);
            if let Some(there) = &there {
                candidates.retain(|&at| {
                    self.places[at]
                        .link(index)
                        .is_some_and(|other| (&other.name, other.mac) == (&there.name, there.mac))
                });
            }
        }
        for at in candidates {
            if !inside.numbers.contains_key(&at) {
                if self.asked == MOST_ASKED {
                    break;
                }
                self.asked += 1;
                let number = inside.number_of(self.places[at].reference);
                inside.numbers.insert(at, number);
                if let Some(number) = number {
                    inside.by_number.insert(number, at);
                }
            }
            if inside.numbers.get(&at) == Some(&Some(id)) {
                return Ok(at);
            }
        }
        Err(there.or_else(|| inside.link_there(id, index)))
    }

    /// Where the other end can be: with a pair, where an end names this one back; otherwise in the
    /// host's namespace, which is where devices of containers sit on others.
    fn candidates(&self, at: usize, link: &Link, index: u32) -> Vec<usize> {
        if !link.kind.is_pair() {
            let is_host = |other: &usize| self.places[*other].reference.is_host;
            return (0..self.places.len()).filter(is_host).collect();
        }
        let back = self.by_indices.get(&(index, link.index));
        back.into_iter()
            .flatten()
            .copied()
            .filter(|&other| other != at && !self.found.contains_key(&(other, index)))
            .collect()
    }

    fn join(&mut self, at: usize, link: &Link, other: usize, peer: &Link, id: i32) {
        if link.kind.is_pair() {
            if peer.peer_index != Some(link.index) {
                return; // another device has the index by now
            }
            let back = self.peer(at, link, peer.peer_netnsid);
            self.found.insert((other, peer.index), back);
        }
        let peer = self.peer(other, peer, Some(id));
        self.found.insert((at, link.index), peer);
    }

    fn peer(&self, at: usize, link: &Link, nsid: Option<i32>) -> Peer {
        let place = &self.places[at];
        let master = link.master.and_then(|index| place.link(index));
        Peer {
            netns_inode: Some(place.reference.inode),
            nsid,
            index: link.index,
            name: Some(link.name.clone()),
            master: master.map(|master| master.name.clone()),
        }
    }
}

/// What is asked from inside one namespace.
struct Inside {
    at: usize,
    netlink: Netlink,
    /// The numbers of other namespaces, as far as asked.
    numbers: HashMap<usize, Option<i32>>,
    by_number: HashMap<i32, usize>,
}

impl Inside {
    /// A namespace that went meanwhile has no number.
    fn number_of(&mut self, reference: &Reference) -> Option<i32> {
        let other = reference.open_with(NetNs::open_plain).ok()?;
        nsid(&mut self.netlink, &other).ok()?
    }

    /// Kernels before 4.15, and the lack of rights there, cost the peer's name.
    fn link_there(&mut self, id: i32, index: u32) -> Option<Link> {
        link_there(&mut self.netlink, id, index).ok()?
    }
}
