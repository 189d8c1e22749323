//! Names for namespaces that have none, so that `ip netns` and all that goes by /run/netns finds
//! them. A name keeps its namespace alive; so each of ours is registered, for `clean` to take it away
//! once no process lives there.

pub(crate) mod name;
pub(crate) mod register;

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
};

use serde::Serialize;

pub(crate) use self::register::{Entry, Record, Register, entries};
use crate::{
    netns::{NetNs, NetNsError, bind, is_settled, path_of, pids_in, reserve, unbind},
    privilege::{Capability, MissingCapabilities, missing, of_roots_file},
    target::Target,
};

/// A name that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The name, as `ip netns list` shows it. Without control characters.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// How the namespace was named to people before. Safe to print.
    pub target: String,
    /// The namespace's inode.
    pub inode: u64,
    /// Whether a process lives in it.
    pub lived_in: bool,
}

impl Link {
    /// One line for people.
    #[must_use]
    pub fn text(&self) -> String {
        let (name, target) = (&self.name, &self.target);
        let end = if self.lived_in {
            format!(
                "until `netns-trace clean` (once no process lives there) or `ip netns delete {name}`"
            )
        } else {
            format!("until `ip netns delete {name}`")
        };
        format!(
            "{name}: {target} (inode {}), kept alive {end}\n",
            self.inode
        )
    }
}

/// Why a namespace is given no name. Names in it are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The name cannot be one.
    #[error("cannot give the name {name:?}: {why}")]
    BadName {
        /// The name that was asked for.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Mounting is not allowed.
    #[error("cannot give a name: {0}")]
    Denied(MissingCapabilities),
    /// The namespace has the name.
    #[error("the namespace (inode {inode}) already has the name {name:?}")]
    Already {
        /// Its inode.
        inode: u64,
        /// The name.
        name: String,
    },
    /// Something else has the name.
    #[error("the name {name:?} is taken by {owner}")]
    Taken {
        /// The name that was asked for.
        name: String,
        /// What has it, and a way out.
        owner: String,
    },
    /// A step failed.
    #[error("cannot {step} {path:?}: {}", of_roots_file(source))]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl LinkError {
    /// Whether the fault is in what was asked for.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::BadName { .. })
    }
}

/// Gives a namespace a name in /run/netns: the one that is asked for, or one made of its label.
///
/// # Errors
/// When the name cannot be one or is taken, when mounting is not allowed, and when the kernel
/// refuses; nothing is left then.
pub fn link(target: &Target, name: Option<&str>) -> Result<Link, LinkError> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => name::default_for(target),
    };
    name::check(&name).map_err(|why| LinkError::BadName {
        name: name.clone(),
        why,
    })?;
    if let Ok(Some(missing)) = missing(&[Capability::SysAdmin]) {
        return Err(LinkError::Denied(missing));
    }
    let path = path_of(&name);
    let failed = |step| {
        let path = path.clone();
        move |source| LinkError::Io { step, path, source }
    };
    let register = Register::lock().map_err(failed("lock the register for"))?;
    match reserve(&path) {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {
            return Err(taken(target, name, &path));
        }
        reserved => reserved.map_err(failed("create"))?,
    }
    let lived_in = pids_in(&target.ns).next().is_some();
    let record = Record::new(name.clone(), target.ns.identity(), lived_in);
    // Registered first: so it can be removed again, whenever we may be killed.
    let linked = register
        .write(&record)
        .map_err(failed("register"))
        .and_then(|()| mount(&target.ns, &path).map_err(failed("mount the namespace on")));
    if let Err(error) = linked {
        for undone in [unbind(&path), register.forget(&name)] {
            if let Err(why) = undone {
                log::warn!("{path:?} is not wholly undone: {why}");
            }
        }
        return Err(error);
    }
    Ok(Link {
        name,
        path,
        target: target.label.clone(),
        inode: target.ns.inode(),
        lived_in,
    })
}

/// By its descriptor: the path that it was found by may mean another one by now.
fn mount(ns: &NetNs, path: &Path) -> io::Result<()> {
    let source = format!("/proc/self/fd/{}", ns.as_fd().as_raw_fd());
    bind(Path::new(&source), path)
}

/// What has the name.
fn taken(target: &Target, name: String, path: &Path) -> LinkError {
    let owner = match NetNs::open(path) {
        Ok(other) if other.is_same(&target.ns) => {
            return LinkError::Already {
                inode: other.inode(),
                name,
            };
        }
        Ok(other) => format!(
            "another namespace (inode {}); give another NAME, or remove it with `ip netns delete`",
            other.inode()
        ),
        Err(NetNsError::Stale { .. }) if is_settled(path) => {
            "a stale name; `netns-trace clean` removes it".into()
        }
        Err(NetNsError::Stale { .. }) => {
            "a name that was made just now, and has no namespace yet; try again".into()
        }
        Err(_) => "something that is no namespace's name; give another NAME".into(),
    };
    LinkError::Taken { name, owner }
}
