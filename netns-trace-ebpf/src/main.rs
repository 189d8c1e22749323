//! The kernel side: two classifiers, one for each hook of an interface, and a program that notes who
//! makes a socket.
//!
//! Entry points only; `packet` and what it calls hold the work. Observing changes nothing: every
//! way out returns [`TCX_NEXT`], so that the programs behind ours run as if we were not there.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use aya_ebpf::{
    macros::{cgroup_sock, classifier},
    programs::{SockContext, TcContext},
};
use netns_trace_ebpf::{EGRESS, INGRESS};

mod capture;
mod filter;
mod latency;
mod maps;
mod packet;
mod ring;
mod socket;
mod stamp;

/// Goes on with the next program of the hook: `TCX_NEXT` (6.6) and `TC_ACT_UNSPEC` alike.
/// <https://github.com/torvalds/linux/blob/v6.6/include/uapi/linux/bpf.h#L6441>
const TCX_NEXT: i32 = -1;

/// Packets that the interface receives.
#[classifier]
fn netns_trace_in(ctx: TcContext) -> i32 {
    packet::packet(&ctx, INGRESS);
    TCX_NEXT
}

/// Packets that the interface sends.
#[classifier]
fn netns_trace_out(ctx: TcContext) -> i32 {
    packet::packet(&ctx, EGRESS);
    TCX_NEXT
}

/// The filter by itself: 1 for a packet that passes. Never attached; the kernel runs it on packets that are
/// handed to it, to prove it.
#[classifier]
fn netns_trace_verdict(ctx: TcContext) -> i32 {
    i32::from(filter::passes(&ctx, INGRESS))
}

/// A socket that is made: 1 lets it be.
#[cgroup_sock(sock_create)]
fn netns_trace_socket(ctx: SockContext) -> i32 {
    socket::note(&ctx);
    1
}

/// A panic that could be reached would be an endless loop, which the verifier refuses.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
