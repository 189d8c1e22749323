//! The processes of a namespace, and those that hold its sockets, by one walk through /proc. Reads
//! only. Processes come and go meanwhile: what has ended is left out.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
};

use serde::Serialize;

use crate::{
    netns::{NetNs, command, pids},
    privilege::{Capability, lacking},
};

/// How many descriptors are looked at: a process may have a million.
const MOST_DESCRIPTORS: usize = 2_000_000;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number on this machine.
    pub pid: u32,
    /// The name of its command, of at most 15 letters. Not safe to print.
    pub command: String,
}

/// A process that has a socket open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The process.
    #[serde(flatten)]
    pub process: Process,
    /// Its first descriptor of the socket.
    pub fd: u32,
}

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The processes in the namespace, by their numbers.
    pub(super) members: Vec<Process>,
    /// Who holds a socket, by its inode.
    pub(super) holders: HashMap<u64, Vec<Holder>>,
    /// What could not be looked at, in sentences.
    pub(super) missing: Vec<String>,
}

/// Looks through all processes for those in `ns` and for holders of the sockets with these inodes.
pub(super) fn find(ns: &NetNs, sockets: &HashSet<u64>) -> Found {
    let key = (ns.identity().device, ns.identity().inode);
    let mut found = Found::default();
    let (mut denied, mut looked_at) = (Vec::new(), 0);
    for pid in pids() {
        match fs::metadata(format!("/proc/{pid}/ns/net")) {
            Ok(meta) if (meta.dev(), meta.ino()) == key => found.members.extend(process(pid)),
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => denied.push(pid),
            _ => {}
        }
        if sockets.is_empty() || looked_at > MOST_DESCRIPTORS {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for entry in descriptors.flatten() {
            looked_at += 1;
            if looked_at > MOST_DESCRIPTORS {
                let why = "who holds a socket is not known of all: there are too many open files";
                found.missing.push(why.to_owned());
                break;
            }
            if let Ok(link) = fs::read_link(entry.path())
                && let Some(inode) = socket_inode(&link.to_string_lossy())
                && sockets.contains(&inode)
                && let Some(fd) = entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok())
                && let Some(process) = process(pid)
            {
                let holders = found.holders.entry(inode).or_default();
                // One descriptor of each process does.
                if holders.last().is_none_or(|last| last.process.pid != pid) {
                    holders.push(Holder { process, fd });
                }
            }
        }
    }
    found.missing.extend(not_looked_at(&denied));
    found
}

/// A sentence about the processes that the kernel does not let us look at.
fn not_looked_at(pids: &[u32]) -> Option<String> {
    let (&first, rest) = pids.split_first()?;
    let who = match rest.len() {
        0 => format!("process {first} may not be looked at"),
        others => format!("process {first} and {others} more may not be looked at"),
    };
    let protected = || "the kernel protects it even from root".to_owned();
    let why = lacking(&[Capability::SysPtrace]).unwrap_or_else(protected);
    Some(format!(
        "{who}, so whether it is in here and which sockets it holds is not known: {why}"
    ))
}

/// `socket:[4711]`.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

fn process(pid: u32) -> Option<Process> {
    let command = command(pid)?;
    Some(Process { pid, command })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_socket_is_ours() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).expect("its link");
        let inode = socket_inode(&link.to_string_lossy()).expect("its inode");
        let ns = NetNs::current().expect("our namespace");
        let found = find(&ns, &HashSet::from([inode]));
        let own = std::process::id();
        assert!(found.members.iter().any(|process| process.pid == own));
        let holders = &found.holders[&inode];
        assert!(
            holders
                .iter()
                .any(|holder| holder.process.pid == own && holder.fd == fd as u32)
        );
    }

    #[test]
    fn other_links_are_no_sockets() {
        for link in [
            "pipe:[1]",
            "socket:[]",
            "socket:[x]",
            "socket:[1",
            "/socket:[1]",
        ] {
            assert_eq!(socket_inode(link), None, "{link}");
        }
    }
}
