//! `netns-trace capture`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{ArgAction, Args};
use netns_trace_ebpf::MAX_SNAPLEN;

use super::{
    filter::{FilterArgs, Targets},
    logger,
    out::print,
    rotation::RotationArgs,
    text::TextArgs,
    units,
};
use crate::{
    capture::Format,
    probe::AttachMethod,
    process::ProcessFilter,
    session::{self, CaptureConfig, Direction, OutputTo, SummaryFormat},
    topology::Role,
};

/// Size of the ring where none is given.
const DEFAULT_RING: u32 = 16 << 20;

/// What `capture` takes. Letters are tcpdump's, with its meaning.
#[derive(Debug, Args)]
pub(super) struct CaptureArgs {
    /// A container's name or id, NAMESPACE/POD, docker:NAME, podman:NAME, ctr:ID, pod:NAMESPACE/NAME,
    /// netns:NAME, pid:N, inode:N, /a/path, host or all; several with commas
    #[arg(value_name = "TARGET")]
    targets: Targets,
    #[command(flatten)]
    filter: FilterArgs,
    /// Print the filter's code, classic BPF and eBPF, and capture nothing
    #[arg(long)]
    print_filter: bool,
    /// Interface in the namespace [default: eth0, else the only one]
    #[arg(short = 'i', long = "interface", value_name = "IFACE")]
    interface: Option<String>,
    /// Write packets to FILE (- for stdout) rather than print them
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after N packets
    #[arg(short = 'c', long = "count", value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep at most N bytes of each packet (0: the most, 262144)
    #[arg(short = 's', long = "snapshot-length", value_name = "N", default_value_t = MAX_SNAPLEN, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_SNAPLEN)))]
    snaplen: u32,
    /// Only packets that the interface receives, or sends
    #[arg(
        short = 'Q',
        long = "direction",
        value_name = "in|out|inout",
        default_value = "inout",
        hide_possible_values = true
    )]
    direction: Direction,
    /// Size of the buffer between kernel and user, in KiB
    #[arg(
        short = 'B',
        long = "buffer-size",
        value_name = "KiB",
        conflicts_with = "buffer",
        allow_negative_numbers = true,
        value_parser = units::ring_kib
    )]
    buffer_kib: Option<u32>,
    /// The same with a unit, such as 64M; rounded up to a power of two [default: 16M]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = units::ring)]
    buffer: Option<u32>,
    /// Keep the first BYTES of packets that come while the buffer is filling up, rather than lose some of them wholly
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "128",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SNAPLEN)))]
    shed: Option<u32>,
    /// Take one of N packets
    #[arg(long, value_name = "1/N", value_parser = units::one_of)]
    sample: Option<u32>,
    /// Write each packet as it comes
    #[arg(short = 'U', long = "packet-buffered")]
    unbuffered: bool,
    /// End after this time (500ms, 5s, 2m)
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    duration: Option<Duration>,
    /// Format of the file [default: pcapng; pcap where FILE ends in .pcap]
    #[arg(
        long,
        value_name = "pcapng|pcap",
        requires = "write",
        hide_possible_values = true
    )]
    format: Option<Format>,
    /// Taps whose packets are written: inside, veth, bridge, uplink, peer or all, with commas
    #[arg(long, value_name = "TAPS", default_value = "inside", value_delimiter = ',', value_parser = taps)]
    taps: Vec<TapChoice>,
    /// Record no times between taps, and leave the host side of the veth alone
    #[arg(long)]
    no_latency: bool,

    /// Record times between these taps too, with commas [default: inside,veth]
    #[arg(long, value_name = "TAPS", value_delimiter = ',', value_parser = taps, conflicts_with = "no_latency")]
    latency_taps: Vec<TapChoice>,
    /// Tell the process behind each packet
    #[arg(long)]
    process: bool,
    /// Only packets of these processes, as the host numbers them, with commas (implies --process)
    #[arg(long, value_name = "N", value_delimiter = ',', allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,
    /// Only packets of processes of these commands, whose first 15 bytes count (implies --process)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    comm: Vec<String>,
    /// Go on when a target comes back under the same name; wait for one that is not there yet
    #[arg(long)]
    follow: bool,
    /// How the counts are told at the end
    #[arg(
        long,
        value_name = "text|json",
        default_value = "text",
        hide_possible_values = true
    )]
    summary: SummaryFormat,
    /// More of each packet, twice or thrice still more; with -w: say what is done, twice also why
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,
    /// Flush each line of text (the same as -U)
    #[arg(short = 'l', hide = true)]
    line_buffered: bool,
    /// Become USER once all is attached; FILE is made with USER's rights [default with sudo: who has started it]
    #[arg(short = 'Z', long = "relinquish-privileges", value_name = "USER")]
    user: Option<String>,
    /// How programs are attached
    #[arg(
        long,
        value_name = "auto|tcx|clsact",
        default_value = "auto",
        hide = true
    )]
    attach: AttachMethod,
    // Headings last: clap gives them to all that follows.
    #[command(flatten)]
    rotation: RotationArgs,
    #[command(flatten)]
    text: TextArgs,
}

