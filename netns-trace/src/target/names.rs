//! Which container a name means. Nothing is opened here.

use super::{TargetError, near::near};
use crate::{
    container::{self, Container, Containers, Runtime},
    netns,
};

/// Most candidates that an error lists.
const MOST_LISTED: usize = 10;

/// How a name fits a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is its name, its pod's, or its whole id.
    Whole,
    /// Its id begins so.
    Prefix,
}

/// A container that a name means.
#[derive(Debug)]
pub(super) struct Meant<'a> {
    pub(super) container: &'a Container,
    pub(super) fit: Fit,
    /// Those that have the same name and do not run.
    pub(super) stopped: Vec<&'a Container>,
}

/// What looks for: any runtime's container, or one runtime's.
pub(super) fn fit(runtime: Option<Runtime>, name: &str, container: &Container) -> Option<Fit> {
    let key = &container.key;
    if runtime.is_some_and(|runtime| runtime != key.runtime) {
        return None;
    }
    if key.id == name {
        return Some(Fit::Whole);
    }
    let is_whole = match &container.pod {
        Some(pod) => match name.split_once('/') {
            Some((namespace, rest)) => namespace == pod.namespace && rest == pod.name,
            None => name == pod.name,
        },
        None => container.name.as_deref() == Some(name),
    };
    if is_whole {
        return Some(Fit::Whole);
    }
    // An id of containerd's is behind its namespace, and that of a container in a container behind the
    // outer one's.
    let own = key.id.rsplit('/').next().unwrap_or(&key.id);
    let begins = container::is_id(own)
        && !name.is_empty()
        && (own.starts_with(name) || key.id.starts_with(name));
    if begins {
        return Some(Fit::Prefix);
    }
    None
}

/// The container that `name` means, if any: by its name, else by the beginning of its id.
///
/// `place` tells two namespaces apart, as the inode does; containers in one namespace are no ambiguity.
pub(super) fn find<'a>(
    runtime: Option<Runtime>,
    name: &str,
    containers: &'a Containers,
    place: &dyn Fn(&Container) -> Option<u64>,
) -> Result<Option<Meant<'a>>, TargetError> {
    let fitting = |wanted: Fit| -> Vec<&Container> {
        containers
            .iter()
            .filter(|container| fit(runtime, name, container) == Some(wanted))
            .collect()
    };
    let mut found = fitting(Fit::Whole);
    let mut kind = Fit::Whole;
    let mut stopped = Vec::new();
    if found.is_empty() {
        found = fitting(Fit::Prefix);
        kind = Fit::Prefix;
    } else {
        let living: Vec<&Container> = found
            .iter()
            .copied()
            .filter(|container| place(container).is_some())
            .collect();
        if !living.is_empty() {
            stopped = found;
            stopped.retain(|container| place(container).is_none());
            found = living;
        }
    }
    // A pod is known by its sandbox, which has the namespace and lives longest.
    found.sort_by_key(|container| !container.pod.as_ref().is_some_and(|pod| pod.sandbox));
    let Some(&first) = found.first() else {
        return Ok(None);
    };
    let others = found[1..].iter().any(|other| match place(other) {
        Some(inode) => Some(inode) != place(first),
        None => !is_same_pod(first, other),
    });
    if others {
        return Err(ambiguous(name, &found, None, containers));
    }
    Ok(Some(Meant {
        container: first,
        fit: kind,
        stopped,
    }))
}

/// Whether both are containers of one pod.
pub(super) fn is_same_pod(one: &Container, other: &Container) -> bool {
    match (&one.pod, &other.pod) {
        (Some(a), Some(b)) => (&a.namespace, &a.name) == (&b.namespace, &b.name),
        _ => false,
    }
}

/// The error that lists all, each in a form that means it alone.
pub(super) fn ambiguous(
    name: &str,
    found: &[&Container],
    netns: Option<&str>,
    containers: &Containers,
) -> TargetError {
    let mut candidates: Vec<String> = found
        .iter()
        .take(MOST_LISTED)
        .map(|container| form(container, containers))
        .collect();
    candidates.dedup();
    if found.len() > MOST_LISTED {
        candidates.push(format!("one of {} more", found.len() - MOST_LISTED));
    }
    candidates.extend(netns.map(|name| format!("netns:{}", name.escape_debug())));
    TargetError::Ambiguous {
        name: name.to_owned(),
        candidates,
    }
}

