//! Which interfaces a capture watches, however the target is named and whatever it has, and which
//! of its packets.

use std::{
    path::Path,
    process::{Child, Stdio},
};

use netns_trace_tests::{
    bed::{Bed, must},
    kernel,
    packets::{self, Packet, assert_same},
    raw::frame,
    require_root, sightings, summary,
    tool::{Done, Running, Witness, run},
};

const FROM: u32 = 0x2000_0001;
const TO: u32 = 0x2000_0002;

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn start(target: &str, args: &[&str], file: &Path) -> Running {
    let mut all = vec![target, "-w", text(file)];
    all.extend(args);
    Running::capture(all)
}

fn stop(capture: Running) -> Done {
    let done = capture.stop();
    assert!(done.status.success(), "{done:?}");
    assert!(
        done.stderr.contains("dropped\":0") || done.stderr.contains("\n0 packets dropped by"),
        "{done:?}"
    );
    done
}

fn is_icmp(packet: &Packet) -> bool {
    packet.data.get(12..14) == Some(&[8, 0]) && packet.data.get(23) == Some(&1)
}

/// A process in a namespace, and a mount, which go with their values.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        must("umount", &[text(self.0)]);
    }
}

/// pid:N, inode:N, a path and a mount elsewhere lead to the same packets.
#[test]
fn each_way_to_name_a_target_gives_the_same_packets() {
    require_root!();
    let bed = Bed::quiet();
    let mut sleeper = bed.command("a", "sleep");
    let sleeper = sleeper.arg("600").stdout(Stdio::null()).spawn();
    let sleeper = Process(sleeper.expect("sleep starts"));
    let elsewhere = bed.file("mounted");
    std::fs::write(&elsewhere, "").expect("written");
    must("mount", &["--bind", text(&bed.path("a")), text(&elsewhere)]);
    let _mount = Mount(&elsewhere);
    let inode = bed.open("a").inode();
    let process_path = format!("/proc/{}/ns/net", sleeper.0.id());
    // nsenter has entered before it becomes sleep.
    let entered = || {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(&process_path).expect("it runs").ino() == inode
    };
    for _ in 0..2000 {
        if entered() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(entered(), "{process_path} leads to another namespace");
    let targets = [
        bed.target("a"),
        format!("pid:{}", sleeper.0.id()),
        format!("inode:{inode}"),
        text(&bed.path("a")).to_owned(),
        text(&elsewhere).to_owned(),
        process_path.clone(),
    ];
    let witness = Witness::start(&bed.path("a"), "eth0", "inout", bed.file("theirs.pcap"));
    let captures: Vec<_> = targets
        .iter()
        .enumerate()
        .map(|(number, target)| {
            let file = bed.file(&format!("{number}.pcapng"));
            (target, start(target, &[], &file), file)
        })
        .collect();
    bed.send_frames("a", "eth0", &[frame(None, FROM, 60)]);
    bed.in_ns("a", "ping", &["-c", "20", "-i", "0.005", "10.9.0.3"]);
    bed.send_frames("a", "eth0", &[frame(None, TO, 60)]);
    let theirs = witness.between(FROM, TO);
    assert!(theirs.len() >= 40, "{}", theirs.len());
    for (target, capture, file) in captures {
        let done = stop(capture);
        // Named or found: its name in /run/netns is what people know it by.
        let label = format!("listening on eth0@{},", bed.name("a"));
        assert!(done.stderr.contains(&label), "{target}: {done:?}");
        let ours = packets::between(&packets::read(&file), FROM, TO).expect("both markers");
        assert_same(&ours, &theirs, target);
    }
}

/// At the host side, `-Q` is the interface's own direction, and JSON's the target's.
#[test]
fn direction_at_the_veth_is_the_interfaces() {
    require_root!();
    let bed = Bed::quiet();
    bed.in_ns("a", "ping", &["-c", "1", "10.9.0.3"]);
    for (way, of_target, from) in [("in", "out", 2), ("out", "in", 3)] {
        let witness = Witness::start(&bed.path("r"), "va", way, bed.file("theirs.pcap"));
        let file = bed.file("ours.pcapng");
        let args = ["--taps", "veth", "-Q", way, "--summary", "json"];
        let capture = start(&bed.target("a"), &args, &file);
        bed.in_ns("a", "ping", &["-c", "10", "-i", "0.005", "10.9.0.3"]);
        let done = stop(capture);
        let summary = summary::of(&done);
        summary::assert_balanced(&summary);
        let directions: Vec<_> = summary::taps(&summary)
            .iter()
            .map(|tap| (&tap["ifname"], &tap["direction"]))
            .collect();
        assert_eq!(directions, [(&"va".into(), &of_target.into())], "-Q {way}");
        let seen = sightings::read(&file);
        assert!(
            seen.iter().all(|seen| seen.egress == (way == "out")),
            "-Q {way}: {seen:?}"
        );
        let ours: Vec<Packet> = packets::read(&file).into_iter().filter(is_icmp).collect();
        let theirs: Vec<Packet> = witness.all().into_iter().filter(is_icmp).collect();
        assert_eq!(ours.len(), 10);
        assert_same(&ours, &theirs, &format!("va, -Q {way}"));
        assert!(
            ours.iter().all(|packet| packet.data[29] == from),
            "packets of 10.9.0.{from}: {ours:?}"
        );
    }
}

/// Loopback shows each packet once, as it comes in; going out, there is nothing to show.
#[test]
fn direction_on_loopback() {
    require_root!();
    let mut bed = Bed::empty();
    bed.add_namespace("l");
    for args in [&["-Q", "in"][..], &["-Q", "inout"], &["--taps", "all"]] {
        let file = bed.file("lo.pcapng");
        let mut all = vec!["-i", "lo"];
        all.extend(args);
        let capture = start(&bed.target("l"), &all, &file);
        bed.in_ns("l", "ping", &["-c", "5", "-i", "0.01", "127.0.0.1"]);
        let done = stop(capture);
        assert_eq!(packets::read(&file).len(), 10, "{args:?}: {done:?}");
    }
    let target = bed.target("l");
    let done = run(["capture", &target, "-i", "lo", "-Q", "out"]);
    assert!(!done.status.success(), "{done:?}");
    assert!(done.stderr.contains("-Q out would show none"), "{done:?}");
    // Its only interface is taken only when it is named.
    let done = run(["capture", target.as_str()]);
    assert!(!done.status.success(), "{done:?}");
    assert!(done.stderr.contains("pass -i lo"), "{done:?}");
}

/// Captures all taps of a target without a host side: what there is is captured, and what there is
/// not is said.
fn without_a_host_side(bed: &Bed, interface: &str, kind: &str, traffic: impl FnOnce()) -> usize {
    let file = bed.file(&format!("{interface}.pcapng"));
    let args = ["-i", interface, "--taps", "all"];
    let capture = start(&bed.target("t"), &args, &file);
    traffic();
    let done = stop(capture);
    for missing in [
        format!(
            "no veth tap for {interface}@{}: {interface} is {kind}",
            bed.name("t")
        ),
        format!("no bridge tap for {interface}@"),
        format!("no uplink tap for {interface}@"),
    ] {
        assert!(done.stderr.contains(&missing), "{missing:?} in {done:?}");
    }
    packets::read(&file).len()
}

#[test]
fn without_a_veth_the_taps_that_exist_are_captured() {
    require_root!();
    let mut bed = Bed::empty();
    bed.add_namespace("t");
    bed.in_ns("t", "ip", &["tuntap", "add", "tun0", "mode", "tun"]);
    let reader = bed
        .open("t")
        .run(|| netns_trace_tests::raw::open_tun("tun0"));
    let _reader = reader.expect("entered").expect("opened");
    bed.in_ns("t", "ip", &["addr", "add", "10.77.0.1/24", "dev", "tun0"]);
    bed.in_ns("t", "ip", &["link", "set", "tun0", "up"]);
    let seen = without_a_host_side(&bed, "tun0", "a tun device", || {
        let ping = ["-c", "3", "-i", "0.05", "-W", "1", "10.77.0.9"];
        let status = bed
            .command("t", "ping")
            .args(ping)
            .stdout(Stdio::null())
            .status();
        assert!(status.is_ok(), "ping runs; nobody answers");
    });
    assert!(seen >= 3, "{seen}");
    let seen = without_a_host_side(&bed, "lo", "the loopback device", || {
        bed.in_ns("t", "ping", &["-c", "3", "-i", "0.01", "127.0.0.1"]);
    });
    assert_eq!(seen, 6);
    // Where there is nothing at all, there is nothing to do.
    let target = bed.target("t");
    let done = run(["capture", &target, "-i", "lo", "--taps", "veth,bridge"]);
    assert!(!done.status.success(), "{done:?}");
    assert!(done.stderr.contains("nothing to capture"), "{done:?}");
}

#[test]
fn a_macvlan_device_has_no_host_side() {
    require_root!();
    let mut bed = Bed::quiet();
    bed.add_namespace("t");
    let made = bed
        .command("a", "ip")
        .args([
            "link",
            "add",
            "mv0",
            "link",
            "eth0",
            "netns",
            &bed.name("t"),
        ])
        .args(["type", "macvlan", "mode", "bridge"])
        .output()
        .expect("ip runs");
    let said = String::from_utf8_lossy(&made.stderr);
    if said.contains("Unknown device type") {
        kernel::skip("macvlan");
        return;
    }
    assert!(made.status.success(), "{said}");
    bed.in_ns("t", "ip", &["addr", "add", "10.9.0.7/24", "dev", "mv0"]);
    bed.in_ns("t", "ip", &["link", "set", "mv0", "up"]);
    let seen = without_a_host_side(&bed, "mv0", "a macvlan device", || {
        bed.in_ns("t", "ping", &["-c", "5", "-i", "0.01", "10.9.0.3"]);
    });
    assert!(seen >= 10, "{seen}");
}

/// A capture of shared taps ends with its target, though the bridge stays.
#[test]
fn the_end_of_the_target_ends_a_capture_of_shared_taps() {
    require_root!();
    for taps in ["all", "bridge"] {
        let mut bed = Bed::quiet();
        let file = bed.file("gone.pcapng");
        let capture = start(&bed.target("a"), &["--taps", taps], &file);
        bed.in_ns("a", "ping", &["-c", "3", "-i", "0.01", "10.9.0.1"]);
        bed.remove("a");
        let done = capture.wait();
        assert!(done.status.success(), "--taps {taps}: {done:?}");
        let count = packets::read(&file).into_iter().filter(is_icmp).count();
        let taps_passed = if taps == "all" { 3 } else { 1 };
        assert_eq!(count, 6 * taps_passed, "--taps {taps}: {done:?}");
    }
}
