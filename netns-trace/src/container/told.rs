//! What runtimes tell, and what of it is believed: the kernel decides.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::netns::{NetNs, inode_of_process};

use super::{Container, ContainerKey, Network, Pod, Runtime, State, cgroup::Shown, files};

/// Most containers that one runtime may tell of.
pub(super) const MOST_TOLD: usize = 20_000;
/// Longest name that is taken for one. Docker and Podman know no limit, a file's name has 255 bytes.
const MOST_NAME: usize = 255;

/// One container, as a runtime tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) key: ContainerKey,
    pub(crate) name: Option<String>,
    pub(super) pod: Option<Pod>,
    pub(super) state: State,
    pub(super) network: Network,
    pub(super) pid: Option<u32>,
    pub(crate) netns: Option<PathBuf>,
}

impl Told {
    pub(super) fn new(runtime: Runtime, id: String) -> Self {
        Self {
            key: ContainerKey { runtime, id },
            name: None,
            pod: None,
            state: State::Unknown,
            network: Network::Unknown,
            pid: None,
            netns: None,
        }
    }
}

/// All that one runtime tells.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) told: Vec<Told>,
    /// The user whose runtime it is; `None` for the machine's own.
    pub(super) user: Option<u32>,
    pub(super) notes: Vec<String>,
}

/// A name that is fit to be one; Docker puts a slash before it.
pub(super) fn name(text: &str) -> Option<String> {
    let text = text.strip_prefix('/').unwrap_or(text);
    (!text.is_empty() && text.len() <= MOST_NAME).then(|| text.to_owned())
}

/// As Docker's `NetworkMode` says. Podman's is empty up to 4.x, and may be a namespace's path.
pub(super) fn network(mode: &str) -> Network {
    match mode {
        "" => Network::Unknown,
        mode if mode.starts_with("ns:") => Network::Unknown,
        "none" => Network::None,
        "host" => Network::Host,
        mode => match mode.strip_prefix("container:") {
            Some(other) => Network::Container(other.to_owned()),
            None => Network::Own,
        },
    }
}

/// All containers: those that the kernel shows, with what is told of them, and those without a process.
///
/// A runtime may tell of whatever it likes. A process is a container's when the kernel says so; a user's
/// runtime tells of that user's containers alone.
pub(super) fn merge(shown: BTreeMap<ContainerKey, Shown>, answers: Vec<Answer>) -> Vec<Container> {
    let mut told: HashMap<(ContainerKey, Option<u32>), Told> = HashMap::new();
    for answer in answers {
        for mut one in answer.told {
            if answer.user.is_some() {
                one.netns = None; // a path that anyone may have chosen
            }
            let key = (one.key.clone(), answer.user);
            match told.get_mut(&key) {
                Some(before) => complete(before, one),
                None => drop(told.insert(key, one)),
            }
        }
    }
    let mut list = Vec::new();
    for (key, shown) in shown {
        let told = told.remove(&(key.clone(), shown.place.user));
        list.push(living(key, &shown, told));
    }
    let mut rest: Vec<Container> = told.into_values().map(without_process).collect();
    rest.sort_by(|a, b| a.key.cmp(&b.key));
    // Two users, each of whom may tell of the same id.
    rest.dedup_by(|a, b| a.key == b.key);
    rest.retain(|one| {
        list.binary_search_by(|other| other.key.cmp(&one.key))
            .is_err()
    });
    list.extend(rest);
    let mut inodes: Vec<Option<u64>> = list
        .iter()
        .map(|container| inode_of_process(container.pid?))
        .collect();
    let host = NetNs::host().map(|ns| ns.inode()).ok();
    for (container, inode) in list.iter_mut().zip(&mut inodes) {
        if inode.is_some() && *inode == host && is_being_made(container, is_oci_runtime) {
            container.pid = None;
            container.state = State::Unknown;
            *inode = None;
        }
    }
    network_by_namespace(&mut list, &inodes, host);
    path_by_namespace(&mut list, &inodes);
    list
}

