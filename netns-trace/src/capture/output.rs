//! A capture's output: a format, and where it goes.

use std::{fmt, io, net::IpAddr, os::fd::BorrowedFd, path::Path, str::FromStr};

use super::{
    Account, InterfaceInfo, LinkType, LossCause, Packet, pcap, pcapng,
    pcapng::{PcapNg, Statistics},
    sink::{Fate, Sink, SinkError},
    text::{Tap, TextOptions, TextPrinter},
};
use crate::place::reason;

/// Bytes after which the buffer is written.
const FULL: usize = 256 << 10;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With interfaces, packet ids, drop counts and statistics.
    Pcapng,
    /// The classic one, with nanoseconds.
    Pcap,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pcapng" => Ok(Self::Pcapng),
            "pcap" => Ok(Self::Pcap),
            _ => Err(format!("{text:?} is no format: pcapng or pcap")),
        }
    }
}

/// Why there is no output, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The file cannot be opened.
    #[error("cannot write to {path}: {why}")]
    Open {
        /// Its path, escaped.
        path: String,
        /// Why, in words.
        why: String,
    },
    /// A block cannot be made.
    #[error("cannot make the file's blocks: {0}")]
    Block(String),
    /// Writing failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

enum Encoder {
    Pcapng(Box<PcapNg>),
    Pcap,
    Text(Box<TextPrinter>, String),
}

/// What packets are written to.
pub struct Output {
    encoder: Encoder,
    sink: Sink,
    interfaces: Vec<InterfaceInfo>,
    comment: Option<String>,
    failure: Option<LossCause>,
    /// Whether names of addresses are wanted.
    holds_names: bool,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("interfaces", &self.interfaces)
            .finish_non_exhaustive()
    }
}

impl Output {
    /// Opens a file, cut to nothing, or stdout for `-`.
    ///
    /// # Errors
    ///
    /// It cannot be opened for writing.
    pub fn create(path: &Path, format: Format) -> Result<Self, OutputError> {
        let sink = Sink::open(path).map_err(|why| cannot_open(path, &why))?;
        let encoder = match format {
            Format::Pcapng => {
                let os = nix::sys::utsname::uname().map_or_else(
                    |_| "Linux".to_owned(),
                    |name| format!("Linux {}", name.release().to_string_lossy()),
                );
                Encoder::Pcapng(Box::new(PcapNg::new(os).map_err(block)?))
            }
            Format::Pcap => Encoder::Pcap,
        };
        Ok(Self::new(encoder, sink))
    }

    /// Text lines on stdout.
    ///
    /// # Errors
    ///
    /// There is no stdout.
    pub fn text(options: &TextOptions, names: bool) -> Result<Self, OutputError> {
        let sink = Sink::stdout().map_err(|why| cannot_open(Path::new("-"), &why))?;
        let printer = Box::new(TextPrinter::new(options.clone()));
        let mut output = Self::new(Encoder::Text(printer, String::new()), sink);
        output.holds_names = names;
        Ok(output)
    }

    fn new(encoder: Encoder, sink: Sink) -> Self {
        Self {
            holds_names: matches!(encoder, Encoder::Pcapng(_)),
            encoder,
            sink,
            interfaces: Vec::new(),
            comment: None,
            failure: None,
        }
    }

    /// Adds an interface, and tells the number by which packets name it.
    ///
    /// # Errors
    ///
    /// Its description does not fit into a block.
    pub fn interface(&mut self, info: &InterfaceInfo) -> Result<u32, OutputError> {
        match &mut self.encoder {
            Encoder::Pcapng(blocks) => {
                blocks.interface(info).map_err(block)?;
                let bytes = blocks.take();
                self.sink.buffer().extend(bytes);
            }
            Encoder::Pcap if self.interfaces.is_empty() => {
                let bytes = pcap::header(info).map_err(block)?;
                self.sink.buffer().extend(bytes);
            }
            Encoder::Pcap | Encoder::Text(..) => {}
        }
        self.sink.mark(None);
        self.interfaces.push(info.clone());
        Ok(self.interfaces.len() as u32 - 1)
    }

    /// Whether names of addresses are written.
    #[must_use]
    pub fn holds_names(&self) -> bool {
        self.holds_names
    }

