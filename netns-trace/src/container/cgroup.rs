//! Runtime and id of a process's container, from its cgroup path: no permission is needed, and no
//! runtime is asked.
//!
//! Of containers in containers the innermost counts, since its namespace is the process's. Its id is
//! told behind that of the outer one, `OUTER/INNER`: whoever is in a container may give a cgroup any
//! name, that of another container of the machine among them, and must not be taken for it.

use std::{collections::BTreeMap, fs, path::Path};

use super::{ContainerKey, Runtime, files, rootless, sources};

/// Longest table of a process's cgroups that is read.
const MOST_TABLE: usize = 64 * 1024;

/// The container that a process runs in; `None` for processes of the machine itself, and for those that
/// have ended.
#[must_use]
pub fn of_process(pid: u32) -> Option<ContainerKey> {
    match place_of(pid) {
        Some(place) => Some(place.key),
        None => rootless::of_process(pid),
    }
}

/// Where in the tree of cgroups a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) key: ContainerKey,
    /// The user below whose own part of the tree it is, in which that user may give any name.
    pub(super) user: Option<u32>,
    path: String,
    /// `/sys/fs/cgroup`, or with cgroup v1 the freezer's part of it.
    is_freezer: bool,
}

impl Place {
    /// Of a container that shares its user's cgroup.
    pub(super) fn without_cgroup(key: ContainerKey, user: u32) -> Self {
        Self {
            key,
            user: Some(user),
            path: String::new(),
            is_freezer: false,
        }
    }
}

/// What the kernel shows of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) place: Place,
    /// Its process that started first.
    pub(super) pid: u32,
    started: Option<u64>,
}

impl Shown {
    pub(super) fn new(place: Place, pid: u32) -> Self {
        Self {
            place,
            pid,
            started: None,
        }
    }

    /// Whether its processes are frozen.
    pub(super) fn is_frozen(&self) -> bool {
        let path = self.place.path.trim_start_matches('/');
        if path.is_empty() {
            return false;
        }
        let root = Path::new("/sys/fs/cgroup");
        let says = |path: &Path, what: &str| {
            files::read(path, MOST_TABLE).is_ok_and(|text| {
                String::from_utf8_lossy(&text)
                    .lines()
                    .any(|line| line == what)
            })
        };
        if self.place.is_freezer {
            let state = root.join("freezer").join(path).join("freezer.state");
            says(&state, "FROZEN")
        } else {
            // Documentation/admin-guide/cgroup-v2.rst, from 5.2
            says(&root.join(path).join("cgroup.events"), "frozen 1")
        }
    }
}

/// Each container that has a process.
pub(super) fn all() -> BTreeMap<ContainerKey, Shown> {
    let mut found = BTreeMap::new();
    for pid in crate::netns::pids() {
        if let Some(place) = place_of(pid) {
            add(&mut found, pid, place, crate::netns::start_time);
        }
    }
    rootless::add_all(&mut found);
    found
}

/// A place in the machine's own part of the tree counts before one in a user's, then who started first.
fn add(
    found: &mut BTreeMap<ContainerKey, Shown>,
    pid: u32,
    place: Place,
    started: impl Fn(u32) -> Option<u64>,
) {
    let Some(before) = found.get_mut(&place.key) else {
        found.insert(place.key.clone(), Shown::new(place, pid));
        return;
    };
    // Most containers have one process, whose start nobody needs to know.
    before.started = before.started.or_else(|| started(before.pid));
    let start = started(pid);
    let rank = |user: Option<u32>, start: Option<u64>, pid: u32| {
        (user.is_some(), start.unwrap_or(u64::MAX), pid)
    };
    if rank(place.user, start, pid) < rank(before.place.user, before.started, before.pid) {
        *before = Shown {
            place,
            pid,
            started: start,
        };
    }
}

pub(super) fn place_of(pid: u32) -> Option<Place> {
    let table = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    let usual = sources::usual();
    of_table(&table, &|namespace, id| {
        namespaces_with(&usual.containerd, namespace, id)
    })
}

/// The first container that a line of /proc/PID/cgroup names; cgroups(7). `tasks` tells in which of
/// containerd's namespaces (all, or the one that is named) a task is.
pub(crate) fn of_table(
    table: &[u8],
    tasks: &dyn Fn(Option<&str>, &str) -> Option<String>,
) -> Option<Place> {
    let table = table.get(..MOST_TABLE).unwrap_or(table);
    let table = String::from_utf8_lossy(table);
    let mut found: Option<Place> = None;
    // With version 1 there are a dozen lines, and most of them have the same path.
    let mut without: Vec<&str> = Vec::new();
    for line in table.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let is_freezer = controllers.split(',').any(|name| name == "freezer");
        // Without a freezer among the controllers the unified tree has it.
        let is_better =
            is_freezer || (number == "0" && !found.as_ref().is_some_and(|p| p.is_freezer));
        if (found.is_some() && !is_better) || without.contains(&path) {
            continue;
        }
        match of_path(path, tasks) {
            Some((key, user)) => {
                found = Some(Place {
                    key,
                    user,
                    path: path.to_owned(),
                    is_freezer,
                });
            }
            None => without.push(path),
        }
    }
    found
}

