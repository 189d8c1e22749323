//! Everything about all network namespaces at one moment: references, containers, interfaces. Each
//! namespace is entered for its interfaces, several at a time, and once more at most for the other
//! ends of its pairs (`peers.rs`).

use std::{
    collections::HashMap,
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{
    names::Stale,
    peers::{self, Peer},
    references::{Reference, References, Scope},
};
use crate::{
    container::{Container, Containers, Network},
    netns::NetNsError,
    privilege::{self, Capability, why_denied},
    topology::{Link, TopologyError, links_here},
};

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// What its namespace tells of it.
    pub link: Link,
    /// The name of the bridge, or other device, that it is a port of. Not safe to print.
    pub master: Option<String>,
    /// The other end of a pair, or the device that it sits on.
    pub peer: Option<Peer>,
}

/// A network namespace.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// Who refers to it.
    pub reference: Reference,
    /// The containers in it, the one first that has it of its own.
    pub containers: Vec<Container>,
    /// Its interfaces by index, or why they are not known, as one sentence, safe to print.
    pub interfaces: Result<Vec<Interface>, String>,
}

/// All network namespaces of the machine.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Each once: the host's, those of containers, those with a name, the others.
    pub namespaces: Vec<Namespace>,
    /// Names whose namespace has gone, by path.
    pub stale: Vec<Stale>,
    /// What could not be asked or looked at, in sentences for people.
    pub notes: Vec<String>,
}

impl Inventory {
    /// Looks at everything. Runtimes that do not answer may take it a second and a half.
    #[must_use]
    pub fn take() -> Self {
        thread::scope(|scope| {
            // Runtimes are waited for while the kernel is asked.
            let asked = thread::Builder::new().spawn_scoped(scope, Containers::find);
            let references = References::scan(Scope::ALL);
            let links = all_links(&references.namespaces);
            let containers = match asked.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(containers)) => containers,
                // No thread was to be had.
                Err(_) => Containers::find(),
                Ok(Err(cause)) => std::panic::resume_unwind(cause),
            };
            Self::of(references, links, &containers)
        })
    }

    fn of(
        references: References,
        links: Vec<Result<Vec<Link>, TopologyError>>,
        containers: &Containers,
    ) -> Self {
        let mut notes = references.notes.clone();
        notes.extend(containers.notes().iter().cloned());
        notes.extend(denied(&references));
        notes.extend(not_entered(&links));
        let (mut peers, more) = peers::find(&references.namespaces, &links);
        notes.extend(more);
        let mut namespaces: Vec<Namespace> = references
            .namespaces
            .into_iter()
            .zip(links)
            .zip(0..)
            .map(|((reference, links), at)| Namespace {
                containers: members(&reference, containers),
                reference,
                interfaces: links
                    .map(|links| interfaces(links, at, &mut peers))
                    .map_err(|why| why_not(&why)),
            })
            .collect();
        // A namespace that went while it was looked at is none any more.
        namespaces.retain(|one| one.interfaces.is_ok() || one.reference.is_there());
        namespaces.sort_by_key(|one| (one.rank(), one.reference.inode));
        Self {
            namespaces,
            stale: references.stale,
            notes,
        }
    }
}

impl Namespace {
    /// Whether containers share it with one another, or with the host.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.containers.len() + usize::from(self.reference.is_host) > 1
    }

    /// How it is named to people, where it has a name: `host`, its container's, or the first that
    /// `ip netns` has for it. Safe to print.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        if self.reference.is_host {
            return Some("host".to_owned());
        }
        let named = || self.reference.names.first();
        let container = self.containers.first().map(Container::label);
        container.or_else(|| Some(named()?.name.escape_debug().to_string()))
    }

    fn rank(&self) -> u8 {
        match self {
            one if one.reference.is_host => 0,
            one if !one.containers.is_empty() => 1,
            one if !one.reference.names.is_empty() => 2,
            _ => 3,
        }
    }
}

