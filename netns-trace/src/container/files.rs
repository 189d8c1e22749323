//! Reading what runtimes keep in files. Some of them are a user's, who may put anything in their place.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::de::DeserializeOwned;

use crate::{
    plain_file,
    privilege::{Capability, why_denied},
};

/// Most entries of a directory that are looked at.
pub(super) const MOST_ENTRIES: usize = 20_000;

/// A plain file of at most `most` bytes.
///
/// # Errors
///
/// It is longer, it is no plain file, or it cannot be read.
pub(super) fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let found = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
        .open(path)?;
    match plain_file::read(&found, most)? {
        (text, false) => Ok(text),
        (_, true) => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than any such file",
        )),
    }
}

/// A file of JSON.
///
/// # Errors
///
/// As [`read`], and it may not be what was expected, or cut short.
pub(super) fn json<T: DeserializeOwned>(path: &Path, most: usize) -> io::Result<T> {
    Ok(serde_json::from_slice(&read(path, most)?)?)
}

/// A number in a file of its own.
pub(super) fn number(path: &Path) -> Option<u32> {
    let text = String::from_utf8(read(path, 64).ok()?).ok()?;
    text.trim().parse().ok()
}

/// The names in a directory that are text, as many as are looked at, in no order; none when it cannot be
/// read.
pub(super) fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .take(MOST_ENTRIES)
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Why a directory that is there may not be looked into, and the way out; `None` where it may.
pub(super) fn why_closed(dir: &Path) -> Option<String> {
    let denied = |why: &io::Error| why.kind() == io::ErrorKind::PermissionDenied;
    fs::read_dir(dir).is_err_and(|why| denied(&why)).then(|| {
        let missing = why_denied(&[Capability::DacReadSearch]);
        format!("no permission to read {dir:?}: {missing}")
    })
}

/// Whether a text that came from elsewhere is one part of a path, and does not lead up.
pub(super) fn is_part(text: &str) -> bool {
    Path::new(text).file_name() == Some(OsStr::new(text)) && text.len() <= 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_not_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        for path in [&pipe, dir.path(), Path::new("/dev/zero")] {
            let error = read(path, 10).expect_err("no file");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
    }

    #[test]
    fn a_file_may_be_only_so_long() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        fs::write(&file, "12345").expect("a file");
        assert_eq!(read(&file, 5).expect("five bytes"), b"12345");
        assert!(read(&file, 4).is_err());
        assert_eq!(number(&file), Some(12345));
        fs::write(&file, "{\"a\":").expect("a file");
        assert!(json::<serde_json::Value>(&file, 100).is_err());
    }

    #[test]
    fn a_part_of_a_path_leads_nowhere_else() {
        for text in ["web", "a.b", "..."] {
            assert!(is_part(text), "{text}");
        }
        for text in ["", ".", "..", "a/b", "/", "a/", "/a", "a/."] {
            assert!(!is_part(text), "{text}");
        }
    }
}
