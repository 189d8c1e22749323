//! Network namespaces: opening one, knowing it again, working inside it.
//!
//! A namespace is entered on a short-lived thread of its own and nowhere else, because setns(2)
//! changes the calling thread alone: a pooled thread would carry the namespace to whatever runs
//! on it next. This module knows nothing of interfaces, targets or packets.

mod arrivals;
mod error;
pub(crate) mod find;
mod naming;
pub(crate) mod process;

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    panic,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::statfs::fstatfs,
};

use crate::privilege::{Capability, lacking, why_denied};

pub(crate) use self::{
    arrivals::Arrivals,
    find::{
        inode_of_process, is_name, mounts, mounts_of, name_at, name_of, own_mounts, pids, pids_in,
        threads,
    },
    naming::{bind, is_settled, path_of, reserve, unbind},
    process::{command, is_kernel_thread, may_look_at_all, start_time},
};
pub use self::{
    error::NetNsError,
    find::{Candidates, NETNS_DIRS, label_of, named, names},
    process::ProcessStamp,
};

/// The type of the file system that namespaces live on; include/uapi/linux/magic.h.
const NSFS_MAGIC: u64 = 0x6e73_6673;
/// `NS_GET_NSTYPE`, from 4.11; include/uapi/linux/nsfs.h.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
/// From 5.14; include/uapi/asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// What a namespace is known by, so that another one is never taken for it.
///
/// The inode alone does not do: the kernel hands the number of a dead namespace out again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// The device number of the namespace file system.
    pub device: u64,
    /// The inode, as `lsns` and `readlink /proc/PID/ns/net` print it.
    pub inode: u64,
    /// The number that the kernel never hands out twice, from 5.14; `None` on older kernels and
    /// where the namespace may not be entered.
    pub cookie: Option<u64>,
    /// The process that the namespace was found by, if it was found by one.
    pub process: Option<ProcessStamp>,
}

/// An open network namespace.
///
/// While it lives, so does the namespace with all its devices, even when its container has
/// ended: hold it during set-up only, and come back later with [`NetNs::reopen`].
#[derive(Debug)]
pub struct NetNs {
    fd: OwnedFd,
    path: PathBuf,
    identity: Identity,
}

impl NetNs {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// As [`NetNs::open`].
    pub fn current() -> Result<Self, NetNsError> {
        let mut ns = Self::open(Path::new("/proc/thread-self/ns/net"))?;
        // The thread's own path means another namespace on another thread: where the process is
        // in the same one, its path is the better one to come back with.
        if let Ok(own) = Self::of_process(std::process::id())
            && own.is_same(&ns)
        {
            ns.path = own.path;
            ns.identity.process = own.identity.process;
        }
        Ok(ns)
    }

    /// The machine's initial namespace, as far as /proc shows it: that of the kernel's threads,
    /// or of process 1 where no kernel thread is to be seen.
    ///
    /// # Errors
    /// As [`NetNs::open`].
    pub fn host() -> Result<Self, NetNsError> {
        Self::open(Path::new(process::host_path()))
    }

    /// Opens the network namespace at `path`. A path in /proc that names a process counts as that
    /// process, as with [`NetNs::of_process`].
    ///
    /// # Errors
    /// When nothing is there, when it is no namespace or one of another type, when the name is
    /// stale, and when the permission is missing.
    pub fn open(path: &Path) -> Result<Self, NetNsError> {
        match process::of_path(path) {
            Some(pid) => Self::of_process(pid),
            None => Self::open_with_cookie(path),
        }
    }

    fn open_with_cookie(path: &Path) -> Result<Self, NetNsError> {
        let mut ns = Self::open_plain(path)?;
        // Without the right to enter, the namespace can still be listed.
        ns.identity.cookie = ns.run(cookie_here).unwrap_or_default();
        Ok(ns)
    }

    /// Opens the network namespace of the process `pid`.
    ///
    /// # Errors
    /// When there is no such process, when it is a zombie, when it ends meanwhile, and when the
    /// permission is missing.
    pub fn of_process(pid: u32) -> Result<Self, NetNsError> {
        let before = process::stat(pid)?;
        if before.ended {
            return Err(NetNsError::Zombie { pid });
        }
        let opened = Self::open_with_cookie(Path::new(&format!("/proc/{pid}/ns/net")));
        // The same answer after opening proves that the file was this process's.
        let after = process::stat(pid)?;
        if after.stamp != before.stamp {
            return Err(NetNsError::ProcessChanged { pid });
        }
        match opened {
            Ok(mut ns) => {
                ns.identity.process = Some(before.stamp);
                Ok(ns)
            }
            Err(_) if after.ended => Err(NetNsError::Zombie { pid }),
            Err(error) => Err(error),
        }
    }

