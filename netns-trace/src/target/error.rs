//! Why there is no namespace for a target, each with its way out.

use crate::netns::NetNsError;

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
        hint: String,
    },
    /// Nothing has the name.
    #[error("there is no {what} {name:?}{hint}")]
    NoSuchContainer {
        /// What was looked for, as in "docker container".
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// What was perhaps meant, and who could not be asked.
        hint: String,
    },
    /// The container has no process and no namespace.
    #[error(
        "{container} is not running, so it has no network namespace: start it, or wait for it with \
         `capture --follow`"
    )]
    Stopped {
        /// The container, as in "docker container web".
        container: String,
    },
    /// The name fits more than one namespace.
    #[error("{name:?} is more than one: name {} instead", .candidates.join(" or "))]
    Ambiguous {
        /// The name that was asked for.
        name: String,
        /// Targets that mean one each.
        candidates: Vec<String>,
    },
    /// The container is being started, or ended while its namespace was being opened.
    #[error("{container} is starting or ending at this moment: try again")]
    Restarting {
        /// The container, as in "docker container web".
        container: String,
    },
    /// There is no namespace besides the host's.
    #[error("there is no namespace besides the host's{0}")]
    NoneAtAll(String),
    /// `all` where one is wanted.
    #[error("\"all\" means many namespaces, and only one can be taken here: name it")]
    NotOne,
}

impl TargetError {
    /// Whether what was asked for is not there now, and may come.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        match self {
            Self::NetNs(error) => error.is_gone(),
            Self::NoSuchName { .. }
            | Self::NoSuchContainer { .. }
            | Self::Stopped { .. }
            | Self::Restarting { .. }
            | Self::NoneAtAll(_) => true,
            Self::NoSuchInode { .. } | Self::Ambiguous { .. } | Self::NotOne => false,
        }
    }
}
