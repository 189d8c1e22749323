//! What an ordinary user can do with a binary that has file capabilities, and which each thing needs:
//! the table in `docs/reliability.md`.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use netns_trace_tests::{
    bed::{Bed, must},
    packets,
    raw::frame,
    require_root,
    tool::{Done, Running, binary, done},
};

const NOBODY: u32 = 65534;
/// For every capture and measurement.
const BASE: &str = "cap_bpf,cap_perfmon,cap_net_admin,cap_sys_admin";

/// A copy of the program that has some capabilities, in a folder of the user's own.
struct Installed {
    bed: Bed,
    program: PathBuf,
}

impl Installed {
    fn new() -> Self {
        let bed = Bed::quiet();
        let program = bed.file("netns-trace");
        fs::copy(binary(), &program).expect("copied");
        let folder = program.parent().expect("a folder");
        std::os::unix::fs::chown(folder, Some(NOBODY), None).expect("theirs");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("open");
        Self { bed, program }
    }

    /// As `nobody`, with these capabilities as README's `setcap` gives them.
    fn command(&self, capabilities: &str, args: &[&str]) -> Command {
        let program = self.program.to_str().expect("a path");
        must("setcap", &[&format!("{capabilities}+ep"), program]);
        let user = NOBODY.to_string();
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                &user,
                "--regid",
                &user,
                "--clear-groups",
                program,
            ])
            .args(args)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, capabilities: &str, args: &[&str]) -> Done {
        done(self.command(capabilities, args))
    }

    /// Captures what is sent meanwhile, to a file of the user's.
    fn capture(&self, capabilities: &str, args: &[&str]) {
        let file = self.bed.file("x.pcapng");
        let target = self.bed.target("a");
        let name = file.to_str().expect("a path");
        let args = [&["capture", &target, "-w", name], args].concat();
        let mut running = Running::start(self.command(capabilities, &args));
        running.wait_for("listening on");
        let frames: Vec<Vec<u8>> = (0..100).map(|n| frame(None, n, 200)).collect();
        self.bed.send_frames("a", "eth0", &frames);
        let done = running.stop();
        assert!(done.status.success(), "{args:?}: {done:?}");
        assert_eq!(packets::read(&file).len(), 100, "{args:?}: {done:?}");
        assert_eq!(owner(&file), NOBODY);
        fs::remove_file(file).expect("removed");
    }

    fn refused(&self, capabilities: &str, args: &[&str], why: &str) {
        let done = self.run(capabilities, args);
        assert_eq!(done.status.code(), Some(1), "{args:?}: {done:?}");
        assert!(done.stderr.contains(why), "{args:?}, not {why:?}: {done:?}");
    }
}

fn owner(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").uid()
}

#[test]
fn each_feature_needs_what_is_told_and_no_more() {
    require_root!();
    let installed = Installed::new();
    let target = installed.bed.target("a");
    let pid = std::process::id().to_string();
    let with = |more: &str| format!("{BASE},{more}");

    installed.capture(BASE, &["--attach", "tcx"]);
    installed.capture(BASE, &["--taps", "inside", "--attach", "tcx"]);
    for missing in BASE.split(',') {
        let rest: Vec<&str> = BASE.split(',').filter(|one| *one != missing).collect();
        let named = format!("{} is missing", missing.to_uppercase());
        for args in [&["capture", &target][..], &["latency", &target]] {
            installed.refused(&rest.join(","), args, &named);
        }
    }
    let args = ["latency", &target, "--duration", "50ms"];
    let done = installed.run(BASE, &args);
    assert!(done.status.success(), "{done:?}");

    // The list of filters is in a folder of root's.
    let args = ["capture", &target, "--attach", "clsact", "-w", "/dev/null"];
    installed.refused(BASE, &args, "cannot write its list: Permission denied");
    installed.capture(&with("cap_dac_override"), &["--attach", "clsact"]);
    let qdiscs = installed
        .bed
        .in_ns("a", "tc", &["qdisc", "show", "dev", "eth0"]);
    assert!(!qdiscs.contains("clsact"), "{qdiscs}");

    // A process of root's.
    let of_process = format!("pid:{pid}");
    let args = [
        "capture",
        &of_process,
        "-i",
        "lo",
        "--duration",
        "50ms",
        "-w",
        "/dev/null",
    ];
    installed.refused(BASE, &args, "another user's process needs CAP_SYS_PTRACE");
    let done = installed.run(&with("cap_sys_ptrace"), &args);
    assert!(done.status.success(), "{done:?}");

    let args = ["overhead", &target];
    installed.refused(BASE, &args, "CAP_NET_RAW is missing");
    let args = ["overhead", &target, "--count", "20", "--idle-count", "0"];
    let done = installed.run(&with("cap_net_raw"), &args);
    assert!(done.status.success(), "{done:?}");
}