    /// Opens the namespace again from its path, and refuses another one. For the time after
    /// set-up, when nothing of ours keeps the namespace alive any more.
    ///
    /// # Errors
    /// [`NetNsError::Gone`] when the namespace no longer exists or the path leads to another one;
    /// a missing permission is told as by [`NetNs::open`].
    pub fn reopen(path: &Path, identity: &Identity) -> Result<Self, NetNsError> {
        let gone = |why: String| NetNsError::Gone {
            path: path.to_owned(),
            inode: identity.inode,
            why,
        };
        let opened = match identity.process {
            Some(stamp) => Self::of_process(stamp.pid),
            None => Self::open(path),
        };
        let ns = match opened {
            Ok(ns) => ns,
            Err(
                error @ (NetNsError::PtraceDenied { .. }
                | NetNsError::Protected { .. }
                | NetNsError::EnterDenied { .. }
                | NetNsError::Io { .. }
                | NetNsError::Thread(_)),
            ) => return Err(error),
            Err(error) => return Err(gone(error.to_string())),
        };
        let found = ns.identity();
        if (found.device, found.inode) != (identity.device, identity.inode) {
            return Err(gone(format!("its path leads to inode {} now", found.inode)));
        }
        if found.process != identity.process {
            return Err(gone("its pid belongs to another process now".into()));
        }
        if let (Some(was), Some(is)) = (identity.cookie, found.cookie)
            && was != is
        {
            return Err(gone("a newer namespace has its inode now".into()));
        }
        Ok(ns)
    }

    /// Finds a namespace again wherever it is still referenced, when the path it was found by
    /// leads there no more. Only one with a cookie (5.14) or the very same process is known for
    /// certain; older kernels have the inode alone.
    pub fn find(identity: &Identity) -> Option<Self> {
        Candidates::new()
            .filter(|(_, inode)| *inode == identity.inode)
            .filter_map(|(path, _)| Self::open(&path).ok())
            .find(|ns| {
                let found = ns.identity();
                found.device == identity.device
                    && (found.cookie.is_none() || found.cookie == identity.cookie)
            })
    }

    /// What the namespace is known by.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The inode, as `lsns` prints it.
    pub fn inode(&self) -> u64 {
        self.identity.inode
    }

    /// How the namespace was found, for [`NetNs::reopen`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the calling thread is in this namespace; false also when that cannot be told.
    pub fn is_current(&self) -> bool {
        self.is_at(Path::new("/proc/thread-self/ns/net"))
    }

    /// Whether this is the machine's initial namespace; false also when that cannot be told.
    pub fn is_host(&self) -> bool {
        self.is_at(Path::new(process::host_path()))
    }

    /// Whether both are the same namespace.
    pub fn is_same(&self, other: &NetNs) -> bool {
        let key = |ns: &NetNs| (ns.identity.device, ns.identity.inode);
        key(self) == key(other) // both are held open: neither inode can be handed out again
    }

