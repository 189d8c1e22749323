//! What a capture is asked to do, as meant: arguments are read in `cli`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use crate::{
    capture::{Format, Rotation, TextOptions},
    filter::Filter,
    privilege::User,
    probe::{AttachMethod, Hook},
    process::ProcessFilter,
    target::TargetSpec,
    topology::Role,
};

/// Everything that decides what a capture does.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// The namespaces.
    pub targets: Vec<TargetSpec>,
    /// The interface in each; `eth0`, else the only one, where none is named.
    pub interface: Option<String>,
    /// Where the packets go.
    pub output: OutputTo,
    /// The file's format.
    pub format: Format,
    /// How the packets are spread over files.
    pub rotation: Rotation,
    /// Packets after which the capture ends.
    pub count: Option<u64>,
    /// Time after which it ends.
    pub duration: Option<Duration>,
    /// Most bytes of each packet.
    pub snaplen: u32,
    /// Which packets, seen from the tap's interface.
    pub direction: Direction,
    /// Which packets are received.
    pub filter: Option<Filter>,
    /// Whether it is told whose packets they are, and whose are written.
    pub processes: Option<ProcessFilter>,
    /// Taps whose packets are written.
    pub taps: BTreeSet<Role>,
    /// Taps between which times are recorded.
    pub latency_taps: BTreeSet<Role>,
    /// Whether targets are followed by their names.
    pub follow: bool,
    /// Size of the ring in bytes, a power of two.
    pub ring_bytes: u32,
    /// Bytes of a packet that are kept while the ring is filling up, where bodies give way to headers then.
    pub shed: Option<u32>,
    /// One of so many packets is received.
    pub sample: u32,
    /// Write each packet at once.
    pub unbuffered: bool,
    /// How programs are attached.
    pub attach: AttachMethod,
    /// Whom to become once all is attached.
    pub user: Option<String>,
    /// Whether text has the names of addresses beside them.
    pub names: bool,
    /// Whether the kernel side's diagnostics are wanted.
    pub verbose: bool,
    /// The summary at the end.
    pub summary: SummaryFormat,
}

impl CaptureConfig {
    /// Whether only some processes' packets are written.
    pub(super) fn chooses_processes(&self) -> bool {
        let chosen = self.processes.as_ref();
        chosen.is_some_and(|chosen| !chosen.is_empty())
    }

    /// Bytes in the ring after which its reader is woken, a power of two: a sixteenth of it. 0 stands for at once: where
    /// somebody may be waiting for each packet, or its process may be gone in a moment.
    pub(super) fn wake_bytes(&self) -> u32 {
        use std::os::unix::fs::FileTypeExt as _;
        let is_plain = match &self.output {
            OutputTo::Text(_) | OutputTo::Stdout => false,
            OutputTo::File(path) => std::fs::metadata(path).map_or(true, |file| {
                let kind = file.file_type();
                kind.is_file() || (kind.is_char_device() && path.as_os_str() == "/dev/null")
            }),
        };
        if is_plain && !self.unbuffered && self.processes.is_none() {
            self.ring_bytes / 16
        } else {
            0
        }
    }
}

/// How long nothing must have passed a tap for a packet to count as idle, by default.
pub const IDLE_GAP: Duration = Duration::from_millis(10);

/// Segments that have room where nothing else is said: histograms of 64 MiB in all, and at least 64
/// segments. Each takes 16 KiB for each CPU.
#[must_use]
pub fn max_segments() -> usize {
    let cpus = crate::probe::possible_cpus().unwrap_or(1) as usize;
    ((64 << 20) / (size_of::<netns_trace_ebpf::Histogram>() * cpus)).max(64)
}

/// Everything that decides how latencies are measured.
#[derive(Clone, Debug)]
pub struct LatencyConfig {
    /// The namespaces.
    pub targets: Vec<TargetSpec>,
    /// The interface in each; `eth0`, else the only one, where none is named.
    pub interface: Option<String>,
    /// Which packets are timed.
    pub filter: Option<Filter>,
    /// Taps between which times are recorded.
    pub taps: BTreeSet<Role>,
    /// Time after which it ends.
    pub duration: Option<Duration>,
    /// How often what has come since is told.
    pub interval: Option<Duration>,
    /// How long nothing must have passed a tap for a packet to count as idle.
    pub idle_gap: Duration,
    /// Most segments that get a histogram.
    pub max_segments: usize,
    /// How programs are attached.
    pub attach: AttachMethod,
    /// Whether the kernel side's diagnostics are wanted.
    pub verbose: bool,
    /// Whether files are written at the end.
    pub writes_files: bool,
    /// Whose rights those are written with, where that is not our own.
    pub user: Option<User>,
}

/// Where packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputTo {
    /// Text lines on stdout.
    Text(TextOptions),
    /// A file's format on stdout.
    Stdout,
    /// A file.
    File(PathBuf),
}

/// Which packets, seen from the tap's interface, as `-Q` means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// Those that it receives.
    In,
    /// Those that it sends.
    Out,
    /// All.
    Inout,
}

impl Direction {
    /// Whether it includes the packets of a hook.
    #[must_use]
    pub const fn includes(self, hook: Hook) -> bool {
        matches!(
            (self, hook),
            (Self::Inout, _) | (Self::In, Hook::Ingress) | (Self::Out, Hook::Egress)
        )
    }
}

/// How the counts are told at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SummaryFormat {
    /// As tcpdump does, then a line for each tap and cause.
    Text,
    /// One line of JSON.
    Json,
}
