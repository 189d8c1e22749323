//! How `inspect` finds the resolver of a namespace, and `--resolve` from inside, against a name
//! server of the test's own, and with the C library of a process inside as the witness.

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::symlink,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use netns_trace_tests::{
    bed::{Bed, must},
    dns::{SAME_NAME, Server},
    inspected::{inspect, missing},
    patience::slowed,
    tool::{Running, run},
};
use serde_json::Value;

/// A namespace `a` with loopback alone.
fn alone() -> Bed {
    let mut bed = Bed::empty();
    bed.add_namespace("a");
    bed
}

/// A process in `a` that has `folder` for its /etc.
fn with_etc(bed: &Bed, folder: &Path) -> Running {
    let mut command = bed.command("a", "unshare");
    let script = "mount --bind \"$0\" /etc && echo ready >&2 && exec sleep 300";
    command
        .args(["--mount", "sh", "-c", script])
        .arg(folder)
        .stdout(Stdio::null());
    let mut running = Running::start(command);
    running.wait_for("ready");
    running
}

/// As [`with_etc`], with this resolv.conf in it.
fn with_resolv_conf(bed: &Bed, text: &str) -> Running {
    let folder = bed.file("etc");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("resolv.conf"), text).expect("a file");
    fs::write(folder.join("nsswitch.conf"), "hosts: files dns\n").expect("a file");
    fs::write(folder.join("hosts"), "127.0.0.9 inhosts more\n").expect("a file");
    with_etc(bed, &folder)
}

fn of_a(bed: &Bed, more: &[&str]) -> Value {
    inspect(&[&[bed.target("a").as_str()], more].concat())
}

/// Each question as `SERVER NAME KIND OUTCOME` with addresses and aliases.
fn questions(report: &Value) -> Vec<String> {
    let questions = report["lookup"]["questions"].as_array().expect("a lookup");
    let words = |list: &Value| {
        let words = list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        words.map(|word| format!(" {word}")).collect::<String>()
    };
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let line = |one: &Value| {
        format!(
            "{} {} {} {}{}{}{}",
            text(&one["server"]),
            text(&one["name"]),
            text(&one["kind"]),
            if one["tcp"] == true { "tcp " } else { "" },
            text(&one["outcome"]),
            words(&one["aliases"]),
            words(&one["addresses"])
        )
    };
    questions.iter().map(line).collect()
}

#[test]
fn a_name_is_completed_asked_for_and_answered_as_in_the_namespace() {
    let bed = alone();
    let server = Server::start(&bed.open("a"), "127.0.0.1", |asked| {
        let alias: (&[u8], u16, &[u8]) = (SAME_NAME, 5, b"\x03app\x03lan\0");
        let six = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        vec![match (asked.name.as_str(), asked.kind) {
            ("web.lan", 1) => asked.answer(0, &[alias, (b"\x03app\x03lan\0", 1, &[10, 0, 0, 7])]),
            ("web.lan", 28) => asked.answer(0, &[alias, (b"\x03app\x03lan\0", 28, &six)]),
            ("half.lan", 1) => asked.answer(0, &[(SAME_NAME, 1, &[10, 0, 0, 8])]),
            ("half.lan", 28) => asked.answer(0, &[]),
            _ => asked.answer(3, &[]),
        }]
    });
    let process = with_resolv_conf(&bed, "search first.lan lan\nnameserver 127.0.0.1\n");
    let report = of_a(&bed, &["--resolve", "web"]);
    assert_eq!(missing(&report), [""; 0]);
    assert_eq!(
        questions(&report),
        [
            "127.0.0.1 web.first.lan A no_such_name",
            "127.0.0.1 web.first.lan AAAA no_such_name",
            "127.0.0.1 web.lan A answer app.lan 10.0.0.7",
            "127.0.0.1 web.lan AAAA answer app.lan fd00::7",
        ]
    );
    let asked_by_us = server.asked();
    let pid = process.pid().to_string();
    let theirs = must(
        "nsenter",
        &["-t", &pid, "-n", "-m", "getent", "ahosts", "web"],
    );
    assert!(
        theirs.contains("10.0.0.7") && theirs.contains("fd00::7"),
        "{theirs}"
    );
    let asked_by_libc = server.asked().split_off(asked_by_us.len());
    assert_eq!(
        asked_by_us, asked_by_libc,
        "the same questions in the same order"
    );
    assert_eq!(
        questions(&of_a(&bed, &["--resolve", "half.lan"])),
        [
            "127.0.0.1 half.lan A answer 10.0.0.8",
            "127.0.0.1 half.lan AAAA no_data"
        ]
    );
    assert_eq!(
        questions(&of_a(&bed, &["--resolve", "web.first.lan."])),
        [
            "127.0.0.1 web.first.lan A no_such_name",
            "127.0.0.1 web.first.lan AAAA no_such_name",
        ],
        "a name with a dot at its end is whole"
    );
    let hosts = of_a(&bed, &["--resolve", "inhosts"]);
    assert_eq!(hosts["lookup"]["hosts"], Value::from(vec!["127.0.0.9"]));
    let text = run(["inspect", &bed.target("a"), "--resolve", "web"]).stdout;
    assert!(
        text.contains("app.lan -> 10.0.0.7") && text.contains("(NXDOMAIN)"),
        "{text}"
    );
    let source = format!("/etc/resolv.conf of process {pid} (sleep)");
    assert!(
        text.contains(&source) && text.contains("search      first.lan lan"),
        "{text}"
    );
}

