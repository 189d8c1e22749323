//! A filter by itself, or any program, run by the kernel on packets that are handed to it: nothing is attached. For
//! tests and benchmarks.

use std::{io, os::fd::RawFd};

use aya::{
    Ebpf, EbpfLoader,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};

use super::{ProbeError, error, memlock, object};
use netns_trace_ebpf::TapConfig;

use crate::filter::Insn;

const PROGRAM: &str = "netns_trace_verdict";

/// A loaded filter.
pub struct Verdict {
    ebpf: Ebpf,
}

impl Verdict {
    /// Loads it.
    ///
    /// # Errors
    ///
    /// What the kernel refuses, with the verifier's last words.
    pub fn load(filter: &[Insn]) -> Result<Self, ProbeError> {
        memlock::lift();
        let object = object::specialised(&TapConfig::default(), None, Some(filter))?;
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries("RECORDS", 4096)
            .load(&object)
            .map_err(error::load)?;
        program(&mut ebpf)?.load().map_err(error::program)?;
        Ok(Self { ebpf })
    }

    /// Whether a packet passes, as one that the interface receives.
    ///
    /// # Errors
    ///
    /// The kernel does not take such a packet: one shorter than an Ethernet header, or longer than a page.
    pub fn passes(&mut self, packet: &[u8]) -> Result<bool, ProbeError> {
        Ok(self.run(packet, 1)?.0)
    }

    /// As [`Verdict::passes`], so many times; with the nanoseconds of one run.
    ///
    /// # Errors
    ///
    /// As [`Verdict::passes`].
    pub fn run(&mut self, packet: &[u8], times: u32) -> Result<(bool, f64), ProbeError> {
        let program = program(&mut self.ebpf)?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = times;
        let result = program.test_run(options).map_err(error::program)?;
        Ok((result.return_value != 0, result.duration.as_nanos() as f64))
    }
}

/// Runs a loaded program on a packet, so many times: what it returned, and the nanoseconds of one run.
///
/// # Errors
///
/// The kernel does not take such a packet, or the descriptor is no program's.
pub fn test_run(program: RawFd, packet: &[u8], times: u32) -> io::Result<(i32, u32)> {
    /// `union bpf_attr`, as far as this command goes:
    /// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>
    #[repr(C)]
    #[derive(Default)]
    struct TestRun {
        program: u32,
        returned: u32,
        size_in: u32,
        size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        context: [u64; 4],
    }
    const TEST_RUN: libc::c_int = 10;
    let mut attributes = TestRun {
        program: program as u32,
        size_in: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        repeat: times,
        ..TestRun::default()
    };
    // SAFETY: a live struct with its size, and a packet that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            TEST_RUN,
            &raw mut attributes,
            size_of::<TestRun>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((attributes.returned as i32, attributes.duration))
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, ProbeError> {
    ebpf.program_mut(PROGRAM)
        .ok_or(ProbeError::Incomplete { part: PROGRAM })?
        .try_into()
        .map_err(error::program)
}
