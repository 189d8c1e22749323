//! The TCX programs of an interface, asked of the kernel without our own code: the tools of older
//! distributions do not know TCX.

use std::io;

use nix::net::if_::if_nametoindex;

const BPF_PROG_QUERY: libc::c_int = 16;
/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS`.
pub const HOOKS: [u32; 2] = [46, 47];

#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    padding: u32,
    attach_flags_array: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The ids of the programs at one hook of an interface in the calling thread's namespace, in their
/// order.
///
/// # Errors
///
/// What the kernel says.
pub fn programs(interface: &str, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; 64];
    let mut query = Query {
        target: if_nametoindex(interface)?,
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        padding: 0,
        attach_flags_array: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: a live struct with its size, and a live array with its length in it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            &raw mut query,
            size_of::<Query>(),
        )
    };
    if result < 0 {
        let why = io::Error::last_os_error();
        // A kernel before 6.6 has none.
        return if why.raw_os_error() == Some(libc::EINVAL) {
            Ok(Vec::new())
        } else {
            Err(why)
        };
    }
    Ok(ids[..query.count as usize].to_vec())
}
