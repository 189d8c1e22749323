//! Times between taps are true: nearly every packet is matched, each with itself, and delays that
//! are known come out.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::UdpSocket,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use netns_trace::lab::{Topology, traffic};
use netns_trace_tests::{
    command::ip,
    net::{Net, limit, open, v4},
    require_root,
    timing::{Timing, count, figure, sum_ns},
    tool::{Running, netns_trace, run},
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Switches IPv6 off, whose own packets pass some taps and not others.
fn quiet(net: &Net) {
    for node in net.lab.nodes() {
        let path = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
        open(node)
            .run(|| std::fs::write(path, "1"))
            .expect("entered")
            .expect("off");
    }
}

/// Makes the neighbours that are known by now permanent, so that nobody asks for them again: such
/// packets pass some taps and not others.
fn settle_neighbours(net: &Net) {
    for node in net.lab.nodes() {
        for line in ip(&format!("-n {} -4 neigh show", node.name)).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [address, "dev", device, "lladdr", mac, ..] = words[..] {
                let entry = format!("{address} lladdr {mac} dev {device} nud permanent");
                ip(&format!("-n {} neigh replace {entry}", node.name));
            }
        }
    }
}

/// Sends datagrams as fast as one thread can, to a socket that nobody reads.
fn udp_flood(net: &Net, datagrams: u32) {
    let (a, b) = (net.container(0), net.container(1));
    let sink = open(b)
        .run(|| UdpSocket::bind((v4(b), 0)))
        .expect("entered")
        .expect("a socket");
    let at = sink.local_addr().expect("its address");
    let source = open(a)
        .run(|| UdpSocket::bind("0.0.0.0:0"))
        .expect("entered")
        .expect("a socket");
    source.connect(at).expect("connected");
    for number in 0..datagrams {
        let mut payload = [0; 22];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        source.send(&payload).expect("sent");
    }
}

fn assert_matched(segments: &[Value], what: &str, least: u64) {
    let mut loud = 0;
    for segment in segments.iter().filter(|segment| count(segment) > least) {
        loud += 1;
        let missed = figure(segment, "unmatched") + figure(segment, "overwritten");
        let rate = figure(segment, "count") / (figure(segment, "count") + missed);
        assert!(rate >= 0.999, "{what}: {rate} of {segment}");
    }
    assert!(
        loud >= 4,
        "{what}: veth, bridge, veth and total: {segments:?}"
    );
}

#[test]
fn nearly_every_packet_is_matched() {
    require_root!();
    let net = Net::up(Topology::Bridge);
    let (a, b) = (net.container(0), net.container(1));
    let both = format!("{},{}", net.target(0), net.target(1));
    let timing = Timing::start(&[&both]);
    ip(&format!(
        "netns exec {} ping -q -f -c 5000 {}",
        a.name,
        v4(b)
    ));
    assert_matched(timing.stop().segments(), "a ping flood", 4000);
    let timing = Timing::start(&[&both]);
    udp_flood(&net, 300_000);
    assert_matched(timing.stop().segments(), "a UDP flood", 250_000);
    let timing = Timing::start(&[&both]);
    let tcp =
        traffic::tcp(&open(a), &open(b), v4(b).into(), 300 << 20, limit()).expect("a transfer");
    assert!(tcp.intact);
    assert_matched(timing.stop().segments(), "a TCP transfer", 3000);
}

