//! Results on stdout, where a reader that has seen enough and closes the pipe is no error; notes on stderr.

use std::io::{self, Write as _};

/// Prints text as it is.
///
/// # Errors
///
/// Stdout cannot be written, for another reason than that its reader left.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Says on stderr what is to be said of a target.
pub(super) fn say(notes: &[String]) {
    for note in notes {
        eprintln!("netns-trace: {note}");
    }
}