/// What another user's processes keep from us.
fn denied(references: &References) -> Vec<String> {
    let mut notes = Vec::new();
    // Some processes deny even those who have the right: there is no way out to tell of.
    if references.denied > 0 && !crate::netns::may_look_at_all() {
        let processes = match references.denied {
            1 => "one process".to_owned(),
            count => format!("{count} processes"),
        };
        notes.push(format!(
            "{processes} may not be looked at, and their namespaces may be missing here; {}",
            why_denied(&[Capability::SysPtrace])
        ));
    }
    if !references.namespaces.iter().any(|one| one.is_host) {
        notes.push(format!(
            "which namespace is the host's cannot be told: {}",
            why_denied(&[Capability::SysPtrace])
        ));
    }
    notes
}

/// What is missing where namespaces could not be entered: the table has no room for the way out.
fn not_entered(links: &[Result<Vec<Link>, TopologyError>]) -> Option<String> {
    let mut failed = links.iter().filter_map(|links| links.as_ref().err());
    if !failed.any(is_denied) {
        return None;
    }
    let missing = privilege::missing(&[Capability::SysAdmin]).ok()??;
    Some(format!("interfaces are not seen: {missing}"))
}

fn is_denied(error: &TopologyError) -> bool {
    matches!(error, TopologyError::NetNs(NetNsError::EnterDenied { .. }))
}

/// The interfaces of each namespace.
fn all_links(namespaces: &[Reference]) -> Vec<Result<Vec<Link>, TopologyError>> {
    /// A dump takes the kernel's one lock for interfaces: more threads than this only wait.
    const MOST_THREADS: usize = 4;
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(one) = namespaces.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((one.inode, links_of(one)));
        }
        done
    };
    let mut found: HashMap<u64, Result<Vec<Link>, TopologyError>> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(MOST_THREADS).min(namespaces.len()))
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut found: HashMap<_, _> = work().into_iter().collect();
        for other in others {
            match other.join() {
                Ok(done) => found.extend(done),
                Err(cause) => std::panic::resume_unwind(cause),
            }
        }
        found
    });
    namespaces
        .iter()
        .map(|one| found.remove(&one.inode).unwrap_or_else(|| links_of(one)))
        .collect()
}

fn links_of(reference: &Reference) -> Result<Vec<Link>, TopologyError> {
    reference.within(links_here)?
}

/// Why the interfaces are not known, in few words: the paths are told besides.
fn why_not(error: &TopologyError) -> String {
    if !is_denied(error) {
        return error.to_string();
    }
    match privilege::missing(&[Capability::SysAdmin]) {
        Ok(None) => "not entered: another user namespace owns it".into(),
        // With the way out once, in a note.
        Ok(Some(missing)) => format!("not entered: {}", missing.brief()),
        Err(_) => error.to_string(),
    }
}

/// The containers in a namespace: those of its processes, and those whose runtime keeps a name for it.
fn members(reference: &Reference, containers: &Containers) -> Vec<Container> {
    let is_named = |container: &Container| {
        container.netns.as_ref().is_some_and(|path| {
            let mut names = reference.names.iter().map(|name| &name.path);
            reference.mounts.contains(path) || names.any(|name| name == path)
        })
    };
    let mut members: Vec<Container> = containers
        .iter()
        .filter(|one| reference.containers.contains(&one.key) || is_named(one))
        .cloned()
        .collect();
    let rank = |container: &Container| match (&container.pod, &container.network) {
        (Some(pod), _) if pod.sandbox => 0,
        (_, Network::Own | Network::None) => 1,
        _ => 2,
    };
    members.sort_by_cached_key(|one| (rank(one), one.key.clone()));
    members
}

fn interfaces(
    links: Vec<Link>,
    at: usize,
    peers: &mut HashMap<(usize, u32), Peer>,
) -> Vec<Interface> {
    let names: HashMap<u32, String> = links
        .iter()
        .map(|link| (link.index, link.name.clone()))
        .collect();
    links
        .into_iter()
        .map(|link| Interface {
            master: link.master.and_then(|index| names.get(&index).cloned()),
            peer: peers.remove(&(at, link.index)),
            link,
        })
        .collect()
}