/// The capture's own file is the witness: times between sightings of one number are the samples.
#[test]
fn samples_are_the_times_between_sightings_of_one_packet() {
    require_root!();
    let net = Net::up(Topology::Bridge);
    // What the kernel sends by itself while the capture ends is timed, and written no more.
    quiet(&net);
    let (a, b) = (net.container(0), net.container(1));
    let file = net.file("both.pcapng");
    let target = net.target(0);
    let args = ["--taps", "inside,veth", "--summary", "json", "-w"];
    let name = file.to_str().expect("a path");
    let all = std::iter::once(target.as_str()).chain(args).chain([name]);
    let capture = Running::capture(all);
    udp_flood(&net, 20_000);
    let exchange = traffic::udp(&open(a), &open(b), v4(b).into(), 3000, 100, limit());
    assert_eq!(exchange.expect("datagrams").returned, 3000);
    let done = capture.stop();
    let summary = netns_trace_tests::summary::of(&done);
    let tshark = Command::new("tshark")
        .args([
            "-r",
            name,
            "-T",
            "fields",
            "-e",
            "frame.interface_id",
            "-e",
            "frame.packet_id",
        ])
        .args([
            "-e",
            "frame.time_epoch",
            "-e",
            "frame.packet_flags_direction",
            "-e",
            "data.data",
        ])
        .output()
        .expect("tshark runs");
    let mut first = std::collections::HashMap::new();
    let mut times: [Vec<f64>; 2] = Default::default();
    for line in String::from_utf8_lossy(&tshark.stdout).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [interface, id, time, _, data] = fields[..] else {
            panic!("{line}")
        };
        let ns: u64 = time.replace('.', "").parse().expect("nanoseconds");
        let sighting = (interface.to_owned(), ns, data.to_owned());
        if let Some((other, earlier, content)) = first.insert(id.to_owned(), sighting) {
            assert_ne!(other, interface, "{line}");
            assert_eq!(content, data, "one id, one packet: {line}");
            // The inside tap is the first interface: from there packets leave.
            times[usize::from(other != "0")].push((ns - earlier) as f64);
        }
    }
    let segments = summary["latency"]["segments"].as_array().expect("segments");
    for (direction, times) in ["out", "in"].into_iter().zip(times) {
        let segment = segments
            .iter()
            .find(|segment| segment["direction"] == direction);
        let segment = segment.expect("a segment");
        assert_eq!(count(segment), times.len() as u64, "{direction}: {segment}");
        assert!(times.len() > 3000, "{direction}: {}", times.len());
        // Wall-clock time may be slewed a little meanwhile.
        let near = |a: f64, b: f64| (a - b).abs() <= b * 0.03 + 3.0;
        let (min, max) = times.iter().fold((f64::MAX, 0.0_f64), |(min, max), ns| {
            (min.min(*ns), max.max(*ns))
        });
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        for (key, exact) in [("min_ns", min), ("mean_ns", mean), ("max_ns", max)] {
            assert!(
                near(figure(segment, key), exact),
                "{direction} {key} {exact}: {segment}"
            );
        }
    }
}

