//! Packets as lines of text, in tcpdump's format: time, tap and what `dissect` says of them.

use std::fmt::Write as _;

use super::Packet;
use crate::{
    dissect::{self, Dissector, Frame, Names},
    recent::Recent,
};

/// Sightings that are remembered at least, to tell the time since the last one of the same packet.
const MAX_SIGHTINGS: usize = 64 << 10;

/// How times are printed: tcpdump's `-t`, as often as it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// Local time of day.
    #[default]
    TimeOfDay,
    /// `-t`: none.
    None,
    /// `-tt`: seconds since 1970.
    Epoch,
    /// `-ttt`: since the packet before.
    SincePrevious,
    /// `-tttt`: with the date before it.
    Date,
    /// `-ttttt`: since the first packet.
    SinceFirst,
}

impl TimeFormat {
    /// From how often `-t` was given.
    #[must_use]
    pub const fn from_count(count: u8) -> Self {
        match count {
            0 => Self::TimeOfDay,
            1 => Self::None,
            2 => Self::Epoch,
            3 => Self::SincePrevious,
            4 => Self::Date,
            _ => Self::SinceFirst,
        }
    }
}

/// What lines say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// Of each packet.
    pub dissect: dissect::Options,
    /// Of its time.
    pub time: TimeFormat,
    /// Times in nanoseconds, not microseconds.
    pub nanoseconds: bool,
    /// `-#`: its number.
    pub number: bool,
}

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap<'a> {
    /// The interface, as its block in the file names it.
    pub name: &'a str,
    /// The interface sent it; otherwise it received it. `None` where that is not known.
    pub egress: Option<bool>,
}

/// Prints packets. Remembers what lines refer to: connections, times, sightings.
#[derive(Debug, Default)]
pub struct TextPrinter {
    options: TextOptions,
    dissector: Dissector,
    count: u64,
    /// The time, in the unit printed, that times are counted from.
    reference: Option<u64>,
    sightings: Sightings,
}

impl TextPrinter {
    /// One that has printed nothing.
    #[must_use]
    pub fn new(options: TextOptions) -> Self {
        Self {
            dissector: Dissector::new(options.dissect.clone()),
            options,
            ..Self::default()
        }
    }

    /// Stands these names beside their addresses from now on.
    pub fn name(&mut self, names: Names) {
        self.dissector.name(names);
    }

    /// Appends a packet's line, or lines. Its tap is printed where it is given, and then the time since the same
    /// packet was seen at another one; its process where it is known.
    pub fn print(
        &mut self,
        to: &mut String,
        packet: &Packet<'_>,
        link_type: u16,
        tap: Option<Tap<'_>>,
    ) {
        self.count += 1;
        if self.options.number {
            put(to, format_args!("{:>5}  ", self.count));
        }
        let frame = Frame {
            link_type,
            data: packet.data,
            original_len: packet.original_len,
        };
        if frame.is_possible() {
            self.time(to, packet.time_ns);
        }
        if let Some(tap) = tap {
            let direction = match tap.egress {
                Some(true) => "Out ",
                Some(false) => "In  ",
                None => "",
            };
            put(to, format_args!("{} {direction}", tap.name.escape_debug()));
            if let Some(before) = self.sightings.see(packet.id, packet.time_ns) {
                put(
                    to,
                    format_args!("({}) ", difference(packet.time_ns, before)),
                );
            }
        }
        if let Some(process) = packet.process {
            put(to, format_args!("[{process}] "));
        }
        self.dissector.describe(to, &frame);
        to.push('\n');
    }

    fn time(&mut self, to: &mut String, time_ns: u64) {
        let unit = if self.options.nanoseconds { 1 } else { 1000 };
        let per_second = 1_000_000_000 / unit;
        let width = if self.options.nanoseconds { 9 } else { 6 };
        let time = time_ns / unit;
        match self.options.time {
            TimeFormat::None => {}
            TimeFormat::TimeOfDay => {
                let local = Local::at(time_ns);
                put(
                    to,
                    format_args!("{}.{:0width$} ", local.time(), time % per_second),
                );
            }
            TimeFormat::Date => {
                let local = Local::at(time_ns);
                let (date, clock) = (local.date(), local.time());
                put(
                    to,
                    format_args!("{date} {clock}.{:0width$} ", time % per_second),
                );
            }
            TimeFormat::Epoch => {
                put(
                    to,
                    format_args!("{}.{:0width$} ", time / per_second, time % per_second),
                );
            }
            format @ (TimeFormat::SincePrevious | TimeFormat::SinceFirst) => {
                let reference = *self.reference.get_or_insert(time);
                if format == TimeFormat::SincePrevious {
                    self.reference = Some(time);
                }
                let sign = if time < reference { '-' } else { ' ' };
                let since = time.abs_diff(reference);
                let seconds = since / per_second;
                put(
                    to,
                    format_args!(
                        "{sign}{:02}:{:02}:{:02}.{:0width$} ",
                        seconds / 3600 % 24,
                        seconds / 60 % 60,
                        seconds % 60,
                        since % per_second
                    ),
                );
            }
        }
    }
}

/// When packets were seen last, by their ids.
#[derive(Debug)]
struct Sightings(Recent<u64, u64>);

impl Default for Sightings {
    fn default() -> Self {
        Self(Recent::new(MAX_SIGHTINGS))
    }
}

