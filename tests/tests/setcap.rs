//! What an ordinary user can do with a binary that has file capabilities, and which each thing needs:
//! the table in `docs/reliability.md`.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use netns_trace_tests::{
    bed::{Bed, must},
    kernel, packets, private_run,
    raw::frame,
    refusal::{check_plain, missing},
    require_root,
    runtimes::{Containerd, Docker, Engine as _, Machine},
    tool::{Done, Running, binary, done},
};

const NOBODY: u32 = 65534;
/// For every capture and measurement.
const BASE: &str = "cap_bpf,cap_perfmon,cap_net_admin,cap_sys_admin";

/// Gives a file capabilities, as README's `setcap` does.
fn set(capabilities: &str, program: &str) {
    must("setcap", &[&format!("{capabilities}+ep"), program]);
}

/// `setpriv` that becomes `nobody`, in these groups alone.
fn as_nobody(setpriv: &mut Command, groups: &[u32]) {
    let user = NOBODY.to_string();
    setpriv.args(["--reuid", &user, "--regid", &user]);
    if groups.is_empty() {
        setpriv.arg("--clear-groups");
    } else {
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        setpriv.args(["--groups", &groups.join(",")]);
    }
}

/// What a refusal says, which is one line for people.
fn refusal(args: &[&str], done: &Done) -> String {
    assert_eq!(done.status.code(), Some(1), "{args:?}: {done:?}");
    let said = done.stderr.trim_end().rsplit('\n').next();
    let said = said.and_then(|line| line.strip_prefix("netns-trace: "));
    let said = said.unwrap_or_else(|| panic!("{args:?}: {done:?}"));
    check_plain(said);
    said.to_owned()
}

/// A copy of the program that has some capabilities, in a folder of the user's own.
struct Installed {
    bed: Bed,
    program: PathBuf,
}

impl Installed {
    fn new() -> Self {
        Self::in_bed(Bed::quiet())
    }

    fn in_bed(bed: Bed) -> Self {
        let program = bed.file("netns-trace");
        fs::copy(binary(), &program).expect("copied");
        let folder = program.parent().expect("a folder");
        std::os::unix::fs::chown(folder, Some(NOBODY), None).expect("theirs");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("open");
        Self { bed, program }
    }

    /// As `nobody`, with these capabilities.
    fn command(&self, capabilities: &str, args: &[&str]) -> Command {
        let program = self.program.to_str().expect("a path");
        set(capabilities, program);
        let mut command = Command::new("setpriv");
        as_nobody(&mut command, &[]);
        command.arg(program).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, capabilities: &str, args: &[&str]) -> Done {
        done(self.command(capabilities, args))
    }

