//! Reading what runtimes keep in files. Some of them are a user's, who may put anything in their place: a
//! pipe that never ends, a device, a gigabyte. So only regular files are read, and only so much.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
};

use serde::de::DeserializeOwned;

/// Most entries of a directory that are looked at.
pub(super) const MOST_ENTRIES: usize = 20_000;

/// A regular file of at most `most` bytes.
///
/// # Errors
///
/// It is longer, it is no regular file, or it cannot be read.
pub(super) fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // O_PATH first: to open a pipe may wait, and to open a device may do things.
    let found = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
        .open(path)?;
    if !found.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    let file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    let mut text = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut text)?;
    if text.len() > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than any such file",
        ));
    }
    Ok(text)
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
