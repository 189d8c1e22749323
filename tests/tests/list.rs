//! `list` finds every namespace, whoever refers to it, with `lsns`, `ip` and `readlink` as witnesses.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::channel,
};

use netns_trace_tests::{
    command::{ip, run},
    dweller::Dweller,
    listed::{FakeContainer, Listed, Point, line, table},
    names::unique,
    namespaces::TestNs,
    require_root,
};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

/// What other tools tell.
struct Witnessed {
    /// Inode and first process.
    processes: BTreeSet<(u64, u64)>,
    /// Inode and name.
    names: BTreeSet<(u64, String)>,
}

fn witnessed() -> Witnessed {
    let lsns = run("lsns", &["-t", "net", "-n", "-r", "-o", "NS,PID"]);
    let processes = lsns.lines().map(|line| {
        let mut fields = line.split_whitespace().map(|field| field.parse().ok());
        let mut number = || fields.next().flatten().unwrap_or_else(|| panic!("{line}"));
        (number(), number())
    });
    let listed = ip("netns list");
    let names = listed.lines().filter_map(|line| {
        let name = line.split(' ').next()?;
        let meta = fs::metadata(Path::new("/run/netns").join(name)).ok()?;
        let is_namespace = meta.dev() == fs::metadata("/proc/self/ns/net").ok()?.dev();
        is_namespace.then(|| (meta.ino(), name.to_owned()))
    });
    Witnessed {
        processes: processes.collect(),
        names: names.collect(),
    }
}

#[test]
fn nothing_is_missing_that_others_list() {
    require_root!();
    let named = TestNs::new();
    let dweller = Dweller::alone();
    // Other tests make and remove namespaces meanwhile: what was there before and after must be listed.
    let before = witnessed();
    let listed = Listed::now();
    let after = witnessed();
    let processes: Vec<_> = before.processes.intersection(&after.processes).collect();
    let names: Vec<_> = before.names.intersection(&after.names).collect();
    assert!(processes.iter().any(|(inode, _)| *inode == dweller.inode()));
    assert!(names.iter().any(|(_, name)| *name == named.name));
    for (inode, pid) in processes {
        let pids = listed.get(*inode)["pids"].as_array().expect("pids");
        assert!(pids.contains(&json!(pid)), "{pid} in {inode}");
    }
    for (inode, name) in names {
        let told = listed.get(*inode)["names"].as_array().expect("names");
        assert!(told.contains(&json!(format!("netns:{name}"))), "{name}");
    }
}

#[test]
fn one_host_with_the_kernels_threads() {
    require_root!();
    let listed = Listed::now();
    let all = listed.namespaces();
    let hosts: Vec<&Value> = all.iter().filter(|one| one["host"] == true).collect();
    assert_eq!(hosts.len(), 1);
    let inode = fs::metadata("/proc/2/ns/net").expect("kthreadd's").ino();
    assert_eq!(hosts[0]["inode"], inode);
    assert_eq!(all[0]["inode"], inode, "the host's comes first");
    let main = hosts[0]["main"]["pid"].as_u64().expect("a main process");
    assert_ne!(main, 2, "no kernel thread is the main process");
}

