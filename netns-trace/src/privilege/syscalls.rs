//! Which system calls a thread may still make, once it only reads, writes and waits: a filter of seccomp(2).
//!
//! What is not among them fails with `ENOSYS`, as on a kernel that does not have it: libraries know what to do then,
//! and a capture is not killed for a call that nobody thought of.

use std::{collections::BTreeMap, env, io};

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// What a thread goes on to do, beside reading and writing what is open, asking maps, and waiting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doings {
    /// Makes, renames and removes files.
    pub opens_files: bool,
    /// Enters namespaces, on threads that it starts, and asks for interfaces and filters there.
    pub enters_namespaces: bool,
}

/// A thread that could not be confined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// There is no filter for this architecture.
    #[error("system calls are not filtered: {0}")]
    Unmade(#[from] BackendError),
    /// The kernel has no such filters, or refuses.
    #[error("system calls are not filtered: the kernel refuses (seccomp: {0})")]
    Refused(#[from] io::Error),
}

/// Lets the calling thread, and those that it starts, make only the system calls that this takes, for good. New
/// privileges must have been given up before (`no_new_privs`, as [`super::give_up`] does).
///
/// # Errors
///
/// There is no filter for this architecture, or the kernel refuses it. The thread is as it was then.
pub fn confine(doings: Doings) -> Result<(), ConfineError> {
    let instructions = program(doings)?;
    // struct sock_fprog, linux/filter.h
    let program = libc::sock_fprog {
        len: instructions.len() as libc::c_ushort,
        filter: instructions.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // Without SPEC_ALLOW, kernels before 5.16 turn speculative store bypass off for the thread, which costs the reader
    // of the ring dearly: <https://github.com/torvalds/linux/commit/2f46993d83ff>
    // SAFETY: a live program with its length, whose instructions are those of the kernel.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error().into())
    }
}

fn program(doings: Doings) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    let mut any = |calls: &[c_long]| rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    any(PLAIN);
    #[cfg(target_arch = "x86_64")]
    any(PLAIN_X86_64);
    if doings.opens_files {
        any(FILES);
        #[cfg(target_arch = "x86_64")]
        any(FILES_X86_64);
    }
    if doings.enters_namespaces {
        any(NAMESPACES);
        // Threads. With clone3(2), whose flags are in memory, a process could be started: the C library falls back.
        let flags = (libc::CLONE_VM | libc::CLONE_THREAD) as u64;
        rules.insert(libc::SYS_clone, vec![masked(0, flags, flags)?]);
    }
    rules.insert(libc::SYS_bpf, one_of(0, &BPF)?);
    rules.insert(libc::SYS_ioctl, one_of(1, &IOCTLS)?);
    rules.insert(libc::SYS_prctl, one_of(0, &PRCTLS)?);
    // Whether a process is there.
    rules.insert(libc::SYS_kill, one_of(1, &[0])?);
    if !doings.opens_files {
        let writes = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
        rules.insert(libc::SYS_openat, vec![masked(2, writes as u64, 0)?]);
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
        env::consts::ARCH.try_into()?,
    )?;
    filter.try_into()
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, BackendError> {
    let is_so = SeccompCmpOp::MaskedEq(mask);
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is_so, value)?;
    SeccompRule::new(vec![condition])
}

fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    let all = u64::from(u32::MAX);
    values
        .iter()
        .map(|value| masked(argument, all, *value))
        .collect()
}

/// Memory, time, signals, other threads, what is open, and looking at files. Sockets are pairs of our own: the
/// helper process is at the other end, or a handler of signals wakes its thread by them.
const PLAIN: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fadvise64,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_socketpair,
    libc::SYS_statx,
    libc::SYS_sync_file_range,
    libc::SYS_tgkill,
    libc::SYS_uname,
    libc::SYS_wait4,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The older forms of the same.
#[cfg(target_arch = "x86_64")]
const PLAIN_X86_64: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
];

/// Making, renaming and removing files.
const FILES: &[c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_mkdirat,
    libc::SYS_openat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
];

#[cfg(target_arch = "x86_64")]
const FILES_X86_64: &[c_long] = &[
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_unlink,
];

