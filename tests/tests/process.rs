//! Whose packets they are: from the sockets that sent them, and from the addresses and ports of those that there are.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use netns_trace::lab::Topology;
use netns_trace_tests::{
    bed::{Bed, must},
    net::Net,
    processes::{end, inside, shell, text, with},
    refusal::refused_early,
    summary::{self, assert_balanced, number, taps},
    tool::{Running, netns_trace},
};

#[test]
fn a_connection_is_told_both_ways_and_at_both_ends_of_the_veth() {
    let bed = Bed::quiet();
    let listener = inside(&bed, "r", || {
        TcpListener::bind("10.9.0.1:4001").expect("a listener")
    });
    let running = text(&bed, &["--taps", "inside,veth"]);
    let pid = shell(&bed, "exec 3<>/dev/tcp/10.9.0.1/4001; echo hello >&3");
    drop(listener.accept().expect("a connection"));
    let (lines, _) = end(running);
    let both = with(&lines, "10.9.0.1.4001");
    for (tap, direction) in [
        ("eth0@", "Out"),
        ("eth0@", "In"),
        ("va@", "Out"),
        ("va@", "In"),
    ] {
        let here = both
            .iter()
            .filter(|line| line.starts_with(tap) && line.contains(&format!(" {direction} ")));
        assert!(here.count() >= 2, "{tap} {direction}: {lines:#?}");
    }
    for line in both {
        assert!(
            line.contains(&format!("[bash {pid}] IP ")),
            "{line}\n{lines:#?}"
        );
    }
}

#[test]
fn what_was_there_before_is_told_and_what_listens_later_too() {
    let bed = Bed::quiet();
    let own = std::process::id();
    let before = inside(&bed, "a", || {
        TcpListener::bind("[::]:4002").expect("a listener")
    });
    let connect = |port: u16| {
        inside(&bed, "r", || {
            TcpStream::connect(("10.9.0.2", port)).expect("connected")
        })
    };
    let mut open = connect(4002);
    let _accepted = before.accept().expect("a connection");
    let running = text(&bed, &[]);
    open.write_all(b"open before").expect("sent");
    drop(connect(4002));
    let later = inside(&bed, "a", || {
        TcpListener::bind("10.9.0.2:4003").expect("a listener")
    });
    // Sockets are looked at anew after some time only.
    let mut last = 0;
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(100));
        let stream = connect(4003);
        last = stream.local_addr().expect("its address").port();
    }
    drop(later);
    let (lines, _) = end(running);
    for port in ["10.9.0.2.4002".to_owned(), format!("10.9.0.1.{last}")] {
        let of = with(&lines, &port);
        assert!(of.len() >= 3, "{port}: {lines:#?}");
        for line in of {
            // By the name of the test's own process, which has threads of other names.
            let is_ours = line.contains(&format!(" {own}] IP "));
            assert!(is_ours && line.starts_with("[process-"), "{line}");
        }
    }
}

