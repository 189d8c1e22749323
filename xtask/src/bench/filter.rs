//! What a filter costs packets that it leaves out: the sender's rate in a flood of 64-byte datagrams with nothing
//! attached, with tcpdump's socket and with our classifier, which both want `tcp port 443`. And the two ways in
//! which a filter could read packets, each by itself.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use netns_trace::probe::test_run;

use super::{
    page::Section,
    range,
    running::Running,
    spread,
    traffic::{Containers, SMALL},
};

/// What `cargo xtask bench filter` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds of runs
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

const EXPRESSION: &str = "tcp port 443";

/// Runs it.
pub(crate) fn run(program: &Path, options: &Options) -> Result<[Section; 2]> {
    ensure!(options.rounds > 0 && options.seconds > 0, "nothing to run");
    let containers = Containers::new(Duration::from_secs(options.seconds))?;
    let target = &containers.targets()[0];
    let tcpdump = || {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", containers.from.path().display()))
            .args([
                "tcpdump",
                "-n",
                "-p",
                "-i",
                "eth0",
                "-w",
                "/dev/null",
                EXPRESSION,
            ]);
        command
    };
    let ours = |filter: &str| {
        let mut command = Command::new(program);
        command.args(["capture", target, filter, "--no-latency", "-w", "/dev/null"]);
        command
    };
    let mut cases = [
        ("tcpdump, tcp port 443", tcpdump(), vec![]),
        ("netns-trace, the same", ours(EXPRESSION), vec![]),
        // The tap alone: what its clock and counters cost without a filter's own code.
        ("netns-trace, less 1", ours("less 1"), vec![]),
    ];
    let mut alone = Vec::new();
    for _ in 0..options.rounds {
        for (_, command, rates) in &mut cases {
            alone.push(containers.send(SMALL)?);
            let running = Running::start(command, "listening on")?;
            rates.push(containers.send(SMALL)?);
            drop(running.stop()?);
        }
    }
    let mut section = Section::new(
        "Filtering",
        "What a filter costs packets that it leaves out. `less 1` is the tap alone.",
        &["64-byte UDP flood", "rate", "ratio", "ns a packet"],
    );
    let every = cases.len();
    let base = spread(&mut alone.clone()).0;
    let rate = |rate: f64| format!("{:.0} k/s", rate / 1e3);
    section.row(&["nothing".to_owned(), rate(base)]);
    for (at, (name, _, rates)) in cases.iter_mut().enumerate() {
        let before = alone.iter().skip(at).step_by(every);
        let pairs: Vec<(f64, f64)> = before.copied().zip(rates.iter().copied()).collect();
        let mut ratios: Vec<f64> = pairs.iter().map(|(without, with)| with / without).collect();
        let mut cost: Vec<f64> = pairs
            .iter()
            .map(|(without, with)| 1e9 / with - 1e9 / without)
            .collect();
        section.row(&[
            (*name).to_owned(),
            rate(spread(rates).0),
            range(&mut ratios, 3),
            range(&mut cost, 0),
        ]);
    }
    containers.down()?;
    Ok([section, ways()?])
}

/// An instruction: code, registers (destination in the low half), offset, immediate value.
type Insn = (u8, u8, i16, i32);

/// Registers 1, 6 and 10 are the context, where it is kept, and the stack's top.
const SAVE_CONTEXT: Insn = (0xbf, 0x16, 0, 0);
const RETURN_0: [Insn; 2] = [(0xb7, 0, 0, 0), (0x95, 0, 0, 0)];
/// What `tcp port 443` reads of a UDP packet, and the fields that it would of a TCP one: offset and size.
const READS: [(i32, i32); 6] = [(12, 2), (23, 1), (20, 2), (14, 1), (34, 2), (36, 2)];

/// Reads by `LD_ABS`.
fn absolute() -> Vec<Insn> {
    let mut insns = vec![SAVE_CONTEXT];
    insns.extend(READS.map(|(at, size)| (if size == 1 { 0x30 } else { 0x28 }, 0, 0, at)));
    insns.extend(RETURN_0);
    insns
}

/// Reads by calls of bpf_skb_load_bytes to the stack, and from there.
fn calls() -> Vec<Insn> {
    const SKB_LOAD_BYTES: i32 = 26;
    let mut insns = vec![SAVE_CONTEXT];
    for (at, size) in READS {
        insns.extend([
            (0xbf, 0x61, 0, 0),
            (0xb7, 2, 0, at),
            (0xbf, 0xa3, 0, 0),
            (0x07, 3, 0, -8),
            (0xb7, 4, 0, size),
            (0x85, 0, 0, SKB_LOAD_BYTES),
            // Out of range: over the load.
            (0x55, 0, 1, 0),
            (if size == 1 { 0x71 } else { 0x69 }, 0xa0, -8, 0),
        ]);
    }
    insns.extend(RETURN_0);
    insns
}

/// How long each way of reading takes, run by the kernel on a packet.
fn ways() -> Result<Section> {
    const ROUNDS: usize = 21;
    let programs = [
        ("nothing", load(&[SAVE_CONTEXT, RETURN_0[0], RETURN_0[1]])?),
        ("LD_ABS", load(&absolute())?),
        ("bpf_skb_load_bytes", load(&calls())?),
    ];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (times, (_, program)) in times.iter_mut().zip(&programs) {
            times.push(f64::from(time(program)?));
        }
    }
    let mut section = Section::new(
        "Six reads of a packet",
        "The two ways in which a filter could read packets, each by itself.",
        &["by", "ns a run"],
    );
    for (time, (name, _)) in times.iter_mut().zip(&programs) {
        section.row(&[(*name).to_owned(), range(time, 0)]);
    }
    Ok(section)
}

/// `union bpf_attr`, as far as this command goes; <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    len: u32,
    insns: u64,
    license: u64,
    more: [u64; 12],
}

fn load(insns: &[Insn]) -> Result<OwnedFd> {
    const PROG_LOAD: libc::c_int = 5;
    const SCHED_CLS: u32 = 3;
    let code: Vec<u64> = insns
        .iter()
        .map(|(code, registers, offset, value)| {
            u64::from(*code)
                | u64::from(*registers) << 8
                | u64::from(*offset as u16) << 16
                | u64::from(*value as u32) << 32
        })
        .collect();
    let mut attributes = Load {
        kind: SCHED_CLS,
        len: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: a live struct with its size; what it points to outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            &raw mut attributes,
            size_of::<Load>(),
        )
    };
    ensure!(
        fd >= 0,
        "a program of {} instructions: {}",
        code.len(),
        io::Error::last_os_error()
    );
    // SAFETY: the call has made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Nanoseconds of one run, of many.
fn time(program: &OwnedFd) -> Result<u32> {
    let mut packet = [0_u8; 64];
    packet[12] = 8;
    packet[14] = 0x45;
    packet[23] = 17;
    let (_, time) =
        test_run(program.as_raw_fd(), &packet, 1_000_000).context("cannot run a program")?;
    Ok(time)
}