/// Entering network namespaces and asking for interfaces and filters.
const NAMESPACES: &[c_long] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_setns,
    libc::SYS_setsockopt,
    libc::SYS_socket,
];

/// Commands of bpf(2) that read and write maps and ask what is there: nothing can be loaded or attached.
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>
const BPF: [u64; 7] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    15, // BPF_OBJ_GET_INFO_BY_FD
    24, // BPF_MAP_LOOKUP_BATCH
    34, // BPF_LINK_DETACH
];

/// What is asked of terminals, pipes, namespaces and interfaces. Nothing that types for the user (`TIOCSTI`,
/// `TIOCLINUX`).
const IOCTLS: [u64; 15] = [
    libc::TCGETS,
    libc::TCGETS2,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TCSETS2,
    libc::TCSETSW2,
    libc::TCSETSF2,
    libc::TIOCGWINSZ,
    libc::TIOCGPGRP,
    libc::FIONREAD,
    libc::FIONBIO,
    libc::SIOCGIFINDEX,
    libc::SIOCGIFNAME,
    NS_GET_NSTYPE,
];

/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/nsfs.h>
const NS_GET_NSTYPE: u64 = 0xb703;

const PRCTLS: [u64; 4] = [
    libc::PR_CAPBSET_READ as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_SET_NAME as u64,
    PR_SET_VMA,
];

/// The C library names its memory: <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/prctl.h>
const PR_SET_VMA: u64 = 0x5356_4d41;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::{self, File},
        io::{Read as _, Write as _},
        net::UdpSocket,
        process::Command,
        thread,
    };

    /// Runs on a confined thread.
    fn confined<T: Send + 'static>(doings: Doings, work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(move || {
            // SAFETY: this prctl takes numbers alone.
            let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            assert_eq!(set, 0);
            confine(doings).expect("confined");
            work()
        });
        thread.join().expect("no panic")
    }

    fn errno<T>(result: io::Result<T>) -> Option<i32> {
        result.err().and_then(|why| why.raw_os_error())
    }

    const REFUSED: Option<i32> = Some(libc::ENOSYS);

    #[test]
    fn what_is_open_can_be_used_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let mut file = File::create(&path).expect("made");
        let there = path.clone();
        let seen = confined(Doings::default(), move || {
            file.write_all(b"four").expect("written");
            file.set_len(3).expect("cut");
            let mut text = String::new();
            let mut read = File::open(&there).expect("opened");
            read.read_to_string(&mut text).expect("read");
            assert_eq!(text, "fou");
            let new = there.with_extension("new");
            // SAFETY: numbers, and the null pointers that mean nothing here.
            let bare = |call, first: c_long| match unsafe { libc::syscall(call, first, 0, 0, 0, 0) }
            {
                -1 => io::Error::last_os_error().raw_os_error(),
                _ => None,
            };
            [
                errno(File::create(&new)),
                errno(File::options().append(true).open(&there)),
                errno(fs::rename(&there, &new)),
                errno(fs::remove_file(&there)),
                errno(UdpSocket::bind("127.0.0.1:0")),
                errno(Command::new("true").spawn()),
                errno(thread::Builder::new().spawn(|| ())),
                bare(libc::SYS_setns, -1),
                bare(libc::SYS_unshare, 0),
                bare(libc::SYS_ptrace, 0),
                bare(libc::SYS_kill, 0).filter(|errno| *errno != libc::ENOSYS),
                bare(libc::SYS_bpf, 5), // BPF_PROG_LOAD
                bare(libc::SYS_mount, 0),
            ]
        });
        let mut expected = [REFUSED; 13];
        // Signal 0 asks.
        expected[10] = None;
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_is_needed_later_is_possible() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let doings = Doings {
            opens_files: true,
            enters_namespaces: false,
        };
        confined(doings, move || {
            fs::write(&path, "new").expect("written");
            fs::rename(&path, path.with_extension("y")).expect("renamed");
            assert_eq!(errno(UdpSocket::bind("127.0.0.1:0")), REFUSED);
        });
        let doings = Doings {
            opens_files: false,
            enters_namespaces: true,
        };
        confined(doings, || {
            thread::scope(|scope| {
                scope.spawn(|| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
            });
            assert_eq!(errno(Command::new("true").spawn()), REFUSED);
        });
    }
}