#[test]
fn what_is_too_long_for_udp_is_asked_for_by_tcp() {
    let bed = alone();
    let server = Server::start(&bed.open("a"), "127.0.0.1", |asked| {
        if asked.tcp {
            let many: Vec<[u8; 4]> = (1..=100).map(|last| [10, 1, 0, last]).collect();
            let records: Vec<(&[u8], u16, &[u8])> = many
                .iter()
                .map(|address| (SAME_NAME, 1, &address[..]))
                .collect();
            return vec![asked.answer(0, if asked.kind == 1 { &records } else { &[] })];
        }
        let mut answer = asked.answer(0, &[(SAME_NAME, 1, &[9, 9, 9, 9])]);
        answer[2] |= 2; // cut short
        answer.truncate(answer.len() - 3);
        vec![answer]
    });
    let _process = with_resolv_conf(&bed, "nameserver 127.0.0.1\n");
    let report = of_a(&bed, &["--resolve", "many."]);
    let lines = questions(&report);
    assert!(
        lines[0].starts_with("127.0.0.1 many A tcp answer 10.1.0.1 10.1.0.2"),
        "{lines:?}"
    );
    assert!(lines[0].ends_with("10.1.0.100"), "{lines:?}");
    assert_eq!(lines[1], "127.0.0.1 many AAAA tcp no_data");
    assert_eq!(server.asked().iter().filter(|(_, _, tcp)| *tcp).count(), 2);
}

#[test]
fn servers_that_fail_are_told_each_with_its_failure() {
    let bed = alone();
    let ns = bed.open("a");
    let _failing = Server::start(&ns, "127.0.0.2", |asked| vec![asked.answer(2, &[])]);
    let _refusing = Server::start(&ns, "127.0.0.3", |asked| vec![asked.answer(5, &[])]);
    let silent = || UdpSocket::bind("127.0.0.4:53").expect("port 53");
    let _silent = ns.run(silent).expect("entered");
    for (servers, outcomes) in [
        (
            ["127.0.0.2", "127.0.0.3", "127.0.0.5"],
            ["server_failure", "refused", "unreachable"],
        ),
        (
            ["127.0.0.4", "192.0.2.1", "fe80::1%lo"],
            ["silent", "unreachable", "unreachable"],
        ),
    ] {
        let lines = servers
            .map(|server| format!("nameserver {server}\n"))
            .concat();
        let _process = with_resolv_conf(&bed, &lines);
        let start = Instant::now();
        let report = of_a(&bed, &["--resolve", "web"]);
        assert!(
            start.elapsed() < slowed(Duration::from_secs(6)),
            "{:?}",
            start.elapsed()
        );
        let expected: Vec<String> = servers
            .iter()
            .zip(outcomes)
            .flat_map(|(server, outcome)| {
                ["A", "AAAA"].map(|kind| format!("{server} web {kind} {outcome}"))
            })
            .collect();
        assert_eq!(questions(&report), expected);
        for question in report["lookup"]["questions"].as_array().expect("questions") {
            let took = Duration::from_nanos(question["took_ns"].as_u64().expect("a time"));
            let patient = took >= Duration::from_millis(1990);
            assert_eq!(question["outcome"] == "silent", patient, "{question}");
        }
    }
    let text = run(["inspect", &bed.target("a"), "--resolve", "web"]);
    assert!(text.stdout.contains("Lookup"), "{}", text.stdout);
}

