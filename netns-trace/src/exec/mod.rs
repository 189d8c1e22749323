//! Running a tool of the host inside a network namespace.
//!
//! The tool takes this process's place: it is started by the short-lived thread that has entered the
//! namespace, and execve(2) makes that thread the whole process, with its pid. So terminal, job
//! control, signals and exit status are the tool's own, and nothing has to be passed on. Reads no
//! arguments and prints nothing.

mod mounts;
mod resolver;

use std::{
    convert::Infallible,
    ffi::OsString,
    io,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    process::Command,
};

pub use self::resolver::Resolver;
use crate::{
    netns::NetNsError,
    target::{Target, TargetError},
};

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its path, or a name that is looked up in PATH.
    pub program: OsString,
    /// What it is given.
    pub args: Vec<OsString>,
}

/// Why the tool does not run. Names in it are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// There is no such target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The namespace cannot be entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The resolver of the namespace cannot be had.
    #[error("cannot mount the resolver of {target}: {why}")]
    Resolver {
        /// The target's label.
        target: String,
        /// What is in the way, and a way out.
        why: String,
    },
    /// A step on the way to mounts of our own failed.
    #[error("cannot {step}: {source}")]
    Mount {
        /// What was tried.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The tool itself cannot be started.
    #[error("cannot run {program:?}: {}", refusal(program, why))]
    Tool {
        /// As it was asked for.
        program: OsString,
        /// What the kernel said; told in other words.
        why: io::Error,
    },
}

impl ExecError {
    /// The exit status: 127 for a command that is not found and 126 for one that cannot be run, as
    /// shells, env(1) and nsenter(1) have it, and 1 for the rest.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Tool { why, .. } if why.kind() == io::ErrorKind::NotFound => 127,
            Self::Tool { .. } => 126,
            _ => 1,
        }
    }
}

fn refusal(program: &OsString, why: &io::Error) -> String {
    let is_path = program.as_bytes().contains(&b'/');
    match why.kind() {
        io::ErrorKind::NotFound if is_path => {
            "there is no such file, or the interpreter that it names is missing".into()
        }
        io::ErrorKind::NotFound => "there is no such command in PATH".into(),
        io::ErrorKind::PermissionDenied => "it is not executable".into(),
        _ => why.to_string(),
    }
}

/// Becomes the tool, in the network namespace of `target`. With a resolver, also in a mount namespace
/// of its own, in which `/etc/resolv.conf` and `/sys` are the namespace's; nothing of that is seen
/// outside of it.
///
/// The tool starts as from a shell: SIGPIPE, which Rust ignores, does again what it does by default,
/// no signal is blocked, and no descriptor of ours is left open.
///
/// # Errors
/// When the namespace cannot be entered, when its resolver cannot be mounted, and when the tool
/// cannot be started. This process is as it was before then.
pub fn exec(
    target: &Target,
    resolver: Option<&Resolver>,
    tool: &Tool,
) -> Result<Infallible, ExecError> {
    target.ns.run(|| {
        if let Some(resolver) = resolver {
            mounts::set_up(resolver)?;
        }
        Err(ExecError::Tool {
            program: tool.program.clone(),
            why: Command::new(&tool.program).args(&tool.args).exec(),
        })
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_told_as_shells_do() {
        for (program, errno, status, said) in [
            ("x", libc::ENOENT, 127, "there is no such command in PATH"),
            (
                "./x",
                libc::ENOENT,
                127,
                "there is no such file, or the interpreter that it names is missing",
            ),
            ("/x", libc::EACCES, 126, "it is not executable"),
            ("x", libc::E2BIG, 126, "Argument list too long (os error 7)"),
        ] {
            let error = ExecError::Tool {
                program: program.into(),
                why: io::Error::from_raw_os_error(errno),
            };
            assert_eq!(error.status(), status);
            assert_eq!(error.to_string(), format!("cannot run {program:?}: {said}"));
        }
    }
}
