//! Runs a tool of the host in the calling thread's network namespace, within bounds of time and of
//! what it may say. The tool sees the host's files; nothing of the namespace's processes is run.

use std::{
    io::{self, Read as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a tool may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much it may say: rules of a large cluster take a few megabytes.
const LONGEST: usize = 32 << 20;
/// Where administrators' tools are, also where the search path of a plain shell lacks them.
const ADMIN_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Why there is no answer of a tool.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    #[error("it is not installed")]
    NotInstalled,
    #[error("it cannot be run: {0}")]
    Io(#[from] io::Error),
    #[error("it does not answer within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("it says more than {} MiB", LONGEST >> 20)]
    TooMuch,
    #[error("it fails: {0}")]
    Failed(String),
}

/// What the first of these tools that is installed prints. A thread's children are in its
/// namespace.
pub(super) fn run_here(tools: &[&str], args: &[&str]) -> Result<String, ToolError> {
    let path = tools
        .iter()
        .find_map(|tool| find(tool))
        .ok_or(ToolError::NotInstalled)?;
    let mut child = Command::new(path)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = listen(&mut child);
    // It has ended, or must: what it still says is of no use.
    if said.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let (stdout, stderr) = said?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr);
    let line = said.lines().map(str::trim).find(|line| !line.is_empty());
    Err(ToolError::Failed(
        line.map_or_else(|| status.to_string(), str::to_owned),
    ))
}

fn find(tool: &str) -> Option<PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&own)
        .filter(|folder| folder.is_absolute())
        .chain(ADMIN_PATHS.iter().map(PathBuf::from))
        .map(|folder| folder.join(tool))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Reads both outputs to their ends.
fn listen(child: &mut Child) -> Result<(Vec<u8>, Vec<u8>), ToolError> {
    let end = Instant::now() + PATIENCE;
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("it has no pipes").into());
    };
    let mut said = (Vec::new(), Vec::new());
    let mut open = [true; 2];
    let mut buffer = vec![0; 64 << 10];
    while open.contains(&true) {
        let left = end.saturating_duration_since(Instant::now());
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let wanted = open.map(|open| {
            if open {
                PollFlags::POLLIN
            } else {
                PollFlags::empty()
            }
        });
        let mut pipes = [
            PollFd::new(stdout.as_fd(), wanted[0]),
            PollFd::new(stderr.as_fd(), wanted[1]),
        ];
        if left.is_zero() || poll(&mut pipes, wait).map_err(io::Error::from)? == 0 {
            return Err(ToolError::Slow);
        }
        let ready = [0, 1].map(|at| open[at] && pipes[at].any().unwrap_or(false));
        if ready[0] {
            let length = stdout.read(&mut buffer)?;
            open[0] = length > 0;
            said.0.extend(&buffer[..length]);
        }
        if ready[1] {
            let length = stderr.read(&mut buffer)?;
            open[1] = length > 0;
            said.1
                .extend(&buffer[..length.min(4096_usize.saturating_sub(said.1.len()))]);
        }
        if said.0.len() > LONGEST {
            return Err(ToolError::TooMuch);
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_answers_fails_or_is_not_there() {
        assert_eq!(
            run_here(&["nosuchtool", "echo"], &["a", "b"]).expect("an answer"),
            "a b\n"
        );
        let error = run_here(&["nosuchtool"], &[])
            .expect_err("not there")
            .to_string();
        assert_eq!(error, "it is not installed");
        let error = run_here(&["sh"], &["-c", "echo; echo no >&2; exit 3"]).expect_err("a failure");
        assert_eq!(error.to_string(), "it fails: no");
        let error = run_here(&["false"], &[])
            .expect_err("a failure")
            .to_string();
        assert!(error.contains("exit status: 1"), "{error}");
    }

    #[test]
    fn a_tool_that_says_too_much_is_stopped() {
        let error = run_here(&["yes"], &[]).expect_err("too much");
        assert!(matches!(error, ToolError::TooMuch), "{error}");
    }
}
