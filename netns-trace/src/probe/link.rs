//! A TCX link: what keeps a program attached, and the only thing to know of its interface's end.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya::programs::links::FdLink;

/// Commands of the bpf system call.
/// <https://github.com/torvalds/linux/blob/v6.6/include/uapi/linux/bpf.h#L881>
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const LINK_GET_FD_BY_ID: libc::c_int = 30;

/// An attached TCX program, detached when this is dropped. That takes about 9 ms: an RCU grace
/// period.
pub(super) struct TcxLink {
    fd: OwnedFd,
}

/// The start of `struct bpf_link_info` with its `tcx` member; the kernel copies as much of its
/// own as is asked for. <https://github.com/torvalds/linux/blob/v6.6/include/uapi/linux/bpf.h#L6539>
#[repr(C)]
#[derive(Default)]
struct TcxLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    attach_type: u32,
}

/// What [`OBJ_GET_INFO_BY_FD`] takes.
#[repr(C)]
struct InfoByFd {
    fd: u32,
    len: u32,
    info: u64,
}

/// What the commands take that open an object by its id.
#[repr(C)]
struct FdById {
    id: u32,
    next_id: u32,
    flags: u32,
}

impl TcxLink {
    /// Takes a link over from aya.
    pub(super) fn take(link: FdLink) -> io::Result<Self> {
        Ok(Self { fd: own_fd(link)? })
    }

    /// From what keeps it.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// What keeps it attached.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Whether the interface is gone: the kernel then takes the link off it and leaves index 0.
    /// <https://github.com/torvalds/linux/blob/v6.6/kernel/bpf/tcx.c#L223>
    pub(super) fn is_gone(&self) -> bool {
        info_of::<TcxLinkInfo>(&self.fd).is_ok_and(|info| info.ifindex == 0)
    }
}

/// A descriptor of a link, in place of aya's, which it keeps to itself.
pub(super) fn own_fd(link: FdLink) -> io::Result<OwnedFd> {
    let id = link.info().map_err(io::Error::other)?.id();
    open_by_id(LINK_GET_FD_BY_ID, id)
}

/// Opens an object by its id, with the command for its kind.
pub(super) fn open_by_id(command: libc::c_int, id: u32) -> io::Result<OwnedFd> {
    let mut attributes = FdById {
        id,
        next_id: 0,
        flags: 0,
    };
    let fd = bpf(command, &mut attributes)?;
    // SAFETY: the call succeeded, so it is a descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the kernel tells of an object. `T` starts as the kernel's own struct for its kind does.
pub(super) fn info_of<T: Default>(fd: &OwnedFd) -> io::Result<T> {
    let mut info = T::default();
    let mut attributes = InfoByFd {
        fd: fd.as_raw_fd() as u32,
        len: size_of::<T>() as u32,
        info: (&raw mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

/// The bpf system call.
pub(super) fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes live across the call, with their size given, and some commands write
    // to them; pointers in them are the caller's, valid for as long.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}
