//! How long it takes until a capture listens, and from an interrupt to its end.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Result, ensure};
use netns_trace::lab::{self, LabSpec, Topology};

use super::{page::Section, range, running::Running};

/// What `cargo xtask bench start` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs of each command
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Containers that are captured at once in the last case
    #[arg(long, default_value_t = 100)]
    many: usize,
}

/// Runs it.
pub(crate) fn run(program: &Path, options: &Options) -> Result<Section> {
    ensure!(options.runs > 0 && options.many > 0, "nothing to run");
    crate::install::need(&[("tcpdump", "tcpdump")])?;
    let mut spec = LabSpec::new(Topology::Bridge, format!("start{}", std::process::id()));
    // A bridge has two at least.
    spec.count = Some(options.many.max(2));
    let lab = lab::up_private(&spec)?;
    let names: Vec<String> = lab.containers().map(|node| node.name.clone()).collect();
    let one = format!("netns:{}", names[0]);
    let many: Vec<String> = names.iter().map(|name| format!("netns:{name}")).collect();
    let many = many[..options.many.min(many.len())].join(",");
    let mut tcpdump = Command::new("nsenter");
    tcpdump.arg(format!("--net=/run/netns/{}", names[0]));
    tcpdump.args(["tcpdump", "-p", "-i", "eth0", "-w", "/dev/null"]);
    let ours = |targets: &str, options: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(["capture", targets, "-w", "/dev/null"])
            .args(options);
        command
    };
    let only = ["--no-latency"];
    let mut cases = [
        ("tcpdump".to_owned(), "", tcpdump, options.runs),
        ("eth0".to_owned(), "2", ours(&one, &only), options.runs),
        (
            "eth0, a filter".to_owned(),
            "2",
            ours(&one, &["--no-latency", "tcp port 443"]),
            options.runs,
        ),
        (
            "eth0 and times to the veth, which comes up behind".to_owned(),
            "2 + 2",
            ours(&one, &[]),
            options.runs,
        ),
        (
            format!("eth0 of {} targets", options.many),
            "2 each",
            ours(&many, &only),
            options.runs.div_ceil(5),
        ),
    ];
    let mut section = Section::new(
        "Starting and ending",
        "Each link costs the kernel a grace period of RCU, of 9 to 15 ms here, which nothing shortens; so does taking it \
         off.",
        &[
            "capture at",
            "links",
            "until it listens",
            "to end",
            "peak memory",
        ],
    );
    for (name, links, command, runs) in &mut cases {
        let (mut starts, mut ends, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..*runs {
            let before = Instant::now();
            let running = Running::start(command, "listening on")?;
            starts.push(before.elapsed().as_secs_f64() * 1e3);
            let before = Instant::now();
            peaks.push(running.stop()?.peak_mib);
            ends.push(before.elapsed().as_secs_f64() * 1e3);
        }
        section.row(&[
            name.clone(),
            (*links).to_owned(),
            format!("{} ms", range(&mut starts, 0)),
            format!("{} ms", range(&mut ends, 0)),
            format!("{} MiB", range(&mut peaks, 0)),
        ]);
    }
    lab.down()?;
    Ok(section)
}
