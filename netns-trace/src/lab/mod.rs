//! Throw-away networks of our own: for the demo, for tests, and by hand. All of a lab is inside
//! namespaces of its own, its router among them, so that nothing shows in the machine's own
//! namespace and nothing there matters to it. Everything is made through netlink and mount(2);
//! no program is run.

mod build;
mod error;
mod flood;
mod layout;
mod names;
mod nat;
pub(crate) mod spec;
pub(crate) mod state;
pub mod traffic;
mod wire;

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use self::state::{Opened, StateFile};
pub use self::{
    error::LabError,
    flood::{Datagrams, Flood, flood},
    spec::{Cidr, LabSpec, Topology},
    state::{LABS_DIR, Record},
};
use crate::netns::{NetNs, NetNsError};

/// What a namespace is in its lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// A target.
    Container,
    /// The lab's own host, with bridge and uplink.
    Router,
    /// What is beyond the router's uplink.
    Outside,
}

/// A namespace of a lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// Its name in /run/netns.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// What it is in its lab.
    pub role: NodeRole,
    /// Its inode, once it is made.
    pub inode: Option<u64>,
    /// Its cookie, where the kernel has such (5.14).
    pub cookie: Option<u64>,
    /// Its interfaces besides `lo`; the first one is `eth0` in containers, the bridge in routers.
    pub interfaces: Vec<Interface>,
}

/// An interface of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses, of which those of IPv6 are left out where the kernel has none.
    pub addresses: Vec<Cidr>,
}

impl Node {
    /// The first address of IPv4, or of IPv6.
    pub fn address(&self, v6: bool) -> Option<IpAddr> {
        self.interfaces
            .iter()
            .flat_map(|interface| &interface.addresses)
            .map(|cidr| cidr.address)
            .find(|address| address.is_ipv6() == v6)
    }

    /// Opens the namespace, and refuses another one of the same name.
    ///
    /// # Errors
    /// When it is gone or may not be opened.
    pub fn open(&self) -> Result<NetNs, NetNsError> {
        let ns = NetNs::open(&self.path)?;
        let other_inode = self.inode.is_some_and(|inode| inode != ns.inode());
        let other_cookie =
            matches!((self.cookie, ns.identity().cookie), (Some(was), Some(is)) if was != is);
        if other_inode || other_cookie {
            return Err(NetNsError::Gone {
                path: self.path.clone(),
                inode: self.inode.unwrap_or_default(),
                why: "its name means another one now".into(),
            });
        }
        Ok(ns)
    }
}

/// One namespace that is to be put on an existing bridge of our own namespace.
#[derive(Debug, Clone)]
pub struct AttachSpec {
    /// The namespace's name, and the lab's.
    pub name: String,
    /// The bridge.
    pub bridge: String,
    /// The addresses of its `eth0`.
    pub addresses: Vec<Cidr>,
    /// Where its default routes lead.
    pub gateways: Vec<IpAddr>,
}

/// A lab. A private one is removed when it is dropped, or by [`sweep`] when its process died.
#[derive(Debug)]
pub struct Lab {
    record: Record,
    /// Held by the owner of a private lab.
    state: Option<StateFile>,
}

/// Builds a lab that stays until it is removed by [`down`].
///
/// # Errors
/// When the spec cannot be, a name is taken, or the kernel refuses a step; what was made until
/// then is undone.
pub fn up(spec: &LabSpec) -> Result<Lab, LabError> {
    let (record, _) = build::build(spec, false)?;
    Ok(Lab {
        record,
        state: None,
    })
}

/// Builds a lab that goes with its [`Lab`], or else with this process.
///
/// # Errors
/// As [`up`].
pub fn up_private(spec: &LabSpec) -> Result<Lab, LabError> {
    let (record, state) = build::build(spec, true)?;
    Ok(Lab {
        record,
        state: Some(state),
    })
}

/// Puts one namespace on an existing bridge; it stays until it is removed by [`down`].
///
/// # Errors
/// As [`up`], and when there is no such bridge.
pub fn attach(spec: &AttachSpec) -> Result<Lab, LabError> {
    let (record, _) = build::attach(spec)?;
    Ok(Lab {
        record,
        state: None,
    })
}

