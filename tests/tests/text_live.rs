//! Text of live packets: what tcpdump prints of a file of the same packets, and what `read` does.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Stdio},
};

use netns_trace_tests::{
    bed::{Bed, must},
    corpus, require_root,
    tool::{self, Running, netns_trace},
};

/// Without what the kernel sends by itself when an interface comes up, at times of its own.
const OURS: &str = "not (ip6 and ether multicast)";

/// A capture of `a` as text.
fn text(bed: &Bed, options: &[&str]) -> Running {
    let target = bed.target("a");
    let mut command = netns_trace(["capture", &target, "--no-latency", OURS]);
    command.args(options).stdout(Stdio::piped());
    let mut running = Running::start(command);
    running.wait_for("listening on");
    running
}

/// The lines of a text.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// What a capture has printed; it must not have lost anything.
fn printed(running: Running) -> Vec<String> {
    let done = running.stop();
    assert!(done.status.success(), "{done:?}");
    assert!(
        done.stderr.contains("\n0 packets dropped by kernel"),
        "{done:?}"
    );
    lines(&done.stdout)
}

/// What `read` prints of a file.
fn read(file: &Path, options: &[&str]) -> Vec<String> {
    let mut command = netns_trace(["read"]);
    command.arg(file).args(options);
    lines(&tool::must(command))
}

/// Everyday traffic in IPv4 and IPv6: neighbours, echoes, a name that is asked for, a page that is fetched, a closed
/// port.
fn everyday(bed: &Bed) {
    let (a, r) = (bed.open("a"), bed.open("r"));
    let listener = r
        .run(|| TcpListener::bind("[::]:80").expect("a listener"))
        .expect("entered");
    for address in ["10.9.0.1", "fd09::1"] {
        bed.in_ns(
            "a",
            "ping",
            &["-c", "2", "-i", "0.01", "-s", "100", address],
        );
        let ask = || TcpStream::connect((address, 80)).expect("a connection");
        let mut client = a.run(ask).expect("entered");
        let (mut server, _) = listener.accept().expect("a connection");
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            .expect("sent");
        let mut asked = String::new();
        BufReader::new(&server)
            .read_line(&mut asked)
            .expect("received");
        server
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .expect("sent");
        let any = if address.contains(':') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let query =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x04test\x00\x00\x01\x00\x01";
        a.run(|| {
            let socket = UdpSocket::bind(any).expect("a socket");
            socket.send_to(query, (address, 53)).expect("sent");
            TcpStream::connect((address, 81)).expect_err("nobody listens");
        })
        .expect("entered");
    }
}

#[test]
fn live_text_is_what_tcpdump_prints_of_the_same_packets() {
    require_root!();
    let bed = Bed::bridge();
    let (file, target) = (bed.file("all.pcap"), bed.target("a"));
    let whole = Running::capture([
        &target,
        "--no-latency",
        "-w",
        file.to_str().expect("a path"),
        OURS,
    ]);
    let options: [&[&str]; 6] = [
        &["-nt"],
        &["-nte"],
        &["-ntq"],
        &["-ntvv"],
        &["-ntxX"],
        &["-nt#"],
    ];
    let live: Vec<Running> = options.iter().map(|options| text(&bed, options)).collect();
    everyday(&bed);
    let live: Vec<Vec<String>> = live.into_iter().map(printed).collect();
    assert!(whole.stop().status.success());
    let name = file.to_str().expect("a path");
    for (options, ours) in options.iter().zip(live) {
        let theirs = lines(&must("tcpdump", &[&["-r", name], *options].concat()));
        assert_same(&ours, &theirs, options);
    }
}

/// The same lines; neighbours may be asked again while the captures end, one after the other.
fn assert_same(ours: &[String], theirs: &[String], options: &[&str]) {
    let shared = ours.len().min(theirs.len());
    assert!(shared > 30, "{options:?}: {ours:#?}");
    assert_eq!(ours[..shared], theirs[..shared], "{options:?}");
    assert!(ours.len().abs_diff(theirs.len()) <= 2, "{options:?}");
}

