//! Tables of figures: on the terminal as they come, and in `docs/benchmarks.md`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

/// A section of the page: one table.
pub(super) struct Section {
    title: &'static str,
    rows: Vec<Vec<String>>,
}

impl Section {
    pub(super) fn new(title: &'static str, columns: &[&str]) -> Self {
        let section = Self {
            title,
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
        let mut text = format!("## {}\n\n", self.title);
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
        let path = crate::root().join("docs/benchmarks.md");
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        let title = format!("## {}\n", self.title);
        let (before, after) = match page.split_once(&title) {
            None => (page.as_str(), ""),
            Some((before, rest)) => (before, rest.find("\n## ").map_or("", |at| &rest[at + 1..])),
        };
        let text = format!("{}\n\n{}\n{after}", before.trim_end(), self.text());
        std::fs::write(&path, text).context("cannot write docs/benchmarks.md")
    }
}
