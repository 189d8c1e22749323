//! The containers of this machine: what the kernel shows of them, and what their runtimes call them.
//!
//! The kernel comes first: a process's cgroup path tells runtime and id without asking anyone
//! (`cgroup.rs`). Names come from the runtime's socket, or else from the files it keeps; a runtime that
//! is down, absent, slow or talks rubbish costs its names and a note, nothing else. This module knows
//! processes and runtimes; it does not know interfaces, targets or packets.

mod api;
mod ask;
pub(crate) mod cgroup;
pub(crate) mod docker;
mod files;
pub(crate) mod oci;
pub(crate) mod podman;
pub(crate) mod rootless;
mod sources;
pub(crate) mod told;

use std::{fmt, path::PathBuf};

pub(crate) use self::cgroup::is_id;
pub use self::{
    cgroup::of_process,
    sources::{Source, Sources},
};

/// What runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Runtime {
    /// Docker, or Moby under another name.
    Docker,
    /// Podman, rootful or rootless.
    Podman,
    /// containerd without Docker or Kubernetes: `ctr`, nerdctl.
    Containerd,
    /// A Kubernetes runtime: containerd's CRI plugin, or CRI-O.
    Cri,
}

/// As in a target's prefix: `docker`, `podman`, `ctr`, `pod`.
impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "ctr",
            Self::Cri => "pod",
        })
    }
}

/// What a container is known by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct ContainerKey {
    /// What runs it.
    pub runtime: Runtime,
    /// Its whole id, as the runtime gave it: 64 hexadecimal digits, but with containerd
    /// `NAMESPACE/ID`, in which the id may be any name. A container in a container has that one's
    /// before its own, `OUTER/INNER`. Not safe to print.
    pub id: String,
}

/// A Kubernetes pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Pod {
    /// Its namespace in Kubernetes.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether this container is the pod's sandbox ("pause"), which holds the network namespace.
    pub sandbox: bool,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its processes run.
    Running,
    /// Its processes are frozen. Its namespace is there.
    Paused,
    /// It has no process: created and not yet started, or ended.
    Stopped,
    /// Nobody says.
    Unknown,
}

/// Whose network a container uses, as its runtime says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "mode", content = "with")]
pub enum Network {
    /// A namespace of its own.
    Own,
    /// A namespace of its own with loopback alone.
    None,
    /// The host's.
    Host,
    /// That of another container, by its id or name as the runtime tells it.
    Container(String),
    /// Nobody says: compare namespaces.
    Unknown,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Container {
    /// What it is known by.
    #[serde(flatten)]
    pub key: ContainerKey,
    /// Its name, where the runtime told one. Not safe to print.
    pub name: Option<String>,
    /// The pod that it belongs to.
    pub pod: Option<Pod>,
    /// What it does.
    pub state: State,
    /// Its first process, as this machine numbers it; `None` when it has none, or none yet that is in
    /// the container's own namespaces. May have ended since: check by [`of_process`] that it is still this container's.
    pub pid: Option<u32>,
    /// Whose network it uses.
    pub network: Network,
    /// Where the runtime keeps a name for its network namespace, such as
    /// `/run/docker/netns/0a1b2c3d4e5f`.
    pub netns: Option<PathBuf>,
}

impl ContainerKey {
    /// The first twelve letters of each part of the id. Safe to print.
    #[must_use]
    pub fn label(&self) -> String {
        let parts = self
            .id
            .split('/')
            .map(|part| part.chars().take(12).collect());
        let short = parts.collect::<Vec<String>>().join("/");
        short.escape_debug().to_string()
    }
}

impl Container {
    /// How it is named to people: `NAMESPACE/POD`, else its name, else the first twelve letters of its
    /// id. Safe to print.
    #[must_use]
    pub fn label(&self) -> String {
        let label = match (&self.pod, &self.name) {
            (Some(pod), _) => format!("{}/{}", pod.namespace, pod.name),
            (None, Some(name)) => name.clone(),
            (None, None) => return self.key.label(),
        };
        label.escape_debug().to_string()
    }
}

/// All containers that could be found at one moment.
#[derive(Debug, Clone, Default)]
pub struct Containers {
    list: Vec<Container>,
    notes: Vec<String>,
}

impl Containers {
    /// Looks for containers: what the kernel shows, and the names that runtimes tell at the usual
    /// places. Takes a second and a half at most, however the runtimes behave.
    #[must_use]
    pub fn find() -> Self {
        Self::find_at(sources::usual())
    }

    /// As [`Containers::find`], at other places.
    #[must_use]
    pub fn find_at(sources: &Sources) -> Self {
        let mut answers = ask::all(sources);
        let notes = answers
            .iter_mut()
            .flat_map(|answer| std::mem::take(&mut answer.notes))
            .collect();
        // After the answers: what the kernel shows is newer, and decides.
        Self::of(told::merge(cgroup::all(), answers), notes)
    }

    /// These containers, for tests of what is built on them.
    #[must_use]
    pub fn of(mut list: Vec<Container>, notes: Vec<String>) -> Self {
        list.sort_by(|a, b| a.key.cmp(&b.key));
        Self { list, notes }
    }

    /// Each container once, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Container> {
        self.list.iter()
    }

    /// The container that is known by `key`.
    #[must_use]
    pub fn get(&self, key: &ContainerKey) -> Option<&Container> {
        let at = self.list.binary_search_by(|one| one.key.cmp(key)).ok()?;
        self.list.get(at)
    }

    /// What could not be asked, in sentences for people, such as "docker: no answer from
    /// /run/docker.sock within 1 s".
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
