//! An [`Overhead`] for people: a table of round trips for each rhythm, bars for where the difference
//! goes, and what to make of it.

use super::{Centre, Comparison, Ended, Overhead, Split, Trips};
use crate::latency::{Figures, time, units::count};

/// Widest bar, in characters: a whole difference.
const BAR: f64 = 30.0;

impl Overhead {
    /// Tables, bars and notes.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "Round trips of an ICMP echo ({} bytes, {} sockets), {} -> {}{}\n\n",
            self.echo_bytes,
            self.socket,
            self.way(),
            if self.is_gateway { "its gateway " } else { "" },
            self.to
        );
        let modes = [
            ("back to back".to_owned(), &self.busy),
            (
                format!("after {} ms idle", self.pause_ns / 1_000_000),
                &self.idle,
            ),
        ];
        let modes = modes.iter().filter(|(_, mode)| mode.has_trips());
        for (title, mode) in modes.clone() {
            text += &self.table(title, mode);
            text.push('\n');
        }
        for (title, mode) in modes.clone() {
            if let Some(split) = &mode.split {
                text += &bars(title, mode, split);
                text += &self.notes(mode, split);
                text.push('\n');
            }
        }
        if modes.clone().any(|(_, mode)| mode.split.is_some()) {
            text += &self.legend();
        }
        for why in &self.missing {
            text += &format!("Not measured: {why}.\n");
        }
        text += match self.ended {
            Ended::Done => "",
            Ended::Interrupted => "Interrupted: these are the round trips made until then.\n",
            Ended::TimeLimit => "It took too long: these are the round trips made in its time.\n",
        };
        text.trim_end().to_owned() + "\n"
    }

    fn way(&self) -> String {
        format!("{}@{}", self.interface, self.target.label)
    }

    fn table(&self, title: &str, mode: &Comparison) -> String {
        let head = ["trips", "lost", "min", "mean", "p50", "p90", "p99", "max"];
        let mut rows = vec![row(title, head.map(str::to_owned))];
        let label = &self.target.label;
        for (name, trips) in [
            (format!("{label}'s loopback"), &mode.plain.loopback),
            ("host's loopback".to_owned(), &mode.plain.host_loopback),
            (format!("{} -> {}", label, self.to), &mode.plain.gateway),
        ] {
            if let Some(trips) = trips {
                rows.push(row(&name, cells(trips)));
            }
        }
        if let Some(difference) = mode.difference {
            let mut cells: [String; 8] = Default::default();
            cells[3] = signed(difference.mean_ns);
            cells[4] = signed(difference.p50_ns);
            rows.push(row(&format!("more than {label}'s loopback"), cells));
        }
        aligned(&rows, 1)
    }

    /// What to know of one rhythm's split.
    fn notes(&self, mode: &Comparison, split: &Split) -> String {
        let two = |trips: &Option<Trips>| {
            let figures = trips.as_ref()?.figures;
            let (mean, median) = (time(figures.mean_ns?), time(figures.p50_ns? as f64));
            Some(format!("{mean} (p50 {median})"))
        };
        let mut text = String::new();
        let (plain, probed) = (&mode.plain, &split.probed);
        if let (Some(with), Some(without)) = (two(&probed.gateway), two(&plain.gateway)) {
            text += &format!("  To {} with taps {with}, without {without};\n", self.to);
        }
        if let (Some(then), Some(before)) = (two(&probed.loopback), two(&plain.loopback)) {
            text +=
                &format!("  loopback, which no tap is on, {then} meanwhile, {before} before.\n");
        }
        let passes = self.taps.len() * 2;
        let observed = split.taps_observed_ns.map(|ns| {
            let ns = signed(ns);
            format!("{ns} by comparison of the p50, less drift")
        });
        let account = split.taps_account_ns.map(|ns| {
            let each = time(ns / passes.max(1) as f64);
            let all = time(ns);
            format!("{all} by their own account ({passes} passes of {each}, measured busy)")
        });
        let costs: Vec<String> = observed.into_iter().chain(account).collect();
        if !costs.is_empty() {
            text += &format!("  Cost of the taps: {}.\n", costs.join(";\n  "));
        }
        if let Some(stacks) = split.stacks {
            text += &format!(
                "  Sockets and IP stacks of both ends, derived: {} (p50 {}) of a trip.\n",
                time(stacks.mean_ns),
                time(stacks.p50_ns)
            );
        }
        let trips = split.probed.gateway.as_ref();
        let (sent, back) = trips.map_or((0, 0), |trips| (trips.sent, trips.figures.count));
        let is_off = |seen: u64| seen > 0 && !(back..=sent).contains(&seen);
        if let Some(part) = split.parts.iter().find(|part| is_off(part.count)) {
            let why = if part.count > sent {
                "other traffic is in the parts"
            } else {
                "not all were recognised"
            };
            text += &format!(
                "  Packets that passed {} {}: {}, round trips: {}; {why}.\n",
                part.name,
                part.direction,
                count(part.count),
                count(sent)
            );
        }
        text
    }

    fn legend(&self) -> String {
        format!(
            "Shares and bars are of the p50. Means add up, but one interruption moves them; medians add \
             up\nonly about. The rest is what is not explained: what the stack of {} takes more than\n\
             loopback's, less the loopback device, and the noise of all figures. It may be negative.\n\
             The taps' own time is the larger of their two costs, spread evenly over all passes.\n",
            self.to
        )
    }
}