#[test]
fn rubbish_is_told_and_a_good_answer_behind_it_counts() {
    let bed = alone();
    let ns = bed.open("a");
    let _circles = Server::start(&ns, "127.0.0.2", |asked| {
        let own = asked.bytes.len() as u8;
        vec![asked.answer(0, &[(&[0xc0, own], 1, &[1, 2, 3, 4])])]
    });
    let _strange = Server::start(&ns, "127.0.0.3", |asked| {
        let mut other = asked.answer(0, &[(SAME_NAME, 1, &[6, 6, 6, 6])]);
        other[0] ^= 0xff;
        let good = asked.answer(
            0,
            &[(
                SAME_NAME,
                asked.kind,
                if asked.kind == 1 { &[1; 4] } else { &[1; 16] },
            )],
        );
        vec![
            other,
            Vec::new(),
            b"\x1b[2J".to_vec(),
            vec![0xff; 9000],
            good,
        ]
    });
    let _process = with_resolv_conf(&bed, "nameserver 127.0.0.2\nnameserver 127.0.0.3\n");
    let report = of_a(&bed, &["--resolve", "web"]);
    assert_eq!(
        questions(&report),
        [
            "127.0.0.2 web A rubbish",
            "127.0.0.2 web AAAA rubbish",
            "127.0.0.3 web A answer 1.1.1.1",
            "127.0.0.3 web AAAA answer 101:101:101:101:101:101:101:101",
        ]
    );
}

#[test]
fn dockers_own_resolver_is_explained() {
    let bed = alone();
    let conf = "nameserver 127.0.0.11\nsearch shop\noptions edns0 ndots:0\n\n\
                # Based on host file: '/etc/resolv.conf' (internal resolver)\n\
                # ExtServers: [10.0.0.53 host(127.0.0.53)]\n";
    let _process = with_resolv_conf(&bed, conf);
    let resolver = &of_a(&bed, &[])["resolver"];
    assert_eq!(
        (&resolver["docker"], &resolver["ndots"]),
        (&true.into(), &0.into())
    );
    let upstreams = Value::from(vec!["10.0.0.53", "host(127.0.0.53)"]);
    assert_eq!(resolver["docker_upstreams"], upstreams);
    let text = run(["inspect", &bed.target("a")]).stdout;
    assert!(
        text.contains("nameserver  127.0.0.11   Docker's own"),
        "{text}"
    );
    assert!(
        text.contains("asks      10.0.0.53 host(127.0.0.53)"),
        "{text}"
    );
}

