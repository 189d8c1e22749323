//! Side by side: with many of our own, with tcpdump, with programs of others, and with Docker at work.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use netns_trace_tests::{
    bed::Bed,
    classifier::{Classifier, NEXT, Place},
    kernel,
    long::times,
    packets,
    raw::frame,
    require_kernel, require_root,
    runtimes::{Docker, Engine as _},
    summary::{self, assert_balanced, assert_lossless},
    tcx,
    timing::Timing,
    tool::{Running, Witness, netns_trace},
};

/// Ten captures of one target, of both kinds, a measurement, one that prints, a tcpdump, and programs of
/// others ahead and behind: each sees every packet once.
#[test]
fn ten_captures_tcpdump_and_others_programs_see_the_same() {
    require_root!();
    require_kernel!(kernel::TCX);
    const FRAMES: u64 = 2000;
    let bed = Bed::quiet();
    let target = bed.target("a");
    let attach = |place| {
        let attached = bed
            .open("a")
            .run(|| Classifier::attach("eth0", tcx::HOOKS[1], place, NEXT));
        attached.expect("entered").expect("attached")
    };
    let early = attach(Place::Tail);
    let methods = kernel::methods();
    let files: Vec<PathBuf> = (0..10).map(|n| bed.file(&format!("{n}.pcapng"))).collect();
    let captures: Vec<Running> = files
        .iter()
        .enumerate()
        .map(|(n, file)| {
            let method = methods[n % methods.len()];
            // Times at the host side come with clsact qdiscs of their own there, and each new one
            // makes the kernel drop packets.
            let latency: &[&str] = if method == "tcx" {
                &[]
            } else {
                &["--no-latency"]
            };
            let file = file.to_str().expect("a path");
            let args = [&target, "--attach", method, "--summary", "json", "-w", file];
            Running::capture(args.iter().copied().chain(latency.iter().copied()))
        })
        .collect();
    let mut command = netns_trace(["capture", &target, "-c", "50", "--no-latency"]);
    let printed = bed.file("printed");
    command.stdout(File::create(&printed).expect("a file"));
    let mut text = Running::start(command);
    text.wait_for("listening on");
    let timing = Timing::start(&[&target]);
    let (head, tail) = (attach(Place::Head), attach(Place::Tail));
    let witness = Witness::start(&bed.path("a"), "eth0", "out", bed.file("witness.pcap"));
    let frames: Vec<Vec<u8>> = (0..FRAMES).map(|n| frame(None, n as u32, 500)).collect();
    for some in frames.chunks(100) {
        bed.send_frames("a", "eth0", some);
    }
    let seen: Vec<Vec<u8>> = witness
        .all()
        .into_iter()
        .map(|packet| packet.data)
        .collect();
    assert_eq!(seen, frames, "tcpdump");
    assert!(text.wait().status.success());
    let printed = fs::read_to_string(printed).expect("text");
    // What is no known protocol is printed in bytes, too, on lines of their own.
    let lines = printed.lines().filter(|line| !line.starts_with('\t'));
    assert_eq!(lines.count(), 50, "{printed}");
    let timed = timing.stop();
    let segment = timed.segment("veth", "out", "/eth0", "/va");
    assert_eq!(summary::number(&segment["count"]), FRAMES, "{segment}");
    for (n, (capture, file)) in captures.into_iter().zip(&files).enumerate() {
        let done = capture.stop();
        assert!(done.status.success(), "{n}: {done:?}");
        let summary = summary::of(&done);
        assert_balanced(&summary);
        assert_lossless(&summary);
        let got: Vec<Vec<u8>> = packets::read(file)
            .into_iter()
            .map(|packet| packet.data)
            .collect();
        assert!(got == frames, "{n}: {} packets of {FRAMES}", got.len());
    }
    for (place, program) in [("ahead", &head), ("first", &early), ("behind", &tail)] {
        assert_eq!(program.count(), FRAMES, "{place}");
    }
}

/// A capture of one container while others come and go beside it.
#[test]
fn docker_makes_and_removes_containers_meanwhile() {
    require_root!();
    let count = times(8, 100);
    let Some(docker) = Docker::private() else {
        return;
    };
    let machine = docker.machine();
    docker.run("web", &[], &["sleep", "2147483647"]);
    let file = machine.folder().join("web.pcapng");
    let words = format!("--summary json docker:web -w {}", file.display());
    let capture = machine.capture(&words, "listening on eth0@web");
    let mut pings = 0;
    for n in 0..count {
        let name = format!("other{n}");
        docker.run(&name, &[], &["sleep", "2147483647"]);
        let ping = [
            "exec",
            "web",
            "ping",
            "-q",
            "-c",
            "5",
            "-i",
            "0.01",
            "10.201.0.1",
        ];
        docker.cli(&ping);
        pings += 5;
        docker.cli(&["rm", "-f", &name]);
    }
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    let summary = summary::of(&done);
    assert_balanced(&summary);
    assert_lossless(&summary);
    let echoes = packets::icmp(packets::read(&file)).len();
    assert_eq!(echoes, 2 * pings, "{summary}");
}