/// A target that means this container and no other, for people.
pub(super) fn form(container: &Container, containers: &Containers) -> String {
    let runtime = container.key.runtime;
    let label = match (&container.pod, &container.name) {
        (Some(pod), _) => format!("{}/{}", pod.namespace, pod.name),
        (None, Some(name)) => name.clone(),
        (None, None) => return format!("{runtime}:{}", short_id(container)),
    };
    let is_sole = containers
        .iter()
        .filter(|other| {
            fit(Some(runtime), &label, other) == Some(Fit::Whole) && !is_same_pod(container, other)
        })
        .count()
        <= usize::from(container.pod.is_none());
    if is_sole {
        format!("{runtime}:{}", label.escape_debug())
    } else {
        let id = short_id(container);
        format!("{runtime}:{id} ({})", label.escape_debug())
    }
}

/// As runtimes print ids of 64 digits; others are printed whole.
fn short_id(container: &Container) -> String {
    let id = &container.key.id;
    if container::is_id(id) { &id[..12] } else { id }
        .escape_debug()
        .to_string()
}

/// A container as it is spoken of, as in "docker container web".
pub(super) fn spoken(container: &Container) -> String {
    let label = container.label();
    match container.key.runtime {
        Runtime::Cri if container.pod.is_some() => format!("pod {label}"),
        Runtime::Cri => format!("CRI container {label}"),
        Runtime::Containerd => format!("containerd container {label}"),
        runtime => format!("{runtime} container {label}"),
    }
}

/// Nothing has the name: what was perhaps meant, and who could not be asked.
pub(super) fn none(runtime: Option<Runtime>, name: &str, containers: &Containers) -> TargetError {
    let mut meant = Vec::new();
    if runtime.is_none() && name.parse::<u32>().is_ok_and(|pid| pid > 0) {
        meant.push(format!("pid:{name}"));
    }
    let of_containers = containers
        .iter()
        .filter(|container| runtime.is_none_or(|runtime| runtime == container.key.runtime))
        .filter_map(|container| {
            let name = match &container.pod {
                Some(pod) => Some(pod.name.as_str()),
                None => container.name.as_deref(),
            };
            Some((name?, container))
        });
    let last = name.rsplit('/').next().unwrap_or(name);
    meant.extend(
        near(last, of_containers)
            .into_iter()
            .map(|near| form(near, containers)),
    );
    if runtime.is_none() {
        let netns = netns::names();
        let near = near(name, netns.iter().map(|name| (name.as_str(), name)));
        meant.extend(
            near.iter()
                .map(|name| format!("netns:{}", name.escape_debug())),
        );
    }
    meant.dedup();
    let mut hint = if meant.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", meant.join(" or "))
    };
    // As notes begin. Pods are containerd's or CRI-O's.
    let keepers: &[&str] = match runtime {
        None => &[""],
        Some(Runtime::Docker) => &["docker:"],
        Some(Runtime::Podman) => &["podman:"],
        Some(Runtime::Containerd) => &["containerd:"],
        Some(Runtime::Cri) => &["containerd:", "CRI-O:"],
    };
    let concerns = |note: &&String| keepers.iter().any(|keeper| note.starts_with(keeper));
    let notes: Vec<&str> = containers
        .notes()
        .iter()
        .filter(concerns)
        .map(String::as_str)
        .collect();
    if !notes.is_empty() {
        hint.push_str(&format!(" ({})", notes.join("; ")));
    }
    TargetError::NoSuchContainer {
        what: match runtime {
            None => "container, pod or namespace",
            Some(Runtime::Docker) => "docker container",
            Some(Runtime::Podman) => "podman container",
            Some(Runtime::Containerd) => "containerd container",
            Some(Runtime::Cri) => "pod",
        },
        name: name.to_owned(),
        hint,
    }
}

#[cfg(test)]
mod tests;
