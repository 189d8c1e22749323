//! What is told of a change: plain data, and its JSON.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::time::{ClockId, clock_gettime};
use serde::{Serialize, Serializer};

use crate::{
    container::{ContainerKey, Pod},
    netns::NETNS_DIRS,
};

/// A change, and when it was noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When it was noticed.
    #[serde(flatten)]
    pub at: Moment,
    /// It was so before the watch began.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
    /// What has changed.
    #[serde(flatten)]
    pub change: Change,
}

/// One moment by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Since 1970, in nanoseconds.
    pub time_ns: u64,
    /// `CLOCK_MONOTONIC`, in nanoseconds, as captures have it.
    pub monotonic_ns: u64,
}

impl Moment {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let ns = |time: Duration| time.as_nanos() as u64;
        Self {
            time_ns: since.map_or(0, ns),
            monotonic_ns: monotonic.map_or(0, ns),
        }
    }
}

/// What can change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Change {
    /// A network namespace is there.
    NamespaceAdded {
        /// Which.
        #[serde(flatten)]
        namespace: Namespace,
        /// Its process that was seen first.
        process: Option<Process>,
    },
    /// Nothing refers to a network namespace any more.
    NamespaceRemoved {
        /// Which, with the names and containers that it had.
        #[serde(flatten)]
        namespace: Namespace,
        /// From when it was noticed to its last name's or process's end; `None` for one that was there
        /// before the watch began.
        #[serde(rename = "lived_ns", serialize_with = "nanoseconds")]
        lived: Option<Duration>,
    },
    /// A namespace that was known has got another name.
    NameAdded {
        /// The new name.
        name: Name,
        /// Which, with all its names.
        #[serde(flatten)]
        namespace: Namespace,
    },
    /// A namespace has lost a name and lives on.
    NameRemoved {
        /// The lost name.
        name: Name,
        /// Which, with the names that it still has.
        #[serde(flatten)]
        namespace: Namespace,
    },
    /// A container's own program runs.
    ContainerStarted {
        /// Which.
        container: Label,
        /// Its first process.
        process: Option<Process>,
        /// The namespace that it is in.
        #[serde(flatten)]
        namespace: Namespace,
    },
    /// A container whose start was told without its name has got it.
    ContainerNamed {
        /// Which.
        container: Label,
        /// The namespace that it is in.
        #[serde(flatten)]
        namespace: Namespace,
    },
    /// A container's last process has ended.
    ContainerStopped {
        /// Which.
        container: Label,
        /// The namespace that it was in.
        #[serde(flatten)]
        namespace: Namespace,
        /// How long it ran; `None` for one that ran before the watch began.
        #[serde(rename = "lived_ns", serialize_with = "nanoseconds")]
        lived: Option<Duration>,
    },
}

impl Change {
    /// The word for it in JSON, and in `NETNS_TRACE_EVENT`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NamespaceAdded { .. } => "namespace-added",
            Self::NamespaceRemoved { .. } => "namespace-removed",
            Self::NameAdded { .. } => "name-added",
            Self::NameRemoved { .. } => "name-removed",
            Self::ContainerStarted { .. } => "container-started",
            Self::ContainerNamed { .. } => "container-named",
            Self::ContainerStopped { .. } => "container-stopped",
        }
    }

    /// The namespace that it is about.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        match self {
            Self::NamespaceAdded { namespace, .. }
            | Self::NamespaceRemoved { namespace, .. }
            | Self::NameAdded { namespace, .. }
            | Self::NameRemoved { namespace, .. }
            | Self::ContainerStarted { namespace, .. }
            | Self::ContainerNamed { namespace, .. }
            | Self::ContainerStopped { namespace, .. } => namespace,
        }
    }

    /// The process that it names.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        match self {
            Self::NamespaceAdded { process, .. } | Self::ContainerStarted { process, .. } => {
                process.as_ref()
            }
            _ => None,
        }
    }
}

/// A network namespace, as known at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Its inode; `None` for one that had gone before it could be looked at.
    pub inode: Option<u64>,
    /// The device that the inode is on.
    pub device: u64,
    /// The number that the kernel never hands out twice, from Linux 5.14; `None` also for one that was
    /// there before the watch began, or that may not be entered.
    pub cookie: Option<u64>,
    /// Whether it is the machine's initial one.
    pub host: bool,
    /// Where it is mounted.
    pub names: Vec<Name>,
    /// Containers with a process in it.
    pub containers: Vec<Label>,
    /// A path to open it by, while it lives: a name, a process's or an open descriptor.
    #[serde(serialize_with = "lossy")]
    pub path: Option<PathBuf>,
}

/// A place that a namespace is mounted at. Not safe to print.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub PathBuf);

impl Name {
    /// As a target has it: `netns:NAME` in /run/netns, the path elsewhere. Not safe to print.
    #[must_use]
    pub fn target(&self) -> String {
        let dirs = NETNS_DIRS.map(Path::new);
        match (self.0.parent(), self.0.file_name()) {
            (Some(dir), Some(name)) if dirs.contains(&dir) => {
                format!("netns:{}", name.to_string_lossy())
            }
            _ => self.0.to_string_lossy().into_owned(),
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.target())
    }
}

/// A container, as it is called. Not safe to print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// What it is known by.
    #[serde(flatten)]
    pub key: ContainerKey,
    /// Its name, where the runtime told it in time.
    pub name: Option<String>,
    /// Its pod.
    pub pod: Option<Pod>,
}

impl Label {
    /// As a target has it: `docker:web`, `pod:NAMESPACE/NAME`; with the first twelve digits of the id
    /// where no name is known. Not safe to print.
    #[must_use]
    pub fn target(&self) -> String {
        let runtime = self.key.runtime;
        match (&self.pod, &self.name) {
            (Some(pod), _) => format!("{runtime}:{}/{}", pod.namespace, pod.name),
            (None, Some(name)) => format!("{runtime}:{name}"),
            (None, None) => {
                let id: String = self.key.id.chars().take(12).collect();
                format!("{runtime}:{id}")
            }
        }
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// Its program's name, as `ps` has it; none when it had ended. Not safe to print.
    pub command: Option<String>,
}

fn nanoseconds<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_nanos() as u64).serialize(to)
}

fn lossy<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(to)
}
