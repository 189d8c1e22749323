//! netns-trace as an ordinary user who has some capabilities, without tools that a small root file system lacks.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use crate::refusal::as_nobody;

const NOBODY: u32 = 65534;

/// A capability by its name and its number in capabilities(7).
pub type Capability = (&'static str, u32);

/// For every capture and measurement.
pub const BASE: [Capability; 4] = [
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];
/// For the list of filters in /run/netns-trace.
pub const DAC_OVERRIDE: Capability = ("CAP_DAC_OVERRIDE", 1);
/// For lifting limits.
pub const SYS_RESOURCE: Capability = ("CAP_SYS_RESOURCE", 24);

/// The two words of a set, in `capset(2)`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `_LINUX_CAPABILITY_VERSION_3`
const VERSION: u32 = 0x2008_0522;

/// A netns-trace that runs as the user nobody with these capabilities alone, and with at most so much locked memory.
/// The file has to stay open until it is started, as [`as_nobody`]'s.
///
/// # Panics
///
/// If the program cannot be opened.
#[must_use]
pub fn nobody_with(
    args: &[&str],
    capabilities: &[Capability],
    memlock: libc::rlimit,
) -> (Command, File) {
    let (plain, program) = as_nobody(args);
    // Its user and its group are not set there: that would take the capabilities before they can be kept.
    let mut command = Command::new(plain.get_program());
    command.args(plain.get_args()).stdin(Stdio::null());
    let numbers: Vec<u32> = capabilities.iter().map(|(_, number)| *number).collect();
    let become_it = move || {
        // SAFETY: a struct that lives over the call.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const memlock) }.into())?;
        become_nobody()?;
        keep(&numbers)
    };
    // SAFETY: system calls alone, which may be made between fork and exec.
    unsafe { command.pre_exec(become_it) };
    (command, program)
}

fn become_nobody() -> io::Result<()> {
    // SAFETY: numbers, and no list of groups.
    unsafe {
        checked(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
        checked(libc::syscall(
            libc::SYS_setgroups,
            0,
            std::ptr::null::<u8>(),
        ))?;
        checked(libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY))?;
        checked(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY))
    }
}

/// Keeps these, also over the execve(2) that follows.
fn keep(numbers: &[u32]) -> io::Result<()> {
    let word = |half: u32| {
        let bits = numbers
            .iter()
            .filter(|number| **number / 32 == half)
            .fold(0, |bits, number| bits | 1 << (number % 32));
        Sets {
            effective: bits,
            permitted: bits,
            inheritable: bits,
        }
    };
    let (header, sets) = (
        Header {
            version: VERSION,
            pid: 0,
        },
        [word(0), word(1)],
    );
    // SAFETY: structs as the call takes them, which live over it.
    checked(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) })?;
    for number in numbers {
        // SAFETY: numbers alone.
        let raised = unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE,
                *number,
                0,
                0,
            )
        };
        checked(raised.into())?;
    }
    Ok(())
}

fn checked(result: libc::c_long) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
