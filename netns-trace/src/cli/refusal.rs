//! How errors are told: one line on stderr, `netns-trace: ` and what is wrong, in which nothing of
//! a name can reach the terminal as more than text.

use std::process::ExitCode;

use clap::error::ContextValue;

use crate::{exec::ExecError, filter::FilterError, lab::LabError, link::LinkError, session::Usage};

/// Tells why the command failed, and returns the exit status: 2 where the fault is in what was
/// asked for, 126 and 127 where a tool cannot be run, 1 otherwise.
pub(super) fn failed(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<FilterError>() {
        Some(why) => eprintln!("netns-trace: {}", lines(why)),
        None => eprintln!("netns-trace: {}", causes(error)),
    }
    let usage = error.is::<Usage>()
        || error
            .downcast_ref::<LabError>()
            .is_some_and(LabError::is_usage)
        || error
            .downcast_ref::<LinkError>()
            .is_some_and(LinkError::is_usage);
    if usage {
        ExitCode::from(2)
    } else if let Some(exec) = error.downcast_ref::<ExecError>() {
        ExitCode::from(exec.status())
    } else {
        ExitCode::FAILURE
    }
}

/// Tells what is wrong with the arguments. Help and version come this way too, as clap has it.
pub(super) fn misused(error: clap::Error) -> ExitCode {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() || error.kind() == DisplayHelpOnMissingArgumentOrSubcommand {
        error.exit();
    }
    eprintln!("netns-trace: {}; try --help", sentence(error));
    ExitCode::from(2)
}

/// What is wrong with a filter, and where: a caret below it tells that, so it has lines.
fn lines(why: &FilterError) -> String {
    let text = why.to_string();
    text.lines().map(one_line).collect::<Vec<_>>().join("\n")
}

/// The causes of an error, each once: some libraries put a cause into their own text as well.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    one_line(&text)
}

/// What clap says, without its usage and its pointer to the help, which take many lines.
fn sentence(mut error: clap::Error) -> String {
    // What the user wrote is part of it as it is, and clap takes terminal sequences out of its
    // text unseen.
    let odd: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) if text.contains(char::is_control) => {
                Some((kind, ContextValue::String(one_line(text))))
            }
            _ => None,
        })
        .collect();
    for (kind, value) in odd {
        error.insert(kind, value);
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .filter(|part| !part.starts_with("Usage:") && !part.starts_with("For more information"))
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    one_line(&paragraphs.join("; "))
}

/// Control characters escaped, and with them the ends of lines.
fn one_line(text: &str) -> String {
    let escape = |c: char| -> String {
        if c.is_control() {
            c.escape_debug().collect()
        } else {
            c.into()
        }
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use clap::Parser as _;

    use super::{super::Cli, *};

    fn misuse(args: &[&str]) -> String {
        let args = std::iter::once(&"netns-trace").chain(args);
        sentence(Cli::try_parse_from(args).expect_err("misused"))
    }

    #[test]
    fn a_misuse_is_one_sentence() {
        assert_eq!(
            misuse(&["capture", "host", "-s", "262145"]),
            "invalid value '262145' for '--snapshot-length <N>': 262145 is not in 0..=262144"
        );
        assert_eq!(
            misuse(&["capture"]),
            "the following required arguments were not provided: <TARGET>"
        );
        assert_eq!(
            misuse(&["capture", "host", "--sumary", "json"]),
            "unexpected argument '--sumary' found; tip: a similar argument exists: '--summary'"
        );
        assert_eq!(
            misuse(&["lab", "up", "rnig"]),
            "invalid value 'rnig' for '[TOPOLOGY]' [possible values: bridge, nat, direct, ring, \
             mesh]; tip: a similar value exists: 'ring'"
        );
    }

    #[test]
    fn what_was_written_is_shown_as_text() {
        let said = misuse(&["capture", "host", "-c", "\x1b[2J\n\nUsage: x"]);
        assert!(said.contains(r"'\u{1b}[2J\n\nUsage: x'"), "{said}");
        let said = misuse(&["capture", "host", "--\x1b[2J"]);
        assert!(!said.contains(char::is_control), "{said}");
        let said = misuse(&["\x1b[2J"]);
        assert!(said.contains(r"\u{1b}[2J"), "{said}");
    }

    #[test]
    fn each_cause_is_told_once() {
        let error = Err::<(), _>(anyhow::anyhow!("no\x1broom"))
            .context("cannot write: no\x1broom")
            .context("the end")
            .expect_err("an error");
        assert_eq!(causes(&error), r"the end: cannot write: no\u{1b}room");
    }
}
