//! `netns-trace list`.

use std::io::{self, IsTerminal as _};

use anyhow::Result;
use clap::{ArgAction, Args};
use ratatui::crossterm::terminal;

use super::{logger, out::print};
use crate::inventory::Inventory;

/// What `list` takes.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// One line of JSON, with everything
    #[arg(long)]
    json: bool,

    /// Say what is done; twice, also why
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,
}

impl ListArgs {
    pub(super) fn run(self) -> Result<()> {
        logger::init(self.verbose);
        let inventory = Inventory::take();
        for note in &inventory.notes {
            eprintln!("netns-trace: {note}");
        }
        let text = if self.json {
            serde_json::to_string(&inventory.json())? + "\n"
        } else {
            inventory.table(width())
        };
        Ok(print(&text)?)
    }
}

/// Columns of the terminal; none where stdout is another thing, and gets whole lines.
fn width() -> Option<usize> {
    let is_terminal = io::stdout().is_terminal();
    let size = is_terminal.then(terminal::size)?.ok();
    size.map(|(columns, _)| columns.into())
}
