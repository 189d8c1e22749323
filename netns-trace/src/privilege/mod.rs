//! What this process may do, as the kernel says it: the capabilities in force, asked for before
//! anything is made, so that a refusal names the one that is missing and leaves nothing behind. And
//! giving them up, once what needs them is done, with the system calls that are not needed any more.

mod give_up;
mod missing;
mod syscalls;
mod user;

use std::{fmt, fs, os::unix::fs::MetadataExt as _};

pub use self::{
    give_up::{GiveUpError, Kept, give_up, raised},
    missing::{
        MissingCapabilities, NOT_COUNTED, STATUS, lacking, missing, of_roots_file, why_denied,
    },
    syscalls::{ConfineError, Doings, confine},
    user::{User, UserError},
};

/// A right that some of our work needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Loading eBPF programs and making maps.
    Bpf,
    /// Programs that read kernel memory, and the verifier's leave to do so.
    Perfmon,
    /// Files of other users.
    DacOverride,
    /// The same, to read them alone.
    DacReadSearch,
    /// Interfaces, addresses and classifiers.
    NetAdmin,
    /// Packets as they are on the wire, ICMP among them.
    NetRaw,
    /// Entering namespaces, making them, mounting.
    SysAdmin,
    /// Looking at the processes of other users.
    SysPtrace,
    /// Lifting limits, such as that of locked memory.
    SysResource,
}

impl Capability {
    /// Its number, <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/capability.h>.
    const fn number(self) -> u32 {
        match self {
            Self::DacOverride => 1,
            Self::DacReadSearch => 2,
            Self::NetAdmin => 12,
            Self::NetRaw => 13,
            Self::SysPtrace => 19,
            Self::SysAdmin => 21,
            Self::SysResource => 24,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }
}

/// As the manual names it, capabilities(7).
impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::DacOverride => "CAP_DAC_OVERRIDE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysResource => "CAP_SYS_RESOURCE",
        })
    }
}

/// Whether this process is in a user namespace of its own, whose root has every capability, none of
/// which counts for the machine itself; false also when that cannot be told.
#[must_use]
pub fn is_confined() -> bool {
    /// `USER_NS_INIT_INO`, the same in every kernel since 3.8:
    /// <https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/nsfs.h>
    const INITIAL: u64 = 0xefff_fffd;
    fs::metadata("/proc/thread-self/ns/user").is_ok_and(|ns| ns.ino() != INITIAL)
}

/// Whether this process sees only some of the machine's processes: it is in a PID namespace of its own.
#[must_use]
pub fn is_in_pid_namespace() -> bool {
    /// `PROC_PID_INIT_INO`, the same in every kernel since 3.8:
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/proc_ns.h>
    const INITIAL: u64 = 0xefff_fffc;
    fs::metadata("/proc/self/ns/pid").is_ok_and(|ns| ns.ino() != INITIAL)
}
