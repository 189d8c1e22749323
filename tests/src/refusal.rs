//! Runs netns-trace where it must refuse, with rights or system calls taken away, and checks how it
//! does that: what it says is one line for people, and nothing of ours is left.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{
    bed::Bed,
    patience::slowed,
    tool::{binary, netns_trace},
};

/// The user whom nothing belongs to.
const NOBODY: u32 = 65534;
/// A refusal takes no longer, also on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(5);

/// What an earlier capture wrote.
const TREASURE: &str = "an earlier capture\n";

/// The path of a file that an earlier capture wrote, and that a refusal must leave alone.
///
/// # Panics
///
/// If it cannot be written.
#[must_use]
pub fn treasure(bed: &Bed, name: &str) -> String {
    let file = bed.file(name);
    fs::write(&file, TREASURE).expect("a file");
    file.to_str().expect("a path").to_owned()
}

/// Checks that such a file is as it was.
///
/// # Panics
///
/// If it is not.
pub fn assert_untouched(file: &str) {
    assert_eq!(fs::read_to_string(file).expect("the file"), TREASURE);
}

/// Runs a command that must be refused with this exit status, and returns what it says, without
/// the program's name.
///
/// # Panics
///
/// If it is not refused so: soon, in one line of plain text, each cause once, with nothing on
/// stdout and nothing kept in /run.
pub fn refused(command: &mut Command, status: i32) -> String {
    let start = Instant::now();
    let child = command
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| panic!("{command:?} starts: {why}"));
    let pid = child.id();
    let output = child.wait_with_output().expect("its end");
    let took = start.elapsed();
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(
        output.status.code(),
        Some(status),
        "{command:?}: {}: {said}",
        output.status
    );
    assert!(took < slowed(SOON), "{command:?} took {took:?}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout, "", "{command:?}");
    let list = format!("/run/netns-trace/filters/{pid}");
    assert!(!Path::new(&list).exists(), "{list} is left");
    let line = said.strip_suffix('\n').expect("a whole line");
    let message = line
        .strip_prefix("netns-trace: ")
        .unwrap_or_else(|| panic!("{line:?}"));
    check_plain(message);
    message.to_owned()
}

/// As [`refused`], of netns-trace with these arguments, which must be refused before it makes
/// any use of bpf(2) but asking whether it is there.
pub fn refused_early(args: &[&str], status: i32) -> String {
    refused(without_bpf_use(&mut netns_trace(args)), status)
}

/// What is said where a user lacks capabilities that root has.
#[must_use]
pub fn missing(names: &[&str]) -> String {
    let (verb, them) = verb(names);
    format!(
        "{} {verb} missing (run as root, or give {them} to the program with setcap)",
        names.join(", ")
    )
}

/// What is said where root lacks them, too: they are not in its bounding set.
#[must_use]
pub fn withheld(names: &[&str]) -> String {
    let (verb, them) = verb(names);
    format!(
        "{} {verb} missing (root lacks {them} here, too: allow {them} where this container or service is started)",
        names.join(", ")
    )
}

fn verb(names: &[&str]) -> (&'static str, &'static str) {
    if names.len() == 1 {
        ("is", "it")
    } else {
        ("are", "them")
    }
}

/// Checks that a message is one line for people.
///
/// # Panics
///
/// If it has more lines, control characters, traces of Rust, or a cause twice.
pub fn check_plain(message: &str) {
    assert!(!message.contains(char::is_control), "{message:?}");
    for trace in [
        "panicked",
        "backtrace",
        "Error {",
        "Error(",
        "Some(",
        "Err(",
    ] {
        assert!(!message.contains(trace), "{message}");
    }
    let mut causes: Vec<&str> = message.split(": ").collect();
    let all = causes.len();
    causes.sort_unstable();
    causes.dedup();
    assert_eq!(causes.len(), all, "a cause twice: {message}");
}

/// Takes a capability, by its number in capabilities(7), away from a command that root starts.
pub fn without_capability(command: &mut Command, number: u32) -> &mut Command {
    let drop = move || {
        // SAFETY: prctl with numbers alone.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
        done(result)
    };
    // SAFETY: one system call, which may be made between fork and exec.
    unsafe { command.pre_exec(drop) }
}

/// A netns-trace that runs as the user nobody. The file has to stay open until it is started: its
/// folder may be closed to nobody.
///
/// # Panics
///
/// If the program cannot be opened.
#[must_use]
pub fn as_nobody(args: &[&str]) -> (Command, File) {
    let program = File::open(binary()).expect("the program");
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.args(args).uid(NOBODY).gid(NOBODY);
    (command, program)
}

/// Makes a system call of a command fail.
pub fn failing(command: &mut Command, call: libc::c_long, errno: i32) -> &mut Command {
    let fail = libc::SECCOMP_RET_ERRNO | errno as u32;
    with_filter(
        command,
        vec![
            load(0),
            skip_unless(call as u32, 1),
            answer(fail),
            answer(libc::SECCOMP_RET_ALLOW),
        ],
    )
}

/// Kills a command that uses bpf(2), but for the unknown command by which it asks whether the
/// kernel has it.
pub fn without_bpf_use(command: &mut Command) -> &mut Command {
    const FIRST_ARGUMENT: u32 = 16; // its lower half, in `struct seccomp_data`
    with_filter(
        command,
        vec![
            load(0),
            skip_unless(libc::SYS_bpf as u32, 3),
            load(FIRST_ARGUMENT),
            skip_unless(u32::MAX, 2),
            answer(libc::SECCOMP_RET_ALLOW),
            answer(libc::SECCOMP_RET_ALLOW),
            answer(libc::SECCOMP_RET_KILL_PROCESS),
        ],
    )
}

/// Gives a command a mount namespace of its own, in which a read-only file system is on `folder`.
pub fn with_read_only<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    let folder = folder.to_owned();
    let none: Option<&str> = None;
    let mounts = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none)?;
        let tmpfs = Some("tmpfs");
        mount(tmpfs, &folder, tmpfs, MsFlags::MS_RDONLY, none)?;
        Ok(())
    };
    // SAFETY: system calls on short paths, for which nothing is allocated.
    unsafe { command.pre_exec(mounts) }
}

fn with_filter(command: &mut Command, filter: Vec<libc::sock_filter>) -> &mut Command {
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: numbers alone.
        done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        // SAFETY: a live program, which the kernel copies.
        done(unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        })
    };
    // SAFETY: two system calls, which may be made between fork and exec.
    unsafe { command.pre_exec(install) }
}

fn load(offset: u32) -> libc::sock_filter {
    // SAFETY: it makes a struct of numbers.
    unsafe { libc::BPF_STMT((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, offset) }
}

fn skip_unless(value: u32, steps: u8) -> libc::sock_filter {
    let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    // SAFETY: it makes a struct of numbers.
    unsafe { libc::BPF_JUMP(code, value, 0, steps) }
}

fn answer(value: u32) -> libc::sock_filter {
    // SAFETY: it makes a struct of numbers.
    unsafe { libc::BPF_STMT((libc::BPF_RET | libc::BPF_K) as u16, value) }
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
