//! Notes who makes a socket. Runs when one is made, never when a packet passes.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_comm, generated::bpf_get_socket_cookie},
    programs::SockContext,
};
use netns_trace_ebpf::SocketMaker;

use crate::maps::SOCKETS;

/// Takes note of the calling process as the socket's maker.
#[inline(always)]
pub(crate) fn note(ctx: &SockContext) {
    // SAFETY: the context is the kernel's, valid for the whole run.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let maker = SocketMaker {
        pid: ctx.tgid(),
        command: bpf_get_current_comm().unwrap_or_default(),
    };
    // A full map makes room by itself; that it fails otherwise leaves the socket unknown.
    let _noted = SOCKETS.insert(&cookie, &maker, 0);
}
