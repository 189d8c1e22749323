//! Hostile input: nothing that a file holds makes netns-trace crash, hang, take much memory, or send to the
//! terminal what does something there.
//!
//! Ten thousand damaged files go through the library, in this process, where one takes microseconds; the program
//! itself, which takes milliseconds to start, reads each file as it is and once damaged, in some of its modes, so
//! that each mode has seen a hundred files. `cargo xtask fuzz` looks further.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use netns_trace::fuzzing::{self, TARGETS, Target};
use netns_trace_tests::{corpus, programs::Chance, tool};

/// Chance begins with this, and the number of the file.
const SEED: u64 = 11;
/// Damaged files, at least.
const DAMAGED: usize = 10_000;
/// How long one file may take in this process, on a busy machine and without optimisation.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the program may take for one file: seconds of a processor, and bytes of address space.
const SECONDS: u32 = 10;
const MEMORY: u32 = 256 << 20;

/// Modes in which the program reads a file.
const AT_ONCE: usize = 6;

/// Ways to read a file: options, and a filter for some.
const MODES: [&str; 24] = [
    "",
    "-v",
    "-vv",
    "-vvv",
    "-e",
    "-n",
    "-q",
    "-qq",
    "-t",
    "-tt",
    "-ttt",
    "-tttt",
    "-ttttt --nano",
    "-x",
    "-xx",
    "-X",
    "-XX -e",
    "-A -vvv",
    "-AA",
    "-# -S -K -vvv -e",
    "--names -l -vv",
    "-c 3 -v",
    "--count greater 60",
    "-vvv -e ip or ip6 or arp",
];

#[test]
fn the_corpus_is_replayed() {
    for target in TARGETS {
        let inputs = inputs(&target);
        assert!(!inputs.is_empty(), "{}", target.name);
        for (path, mut input) in inputs {
            assert!(input.len() <= target.longest, "{path:?}");
            within(&path.display().to_string(), || (target.run)(&input));
            if target.name == "packets" && input.len() > 1 {
                for (options, dump) in (0..=0x7f).flat_map(|flags| [(flags, flags & 7), (flags, 0)])
                {
                    (input[0], input[1]) = (options, dump);
                    (target.run)(&input);
                }
            }
        }
    }
}

/// Each target is built, under its name, and each that is built is one.
#[test]
fn every_target_is_fuzzed() {
    let built = fs::read_to_string(repository().join("fuzz/Cargo.toml")).expect("a manifest");
    let built: Vec<&str> = built
        .lines()
        .filter_map(|line| {
            line.strip_prefix("path = \"fuzz_targets/")?
                .strip_suffix(".rs\"")
        })
        .collect();
    assert_eq!(built, TARGETS.map(|target| target.name));
    for name in built {
        let source = repository().join(format!("fuzz/fuzz_targets/{name}.rs"));
        let source = fs::read_to_string(source).expect("a target");
        assert!(
            source.contains(&format!("fuzzing::{name}(bytes)")),
            "{source}"
        );
    }
}

#[test]
fn damaged_files_do_no_harm() {
    let Some(files) = files() else { return };
    let each = DAMAGED.div_ceil(files.len());
    on_all_processors(&files, |number, path| {
        let file = fs::read(path).expect("a file");
        let mut chance = Chance::new(SEED + number as u64);
        for turn in 0..each {
            let bytes = damaged(&file, &mut chance);
            // Three bytes of options stand before a file, and four before packets.
            let mut input: Vec<u8> = (0..3).map(|_| chance.below(256) as u8).collect();
            input.extend(&bytes);
            let which = format!("{path:?}, seed {SEED}, file {number}, turn {turn}");
            within(&which, || fuzzing::files(&input));
        }
    });
}

#[test]
fn the_program_reads_every_file() {
    let Some(files) = files() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    on_all_processors(&files, |number, path| {
        let mut chance = Chance::new(SEED + number as u64);
        let bytes = damaged(&fs::read(path).expect("a file"), &mut chance);
        let broken = folder.path().join(number.to_string());
        fs::write(&broken, bytes).expect("written");
        for turn in 0..AT_ONCE {
            let mode = MODES[(number * AT_ONCE + turn) % MODES.len()];
            read(path, mode);
            read(&broken, mode);
        }
    });
}

