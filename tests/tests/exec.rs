//! A tool of the host inside a namespace: it is as if it had been started by itself, but for the
//! network.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use netns_trace_tests::{
    command::run as witness,
    namespaces::TestNs,
    private_run,
    refusal::{as_nobody, missing, refused},
    require_root,
    tmux::{self, Tmux},
    tool::{Done, binary, netns_trace, run},
};
use nix::mount::{MsFlags, mount};

const NONE: Option<&str> = None;

fn exec(ns: &TestNs, options: &[&str], command: &[&str]) -> Done {
    let target = format!("netns:{}", ns.name);
    run([&["exec", &target], options, &["--"], command].concat())
}

/// What a command prints inside, which must succeed.
fn printed(ns: &TestNs, options: &[&str], command: &[&str]) -> String {
    let done = exec(ns, options, command);
    assert!(done.status.success(), "{command:?}: {done:?}");
    done.stdout
}

#[test]
fn the_network_is_the_namespace_s_and_the_rest_the_host_s() {
    require_root!();
    let ns = TestNs::new();
    ns.ip("link add dum0 type veth peer name dum1");
    ns.ip("addr add 10.8.7.6/24 dev dum0");
    let inode = |kind: &str| format!("/proc/self/ns/{kind}");
    let inside = printed(&ns, &[], &["ip", "-j", "addr"]);
    let expected = witness("ip", &["netns", "exec", &ns.name, "ip", "-j", "addr"]);
    assert_eq!(inside, expected);
    for kind in ["mnt", "pid", "uts", "ipc", "user", "cgroup"] {
        let there = printed(&ns, &[], &["readlink", &inode(kind)]);
        assert_eq!(there, witness("readlink", &[&inode(kind)]), "{kind}");
    }
    let net = printed(&ns, &[], &["readlink", &inode("net")]);
    assert_eq!(net, format!("net:[{}]\n", ns.open().inode()));
}

#[test]
fn the_exit_status_is_that_of_the_tool() {
    require_root!();
    let ns = TestNs::new();
    for status in [0, 1, 3, 255] {
        let done = exec(&ns, &[], &["sh", "-c", &format!("exit {status}")]);
        assert_eq!(done.status.code(), Some(status));
        assert_eq!(done.stderr, "");
    }
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let done = exec(&ns, &[], &["sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(done.status.signal(), Some(signal));
    }
    let target = format!("netns:{}", ns.name);
    for (command, status, said) in [
        (
            "netns-trace-nosuch",
            127,
            "cannot run \"netns-trace-nosuch\": there is no such command in PATH",
        ),
        (
            "/nosuch/\x1b[2J",
            127,
            "cannot run \"/nosuch/\\u{1b}[2J\": there is no such file, or the interpreter that it \
             names is missing",
        ),
        (
            "/etc/passwd",
            126,
            "cannot run \"/etc/passwd\": it is not executable",
        ),
        ("/", 126, "cannot run \"/\": it is not executable"),
    ] {
        let told = refused(&mut netns_trace(["exec", &target, command]), status);
        assert_eq!(told, said);
    }
}

#[test]
fn a_tool_s_own_options_need_no_dashes_before_them() {
    require_root!();
    let ns = TestNs::new();
    let target = format!("netns:{}", ns.name);
    let done = run(["exec", &target, "echo", "--resolv", "-v", "--", "-x"]);
    assert_eq!(done.stdout, "--resolv -v -- -x\n", "{done:?}");
    refused(&mut netns_trace(["exec", &target]), 2);
    refused(&mut netns_trace(["exec", &target, "--nosuch", "true"]), 2);
}

#[test]
fn stdin_environment_and_directory_are_passed_on() {
    require_root!();
    let ns = TestNs::new();
    let mut command = netns_trace(["exec", &format!("netns:{}", ns.name), "--"]);
    command
        .args(["sh", "-c", "cat; echo $NT_TEST $(pwd) $$"])
        .env("NT_TEST", "kept")
        .current_dir("/etc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("netns-trace starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"through\n").expect("written");
    drop(stdin);
    let pid = child.id();
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, format!("through\nkept /etc {pid}\n"));
}

