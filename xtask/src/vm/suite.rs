//! The whole suite in guests: every test that needs a kernel, in a Debian with the tests' witnesses.
//!
//! Each test is a process of its own with a time limit of its own. A guest that stops altogether is
//! started again behind the test that it stopped at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    AT_ONCE, BOOTS, Named, Qemu, UP, UP_LIMIT,
    arch::Arch,
    console,
    cross::{Builder, Made},
    disk, guest,
    kernels::{self, Installed},
    left_out, machine, on_each,
    outcome::{BEGIN, END, Event, Outcome, Tally},
};
use crate::{install, pcaps};

/// Programs that it needs beside those for every guest.
const PROGRAMS: [(&str, &str); 3] = [
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("du", "coreutils"),
];
/// Time for one test, in seconds. The longest take a few minutes, emulated.
const TEST_LIMIT: u64 = 600;
/// Time without a word from a guest in which a test runs: then the guest itself has stopped.
const SILENCE: Duration = Duration::from_secs(TEST_LIMIT + 60);
/// How many times longer the tests wait there.
const SLOWNESS: u32 = 4;
/// Memory of a guest, in MiB: the witnesses have large buffers, and captures are written there too.
const MEMORY: &str = "6144";

/// A test: its file, and its name there.
type Test = (String, String);

/// Runs the tests that are wanted (all where none is named) on kernels; fails if one fails.
pub(super) fn run(arch: &Arch, kernels: &[Named], wanted: &[String]) -> Result<()> {
    install::need(&PROGRAMS)?;
    let cache = kernels::cache();
    let built = build(arch, &cache)?;
    let plan = plan(&built, wanted)?;
    let disks = Disks {
        debian: disk::debian(&cache)?,
        suite: pack(&built, &plan, &cache)?,
    };
    println!(
        "{} tests on each of {} kernels, {AT_ONCE} at a time",
        plan.len(),
        kernels.len()
    );
    let mut failed = Vec::new();
    let tallies = on_each(kernels, |name, kernel| {
        on_kernel(name, kernel, &disks, &plan, &cache)
    });
    for ((name, tally), (_, kernel)) in tallies.into_iter().zip(kernels) {
        let (said, is_clean) = match tally {
            Ok(tally) => (tally.to_string(), tally.is_clean()),
            Err(why) => (format!("{why:#}"), false),
        };
        println!("\n{name} (Linux {}): {said}", kernel.release);
        if !is_clean {
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "failed on {}", failed.join(", "));
    Ok(())
}

/// What was built: netns-trace, and the tests' programs by their names.
struct Built {
    program: PathBuf,
    tests: BTreeMap<String, PathBuf>,
}

fn build(arch: &Arch, cache: &Path) -> Result<Built> {
    let builder = Builder::of(arch, cache)?;
    let guest = ["--profile", "guest", "--package"];
    let program = builder.build(&[&["build"][..], &guest, &["netns-trace"]].concat())?;
    let tests = ["netns-trace-tests", "--no-run"];
    let tests = builder.build(&[&["test"][..], &guest, &tests].concat())?;
    Ok(Built {
        program: Made::find(program, "netns-trace", "bin")?,
        tests: (tests.into_iter())
            .filter(|made| made.kind == "test")
            .map(|made| (made.name, made.path))
            .collect(),
    })
}

/// The tests to run, in order; says which are left out.
fn plan(built: &Built, wanted: &[String]) -> Result<Vec<Test>> {
    let mut plan = Vec::new();
    let mut left_out: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for (file, program) in &built.tests {
        for test in names(program)? {
            if !is_wanted(file, &test, wanted) {
                continue;
            }
            match left_out::why(file, &test) {
                Some(why) => {
                    *left_out
                        .entry(why)
                        .or_default()
                        .entry(file.clone())
                        .or_default() += 1;
                }
                None => plan.push((file.clone(), test)),
            }
        }
    }
    for (why, files) in left_out {
        let files: Vec<String> = files
            .iter()
            .map(|(file, count)| format!("{file} ({count})"))
            .collect();
        println!("left out: {}: {why}", files.join(", "));
    }
    ensure!(
        !plan.is_empty(),
        "there is no such test: {}",
        wanted.join(", ")
    );
    Ok(plan)
}

/// Whether a test is named, by its file, or by file and a part of its name (`taps::a_clone`).
fn is_wanted(file: &str, test: &str, wanted: &[String]) -> bool {
    wanted.is_empty()
        || wanted.iter().any(|one| match one.split_once("::") {
            None => one == file,
            Some((of, part)) => of == file && test.contains(part),
        })
}

/// The tests that a program holds.
fn names(program: &Path) -> Result<Vec<String>> {
    let output = Command::new(program)
        .args(["--list", "--format", "terse"])
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tests = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(tests.map(str::to_owned).collect())
}

/// The disks that all guests read.
struct Disks {
    debian: PathBuf,
    suite: PathBuf,
}

/// Packs netns-trace, the tests, what they read, and what runs them.
fn pack(built: &Built, plan: &[Test], cache: &Path) -> Result<PathBuf> {
    let folder = tempfile::tempdir_in(cache)?;
    let root = folder.path();
    for name in ["tests", "pcaps"] {
        fs::create_dir(root.join(name))?;
    }
    disk::put(&built.program, &root.join("netns-trace"))?;
    let files: BTreeSet<&String> = plan.iter().map(|(file, _)| file).collect();
    for (file, program) in &built.tests {
        if files.contains(file) {
            disk::put(program, &root.join("tests").join(file))?;
        }
    }
    let pcaps = pcaps()?;
    let entries = fs::read_dir(&pcaps).with_context(|| format!("cannot read {pcaps:?}"))?;
    for entry in entries {
        let entry = entry?;
        fs::copy(entry.path(), root.join("pcaps").join(entry.file_name()))?;
    }
    let lines = plan.iter().map(|(file, test)| format!("{file} {test}\n"));
    fs::write(root.join("plan"), lines.collect::<String>())?;
    let init = format!(
        "LIMIT={TEST_LIMIT} BEGIN={BEGIN} END={END}\nexport NETNS_TRACE_SLOWNESS={SLOWNESS}\n{}",
        include_str!("suite.sh")
    );
    fs::write(root.join("init"), init)?;
    let disk = cache.join("suite.ext4");
    disk::pack(root, &disk, 8)?;
    Ok(disk)
}

/// Runs the plan on one kernel, in as many guests as it takes.
fn on_kernel(
    name: &str,
    kernel: &Installed,
    disks: &Disks,
    plan: &[Test],
    cache: &Path,
) -> Result<Tally> {
    let start = Instant::now();
    let mut first = guest::Guest::default();
    first.command(ENTER);
    let image = cache.join(format!("{name}.suite.cpio.gz"));
    first.pack(kernel, &image)?;
    let modules = disk::modules(name, kernel, cache)?;
    let log = cache.join(format!("{name}.suite.log"));
    let log = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut run = Run {
        name,
        kernel,
        image,
        // /dev/vda and so on, in this order.
        drives: [disks.debian.clone(), disks.suite.clone(), modules],
        plan,
        log,
        done: 0,
        tally: Tally::default(),
    };
    let mut boots = 0;
    while run.done < plan.len() {
        println!("{name}: booting Linux {}", kernel.release);
        boots = if run.boot()? { 0 } else { boots + 1 };
        ensure!(boots < BOOTS, "it did not come up ({BOOTS} times)");
    }
    run.tally.took = start.elapsed();
    Ok(run.tally)
}

/// From the initramfs to the Debian.
const ENTER: &str = "\
    mount -t ext4 /dev/vda /mnt && mount -t ext4 -o ro /dev/vdb /mnt/suite \
    && mount -t ext4 -o ro /dev/vdc /mnt/usr/lib/modules \
    && { from=$(sed -n 's/.*suite_from=\\([0-9]*\\).*/\\1/p' /proc/cmdline); \
    umount -l /proc /sys /dev /run /tmp; \
    exec switch_root /mnt /bin/sh /suite/init \"$from\"; }";

/// One kernel's way through the plan.
struct Run<'a> {
    name: &'a str,
    kernel: &'a Installed,
    image: PathBuf,
    drives: [PathBuf; 3],
    plan: &'a [Test],
    log: fs::File,
    /// How many tests of the plan have ended.
    done: usize,
    tally: Tally,
}

