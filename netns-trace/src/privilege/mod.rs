//! What this process may do, as the kernel says it: the capabilities in force, asked for before
//! anything is made, so that a refusal names the one that is missing and leaves nothing behind. And
//! giving them up, once what needs them is done, with the system calls that are not needed any more.

mod give_up;
mod syscalls;
mod user;

use std::{fmt, fs, io, os::unix::fs::MetadataExt as _};

pub use self::{
    give_up::{GiveUpError, Kept, give_up, raised},
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
    /// Interfaces, addresses and classifiers.
    NetAdmin,
    /// Packets as they are on the wire, ICMP among them.
    NetRaw,
    /// Entering namespaces, making them, mounting.
    SysAdmin,
    /// Looking at the processes of other users.
    SysPtrace,
}

impl Capability {
    /// Its number, <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/capability.h>.
    const fn number(self) -> u32 {
        match self {
            Self::DacOverride => 1,
            Self::NetAdmin => 12,
            Self::NetRaw => 13,
            Self::SysPtrace => 19,
            Self::SysAdmin => 21,
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
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
        })
    }
}

/// Capabilities that are needed and not there; never none. Printed with its verb, as in
/// `CAP_BPF, CAP_PERFMON are missing (run as root)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingCapabilities(Vec<Capability>);

impl fmt::Display for MissingCapabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Capability::to_string).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        write!(f, "{} {verb} missing (run as root)", names.join(", "))
    }
}

/// Where the kernel tells of the calling thread's capabilities.
pub const STATUS: &str = "/proc/thread-self/status";

/// Which of these capabilities the calling thread lacks, if any.
///
/// # Errors
/// When [`STATUS`] cannot be read.
pub fn missing(needed: &[Capability]) -> io::Result<Option<MissingCapabilities>> {
    Ok(missing_in(&fs::read_to_string(STATUS)?, needed))
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

fn missing_in(status: &str, needed: &[Capability]) -> Option<MissingCapabilities> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let lacks = |capability: &Capability| effective & (1 << capability.number()) == 0;
    let missing: Vec<Capability> = needed.iter().copied().filter(lacks).collect();
    (!missing.is_empty()).then_some(MissingCapabilities(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        let needed = [Capability::Bpf, Capability::NetAdmin, Capability::SysAdmin];
        let said = |status| missing_in(status, &needed).map(|missing| missing.to_string());
        assert_eq!(said("CapEff:\t000001ffffffffff\n"), None);
        assert_eq!(
            said("Name:\tx\nCapEff:\t0000008000001000\n").as_deref(),
            Some("CAP_SYS_ADMIN is missing (run as root)")
        );
        assert_eq!(
            said("").as_deref(),
            Some("CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN are missing (run as root)")
        );
    }
}
