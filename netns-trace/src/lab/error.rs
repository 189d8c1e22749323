//! What can go wrong with a lab, each with its way out.

use std::{io, path::PathBuf};

use super::build::NEEDED;
use crate::{
    netns::NetNsError,
    privilege::{self, Capability, MissingCapabilities},
    topology::TopologyError,
};

/// An error about a lab. Names in it are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A name, count or subnet that no lab can have.
    #[error("{0}")]
    Spec(String),
    /// A lab of that name is there.
    #[error(
        "lab {name:?} exists already; remove it with `netns-trace lab down {name}` or choose --name"
    )]
    LabExists {
        /// The lab's name.
        name: String,
    },
    /// A namespace of that name is there, and it is none of ours. Nothing was touched.
    #[error(
        "namespace {name:?} exists already; remove it with `ip netns del {name}` or choose --name"
    )]
    NamespaceExists {
        /// The namespace's name.
        name: String,
    },
    /// A name of the lab means another namespace now; it was left alone.
    #[error("{name:?} means another namespace now, which was left alone")]
    NotOurs {
        /// The namespace's name.
        name: String,
    },
    /// No lab has the name.
    #[error("there is no lab {name:?}{hint}")]
    NoSuchLab {
        /// The name that was asked for.
        name: String,
        /// What labs there are.
        hint: String,
    },
    /// The lab belongs to a running command, such as a demo.
    #[error("lab {name:?} is in use by process {pid}; end that first")]
    InUse {
        /// The lab's name.
        name: String,
        /// Whose lab it is.
        pid: u32,
    },
    /// The interface that a namespace is to be joined to is no bridge, or not there.
    #[error("{name:?} is no bridge of this namespace{hint}")]
    NoSuchBridge {
        /// The name that was asked for.
        name: String,
        /// What bridges there are.
        hint: String,
    },
    /// Capabilities are missing. Nothing was touched.
    #[error("cannot build or remove a lab: {missing}")]
    Privilege {
        /// Which.
        missing: MissingCapabilities,
    },
    /// The kernel refused for want of a right.
    #[error("cannot {operation}: permission denied; {why}")]
    Denied {
        /// What was tried.
        operation: String,
        /// What is missing, and the way out.
        why: String,
    },
    /// The kernel refused a step for another reason.
    #[error("cannot {operation}: {source}")]
    Step {
        /// What was tried.
        operation: String,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file that describes a lab cannot be understood.
    #[error(
        "the state file {path:?} is damaged ({why}); delete it after removing what is left of the lab by hand"
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A namespace cannot be opened or entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The interfaces of a namespace cannot be listed.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// Several things went wrong; all were tried.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<LabError>),
}

impl LabError {
    /// Whether the fault is in what was asked for: a usage error, exit status 2.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Spec(_) => true,
            Self::Several(errors) => errors.iter().all(Self::is_usage),
            _ => false,
        }
    }

    /// The kernel's refusal of a step for want of a right.
    pub(super) fn denied(operation: String) -> Self {
        let why = privilege::why_denied(&NEEDED);
        Self::Denied { operation, why }
    }

    /// The same of a file or folder in /run.
    fn denied_file(operation: String) -> Self {
        let why = privilege::why_denied(&[Capability::DacOverride]);
        Self::Denied { operation, why }
    }

    pub(super) fn io(operation: impl Into<String>, source: io::Error) -> Self {
        let operation = operation.into();
        match source.raw_os_error() {
            Some(libc::EACCES) => Self::denied_file(operation),
            Some(libc::EPERM) => Self::denied(operation),
            _ => Self::Step {
                operation,
                source: source.into(),
            },
        }
    }

    /// `Ok` of none, the one alone, or all together.
    ///
    /// # Errors
    /// When there is any.
    pub fn gather(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}