/// A token bucket holds 2000 bytes and fills by 1000 each millisecond: the k-th frame of 1000 bytes
/// sent at once waits (k - 2) ms.
#[test]
fn a_known_delay_comes_out() {
    require_root!();
    const BURSTS: usize = 12;
    const FRAMES: usize = 40;
    let net = Net::up(Topology::Bridge);
    quiet(&net);
    let (a, b) = (net.container(0), net.container(1));
    let sink = open(b)
        .run(|| UdpSocket::bind((v4(b), 0)))
        .expect("entered")
        .expect("a socket");
    let source = open(a)
        .run(|| UdpSocket::bind("0.0.0.0:0"))
        .expect("entered")
        .expect("a socket");
    source
        .connect(sink.local_addr().expect("its address"))
        .expect("connected");
    // The neighbour is known, so that nothing else is in the queue.
    source.send(&[0; 8]).expect("sent");
    ip(&format!(
        "netns exec {} tc qdisc add dev eth0 root tbf rate 8mbit burst 2000 limit 200000",
        a.name
    ));
    let wait_ns = |k: usize| k.saturating_sub(2) as f64 * 1e6;
    let rank = |share: f64| wait_ns((share * FRAMES as f64).ceil() as usize);
    let mean = (1..=FRAMES).map(wait_ns).sum::<f64>() / FRAMES as f64;
    // What is wrong with a measurement, if anything is.
    let measure = || {
        let timing = Timing::start(&[&net.target(0), "--taps", "inside,veth"]);
        for _ in 0..BURSTS {
            std::thread::sleep(Duration::from_millis(100));
            for _ in 0..FRAMES {
                // 14 bytes of Ethernet, 20 of IP, 8 of UDP.
                source.send(&[0; 1000 - 42]).expect("sent");
            }
        }
        std::thread::sleep(Duration::from_millis(60));
        let timed = timing.stop();
        let segment = timed.segment("veth", "out", "/eth0", "");
        assert_eq!(count(segment) as usize, BURSTS * FRAMES, "{segment}");
        let known = [
            ("p50_ns", rank(0.5)),
            ("p90_ns", rank(0.9)),
            ("p99_ns", rank(0.99)),
            ("mean_ns", mean),
        ];
        let is_off = |(key, known): &(&str, f64)| {
            (figure(segment, key) - known).abs() > known * 0.05 + 2000.0
        };
        let off = known.into_iter().find(is_off);
        off.map(|(key, known)| format!("{key} known {known}: {segment}"))
    };
    // A machine with more to do than it can lets the sender or the queue's timer wait: then again.
    let wrong: Vec<String> = std::iter::repeat_with(measure)
        .take(4)
        .map_while(|wrong| wrong)
        .collect();
    assert!(wrong.len() < 4, "{wrong:#?}");
}

#[test]
fn steps_sum_up_to_the_whole_and_fit_into_a_round_trip() {
    require_root!();
    const COUNT: u64 = 1000;
    let net = Net::up(Topology::Nat);
    quiet(&net);
    let (a, outside) = (net.container(0), net.outside());
    let (here, there, at) = (open(a), open(outside), v4(outside).into());
    let send = |count| traffic::udp(&here, &there, at, count, 100, limit()).expect("datagrams");
    send(3);
    settle_neighbours(&net);
    let timing = Timing::start(&[&net.target(0)]);
    let start = Instant::now();
    send(COUNT);
    let round_trip = start.elapsed().as_nanos() as f64 / COUNT as f64;
    let timed = timing.stop();
    let mut means = 0.0;
    for (direction, ends) in [("out", ["/eth0", "/up0"]), ("in", ["/up0", "/eth0"])] {
        let steps: Vec<&Value> = ["veth", "bridge", "route"]
            .into_iter()
            .map(|name| timed.segment(name, direction, "", ""))
            .collect();
        let total = timed.segment("total", direction, ends[0], ends[1]);
        // The datagram that ends the exchange comes on top.
        assert!((COUNT..=COUNT + 1).contains(&count(total)), "{total}");
        for step in &steps {
            assert_eq!(count(step), count(total), "{direction}: {}", timed.report);
        }
        let sum: f64 = steps.iter().map(|step| sum_ns(step)).sum();
        assert!(
            (sum - sum_ns(total)).abs() < 1.0,
            "{direction}: {sum}, {}",
            timed.report
        );
        means += figure(total, "mean_ns");
    }
    assert!(means <= round_trip, "{means} of {round_trip} ns");
}

/// At taps that all share, only the target's packets are timed.
#[test]
fn packets_of_others_are_not_timed() {
    require_root!();
    let net = Net::up(Topology::Nat);
    quiet(&net);
    let timing = Timing::start(&[&net.target(0)]);
    for (number, count) in [(0, 100), (1, 700)] {
        let (here, outside) = (open(net.container(number)), net.outside());
        traffic::udp(
            &here,
            &open(outside),
            v4(outside).into(),
            count,
            100,
            limit(),
        )
        .expect("sent");
    }
    let timed = timing.stop();
    for (name, direction) in [
        ("route", "out"),
        ("route", "in"),
        ("bridge", "in"),
        ("veth", "out"),
    ] {
        let segment = timed.segment(name, direction, "", "");
        assert!((100..120).contains(&count(segment)), "{segment}");
    }
}

