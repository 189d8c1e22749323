//! What capturing costs the traffic that is captured, and what of it is lost: netns-trace beside tcpdump, dumpcap and
//! nothing.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use netns_trace::probe::RunTime;

use super::{
    page::Section,
    range, spread,
    tool::{Outcome, Place, Tool},
    traffic::{Containers, SMALL, Traffic},
};

/// What `cargo xtask bench capture` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds of runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    case: String,
    /// Where the file is: memory, disk, null or all
    #[arg(long, default_value = "all")]
    to: String,
    /// Only netns-trace and tcpdump
    #[arg(long)]
    brief: bool,
}

struct Case {
    name: &'static str,
    traffic: Traffic,
    /// Options for all.
    options: &'static [&'static str],
    /// Options for netns-trace.
    ours: &'static [&'static str],
    places: &'static [Place],
}

const FULL: &[Place] = &[Place::Memory, Place::Disk];

const CASES: &[Case] = &[
    Case {
        name: "TCP 5 Gbit/s, full packets",
        traffic: Traffic::Tcp(Some(5)),
        options: &[],
        ours: &[],
        places: FULL,
    },
    Case {
        name: "TCP 8 Gbit/s, full packets",
        traffic: Traffic::Tcp(Some(8)),
        options: &[],
        ours: &[],
        places: FULL,
    },
    Case {
        name: "TCP unthrottled, full packets",
        traffic: Traffic::Tcp(None),
        options: &[],
        ours: &[],
        places: &[Place::Memory, Place::Disk, Place::Null],
    },
    Case {
        name: "TCP unthrottled, -s 96",
        traffic: Traffic::Tcp(None),
        options: &["-s", "96"],
        ours: &["--no-latency"],
        places: &[Place::Memory],
    },
    Case {
        name: "64-byte UDP flood, -s 96",
        traffic: SMALL,
        options: &["-s", "96"],
        ours: &["--no-latency"],
        places: &[Place::Memory],
    },
    Case {
        name: "64-byte UDP flood, -s 96, with times",
        traffic: SMALL,
        options: &["-s", "96"],
        ours: &[],
        places: &[Place::Memory],
    },
    Case {
        name: "64-byte UDP flood of 8 flows, -s 96",
        traffic: Traffic::Udp(64, 8),
        options: &["-s", "96"],
        ours: &["--no-latency"],
        places: &[Place::Memory],
    },
    Case {
        name: "512-byte UDP flood, full packets",
        traffic: Traffic::Udp(512, 1),
        options: &[],
        ours: &["--no-latency"],
        places: &[Place::Memory],
    },
    Case {
        name: "1500-byte UDP flood, full packets",
        traffic: Traffic::Udp(1514, 1),
        options: &[],
        ours: &["--no-latency"],
        places: &[Place::Memory],
    },
    Case {
        name: "UDP GSO flood, full packets",
        traffic: Traffic::UdpGso,
        options: &[],
        ours: &["--no-latency"],
        places: &[Place::Disk],
    },
    Case {
        name: "ping -f, full packets",
        traffic: Traffic::Ping,
        options: &[],
        ours: &["--no-latency"],
        places: &[Place::Memory],
    },
];

/// One tool's runs of a case.
#[derive(Default)]
struct Runs {
    rates: Vec<f64>,
    /// To the run without anything of the same round.
    ratios: Vec<f64>,
    /// Nanoseconds more than that, for each of what the rate counts.
    costs: Vec<f64>,
    /// Per cent.
    lost: Vec<f64>,
    /// Megabytes.
    captured: Vec<f64>,
    /// Processor seconds of the program for a million packets.
    cpu: Vec<f64>,
    peak: Vec<f64>,
    /// Nanoseconds of one run of our programs, by the kernel's own account.
    bpf_ns: Option<f64>,
}

impl Runs {
    fn add(&mut self, alone: f64, rate: f64, outcome: &Outcome) {
        let received = (outcome.captured + outcome.lost) as f64;
        self.rates.push(rate);
        self.ratios.push(rate / alone);
        self.costs.push(1e9 / rate - 1e9 / alone);
        self.lost
            .push(outcome.lost as f64 / received.max(1.0) * 100.0);
        self.captured.push(outcome.bytes as f64 / 1e6);
        self.cpu.push(outcome.cpu_s / (received / 1e6));
        self.peak.push(outcome.peak_mib);
    }
}