#[test]
fn a_tool_starts_as_from_a_shell() {
    require_root!();
    let ns = TestNs::new();
    let blocked_or_ignored = |status: &str| {
        let masks = status
            .lines()
            .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"));
        let mask = |line: &str| u64::from_str_radix(line[7..].trim(), 16).expect("a mask");
        // What the C library keeps for itself, above, it does not leave alone when it spawns.
        masks.fold(0, |all, line| all | mask(line)) & ((1 << 31) - 1)
    };
    let inside = printed(&ns, &[], &["cat", "/proc/self/status"]);
    let direct = blocked_or_ignored(&witness("cat", &["/proc/self/status"]));
    assert_eq!(blocked_or_ignored(&inside), direct);
    assert_eq!(direct & (1 << (libc::SIGPIPE - 1)), 0);
    for options in [&[][..], &["--resolv"]] {
        // Those of ls itself, and the directory that it reads.
        let open = printed(&ns, options, &["ls", "/proc/self/fd"]);
        let direct = witness("ls", &["/proc/self/fd"]);
        assert_eq!(open, direct, "{options:?}");
    }
}

#[test]
fn a_terminal_works() {
    require_root!();
    if !tmux::is_there("a_terminal_works") {
        return;
    }
    let ns = TestNs::new();
    let terminal = Tmux::start(80, 24, &[]);
    let line =
        |text: &'static str| move |screen: &str| screen.lines().any(|line| line.trim_end() == text);
    let netns_trace = binary();
    let netns_trace = netns_trace.display();
    terminal.enter(&format!(
        "PS1='in> ' {netns_trace} exec netns:{} -- sh",
        ns.name
    ));
    terminal.wait_for("the prompt inside", line("in>"));
    terminal.enter("stty size; readlink /proc/self/ns/net");
    let inode = format!("net:[{}]", ns.open().inode());
    terminal.wait_for("its size and namespace", |screen| {
        screen.contains("\n24 80") && screen.contains(&inode)
    });
    terminal.enter("sh -c 'echo slee''ps; exec sleep 1000'");
    terminal.wait_for("a sleeper", line("sleeps"));
    terminal.press(&["C-c"]);
    terminal.wait_for("the prompt again", |screen| {
        screen.trim_end().ends_with("\nin>")
    });
    terminal.enter("echo interrupted $?");
    terminal.wait_for("the status of SIGINT", line("interrupted 130"));
    terminal.enter("exit 7");
    terminal.enter("echo left $?");
    terminal.wait_for("the status of the shell", line("left 7"));

    terminal.enter(&format!(
        "{netns_trace} exec netns:{} -- sh -c 'echo run''s; exec sleep 1000'",
        ns.name
    ));
    terminal.wait_for("a tool", line("runs"));
    terminal.press(&["C-z"]);
    terminal.wait_for("a stopped job", |screen| {
        screen.contains("Stopped") && screen.trim_end().ends_with("\n>")
    });
    terminal.enter("kill %1; fg");
    terminal.enter("echo ended $?");
    terminal.wait_for("the status of SIGTERM", line("ended 143"));
    terminal.assert_restored();
}

/// A directory in /etc/netns, gone at the end.
struct EtcNetns(PathBuf);

