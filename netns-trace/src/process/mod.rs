//! Which process is behind a packet: by the socket that sent it, or by addresses and ports. Plain data in and out;
//! where sockets and processes come from is not known here.

mod flow;
mod table;

use std::fmt;

pub use self::{
    flow::{Endpoint, Flow, PacketFlow},
    table::{Answer, Basis, OwnedSocket, ProcessTable},
};

/// A process, as the machine's first PID namespace numbers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The name of its command, of at most 15 letters; escaped.
    pub command: String,
}

impl Process {
    /// With the name as the kernel has it, which may be any bytes.
    #[must_use]
    pub fn new(pid: u32, command: &[u8]) -> Self {
        let command = String::from_utf8_lossy(command);
        Self {
            pid,
            command: command.escape_debug().to_string(),
        }
    }
}

/// `curl 1234`.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.command, self.pid)
    }
}

/// Which processes' packets are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFilter {
    /// Those of these numbers, or
    pub pids: Vec<u32>,
    /// of these commands.
    pub commands: Vec<String>,
}

/// Bytes of a command's name that the kernel keeps: `TASK_COMM_LEN` without the zero,
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h>
const COMMAND_LEN: usize = 15;

impl ProcessFilter {
    /// Of processes and commands, of whose names the first 15 bytes count.
    #[must_use]
    pub fn new(pids: Vec<u32>, commands: &[String]) -> Self {
        let cut = |name: &String| {
            let name = name.as_bytes();
            Process::new(0, name.get(..COMMAND_LEN).unwrap_or(name)).command
        };
        Self {
            pids,
            commands: commands.iter().map(cut).collect(),
        }
    }

    /// Whether it lets all pass.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pids.is_empty() && self.commands.is_empty()
    }

    /// Whether a process, if it is known, is wanted.
    #[must_use]
    pub fn takes(&self, process: Option<&Process>) -> bool {
        self.is_empty()
            || process.is_some_and(|process| {
                self.pids.contains(&process.pid) || self.commands.contains(&process.command)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commands_are_escaped() {
        let process = Process::new(7, b"a\x1b[1m\xff");
        assert_eq!(process.to_string(), "a\\u{1b}[1m\u{fffd} 7");
    }

    #[test]
    fn a_filter_takes_any_of_what_it_names() {
        let long = "a-name-that-is-cut".to_owned();
        let filter = ProcessFilter::new(vec![7], &["curl".to_owned(), long]);
        assert!(filter.takes(Some(&Process::new(8, b"a-name-that-is-"))));
        assert!(filter.takes(Some(&Process::new(7, b"x"))));
        assert!(filter.takes(Some(&Process::new(8, b"curl"))));
        assert!(!filter.takes(Some(&Process::new(8, b"x"))));
        assert!(!filter.takes(None));
        assert!(ProcessFilter::default().takes(None));
    }
}