impl Comparison {
    fn has_trips(&self) -> bool {
        let plain = &self.plain;
        let all = [&plain.loopback, &plain.host_loopback, &plain.gateway];
        all.into_iter().flatten().any(|trips| trips.sent > 0)
    }
}

fn bars(title: &str, mode: &Comparison, split: &Split) -> String {
    let whole = mode.difference.map(|difference| difference.p50_ns);
    let head = match whole {
        Some(_) => format!("Where the difference goes, {title}"),
        None => format!("Where the time goes, {title}"),
    };
    let mut rows = vec![vec![head, "mean".to_owned(), "p50".to_owned()]];
    for part in &split.parts {
        let name = format!("  {} {}", part.name, part.direction);
        rows.push(match part.time {
            Some(time) => part_row(&name, time, whole),
            None => vec![name, "saw none".to_owned()],
        });
    }
    if split.taps_in_parts_ns > 0.0 {
        let off = Centre {
            mean_ns: -split.taps_in_parts_ns,
            p50_ns: -split.taps_in_parts_ns,
        };
        rows.push(part_row("  the taps' own time in these", off, whole));
    }
    let sums = [("  rest", split.rest), ("  in all", mode.difference)];
    for (name, time) in sums {
        rows.extend(time.map(|time| part_row(name, time, whole)));
    }
    aligned(&rows, 1)
}

/// A part's time, its share of the whole where that is positive, and a bar.
fn part_row(name: &str, time: Centre, whole: Option<f64>) -> Vec<String> {
    let mut row = vec![name.to_owned(), signed(time.mean_ns), signed(time.p50_ns)];
    if let Some(whole) = whole.filter(|whole| *whole > 0.0) {
        let share = time.p50_ns / whole;
        row.push(format!("{:.0} %", share * 100.0));
        row.push("█".repeat((share.clamp(0.0, 1.0) * BAR).round() as usize));
    }
    row
}

fn row(name: &str, cells: [String; 8]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells).collect()
}

fn cells(trips: &Trips) -> [String; 8] {
    let exact = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), |ns| time(ns as f64));
    let Figures {
        min_ns,
        mean_ns,
        p50_ns,
        p90_ns,
        p99_ns,
        max_ns,
        ..
    } = trips.figures;
    [
        count(trips.sent),
        count(trips.lost),
        exact(min_ns),
        mean_ns.map_or_else(|| "-".to_owned(), time),
        exact(p50_ns),
        exact(p90_ns),
        exact(p99_ns),
        exact(max_ns),
    ]
}

/// A time that may be negative, with its sign.
fn signed(ns: f64) -> String {
    let sign = if ns < 0.0 { '-' } else { '+' };
    format!("{sign}{}", time(ns.abs()))
}

