//! What of BPF a process holds, by the kernel's ids, and what of that the kernel has still.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{FromRawFd as _, OwnedFd},
};

/// A kind of object: its line in `/proc/PID/fdinfo`, and the command that opens one by its id
/// (include/uapi/linux/bpf.h).
const KINDS: [(&str, libc::c_int); 3] = [
    ("prog_id:", 13), // BPF_PROG_GET_FD_BY_ID
    ("map_id:", 14),  // BPF_MAP_GET_FD_BY_ID
    ("link_id:", 30), // BPF_LINK_GET_FD_BY_ID
];

/// Programs, maps and links.
#[derive(Debug, Default)]
pub struct Held(BTreeSet<(usize, u32)>);

impl Held {
    /// Those that a process has descriptors of; none if it is gone.
    #[must_use]
    pub fn by(pid: i32) -> Self {
        let mut held = BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            for (kind, (key, _)) in KINDS.iter().enumerate() {
                let id = text.lines().find_map(|line| line.strip_prefix(key));
                held.extend(id.and_then(|id| Some((kind, id.trim().parse().ok()?))));
            }
        }
        Self(held)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in what another one has.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Those that the kernel has still, as `prog_id: 7`.
    ///
    /// # Panics
    ///
    /// If the kernel does not tell.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let there = self
            .0
            .iter()
            .filter(|(kind, id)| is_there(KINDS[*kind].1, *id));
        there
            .map(|(kind, id)| format!("{} {id}", KINDS[*kind].0))
            .collect()
    }
}

fn is_there(open: libc::c_int, id: u32) -> bool {
    // union bpf_attr: the id, next_id, open_flags.
    let attributes = [id, 0, 0];
    // SAFETY: live memory with its size.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            open,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if fd >= 0 {
        // SAFETY: this command returns a new descriptor.
        drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        return true;
    }
    let why = io::Error::last_os_error();
    // A link that is on its way out is there, and cannot be had any more.
    assert!(
        matches!(why.raw_os_error(), Some(libc::ENOENT | libc::EAGAIN)),
        "{why}"
    );
    why.raw_os_error() == Some(libc::EAGAIN)
}
