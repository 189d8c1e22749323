//! What can go wrong in looking at interfaces.

use super::netlink::NetlinkError;
use crate::netns::NetNsError;

/// An error about the interfaces of a namespace. Names in it are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// The namespace cannot be opened or entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The kernel refused to list something.
    #[error("cannot {operation}: {source}")]
    Netlink {
        /// What was asked for, as in "cannot list the interfaces".
        operation: &'static str,
        /// What the kernel said.
        source: NetlinkError,
    },
    /// The interface that was asked for is not there.
    #[error("{label} has no interface {name:?} (it has: {there})")]
    NoSuchInterface {
        /// The namespace's label.
        label: String,
        /// The name that was asked for.
        name: String,
        /// What interfaces there are.
        there: String,
    },
    /// No interface was asked for, and there are several to choose from.
    #[error("{label} has no eth0; choose an interface with -i (it has: {there})")]
    Ambiguous {
        /// The namespace's label.
        label: String,
        /// What interfaces there are.
        there: String,
    },
    /// No interface was asked for, and there is only loopback.
    #[error("{label} has no interface but lo; pass -i lo to watch that")]
    OnlyLoopback {
        /// The namespace's label.
        label: String,
    },
}