/// Two sources may tell of one container, as Docker's and containerd's do.
fn complete(told: &mut Told, other: Told) {
    told.name = told.name.take().or(other.name);
    told.pod = told.pod.take().or(other.pod);
    told.pid = told.pid.or(other.pid);
    told.netns = told.netns.take().or(other.netns);
    if told.state == State::Unknown {
        told.state = other.state;
    }
    if told.network == Network::Unknown {
        told.network = other.network;
    }
}

fn living(key: ContainerKey, shown: &Shown, told: Option<Told>) -> Container {
    let told = told.unwrap_or_else(|| Told::new(key.runtime, key.id.clone()));
    // The runtime knows which of the processes is the container's first, the kernel whether it is so.
    let first = told
        .pid
        .filter(|&pid| super::of_process(pid).as_ref() == Some(&key));
    Container {
        name: told.name,
        pod: told.pod,
        state: if shown.is_frozen() {
            State::Paused
        } else {
            State::Running
        },
        pid: Some(first.unwrap_or(shown.pid)),
        network: told.network,
        netns: told.netns,
        key,
    }
}

fn without_process(told: Told) -> Container {
    Container {
        key: told.key,
        name: told.name,
        pod: told.pod,
        state: State::Stopped,
        pid: None,
        network: told.network,
        netns: told.netns,
    }
}

/// Whether a container with a process in the host's namespace does not belong there: the OCI runtime puts
/// its process into the container's cgroup first, and into its namespaces after that.
fn is_being_made(container: &Container, is_oci_runtime: impl Fn(u32) -> bool) -> bool {
    match container.network {
        Network::Own | Network::None => true,
        // The other container may use the host's.
        Network::Host | Network::Container(_) | Network::Unknown => {
            container.pid.is_some_and(is_oci_runtime)
        }
    }
}

/// Whether a process still runs the OCI runtime's program, or the copy of it that runc makes of itself.
fn is_oci_runtime(pid: u32) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = program.to_string_lossy();
    ["runc", "crun", "youki"].iter().any(|runtime| {
        name.ends_with(&format!("/{runtime}")) || name.contains(&format!("memfd:{runtime}"))
    })
}

/// What no runtime said, the namespaces say.
fn network_by_namespace(list: &mut [Container], inodes: &[Option<u64>], host: Option<u64>) {
    let mut owners: HashMap<u64, usize> = HashMap::new();
    for (at, inode) in inodes.iter().enumerate() {
        let Some(inode) = inode else { continue };
        let is_owner = |at: usize| {
            let one: &Container = &list[at];
            one.pod.as_ref().is_some_and(|pod| pod.sandbox) || one.network == Network::Own
        };
        let owner = owners.entry(*inode).or_insert(at);
        if !is_owner(*owner) && is_owner(at) {
            *owner = at;
        }
    }
    for at in 0..list.len() {
        let Some(inode) = inodes[at] else { continue };
        if list[at].network != Network::Unknown {
            continue;
        }
        let owner = owners[&inode];
        list[at].network = if Some(inode) == host {
            Network::Host
        } else if owner == at {
            Network::Own
        } else {
            Network::Container(list[owner].key.id.clone())
        };
    }
}

/// Where runtimes keep names for namespaces, and how those names begin.
const NAMES: [(&str, &str); 3] = [
    ("/run/docker/netns", ""),
    ("/run/netns", "netns-"), // Podman
    ("/run/netns", "cni-"),
];

/// The runtimes' own names for namespaces, where none was told.
fn path_by_namespace(list: &mut [Container], inodes: &[Option<u64>]) {
    let mut paths: HashMap<u64, PathBuf> = HashMap::new();
    for (dir, prefix) in NAMES {
        for name in files::names(Path::new(dir)) {
            let path = Path::new(dir).join(&name);
            if name.starts_with(prefix)
                && let Ok(meta) = fs::metadata(&path)
            {
                paths.insert(meta.ino(), path);
            }
        }
    }
    for (container, inode) in list.iter_mut().zip(inodes) {
        if container.netns.is_none() {
            container.netns = inode.and_then(|inode| paths.get(&inode).cloned());
        }
    }
}

#[cfg(test)]
mod tests;
