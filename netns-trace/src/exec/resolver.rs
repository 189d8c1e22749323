//! Which name servers a tool shall ask: the namespace's own, as its processes or `/etc/netns` have
//! them. Files of a process may be anybody's: they are read once, bounded, and copied, and no path
//! of theirs is mounted.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::ExecError;
use crate::{
    inspect::files::{LONGEST, Root},
    netns::{NetNs, name_at, pids_in},
    target::Target,
};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where `ip netns exec NAME` looks for a directory NAME, whose files it mounts over those in /etc.
const ETC_NETNS: &str = "/etc/netns";

/// Where the configuration of name lookup comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolver {
    /// A directory whose entries are mounted over those of the same name in /etc.
    Directory(PathBuf),
    /// The text of a resolv.conf.
    Text(String),
    /// The namespace has none of its own: the host's stays.
    Host,
}

impl Resolver {
    /// The resolver of a target: `/etc/netns/NAME` where it was found by a name that has one, as with
    /// `ip netns exec`, else the `/etc/resolv.conf` of its processes.
    ///
    /// # Errors
    /// When there is one and it cannot be read, or is not what it should be.
    pub fn of(target: &Target) -> Result<Self, ExecError> {
        if let Some(directory) = directory_of(target.ns.path()) {
            return Ok(Self::Directory(directory));
        }
        let Some(pid) = process_of(&target.ns) else {
            return Ok(Self::Host);
        };
        let failed = |why: String| ExecError::Resolver {
            target: target.label.clone(),
            why: format!("{RESOLV_CONF} of process {pid}: {why}"),
        };
        let read = Root::of_process(pid, &target.ns).and_then(|root| root.read(RESOLV_CONF));
        match read {
            Ok(content) if content.cut => {
                Err(failed(format!("it is longer than {} KiB", LONGEST >> 10)))
            }
            Ok(content) => Ok(Self::Text(content.text)),
            // The C library then asks 127.0.0.1, as it does with an empty file.
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Self::Text(String::new())),
            Err(why) => Err(failed(why.to_string())),
        }
    }
}

fn directory_of(found_at: &Path) -> Option<PathBuf> {
    let directory = Path::new(ETC_NETNS).join(name_at(found_at)?);
    directory.is_dir().then_some(directory)
}

/// The process whose files count: that by which the namespace was found, else the first that has
/// other mounts than we have. Tools of the host that somebody runs inside have ours; and in the
/// host's own namespace, others are services and containers that only share it.
fn process_of(ns: &NetNs) -> Option<u32> {
    let found_by = ns.identity().process.map(|process| process.pid);
    let mounts = |who: &str| {
        fs::metadata(format!("/proc/{who}/ns/mnt"))
            .map(|ns| ns.ino())
            .ok()
    };
    let own = mounts("self");
    let has_own = |pid: &u32| {
        let theirs = mounts(&pid.to_string());
        theirs.is_some() && theirs != own
    };
    let others = || (!ns.is_host()).then(|| pids_in(ns).find(has_own))?;
    found_by.filter(has_own).or_else(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_have_directories() {
        for path in [
            "/proc/1/ns/net",
            "/run/docker/netns/a",
            "/run/netns",
            "/",
            "",
        ] {
            assert_eq!(directory_of(Path::new(path)), None, "{path}");
        }
    }
}