#[test]
fn a_hostile_resolv_conf_does_no_harm() {
    let bed = alone();
    let secret = bed.file("secret");
    fs::write(&secret, "nameserver 6.6.6.6\n").expect("a file");
    let run_on = |program: &str, path: &Path, more: &[&str]| {
        must(program, &[&[path.to_str().expect("a path")], more].concat());
    };
    let pipe = |path: &Path| run_on("mkfifo", path, &[]);
    let folder = |path: &Path| fs::create_dir(path).expect("a folder");
    let device = |path: &Path| run_on("mknod", path, &["c", "1", "5"]);
    let circle = |path: &Path| symlink("resolv.conf", path).expect("a link");
    let magic = |path: &Path| symlink("/proc/self/root/etc/hostname", path).expect("a link");
    type Case<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
    let cases: [Case<'_>; 5] = [
        ("pipe", &pipe, "it is no plain file"),
        ("folder", &folder, "it is no plain file"),
        ("device", &device, "it is no plain file"),
        ("circle", &circle, "symbolic links"),
        ("magic", &magic, "symbolic links"),
    ];
    for (name, make, why) in cases {
        let folder = bed.file(name);
        fs::create_dir(&folder).expect("a folder");
        make(&folder.join("resolv.conf"));
        let process = with_etc(&bed, &folder);
        let start = Instant::now();
        let report = of_a(&bed, &["--resolve", "web"]);
        assert!(
            start.elapsed() < slowed(Duration::from_secs(2)),
            "{name}: {:?}",
            start.elapsed()
        );
        assert_eq!(report["resolver"], Value::Null, "{name}");
        let said = missing(&report).join("\n");
        assert!(said.contains(why), "{name}: {said}");
        assert!(said.contains("\"web\" is not looked up"), "{name}: {said}");
        drop(process);
    }
    // Longer than anything honest; what comes first counts.
    let folder = bed.file("long");
    fs::create_dir(&folder).expect("a folder");
    let file = fs::File::create(folder.join("resolv.conf")).expect("a file");
    std::io::Write::write_all(&mut &file, b"nameserver 9.\x1b[2J9\noptions \x07\n")
        .expect("written");
    file.set_len(100 << 20).expect("long");
    let process = with_etc(&bed, &folder);
    let report = of_a(&bed, &[]);
    assert_eq!(
        report["resolver"]["nameservers"],
        Value::from(vec!["9.\x1b[2J9"])
    );
    assert!(
        missing(&report)[0].contains("longer than 64 KiB"),
        "{report}"
    );
    let text = run(["inspect", &bed.target("a"), "--resolve", "web"]).stdout;
    assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text:?}");
    assert!(text.contains("is not asked: it is no address"), "{text}");
    drop(process);
}

#[test]
fn a_link_leads_nowhere_but_under_the_processs_own_root() {
    let bed = alone();
    let (root, secret) = (bed.file("root"), bed.file("secret"));
    fs::write(&secret, "nameserver 6.6.6.6\n").expect("a file");
    for folder in ["etc", "bin", "run"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
    let conf = root.join("etc/resolv.conf");
    let inside = |text: &str| fs::write(root.join("run/resolv.conf"), text).expect("a file");
    inside("nameserver 10.0.0.1\n");
    symlink("/run/resolv.conf", &conf).expect("a link");
    let mut command = bed.command("a", "chroot");
    command.arg(&root).args([
        "/bin/busybox",
        "sh",
        "-c",
        "echo ready >&2; exec /bin/busybox sleep 300",
    ]);
    let mut running = Running::start(command);
    running.wait_for("ready");
    let servers = |report: Value| report["resolver"]["nameservers"].clone();
    assert_eq!(servers(of_a(&bed, &[])), Value::from(vec!["10.0.0.1"]));
    fs::remove_file(&conf).expect("removed");
    let out = format!("../../../../../../../..{}", secret.display());
    symlink(out, &conf).expect("a link");
    // Under its root there is no such file: the library would ask the machine itself.
    assert_eq!(servers(of_a(&bed, &[])), Value::from(vec!["127.0.0.1"]));
    fs::create_dir_all(
        root.join(
            secret
                .parent()
                .expect("a folder")
                .strip_prefix("/")
                .expect("a path"),
        ),
    )
    .expect("a folder");
    fs::write(
        root.join(secret.strip_prefix("/").expect("a path")),
        "nameserver 10.0.0.2\n",
    )
    .expect("a file");
    assert_eq!(servers(of_a(&bed, &[])), Value::from(vec!["10.0.0.2"]));
}

#[test]
fn a_name_in_etc_netns_counts_where_no_process_lives() {
    let bed = alone();
    let folder = Path::new("/etc/netns").join(bed.name("a"));
    let made = !Path::new("/etc/netns").exists();
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("resolv.conf"), "nameserver 10.0.0.3\n").expect("a file");
    let report = of_a(&bed, &[]);
    fs::remove_dir_all(&folder).expect("removed");
    if made {
        // Another test may use it by now.
        drop(fs::remove_dir("/etc/netns"));
    }
    assert_eq!(
        report["resolver"]["nameservers"],
        Value::from(vec!["10.0.0.3"])
    );
    let source = report["resolver"]["source"].as_str().expect("a source");
    assert_eq!(source, folder.join("resolv.conf").to_str().expect("a path"));
}
