//! A strict check of XML, for tests: what we write is well-formed.

/// Checks that tags are closed in order, attributes quoted, and nothing else is markup.
///
/// # Panics
///
/// If it is not so.
pub(super) fn check(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    let mut roots = 0;
    while let Some(at) = rest.find('<') {
        check_text(&rest[..at]);
        let tag = &rest[at + 1..];
        let end = tag.find('>').expect("a tag ends");
        let (tag, after) = (&tag[..end], &tag[end + 1..]);
        assert!(!tag.contains('<'), "{tag}");
        rest = after;
        if let Some(instruction) = tag.strip_prefix('?') {
            assert!(instruction.ends_with('?') && roots == 0, "{tag}");
        } else if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed in order");
        } else {
            let (tag, is_empty) = match tag.strip_suffix('/') {
                Some(tag) => (tag, true),
                None => (tag, false),
            };
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
            check_attributes(attributes);
            if open.is_empty() {
                roots += 1;
            }
            if !is_empty {
                open.push(name);
            }
        }
    }
    assert!(rest.trim().is_empty(), "after the end: {rest}");
    assert!(open.is_empty(), "not closed: {open:?}");
    assert_eq!(roots, 1, "one root");
}

fn check_attributes(mut text: &str) {
    let mut seen = Vec::new();
    while !text.trim().is_empty() {
        let (name, rest) = text.trim_start().split_once("=\"").expect("name=\"value\"");
        assert!(
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "{name}"
        );
        assert!(!seen.contains(&name), "{name} twice");
        seen.push(name);
        let (value, rest) = rest.split_once('"').expect("a value ends");
        check_text(value);
        text = rest;
    }
}

fn check_text(text: &str) {
    for (at, _) in text.match_indices('&') {
        let entity = text[at..].split(';').next().expect("a part");
        assert!(
            ["&amp", "&lt", "&gt", "&quot", "&#39"].contains(&entity),
            "{entity}"
        );
    }
    let allowed = |c: char| !c.is_control() || c == '\n';
    assert!(text.chars().all(allowed), "{text:?}");
}