#[test]
fn short_lives_are_told_in_the_file() {
    const SHELLS: usize = 60;
    let bed = Bed::quiet();
    let receiver = inside(&bed, "r", || {
        UdpSocket::bind("10.9.0.1:4004").expect("a socket")
    });
    let (file, target) = (bed.file("x.pcapng"), bed.target("a"));
    let path = file.to_str().expect("a path");
    let running = Running::capture([&target, "--process", "--summary", "json", "-w", path]);
    let pids: BTreeSet<u32> = (0..SHELLS)
        .map(|number| shell(&bed, &format!("echo {number} > /dev/udp/10.9.0.1/4004")))
        .collect();
    let (_, summary) = end(running);
    drop(receiver);
    let comments = comments(&file, "udp");
    let expected: BTreeSet<String> = pids
        .iter()
        .map(|pid| format!("process: bash, pid {pid}"))
        .collect();
    assert_eq!(comments.iter().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(comments.len(), SHELLS);
    assert_eq!(
        number(&summary["process"]["attributed"]),
        SHELLS as u64,
        "{summary}"
    );
    let unknown = without_comment(&file);
    assert_eq!(number(&summary["process"]["unknown"]), unknown, "{summary}");
}

/// The comments of a file's packets, by tshark.
fn comments(file: &Path, filter: &str) -> Vec<String> {
    let file = file.to_str().expect("a path");
    let text = must(
        "tshark",
        &[
            "-r",
            file,
            "-Y",
            filter,
            "-T",
            "fields",
            "-e",
            "frame.comment",
        ],
    );
    text.lines().map(str::to_owned).collect()
}

/// How many packets have none.
fn without_comment(file: &Path) -> u64 {
    comments(file, "frame")
        .iter()
        .filter(|comment| comment.is_empty())
        .count() as u64
}

#[test]
fn an_echo_is_its_ping_s_and_its_reply_too() {
    let bed = Bed::quiet();
    let running = text(&bed, &[]);
    bed.in_ns("a", "ping", &["-c", "2", "-i", "0.2", "10.9.0.1"]);
    bed.in_ns("r", "ping", &["-c", "1", "10.9.0.2"]);
    let (lines, summary) = end(running);
    let told = with(&lines, "[ping ");
    assert_eq!(told.len(), 4, "two requests and two replies: {lines:#?}");
    // The other one's reply is the kernel's.
    let echoes = with(&lines, "ICMP echo");
    assert_eq!(echoes.len(), 6, "{lines:#?}");
    assert_eq!(number(&summary["process"]["attributed"]), 4, "{summary}");
}

#[test]
fn only_the_processes_that_are_named_are_written_and_the_others_counted() {
    let bed = Bed::quiet();
    let receiver = inside(&bed, "r", || {
        UdpSocket::bind("10.9.0.1:4005").expect("a socket")
    });
    let sender = inside(&bed, "a", || {
        UdpSocket::bind("10.9.0.2:0").expect("a socket")
    });
    let own = std::process::id().to_string();
    for (option, value, is_ours) in [("--pid", own.as_str(), true), ("--comm", "bash", false)] {
        let running = text(&bed, &[option, value]);
        for _ in 0..5 {
            sender.send_to(b"ours", "10.9.0.1:4005").expect("sent");
            shell(&bed, "echo theirs > /dev/udp/10.9.0.1/4005");
        }
        let (lines, summary) = end(running);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        let length = if is_ours {
            "UDP, length 4"
        } else {
            "UDP, length 7"
        };
        assert!(
            lines.iter().all(|line| line.ends_with(length)),
            "{lines:#?}"
        );
        let out = taps(&summary).iter().find(|tap| tap["direction"] == "out");
        let filtered = number(&out.expect("a tap")["filtered"]);
        assert!(filtered >= 5, "{summary}");
    }
    drop(receiver);
}

#[test]
fn as_many_as_were_asked_for_are_those_of_the_process() {
    let bed = Bed::quiet();
    let receiver = inside(&bed, "r", || {
        UdpSocket::bind("10.9.0.1:4006").expect("a socket")
    });
    let sender = inside(&bed, "a", || {
        UdpSocket::bind("10.9.0.2:0").expect("a socket")
    });
    let running = text(&bed, &["--comm", "bash", "-c", "3"]);
    for _ in 0..20 {
        sender.send_to(b"ours", "10.9.0.1:4006").expect("sent");
    }
    shell(
        &bed,
        "for i in 1 2 3 4 5 6 7 8; do echo $i > /dev/udp/10.9.0.1/4006; done",
    );
    let done = running.wait();
    assert!(done.status.success(), "{done:?}");
    let summary = summary::of(&done);
    assert_balanced(&summary);
    assert_eq!(done.stdout.lines().count(), 3, "{done:?}");
    assert_eq!(number(&summary["captured"]), 3, "{summary}");
    drop(receiver);
}

#[test]
fn the_program_that_notes_sockets_is_gone_afterwards() {
    let bed = Bed::quiet();
    let running = text(&bed, &[]);
    let infos = fs::read_dir(format!("/proc/{}/fdinfo", running.pid())).expect("its descriptors");
    let program = infos
        .filter_map(|info| fs::read_to_string(info.expect("one").path()).ok())
        .filter(|info| info.contains("link_type:\tcgroup"))
        .find_map(|info| Some(info.split_once("prog_id:\t")?.1.lines().next()?.to_owned()))
        .expect("a link to the control groups");
    let mut ask = Command::new("bpftool");
    ask.args(["prog", "show", "id", &program]);
    let mut is_there = || ask.output().expect("bpftool runs").status.success();
    assert!(is_there());
    end(running);
    let gone = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        !is_there()
    });
    assert!(gone, "program {program} is still there");
}

#[test]
fn processes_that_cannot_be_are_refused() {
    for (args, what) in [
        (vec!["--pid", "0"], "--pid"),
        (vec!["--pid", "web"], "--pid"),
        (vec!["--pid", "-3"], "--pid"),
    ] {
        let mut command = netns_trace(["capture", "host"]);
        command.args(&args);
        let done = netns_trace_tests::tool::done(command);
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        assert!(done.stderr.contains(what), "{done:?}");
    }
    let said = refused_early(
        &["capture", "host", "--process", "-w", "/nowhere/x.pcap"],
        2,
    );
    assert!(said.contains("pcapng"), "{said}");
}

#[test]
fn what_leaves_is_told_at_the_shared_taps_too() {
    let net = Net::up(Topology::Nat);
    let (one, outside) = (net.container(0), net.outside());
    let target = net.target(0);
    let mut command = netns_trace([
        "capture",
        &target,
        "-nt",
        "--process",
        "--taps",
        "all",
        "udp",
    ]);
    command.stdout(Stdio::piped());
    let mut running = Running::start(command);
    running.wait_for("listening on");
    net.send(one, outside, 5, 100);
    std::thread::sleep(Duration::from_millis(300));
    let done = running.stop();
    let whose = format!(" {}] IP ", std::process::id());
    for (tap, direction) in [("eth0@", " Out "), ("br0@", " In "), ("up0@", " Out ")] {
        let lines = done
            .stdout
            .lines()
            .filter(|line| line.contains("length 100"));
        let here = lines.filter(|line| line.starts_with(tap) && line.contains(direction));
        let told = here.filter(|line| line.contains(&whose)).count();
        assert_eq!(told, 5, "{tap} {done:?}");
    }
}
