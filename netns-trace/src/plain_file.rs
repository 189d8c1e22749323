//! Files that a stranger may have put there: a pipe that never ends, a device, a gigabyte. Only plain
//! files are read, and only so much of them.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
};

/// The first `most` bytes of what is found, and whether there are more. It must have been opened with
/// `O_PATH`: to open a pipe may wait, and to open a device may do things.
///
/// # Errors
///
/// It is no plain file ([`io::ErrorKind::InvalidInput`]), or it cannot be read.
pub(crate) fn read(found: &File, most: usize) -> io::Result<(Vec<u8>, bool)> {
    if !found.metadata()?.is_file() {
        let why = "it is no plain file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() > most;
    bytes.truncate(most);
    Ok((bytes, is_cut))
}