#[test]
fn two_namespaces_joined_directly() {
    require_root!();
    let net = Net::up(Topology::Direct);
    quiet(&net);
    let both = format!("{},{}", net.target(0), net.target(1));
    let timing = Timing::start(&[&both]);
    let (a, b) = (net.container(0), net.container(1));
    traffic::udp(&open(a), &open(b), v4(b).into(), 200, 100, limit()).expect("datagrams");
    let timed = timing.stop();
    let (a, b) = (format!("{}/eth0", a.name), format!("{}/eth0", b.name));
    for (from, to) in [(&a, &b), (&b, &a)] {
        let segment = timed.segment("veth", "out", from, to);
        assert!((200..220).contains(&count(segment)), "{segment}");
        assert_eq!(figure(segment, "unmatched"), 0.0, "{segment}");
    }
    assert_eq!(timed.segments().len(), 2, "{}", timed.report);
}

#[test]
fn idle_packets_are_told_apart() {
    require_root!();
    let net = Net::up(Topology::Bridge);
    quiet(&net);
    let timing = Timing::start(&[&net.target(0), "--idle-gap", "30ms"]);
    let ping = |count: &str, interval: &str| {
        let at = v4(net.router());
        ip(&format!(
            "netns exec {} ping -q -c {count} -i {interval} {at}",
            net.container(0).name
        ));
    };
    ping("200", "0.002");
    ping("10", "0.1");
    let timed = timing.stop();
    let segment = timed.segment("veth", "out", "/eth0", "");
    let (busy, idle) = (count(&segment["busy"]), count(&segment["idle"]));
    assert!(
        (8..=14).contains(&idle),
        "ten pings after a pause: {segment}"
    );
    assert!((190..=215).contains(&busy), "{segment}");
}

