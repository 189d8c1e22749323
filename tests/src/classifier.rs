//! Classifiers of somebody else: a few instructions that count each packet and return a verdict,
//! loaded and attached with the bare system call, so that no code of ours is in the way.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use nix::net::if_::if_nametoindex;

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_SCHED_CLS: u32 = 3;

/// Goes on with the next program.
pub const NEXT: i32 = -1;
/// Drops the packet.
pub const DROP: i32 = 2;

/// Where in its chain a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Ahead of all that are there.
    Head,
    /// Behind them.
    Tail,
}

/// A counting program, attached for as long as this lives.
pub struct Classifier {
    map: OwnedFd,
    _program: OwnedFd,
    _link: OwnedFd,
}

fn bpf(command: libc::c_int, attributes: &mut [u64]) -> io::Result<libc::c_long> {
    // SAFETY: live memory with its size; the pointers in it are to what the callers keep alive.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            size_of_val(attributes),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn descriptor(command: libc::c_int, attributes: &mut [u64]) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: these commands return a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Two words of 32 bits in the order in which the kernel's union has them.
fn pair(first: u32, second: u32) -> u64 {
    let bytes = [first.to_ne_bytes(), second.to_ne_bytes()].concat();
    u64::from_ne_bytes(bytes.try_into().expect("8 bytes"))
}

/// One instruction: `struct bpf_insn`.
fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> [u8; 8] {
    let registers = if cfg!(target_endian = "little") {
        from << 4 | to
    } else {
        to << 4 | from
    };
    let [o0, o1] = offset.to_ne_bytes();
    let [v0, v1, v2, v3] = value.to_ne_bytes();
    [code, registers, o0, o1, v0, v1, v2, v3]
}

impl Classifier {
    /// Attaches one with TCX in the calling thread's namespace; `hook` is one of
    /// [`crate::tcx::HOOKS`].
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn attach(interface: &str, hook: u32, place: Place, verdict: i32) -> io::Result<Self> {
        let mut attributes = [pair(MAP_TYPE_ARRAY, 4), pair(8, 1), 0];
        let map = descriptor(MAP_CREATE, &mut attributes)?;
        let program = [
            instruction(0x62, 10, 0, -4, 0),             // *(u32 *)(r10 - 4) = 0
            instruction(0xbf, 2, 10, 0, 0),              // r2 = r10
            instruction(0x07, 2, 0, 0, -4),              // r2 += -4
            instruction(0x18, 1, 1, 0, map.as_raw_fd()), // r1 = the map,
            instruction(0, 0, 0, 0, 0),                  // in two halves
            instruction(0x85, 0, 0, 0, 1),               // call bpf_map_lookup_elem
            instruction(0x15, 0, 0, 2, 0),               // if r0 == 0 goto +2
            instruction(0xb7, 1, 0, 0, 1),               // r1 = 1
            instruction(0xdb, 0, 1, 0, 0),               // lock *(u64 *)r0 += r1
            instruction(0xb7, 0, 0, 0, verdict),         // r0 = the verdict
            instruction(0x95, 0, 0, 0, 0),               // exit
        ];
        let (program, link) = link(&program, interface, hook, place)?;
        Ok(Self {
            map,
            _program: program,
            _link: link,
        })
    }

    /// How many packets it has seen.
    ///
    /// # Panics
    ///
    /// If the kernel does not tell.
    #[must_use]
    pub fn count(&self) -> u64 {
        let (key, mut value) = (0_u32, 0_u64);
        let mut attributes = [
            pair(self.map.as_raw_fd() as u32, 0),
            (&raw const key) as u64,
            (&raw mut value) as u64,
            0,
        ];
        bpf(MAP_LOOKUP, &mut attributes).expect("the count");
        value
    }
}

/// Attaches a program that hands what comes in at an interface to the other end of a pair, past its host
/// side, as Cilium does (`bpf_redirect_peer`); it goes with its link.
///
/// # Errors
///
/// What the kernel says.
pub fn attach_shortcut(interface: &str, host_side: &str) -> io::Result<OwnedFd> {
    let index = if_nametoindex(host_side)?;
    let program = [
        instruction(0xb7, 1, 0, 0, index as i32), // r1 = the host side
        instruction(0xb7, 2, 0, 0, 0),            // r2 = no flags
        instruction(0x85, 0, 0, 0, 155),          // call bpf_redirect_peer
        instruction(0x95, 0, 0, 0, 0),            // exit
    ];
    let (_, link) = link(&program, interface, crate::tcx::HOOKS[0], Place::Tail)?;
    Ok(link)
}

/// Loads a classifier and attaches it: the program, and its link.
fn link(
    program: &[[u8; 8]],
    interface: &str,
    hook: u32,
    place: Place,
) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut attributes = [
        pair(PROG_TYPE_SCHED_CLS, program.len() as u32),
        program.as_ptr() as u64,
        c"GPL".as_ptr() as u64,
        0,
        0,
        0,
    ];
    let program = descriptor(PROG_LOAD, &mut attributes)?;
    let flag = match place {
        Place::Head => 1 << 3, // BPF_F_BEFORE
        Place::Tail => 1 << 4, // BPF_F_AFTER
    };
    let index = if_nametoindex(interface)?;
    let mut attributes = [
        pair(program.as_raw_fd() as u32, index),
        pair(hook, flag),
        0,
        0,
    ];
    let link = descriptor(LINK_CREATE, &mut attributes)?;
    Ok((program, link))
}

/// Attaches an XDP program that lets everything pass to an interface of the calling thread's
/// namespace, in the generic mode; it goes with its link.
///
/// # Errors
///
/// What the kernel says.
pub fn attach_xdp(interface: &str) -> io::Result<OwnedFd> {
    const PROG_TYPE_XDP: u32 = 6;
    const XDP: u32 = 37;
    const GENERIC: u32 = 1 << 1; // XDP_FLAGS_SKB_MODE
    let pass = [
        instruction(0xb7, 0, 0, 0, 2), // r0 = XDP_PASS
        instruction(0x95, 0, 0, 0, 0), // exit
    ];
    let mut attributes = [
        pair(PROG_TYPE_XDP, pass.len() as u32),
        pass.as_ptr() as u64,
        c"GPL".as_ptr() as u64,
        0,
        0,
        0,
    ];
    let program = descriptor(PROG_LOAD, &mut attributes)?;
    let index = if_nametoindex(interface)?;
    let mut attributes = [
        pair(program.as_raw_fd() as u32, index),
        pair(XDP, GENERIC),
        0,
        0,
    ];
    descriptor(LINK_CREATE, &mut attributes)
}