/// Removes a lab that [`up`] or [`attach`] built.
///
/// # Errors
/// When there is no such lab, when it is in use, and when something of it could not be removed:
/// everything is tried, and every failure is told.
pub fn down(name: &str) -> Result<(), LabError> {
    let busy = || -> Result<LabError, LabError> {
        Ok(LabError::InUse {
            name: name.to_owned(),
            pid: state::read(name)?.map_or(0, |record| record.pid),
        })
    };
    spec::check_name(name)?;
    build::check_privileges()?;
    match StateFile::open(name)? {
        Opened::Ours(state) => match state::read(name)? {
            Some(record) => remove(&record, state),
            None => Err(no_such_lab(name)),
        },
        Opened::Busy => Err(busy()?),
        Opened::Missing => Err(no_such_lab(name)),
    }
}

/// Every lab, by name; an error for each whose file is damaged.
pub fn list() -> Vec<Result<Record, LabError>> {
    state::names()
        .iter()
        .filter_map(|name| state::read(name).transpose())
        .collect()
}

/// Removes private labs whose process died, and labs that were never finished. Returns the names
/// of those that were there; an error is no reason not to go on.
pub fn sweep() -> Vec<(String, Result<(), LabError>)> {
    state::remove_drafts();
    let swept = |(record, state): (Record, StateFile)| {
        let removed = remove(&record, state);
        (record.name, removed)
    };
    state::names()
        .iter()
        .filter_map(|name| orphan(name).map(swept))
        .collect()
}

/// The labs that [`sweep`] would remove: their names and their files.
pub fn orphans() -> Vec<(String, PathBuf)> {
    state::names()
        .into_iter()
        .filter(|name| orphan(name).is_some())
        .map(|name| (name.clone(), state::path_of(&name)))
        .collect()
}

fn orphan(name: &str) -> Option<(Record, StateFile)> {
    let may_be_one = || {
        let record = state::read(name).ok()??;
        (record.private || !record.complete).then_some(record)
    };
    // Not locked for this: whoever removes a lab just now would find it in use.
    may_be_one()?;
    let Ok(Opened::Ours(state)) = StateFile::open(name) else {
        return None; // in use, or gone
    };
    Some((may_be_one()?, state))
}

impl Lab {
    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// How its namespaces are joined.
    pub fn topology(&self) -> Topology {
        self.record.topology
    }

    /// All its namespaces: containers first, then router and outside.
    pub fn nodes(&self) -> &[Node] {
        &self.record.nodes
    }

    /// Its containers.
    pub fn containers(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.record.nodes.iter();
        nodes.filter(|node| node.role == NodeRole::Container)
    }

    /// The namespace with the bridge and the uplink.
    pub fn router(&self) -> Option<&Node> {
        let mut nodes = self.record.nodes.iter();
        nodes.find(|node| node.role == NodeRole::Router)
    }

    /// The namespace beyond the uplink.
    pub fn outside(&self) -> Option<&Node> {
        let mut nodes = self.record.nodes.iter();
        nodes.find(|node| node.role == NodeRole::Outside)
    }

    /// Removes the lab.
    ///
    /// # Errors
    /// As the function [`down`].
    pub fn down(mut self) -> Result<(), LabError> {
        match self.state.take() {
            Some(state) => remove(&self.record, state),
            None => down(&self.record.name),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(state) = self.state.take()
            && let Err(error) = remove(&self.record, state)
        {
            log::warn!(
                "the lab {} is not wholly removed: {error}",
                self.record.name
            );
        }
    }
}

fn remove(record: &Record, state: StateFile) -> Result<(), LabError> {
    let mut errors = build::take_apart(record);
    // Without its file, what is left could not be removed later; what is another's need not be.
    let nothing_left = errors
        .iter()
        .all(|error| matches!(error, LabError::NotOurs { .. }));
    if nothing_left {
        errors.extend(state.remove().err());
    }
    LabError::gather(errors)
}

fn no_such_lab(name: &str) -> LabError {
    let names = state::names();
    LabError::NoSuchLab {
        name: name.to_owned(),
        hint: if names.is_empty() {
            "; there are none".into()
        } else {
            format!(" (there are: {})", names.join(", "))
        },
    }
}