#[test]
fn nothing_seen_is_said_and_nothing_to_measure_is_refused() {
    require_root!();
    let net = Net::up(Topology::Bridge);
    quiet(&net);
    let done = run(["latency", &net.target(0), "--duration", "200ms"]);
    assert!(done.status.success(), "{done:?}");
    assert!(
        done.stdout
            .contains("No packet passed two taps: nothing was measured."),
        "{done:?}"
    );
    assert!(done.stderr.contains("no uplink tap for eth0@"), "{done:?}");
    assert!(!done.stdout.contains('█'), "{done:?}");
    let done = run(["latency", &net.target(0), "-i", "lo", "--duration", "200ms"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(
        done.stderr.contains("no pair of taps to measure between"),
        "{done:?}"
    );
    let both = format!("{},{}", net.target(0), net.target(1));
    let done = run([
        "latency",
        &both,
        "--max-segments",
        "3",
        "--duration",
        "200ms",
    ]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.stderr.contains("raise --max-segments"), "{done:?}");
    assert_eq!(
        done.stderr
            .lines()
            .filter(|line| line.contains("segments between"))
            .count(),
        1
    );
}

#[test]
fn an_interval_tells_what_came_in_it() {
    require_root!();
    let net = Net::up(Topology::Bridge);
    let mut command = netns_trace(["latency", &net.target(0), "--json", "--interval", "300ms"]);
    command
        .args(["--duration", "1300ms"])
        .stdout(Stdio::piped());
    let mut running = Running::start(command);
    running.wait_for("measuring between");
    let (a, router) = (net.container(0), net.router());
    traffic::udp(
        &open(a),
        &open(router),
        v4(router).into(),
        500,
        100,
        limit(),
    )
    .expect("datagrams");
    let done = running.wait();
    assert!(done.status.success(), "{done:?}");
    let reports: Vec<Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(reports.len(), 5, "four intervals and the whole: {done:?}");
    let counts: Vec<u64> = reports
        .iter()
        .map(|report| count(&report["segments"][0]))
        .collect();
    let (whole, intervals) = counts.split_last().expect("reports");
    assert!(
        intervals.iter().sum::<u64>() <= *whole && *whole >= 500,
        "{counts:?}"
    );
}

/// Another tool times the same packets between the same places: from where the driver takes them
/// over to where the other side receives them, which lies within our two taps.
#[test]
fn an_independent_tracer_agrees() {
    require_root!();
    let net = Net::up(Topology::Bridge);
    quiet(&net);
    let (a, router) = (net.container(0), net.router());
    let veth = net.veth(0);
    // Both are cut to what the kernel prints of a name.
    let program = format!(
        "tracepoint:net:net_dev_start_xmit /str(args->name) == \"eth0\"/ {{ @at[args->skbaddr] = nsecs; }} \
         tracepoint:net:netif_receive_skb /str(args->name) == \"{veth}\" && @at[args->skbaddr]/ \
         {{ @ns = lhist((nsecs - @at[args->skbaddr]), 0, 20000, 50); delete(@at[args->skbaddr]); }} \
         BEGIN {{ printf(\"tracing\\n\"); }} END {{ clear(@at); }}"
    );
    let mut command = Command::new("unshare");
    // The tracer needs a file system that need not be mounted on the machine.
    command
        .args(["--mount", "sh", "-c"])
        .arg(
            "cd /sys/kernel/tracing; [ -e README ] || mount -t tracefs none .; exec bpftrace -e \"$0\"",
        )
        .arg(&program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut tracer = Running::start(command);
    // It says so on stdout once it traces.
    let mut stdout = BufReader::new(tracer.child().stdout.take().expect("its stdout"));
    let mut said = String::new();
    while !said.contains("tracing") {
        let len = stdout.read_line(&mut said).expect("what it prints");
        assert!(len > 0, "bpftrace ended: {said}{:?}", tracer.wait());
    }
    let timing = Timing::start(&[&net.target(0), "--taps", "inside,veth"]);
    ip(&format!(
        "netns exec {} ping -q -f -c 3000 {}",
        a.name,
        v4(router)
    ));
    let timed = timing.stop();
    tracer.signal(Signal::SIGINT);
    stdout.read_to_string(&mut said).expect("its histogram");
    drop(tracer.wait());
    let segment = timed.segment("veth", "out", "/eth0", "");
    let ours = figure(segment, "p50_ns");
    let theirs = median(&said);
    let cost = figure(&timed.report, "probe_cost_ns");
    // What lies between our taps and theirs: our own second half, and both ends of the tracer's
    // work, some hundred nanoseconds each.
    let apart = ours - theirs;
    println!("ours {ours} ns, theirs {theirs} ns, one of our taps costs {cost} ns");
    assert!(
        apart > -100.0 && apart < cost + 2000.0,
        "ours {ours}, theirs {theirs}: {}",
        said
    );
}

/// The median of the one linear histogram that bpftrace printed: `[600, 650)  123 |@@@ |`.
fn median(text: &str) -> f64 {
    let rows: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| {
            let (bounds, rest) = line.strip_prefix('[')?.split_once(')')?;
            let number = |text: &str| -> Option<f64> {
                let text = text.trim();
                match text.strip_suffix('K') {
                    Some(thousands) => Some(thousands.parse::<f64>().ok()? * 1024.0),
                    None => text.parse().ok(),
                }
            };
            let start = number(bounds.split(',').next()?)?;
            Some((start, rest.split_whitespace().next()?.parse().ok()?))
        })
        .collect();
    let all: f64 = rows.iter().map(|(_, count)| count).sum();
    assert!(all > 2000.0, "the tracer saw the packets: {text}");
    let mut passed = 0.0;
    for (start, count) in rows {
        passed += count;
        if passed >= all / 2.0 {
            return start + 25.0;
        }
    }
    panic!("no median in {text}");
}