/// One word of `--taps`.
#[derive(Clone, Debug)]
pub(super) enum TapChoice {
    One(Role),
    All,
}

/// The roles that words of `--taps` mean.
pub(super) fn roles(choices: &[TapChoice]) -> BTreeSet<Role> {
    let all = [Role::Inside, Role::Veth, Role::Bridge, Role::Uplink];
    let mut roles = BTreeSet::new();
    for choice in choices {
        match choice {
            TapChoice::All => roles.extend(all),
            TapChoice::One(role) => drop(roles.insert(*role)),
        }
    }
    roles
}

pub(super) fn taps(word: &str) -> Result<TapChoice, String> {
    Ok(match word {
        "all" => TapChoice::All,
        "inside" | "eth0" => TapChoice::One(Role::Inside),
        "veth" => TapChoice::One(Role::Veth),
        "bridge" => TapChoice::One(Role::Bridge),
        "uplink" => TapChoice::One(Role::Uplink),
        "peer" => TapChoice::One(Role::Peer),
        _ => {
            return Err(format!(
                "{word:?} is no tap: inside (or eth0), veth, bridge, uplink, peer, all"
            ));
        }
    })
}

impl CaptureArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(self.said());
        let prints_filter = self.print_filter;
        self.rotation.check(self.write.as_deref())?;
        let config = self.configure();
        if prints_filter {
            return Ok(print(&session::filter_code(&config)?)?);
        }
        session::capture(&config)?;
        Ok(())
    }

    /// How much is said of what is done: nothing more where `-v` is about the packets.
    fn said(&self) -> u8 {
        if self.write.is_some() || self.print_filter {
            self.verbose
        } else {
            0
        }
    }

    fn configure(self) -> CaptureConfig {
        let verbose = self.said() > 0;
        let taps = roles(&self.taps);
        let mut latency_taps = BTreeSet::new();
        if !self.no_latency {
            latency_taps = roles(&self.latency_taps);
            latency_taps.extend([Role::Inside, Role::Veth]);
            // What is written anyway is timed along.
            latency_taps.extend(&taps);
        }
        let output = match self.write {
            None => OutputTo::Text(self.text.options(self.verbose)),
            Some(path) if path.as_os_str() == "-" => OutputTo::Stdout,
            Some(path) => OutputTo::File(path),
        };
        let by_name = match &output {
            OutputTo::File(path) if path.extension().is_some_and(|end| end == "pcap") => {
                Format::Pcap
            }
            _ => Format::Pcapng,
        };
        let processes = ProcessFilter::new(self.pid, &self.comm);
        let processes = (self.process || !processes.is_empty()).then_some(processes);
        CaptureConfig {
            targets: self.targets.0,
            interface: self.interface,
            output,
            format: self.format.unwrap_or(by_name),
            rotation: self.rotation.rotation(),
            count: self.count,
            duration: self.duration,
            snaplen: if self.snaplen == 0 {
                MAX_SNAPLEN
            } else {
                self.snaplen
            },
            direction: self.direction,
            filter: self.filter.filter(),
            processes,
            taps,
            latency_taps,
            follow: self.follow,
            ring_bytes: self.buffer.or(self.buffer_kib).unwrap_or(DEFAULT_RING),
            shed: self.shed,
            sample: self.sample.unwrap_or(1),
            unbuffered: self.unbuffered || self.line_buffered,
            attach: self.attach,
            user: self.user,
            names: self.text.names,
            verbose,
            summary: self.summary,
        }
    }
}
