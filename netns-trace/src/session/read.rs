//! Prints a capture file. Needs no privilege and touches no namespace.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    rc::Rc,
};

use anyhow::{Context as _, Result};

use super::rights;
use crate::{
    capture::{
        Packet, Tap, TextOptions, TextPrinter,
        input::{Input, InputPacket, Interface, Item},
    },
    dissect::{Dissector, link_type_name},
    filter::{Filter, Program, View},
    privilege::{Doings, Kept, give_up},
};

/// Most bytes of a packet where a file has no bound, as libpcap says then.
const NO_BOUND: u32 = 262_144;
/// Bytes of text that are written at once.
const FULL: usize = 64 << 10;

/// What is to be read, and how it is told.
#[derive(Clone, Debug)]
pub struct ReadConfig {
    /// The file; `-` is stdin.
    pub path: PathBuf,
    /// Which packets.
    pub filter: Option<Filter>,
    /// What is printed of them.
    pub text: TextOptions,
    /// Whether names that the file gives to addresses stand beside them.
    pub names: bool,
    /// Packets after which there is enough.
    pub count: Option<u64>,
    /// Whether packets are counted, not printed.
    pub count_only: bool,
    /// Whether each line is written at once.
    pub line_buffered: bool,
}

/// An interface of the file.
struct Known {
    interface: Interface,
    /// How it is named to people.
    name: String,
    filter: Option<Rc<Program>>,
    /// Whether its packets can be put in words.
    is_printable: bool,
}

/// Prints the packets of a file that the filter takes. A reader that has left is no error.
///
/// # Errors
///
/// The file cannot be opened or is broken; what was readable is printed first. The filter does not compile for
/// one of its link types, or there is none whose packets can be printed.
pub fn read(config: &ReadConfig) -> Result<()> {
    let is_stdin = config.path.as_os_str() == "-";
    let name = if is_stdin {
        "standard input".to_owned()
    } else {
        format!("{:?}", config.path)
    };
    let file: Box<dyn io::Read + Send> = if is_stdin {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&config.path).with_context(|| format!("cannot read {name}"))?)
    };
    // What others have written is read without any right.
    give_up(&Kept::default(), None)?;
    rights::confine(Doings::default());
    let input = Input::open(file).with_context(|| format!("cannot read {name}"))?;
    let mut reading = Reading {
        config,
        name,
        input,
        interfaces: Vec::new(),
        filters: HashMap::new(),
        is_printable: false,
        printer: TextPrinter::new(config.text.clone()),
        lines: Lines {
            text: String::new(),
            is_live: config.line_buffered || io::stdout().is_terminal(),
        },
        taken: 0,
    };
    let result = reading.run();
    // Of a filter that is refused nothing was counted.
    let printed = match &result {
        Err(Stop::Failed(_)) if reading.interfaces.is_empty() => Ok(()),
        _ => reading.finish(),
    };
    // What went wrong with the file is said also where the reader has left.
    match (result, printed) {
        (Err(Stop::Failed(why)), _) => Err(why),
        (_, Err(why)) => Err(why.into()),
        _ => Ok(()),
    }
}

/// Why reading ends early.
enum Stop {
    /// The reader of our output has left.
    ReaderLeft,
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        let error = error.into();
        match error.downcast_ref::<io::Error>() {
            Some(why) if why.kind() == io::ErrorKind::BrokenPipe => Self::ReaderLeft,
            _ => Self::Failed(error),
        }
    }
}

struct Reading<'a> {
    config: &'a ReadConfig,
    /// How the file is named to people.
    name: String,
    input: Input,
    interfaces: Vec<Known>,
    /// The filter, compiled for the link types of these: a file may tell of very many interfaces.
    filters: HashMap<u16, Rc<Program>>,
    /// Whether packets of any of them can be put in words.
    is_printable: bool,
    printer: TextPrinter,
    lines: Lines,
    /// Packets that the filter took.
    taken: u64,
}

