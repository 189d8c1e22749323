//! What is attached to an interface, asked of the running kernel without any of our own code and
//! without foreign tools, which a small root file system lacks.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use netns_trace::netns::NetNs;
use nix::net::if_::if_nametoindex;

use crate::tcx;

/// Whether this kernel has TCX: from 6.6.
///
/// # Panics
///
/// If the kernel does not tell its release.
#[must_use]
pub fn has_tcx() -> bool {
    let name = nix::sys::utsname::uname().expect("a release");
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0_u32));
    (numbers.next(), numbers.next()) >= (Some(6), Some(6))
}

/// The TCX programs of an interface (`tcx ID`), and its cls_bpf filters of ours (`filter`).
///
/// # Panics
///
/// If the kernel does not tell.
#[must_use]
pub fn attached(ns: &NetNs, interface: &str) -> Vec<String> {
    let ask = || -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for hook in tcx::HOOKS {
            let ids = tcx::programs(interface, hook)?;
            found.extend(ids.iter().map(|id| format!("tcx {id}")));
        }
        let index = if_nametoindex(interface)?;
        // The two parents of a clsact qdisc: include/uapi/linux/pkt_sched.h.
        for parent in [0xffff_fff2_u32, 0xffff_fff3] {
            let names = list_filters(index, parent)?;
            let ours = names.windows(11).filter(|bytes| *bytes == b"netns_trace");
            found.extend(ours.map(|_| "filter".to_owned()));
        }
        Ok(found)
    };
    ns.run(ask).expect("entered").expect("the kernel tells")
}

/// All that the kernel answers to RTM_GETTFILTER.
fn list_filters(ifindex: u32, parent: u32) -> io::Result<Vec<u8>> {
    const NLM_F_REQUEST_DUMP: u16 = 0x301;
    const NLMSG_DONE: u16 = 3;
    const NLMSG_ERROR: u16 = 2;
    // SAFETY: no pointers; the result is checked before it is owned.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // struct nlmsghdr and struct tcmsg.
    let mut request = Vec::new();
    request.extend(36_u32.to_ne_bytes());
    request.extend(libc::RTM_GETTFILTER.to_ne_bytes());
    request.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 12]);
    request.extend(ifindex.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    request.extend(parent.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    // SAFETY: a live buffer with its length.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            request.as_ptr().cast(),
            request.len(),
            0,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut all = Vec::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        // SAFETY: a live buffer with its length.
        let len = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        if len < 0 {
            return Err(io::Error::last_os_error());
        }
        let answer = &buffer[..len as usize];
        all.extend_from_slice(answer);
        let mut at = 0;
        while at + 16 <= answer.len() {
            let kind = u16::from_ne_bytes([answer[at + 4], answer[at + 5]]);
            if kind == NLMSG_DONE || kind == NLMSG_ERROR {
                return Ok(all);
            }
            let bytes = answer[at..at + 4].try_into().expect("4 bytes");
            at += (u32::from_ne_bytes(bytes) as usize)
                .next_multiple_of(4)
                .max(16);
        }
    }
}
