//! What is attached to an interface, asked of the running kernel without any of our own code and
//! without foreign tools, which a small root file system lacks.

use std::{
    fmt, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use netns_trace::netns::NetNs;
use nix::net::if_::if_nametoindex;

use crate::tcx;

/// Leaves the test, and says so, where the kernel lacks a [`kernel::Feature`](crate::kernel::Feature).
#[macro_export]
macro_rules! require_kernel {
    ($feature:expr) => {
        if !$feature.is_there() {
            $crate::kernel::skip(&$feature.to_string());
            return;
        }
    };
}

/// What not every kernel has that is supported.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    name: &'static str,
    since: (u32, u32),
}

/// Programs at an interface without a qdisc, which go with their owner.
pub const TCX: Feature = Feature::new("TCX", (6, 6));
/// Packets beyond 64 KiB, over IPv6.
pub const BIG_TCP: Feature = Feature::new("BIG TCP", (5, 19));

impl Feature {
    const fn new(name: &'static str, since: (u32, u32)) -> Self {
        Self { name, since }
    }

    /// Whether the running kernel has it.
    #[must_use]
    pub fn is_there(self) -> bool {
        is_at_least(self.since)
    }

    /// The same; what a test tries only with it is left out otherwise, and that is said.
    #[must_use]
    pub fn or_left_out(self) -> bool {
        if !self.is_there() {
            leave_out(&self.to_string());
        }
        self.is_there()
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.since;
        write!(f, "{} (Linux {major}.{minor})", self.name)
    }
}

/// Says that this test is skipped, since the running kernel lacks something. That is no failure under CI:
/// no test can give it to the kernel.
pub fn skip(feature: &str) {
    eprintln!("skipped: this kernel lacks {feature}");
}

/// Says that a part of this test is left out, since the running kernel lacks something.
pub fn leave_out(feature: &str) {
    eprintln!("not tried: this kernel lacks {feature}");
}

/// Whether this kernel has TCX; what a test tries only with it is left out otherwise, and that is said.
#[must_use]
pub fn has_tcx() -> bool {
    TCX.or_left_out()
}

/// All ways to attach that this kernel has, as `--attach` names them.
#[must_use]
pub fn methods() -> &'static [&'static str] {
    if has_tcx() {
        &["tcx", "clsact"]
    } else {
        &["clsact"]
    }
}

/// Whether this kernel is of a release, or a later one.
///
/// # Panics
///
/// If the kernel does not tell its release.
#[must_use]
pub fn is_at_least(wanted: (u32, u32)) -> bool {
    let name = nix::sys::utsname::uname().expect("a release");
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0_u32));
    (numbers.next(), numbers.next()) >= (Some(wanted.0), Some(wanted.1))
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

/// Delays all that an interface sends by so many nanoseconds, with a netem queue. False where this
/// kernel has none.
///
/// # Panics
///
/// If the kernel refuses for another reason.
#[must_use]
pub fn delay(ns: &NetNs, interface: &str, delay_ns: i64) -> bool {
    // include/uapi/linux/rtnetlink.h, pkt_sched.h
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
    const TCA_NETEM_LATENCY64: u16 = 10;
    const TC_H_ROOT: u32 = u32::MAX;
    const LIMIT: u32 = 1000;
    let attribute = |kind: u16, value: &[u8]| {
        let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let ask = || -> io::Result<Vec<u8>> {
        // struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter.
        let mut options = Vec::new();
        for word in [0, LIMIT, 0, 0, 0, 0] {
            options.extend(word.to_ne_bytes());
        }
        options.extend(attribute(TCA_NETEM_LATENCY64, &delay_ns.to_ne_bytes()));
        let mut attributes = attribute(TCA_KIND, b"netem\0");
        attributes.extend(attribute(TCA_OPTIONS, &options));
        let index = if_nametoindex(interface)?;
        let create = (libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK) as u16;
        ask_tc(libc::RTM_NEWQDISC, create, index, TC_H_ROOT, &attributes)
    };
    let answer = ns.run(ask).expect("entered").expect("the kernel answers");
    // struct nlmsgerr behind the header.
    match i32::from_ne_bytes(answer[16..20].try_into().expect("4 bytes")) {
        0 => true,
        errno if errno == -libc::ENOENT => false,
        errno => panic!(
            "netem on {interface}: {}",
            io::Error::from_raw_os_error(-errno)
        ),
    }
}

/// All that the kernel answers to RTM_GETTFILTER.
fn list_filters(ifindex: u32, parent: u32) -> io::Result<Vec<u8>> {
    ask_tc(
        libc::RTM_GETTFILTER,
        libc::NLM_F_DUMP as u16,
        ifindex,
        parent,
        &[],
    )
}

/// All that the kernel answers to a request about traffic control.
fn ask_tc(
    request: u16,
    flags: u16,
    ifindex: u32,
    parent: u32,
    attributes: &[u8],
) -> io::Result<Vec<u8>> {
    let message = {
        let kind = request;
        // struct nlmsghdr and struct tcmsg.
        let mut request = Vec::new();
        request.extend((36 + attributes.len() as u32).to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        request.extend([0; 12]);
        request.extend(ifindex.to_ne_bytes());
        request.extend(0_u32.to_ne_bytes());
        request.extend(parent.to_ne_bytes());
        request.extend(0_u32.to_ne_bytes());
        request.extend(attributes);
        request
    };
    const NLMSG_DONE: u16 = 3;
    const NLMSG_ERROR: u16 = 2;
    // SAFETY: no pointers; the result is checked before it is owned.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a live buffer with its length.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
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
