//! Fuzzing: each target of `fuzz/` is built with coverage, by stable Rust, and run on what libFuzzer makes of the
//! committed corpus and of capture files.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use netns_trace::fuzzing::{TARGETS, Target};
use sha2::{Digest as _, Sha256};

use crate::{install, pcaps, root};

/// Most memory of a target, MiB.
const MEMORY: u32 = 512;
/// Seconds that one input may take.
const PATIENCE: u32 = 10;

/// What cargo-fuzz has built; no sanitizer, which stable Rust has none of.
const RUSTFLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// What `cargo xtask fuzz` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// This one only: packets, files, records, filters, names, states or answers
    target: Option<String>,
    /// Inputs that each is given
    #[arg(long, default_value_t = 1_000_000)]
    runs: u64,
    /// Seconds for each, in place of a number of inputs
    #[arg(long, conflicts_with = "runs")]
    seconds: Option<u64>,
}

/// Runs them, a line for each.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted =
        |target: &&Target| (options.target.as_ref()).is_none_or(|name| name == target.name);
    let targets: Vec<&Target> = TARGETS.iter().filter(wanted).collect();
    ensure!(!targets.is_empty(), "there is no such target");
    install::need(&[("g++", "g++")])?;
    let files = capture_files()?;
    let programs = build()?;
    println!(
        "{:<8} {:>10} {:>8} {:>9} {:>7} {:>7}",
        "target", "executions", "seconds", "a second", "MiB", "crashes"
    );
    let mut crashed = Vec::new();
    for target in targets {
        let corpus = corpus(target, &files)?;
        let done = fuzz(&programs.join(target.name), target, &corpus, options)?;
        let seconds = done.seconds.max(0.001);
        println!(
            "{:<8} {:>10} {seconds:>8.1} {:>9.0} {:>7} {:>7}",
            target.name,
            done.executions,
            done.executions as f64 / seconds,
            done.memory,
            u8::from(done.failure.is_some())
        );
        crashed.extend(done.failure);
    }
    ensure!(crashed.is_empty(), "{}", crashed.join("\n"));
    Ok(())
}

/// Capture files that are there to begin with; the tests' own, which are not in the repository.
fn capture_files() -> Result<Vec<Vec<u8>>> {
    let folder = match pcaps() {
        Ok(folder) => folder,
        Err(why) if env::var("CI").is_ok_and(|value| value == "true") => {
            bail!("{why}, and CI leaves nothing out")
        }
        Err(why) => {
            println!("only the committed corpus: {why}");
            return Ok(Vec::new());
        }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder:?}"))? {
        files.push(fs::read(entry?.path())?);
    }
    Ok(files)
}

/// Builds all targets; tells where they are.
fn build() -> Result<PathBuf> {
    let folder = root().join("target/fuzz/build");
    let version = Command::new("rustc").arg("-vV").output();
    let version = version.context("cannot run rustc")?.stdout;
    let version = String::from_utf8_lossy(&version);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc does not tell its host")?;
    // With a target that is named, build scripts and macros are built without coverage.
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--target",
            host,
        ])
        .arg("--manifest-path")
        .arg(root().join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"))
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the fuzz targets do not build ({status})");
    Ok(folder.join(host).join("release"))
}

/// The folder of a target's inputs: those that are committed, those made of capture files, and what earlier runs
/// have found.
fn corpus(target: &Target, files: &[Vec<u8>]) -> Result<PathBuf> {
    let folder = root().join("target/fuzz/corpus").join(target.name);
    fs::create_dir_all(&folder)?;
    let committed = root().join("fuzz/corpus").join(target.name);
    for entry in fs::read_dir(&committed).with_context(|| format!("cannot read {committed:?}"))? {
        keep(&folder, &fs::read(entry?.path())?)?;
    }
    for seed in files.iter().flat_map(|file| (target.seeds)(file)) {
        if seed.len() <= target.longest {
            keep(&folder, &seed)?;
        }
    }
    Ok(folder)
}

fn keep(folder: &Path, input: &[u8]) -> Result<()> {
    let name: String = Sha256::digest(input)[..20]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let path = folder.join(name);
    fs::write(&path, input).with_context(|| format!("cannot write {path:?}"))
}

/// What a run came to.
struct Outcome {
    executions: u64,
    seconds: f64,
    /// At its most, MiB.
    memory: u64,
    /// What was wrong, with the input that shows it.
    failure: Option<String>,
}

fn fuzz(program: &Path, target: &Target, corpus: &Path, options: &Options) -> Result<Outcome> {
    let artifacts = root().join("target/fuzz/artifacts");
    fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(program);
    command
        .arg(corpus)
        .arg(match options.seconds {
            Some(seconds) => format!("-max_total_time={seconds}"),
            None => format!("-runs={}", options.runs),
        })
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-timeout={PATIENCE}"))
        .arg(format!("-max_len={}", target.longest))
        .arg(format!(
            "-artifact_prefix={}/{}-",
            artifacts.display(),
            target.name
        ))
        .arg("-print_final_stats=1")
        .stdin(Stdio::null());
    let started = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program:?}"))?;
    let seconds = started.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    let number = |what: &str| {
        let value = said.lines().find_map(|line| line.strip_prefix(what));
        value.and_then(|value| value.trim().parse().ok())
    };
    Ok(Outcome {
        executions: number("stat::number_of_executed_units:").unwrap_or(0),
        seconds,
        memory: number("stat::peak_rss_mb:").unwrap_or(0),
        failure: (!output.status.success()).then(|| failure(target, &said)),
    })
}

/// What libFuzzer said at its end.
fn failure(target: &Target, said: &str) -> String {
    let is_telling = |line: &&str| {
        let tells = ["panicked at", "ERROR: libFuzzer", "Test unit written to"];
        tells.iter().any(|what| line.contains(what))
    };
    let lines: Vec<&str> = said.lines().collect();
    let told: Vec<&str> = (lines.iter().copied().filter(is_telling))
        .map(|line| line.split_once("; ").map_or(line, |(_, path)| path))
        .collect();
    let told = if told.is_empty() {
        lines[lines.len().saturating_sub(10)..].join("\n  ")
    } else {
        told.join("\n  ")
    };
    format!("{}:\n  {told}", target.name)
}
