//! How long the packet programs that are attached run, by the kernel's own account. For benchmarks.

use std::os::fd::OwnedFd;

use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};

use super::{Hook, ProbeError};

/// Length of the names that the kernel keeps; `BPF_OBJ_NAME_LEN` less the NUL.
const NAME: usize = 15;

/// An account that the kernel keeps while this is there. It costs each run some 40 ns, which it counts in part.
pub struct RunTime {
    _account: OwnedFd,
    before: (u64, u64),
}

impl RunTime {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// The kernel keeps none (`BPF_ENABLE_STATS`, 5.8), or a missing privilege.
    pub fn account() -> Result<Self, ProbeError> {
        let account = enable_stats(Stats::RunTime).map_err(|why| ProbeError::Read {
            what: "the run time of programs".to_owned(),
            source: why.io_error,
        })?;
        Ok(Self {
            _account: account,
            before: sum()?,
        })
    }

    /// Nanoseconds of one run since then; none where there was no run.
    ///
    /// # Errors
    ///
    /// The programs cannot be listed.
    pub fn of_each_packet(&self) -> Result<Option<f64>, ProbeError> {
        let (runs, ns) = sum()?;
        let (runs, ns) = (
            runs.saturating_sub(self.before.0),
            ns.saturating_sub(self.before.1),
        );
        Ok((runs > 0).then(|| ns as f64 / runs as f64))
    }
}

/// Runs of all of ours, and the nanoseconds they took.
fn sum() -> Result<(u64, u64), ProbeError> {
    let mut sum = (0, 0);
    for program in loaded_programs() {
        // One that goes meanwhile is none.
        let Ok(program) = program else { continue };
        let is_ours = |name: &str| program.name() == &name.as_bytes()[..name.len().min(NAME)];
        if Hook::PROGRAMS.iter().any(|name| is_ours(name)) {
            sum.0 += program.run_count();
            sum.1 += program.run_time().as_nanos() as u64;
        }
    }
    Ok(sum)
}
