//! The project's own chores: `cargo xtask --help`.

mod bench;
mod build_ebpf;
mod command;
mod deny;
mod fuzz;
mod install;
mod package;
mod release;
mod test;
mod vm;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

/// The workspace's folder.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where tcpdump's own test files are, which are not in the repository.
fn pcaps() -> Result<PathBuf> {
    let named = env::var_os("NETNS_TRACE_PCAPS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| root().join("../shared/pcaps"));
    ensure!(
        folder.is_dir(),
        "{} is not there (NETNS_TRACE_PCAPS names the folder of tcpdump's test files)",
        folder.display()
    );
    Ok(folder)
}

#[derive(Subcommand)]
enum Chore {
    /// Build the eBPF object that netns-trace embeds, or check the committed one
    BuildEbpf(build_ebpf::Options),
    /// Measure what netns-trace costs, side by side with doing without
    Bench(bench::Options),
    /// Check licences, versions, sources and known vulnerabilities of what we depend on
    Deny,
    /// Make the Debian package, with man pages and shell completions, and check it
    Package(package::Options),
    /// Feed the readers of packets, files and tables with what libFuzzer makes
    Fuzz(fuzz::Options),
    /// Run all tests, in virtual machines with other kernels too
    Test(test::Options),
    /// Run the core tests, all tests, or a command, on Debian's other kernels in QEMU
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().chore {
        Chore::BuildEbpf(options) => build_ebpf::run(&options),
        Chore::Bench(options) => bench::run(&options),
        Chore::Deny => deny::run(),
        Chore::Package(options) => package::run(&options),
        Chore::Fuzz(options) => fuzz::run(&options),
        Chore::Test(options) => test::run(&options),
        Chore::Vm(options) => vm::run(&options).map(drop),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why:#}");
            ExitCode::FAILURE
        }
    }
}
