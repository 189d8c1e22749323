//! From a target's form to its namespace, once: afterwards it is known by its identity.

use std::path::{Path, PathBuf};

use super::TargetSpec;
use crate::netns::{Candidates, NETNS_DIRS, NetNs, NetNsError, label_of, named, names};

/// A namespace that the user asked for.
#[derive(Debug)]
pub struct Target {
    /// How it was asked for.
    pub spec: TargetSpec,
    /// How it is named to people: `host`, its name in /run/netns, `pid:N` or `inode:N`. Safe to
    /// print.
    pub label: String,
    /// The namespace, held open; drop it when set-up is done.
    pub ns: NetNs,
    /// What is to be said of it, in sentences.
    pub notes: Vec<String>,
}

/// Why there is no namespace for a target. Names in it are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The namespace cannot be opened.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// No file in /run/netns has the name.
    #[error("there is no namespace {name:?} in /run/netns{hint}")]
    NoSuchName {
        /// The name that was asked for.
        name: String,
        /// What is there instead, as the end of the sentence.
        hint: String,
    },
    /// No process, name or mount leads to the inode.
    #[error("there is no network namespace with inode {inode}{hint}; `lsns -t net` lists them")]
    NoSuchInode {
        /// The inode that was asked for.
        inode: u64,
        /// Why it may be there all the same.
        hint: &'static str,
    },
    /// A container name, which this version does not look up.
    #[error(
        "cannot find {name:?}: this version does not look up container names{hint}; \
         name the namespace as netns:NAME, pid:N, inode:N, /a/path or host"
    )]
    NamesComeLater {
        /// The name that was asked for.
        name: String,
        /// What was perhaps meant.
        hint: String,
    },
    /// `all`, which this version does not do.
    #[error("\"all\" does not work in this version; name the targets one by one")]
    AllComesLater,
}

/// Finds the namespace that `spec` names.
///
/// # Errors
/// When there is none, when it is none of the network, and when it may not be opened.
pub fn resolve(spec: &TargetSpec) -> Result<Target, TargetError> {
    let ns = match spec {
        TargetSpec::Netns(name) => match named(name) {
            Some(path) => NetNs::open(&path)?,
            None => return Err(no_such_name(name)),
        },
        TargetSpec::Process(pid) => NetNs::of_process(*pid)?,
        TargetSpec::Inode(inode) => by_inode(*inode)?,
        TargetSpec::Path(path) => NetNs::open(path)?,
        TargetSpec::Host => NetNs::host()?,
        TargetSpec::Name(name) => {
            return Err(TargetError::NamesComeLater {
                name: name.clone(),
                hint: meant_instead(name),
            });
        }
        TargetSpec::All => return Err(TargetError::AllComesLater),
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

impl TargetError {
    /// SHIM
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoSuchName { .. } | Self::NamesComeLater { .. })
    }
}

/// SHIM
pub fn resolve_many(specs: &[TargetSpec]) -> Result<Vec<Target>, TargetError> {
    specs.iter().map(resolve).collect()
}

/// SHIM
pub fn resolve_with(
    spec: &TargetSpec,
    _: &crate::container::Containers,
) -> Result<Target, TargetError> {
    resolve(spec)
}

/// SHIM
pub fn label(ns: &NetNs, _: &crate::container::Containers) -> String {
    label_of(ns)
}

fn label_from_path(path: &Path, ns: &NetNs) -> String {
    let in_dir = NETNS_DIRS
        .iter()
        .any(|dir| path.parent() == Some(Path::new(dir)));
    match path.file_name() {
        Some(name) if in_dir => name.to_string_lossy().escape_debug().to_string(),
        _ => label_of(ns),
    }
}

fn by_inode(inode: u64) -> Result<NetNs, TargetError> {
    let mut candidates = Candidates::new();
    let path: Option<PathBuf> = candidates
        .by_ref()
        .find_map(|(path, found)| (found == inode).then_some(path));
    let no_such = TargetError::NoSuchInode {
        inode,
        hint: if candidates.denied {
            ", or only processes that may not be looked at are in it (CAP_SYS_PTRACE is missing)"
        } else {
            ""
        },
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

fn no_such_name(name: &str) -> TargetError {
    let names = names();
    let near: Vec<String> = near(name, &names).map(quoted).collect();
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

fn meant_instead(name: &str) -> String {
    let mut meant = Vec::new();
    if name.parse::<u32>().is_ok_and(|pid| pid > 0) {
        meant.push(format!("pid:{name}"));
    }
    meant.extend(near(name, &names()).map(quoted));
    if meant.is_empty() {
        String::new()
    } else {
        format!(" (did you mean {}?)", meant.join(" or "))
    }
}

fn quoted(name: &str) -> String {
    format!("netns:{}", name.escape_debug())
}

/// At most three names that a slip of the keyboard could have turned into `name`.
fn near<'a>(name: &str, names: &'a [String]) -> impl Iterator<Item = &'a str> {
    let mut close: Vec<(usize, &str)> = names
        .iter()
        .map(|other| (distance(name, other), other.as_str()))
        .filter(|&(distance, _)| distance <= if name.chars().count() > 3 { 2 } else { 1 })
        .collect();
    close.sort();
    close.into_iter().take(3).map(|(_, name)| name)
}

/// How many letters have to be added, removed, changed or swapped with their neighbour (optimal
/// string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 2 || a.len().max(b.len()) > 255 {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_keyboard_are_near() {
        let names = [
            "web".to_owned(),
            "lab-a".to_owned(),
            "lab-router".to_owned(),
        ];
        let near = |name: &str| near(name, &names).collect::<Vec<_>>().join(" ");
        assert_eq!(near("web"), "web");
        assert_eq!(near("wbe"), "web");
        assert_eq!(near("lab-b"), "lab-a");
        assert_eq!(near("lab_ruoter"), "lab-router");
        assert_eq!(near("db"), "");
        assert_eq!(near(""), "");
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (a, b, steps) in [
            ("", "", 0),
            ("a", "", 1),
            ("ab", "ba", 1),
            ("web", "wep", 1),
            ("kitten", "mittens", 2),
            ("ä", "a", 1),
            ("abc", "abcdef", usize::MAX),
        ] {
            assert_eq!(distance(a, b), steps, "{a} {b}");
            assert_eq!(distance(b, a), steps, "{b} {a}");
        }
    }

    #[test]
    fn a_container_name_tells_what_works_instead() {
        let spec = TargetSpec::Name("4711\x1b".into());
        let error = resolve(&spec).expect_err("not yet").to_string();
        assert!(
            error.contains("netns:NAME, pid:N, inode:N, /a/path or host"),
            "{error}"
        );
        assert!(!error.contains('\x1b'), "{error}");
        let spec = TargetSpec::Name("4711".into());
        let error = resolve(&spec).expect_err("not yet").to_string();
        assert!(error.contains("did you mean pid:4711"), "{error}");
    }

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
}