/// Runs it.
pub(crate) fn run(program: &Path, options: &Options) -> Result<Section> {
    ensure!(options.rounds > 0 && options.seconds > 0, "nothing to run");
    crate::install::need(&[
        ("tcpdump", "tcpdump"),
        ("dumpcap", "wireshark-common"),
        ("iperf3", "iperf3"),
        ("ping", "iputils-ping"),
    ])?;
    let containers = Containers::new(Duration::from_secs(options.seconds))?;
    let mut section = Section::new(
        "Capturing",
        "At eth0 of the container that sends. *ratio*: the sender's rate to that without a capture just before, or how much longer a round trip \
         takes. *lost*: of the packets that the program should have. *CPU s/M*: seconds of processor time of the program for \
         a million packets. *BPF ns*: one run of our program, by the kernel's own account, which is itself in it. *memory*: \
         the process's peak; ours has the ring in it twice, as its pages are mapped twice.",
        &[
            "case", "file in", "program", "rate", "ratio", "lost", "captured", "CPU s/M", "BPF ns",
            "memory",
        ],
    );
    let tools = match options.brief {
        true => &[Tool::Tcpdump, Tool::Ours][..],
        false => &[Tool::Tcpdump, Tool::TcpdumpLarge, Tool::Dumpcap, Tool::Ours],
    };
    for case in CASES
        .iter()
        .filter(|case| case.name.contains(&options.case))
    {
        for place in case.places {
            if options.to == "all" || options.to == place.name() {
                measure(
                    &mut section,
                    program,
                    &containers,
                    case,
                    place,
                    tools,
                    options.rounds,
                )?;
            }
        }
    }
    containers.down()?;
    Ok(section)
}

fn measure(
    section: &mut Section,
    program: &Path,
    containers: &Containers,
    case: &Case,
    place: &Place,
    tools: &[Tool],
    rounds: usize,
) -> Result<()> {
    let mut alone = Vec::new();
    let mut all: Vec<Runs> = tools.iter().map(|_| Runs::default()).collect();
    for _ in 0..rounds {
        let without = containers.send(case.traffic)?;
        alone.push(without);
        for (tool, runs) in tools.iter().zip(&mut all) {
            let (_folder, file) = place.file()?;
            let running = tool.start(program, &containers.from, case.options, case.ours, &file)?;
            let rate = containers.send(case.traffic)?;
            let outcome = tool.outcome(&running.stop()?, &file)?;
            runs.add(without, rate, &outcome);
        }
    }
    // In a run of its own, since the account costs more than what it counts.
    for (tool, runs) in tools.iter().zip(&mut all) {
        if *tool == Tool::Ours {
            let (_folder, file) = place.file()?;
            let running = tool.start(program, &containers.from, case.options, case.ours, &file)?;
            let account = RunTime::account()?;
            containers.send(case.traffic)?;
            runs.bpf_ns = account.of_each_packet()?;
            drop(running.stop()?);
        }
    }
    section.row(&[
        case.name.to_owned(),
        place.name().to_owned(),
        "nothing".to_owned(),
        rate(case.traffic, spread(&mut alone).0),
    ]);
    for (tool, mut runs) in tools.iter().zip(all) {
        let middle = |figures: &mut Vec<f64>| spread(figures).0;
        section.row(&[
            String::new(),
            String::new(),
            tool.name().to_owned(),
            rate(case.traffic, middle(&mut runs.rates)),
            match case.traffic {
                Traffic::Ping => {
                    runs.costs.iter_mut().for_each(|cost| *cost /= 1e3);
                    format!("{} µs more", range(&mut runs.costs, 2))
                }
                _ => range(&mut runs.ratios, 3),
            },
            format!("{} %", range(&mut runs.lost, 1)),
            format!("{:.0} MB", middle(&mut runs.captured)),
            format!("{:.2}", middle(&mut runs.cpu)),
            runs.bpf_ns.map_or(String::new(), |ns| format!("{ns:.0}")),
            format!("{:.0} MiB", middle(&mut runs.peak)),
        ]);
    }
    Ok(())
}

fn rate(traffic: Traffic, rate: f64) -> String {
    match traffic {
        Traffic::Tcp(_) => format!("{:.2} Gbit/s", rate / 1e9),
        Traffic::Udp(..) | Traffic::UdpGso => format!("{:.0} k/s", rate / 1e3),
        Traffic::Ping => format!("{:.2} µs", 1e6 / rate),
    }
}
