//! Where a syntax error is. libpcap does not tell; but it tells of any text whether it is a filter, so the
//! place is found by asking: the first word after which no ending makes one.

/// Endings of which one makes a filter of nearly every beginning of one.
const ENDINGS: [&str; 16] = [
    "",
    " 1",
    " ip",
    " host 1.1.1.1",
    " 1.1.1.1",
    " port 1",
    " = 1",
    " & 1 = 1",
    "0] = 1",
    "] = 1",
    " 1] = 1",
    " 1) = 1",
    " = 1)",
    " 1)",
    ")",
    " ip)",
];
/// Parentheses that are left open are closed up to this depth.
const DEEPEST: usize = 8;
/// Longer expressions are not looked through: each try is a compilation.
const LONGEST: usize = 4096;

/// The byte at which the first wrong word of an expression begins; its length where it only ends too
/// early. `None` for other errors than those of syntax, and where it cannot be found.
pub(super) fn of_error(
    expression: &str,
    why: &str,
    compiles: impl Fn(&str) -> bool,
) -> Option<usize> {
    if !is_of_syntax(why) || expression.len() > LONGEST {
        return None;
    }
    let can_go_on = |beginning: &str| {
        let closing = (0..=DEEPEST).map(|depth| ")".repeat(depth));
        closing.into_iter().any(|closing| {
            ENDINGS
                .iter()
                .any(|ending| compiles(&format!("{beginning}{ending}{closing}")))
        })
    };
    let words = words(expression);
    for &(start, end) in &words {
        if !can_go_on(&expression[..end]) {
            return Some(start);
        }
    }
    Some(expression.len())
}

/// Whether that is what libpcap says of a syntax error.
pub(super) fn is_of_syntax(why: &str) -> bool {
    why.contains("syntax error")
}

/// The words of an expression, roughly as libpcap's scanner parts them: where each begins and ends.
fn words(expression: &str) -> Vec<(usize, usize)> {
    let mut words: Vec<(usize, usize)> = Vec::new();
    let is_word = |c: char| c.is_alphanumeric() || "_.:-/\\".contains(c) || !c.is_ascii();
    let mut previous = None;
    for (at, c) in expression.char_indices() {
        let end = at + c.len_utf8();
        match (c, previous) {
            (c, _) if c.is_whitespace() => previous = None,
            (c, Some(true)) if is_word(c) => {
                if let Some(last) = words.last_mut() {
                    last.1 = end;
                }
            }
            (c, _) => {
                words.push((at, end));
                previous = Some(is_word(c));
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found() {
        let text = "tcp[13] & 2 != 0 and (host ::1)";
        let parts: Vec<&str> = words(text).iter().map(|&(a, b)| &text[a..b]).collect();
        let expected = [
            "tcp", "[", "13", "]", "&", "2", "!", "=", "0", "and", "(", "host", "::1", ")",
        ];
        assert_eq!(parts, expected);
        assert_eq!(words("  "), []);
    }

    #[test]
    fn only_syntax_errors_have_a_place() {
        assert_eq!(of_error("x", "unknown host 'x'", |_| false), None);
        assert_eq!(of_error("a b", "syntax error", |text| text == "a"), Some(2));
        assert_eq!(
            of_error("a b", "syntax error", |text| text.starts_with("a b c")),
            Some(0)
        );
    }
}
