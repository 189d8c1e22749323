//! Names for namespaces that `ip netns` takes and that harm nobody who lists them.

use crate::{netns::is_name, target::Target};

/// Longest name made of a label.
const LONGEST: usize = 63;

/// Why a name will not do, and what would.
pub(crate) fn check(name: &str) -> Result<(), &'static str> {
    if !is_name(name) {
        Err("a name is that of one file: not empty, without `/`, no longer than 255 bytes")
    } else if name.contains(char::is_control) {
        Err("it holds control characters, which `ip netns list` would send to the terminal")
    } else if name.starts_with(['-', '.']) {
        Err("it would be taken for an option or a hidden file; begin it with a letter")
    } else {
        Ok(())
    }
}

/// The name for a namespace that is given none: its label, as far as that can be a file's name, else
/// `netns-INODE`.
pub(super) fn default_for(target: &Target) -> String {
    from_label(&target.label).unwrap_or_else(|| format!("netns-{}", target.ns.inode()))
}

pub(crate) fn from_label(label: &str) -> Option<String> {
    // These are numbers that come to mean another one.
    if label.starts_with("pid:") || label.starts_with("inode:") {
        return None;
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = label
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(LONGEST)
        .collect();
    let name = name.trim_start_matches(['-', '.']);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_names() {
        for (label, name) in [
            ("web", Some("web")),
            ("shop/web-7", Some("shop-web-7")),
            ("my web_1.2", Some("my-web_1.2")),
            ("../../etc/passwd", Some("etc-passwd")),
            ("--help", Some("help")),
            ("\\u{1b}[2J", Some("u-1b--2J")),
            ("ä", None),
            ("..", None),
            ("", None),
            ("pid:7", None),
            ("inode:4026532211", None),
            ("host", Some("host")),
        ] {
            let made = from_label(label);
            assert_eq!(made.as_deref(), name, "{label}");
            assert!(made.is_none_or(|made| check(&made).is_ok()), "{label}");
        }
        assert_eq!(
            from_label(&"x".repeat(1000)).map(|name| name.len()),
            Some(63)
        );
    }

    #[test]
    fn names_that_do_harm_are_refused() {
        for name in ["web", "a b", "ä", "a.b", "7"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let long = "x".repeat(256);
        for name in ["", ".", "..", "a/b", "a\nb", "\x1b[2J", "-x", ".x", &long] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
