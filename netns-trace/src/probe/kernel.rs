//! What this kernel offers, and what this process may do, checked before anything is made.

use std::io;

use nix::sys::utsname::uname;

use super::ProbeError;
use crate::privilege::{self, Capability};

/// The BPF ring buffer's first release: <https://github.com/torvalds/linux/commit/457f44363a88>
const OLDEST: (u32, u32) = (5, 8);
/// TCX's first release: <https://github.com/torvalds/linux/commit/e420bed02507>
const TCX: (u32, u32) = (6, 6);

/// The first release where maps may be used by whoever has them, whatever `kernel.unprivileged_bpf_disabled` says:
/// <https://github.com/torvalds/linux/commit/c8644cd0efe7>
const FREE_MAPS: (u32, u32) = (5, 19);

/// What loading and attaching need.
const NEEDED: [Capability; 4] = [
    Capability::Bpf,
    Capability::Perfmon,
    Capability::NetAdmin,
    Capability::SysAdmin,
];

/// Checks that the running kernel has BPF, and a release that has the ring buffer.
///
/// # Errors
///
/// [`ProbeError::Kernel`] says what is needed and what was found.
pub fn check_kernel() -> Result<(), ProbeError> {
    let found = release()?;
    if version(&found) < OLDEST {
        return Err(ProbeError::Kernel {
            needed: "Linux 5.8 or newer (BPF ring buffer)".to_owned(),
            found,
        });
    }
    // SAFETY: an unknown command with no attributes; the kernel refuses it, and tells by the
    // error whether it knows the call at all.
    let result = unsafe { libc::syscall(libc::SYS_bpf, -1, std::ptr::null::<u8>(), 0) };
    if result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
        return Err(ProbeError::Kernel {
            needed: "the bpf system call (CONFIG_BPF_SYSCALL=y, CONFIG_NET_CLS_BPF)".to_owned(),
            found: format!("{found}, which does not have it (or a seccomp filter hides it)"),
        });
    }
    Ok(())
}

/// Whether classifiers attach as TCX links here.
pub(super) fn has_tcx() -> bool {
    release().is_ok_and(|release| version(&release) >= TCX)
}

/// Whether this kernel is older than a release, as far as it tells.
pub(super) fn is_before(first: (u32, u32)) -> bool {
    release().is_ok_and(|release| version(&release) < first)
}

fn release() -> Result<String, ProbeError> {
    let name = uname().map_err(|errno| ProbeError::Read {
        what: "the kernel's release".to_owned(),
        source: errno.into(),
    })?;
    Ok(name.release().to_string_lossy().into_owned())
}

/// Major and minor version; zeroes where a release does not start with them.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Checks that this process has the capabilities that loading and attaching need.
///
/// # Errors
///
/// [`ProbeError::Privilege`] names those that are missing, [`ProbeError::Confined`] says that those
/// that are there do not count.
pub fn check_privileges() -> Result<(), ProbeError> {
    match privilege::missing(&NEEDED) {
        Ok(None) if privilege::is_confined() => Err(ProbeError::Confined),
        Ok(None) => Ok(()),
        Ok(Some(missing)) => Err(ProbeError::Privilege { missing }),
        Err(source) => Err(ProbeError::Read {
            what: privilege::STATUS.to_owned(),
            source,
        }),
    }
}

/// What loading and attaching need.
#[must_use]
pub fn needed_to_attach() -> Vec<Capability> {
    NEEDED.to_vec()
}

/// What taking clsact filters off needs, in their namespaces, with the list of them in /run.
#[must_use]
pub fn needed_to_detach() -> Vec<Capability> {
    vec![
        Capability::NetAdmin,
        Capability::SysAdmin,
        Capability::SysPtrace,
        Capability::DacOverride,
    ]
}

/// What is needed still to use the maps once all is attached.
#[must_use]
pub fn needed_later() -> Vec<Capability> {
    if is_before(FREE_MAPS) {
        vec![Capability::Bpf]
    } else {
        Vec::new()
    }
}

/// How many CPUs the kernel may ever have: its per-CPU values and CPU numbers run up to this.
///
/// # Errors
///
/// The kernel does not tell.
pub fn possible_cpus() -> Result<u32, ProbeError> {
    aya::util::nr_cpus()
        .map(|cpus| cpus as u32)
        .map_err(|(what, source)| ProbeError::Read {
            what: what.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_real_releases() {
        assert_eq!(version("5.10.0-36-cloud-amd64"), (5, 10));
        assert_eq!(version("6.18.44-fc-v669"), (6, 18));
        assert_eq!(version("7.2-rc1"), (7, 2));
        assert_eq!(version("odd"), (0, 0));
        assert!(version("5.7.19") < OLDEST);
    }
}