    /// Tells what addresses are called, where that is written.
    ///
    /// # Errors
    ///
    /// The names do not fit into a block.
    pub fn names(&mut self, names: &[(IpAddr, String)]) -> Result<(), OutputError> {
        if names.is_empty() || !self.holds_names {
            return Ok(());
        }
        match &mut self.encoder {
            Encoder::Pcapng(blocks) => {
                blocks.names(names).map_err(block)?;
                let bytes = blocks.take();
                self.sink.buffer().extend(bytes);
                self.sink.mark(None);
            }
            Encoder::Text(printer, _) => printer.name(names.iter().cloned().collect()),
            Encoder::Pcap => {}
        }
        Ok(())
    }

    /// Puts a comment on the next packet, where the format has comments.
    pub fn comment(&mut self, comment: String) {
        self.comment = Some(comment);
    }

    /// Takes a packet of the account's `hook`. It is written with the next flush.
    pub fn packet(&mut self, packet: &Packet<'_>, hook: u32) {
        match &mut self.encoder {
            Encoder::Pcapng(_) => {
                let comment = self.comment.take();
                pcapng::packet(self.sink.buffer(), packet, comment.as_deref());
            }
            Encoder::Pcap => pcap::packet(self.sink.buffer(), packet),
            Encoder::Text(printer, line) => {
                line.clear();
                let many = self.interfaces.len() > 1;
                let info = self.interfaces.get(packet.interface as usize);
                let link_type = info.map_or(LinkType::Ethernet, |info| info.link_type);
                let tap = info.filter(|_| many).map(|info| Tap {
                    name: &info.name,
                    egress: Some(packet.egress),
                });
                printer.print(line, packet, link_type.number(), tap);
                self.sink.buffer().extend_from_slice(line.as_bytes());
            }
        }
        self.sink.mark(Some(hook));
    }

    /// Whether so much waits that it should be written now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.sink.buffered() >= FULL
    }

    /// Whether somebody may be waiting for each packet at the other end.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.sink.is_live()
    }

    /// Whether writing has failed: what is taken now is lost.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.sink.is_broken()
    }

    /// Writes what waits, and tells the account what became of each packet. `stop` is readable
    /// once the capture is to end.
    ///
    /// # Errors
    ///
    /// The first failure; later calls only count.
    pub fn flush(
        &mut self,
        account: &mut Account,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<(), SinkError> {
        let mut lost = Vec::new();
        let result = self.sink.flush(stop, |hook, fate| match fate {
            Fate::Written => account.captured(hook),
            Fate::Lost => lost.push(hook),
        });
        if let Err(why) = &result {
            self.failure = Some(match why {
                SinkError::Closed => LossCause::OutputClosed,
                SinkError::Stalled => LossCause::OutputStalled,
                SinkError::NoSpace { .. } => LossCause::NoSpace,
                SinkError::Failed { .. } => LossCause::WriteFailed,
            });
        }
        for hook in lost {
            account.lost(hook, self.failure.unwrap_or(LossCause::WriteFailed));
        }
        result
    }

    /// Ends the output with each interface's statistics, where the format has them.
    ///
    /// # Errors
    ///
    /// They could not be written.
    pub fn finish(
        &mut self,
        account: &mut Account,
        start_ns: u64,
        end_ns: u64,
    ) -> Result<(), OutputError> {
        let Encoder::Pcapng(blocks) = &mut self.encoder else {
            return Ok(());
        };
        for interface in 0..self.interfaces.len() as u32 {
            let totals = account.interface(interface);
            let statistics = Statistics {
                start_ns,
                end_ns,
                seen: totals.seen,
                received: totals.received,
                dropped: totals.dropped,
                captured: totals.captured,
            };
            blocks.statistics(interface, &statistics).map_err(block)?;
        }
        let bytes = blocks.take();
        if self.sink.is_broken() {
            self.sink.append_after_failure(&bytes);
            return Ok(());
        }
        self.sink.buffer().extend(bytes);
        self.sink.mark(None);
        Ok(self.flush(account, None)?)
    }
}

fn block(why: impl fmt::Display) -> OutputError {
    OutputError::Block(why.to_string())
}

fn cannot_open(path: &Path, why: &io::Error) -> OutputError {
    let why = reason(path, why);
    OutputError::Open {
        path: format!("{path:?}"),
        why,
    }
}