    /// What it prints, since it succeeds.
    fn does(&self, capabilities: &str, args: &[&str]) -> String {
        let done = self.run(capabilities, args);
        assert!(done.status.success(), "{args:?}: {done:?}");
        done.stdout
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

    /// A refusal for want of one more capability.
    fn lacks(&self, capabilities: &str, args: &[&str], start: &str, name: &str) {
        let said = refusal(args, &self.run(capabilities, args));
        assert!(said.starts_with(start), "{args:?}, not {start:?}: {said}");
        let end = missing(&[name]);
        assert!(said.ends_with(&end), "{args:?}, not {end:?}: {said}");
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
        let name = missing.to_uppercase();
        for args in [&["capture", &target][..], &["latency", &target], &["demo"]] {
            installed.lacks(
                &rest.join(","),
                args,
                "cannot load the eBPF programs: ",
                &name,
            );
        }
    }
    let args = ["latency", &target, "--duration", "50ms"];
    let done = installed.run(BASE, &args);
    assert!(done.status.success(), "{done:?}");

    // The list of filters is in a folder of root's.
    let args = ["capture", &target, "--attach", "clsact", "-w", "/dev/null"];
    let start = "cannot write /run/netns-trace/filters/";
    installed.lacks(BASE, &args, start, "CAP_DAC_OVERRIDE");
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
    let start = format!("cannot open \"/proc/{pid}/ns/net\" of another user's process: ");
    installed.lacks(BASE, &args, &start, "CAP_SYS_PTRACE");
    let done = installed.run(&with("cap_sys_ptrace"), &args);
    assert!(done.status.success(), "{done:?}");

    let args = ["overhead", &target];
    let said = refusal(&args, &installed.run(BASE, &args));
    let start = "cannot send ICMP echoes from ";
    assert!(said.starts_with(start), "{said}");
    assert!(said.contains(&missing(&["CAP_NET_RAW"])), "{said}");
    let args = ["overhead", &target, "--count", "20", "--idle-count", "0"];
    let done = installed.run(&with("cap_net_raw"), &args);
    assert!(done.status.success(), "{done:?}");
}

/// What changes things in /run is root's, and says what it takes.
#[test]
fn each_command_names_the_next_capability() {
    require_root!();
    let installed = Installed::new();
    let target = installed.bed.target("a");
    let (enter, look) = ("cap_sys_admin", "cap_sys_admin,cap_sys_ptrace");
    let of_process = format!("pid:{}", std::process::id());
    let name = format!("{}-name", target.trim_start_matches("netns:"));

    let cannot_enter = "cannot enter the network namespace ";
    for args in [
        &["inspect", &target][..],
        &["exec", &target, "true"],
        &["overhead", &target],
    ] {
        installed.lacks("cap_net_admin", args, cannot_enter, "CAP_SYS_ADMIN");
    }
    let of_others = format!("cannot open \"/proc/{}/ns/net\"", std::process::id());
    for command in ["inspect", "link"] {
        installed.lacks(enter, &[command, &of_process], &of_others, "CAP_SYS_PTRACE");
    }
    let args = ["link", &target, &name];
    installed.lacks(
        "cap_net_admin",
        &args,
        "cannot give a name: ",
        "CAP_SYS_ADMIN",
    );
    installed.lacks(enter, &args, "cannot lock the register", "CAP_DAC_OVERRIDE");
    let args = ["lab", "up", "direct", "--name", &name];
    installed.lacks(
        enter,
        &args,
        "cannot build or remove a lab: ",
        "CAP_NET_ADMIN",
    );
    let both = "cap_sys_admin,cap_net_admin";
    installed.lacks(both, &args, "cannot create ", "CAP_DAC_OVERRIDE");
    installed.lacks(enter, &["clean"], "cannot clean: ", "CAP_SYS_PTRACE");
    installed.lacks(
        look,
        &["clean"],
        "cannot lock the register",
        "CAP_DAC_OVERRIDE",
    );
    installed.does(look, &["clean", "--dry-run"]);

    let done = installed.run(enter, &["list"]);
    assert!(
        done.stderr.contains(&missing(&["CAP_SYS_PTRACE"])),
        "{done:?}"
    );
    let mut watch = Running::start(installed.command(enter, &["watch"]));
    // Since then, it tells everybody.
    if !kernel::is_at_least((6, 6)) {
        watch.wait_for(&format!(
            "the kernel does not tell of processes ({})",
            missing(&["CAP_NET_ADMIN"])
        ));
    }
    watch.wait_for(&missing(&["CAP_SYS_PTRACE"]));
    let done = watch.stop();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn what_is_told_is_enough_for_each_command() {
    require_root!();
    private_run::enter_alone();
    fs::create_dir("/run/netns").expect("a directory");
    must("ip", &["netns", "add", "web"]);
    let installed = Installed::in_bed(Bed::empty());

    let file = "/proc/self/status";
    let status = installed.does("cap_sys_admin", &["exec", "netns:web", "cat", file]);
    assert!(status.contains("CapPrm:\t0000000000000000\n"), "{status}");

    let rights = "cap_sys_admin,cap_dac_override";
    installed.does(rights, &["link", "netns:web", "shop"]);
    let names = ["web", "shop"].map(|name| fs::metadata(format!("/run/netns/{name}")));
    let [web, shop] = names.map(|name| name.expect("a name").ino());
    assert_eq!(web, shop);

    let rights = "cap_sys_admin,cap_net_admin,cap_dac_override";
    installed.does(rights, &["lab", "up", "direct", "--name", "l"]);
    assert!(Path::new("/run/netns/l-a").exists());
    installed.does(rights, &["lab", "down", "l"]);
    assert!(!Path::new("/run/netns/l-a").exists());

    fs::write("/run/netns/stale", "").expect("a file");
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    let stale = fs::File::open("/run/netns/stale").expect("a file");
    stale.set_modified(long_ago).expect("an old one");
    installed.does("cap_sys_admin,cap_sys_ptrace,cap_dac_override", &["clean"]);
    assert!(!Path::new("/run/netns/stale").exists());
}

/// A copy of the program where Docker and containerd run.
struct AmongRuntimes {
    machine: Arc<Machine>,
    program: String,
}

impl AmongRuntimes {
    fn new(machine: &Arc<Machine>) -> Self {
        let program = machine.folder().join("netns-trace");
        fs::copy(binary(), &program).expect("copied");
        Self {
            machine: Arc::clone(machine),
            program: program.to_str().expect("a path").to_owned(),
        }
    }

    /// As `nobody` with [`BASE`], CAP_SYS_PTRACE and one more, in these groups.
    fn run(&self, more: &str, groups: &[u32], args: &[&str]) -> Done {
        set(&format!("{BASE},cap_sys_ptrace{more}"), &self.program);
        let mut command = self.machine.command("setpriv");
        as_nobody(&mut command, groups);
        command.arg(&self.program).args(args);
        done(command)
    }

    fn captures(&self, more: &str, groups: &[u32], container: &str) {
        let args = ["capture", container, "-i", "lo", "--duration", "50ms"];
        let done = self.run(more, groups, &[&args[..], &["-w", "/dev/null"]].concat());
        assert!(done.status.success(), "{container}, {more:?}: {done:?}");
    }

    fn refused(&self, groups: &[u32], container: &str) -> String {
        let args = ["capture", container, "-i", "lo", "-w", "/dev/null"];
        refusal(&args, &self.run("", groups, &args))
    }
}

/// A socket is asked by who may write to it, its group among others; files are read by who may read.
#[test]
fn names_of_containers_are_read_or_asked_for() {
    require_root!();
    let Some(machine) = Machine::start().map(Arc::new) else {
        return;
    };
    let Some(docker) = Docker::start(&machine) else {
        return;
    };
    let Some(containerd) = Containerd::start(&machine) else {
        return;
    };
    let id = docker.run("web", &[], &[]);
    containerd.run("default", "db", &[]);
    let user = AmongRuntimes::new(&machine);
    let socket = fs::metadata(machine.path("/run/docker.sock")).expect("a socket");
    assert_eq!(socket.mode() & 0o7777, 0o660, "as Docker makes it");

    // Without their names, containers are there all the same.
    let missing = missing(&["CAP_DAC_READ_SEARCH"]);
    assert_eq!(
        user.refused(&[], "docker:web"),
        format!(
            "there is no docker container \"web\" (docker: no permission to ask \
             \"/run/docker.sock\"; no permission to read \"/var/lib/docker/containers\": {missing})"
        )
    );
    assert_eq!(
        user.refused(&[], "ctr:db"),
        format!(
            "there is no containerd container \"db\" (containerd: no permission to read \
             \"/run/containerd\": {missing})"
        )
    );
    user.captures("", &[], &format!("docker:{}", &id[..12]));

    // Files are read; the socket is not asked.
    for container in ["docker:web", "ctr:db"] {
        user.captures(",cap_dac_read_search", &[], container);
    }
    let done = user.run(",cap_dac_read_search", &[], &["list"]);
    assert_eq!(
        done.stderr.trim_end(),
        "netns-trace: docker: no permission to ask \"/run/docker.sock\"; names are from \
         \"/var/lib/docker\"",
        "{done:?}"
    );

    // The socket's group needs no capability for it.
    user.captures("", &[socket.gid()], "docker:web");
    let said = user.refused(&[socket.gid()], "ctr:db");
    assert!(said.ends_with(&format!("{missing})")), "{said}");

    // Who may do all with files may ask, too.
    let done = user.run(",cap_dac_override", &[], &["list"]);
    assert_eq!(done.stderr, "", "{done:?}");
    for name in ["docker:web", "ctr:db"] {
        assert!(done.stdout.contains(name), "{name}: {done:?}");
    }
}
