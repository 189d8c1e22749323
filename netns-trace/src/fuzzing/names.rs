//! Words of a command line, and names that others gave.

use std::fmt::{Debug, Display};

use super::{Bytes, assert_printable};
use crate::{
    capture::Format,
    lab::{Cidr, spec::check_name},
    link::name::{check, from_label},
    netns::is_name,
    probe::AttachMethod,
    target::TargetSpec,
};

/// Which kind of word, and the word. It is refused in printable words, or means what it says when it is printed.
pub fn names(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let kind = bytes.byte();
    let text = &*String::from_utf8_lossy(bytes.0);
    match kind % 5 {
        0 => target(text),
        1 => again::<Cidr>(text),
        2 => {
            refused(text.parse::<Format>());
            refused(text.parse::<AttachMethod>());
        }
        3 => {
            if let Some(name) = from_label(text) {
                assert_eq!(check(&name), Ok(()), "{name:?}");
            }
            if check(text).is_ok() {
                assert!(is_name(text));
                assert_printable(text);
            }
        }
        _ => {
            if let Some(()) = refused(check_name(text)) {
                assert!(is_name(text) && check(text).is_ok(), "{text:?}");
            }
        }
    }
}

fn target(text: &str) {
    let Some(spec) = refused(text.parse::<TargetSpec>()) else {
        return;
    };
    let printed = spec.to_string();
    assert_printable(&printed);
    // What was escaped is another name.
    if text.escape_debug().eq(text.chars()) {
        assert_eq!(printed.parse(), Ok(spec), "{text:?}");
    }
}

/// What is read is printed so that it is read again.
fn again<T>(text: &str)
where
    T: std::str::FromStr<Err: Display> + Display + Debug + PartialEq,
{
    if let Some(read) = refused(text.parse::<T>()) {
        let printed = read.to_string();
        assert_printable(&printed);
        assert_eq!(refused(printed.parse()), Some(read), "{printed:?}");
    }
}

fn refused<T>(result: Result<T, impl Display>) -> Option<T> {
    result
        .inspect_err(|why| assert_printable(&why.to_string()))
        .ok()
}