impl Run<'_> {
    /// Boots a guest, which goes on with the plan, and listens until it ends or falls silent. False if it
    /// did not get to a test.
    fn boot(&mut self) -> Result<bool> {
        let mut qemu = machine(self.kernel, &self.image, MEMORY);
        qemu.arg("-append").arg(format!(
            "console=ttyS0 quiet panic=-1 suite_from={}",
            self.done + 1
        ));
        for drive in &self.drives {
            // What is written goes to a file that nobody else sees.
            qemu.arg("-drive").arg(format!(
                "file={},format=raw,if=virtio,snapshot=on",
                drive.display()
            ));
        }
        let mut child = Qemu(qemu.spawn().context("cannot run qemu-system-x86_64")?);
        let lines = console(&mut child.0)?;
        let (mut limit, before) = (UP_LIMIT, self.done);
        let mut running: Option<&Test> = None;
        let mut said = Vec::new();
        let why = loop {
            let line = match lines.recv_timeout(limit) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => break "the guest stopped answering",
                Err(RecvTimeoutError::Disconnected) => break "the guest ended",
            };
            writeln!(self.log, "{line}").context("cannot write the log")?;
            if line.contains(UP) {
                limit = SILENCE;
            }
            match Event::of(&line) {
                Event::Begin => {
                    running = self.plan.get(self.done);
                    said.clear();
                }
                Event::Said => said.push(line),
                Event::End { status, seconds } => {
                    if let Some(test) = running.take() {
                        self.end(test, Outcome::new(status, &said), seconds);
                    }
                }
            }
        };
        if let Some(test) = running {
            said.push(why.to_owned());
            self.end(test, Outcome::Failed(said.join("\n")), limit.as_secs());
        }
        Ok(self.done > before)
    }

    /// Counts a test that has ended, and says so.
    fn end(&mut self, test: &Test, outcome: Outcome, seconds: u64) {
        let (file, name) = test;
        if let Outcome::Failed(said) = &outcome {
            println!("{}: {file}::{name} FAILED after {seconds} s:", self.name);
            said.lines().for_each(|line| println!("    {line}"));
        }
        self.tally.add(file, name, outcome, seconds);
        self.done += 1;
        if self
            .plan
            .get(self.done)
            .is_none_or(|(next, _)| next != file)
        {
            println!("{}: {file}: {}", self.name, self.tally.of_file(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_by_file_and_part_of_a_name() {
        let wanted = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            is_wanted("taps", "a_clone_is_one", &words)
        };
        assert!(wanted(&[]) && wanted(&["link", "taps"]) && wanted(&["taps::clone"]));
        assert!(!wanted(&["tap"]) && !wanted(&["taps::other"]) && !wanted(&["link::clone"]));
    }
}