#[test]
fn the_kernel_filters_as_read_does() {
    require_root!();
    let Some(folder) = corpus::folder() else {
        return;
    };
    let bed = Bed::quiet();
    let (all, target) = (bed.file("all.pcapng"), bed.target("a"));
    let start = |file: &Path, filter: &[&str]| {
        let name = file.to_str().expect("a path");
        Running::capture([&[&target, "--no-latency", "-w", name], filter].concat())
    };
    let whole = start(&all, &[]);
    let expressions = [
        "tcp and not port 22",
        "udp",
        "icmp or icmp6 or arp",
        "vlan",
        "ip6 and len < 200",
        "ether multicast",
        "ip[8] < 64",
    ];
    let captures: Vec<Running> = (0..)
        .zip(expressions)
        .map(|(number, expression)| start(&bed.file(&format!("{number}.pcapng")), &[expression]))
        .collect();
    bed.replay("r", "va", &corpus::sendable(&folder));
    for capture in captures {
        assert!(capture.stop().status.success());
    }
    assert!(whole.stop().status.success());
    for (number, expression) in (0..).zip(expressions) {
        let kernel: Vec<String> = read(&bed.file(&format!("{number}.pcapng")), &["-ntS"]);
        let reader = read(&all, &["-ntS", expression]);
        assert!(kernel.len() > 10, "{expression}: {}", kernel.len());
        assert_eq!(kernel, reader, "{expression}");
    }
}

#[test]
fn names_of_hosts_are_looked_up_as_tcpdump_does() {
    require_root!();
    let bed = Bed::quiet();
    let hosts = bed.file("hosts");
    std::fs::write(&hosts, "10.9.0.3 web.test\nfd09::3 web.test\n").expect("written");
    // With a file of hosts that nobody else sees.
    let code = |program: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "sh",
                "-ec",
                "mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"",
                "-",
            ])
            .arg(&hosts)
            .args(program)
            .stdin(Stdio::null());
        tool::must(command)
    };
    let binary = tool::binary();
    let (binary, target) = (binary.to_str().expect("a path"), bed.target("a"));
    for numeric in [&[][..], &["-n"][..]] {
        let ours = [
            &[binary, "capture", target.as_str(), "--print-filter"],
            numeric,
            &["host", "web.test"],
        ];
        let theirs = [
            &["tcpdump", "-d", "-y", "EN10MB"],
            numeric,
            &["host", "web.test"],
        ];
        let (ours, theirs) = (code(&ours.concat()), code(&theirs.concat()));
        assert!(theirs.contains("0xa090003"), "{theirs}");
        assert!(ours.contains(theirs.trim_end()), "{ours}\n{theirs}");
    }
}

#[test]
fn a_packet_s_second_tap_tells_the_time_since_the_first() {
    require_root!();
    let bed = Bed::quiet();
    let target = bed.target("a");
    let mut command = netns_trace([
        "capture",
        &target,
        "-nt",
        "--names",
        "--taps",
        "inside,veth",
        "icmp",
    ]);
    command.stdout(Stdio::piped());
    let mut running = Running::start(command);
    running.wait_for("listening on");
    // Names come a little later.
    std::thread::sleep(std::time::Duration::from_secs(1));
    bed.in_ns("a", "ping", &["-c", "2", "-i", "0.01", "10.9.0.3"]);
    // It has a name only as long as no other test's namespace has its address.
    let other = format!("[{}]", bed.name("b"));
    let lines: Vec<String> = printed(running)
        .iter()
        .map(|line| line.replace(&other, ""))
        .collect();
    assert_eq!(lines.len(), 8, "{lines:#?}");
    let (a, r) = (bed.name("a"), bed.name("r"));
    let request = format!("IP 10.9.0.2[{a}] > 10.9.0.3: ICMP echo request");
    let reply = format!("IP 10.9.0.3 > 10.9.0.2[{a}]: ICMP echo reply");
    for (pair, (first, second, what)) in lines.chunks(2).zip(
        [
            (format!("eth0@{a} Out "), format!("va@{r} In  "), &request),
            (format!("va@{r} Out "), format!("eth0@{a} In  "), &reply),
        ]
        .into_iter()
        .cycle(),
    ) {
        assert!(pair[0].starts_with(&format!("{first}{what}")), "{pair:#?}");
        let rest = pair[1]
            .strip_prefix(&second)
            .unwrap_or_else(|| panic!("{pair:#?}"));
        let (time, rest) = rest.split_once(' ').expect("a time");
        let digits = time
            .strip_prefix("(+")
            .and_then(|time| time.strip_suffix("us)"));
        let time: f64 = digits
            .and_then(|digits| digits.parse().ok())
            .expect("a time");
        assert!(time > 0.0 && rest.starts_with(what.as_str()), "{pair:#?}");
    }
}
