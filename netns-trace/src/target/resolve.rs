//! From a target's form to its namespace, once: afterwards it is known by its identity.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use super::{TargetError, TargetSpec, members, named::named_container, near::near};
use crate::{
    container::{self, Container, Containers, Runtime},
    netns::{Candidates, NetNs, label_of, name_at, name_of, named, names},
    privilege::{Capability, why_denied},
};

/// A namespace that the user asked for.
#[derive(Debug)]
pub struct Target {
    /// How it was asked for.
    pub spec: TargetSpec,
    /// How it is named to people: `host`, the container's name, its name in /run/netns, `pid:N` or
    /// `inode:N`. Safe to print.
    pub label: String,
    /// The namespace, held open; drop it when set-up is done.
    pub ns: NetNs,
    /// What is to be said of it, in sentences. Safe to print.
    pub notes: Vec<String>,
}

/// Finds namespaces. Asks the runtimes once at most, and only when a name is to be found or to be given.
#[derive(Debug, Default)]
pub struct Resolver {
    containers: OnceCell<Containers>,
}

impl Resolver {
    /// One that asks nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that goes by what is known already.
    #[must_use]
    pub fn of(containers: Containers) -> Self {
        Self {
            containers: containers.into(),
        }
    }

    /// All containers; asks the runtimes when nobody has yet.
    pub fn containers(&self) -> &Containers {
        self.containers.get_or_init(Containers::find)
    }

    /// How a namespace is named to people: `host`, its name in /run/netns, the name of its container,
    /// `pid:N` or `inode:N`. Runtimes are asked only for those that have no name there. Safe to print.
    #[must_use]
    pub fn label(&self, ns: &NetNs) -> String {
        name_of(ns).unwrap_or_else(|| label(ns, self.containers()))
    }

    /// The namespaces that `spec` names: one, or with `all` each that can be entered but the host's.
    ///
    /// # Errors
    /// When there is none, when a name means several, when it is none of the network, and when it may
    /// not be opened.
    pub fn resolve(&self, spec: &TargetSpec) -> Result<Vec<Target>, TargetError> {
        match spec {
            TargetSpec::All => self.all(),
            one => Ok(vec![self.one(one)?]),
        }
    }

    /// The one namespace that `spec` names.
    ///
    /// # Errors
    /// As [`Resolver::resolve`], and [`TargetError::NotOne`] for `all`.
    pub fn one(&self, spec: &TargetSpec) -> Result<Target, TargetError> {
        let ns = match spec {
            TargetSpec::Netns(name) => match named(name) {
                Some(path) => NetNs::open(&path)?,
                None => return Err(no_such_name(name)),
            },
            TargetSpec::Process(pid) => return self.process(spec, *pid),
            TargetSpec::Inode(inode) => by_inode(*inode)?,
            TargetSpec::Path(path) => NetNs::open(path)?,
            TargetSpec::Host => NetNs::host()?,
            TargetSpec::Name(name) => return self.name(spec, None, name),
            TargetSpec::Container(runtime, name) => return self.name(spec, Some(*runtime), name),
            TargetSpec::All => return Err(TargetError::NotOne),
        };
        let label = match spec {
            // Of several names for one namespace, the one that was asked for.
            TargetSpec::Netns(name) if !ns.is_host() => name.escape_debug().to_string(),
            TargetSpec::Path(path) if !ns.is_host() => label_from_path(path, &ns),
            _ => label_of(&ns),
        };
        Ok(Target {
            spec: spec.clone(),
            label,
            ns,
            notes: Vec::new(),
        })
    }

    /// A process in a container is called after it.
    fn process(&self, spec: &TargetSpec, pid: u32) -> Result<Target, TargetError> {
        let ns = NetNs::of_process(pid)?;
        let key = container::of_process(pid).filter(|_| !ns.is_host());
        let mut notes = Vec::new();
        let label = match key {
            Some(key) => {
                let containers = self.containers();
                let is_named = |one: &Container| one.name.is_some() || one.pod.is_some();
                if !containers.get(&key).is_some_and(is_named) {
                    notes.extend(containers.notes().iter().cloned());
                }
                label(&ns, containers)
            }
            None => label_of(&ns),
        };
        Ok(Target {
            spec: spec.clone(),
            label,
            ns,
            notes,
        })
    }

    /// A container's or a pod's name; without a runtime also a name in /run/netns.
    fn name(
        &self,
        spec: &TargetSpec,
        runtime: Option<Runtime>,
        name: &str,
    ) -> Result<Target, TargetError> {
        match named_container(spec, runtime, name, self.containers()) {
            // It was started anew after the runtimes were asked.
            Err(TargetError::Restarting { .. }) => {
                named_container(spec, runtime, name, &Containers::find())
            }
            other => other,
        }
    }

