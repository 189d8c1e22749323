//! All tests: those of this machine's kernel, then the core ones on other kernels. Ends with one
//! line that counts them all.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{build_ebpf, install, vm};

/// Programs that tests use as second witnesses, or have their containers from, with their Debian
/// packages.
const WITNESSES: [(&str, &str); 34] = [
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("capinfos", "wireshark-common"),
    ("tcpreplay", "tcpreplay"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ping", "iputils-ping"),
    ("socat", "socat"),
    ("sysctl", "procps"),
    ("nft", "nftables"),
    ("bpftrace", "bpftrace"),
    ("tmux", "tmux"),
    ("chromium", "chromium"),
    ("xmllint", "libxml2-utils"),
    ("bpftool", "bpftool"),
    ("conntrack", "conntrack"),
    ("ethtool", "ethtool"),
    ("iptables-legacy-save", "iptables"),
    ("setcap", "libcap2-bin"),
    ("setpriv", "util-linux"),
    ("lsns", "util-linux"),
    ("busybox", "busybox-static"),
    ("curl", "curl"),
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("docker-init", "docker.io"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("podman", "podman"),
    ("crun", "crun"),
    ("slirp4netns", "slirp4netns"),
    ("newuidmap", "uidmap"),
];

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A test that is skipped is a failure (also with CI=true in the environment)
    #[arg(long)]
    ci: bool,
    /// This machine's kernel only
    #[arg(long)]
    no_vm: bool,
    /// Try longer what can be tried for any time: 100 kills of each command, half an hour of flood
    #[arg(long)]
    long: bool,
    /// For the tests' own command line, such as a part of a test's name
    #[arg(last = true)]
    args: Vec<String>,
}

/// What a run of tests came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// The counts of a line such as `test result: ok. 3 passed; 0 failed; …`.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let rest = line.trim().strip_prefix("test result: ")?;
        let number = |word: &str| {
            let part = rest
                .split([';', '.'])
                .find(|part| part.trim().ends_with(word))?;
            part.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            passed: number(" passed")?,
            failed: number(" failed")?,
        })
    }
}

/// Runs them.
pub(crate) fn run(options: &Options) -> Result<()> {
    install::need(&WITNESSES)?;
    let ci = options.ci || std::env::var("CI").is_ok_and(|value| value == "true");
    let test = |what: &[&str]| -> Result<(Count, bool)> {
        // The tests run the command itself.
        cargo(&["build", "--workspace"])?;
        let mut command = Command::new(env!("CARGO"));
        command
            .arg("test")
            .args(what)
            .args(["--no-fail-fast", "--"]);
        command.args(&options.args).stdin(Stdio::null());
        if ci {
            command.env("CI", "true");
        }
        if options.long {
            command.env("NETNS_TRACE_LONG", "1");
        }
        counted(command)
    };
    let (mut count, mut clean) = test(&["--workspace"])?;
    if ci {
        let core = ["--package", "netns-trace-tests", "--test", "core"];
        if let Some((more, fine)) = build_ebpf::with_fresh_object(|| test(&core))? {
            count.add(more);
            clean &= fine;
        }
    }
    if !options.no_vm {
        match vm::run(&vm::Options::core()) {
            Ok(more) => count.add(more),
            Err(why) => {
                eprintln!("the tests on other kernels failed: {why:#}");
                count.failed += 1;
                clean = false;
            }
        }
    }
    println!("\n{} passed, {} failed", count.passed, count.failed);
    ensure!(clean && count.failed == 0, "tests failed");
    ensure!(count.passed > 0, "no test ran");
    Ok(())
}

fn cargo(args: &[&str]) -> Result<()> {
    let status = Command::new(env!("CARGO")).args(args).status();
    let status = status.context("cannot run cargo")?;
    ensure!(
        status.success(),
        "cargo {} failed ({status})",
        args.join(" ")
    );
    Ok(())
}

/// Runs a test program and passes its output on; the sum of its result lines, and whether it
/// succeeded.
fn counted(mut command: Command) -> Result<(Count, bool)> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the tests")?;
    let mut count = Count::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cannot read the tests' output")?;
            println!("{line}");
            if let Some(result) = Count::of_line(&line) {
                count.add(result);
            }
        }
    }
    Ok((count, child.wait()?.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(
            Count::of_line(line),
            Some(Count {
                passed: 12,
                failed: 3
            })
        );
        assert_eq!(Count::of_line("test a ... ok"), None);
    }
}