impl Sightings {
    /// Notes a sighting, and tells when the one before was. Packets without an id are none.
    fn see(&mut self, id: u64, time_ns: u64) -> Option<u64> {
        if id == 0 {
            return None;
        }
        self.0.insert(id, time_ns)
    }
}

/// `+1.234us`, with a sign since clocks of two files' sections may differ.
fn difference(time_ns: u64, before: u64) -> String {
    let sign = if time_ns < before { '-' } else { '+' };
    let size = time_ns.abs_diff(before);
    match size {
        0..1_000_000 => format!("{sign}{:.3}us", size as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{sign}{:.3}ms", size as f64 / 1e6),
        _ => format!("{sign}{:.3}s", size as f64 / 1e9),
    }
}

/// A time in this machine's zone.
pub(super) fn local_time(time_ns: u64) -> libc::tm {
    let seconds = (time_ns / 1_000_000_000) as libc::time_t;
    // SAFETY: all-zero bytes are a valid `tm`; both pointers are to live values.
    unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut local);
        local
    }
}

/// A time on the wall clock of this machine's zone.
struct Local(libc::tm);

impl Local {
    fn at(time_ns: u64) -> Self {
        Self(local_time(time_ns))
    }

    fn time(&self) -> String {
        let Self(local) = self;
        format!(
            "{:02}:{:02}:{:02}",
            local.tm_hour, local.tm_min, local.tm_sec
        )
    }

    fn date(&self) -> String {
        let Self(local) = self;
        format!(
            "{:04}-{:02}-{:02}",
            i64::from(local.tm_year) + 1900,
            local.tm_mon + 1,
            local.tm_mday
        )
    }
}

/// Local time of day with microseconds: `05:12:33.123456`.
#[must_use]
pub fn time_of_day(time_ns: u64) -> String {
    let micros = time_ns % 1_000_000_000 / 1000;
    format!("{}.{micros:06}", Local::at(time_ns).time())
}

/// Writing to a string cannot fail.
fn put(to: &mut String, what: std::fmt::Arguments<'_>) {
    if to.write_fmt(what).is_err() {
        debug_assert!(false, "a string takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: u64 = 1_700_000_000_123_456_789;
    /// An ARP request.
    const ARP: [u8; 42] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0,
        0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
    ];

    fn packet(time_ns: u64, id: u64) -> Packet<'static> {
        Packet {
            interface: 0,
            egress: true,
            time_ns,
            original_len: ARP.len() as u32,
            data: &ARP,
            checksum: super::super::Checksum::Unknown,
            segmented: false,
            shed: false,
            drops: 0,
            id,
            process: None,
        }
    }

    fn lines(options: TextOptions, times: &[u64]) -> Vec<String> {
        let mut printer = TextPrinter::new(options);
        let mut to = String::new();
        for time in times {
            printer.print(&mut to, &packet(*time, 0), 1, None);
        }
        let what = "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28";
        to.lines()
            .map(|line| line.strip_suffix(what).expect("the packet").to_owned())
            .collect()
    }

    #[test]
    fn times_as_tcpdump_prints_them() {
        let of = |count, nanoseconds| TextOptions {
            time: TimeFormat::from_count(count),
            nanoseconds,
            ..TextOptions::default()
        };
        assert_eq!(lines(of(1, false), &[TIME]), [""]);
        assert_eq!(lines(of(2, false), &[TIME]), ["1700000000.123456 "]);
        assert_eq!(lines(of(2, true), &[TIME]), ["1700000000.123456789 "]);
        // Differences are those of the digits that are printed.
        let times = [TIME, TIME + 3_600_000_000_211, TIME - 1_000_000];
        assert_eq!(
            lines(of(3, false), &times),
            [
                " 00:00:00.000000 ",
                " 01:00:00.000001 ",
                "-01:00:00.001001 "
            ]
        );
        assert_eq!(
            lines(of(5, true), &times),
            [
                " 00:00:00.000000000 ",
                " 01:00:00.000000211 ",
                "-00:00:00.001000000 "
            ]
        );
        let date = &lines(of(4, false), &[TIME])[0];
        assert!(
            date.starts_with("2023-11-1") && date.ends_with(".123456 "),
            "{date}"
        );
    }

    #[test]
    fn numbers_stand_before_times() {
        let options = TextOptions {
            number: true,
            time: TimeFormat::None,
            ..TextOptions::default()
        };
        assert_eq!(lines(options, &[TIME, TIME]), ["    1  ", "    2  "]);
    }

    #[test]
    fn a_packet_seen_again_tells_the_time_since() {
        let mut printer = TextPrinter::new(TextOptions {
            time: TimeFormat::None,
            ..TextOptions::default()
        });
        let mut to = String::new();
        for (name, egress, time, id) in [
            ("eth0@web", true, TIME, 7),
            ("veth1@host", false, TIME + 912, 7),
            ("eth0@web", true, TIME, 0),
            ("eth0@web", true, TIME, 0),
        ] {
            let tap = Tap {
                name,
                egress: Some(egress),
            };
            printer.print(&mut to, &packet(time, id), 1, Some(tap));
        }
        let starts: Vec<&str> = to
            .lines()
            .map(|line| line.split("ARP").next().expect("a start"))
            .collect();
        assert_eq!(
            starts,
            [
                "eth0@web Out ",
                "veth1@host In  (+0.912us) ",
                "eth0@web Out ",
                "eth0@web Out "
            ]
        );
    }
}
