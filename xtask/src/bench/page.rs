//! Tables of figures: on the terminal as they come, and in `docs/benchmarks.md`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

const PAGE: &str = "docs/benchmarks.md";
const HEAD: &str = "# Benchmarks

Written by `cargo xtask bench`, section by section; on another machine it puts that one's figures here. Figures are
medians, with the smallest and the largest in brackets. Those of one section were taken in turns, so compare them with
each other rather than with those of another machine, or day.
";

/// A section of the page: one table.
pub(super) struct Section {
    title: &'static str,
    /// How to read the table.
    about: &'static str,
    rows: Vec<Vec<String>>,
}

impl Section {
    pub(super) fn new(title: &'static str, about: &'static str, columns: &[&str]) -> Self {
        let section = Self {
            title,
            about,
            rows: vec![columns.iter().map(|&column| column.to_owned()).collect()],
        };
        println!("{}", columns.join(" | "));
        section
    }

    /// Adds a row, and prints it, since the next one may take minutes.
    pub(super) fn row(&mut self, cells: &[String]) {
        println!("{}", cells.join(" | "));
        let mut row = cells.to_vec();
        row.resize(self.rows[0].len(), String::new());
        self.rows.push(row);
    }

    /// The section's text.
    fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = format!("## {}\n\n{} {}\n\n", self.title, self.about, machine());
        for (at, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(text, "| {cell:<width$} ").expect("a string takes it");
            }
            text.push_str("|\n");
            if at == 0 {
                for width in &widths {
                    write!(text, "|{}", "-".repeat(width + 2)).expect("a string takes it");
                }
                text.push_str("|\n");
            }
        }
        text
    }

    /// Puts the section into the page.
    pub(super) fn write(&self) -> Result<()> {
        let path = crate::root().join(PAGE);
        let page = std::fs::read_to_string(&path).unwrap_or_else(|_| HEAD.to_owned());
        let title = format!("## {}\n", self.title);
        let (before, after) = match page.split_once(&title) {
            None => (page.as_str(), ""),
            Some((before, rest)) => (before, rest.find("\n## ").map_or("", |at| &rest[at + 1..])),
        };
        let text = format!("{}\n\n{}\n{after}", before.trim_end(), self.text());
        let text = format!("{}\n", text.trim_end());
        std::fs::write(&path, text).with_context(|| format!("cannot write {PAGE}"))
    }
}

/// What it was measured on.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = after(&read("/proc/meminfo"), "MemTotal");
    let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
    let hypervisor = match read("/proc/cpuinfo").contains(" hypervisor") {
        true => ", a virtual machine",
        false => "",
    };
    format!(
        "Measured on Linux {}, {cpus} CPUs ({}), {:.0} GiB{hypervisor}.",
        read("/proc/sys/kernel/osrelease").trim(),
        after(&read("/proc/cpuinfo"), "model name"),
        kib / f64::from(1 << 20),
    )
}
