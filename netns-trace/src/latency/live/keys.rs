//! What keys mean.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// End the measurement.
    Quit,
    /// Close the help, or end the measurement.
    Leave,
    /// Select the next segment.
    Next,
    /// Select the segment before.
    Previous,
    /// Hold the display, or let it go on.
    Pause,
    /// Start the figures anew.
    Reset,
    /// Show all packets, the busy or the idle ones.
    Kind,
    /// Show the keys, or hide them.
    Help,
}

/// What a key asks for, if anything.
#[must_use]
pub fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Action::Quit);
    }
    match key.code {
        KeyCode::Char('q') => Some(Action::Quit),
        KeyCode::Esc => Some(Action::Leave),
        KeyCode::Down | KeyCode::Tab | KeyCode::Char('j') => Some(Action::Next),
        KeyCode::Up | KeyCode::BackTab | KeyCode::Char('k') => Some(Action::Previous),
        KeyCode::Char('p' | ' ') => Some(Action::Pause),
        KeyCode::Char('r') => Some(Action::Reset),
        KeyCode::Char('b') => Some(Action::Kind),
        KeyCode::Char('?') => Some(Action::Help),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_help_says() {
        let plain = |code| action(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(plain(KeyCode::Char('q')), Some(Action::Quit));
        assert_eq!(plain(KeyCode::Esc), Some(Action::Leave));
        assert_eq!(plain(KeyCode::Char('c')), None);
        assert_eq!(plain(KeyCode::Tab), Some(Action::Next));
        assert_eq!(plain(KeyCode::Char(' ')), Some(Action::Pause));
        let held = |c| action(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
        assert_eq!(held('c'), Some(Action::Quit));
        assert_eq!(held('r'), None);
        let mut released = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        released.kind = KeyEventKind::Release;
        assert_eq!(action(released), None);
    }
}
