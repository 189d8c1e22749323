//! Runs programs on Debian's other kernels, in QEMU: the core tests by default, all tests with `--all`.
//!
//! `kernels` fetches a kernel, `guest` packs it a root file system, and here it is booted and
//! listened to. `suite` runs all tests, on the disks that `disk` makes.

mod arch;
mod cross;
mod disk;
mod guest;
mod kernels;
mod left_out;
mod libraries;
mod outcome;
mod suite;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    iter, panic,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use self::{
    arch::Arch,
    cross::{Builder, Made},
    kernels::{Installed, KERNELS, Kernel, OTHERS},
};
use crate::{install, test::Count};

/// Programs that this chore needs, with their Debian packages; `Arch::needs` has more.
const PROGRAMS: [(&str, &str); 5] = [
    ("depmod", "kmod"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
    ("gpgv", "gpgv"),
    ("strip", "binutils"),
];
/// What the guest prints last, with the command's exit status.
const MARKER: &str = "NETNS_TRACE_VM_EXIT=";
/// What the guest prints first.
const UP: &str = "NETNS_TRACE_VM_UP";
/// Time to get there. Emulated, that takes ten seconds; once in many boots, the firmware never ends.
const UP_LIMIT: Duration = Duration::from_secs(90);
/// How often a machine that does not come up is started.
const BOOTS: usize = 3;
/// Time for one kernel to boot and run everything, under software emulation.
const LIMIT: Duration = Duration::from_secs(600);
/// Guests that run at once: most of what one does keeps one CPU busy.
const AT_ONCE: usize = 2;
/// The same, of another architecture: with two, the test of a known delay failed in both.
const FOREIGN_AT_ONCE: usize = 1;

/// What `cargo xtask vm` takes.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Only this kernel; may be given several times. 6.12-arm64 is the one for 64-bit ARM, and so
    /// are the others [default: all without -arm64]
    #[arg(long, value_name = "5.10|6.1|6.12|7.2[-arm64]")]
    kernel: Vec<String>,
    /// A file that the guest needs, with its path there; may be given several times
    #[arg(long, value_name = "HOST[:GUEST]")]
    file: Vec<String>,
    /// Run the whole suite, but for what needs the host (hours: guests are emulated), or of it the tests that
    /// are named: FILE or FILE::PART_OF_A_NAME
    #[arg(long, conflicts_with = "file")]
    all: bool,
    /// A command to run, or tests with --all [default: the core tests]
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Options {
    /// The core tests on all kernels.
    pub(crate) fn core() -> Self {
        Self::default()
    }
}

/// A kernel that is here, with the name that users know it by.
type Named = (&'static str, Installed);

/// Runs on each kernel in turn; the sum of the tests that ran.
pub(crate) fn run(options: &Options) -> Result<Count> {
    let kernels = chosen(&options.kernel)?;
    let mut archs: Vec<&Arch> = Vec::new();
    for kernel in &kernels {
        if !archs.contains(&kernel.arch) {
            archs.push(kernel.arch);
        }
    }
    let mut programs = PROGRAMS.to_vec();
    programs.extend(archs.iter().flat_map(|arch| arch.needs()));
    install::need(&programs)?;
    let cache = kernels::cache();
    let fetch = |arch: &Arch| -> Result<Vec<Named>> {
        let of_it = kernels.iter().filter(|kernel| kernel.arch == arch);
        of_it
            .map(|kernel| Ok((kernel.name, kernel.fetch(&cache)?)))
            .collect()
    };
    if options.all {
        let arch = archs
            .first()
            .copied()
            .filter(|arch| archs.len() == 1 && arch.is_native());
        let arch = arch.context("--all runs kernels of this machine's own architecture")?;
        suite::run(arch, &fetch(arch)?, &options.command)?;
        return Ok(Count::default());
    }
    let is_test = options.command.is_empty();
    let (mut count, mut failed) = (Count::default(), Vec::new());
    for arch in archs {
        let guest = prepare(options, arch, &cache)?;
        let installed = fetch(arch)?;
        let ran = on_each(&installed, |name, kernel| {
            run_on(name, kernel, &guest, &cache)
        });
        for (name, ran) in ran {
            match ran {
                Ok(seen) if is_test && seen.passed == 0 => {
                    failed.push((name, "no test ran".into()));
                }
                Ok(seen) => count.add(seen),
                Err(why) => failed.push((name, format!("{why:#}"))),
            }
        }
    }
    for (name, why) in &failed {
        eprintln!("{name}: {why}");
    }
    let failed: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
    if failed.is_empty() {
        Ok(count)
    } else {
        bail!("failed on {}", failed.join(", "))
    }
}

/// The kernels of these names, or those that are not only run by name.
fn chosen(names: &[String]) -> Result<Vec<&'static Kernel>> {
    let known = || KERNELS.iter().chain(&OTHERS);
    for name in names {
        ensure!(
            known().any(|kernel| kernel.name == name),
            "there is no kernel {name:?}: {}",
            known()
                .map(|kernel| kernel.name)
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    Ok(if names.is_empty() {
        KERNELS.iter().collect()
    } else {
        known()
            .filter(|kernel| names.iter().any(|name| name == kernel.name))
            .collect()
    })
}

/// What guests of an architecture hold and run.
fn prepare(options: &Options, arch: &Arch, cache: &Path) -> Result<guest::Guest> {
    let mut guest = guest::Guest::default();
    if options.command.is_empty() {
        let (tests, program) = build_core(&Builder::of(arch, cache)?)?;
        guest.file(&tests, "/bin/core-tests");
        guest.file(&program, "/bin/netns-trace");
        guest.command("NETNS_TRACE_BIN=/bin/netns-trace NETNS_TRACE_GUEST=1 CI=true /bin/core-tests --test-threads=1");
    } else {
        guest.command(&options.command.join(" "));
    }
    for file in &options.file {
        let (host, there) = file.split_once(':').unwrap_or((file, file));
        guest.file(Path::new(host), there);
    }
    Ok(guest)
}

/// Does something on kernels, several at a time; what came of it, in their order.
fn on_each<T: Send>(
    kernels: &[Named],
    work: impl Fn(&'static str, &Installed) -> Result<T> + Sync,
) -> Vec<(&'static str, Result<T>)> {
    let is_native = kernels.iter().all(|(_, kernel)| kernel.arch.is_native());
    let at_once = if is_native { AT_ONCE } else { FOREIGN_AT_ONCE };
    let waiting = Mutex::new(kernels.iter().enumerate());
    let next = || waiting.lock().ok()?.next();
    let worker = || -> Vec<(usize, &'static str, Result<T>)> {
        iter::from_fn(next)
            .map(|(at, (name, kernel))| (at, *name, work(name, kernel)))
            .collect()
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended
            .flat_map(|ran| ran.unwrap_or_else(|why| panic::resume_unwind(why)))
            .collect()
    });
    done.sort_by_key(|(at, ..)| *at);
    done.into_iter()
        .map(|(_, name, result)| (name, result))
        .collect()
}

/// Boots one kernel and runs the guest's command; the tests that ran.
fn run_on(name: &str, installed: &Installed, guest: &guest::Guest, cache: &Path) -> Result<Count> {
    let image = cache.join(format!("{name}.cpio.gz"));
    guest.pack(installed, &image)?;
    let log = cache.join(format!("{name}.log"));
    let start = Instant::now();
    let mut lines = Vec::new();
    for boot in 1..=BOOTS {
        println!("{name}: booting Linux {}", installed.release);
        lines = boot_once(name, installed, &image, &log)?;
        if lines.iter().any(|line| line.contains(UP)) {
            break;
        }
        println!("{name}: it did not come up within {UP_LIMIT:?} ({boot} of {BOOTS} times)");
    }
    let said = |prefix: &str| {
        lines
            .iter()
            .rev()
            .find_map(|line| Some(line.split_once(prefix)?.1.trim().to_owned()))
    };
    let tail = || lines[lines.len().saturating_sub(40)..].join("\n");
    let status = said(MARKER)
        .with_context(|| format!("it did not come to its end within {LIMIT:?}:\n{}", tail()))?;
    ensure!(
        status == "0",
        "exit status {status}, see {}:\n{}",
        log.display(),
        tail()
    );
    let mut count = Count::default();
    lines
        .iter()
        .filter_map(|line| Count::of_line(line))
        .for_each(|seen| count.add(seen));
    println!(
        "{name}: {} passed, {} failed on Linux {} in {:.0} s",
        count.passed,
        count.failed,
        installed.release,
        start.elapsed().as_secs_f64()
    );
    Ok(count)
}

/// Boots a machine, and listens to its console until it ends, does not come up, or takes too long.
fn boot_once(name: &str, kernel: &Installed, image: &Path, log: &Path) -> Result<Vec<String>> {
    let mut qemu = machine(kernel, image, "1024");
    qemu.arg("-append")
        .arg(format!("console={} quiet panic=-1", kernel.arch.console));
    let mut child = Qemu(
        qemu.spawn()
            .with_context(|| format!("cannot run {}", kernel.arch.qemu()))?,
    );
    listen(name, &mut child.0, log)
}

/// A machine with a console and nothing else, and so many MiB of memory; it lacks the kernel's command
/// line.
fn machine(kernel: &Installed, image: &Path, memory: &str) -> Command {
    let mut qemu = Command::new(kernel.arch.qemu());
    qemu.args(kernel.arch.machine)
        .args(["-m", memory, "-smp", "2"])
        .args([
            "-nographic",
            "-no-reboot",
            "-nodefaults",
            "-serial",
            "stdio",
        ])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    qemu
}

/// A virtual machine that goes with this value.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        if self.0.kill().is_ok()
            && let Err(why) = self.0.wait()
        {
            eprintln!("qemu: {why}");
        }
    }
}

/// Reads the console until the machine ends or its time is over.
fn listen(name: &str, child: &mut Child, log: &Path) -> Result<Vec<String>> {
    let start = Instant::now();
    let mut end = start + UP_LIMIT;
    let receiver = console(child)?;
    let mut lines = Vec::new();
    while let Ok(line) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if line.contains(UP) {
            end = start + LIMIT;
        }
        if line.starts_with("test ") || line.contains("panicked at") {
            println!("{name}: {line}");
        }
        lines.push(line);
    }
    fs::write(log, lines.join("\n")).with_context(|| format!("cannot write {}", log.display()))?;
    Ok(lines)
}

/// The lines of a machine's console, as they come.
fn console(child: &mut Child) -> Result<Receiver<String>> {
    let stdout = child.stdout.take().context("no console")?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut console = BufReader::new(stdout);
        let mut line = Vec::new();
        while console
            .read_until(b'\n', &mut line)
            .is_ok_and(|len| len > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Builds the core tests and the program that they run; their paths.
fn build_core(builder: &Builder) -> Result<(PathBuf, PathBuf)> {
    let tests = [
        "--no-run",
        "--package",
        "netns-trace-tests",
        "--test",
        "core",
    ];
    let tests = builder.build(&[&["test"][..], &tests].concat())?;
    let program = builder.build(&["build", "--package", "netns-trace"])?;
    Ok((
        Made::find(tests, "core", "test")?,
        Made::find(program, "netns-trace", "bin")?,
    ))
}