/// Columns of equal width: so many to the left, the others to the right; bars have no width.
fn aligned(rows: &[Vec<String>], left: usize) -> String {
    let is_bar = |cell: &str| cell.starts_with('█');
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let texts = cells.filter(|cell| !is_bar(cell));
        texts.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let gap = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            line += &if column < left || is_bar(cell) {
                format!("{cell}{gap}  ")
            } else {
                format!("{gap}{cell}  ")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::tests::sample, *};

    #[test]
    fn a_run_reads_well() {
        let text = sample().text();
        let expected = "\
Round trips of an ICMP echo (64 bytes, raw sockets), eth0@web -> its gateway 10.77.0.1

back to back              trips  lost      min      mean       p50      p90      p99      max
web's loopback              101     1  3.00 µs   3.03 µs   3.00 µs  3.00 µs  3.00 µs  6.00 µs
host's loopback             101     1  2.90 µs   2.93 µs   2.90 µs  2.90 µs  2.90 µs  5.80 µs
web -> 10.77.0.1            101     1  8.00 µs   8.08 µs   8.00 µs  8.00 µs  8.00 µs  16.0 µs
more than web's loopback                        +5.05 µs  +5.00 µs

after 20 ms idle          trips  lost      min      mean       p50      p90      p99      max
web's loopback              101     1  40.0 µs   40.4 µs   40.0 µs  40.0 µs  40.0 µs  80.0 µs
host's loopback             101     1  39.9 µs   40.3 µs   39.9 µs  39.9 µs  39.9 µs  79.8 µs
web -> 10.77.0.1            101     1  80.0 µs   80.8 µs   80.0 µs  80.0 µs  80.0 µs   160 µs
more than web's loopback                        +40.4 µs  +40.0 µs

Where the difference goes, back to back      mean       p50
  veth out                                +400 ns   +400 ns    8 %  ██
  bridge out                              +600 ns   +600 ns   12 %  ████
  bridge in                               +500 ns   +500 ns   10 %  ███
  veth in                                 +300 ns   +300 ns    6 %  ██
  the taps' own time in these             -200 ns   -200 ns   -4 %
  rest                                   +3.45 µs  +3.40 µs   68 %  ████████████████████
  in all                                 +5.05 µs  +5.00 µs  100 %  ██████████████████████████████
  To 10.77.0.1 with taps 8.38 µs (p50 8.30 µs), without 8.08 µs (p50 8.00 µs);
  loopback, which no tap is on, 3.03 µs (p50 3.00 µs) meanwhile, 3.03 µs (p50 3.00 µs) before.
  Cost of the taps: +300 ns by comparison of the p50, less drift;
  240 ns by their own account (6 passes of 40 ns, measured busy).
  Sockets and IP stacks of both ends, derived: 6.48 µs (p50 6.40 µs) of a trip.
  Packets that passed veth out: 1, round trips: 101; not all were recognised.

";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("passed veth out: 1, round trips: 101; not all"),
            "{text}"
        );
        assert!(text.contains("\nafter 20 ms idle "), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 110),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        let mut overhead = sample();
        overhead.busy.split = None;
        overhead.idle = Comparison::default();
        overhead.missing = vec!["where it goes: eth0 has no host side".to_owned()];
        overhead.ended = Ended::Interrupted;
        let text = overhead.text();
        assert!(
            text.contains("Not measured: where it goes: eth0 has no host side.\n"),
            "{text}"
        );
        assert!(text.contains("Interrupted"), "{text}");
        assert!(!text.contains("Where the difference"), "{text}");
        assert!(!text.contains("after 20"), "{text}");
    }

    #[test]
    fn less_than_nothing_has_a_sign_and_no_bar() {
        let time = Centre {
            mean_ns: 700.0,
            p50_ns: -1_200.0,
        };
        assert_eq!(
            part_row("rest", time, Some(2_400.0)),
            ["rest", "+700 ns", "-1.20 µs", "-50 %", ""]
        );
        let shares = part_row("rest", time, Some(-5.0));
        assert_eq!(shares, ["rest", "+700 ns", "-1.20 µs"]);
    }
}
