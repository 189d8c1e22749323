//! What keys mean, in the bytes that a terminal in raw mode sends for them.

const ESCAPE: u8 = 0x1b;
const CONTROL_C: u8 = 3;

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

/// What the keys ask for that were pressed, those that mean nothing left out. A key that sends several bytes sends them at
/// once.
#[must_use]
pub fn actions(mut bytes: &[u8]) -> Vec<Action> {
    let mut actions = Vec::new();
    while let Some((&first, rest)) = bytes.split_first() {
        bytes = rest;
        actions.extend(match (first, rest.first()) {
            (ESCAPE, Some(b'[' | b'O')) => {
                // Parameters, and a letter or ~ that says what it is.
                let end = rest[1..]
                    .iter()
                    .position(|byte| (b'@'..=b'~').contains(byte));
                let last = end.map_or(rest.len(), |end| end + 1);
                bytes = rest.get(last + 1..).unwrap_or_default();
                rest.get(last).and_then(|last| match last {
                    b'A' | b'Z' => Some(Action::Previous),
                    b'B' => Some(Action::Next),
                    _ => None,
                })
            }
            // With Alt held, a key comes behind an escape and means the same.
            (ESCAPE, Some(_)) => None,
            (ESCAPE, None) => Some(Action::Leave),
            (CONTROL_C | b'q', _) => Some(Action::Quit),
            (b'\t' | b'j', _) => Some(Action::Next),
            (b'k', _) => Some(Action::Previous),
            (b'p' | b' ', _) => Some(Action::Pause),
            (b'r', _) => Some(Action::Reset),
            (b'b', _) => Some(Action::Kind),
            (b'?', _) => Some(Action::Help),
            _ => None,
        });
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_help_says() {
        for (bytes, wanted) in [
            (&b"q"[..], &[Action::Quit][..]),
            (b"\x03", &[Action::Quit]),
            (b"\x1b", &[Action::Leave]),
            (b"\x1b[A", &[Action::Previous]),
            (b"\x1bOA", &[Action::Previous]),
            (b"\x1b[B", &[Action::Next]),
            (b"\x1b[Z", &[Action::Previous]),
            (b"\tjk", &[Action::Next, Action::Next, Action::Previous]),
            (
                b"p rb?",
                &[
                    Action::Pause,
                    Action::Pause,
                    Action::Reset,
                    Action::Kind,
                    Action::Help,
                ],
            ),
            (b"c\x12\xc3\xa4", &[]),
        ] {
            assert_eq!(actions(bytes), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn keys_that_mean_nothing_are_passed_over_whole() {
        // F5, Ctrl-Right, a click, Delete; then one that does mean something.
        for bytes in [
            "\x1b[15~q",
            "\x1b[1;5Cq",
            "\x1b[<0;10;20Mq",
            "\x1b[3~q",
            "\x1bxq",
        ] {
            assert_eq!(actions(bytes.as_bytes()), [Action::Quit], "{bytes:?}");
        }
    }

    #[test]
    fn any_bytes_are_no_panic() {
        let some = [0, ESCAPE, b'[', b'O', b'1', b';', b'A', b'~', b'q', 0xff];
        for a in some {
            for b in some {
                for c in some {
                    for d in some {
                        let _actions = actions(&[a, b, c, d]);
                    }
                }
            }
        }
    }
}
