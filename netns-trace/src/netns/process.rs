//! What /proc tells about a process: whether it lives, and since when.

use std::{fs, io, path::Path};

use super::NetNsError;
use crate::privilege::{self, Capability};

/// include/linux/sched.h
const PF_KTHREAD: u32 = 0x0020_0000;

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcessStamp {
    /// The process's number.
    pub pid: u32,
    /// When it started, in clock ticks since boot: field 22 of /proc/PID/stat.
    pub start_time: u64,
}

pub(super) struct Stat {
    pub(super) stamp: ProcessStamp,
    /// A thread of the kernel's own.
    kernel: bool,
    /// A zombie, or about to be removed.
    pub(super) ended: bool,
}

pub(super) fn stat(pid: u32) -> Result<Stat, NetNsError> {
    let path = format!("/proc/{pid}/stat");
    let io_error = |source| NetNsError::Io {
        operation: "read",
        path: path.clone().into(),
        source,
    };
    let line = match fs::read(&path) {
        Ok(line) => line,
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ESRCH) =>
        {
            return Err(NetNsError::NoSuchProcess { pid });
        }
        Err(error) => return Err(io_error(error)),
    };
    let (state, flags, start_time) =
        parse(&line).ok_or_else(|| io_error(io::ErrorKind::InvalidData.into()))?;
    Ok(Stat {
        stamp: ProcessStamp { pid, start_time },
        kernel: flags & PF_KTHREAD != 0,
        ended: matches!(state, 'Z' | 'X' | 'x'),
    })
}

/// When a process started, as [`ProcessStamp`] has it; `None` when it has ended.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = stat(pid).ok()?;
    (!stat.ended).then_some(stat.stamp.start_time)
}

/// The name of a process's command, of at most 15 letters. Not safe to print.
pub(crate) fn command(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Whether it is a thread of the kernel's own; one that has ended is none.
pub(crate) fn is_kernel_thread(pid: u32) -> bool {
    stat(pid).is_ok_and(|stat| stat.kernel)
}

/// The pid in a path `/proc/PID/ns/net`.
pub(super) fn of_path(path: &Path) -> Option<u32> {
    let rest = path.to_str()?.strip_prefix("/proc/")?;
    rest.strip_suffix("/ns/net")?.parse().ok()
}

/// Where the initial namespace can be opened.
///
/// Process 2 is kthreadd, and kernel threads are in the initial namespace, always: better than
/// process 1, which may deny even root (it is not dumpable under some hypervisors' agents). In
/// a container with its own process numbers, there is only process 1 to go by.
pub(super) fn host_path() -> &'static str {
    if stat(2).is_ok_and(|stat| stat.kernel) {
        "/proc/2/ns/net"
    } else {
        "/proc/1/ns/net"
    }
}

/// Whether we have CAP_SYS_PTRACE, by which other users' processes may be looked at.
pub(crate) fn may_look_at_all() -> bool {
    privilege::missing(&[Capability::SysPtrace]).is_ok_and(|missing| missing.is_none())
}

/// State, flags and start time. The second field is the command in parentheses, which may itself hold
/// spaces, parentheses and bytes that are no text.
pub(crate) fn parse(line: &[u8]) -> Option<(char, u32, u64)> {
    let end = line.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(line.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?; // field 3
    let flags = fields.nth(5)?.parse().ok()?; // field 9
    let start_time = fields.nth(12)?.parse().ok()?; // field 22
    Some((state, flags, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_and_no_text_is_passed_over() {
        let mut line = b"7 (a) Z (\xff\x1b[2J) S 1".to_vec();
        line.extend_from_slice(b" 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20\n");
        assert_eq!(parse(&line), Some(('S', 6, 4711)));
    }

    #[test]
    fn a_path_of_a_process_is_known() {
        assert_eq!(of_path(Path::new("/proc/12/ns/net")), Some(12));
        for path in [
            "/proc/self/ns/net",
            "/proc/1/task/2/ns/net",
            "/run/netns/1",
            "/proc/1/ns/mnt",
        ] {
            assert_eq!(of_path(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn a_short_line_is_refused() {
        for line in ["", "7", "7 (x)", "7 (x) S 1 2 3", "7 (x) "] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn our_own_start_time_is_read() {
        let own = stat(std::process::id()).expect("our own /proc/PID/stat");
        assert!(own.stamp.start_time > 0);
        assert!(!own.ended);
    }
}