/// Also from a pipe, where nobody knows how much there is.
#[test]
fn what_never_ends_is_bounded() {
    let section = words(&[SECTION, &[1, 20, 1, 0, 20]].concat());
    let mut child = bounded()
        .args(["read", "-", "--count"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let many = section.repeat(2000);
    let mut written = 0;
    while written < MEMORY as usize && std::io::Write::write_all(&mut stdin, &many).is_ok() {
        written += many.len();
    }
    drop(stdin);
    let done = child.wait_with_output().expect("ends");
    assert_eq!(done.status.code(), Some(1), "{done:?}");
}

/// What a short file makes much work of: a filter for each of very many interfaces, of which each packet cannot be
/// put in words.
#[test]
fn many_interfaces_take_little_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("many.pcapng");
    let mut bytes = words(SECTION);
    bytes.extend(words(&[1, 20, 105, 0, 20]).repeat((64 << 10) - 1));
    bytes.extend(words(&[1, 20, 1, 0, 20]));
    bytes.extend(words(&[6, 36, 0, 0, 0, 4, 4, 0, 36]).repeat(100_000));
    fs::write(&file, bytes).expect("written");
    for mode in ["-q", "-x", "--count greater 1"] {
        read(&file, mode);
    }
}

/// A section's header.
const SECTION: &[u32] = &[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28];

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the workspace")
}

fn inputs(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = repository().join("fuzz/corpus").join(target.name);
    let paths = corpus::files(&folder).into_iter();
    paths
        .map(|path| {
            let input = fs::read(&path).expect("an input");
            (path, input)
        })
        .collect()
}

fn files() -> Option<Vec<PathBuf>> {
    Some(corpus::files(&corpus::folder()?))
}

/// Calls it with each file and its number.
fn on_all_processors(files: &[PathBuf], work: impl Fn(usize, &Path) + Sync) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for first in 0..threads {
            let work = &work;
            let own = files.iter().enumerate().skip(first).step_by(threads);
            scope.spawn(move || own.for_each(|(number, path)| work(number, path)));
        }
    });
}

/// Bytes changed, cut out, doubled, or all from some place on.
fn damaged(file: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=chance.below(6) {
        let len = bytes.len();
        let at = chance.below(len.clamp(1, 4096) as u32) as usize;
        let end = (at + 1 + chance.below(64) as usize).min(len);
        match chance.below(8) {
            0 if at < end => drop(bytes.drain(at..end)),
            1 if at < end => bytes.extend_from_within(at..end),
            2 => bytes.truncate(len - chance.below(64).min(len as u32 / 2) as usize),
            3 if at < end => bytes[at..end].fill(0xff),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = chance.below(256) as u8;
                }
            }
        }
    }
    bytes
}

/// Calls it, and says of what if it panics or takes long.
fn within(what: &str, work: impl FnOnce() + std::panic::UnwindSafe) {
    let started = Instant::now();
    if std::panic::catch_unwind(work).is_err() {
        panic!("{what}: as said above");
    }
    assert!(
        started.elapsed() < PATIENCE,
        "{what}: {:?}",
        started.elapsed()
    );
}

/// netns-trace, which dies when it takes more than it may.
fn bounded() -> Command {
    let mut command = Command::new("prlimit");
    command
        .args([format!("--cpu={SECONDS}"), format!("--as={MEMORY}")])
        .arg(tool::binary())
        .stdin(Stdio::null());
    command
}

fn read(file: &Path, mode: &str) {
    let mut command = bounded();
    command.arg("read").arg(file).args(mode.split_whitespace());
    let done = command.output().expect("prlimit runs");
    let what = format!("{command:?}, seed {SEED}");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        matches!(done.status.code(), Some(0 | 1)),
        "{what}: {done:?}"
    );
    assert!(fuzzing::is_printable(&said), "{what}: {said:?}");
    let text = String::from_utf8(done.stdout).unwrap_or_else(|why| panic!("{what}: {why}"));
    assert!(fuzzing::is_printable(&text), "{what}: {text:?}");
}
