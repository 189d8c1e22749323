//! A capture's output: a format, and where it goes.

use std::{
    fmt, io,
    net::IpAddr,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    Account, InterfaceInfo, LinkType, LossCause, Packet, pcap, pcapng,
    pcapng::{PcapNg, Statistics},
    rotation::{Due, Rotation, Sequence},
    sink::{Fate, Sink, SinkError},
    text::{Tap, TextOptions, TextPrinter},
};
use crate::place::reason;

/// Bytes after which the buffer is written.
const FULL: usize = 1 << 20;

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

/// A capture that goes on in other files.
struct Rotating {
    sequence: Sequence,
    format: Format,
    /// Names of addresses that were told: the next file has them too.
    names: Vec<(IpAddr, String)>,
    /// Files so far.
    files: u64,
    /// When the one in use was started, nanoseconds since 1970; `None` for the first.
    started_ns: Option<u64>,
    /// What the statistics of the files before say, for each interface.
    told: Vec<Told>,
}

/// Packets of an interface in one file, and those dropped before each of them.
#[derive(Clone, Copy, Default)]
struct Told {
    captured: u64,
    dropped: u64,
}

impl OutputError {
    /// Whether the reader's leaving is all that happened, which is no failure of ours.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Sink(why) if why.is_closed_pipe())
    }
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
    /// Packets of each interface in the file in use.
    here: Vec<Told>,
    rotating: Option<Rotating>,
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
        Ok(Self::new(Encoder::of(format)?, sink))
    }

    /// Opens the first of several files.
    ///
    /// # Errors
    ///
    /// It cannot be opened for writing.
    pub fn rotating(
        pattern: &Path,
        format: Format,
        rotation: &Rotation,
        now_ns: u64,
    ) -> Result<Self, OutputError> {
        let sequence = Sequence::new(pattern, rotation, now_ns);
        let mut output = Self::create(sequence.current(), format)?;
        output.rotating = Some(Rotating {
            sequence,
            format,
            names: Vec::new(),
            files: 1,
            started_ns: None,
            told: Vec::new(),
        });
        Ok(output)
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
            here: Vec::new(),
            rotating: None,
        }
    }

    /// Adds an interface, and tells the number by which packets name it.
    ///
    /// # Errors
    ///
    /// Its description does not fit into a block.
    pub fn interface(&mut self, info: &InterfaceInfo) -> Result<u32, OutputError> {
        self.describe(info, self.interfaces.is_empty())?;
        self.interfaces.push(info.clone());
        self.here.push(Told::default());
        if let Some(rotating) = &mut self.rotating {
            rotating.told.push(Told::default());
        }
        Ok(self.interfaces.len() as u32 - 1)
    }

    fn describe(&mut self, info: &InterfaceInfo, is_first: bool) -> Result<(), OutputError> {
        match &mut self.encoder {
            Encoder::Pcapng(blocks) => {
                blocks.interface(info).map_err(block)?;
                let bytes = blocks.take();
                self.sink.buffer().extend(bytes);
            }
            Encoder::Pcap if is_first => {
                let bytes = pcap::header(info).map_err(block)?;
                self.sink.buffer().extend(bytes);
            }
            Encoder::Pcap | Encoder::Text(..) => {}
        }
        self.sink.mark(None);
        Ok(())
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
        if let Some(rotating) = &mut self.rotating {
            rotating.names.extend_from_slice(names);
        }
        self.put_names(names)
    }

    /// Puts what is no packet into the file.
    fn put(&mut self, bytes: Vec<u8>) {
        self.sink.buffer().extend(bytes);
        self.sink.mark(None);
    }

    fn put_names(&mut self, names: &[(IpAddr, String)]) -> Result<(), OutputError> {
        match &mut self.encoder {
            Encoder::Pcapng(blocks) => {
                blocks.names(names).map_err(block)?;
                let bytes = blocks.take();
                self.put(bytes);
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
        if let Some(here) = self.here.get_mut(packet.interface as usize) {
            here.captured += 1;
            here.dropped += u64::from(packet.drops);
        }
    }

    /// Whether a packet of this time goes into another file than the one in use.
    #[must_use]
    pub fn is_due(&self, time_ns: u64) -> bool {
        self.due(time_ns).is_some()
    }

    fn due(&self, time_ns: u64) -> Option<Due> {
        let rotating = self.rotating.as_ref().filter(|_| !self.sink.is_broken())?;
        rotating.sequence.due(self.sink.len(), time_ns)
    }

    /// Whether all files that were asked for are there, and the time of the last one is over.
    #[must_use]
    pub fn is_over(&self, now_ns: u64) -> bool {
        let rotating = self.rotating.as_ref();
        rotating.is_some_and(|rotating| rotating.sequence.is_over(now_ns))
    }

    /// How many files there are.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.rotating.as_ref().map_or(1, |rotating| rotating.files)
    }

    /// The file in use, where there are several.
    #[must_use]
    pub fn current_file(&self) -> Option<&Path> {
        Some(self.rotating.as_ref()?.sequence.current())
    }

    /// Ends the file in use, which is complete then, and goes on in the next one. The one that has ended is
    /// returned.
    ///
    /// # Errors
    ///
    /// The file could not be written to its end, or the next one not be opened. Nothing more is written then.
    pub fn rotate(
        &mut self,
        account: &mut Account,
        stop: Option<BorrowedFd<'_>>,
        start_ns: u64,
        time_ns: u64,
    ) -> Result<Option<PathBuf>, OutputError> {
        let Some(due) = self.due(time_ns) else {
            return Ok(None);
        };
        self.put_statistics(start_ns, time_ns)?;
        self.flush(account, stop)?;
        let Some(rotating) = &mut self.rotating else {
            return Ok(None);
        };
        let ended = rotating.sequence.current().to_owned();
        let next = rotating.sequence.advance(due, time_ns).to_owned();
        match Sink::open(&next) {
            Ok(sink) => self.sink = sink,
            Err(why) => {
                self.sink.give_up();
                self.failure = Some(LossCause::WriteFailed);
                return Err(cannot_open(&next, &why));
            }
        }
        rotating.files += 1;
        rotating.started_ns = Some(time_ns);
        let names = std::mem::take(&mut rotating.names);
        self.encoder = Encoder::of(rotating.format)?;
        let interfaces = std::mem::take(&mut self.interfaces);
        for (number, info) in interfaces.iter().enumerate() {
            self.describe(info, number == 0)?;
        }
        self.interfaces = interfaces;
        self.put_names(&names)?;
        if let Some(rotating) = &mut self.rotating {
            rotating.names = names;
        }
        Ok(Some(ended))
    }

    /// When the file in use was started, of a capture that was started at `start_ns`.
    fn started_ns(&self, start_ns: u64) -> u64 {
        let rotating = self.rotating.as_ref();
        rotating
            .and_then(|rotating| rotating.started_ns)
            .unwrap_or(start_ns)
    }

    /// Statistics of a file that others follow, of what is in it: how many packets the filter saw is known at
    /// the end alone.
    fn put_statistics(&mut self, start_ns: u64, end_ns: u64) -> Result<(), OutputError> {
        let start_ns = self.started_ns(start_ns);
        let here = std::mem::take(&mut self.here);
        for (interface, here) in here.iter().enumerate() {
            if let Encoder::Pcapng(blocks) = &mut self.encoder {
                let statistics = Statistics {
                    start_ns,
                    end_ns,
                    seen: None,
                    received: here.captured + here.dropped,
                    dropped: here.dropped,
                    captured: here.captured,
                };
                blocks
                    .statistics(interface as u32, &statistics)
                    .map_err(block)?;
                let bytes = blocks.take();
                self.put(bytes);
            }
            if let Some(told) = self
                .rotating
                .as_mut()
                .and_then(|all| all.told.get_mut(interface))
            {
                told.captured += here.captured;
                told.dropped += here.dropped;
            }
        }
        self.here = vec![Told::default(); here.len()];
        Ok(())
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
        let start_ns = self.started_ns(start_ns);
        let Encoder::Pcapng(blocks) = &mut self.encoder else {
            return Ok(());
        };
        for interface in 0..self.interfaces.len() as u32 {
            let totals = account.interface(interface);
            let before = self.rotating.as_ref();
            let before = before
                .and_then(|all| all.told.get(interface as usize))
                .copied();
            // With files before this one, it is about the rest.
            let before = before.unwrap_or_default();
            let rest = |total: u64, told: u64| total.saturating_sub(told);
            let statistics = Statistics {
                start_ns,
                end_ns,
                seen: (before.captured + before.dropped == 0).then_some(totals.seen),
                received: rest(totals.received, before.captured + before.dropped),
                dropped: rest(totals.dropped, before.dropped),
                captured: rest(totals.captured, before.captured),
            };
            blocks.statistics(interface, &statistics).map_err(block)?;
        }
        let bytes = blocks.take();
        if self.sink.is_broken() {
            self.sink.append_after_failure(&bytes);
            return Ok(());
        }
        self.put(bytes);
        Ok(self.flush(account, None)?)
    }
}

impl Encoder {
    fn of(format: Format) -> Result<Self, OutputError> {
        Ok(match format {
            Format::Pcapng => {
                let os = nix::sys::utsname::uname().map_or_else(
                    |_| "Linux".to_owned(),
                    |name| format!("Linux {}", name.release().to_string_lossy()),
                );
                Self::Pcapng(Box::new(PcapNg::new(os).map_err(block)?))
            }
            Format::Pcap => Self::Pcap,
        })
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
