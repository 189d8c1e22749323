//! The place of the user's filter.

use core::arch::asm;

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};

/// Whether a packet passes the filter at a hook.
#[inline(always)]
pub(crate) fn passes(ctx: &TcContext, hook: u32) -> bool {
    netns_trace_filter(ctx.skb.skb, hook) != 0
}

/// Not 0 for a packet that passes. What is written here lets all pass: before the object is loaded, user
/// space puts the translated filter in its place (`filter/translate.rs`). A section of its own, so that
/// nothing else moves then.
///
/// A function by itself, and one that returns an `int`: there, `LD_ABS` beyond the packet's end means
/// "rejected". In the program itself it would end that with 0, `TC_ACT_OK`, and silence the programs
/// behind ours.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.filter")]
#[inline(never)]
extern "C" fn netns_trace_filter(packet: *mut __sk_buff, hook: u32) -> i32 {
    let passes: u64;
    // SAFETY: touches nothing. The compiler must not know what it does, nor leave out what it is given.
    unsafe {
        asm!(
            "r0 = 1",
            out("r0") passes,
            in("r1") packet,
            in("r2") u64::from(hook),
            options(nomem, nostack),
        );
    }
    passes as i32
}
