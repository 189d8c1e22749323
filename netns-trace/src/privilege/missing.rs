//! What is missing for a piece of work, and the ways out: worded here and nowhere else.

use std::{fmt, fs, io};

use super::{Capability, is_confined};

/// Capabilities that are needed and not there; never none. Printed with its verb, as in
/// `CAP_BPF, CAP_PERFMON are missing (run as root, or give them to the program with setcap)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingCapabilities {
    names: Vec<Capability>,
    /// Whether root has them here: else what has started us lets nobody have them.
    of_root: bool,
}

impl MissingCapabilities {
    /// That they are missing, without the ways out, which stand elsewhere then.
    #[must_use]
    pub fn brief(&self) -> String {
        let names: Vec<String> = self.names.iter().map(Capability::to_string).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        format!("{} {verb} missing", names.join(", "))
    }
}

impl fmt::Display for MissingCapabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let them = if self.names.len() == 1 { "it" } else { "them" };
        let way_out = if self.of_root {
            format!("run as root, or give {them} to the program with setcap")
        } else {
            format!(
                "root lacks {them} here, too: allow {them} where this container or service is started"
            )
        };
        write!(f, "{} ({way_out})", self.brief())
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

/// Why the kernel has denied what takes these capabilities, and the way out.
#[must_use]
pub fn why_denied(needed: &[Capability]) -> String {
    lacking(needed).unwrap_or_else(|| {
        "no capability is missing: a seccomp filter or a security module forbids it".to_owned()
    })
}

/// The same, and `None` where all of them are there, and count.
#[must_use]
pub fn lacking(needed: &[Capability]) -> Option<String> {
    match missing(needed) {
        Ok(Some(missing)) => Some(missing.to_string()),
        Ok(None) => is_confined().then(|| NOT_COUNTED.to_owned()),
        Err(why) => Some(format!("cannot read {STATUS}: {why}")),
    }
}

/// What the kernel has said of a file or folder in /run, with what is missing if that is why.
#[must_use]
pub fn of_roots_file(why: &io::Error) -> String {
    match why.raw_os_error() {
        Some(libc::EACCES) => format!("{why}; {}", why_denied(&[Capability::DacOverride])),
        _ => why.to_string(),
    }
}

/// What is to be said where [`is_confined`].
pub const NOT_COUNTED: &str = "the capabilities are those of a user namespace, which do not count for the machine \
                               (run as root outside of it)";

fn missing_in(status: &str, needed: &[Capability]) -> Option<MissingCapabilities> {
    let set = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0)
    };
    let (effective, bounding) = (set("CapEff:"), set("CapBnd:"));
    let bit = |capability: &Capability| 1 << capability.number();
    let lacks = |capability: &Capability| effective & bit(capability) == 0;
    let names: Vec<Capability> = needed.iter().copied().filter(lacks).collect();
    let of_root = names.iter().all(|name| bounding & bit(name) != 0);
    (!names.is_empty()).then_some(MissingCapabilities { names, of_root })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named_with_the_ways_out() {
        let needed = [Capability::Bpf, Capability::NetAdmin, Capability::SysAdmin];
        let said = |status: &str| missing_in(status, &needed).map(|missing| missing.to_string());
        let bounding = "CapBnd:\t000001ffffffffff\n";
        assert_eq!(said("CapEff:\t000001ffffffffff\n"), None);
        assert_eq!(
            said(&format!("Name:\tx\nCapEff:\t0000008000001000\n{bounding}")).as_deref(),
            Some("CAP_SYS_ADMIN is missing (run as root, or give it to the program with setcap)")
        );
        assert_eq!(
            said(bounding).as_deref(),
            Some(
                "CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN are missing (run as root, or give them to the program with \
                 setcap)"
            )
        );
        // As in a container.
        assert_eq!(
            said("CapEff:\t00000000a80435fb\nCapBnd:\t00000000a80435fb\n").as_deref(),
            Some(
                "CAP_BPF, CAP_SYS_ADMIN are missing (root lacks them here, too: allow them where this container or \
                 service is started)"
            )
        );
    }
}
