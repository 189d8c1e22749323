//! What eBPF may take: before Linux 5.11 RLIMIT_MEMLOCK bounds it, and since then it does not.

use std::{fs, process::Stdio};

use netns_trace_tests::{
    kernel,
    ordinary::{BASE, Capability, DAC_OVERRIDE, SYS_RESOURCE, nobody_with},
    refusal::{check_plain, refused},
    require_root,
    tool::{Done, done},
};

use super::{pair, quiet, target};

/// What a user gets who is given nothing: `ulimit -l` of 64.
const LOW: u64 = 64 << 10;

fn limit(soft: u64, hard: u64) -> libc::rlimit {
    libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    }
}

/// A capture of an ordinary user's that ends by itself, with these capabilities.
fn capture(args: &[&str], more: &[Capability], limit: libc::rlimit) -> Done {
    let args = [&["capture"], args, &["--duration", "50ms"]].concat();
    let (mut command, _program) = nobody_with(&args, &[&BASE[..], more].concat(), limit);
    command.stdin(Stdio::null());
    done(command)
}

/// The number before a word.
fn number_before(text: &str, word: &str) -> u64 {
    let (before, _) = text.split_once(word).unwrap_or_else(|| panic!("{text}"));
    let number = before.rsplit(|c: char| !c.is_ascii_digit()).next();
    number.and_then(|number| number.parse().ok()).expect(text)
}

#[test]
fn locked_memory_needs_a_capability_before_5_11_alone() {
    require_root!();
    let lab = quiet();
    let target = target(pair(&lab).0);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("earlier.pcapng");
    fs::write(&file, "an earlier capture").expect("a file");
    let args = [target.as_str(), "-w", "/dev/null"];
    let succeeds = |more: &[Capability], limit| {
        let done = capture(&args, more, limit);
        assert!(done.status.success(), "{more:?}: {done:?}");
    };

    if kernel::is_at_least((5, 11)) {
        succeeds(&[DAC_OVERRIDE], limit(LOW, LOW));
        return;
    }
    succeeds(&[DAC_OVERRIDE, SYS_RESOURCE], limit(LOW, LOW));
    // The upper bound is anybody's to use.
    succeeds(&[DAC_OVERRIDE], limit(LOW, 1 << 30));

    let way_out = "raise it (ulimit -l unlimited); CAP_SYS_RESOURCE is missing (run as root, or give it to the \
                   program with setcap)";
    let with_limit = |args: &[&str], most: u64| {
        let capabilities = [&BASE[..], &[DAC_OVERRIDE]].concat();
        let (mut command, _program) = nobody_with(args, &capabilities, limit(most, most));
        refused(&mut command, 1)
    };
    let file = file.to_str().expect("a path");
    let capture_args = ["capture", &target, "-w", file];
    let needed = "before Linux 5.11 eBPF maps count against it (at least ";
    let mut least = 0;
    for most in [LOW, 8 << 20] {
        let said = with_limit(&capture_args, most);
        let start = format!(
            "cannot load the eBPF programs: RLIMIT_MEMLOCK is {} KiB, and {needed}",
            most >> 10
        );
        assert!(said.starts_with(&start), "{said}");
        assert!(said.ends_with(way_out), "{said}");
        least = number_before(&said, " KiB): ");
    }
    assert_eq!(
        fs::read_to_string(file).expect("the file"),
        "an earlier capture"
    );
    let said = with_limit(&["latency", &target], LOW);
    assert!(said.ends_with(way_out), "{said}");
    // What else it takes is found out by making it.
    let said = with_limit(&["capture", &target, "-w", "/dev/null"], (least + 64) << 10);
    check_plain(&said);
    assert!(
        said.contains("Operation not permitted") && said.ends_with(way_out),
        "{said}"
    );
}
