//! The project's own chores: `cargo xtask --help`.

mod build_ebpf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Builds the eBPF object that netns-trace embeds, or checks the committed one
    BuildEbpf(build_ebpf::Options),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().chore {
        Chore::BuildEbpf(options) => build_ebpf::run(&options),
    }
}