#[test]
fn a_name_alone_a_mount_alone_and_a_descriptor_alone() {
    require_root!();
    let named = TestNs::new();
    let inode = named.open().inode();
    let one = Listed::now();
    let one = one.get(inode);
    assert_eq!(one["names"], json!([format!("netns:{}", named.name)]));
    assert_eq!((&one["processes"], &one["main"]), (&json!(0), &Value::Null));
    assert_eq!(one["mounts"], json!([]));
    let text = table();
    assert!(
        line(&text, inode).contains(&format!("netns:{}", named.name)),
        "{text}"
    );

    let folder = tempfile::tempdir().expect("a folder");
    let point = Point::new(folder.path().join("a b"));
    let path = point.path().to_str().expect("text").to_owned();
    let path = path.as_str();
    run(
        "mount",
        &["--bind", named.path().to_str().expect("text"), path],
    );
    // Other tests' mount namespaces may hold copies of these mounts: only our own is told of.
    let is_mounted = |one: &Value| {
        let mounts = one["mounts"].as_array().expect("mounts");
        mounts.contains(&json!(path))
    };
    drop(named);
    let one = Listed::now();
    let one = one.get(inode);
    assert_eq!(one["names"], json!([]));
    assert!(is_mounted(one), "{one}");
    let text = table();
    assert!(text.contains(path), "{text}");

    let held = fs::File::open(path).expect("the namespace");
    drop(point);
    let one = Listed::now();
    let one = one.get(inode);
    assert!(!is_mounted(one), "{one}");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&held);
    // Another `list` may be looking at it just now.
    let held_by = one["descriptors"].as_array().expect("descriptors");
    let ours = json!({ "pid": std::process::id(), "fd": fd });
    assert!(held_by.contains(&ours), "{one}");
    assert_eq!(one["interfaces"][0]["name"], "lo", "it was entered: {one}");
    drop(held);
}

#[test]
fn a_single_thread() {
    require_root!();
    let (said, inode) = channel();
    let (stay, left) = channel::<()>();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let link = "/proc/thread-self/ns/net";
        let tid = nix::unistd::gettid().as_raw();
        let meta = fs::metadata(link).expect("the thread's namespace");
        said.send((meta.ino(), tid)).expect("a listener");
        assert!(left.recv().is_err(), "until it is told to end");
    });
    let (inode, tid) = inode.recv().expect("the thread's word");
    let one = Listed::now();
    let one = one.get(inode);
    assert_eq!(
        one["threads"],
        json!([{ "pid": std::process::id(), "tid": tid }])
    );
    assert_eq!(one["pids"], json!([]));
    assert_eq!(one["interfaces"][0]["name"], "lo", "{one}");
    drop(stay);
    thread.join().expect("the thread");
}

#[test]
fn a_mount_in_another_mount_namespace() {
    require_root!();
    let folder = tempfile::tempdir().expect("a folder");
    let point = Point::new(folder.path().join("x"));
    let path = point.path().display();
    // It mounts its namespace, and comes back to ours: the mount alone is left of that.
    let script = format!(
        "mount --bind /proc/self/ns/net '{path}' && readlink /proc/self/ns/net && \
         exec nsenter --net=/proc/{}/ns/net cat",
        std::process::id()
    );
    let mut child = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &script,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("the inode");
    let inode = line
        .trim()
        .trim_start_matches("net:[")
        .trim_end_matches(']');
    let inode: u64 = inode.parse().unwrap_or_else(|why| panic!("{line}: {why}"));
    // `cat` answers once it has come back.
    let mut stdin = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, b"there\n").expect("a word");
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("an answer");
    let listed = Listed::now();
    let one = listed.get(inode);
    let expected = format!("/proc/{}/root{path}", child.id());
    assert_eq!(one["mounts"], json!([expected]), "{one}");
    assert_eq!(one["pids"], json!([]));
    assert_eq!(one["interfaces"][0]["name"], "lo", "{one}");
    drop(stdin);
    child.wait().expect("its end");
}

#[test]
fn stale_names_and_their_reasons() {
    require_root!();
    let good = TestNs::new(); // and with it /run/netns
    let plain = Point::new(format!("/run/netns/{}", unique('p')).into());
    let dangling = Point::new(format!("/run/netns/{}\x1b[31m", unique('d')).into());
    fs::remove_file(dangling.path()).expect("the file");
    symlink("/proc/0/ns/net", dangling.path()).expect("a link");
    let listed = Listed::now();
    let stale = listed.json["stale"].as_array().expect("stale names");
    for path in [plain.path(), dangling.path()] {
        assert!(stale.contains(&json!(path)), "{path:?} in {stale:?}");
    }
    assert!(!stale.contains(&json!(good.path())), "{stale:?}");
    let text = table();
    for (path, reason) in [
        (plain.path(), "no namespace is mounted there any more"),
        (
            dangling.path(),
            "it is a link to a file that does not exist",
        ),
    ] {
        let escaped = path.to_str().expect("text").escape_debug();
        assert!(text.contains(&format!("  {escaped}: {reason}\n")), "{text}");
    }
    assert!(text.contains("netns-trace clean"), "{text}");
}

