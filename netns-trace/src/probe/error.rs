//! What can go wrong with the kernel side, in words that name the thing and the way out.

use std::io;

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use super::memlock;
use crate::privilege::{MissingCapabilities, NOT_COUNTED, of_roots_file};

/// Why packets cannot be tapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The kernel lacks what the programs need.
    #[error("cannot capture on this kernel: {needed} is needed, and this is Linux {found}")]
    Kernel {
        /// What is needed.
        needed: String,
        /// The release that runs.
        found: String,
    },
    /// Capabilities are missing.
    #[error("cannot load the eBPF programs: {missing}")]
    Privilege {
        /// Which.
        missing: MissingCapabilities,
    },
    /// The capabilities are those of a user namespace.
    #[error("cannot load the eBPF programs: {NOT_COUNTED}")]
    Confined,
    /// What maps may take is too little.
    #[error("cannot load the eBPF programs: {why}")]
    LockedMemory {
        /// What is allowed and what is needed, with the ways out.
        why: String,
    },
    /// The detached BPF file system could not be made.
    #[error(
        "cannot make a BPF file system of its own for the maps: {source} (CAP_SYS_ADMIN and CONFIG_BPF_SYSCALL are needed)"
    )]
    Pins {
        /// The kernel's answer.
        source: io::Error,
    },
    /// A map could not be made or used.
    #[error("cannot make or use an eBPF map: {0}")]
    Map(String),
    /// The object could not be read or loaded.
    #[error("cannot load the eBPF object: {0}")]
    Object(String),
    /// The kernel refused a program.
    #[error("the kernel refuses the eBPF program: {0}")]
    Program(String),
    /// A part of the object, or of what was loaded of it, is not there.
    #[error(
        "{part} is not part of what was loaded: the embedded eBPF object is damaged, rebuild it with `cargo xtask build-ebpf`"
    )]
    Incomplete {
        /// Its name.
        part: &'static str,
    },
    /// Attaching to an interface failed.
    #[error("cannot attach to {interface}: {why}")]
    Attach {
        /// `eth0@web`.
        interface: String,
        /// The cause.
        why: String,
    },
    /// The namespace could not be entered.
    #[error(transparent)]
    NetNs(#[from] crate::netns::NetNsError),
    /// A file of ours could not be written.
    #[error("cannot write {what}: {}", of_roots_file(source))]
    Write {
        /// Its path.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// What the machine says of itself could not be read.
    #[error("cannot read {what}: {source}")]
    Read {
        /// A file's path.
        what: String,
        /// Why.
        source: io::Error,
    },
}

/// The causes of an error, each once, from the outermost in.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// What can be done about an error, as the end of the sentence.
fn way_out(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let errno = causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
        .last();
    match errno {
        Some(libc::EPERM | libc::EACCES) => memlock::why_refused().map_or_else(
            || {
                "; no capability is missing: a seccomp filter, a security module or the kernel's \
                 lockdown forbids bpf(2) here"
                    .to_owned()
            },
            |why| format!("; {why}"),
        ),
        Some(libc::ENOMEM) => "; a smaller --buffer takes less memory".to_owned(),
        _ => String::new(),
    }
}

pub(super) fn load(error: EbpfError) -> ProbeError {
    ProbeError::Object(chain(&error) + &way_out(&error))
}

pub(super) fn map(error: MapError) -> ProbeError {
    ProbeError::Map(chain(&error) + &way_out(&error))
}

pub(super) fn log(error: aya_log::Error) -> ProbeError {
    ProbeError::Map(chain(&error))
}

pub(super) fn program(error: ProgramError) -> ProbeError {
    if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = &error
    {
        let log = verifier_log.to_string();
        log::debug!("the verifier's log:\n{log}");
        // The verifier was not asked.
        if log.is_empty() && io_error.kind() == io::ErrorKind::PermissionDenied {
            return ProbeError::Program(chain(io_error) + &way_out(io_error));
        }
        return ProbeError::Program(format!(
            "{io_error}; the verifier's last words: {}",
            last_words(&log)
        ));
    }
    ProbeError::Program(chain(&error))
}

/// The end of a verifier's log, where the reason stands, without the sums behind it (`print_verification_stats`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/verifier.c>).
fn last_words(log: &str) -> String {
    let is_sum = |line: &str| {
        ["verification time ", "stack depth ", "processed "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let mut last: Vec<&str> = log
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty() && !is_sum(line))
        .take(3)
        .collect();
    last.reverse();
    last.join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 6.12 ends it.
    #[test]
    fn the_reason_is_told_and_not_the_sums() {
        let log = "1280: (bf) r4 = r6\n1281: (bf) r8 = r5\n1282: (85) call bpf_skb_load_bytes#26\n\
                   R4 invalid zero-sized read: u64=[0,-1]\nverification time 81103 usec\n\
                   stack depth 184+32+0+0+24\nprocessed 3815 insns (limit 1000000)\n\n";
        assert_eq!(
            last_words(log),
            "1281: (bf) r8 = r5 / 1282: (85) call bpf_skb_load_bytes#26 / R4 invalid zero-sized read: u64=[0,-1]"
        );
        assert_eq!(last_words(""), "");
    }
}