impl EtcNetns {
    fn new(ns: &TestNs) -> Self {
        let path = Path::new("/etc/netns").join(&ns.name);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for EtcNetns {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("ours to remove");
        drop(fs::remove_dir("/etc/netns")); // another test's may be there
    }
}

const LOOK: [&str; 3] = [
    "sh",
    "-c",
    "cat /etc/resolv.conf /etc/hosts; ls /sys/class/net; ls /sys/fs",
];

#[test]
fn resolv_is_as_with_ip_netns_exec() {
    require_root!();
    let ns = TestNs::new();
    ns.ip("link add dum0 type veth peer name dum1");
    let etc = EtcNetns::new(&ns);
    fs::write(etc.0.join("resolv.conf"), "nameserver 192.0.2.53\n").expect("written");
    fs::write(etc.0.join("hosts"), "192.0.2.1 web\n").expect("written");
    fs::write(etc.0.join("nosuch"), "").expect("written");
    let done = exec(&ns, &["--resolv"], &LOOK);
    let command = [&["netns", "exec", &ns.name], &LOOK[..]].concat();
    assert_eq!(done.stdout, witness("ip", &command));
    assert!(done.stdout.contains("192.0.2.53"), "{done:?}");
    assert!(done.stdout.contains("dum0"), "{done:?}");
    assert!(
        done.stderr
            .contains("nosuch\" is not mounted over \"/etc/nosuch\""),
        "{done:?}"
    );
    let plain = printed(&ns, &[], &LOOK);
    assert!(!plain.contains("192.0.2.53"), "{plain}");
    assert!(!plain.contains("dum0"), "{plain}");
}

#[test]
fn without_a_resolver_of_its_own_the_host_s_is_used_and_that_is_said() {
    require_root!();
    let ns = TestNs::new();
    let done = exec(&ns, &["--resolv"], &["cat", "/etc/resolv.conf"]);
    let host = fs::read_to_string("/etc/resolv.conf").expect("the host's");
    assert_eq!(done.stdout, host);
    let said = "has no resolver of its own; the host's is used";
    assert!(done.stderr.contains(said), "{done:?}");
}

#[test]
fn nothing_of_resolv_is_seen_outside() {
    require_root!();
    let ns = TestNs::new();
    let etc = EtcNetns::new(&ns);
    fs::write(etc.0.join("resolv.conf"), "nameserver 192.0.2.53\n").expect("written");
    private_run::enter();
    // As systemd has it: what is mounted in a copy would arrive here.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE).expect("shared");
    // Names of other tests go here too when they do there.
    let mounts = || -> Vec<String> {
        let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("a table");
        let lines = table.lines().filter(|line| !line.contains(" /run/netns/"));
        lines.map(str::to_owned).collect()
    };
    let before = mounts();
    let container = Container::start(
        &ns,
        "mount --bind $0 /etc/resolv.conf",
        &etc.0.join("resolv.conf"),
    );
    for target in [
        format!("netns:{}", ns.name),
        format!("pid:{}", container.pid()),
    ] {
        let done = run(["exec", &target, "--resolv", "cat", "/etc/resolv.conf"]);
        assert_eq!(done.stdout, "nameserver 192.0.2.53\n", "{done:?}");
        assert_eq!(mounts(), before);
    }
}

/// A process in the namespace that has mounts of its own, as containers do.
struct Container(Child);

impl Container {
    /// Runs a script with a path as its `$0`, and goes on when it is done.
    fn start(ns: &TestNs, script: &str, path: &Path) -> Self {
        Self::start_in(&ns.path(), script, path)
    }

    fn start_in(ns: &Path, script: &str, path: &Path) -> Self {
        let mut child = Command::new("nsenter")
            .arg(format!("--net={}", ns.display()))
            .args(["unshare", "--mount", "sh", "-ec"])
            .arg(format!("{script}; echo ready; exec cat"))
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe"))
            .read_line(&mut line)
            .expect("its word");
        assert_eq!(line, "ready\n", "{script}");
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.0.kill().expect("ours to kill");
        self.0.wait().expect("its end");
    }
}

#[test]
fn a_container_s_resolver_is_found_by_process_and_by_name() {
    require_root!();
    let ns = TestNs::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    fs::write(&file, "nameserver 127.0.0.11\n").expect("written");
    let container = Container::start(&ns, "mount --bind $0 /etc/resolv.conf", &file);
    for target in [
        format!("pid:{}", container.pid()),
        format!("netns:{}", ns.name),
    ] {
        let read = "cat /etc/resolv.conf; echo x > /etc/resolv.conf; ls /sys/class/net";
        let done = run(["exec", &target, "--resolv", "sh", "-c", read]);
        assert_eq!(done.stdout, "nameserver 127.0.0.11\nlo\n", "{done:?}");
    }
    // It was a copy.
    assert_eq!(
        fs::read_to_string(&file).expect("read"),
        "nameserver 127.0.0.11\n"
    );
}

/// What shares the host's namespace does not speak for it.
#[test]
fn the_host_s_resolver_is_the_host_s() {
    require_root!();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    fs::write(&file, "nameserver 127.0.0.11\n").expect("written");
    let own = Path::new("/proc/self/ns/net");
    let container = Container::start_in(own, "mount --bind $0 /etc/resolv.conf", &file);
    let read = |target: &str| run(["exec", target, "--resolv", "cat", "/etc/resolv.conf"]);
    let host = fs::read_to_string("/etc/resolv.conf").expect("the host's");
    let done = read("host");
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), (&*host, ""));
    let done = read(&format!("pid:{}", container.pid()));
    assert_eq!(done.stdout, "nameserver 127.0.0.11\n", "{done:?}");
}

