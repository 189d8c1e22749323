//! The programs that capture, and what each says of its losses.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use netns_trace::netns::NetNs;
use serde_json::Value;

use super::running::{Ended, Running};

/// A program that captures at a container's `eth0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// tcpdump, with its own buffer of 2 MiB.
    Tcpdump,
    /// tcpdump, with a buffer as large as ours is.
    TcpdumpLarge,
    /// dumpcap, with its own buffer of 2 MiB.
    Dumpcap,
    /// netns-trace.
    Ours,
}

/// What one of them came to.
pub(super) struct Outcome {
    pub(super) captured: u64,
    pub(super) lost: u64,
    /// Size of the file.
    pub(super) bytes: u64,
    pub(super) cpu_s: f64,
    pub(super) peak_mib: f64,
}

impl Tool {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tcpdump => "tcpdump",
            Self::TcpdumpLarge => "tcpdump -B 16384",
            Self::Dumpcap => "dumpcap",
            Self::Ours => "netns-trace",
        }
    }

    /// Starts it at `eth0` of the namespace, with these options, into this file.
    pub(super) fn start(
        self,
        program: &Path,
        ns: &NetNs,
        options: &[&str],
        ours: &[&str],
        file: &Path,
    ) -> Result<Running> {
        let path = ns.path();
        let inside = |tool: &str, arguments: &[&str]| {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", path.display())).arg(tool);
            command.args(arguments);
            command
        };
        let (mut command, says) = match self {
            Self::Tcpdump => (
                inside("tcpdump", &["-n", "-p", "-i", "eth0"]),
                "listening on",
            ),
            Self::TcpdumpLarge => (
                inside("tcpdump", &["-n", "-p", "-i", "eth0", "-B", "16384"]),
                "listening on",
            ),
            Self::Dumpcap => (inside("dumpcap", &["-q", "-p", "-i", "eth0"]), "File: "),
            Self::Ours => {
                let mut command = Command::new(program);
                command.arg("capture").arg(path).args(ours);
                command.args(["--summary", "json"]);
                (command, "listening on")
            }
        };
        Running::start(command.args(options).arg("-w").arg(file), says)
    }

    /// What it says at its end, and its file.
    pub(super) fn outcome(self, ended: &Ended, file: &Path) -> Result<Outcome> {
        let (captured, lost) = self.counts(&ended.said).with_context(|| {
            format!(
                "{} does not say what it lost: {:?}",
                self.name(),
                ended.said
            )
        })?;
        Ok(Outcome {
            captured,
            lost,
            bytes: std::fs::metadata(file).map_or(0, |file| file.len()),
            cpu_s: ended.cpu_s,
            peak_mib: ended.peak_mib,
        })
    }

    /// Packets captured, and lost.
    fn counts(self, said: &[String]) -> Option<(u64, u64)> {
        let number = |line: &str| line.split(' ').next()?.parse().ok();
        let line = |end: &str| said.iter().find(|line| line.ends_with(end));
        match self {
            Self::Tcpdump | Self::TcpdumpLarge => Some((
                number(line(" captured")?)?,
                number(line(" dropped by kernel")?)?,
            )),
            Self::Dumpcap => {
                // Packets received/dropped on interface 'eth0': 1/2 (pcap:2/dumpcap:0/…) (33.3%)
                let line = said
                    .iter()
                    .find(|line| line.contains("received/dropped on"))?;
                let (_, counts) = line.split_once("': ")?;
                let (received, rest) = counts.split_once('/')?;
                let dropped = rest.split(' ').next()?;
                Some((received.parse().ok()?, dropped.parse().ok()?))
            }
            Self::Ours => {
                let summary = said.iter().find(|line| line.starts_with('{'))?;
                let summary: Value = serde_json::from_str(summary).ok()?;
                let captured = summary["captured"].as_u64()?;
                // Whatever the cause: what came before the end and is not in the file.
                let taps = summary["taps"].as_array()?;
                let discarded: u64 = taps
                    .iter()
                    .filter_map(|tap| tap["discarded"].as_u64())
                    .sum();
                let received = summary["received"].as_u64()?;
                Some((captured, received - captured - discarded))
            }
        }
    }
}

/// Where files go while a case is measured.
pub(super) enum Place {
    /// A file system in memory.
    Memory,
    /// The one that holds the project's own files.
    Disk,
    /// Nowhere: `/dev/null`.
    Null,
}

impl Place {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Null => "null",
        }
    }

    /// A file there, which is removed with the folder.
    pub(super) fn file(&self) -> Result<(tempfile::TempDir, PathBuf)> {
        let folder = match self {
            Self::Memory => tempfile::tempdir_in("/dev/shm"),
            Self::Disk => tempfile::tempdir_in(crate::root().join("target")),
            Self::Null => tempfile::tempdir(),
        };
        let folder = folder.context("cannot make a folder for captures")?;
        let file = match self {
            Self::Null => PathBuf::from("/dev/null"),
            // tcpdump becomes another user where it is told to; here it stays root.
            Self::Memory | Self::Disk => folder.path().join("capture"),
        };
        Ok((folder, file))
    }
}