    fn all(&self) -> Result<Vec<Target>, TargetError> {
        let containers = self.containers();
        let members = members::by_inode(containers);
        let mut candidates = Candidates::new();
        let mut targets = Vec::new();
        for (path, inode) in candidates.by_ref() {
            let ns = match NetNs::open(&path) {
                Ok(ns) if ns.inode() == inode && !ns.is_host() => ns,
                Ok(_) => continue, // the host's, or another one by now
                Err(why) => {
                    log::info!("left out: {why}");
                    continue;
                }
            };
            if let Err(why) = ns.run(|| ()) {
                log::info!("left out: {why}");
                continue;
            }
            let owner = members
                .get(&inode)
                .and_then(|members| members::owner(members));
            targets.push(Target {
                spec: TargetSpec::All,
                label: owner.map_or_else(|| label_of_candidate(&path, &ns), Container::label),
                ns,
                notes: Vec::new(),
            });
        }
        if targets.is_empty() {
            return Err(TargetError::NoneAtAll(denied_hint(candidates.denied)));
        }
        Ok(targets)
    }
}

/// Finds the one namespace that `spec` names.
///
/// # Errors
/// As [`Resolver::resolve`], and [`TargetError::NotOne`] for `all`.
pub fn resolve(spec: &TargetSpec) -> Result<Target, TargetError> {
    Resolver::new().one(spec)
}

/// As [`resolve`], by containers that are known already: nobody is asked.
///
/// # Errors
/// As [`resolve`]; and [`TargetError::Restarting`] when the container is no longer as it was known.
pub fn resolve_with(spec: &TargetSpec, containers: &Containers) -> Result<Target, TargetError> {
    match spec {
        TargetSpec::Name(name) => named_container(spec, None, name, containers),
        TargetSpec::Container(runtime, name) => {
            named_container(spec, Some(*runtime), name, containers)
        }
        _ => Resolver::of(containers.clone()).one(spec),
    }
}

/// How a namespace is named to people: `host`, the name of the container that has it, its name in
/// /run/netns, `pid:N` or `inode:N`. Safe to print.
#[must_use]
pub fn label(ns: &NetNs, containers: &Containers) -> String {
    if !ns.is_host() {
        let here: Vec<&Container> = containers
            .iter()
            .filter(|container| members::inode(container) == Some(ns.inode()))
            .collect();
        if let Some(owner) = members::owner(&here) {
            return owner.label();
        }
    }
    label_of(ns)
}

fn label_from_path(path: &Path, ns: &NetNs) -> String {
    match name_at(path) {
        Some(name) => name.to_string_lossy().escape_debug().to_string(),
        None => label_of(ns),
    }
}

/// As [`label_of`], for one of many: without looking through all others again.
fn label_of_candidate(path: &Path, ns: &NetNs) -> String {
    match (name_at(path), ns.identity().process) {
        (Some(name), _) => name.to_string_lossy().escape_debug().to_string(),
        (None, Some(process)) => format!("pid:{}", process.pid),
        _ => format!("inode:{}", ns.inode()),
    }
}

fn by_inode(inode: u64) -> Result<NetNs, TargetError> {
    let mut candidates = Candidates::new();
    let path: Option<PathBuf> = candidates
        .by_ref()
        .find_map(|(path, found)| (found == inode).then_some(path));
    let no_such = TargetError::NoSuchInode {
        inode,
        hint: denied_hint(candidates.denied),
    };
    let Some(path) = path else {
        return Err(no_such);
    };
    let ns = NetNs::open(&path)?;
    // Between listing and opening, the name may have come to mean another one.
    if ns.inode() == inode {
        Ok(ns)
    } else {
        Err(no_such)
    }
}

fn denied_hint(denied: bool) -> String {
    let hint = || {
        format!(
            ", or only processes that may not be looked at are in it: {}",
            why_denied(&[Capability::SysPtrace])
        )
    };
    denied.then(hint).unwrap_or_default()
}

fn no_such_name(name: &str) -> TargetError {
    let quoted = |name: &str| format!("netns:{}", name.escape_debug());
    let names = names();
    let near = near(name, names.iter().map(|name| (name.as_str(), name)));
    let near: Vec<String> = near.into_iter().map(|name| quoted(name)).collect();
    let hint = if !near.is_empty() {
        format!("; did you mean {}?", near.join(" or "))
    } else if names.is_empty() {
        ", which is empty".into()
    } else {
        let shown: Vec<String> = names.iter().take(10).map(|name| quoted(name)).collect();
        let more = if names.len() > 10 { ", …" } else { "" };
        format!(" (it has: {}{more})", shown.join(", "))
    };
    TargetError::NoSuchName {
        name: name.to_owned(),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_a_target() {
        let pid = std::process::id();
        let target = resolve(&TargetSpec::Process(pid)).expect("our own namespace");
        assert!(target.ns.is_current());
        let inode = target.ns.inode();
        let same = resolve(&TargetSpec::Inode(inode)).expect("the same by its inode");
        assert!(same.ns.is_same(&target.ns));
    }

    #[test]
    fn an_inode_that_is_no_namespace_is_not_found() {
        let error = resolve(&TargetSpec::Inode(1)).expect_err("no such inode");
        assert!(error.to_string().contains("lsns"), "{error}");
    }

    #[test]
    fn all_is_not_one() {
        let error = resolve(&TargetSpec::All).expect_err("many");
        assert!(matches!(error, TargetError::NotOne), "{error}");
    }
}