#[test]
fn a_hostile_resolver_is_not_opened() {
    require_root!();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    fs::write(at("huge"), vec![b'#'; 1 << 20]).expect("written");
    for (name, why) in [
        ("pipe", "it is no plain file"),
        ("huge", "it is longer than 64 KiB"),
    ] {
        let ns = TestNs::new();
        let container = Container::start(&ns, "mount --bind $0 /etc/resolv.conf", &at(name));
        let target = format!("pid:{}", container.pid());
        let said = refused(&mut netns_trace(["exec", &target, "--resolv", "true"]), 1);
        let pid = container.pid();
        assert!(said.starts_with("cannot mount the resolver of "), "{said}");
        let end = format!("/etc/resolv.conf of process {pid}: {why}");
        assert!(said.ends_with(&end), "{said}");
    }
}

/// A link of the container's leads to the container's own files, whatever it says.
#[test]
fn a_link_out_of_the_container_s_root_leads_nowhere() {
    require_root!();
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    fs::write(folder.path().join("secret"), "nameserver 192.0.2.66\n").expect("written");
    fs::create_dir_all(root.join("etc")).expect("a root");
    symlink("../../secret", root.join("etc/resolv.conf")).expect("a link");
    let ns = TestNs::new();
    // A shell that has all it needs open already: only its root is another one.
    let chroot =
        "import os, sys; os.chroot(sys.argv[1]); print('ready', flush=True); sys.stdin.read()";
    let mut child = Command::new("nsenter")
        .arg(format!("--net={}", ns.path().display()))
        .args(["unshare", "--mount", "python3", "-c", chroot])
        .arg(&root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nsenter");
    let mut word = [0; 6];
    let stdout = child.stdout.as_mut().expect("a pipe");
    stdout.read_exact(&mut word).expect("its word");
    let container = Container(child);
    let target = format!("pid:{}", container.pid());
    let done = run(["exec", &target, "--resolv", "cat", "/etc/resolv.conf"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(done.stdout, "", "{done:?}");
}

/// systemd-resolved's link, without systemd-resolved.
#[test]
fn a_dangling_resolv_conf_of_the_host_is_mounted_over() {
    require_root!();
    let ns = TestNs::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    fs::write(&file, "nameserver 127.0.0.11\n").expect("written");
    let container = Container::start(&ns, "mount --bind $0 /etc/resolv.conf", &file);
    private_run::enter();
    mount(Some("none"), "/etc", Some("tmpfs"), MsFlags::empty(), NONE).expect("an /etc");
    let target = format!("pid:{}", container.pid());
    let mut command = netns_trace(["exec", &target, "--resolv", "cat", "/etc/resolv.conf"]);
    let said = refused(&mut command, 1);
    assert!(
        said.contains("cannot mount a copy of the resolver over /etc/resolv.conf"),
        "{said}"
    );
    symlink("../run/systemd/resolve/none", "/etc/resolv.conf").expect("a link");
    let done = run(["exec", &target, "--resolv", "cat", "/etc/resolv.conf"]);
    assert_eq!(done.stdout, "nameserver 127.0.0.11\n", "{done:?}");
    assert!(
        fs::metadata("/etc/resolv.conf").is_err(),
        "still dangling here"
    );
}

#[test]
fn what_is_missing_is_named() {
    require_root!();
    let ns = TestNs::new();
    let target = format!("netns:{}", ns.name);
    let path = ns.path();
    for options in [&[][..], &["--resolv"]] {
        let args = [&["exec", &target], options, &["true"]].concat();
        let (mut command, _program) = as_nobody(&args);
        assert_eq!(
            refused_of(&mut command),
            format!(
                "cannot enter the network namespace {path:?}: {}",
                missing(&["CAP_SYS_ADMIN"])
            )
        );
    }
    let said = refused(&mut netns_trace(["exec", "netns:nosuch-x", "true"]), 1);
    assert!(
        said.starts_with("there is no namespace \"nosuch-x\""),
        "{said}"
    );
}

/// The last line of a refusal: words on the resolver may come before.
fn refused_of(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.lines().last().expect("a line");
    last.strip_prefix("netns-trace: ")
        .expect("our name")
        .to_owned()
}