#[test]
fn a_name_that_is_mounted_elsewhere_is_not_stale() {
    require_root!();
    let good = TestNs::new();
    let point = Point::new(format!("/run/netns/{}", unique('m')).into());
    let mut inside = Command::new("unshare");
    let mount = format!(
        "mount --bind {} {}",
        good.path().display(),
        point.path().display()
    );
    let script = format!("{mount} && exec \"$@\"");
    inside.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ]);
    let dweller = Dweller::start(inside);
    let listed = Listed::now();
    let is_it = |one: &&Value| one["path"] == json!(point.path());
    let elsewhere = listed.json["elsewhere"]
        .as_array()
        .expect("names elsewhere");
    let one = elsewhere.iter().find(is_it).expect("the name");
    assert!(
        one["why"]
            .as_str()
            .expect("why")
            .contains("mount namespace"),
        "{one}"
    );
    let stale = listed.json["stale"].as_array().expect("stale names");
    assert!(!stale.contains(&json!(point.path())), "{stale:?}");
    drop(dweller);
    let listed = Listed::now();
    let stale = listed.json["stale"].as_array().expect("stale names");
    assert!(stale.contains(&json!(point.path())), "{stale:?}");
}

#[test]
fn hostile_names_are_told_as_they_are_and_shown_escaped() {
    require_root!();
    struct Named(String);
    impl Drop for Named {
        fn drop(&mut self) {
            drop(Command::new("ip").args(["netns", "del", &self.0]).status());
        }
    }
    let name = unique('h');
    let long = format!("{name}{}", "q".repeat(255 - name.len()));
    for name in [
        format!("{name}\x1b[2J\n\t\u{202e}"),
        format!("{name} a b "),
        long,
    ] {
        let named = Named(name);
        run("ip", &["netns", "add", &named.0]);
        let path = Path::new("/run/netns").join(&named.0);
        let inode = fs::metadata(path).expect("the namespace").ino();
        let listed = Listed::now();
        assert_eq!(
            listed.get(inode)["names"],
            json!([format!("netns:{}", named.0)])
        );
        let text = table();
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text:?}"
        );
        assert!(!text.contains('\u{202e}'), "{text:?}");
        assert!(
            line(&text, inode).contains(&named.0.escape_debug().to_string()),
            "{text}"
        );
    }
}

#[test]
fn processes_and_containers_that_share() {
    require_root!();
    let named = TestNs::new();
    let inside = || {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &named.name]);
        Dweller::start(command)
    };
    let (first, second) = (inside(), inside());
    let inode = named.open().inode();
    let (low, high) = (first.pid().min(second.pid()), first.pid().max(second.pid()));
    let listed = Listed::now();
    let one = listed.get(inode);
    assert_eq!(
        (&one["processes"], &one["pids"]),
        (&json!(2), &json!([low, high]))
    );
    assert_eq!(one["main"], json!({ "pid": low, "command": "cat" }));
    assert_eq!(
        (&one["containers"], &one["shared"]),
        (&json!([]), &json!(false))
    );

    let containers = [(1, &first), (2, &second)].map(|(n, one)| FakeContainer::of(one.pid(), n));
    let listed = Listed::now();
    let one = listed.get(inode);
    assert_eq!(one["shared"], true);
    let told = one["containers"].as_array().expect("containers");
    let ids: Vec<&Value> = told.iter().map(|container| &container["id"]).collect();
    assert_eq!(ids, [&containers[0].id, &containers[1].id]);
    assert_eq!(told[0]["runtime"], "docker");
    let text = table();
    let shown = format!("docker:{}", &containers[0].id[..12]);
    assert!(line(&text, inode).contains(&shown), "{text}");
    assert!(text.contains(" (shares it)"), "{text}");
    assert!(text.contains(&format!("netns:{}", named.name)), "{text}");
}
