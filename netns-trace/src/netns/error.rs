//! What can go wrong with a network namespace, each with its way out.

use std::{io, path::PathBuf};

/// An error about a network namespace. Paths are printed escaped, so that none of them can
/// carry control characters to a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetNsError {
    /// Nothing has this path.
    #[error("there is no namespace at {path:?}: no such file")]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The path leads to something other than a namespace.
    #[error("{path:?} is not a namespace (a path such as /run/netns/NAME or /proc/PID/ns/net is)")]
    NotANamespace {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The path is a namespace of another type.
    #[error("{path:?} is {kind} namespace, not a network namespace")]
    WrongType {
        /// The path that was asked for.
        path: PathBuf,
        /// With its article, such as "a mount".
        kind: &'static str,
    },
    /// A name whose namespace has gone: a dangling link, or the plain file that `ip netns add`
    /// mounts a namespace on, with nothing mounted there.
    #[error("{path:?} is a stale name: {why}; delete the file to be rid of it")]
    Stale {
        /// The path that was asked for.
        path: PathBuf,
        /// What was found instead of a namespace.
        why: &'static str,
    },
    /// No process has this pid.
    #[error("there is no process with pid {pid} (it may have ended)")]
    NoSuchProcess {
        /// The pid that was asked for.
        pid: u32,
    },
    /// The process has ended, and its parent has not yet asked for its exit status.
    #[error("process {pid} has ended (it is a zombie) and is in no namespace any more")]
    Zombie {
        /// The pid that was asked for.
        pid: u32,
    },
    /// The process ended while its namespace was being opened, and its pid may be another's now.
    #[error("process {pid} ended while its namespace was being opened")]
    ProcessChanged {
        /// The pid that was asked for.
        pid: u32,
    },
    /// The kernel does not let us look at the namespace.
    #[error("cannot open {path:?} of another user's process: {why}")]
    PtraceDenied {
        /// The path that was asked for.
        path: PathBuf,
        /// What is missing, and the way out.
        why: String,
    },
    /// The process is protected from everybody, those with the right to look among them.
    #[error(
        "cannot open {path:?}: permission denied, also with CAP_SYS_PTRACE: the process is \
         protected; name the namespace in another way, such as host, inode:N or another pid:N"
    )]
    Protected {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The kernel does not let us enter the namespace.
    #[error("cannot enter the network namespace {path:?}: {why}")]
    EnterDenied {
        /// How the namespace was found.
        path: PathBuf,
        /// What is missing, and the way out.
        why: String,
    },
    /// The namespace no longer exists, or what its path names is another one now.
    #[error("the network namespace {path:?} (inode {inode}) is gone: {why}")]
    Gone {
        /// How the namespace was found.
        path: PathBuf,
        /// The inode that it had.
        inode: u64,
        /// What was found in its place.
        why: String,
    },
    /// The kernel refused a step for another reason.
    #[error("cannot {operation} {path:?}: {source}")]
    Io {
        /// What was tried, as in "cannot open".
        operation: &'static str,
        /// How the namespace was found.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The machine has no thread left for work inside a namespace.
    #[error("cannot start a thread to enter a network namespace: {0}")]
    Thread(#[source] io::Error),
}

impl NetNsError {
    /// Whether the namespace, rather than something on the way to it, is missing.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Gone { .. }
                | Self::NotFound { .. }
                | Self::Stale { .. }
                | Self::NoSuchProcess { .. }
                | Self::Zombie { .. }
        )
    }
}
