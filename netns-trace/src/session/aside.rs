//! Keeps what is said on stderr off a view's screen, and says it afterwards.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use anyhow::{Context as _, Result};
use nix::{
    sys::memfd::{MFdFlags, memfd_create},
    unistd::{dup, dup2_stderr},
};

/// Most bytes that are kept to be said; what comes first gives way.
const KEPT: usize = 64 << 10;
/// The file is emptied when it has so many bytes.
const FULL: u64 = 1 << 20;

/// Where stderr goes meanwhile.
pub(super) struct Aside {
    stderr: OwnedFd,
    file: File,
    read: u64,
    kept: Vec<u8>,
    left_out: bool,
}

impl Aside {
    /// Turns stderr into a file in memory.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(super) fn start() -> Result<Self> {
        let stderr = dup(io::stderr()).context("cannot put stderr aside")?;
        let file =
            memfd_create(c"stderr", MFdFlags::MFD_CLOEXEC).context("cannot put stderr aside")?;
        let file = File::from(file);
        // Each writer's text comes behind what is there, also after the file was emptied.
        let append = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_APPEND);
        nix::fcntl::fcntl(file.as_fd(), append).context("cannot put stderr aside")?;
        dup2_stderr(&file).context("cannot put stderr aside")?;
        Ok(Self {
            stderr,
            file,
            read: 0,
            kept: Vec::new(),
            left_out: false,
        })
    }

    /// The last line that has come since the last call.
    pub(super) fn heard(&mut self) -> Option<String> {
        let new = self.take();
        let new = &self.kept[self.kept.len() - new..];
        let text = String::from_utf8_lossy(new).into_owned();
        self.bound();
        text.lines()
            .rev()
            .find(|line| !line.is_empty())
            .map(str::to_owned)
    }

    /// Reads what is new; how many bytes.
    fn take(&mut self) -> usize {
        let before = self.kept.len();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.file.read_at(&mut buffer, self.read) {
            self.read += count as u64;
            self.kept.extend_from_slice(&buffer[..count]);
        }
        if self.read > FULL && self.file.set_len(0).is_ok() {
            self.read = 0;
        }
        self.kept.len() - before
    }

    fn bound(&mut self) {
        if self.kept.len() > KEPT {
            let cut = self.kept.len() - KEPT;
            let end = self.kept[cut..].iter().position(|byte| *byte == b'\n');
            self.kept.drain(..cut + end.map_or(0, |end| end + 1));
            self.left_out = true;
        }
    }

    /// Turns stderr back and says what was kept. Nobody is left to be told of an error.
    pub(super) fn end(mut self) {
        self.take();
        self.bound();
        if dup2_stderr(&self.stderr).is_err() {
            return;
        }
        let mut stderr = io::stderr().lock();
        if self.left_out {
            drop(stderr.write_all(b"netns-trace: what was said before is left out\n"));
        }
        drop(stderr.write_all(&self.kept));
    }
}
