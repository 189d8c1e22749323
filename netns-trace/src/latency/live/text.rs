//! Names and numbers in little room.

use ratatui::text::Span;

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text in so many columns, cut with an ellipsis where it is longer.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        cut.push(c);
        if width(&cut) + 1 > columns {
            cut.pop();
            break;
        }
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// A count in five columns: `99999`, `1234k`, `12M`.
pub(super) fn compact(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..10_000_000 => format!("{}k", count / 1000),
        10_000_000..10_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}

/// A name in which nothing can move the cursor, turn the writing around, or hide.
pub(super) fn harmless(name: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    name.chars()
        .map(|c| if is_odd(c) { '\u{fffd}' } else { c })
        .collect()
}

/// A tap's label in its parts: namespace, interface, which has no slash.
pub(super) fn parts(label: &str) -> (&str, &str) {
    label.rsplit_once('/').unwrap_or(("", label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit() {
        assert_eq!(fit("eth0", 4), "eth0");
        assert_eq!(fit("eth0@web", 5), "eth0…");
        assert_eq!(fit("eth0", 1), "…");
        assert_eq!(fit("eth0", 0), "");
        // Each of these takes two columns.
        assert_eq!(fit("日本語", 4), "日…");
        for columns in 0..8 {
            assert!(width(&fit("日本語とeth0", columns)) <= columns);
        }
    }

    #[test]
    fn counts_take_five_columns() {
        for (count, text) in [
            (0, "0"),
            (99_999, "99999"),
            (100_000, "100k"),
            (9_999_999, "9999k"),
            (10_000_000, "10M"),
            (12_345_678_901, "12G"),
        ] {
            assert_eq!(compact(count), text);
        }
    }

    #[test]
    fn names_do_no_harm() {
        assert_eq!(
            harmless("a\x1b[2J\u{202e}b\u{9b}\n"),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}\u{fffd}"
        );
        assert_eq!(harmless("web-1/日本"), "web-1/日本");
    }
}
