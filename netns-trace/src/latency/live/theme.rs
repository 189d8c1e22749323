//! Colours, as far as the terminal has them. What a colour says is also said without it.

use ratatui::style::{Color, Modifier, Style};

/// How the view is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Bold, dim and reversed text.
    Plain,
    /// The terminal's eight colours.
    Basic,
    /// The 256 colours that most terminals have.
    Rich,
}

/// How many packets a place of the map stands for, from few to many.
const SHADES: [&str; 4] = ["░", "▒", "▓", "█"];
const BASIC: [Color; 4] = [Color::Blue, Color::Magenta, Color::Red, Color::Yellow];
/// From dark violet through red to bright yellow: readable on black and on white.
const RICH: [u8; 10] = [53, 90, 126, 162, 198, 204, 209, 215, 221, 228];

impl Theme {
    /// What suits a terminal: whether colours are unwanted, and how many it has.
    #[must_use]
    pub const fn new(no_colour: bool, colours: u16) -> Self {
        match colours {
            _ if no_colour => Self::Plain,
            256.. => Self::Rich,
            _ => Self::Basic,
        }
    }

    fn coloured(self, basic: Color, rich: u8) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Basic => Style::new().fg(basic),
            Self::Rich => Style::new().fg(Color::Indexed(rich)),
        }
    }

    /// Names, and what is selected.
    pub(super) fn accent(self) -> Style {
        self.coloured(Color::Cyan, 38).add_modifier(Modifier::BOLD)
    }

    /// What stands behind.
    pub(super) fn dim(self) -> Style {
        match self {
            Self::Rich => Style::new().fg(Color::Indexed(245)),
            _ => Style::new().add_modifier(Modifier::DIM),
        }
    }

    /// What should be noticed.
    pub(super) fn warning(self) -> Style {
        self.coloured(Color::Yellow, 172)
            .add_modifier(Modifier::BOLD)
    }

    /// A heading of columns.
    pub(super) fn heading(self) -> Style {
        self.dim().add_modifier(Modifier::UNDERLINED)
    }

    /// A word that tells a state of the view.
    pub(super) fn badge(self) -> Style {
        self.warning().add_modifier(Modifier::REVERSED)
    }

    /// Rows of the map in one line of the terminal.
    pub(super) const fn rows_per_line(self) -> usize {
        match self {
            Self::Rich => 2,
            _ => 1,
        }
    }

    /// Steps between few and many.
    pub(super) const fn levels(self) -> usize {
        match self {
            Self::Rich => RICH.len(),
            _ => SHADES.len(),
        }
    }

    /// The step of a count, from 1, by its logarithm; 0 for none.
    pub(super) fn level(self, count: u64, most: u64) -> usize {
        if count == 0 {
            return 0;
        }
        let share = (count as f64).ln_1p() / (most.max(1) as f64).ln_1p();
        ((share * self.levels() as f64).ceil() as usize).clamp(1, self.levels())
    }

    /// A place that stands for counts of these levels, the upper and the lower one where two rows
    /// share a line.
    pub(super) fn place(self, upper: usize, lower: usize) -> (&'static str, Style) {
        let colour = |level: usize| Color::Indexed(RICH[(level - 1).min(RICH.len() - 1)]);
        match (self, upper, lower) {
            (_, 0, 0) => (" ", Style::new()),
            (Self::Rich, upper, 0) => ("▀", Style::new().fg(colour(upper))),
            (Self::Rich, 0, lower) => ("▄", Style::new().fg(colour(lower))),
            (Self::Rich, upper, lower) if upper == lower => ("█", Style::new().fg(colour(upper))),
            (Self::Rich, upper, lower) => ("▀", Style::new().fg(colour(upper)).bg(colour(lower))),
            (theme, upper, lower) => {
                let at = (upper.max(lower) - 1).min(SHADES.len() - 1);
                let style = match theme {
                    Self::Basic => Style::new().fg(BASIC[at]),
                    _ => Style::new(),
                };
                (SHADES[at], style)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_what_it_can_show() {
        assert_eq!(Theme::new(true, 256), Theme::Plain);
        assert_eq!(Theme::new(false, 8), Theme::Basic);
        assert_eq!(Theme::new(false, 256), Theme::Rich);
        assert_eq!(Theme::new(false, u16::MAX), Theme::Rich);
    }

    #[test]
    fn more_packets_are_never_less_bright() {
        for theme in [Theme::Plain, Theme::Basic, Theme::Rich] {
            assert_eq!(theme.level(0, 1000), 0);
            assert_eq!(theme.level(1000, 1000), theme.levels());
            assert_eq!(theme.level(1, 1), theme.levels());
            let levels: Vec<usize> = (0..=1000).map(|n| theme.level(n, 1000)).collect();
            assert!(levels.is_sorted(), "{theme:?}");
            assert!(levels[1] >= 1, "one packet is seen");
            for upper in 0..=theme.levels() {
                for lower in 0..=theme.levels() {
                    let (symbol, _) = theme.place(upper, lower);
                    assert_eq!(symbol == " ", upper + lower == 0);
                }
            }
        }
    }
}
