//! Pins maps where nobody else sees them, so that several loads of one object share them.
//!
//! A BPF file system that is mounted nowhere: it needs no folder, and the kernel takes it down
//! with its last descriptor, however the process ends.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::PathBuf,
};

use super::ProbeError;

/// A detached BPF file system.
pub(super) struct Pins {
    mount: OwnedFd,
}

/// `FSCONFIG_CMD_CREATE`: <https://github.com/torvalds/linux/blob/v5.10/include/uapi/linux/mount.h#L98>
const FSCONFIG_CMD_CREATE: libc::c_long = 6;

impl Pins {
    /// Makes the file system (`fsopen` and `fsmount`, Linux 5.2).
    pub(super) fn new() -> Result<Self, ProbeError> {
        Self::make().map_err(|source| ProbeError::Pins { source })
    }

    fn make() -> io::Result<Self> {
        Ok(Self {
            mount: detached(c"bpf")?,
        })
    }

    /// Where a map of this name is pinned, for this process.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.mount.as_raw_fd()))
    }
}

/// The root of a file system of a type that is mounted nowhere.
pub(super) fn detached(file_system: &CStr) -> io::Result<OwnedFd> {
    let none: *const libc::c_char = std::ptr::null();
    // SAFETY: a NUL-terminated name and flags.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, file_system.as_ptr(), 1) })?;
    // SAFETY: an open descriptor; this command takes neither key nor value.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            none,
            none,
            0,
        )
    };
    if created != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: an open descriptor and flags (FSMOUNT_CLOEXEC).
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, 0) })
}

/// The descriptor that a system call returned, or its error.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it is a descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