/// The innermost container on a path, and the user in whose part of the tree it is.
fn of_path(
    path: &str,
    tasks: &dyn Fn(Option<&str>, &str) -> Option<String>,
) -> Option<(ContainerKey, Option<u32>)> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let mut found: Option<ContainerKey> = None;
    let mut user = None;
    for (at, part) in parts.iter().enumerate() {
        if found.is_none()
            && let Some(uid) = user_of(part)
        {
            user = Some(uid);
        }
        // A process that watches over a container has a cgroup beside its processes'.
        if matches!(parts.get(at + 1), Some(&("conmon" | "supervisor"))) {
            continue;
        }
        let outermost = found.is_none();
        let Some(key) = named(&parts, at).or_else(|| {
            // What is in a container, or a user's, does not run in this machine's containerd.
            (outermost && user.is_none())
                .then(|| task(&parts, at, tasks))
                .flatten()
        }) else {
            continue;
        };
        found = Some(match found {
            Some(outer) => ContainerKey {
                runtime: key.runtime,
                id: format!("{}/{}", outer.id, key.id),
            },
            None => key,
        });
    }
    Some((found?, user))
}

/// The user of a slice `user-UID.slice`, in which root is no other user.
fn user_of(part: &str) -> Option<u32> {
    let uid = part.strip_prefix("user-")?.strip_suffix(".slice")?;
    uid.parse().ok().filter(|&uid| uid != 0)
}

/// A container by the form that a runtime gives its cgroups: `docker-ID.scope`, `/docker/ID`,
/// `libpod-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `nerdctl-ID.scope`, and
/// `/kubepods/…/podUID/ID`.
fn named(parts: &[&str], at: usize) -> Option<ContainerKey> {
    let part = parts[at];
    let key = |runtime, id: &str| ContainerKey {
        runtime,
        id: id.to_owned(),
    };
    let scope = part.strip_suffix(".scope").unwrap_or(part);
    for (prefix, runtime) in [
        ("docker-", Runtime::Docker),
        ("libpod-", Runtime::Podman),
        ("cri-containerd-", Runtime::Cri),
        ("crio-", Runtime::Cri),
    ] {
        if let Some(id) = scope.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some(key(runtime, id));
        }
    }
    if !is_id(part) {
        return None;
    }
    if at > 0 && parts[at - 1] == "docker" {
        return Some(key(Runtime::Docker, part));
    }
    let is_pod = parts[..at].iter().any(|part| part.starts_with("kubepods"));
    is_pod.then(|| key(Runtime::Cri, part))
}

/// A container by a task of containerd's: `/NAMESPACE/ID` as `ctr` has it, below any parent;
/// `nerdctl-ID.scope`; and an id alone.
fn task(
    parts: &[&str],
    at: usize,
    tasks: &dyn Fn(Option<&str>, &str) -> Option<String>,
) -> Option<ContainerKey> {
    let part = parts[at];
    let scope = part.strip_suffix(".scope").unwrap_or(part);
    let nerdctl = scope.strip_prefix("nerdctl-").filter(|id| is_id(id));
    let id = nerdctl.unwrap_or(part);
    let namespace = if is_id(id) {
        tasks(None, id)
    } else if at > 0 {
        tasks(Some(parts[at - 1]), id)
    } else {
        None
    };
    match namespace {
        Some(namespace) => Some(key_of_task(&namespace, id)),
        None => nerdctl.map(|id| ContainerKey {
            runtime: Runtime::Containerd,
            id: id.to_owned(),
        }),
    }
}

/// What a task of containerd's is known by. Docker and Kubernetes have containerd namespaces of their
/// own; in others, an id means nothing without the namespace.
pub(super) fn key_of_task(namespace: &str, id: &str) -> ContainerKey {
    let (runtime, id) = match namespace {
        "moby" => (Runtime::Docker, id.to_owned()),
        "k8s.io" => (Runtime::Cri, id.to_owned()),
        _ => (Runtime::Containerd, format!("{namespace}/{id}")),
    };
    ContainerKey { runtime, id }
}

/// The directory of the tasks of runc and its like, below containerd's state directory.
pub(super) const TASKS: &str = "io.containerd.runtime.v2.task";

/// The namespace in which one of these containerd has the task.
fn namespaces_with(
    states: &[std::path::PathBuf],
    namespace: Option<&str>,
    id: &str,
) -> Option<String> {
    if !files::is_part(id) || namespace.is_some_and(|namespace| !files::is_part(namespace)) {
        return None;
    }
    states.iter().find_map(|state| {
        let tasks = state.join(TASKS);
        match namespace {
            Some(namespace) => tasks
                .join(namespace)
                .join(id)
                .is_dir()
                .then(|| namespace.to_owned()),
            None => files::names(&tasks)
                .into_iter()
                .find(|namespace| tasks.join(namespace).join(id).is_dir()),
        }
    })
}

/// Whether it is an id as all runtimes but `ctr` give: 64 hexadecimal digits.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
pub(super) mod tests;
