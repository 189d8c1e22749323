//! Small files of a process's own view of the file system, which may belong to somebody hostile:
//! no link leads out of its root, nothing but a plain file is opened, and no more is read than is
//! wanted. Reads only.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};

use crate::{netns::NetNs, plain_file};

/// More than any honest file of this sort has.
pub(crate) const LONGEST: usize = 64 << 10;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) text: String,
    /// Whether it is longer than [`LONGEST`]; the rest was not read.
    pub(crate) cut: bool,
}

/// The root directory that files are looked for under.
pub(crate) struct Root(OwnedFd);

impl Root {
    /// That of a process, as long as it is in `ns`.
    ///
    /// # Errors
    /// When the process has ended or has left the namespace, and when it may not be looked at.
    pub(crate) fn of_process(pid: u32, ns: &NetNs) -> io::Result<Self> {
        // What is opened below stays this process's, whoever gets its number later.
        let process = directory(Path::new(&format!("/proc/{pid}")))?;
        let here = |name: &str| format!("/proc/self/fd/{}/{name}", process.as_raw_fd());
        let meta = std::fs::metadata(here("ns/net"))?;
        if (meta.dev(), meta.ino()) != (ns.identity().device, ns.identity().inode) {
            return Err(io::Error::other("it is in another namespace by now"));
        }
        Ok(Self(directory(Path::new(&here("root")))?))
    }

    /// Our own.
    ///
    /// # Errors
    /// When it may not be opened.
    pub(crate) fn own() -> io::Result<Self> {
        Ok(Self(directory(Path::new("/"))?))
    }

    /// Reads a plain file, by its path from the root.
    ///
    /// # Errors
    /// When it is not there, is no plain file, or may not be read.
    pub(crate) fn read(&self, path: &str) -> io::Result<Content> {
        let path = path.trim_start_matches('/');
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .mode(Mode::empty())
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let found = File::from(openat2(&self.0, path, how)?);
        let (bytes, cut) = plain_file::read(&found, LONGEST)?;
        Ok(Content {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            cut,
        })
    }
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(path)
        .map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn nothing_leads_out_of_the_root_and_nothing_odd_is_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("secret"), "outside").expect("a file");
        fs::create_dir(at("root")).expect("a root");
        fs::write(at("root/plain"), "inside").expect("a file");
        symlink("/plain", at("root/absolute")).expect("a link");
        symlink("../secret", at("root/relative")).expect("a link");
        symlink("/proc/self/root/etc/hostname", at("root/magic")).expect("a link");
        nix::unistd::mkfifo(&at("root/pipe"), Mode::S_IRWXU).expect("a pipe");
        fs::write(at("root/long"), vec![b'x'; LONGEST + 9]).expect("a file");
        let root = Root(directory(&at("root")).expect("the root"));
        assert_eq!(root.read("/plain").expect("a file").text, "inside");
        assert_eq!(root.read("/absolute").expect("a link").text, "inside");
        for name in ["/relative", "/magic", "/nothing", "/pipe", "/", "/plain/x"] {
            assert!(root.read(name).is_err(), "{name}");
        }
        let long = root.read("/long").expect("a file");
        assert!(long.cut);
        assert_eq!(long.text.len(), LONGEST);
    }

    #[test]
    fn a_process_of_another_namespace_is_refused() {
        let ns = NetNs::current().expect("our namespace");
        let own = Root::of_process(std::process::id(), &ns).expect("our root");
        assert!(own.read("/etc/passwd").is_ok());
        assert!(Root::of_process(u32::MAX, &ns).is_err());
    }
}