impl Reading<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        while self.config.count.is_none_or(|count| self.taken < count) {
            if self.lines.is_live && !self.input.has_more() {
                self.lines.write()?;
            }
            let next = self.input.next();
            let item = next.with_context(|| self.name.clone())?;
            match item {
                None => break,
                Some(Item::Interface(interface)) => {
                    let known = self.know(interface)?;
                    if self.interfaces.is_empty() {
                        self.config.announce(&self.name, &known.interface);
                    }
                    self.is_printable |= known.is_printable;
                    self.interfaces.push(known);
                }
                Some(Item::Names(names)) => {
                    if self.config.names {
                        self.printer.name(names.into_iter().collect());
                    }
                }
                Some(Item::Packet(packet)) => {
                    let Some(known) = self.interfaces.get(packet.interface) else {
                        continue;
                    };
                    if !known.takes(&packet) {
                        continue;
                    }
                    self.taken += 1;
                    if self.config.count_only {
                        continue;
                    }
                    if !self.is_printable && self.config.text.dissect.dump.is_none() {
                        let link_type = link_type_name(known.interface.link_type);
                        return Err(Stop::Failed(not_printable(&self.name, &link_type)));
                    }
                    let tap = (self.interfaces.len() > 1).then(|| Tap {
                        name: &known.name,
                        egress: packet.egress,
                    });
                    let link_type = known.interface.link_type;
                    self.printer
                        .print(&mut self.lines.text, &Packet::from(packet), link_type, tap);
                    if self.lines.text.len() >= FULL {
                        self.lines.write()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn know(&mut self, interface: Interface) -> Result<Known> {
        let link_type = interface.link_type;
        Ok(Known {
            is_printable: Dissector::knows(link_type),
            name: match &interface.name {
                Some(name) => name.clone(),
                None => format!("interface {}", self.interfaces.len()),
            },
            interface,
            filter: self.filter(link_type)?,
        })
    }

    fn filter(&mut self, link_type: u16) -> Result<Option<Rc<Program>>> {
        let Some(filter) = &self.config.filter else {
            return Ok(None);
        };
        if let Some(compiled) = self.filters.get(&link_type) {
            return Ok(Some(Rc::clone(compiled)));
        }
        let compiled = filter.compile(link_type, NO_BOUND).with_context(|| {
            format!(
                "the filter does not do for link-type {}",
                link_type_name(link_type)
            )
        })?;
        let compiled = Rc::new(compiled);
        self.filters.insert(link_type, Rc::clone(&compiled));
        Ok(Some(compiled))
    }

    /// Writes what is left, and the count where that was asked for.
    fn finish(mut self) -> io::Result<()> {
        if self.config.count_only {
            let plural = if self.taken == 1 { "" } else { "s" };
            self.lines.text = format!("{} packet{plural}\n", self.taken);
        }
        match self.lines.write() {
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }
}

impl ReadConfig {
    /// Says what is read, as tcpdump does.
    fn announce(&self, name: &str, interface: &Interface) {
        let snaplen = match interface.snaplen {
            0 => NO_BOUND,
            snaplen if snaplen > i32::MAX as u32 => NO_BOUND,
            snaplen => snaplen,
        };
        let name = if self.path.as_os_str() == "-" {
            "-".to_owned()
        } else {
            name.trim_matches('"').to_owned()
        };
        eprintln!(
            "reading from file {name}, link-type {}, snapshot length {snaplen}",
            link_type_name(interface.link_type)
        );
    }
}

impl Known {
    fn takes(&self, packet: &InputPacket<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| {
            filter.accepts(&View {
                data: packet.data,
                length: packet.original_len,
                is_outgoing: packet.egress == Some(true),
                interface: 0,
            })
        })
    }
}

fn not_printable(name: &str, link_type: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{name} holds packets of link-type {link_type}, which cannot be put in words here: Ethernet, Linux cooked \
         captures, raw IP and BSD loopback can (-x and -X show bytes, --count counts; tcpdump and tshark read more)"
    )
}

/// Lines that wait to be written.
struct Lines {
    text: String,
    /// Whether somebody waits for each.
    is_live: bool,
}

impl Lines {
    fn write(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(self.text.as_bytes());
        self.text.clear();
        written.and_then(|()| stdout.flush())
    }
}