    /// Another handle to the same namespace, which keeps it alive as well.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn try_clone(&self) -> Result<Self, NetNsError> {
        Ok(Self {
            fd: self.fd.try_clone().map_err(|source| NetNsError::Io {
                operation: "duplicate the descriptor of",
                path: self.path.clone(),
                source,
            })?,
            path: self.path.clone(),
            identity: self.identity.clone(),
        })
    }

    /// Runs `work` on a short-lived thread of its own that has entered the namespace, and
    /// returns what it returned. Sockets that `work` opens stay in the namespace wherever they
    /// are used later. A panic in `work` goes on in the caller.
    ///
    /// # Errors
    /// When no thread can be had or the namespace may not be entered; `work` has not run then.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
        thread::scope(|scope| {
            let inside = thread::Builder::new()
                .name(format!("netns-{}", self.inode()))
                .spawn_scoped(scope, || {
                    setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
                    Ok(work())
                })
                .map_err(NetNsError::Thread)?;
            match inside.join() {
                Ok(result) => result.map_err(|errno: Errno| match errno {
                    Errno::EPERM => NetNsError::EnterDenied {
                        path: self.path.clone(),
                        why: why_denied(&[Capability::SysAdmin]),
                    },
                    errno => NetNsError::Io {
                        operation: "enter the network namespace",
                        path: self.path.clone(),
                        source: errno.into(),
                    },
                }),
                Err(cause) => panic::resume_unwind(cause),
            }
        })
    }

    /// Opens without asking for the cookie, which costs a thread: for looking through many.
    pub(crate) fn open_plain(path: &Path) -> Result<Self, NetNsError> {
        // O_PATH first: opening a pipe would wait and opening a device may do things, and both
        // can stand where a namespace is expected.
        let found = open(path, libc::O_PATH).map_err(|error| open_error(path, error))?;
        let io_error = |operation: &'static str| {
            move |errno: Errno| NetNsError::Io {
                operation,
                path: path.to_owned(),
                source: errno.into(),
            }
        };
        let file_system = fstatfs(&found).map_err(io_error("look at the file system of"))?;
        if file_system.filesystem_type().0 as u64 != NSFS_MAGIC {
            return Err(if name_at(path).is_some() {
                NetNsError::Stale {
                    path: path.to_owned(),
                    why: "no namespace is mounted there any more, or only in another mount \
                          namespace",
                }
            } else {
                NetNsError::NotANamespace {
                    path: path.to_owned(),
                }
            });
        }
        let again = format!("/proc/self/fd/{}", found.as_raw_fd());
        let fd = open(Path::new(&again), libc::O_RDONLY).map_err(|e| open_error(path, e))?;
        // SAFETY: NS_GET_NSTYPE takes no argument and only reads the descriptor, which is open.
        let kind = Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) })
            .map_err(io_error("ask for the namespace type of"))?;
        if kind != libc::CLONE_NEWNET {
            return Err(NetNsError::WrongType {
                path: path.to_owned(),
                kind: kind_name(kind),
            });
        }
        let meta = fs::File::from(fd);
        let stat = meta.metadata().map_err(|source| NetNsError::Io {
            operation: "look at",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            fd: meta.into(),
            path: path.to_owned(),
            identity: Identity {
                device: stat.dev(),
                inode: stat.ino(),
                cookie: None,
                process: None,
            },
        })
    }

    /// Whether a path leads to this namespace; false also when that cannot be told.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path)
            .is_ok_and(|m| (m.dev(), m.ino()) == (self.identity.device, self.identity.inode))
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(path: &Path, flags: libc::c_int) -> io::Result<OwnedFd> {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags | libc::O_CLOEXEC)
        .open(path)
        .map(OwnedFd::from)
}

fn open_error(path: &Path, source: io::Error) -> NetNsError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound if path.is_symlink() && !path.starts_with("/proc") => {
            NetNsError::Stale {
                path,
                why: "it is a link to a file that does not exist",
            }
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => NetNsError::NotFound { path },
        io::ErrorKind::PermissionDenied if path.starts_with("/proc") => {
            match lacking(&[Capability::SysPtrace]) {
                None => NetNsError::Protected { path },
                Some(why) => NetNsError::PtraceDenied { path, why },
            }
        }
        _ => NetNsError::Io {
            operation: "open",
            path,
            source,
        },
    }
}

fn kind_name(kind: libc::c_int) -> &'static str {
    match kind {
        libc::CLONE_NEWNS => "a mount",
        libc::CLONE_NEWUTS => "a UTS",
        libc::CLONE_NEWIPC => "an IPC",
        libc::CLONE_NEWUSER => "a user",
        libc::CLONE_NEWPID => "a PID",
        libc::CLONE_NEWCGROUP => "a cgroup",
        0x80 => "a time", // CLONE_NEWTIME
        _ => "another kind of",
    }
}

/// The cookie of the calling thread's namespace.
fn cookie_here() -> Option<u64> {
    // SAFETY: socket(2) takes no pointers; the descriptor is checked before it is owned.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return None;
    }
    // SAFETY: `fd` was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the pointers are to `cookie` and to its size, both alive over the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    (result == 0 && length as usize == size_of::<u64>()).then_some(cookie)
}

#[cfg(test)]
mod tests;
