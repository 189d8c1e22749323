//! Packets that could be taken for another process's: the kernel's own, and those of ports that change hands.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpStream, UdpSocket},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use netns_trace_tests::{
    bed::Bed,
    patience::patience,
    processes::{end, inside, text, with},
};

const A: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// Flags of TCP.
const SYN: u8 = 2;
const ACK: u8 = 16;

#[test]
fn an_echo_from_outside_is_nobody_s_whatever_its_identifier() {
    let bed = Bed::quiet();
    let running = text(&bed, &[]);
    bed.in_ns("a", "ping", &["-c", "1", "-e", "77", "10.9.0.1"]);
    for identifier in ["77", "78"] {
        bed.in_ns(
            "r",
            "ping",
            &["-c", "2", "-i", "0.2", "-e", identifier, "10.9.0.2"],
        );
    }
    let (lines, _) = end(running);
    assert_eq!(with(&lines, "ICMP echo").len(), 10, "{lines:#?}");
    assert_eq!(with(&lines, "[ping ").len(), 2, "{lines:#?}");
}

#[test]
fn the_kernel_s_resets_are_nobody_s_but_in_a_process_s_connection() {
    const ROUNDS: usize = 8;
    let bed = Bed::quiet();
    let running = text(&bed, &[]);
    // It is refused, and its socket is gone.
    let refused = "TCP4:10.9.0.1:4011,sourceport=4012";
    let mut client = start(&bed, &["-u", "/dev/null", refused]);
    let pid = client.id();
    client.wait().expect("its end");
    // What comes then is reset: once for a process's connection, once where nobody listens.
    let known = segment(&bed, 4011, 4012, ACK);
    let unknown = segment(&bed, 4011, 4013, SYN);
    bed.send_frames("r", "br0", &vec![[known, unknown]; ROUNDS].concat());
    let (lines, _) = end(running);
    let told = with(&lines, &format!("[socat {pid}] IP "));
    assert_eq!(told.len(), 2 + 2 * ROUNDS, "{lines:#?}");
    assert!(told.iter().all(|line| line.contains("10.9.0.2.4012")));
    let nobody = with(&lines, "10.9.0.2.4013");
    assert_eq!(nobody.len(), 2 * ROUNDS, "{lines:#?}");
    for line in nobody {
        assert!(line.starts_with("IP "), "{line}");
    }
}

#[test]
fn a_server_that_was_started_again_is_told_and_not_the_one_before() {
    for (protocol, port) in [("TCP4", 4014), ("UDP4", 4015)] {
        let bed = Bed::quiet();
        let running = text(&bed, &[]);
        let mut pids = Vec::new();
        for _ in 0..2 {
            let address = if protocol == "TCP4" {
                format!("TCP4-LISTEN:{port},fork,reuseaddr")
            } else {
                format!("UDP4-RECVFROM:{port},fork,reuseaddr")
            };
            let mut server = start(&bed, &[&address, "EXEC:cat"]);
            wait_for_socket(server.id(), protocol, port);
            pids.push(server.id());
            // Sockets are looked at anew after some time only.
            for _ in 0..25 {
                ask(&bed, protocol, port);
                thread::sleep(Duration::from_millis(100));
            }
            server.kill().expect("killed");
            server.wait().expect("its end");
        }
        let (lines, _) = end(running);
        let comes = format!("> 10.9.0.2.{port}: ");
        let opens: Vec<_> = (with(&lines, &comes).into_iter())
            .filter(|line| protocol == "UDP4" || line.contains("Flags [S]"))
            .collect();
        assert!(opens.len() >= 50, "{lines:#?}");
        let (first, second) = opens.split_at(opens.len() / 2);
        for (lines, own, other) in [(first, pids[0], pids[1]), (second, pids[1], pids[0])] {
            let own = format!("[socat {own}] IP ");
            assert!(
                lines.last().is_some_and(|line| line.starts_with(&own)),
                "{own} {lines:#?}"
            );
            let other = format!(" {other}] IP ");
            assert!(
                lines.iter().all(|line| !line.contains(&other)),
                "{other} {lines:#?}"
            );
        }
    }
}

#[test]
fn an_accepted_connection_is_told_by_who_has_it_once_that_was_looked_at() {
    let bed = Bed::quiet();
    let running = text(&bed, &[]);
    let mut server = start(&bed, &["TCP4-LISTEN:4016,fork", "EXEC:cat"]);
    let listener = server.id();
    wait_for_socket(listener, "TCP4", 4016);
    let children = || {
        let children = format!("/proc/{listener}/task/{listener}/children");
        let children = fs::read_to_string(children).expect("its children");
        children.split_whitespace().map(str::to_owned).collect()
    };
    // The listener is known before the connection.
    for _ in 0..10 {
        ask(&bed, "TCP4", 4016);
        thread::sleep(Duration::from_millis(100));
    }
    wait_for("the end of all children", || {
        let children: Vec<String> = children();
        children.is_empty().then_some(())
    });
    let mut stream = inside(&bed, "r", || {
        TcpStream::connect((A, 4016)).expect("connected")
    });
    let child = wait_for("the child that has the connection", || children().pop());
    for _ in 0..50 {
        stream.write_all(b"still here").expect("sent");
        thread::sleep(Duration::from_millis(100));
    }
    let (lines, _) = end(running);
    drop(stream);
    server.kill().expect("killed");
    server.wait().expect("its end");
    let last = lines.last().expect("a line");
    assert!(
        last.starts_with(&format!("[socat {child}] IP ")),
        "{child} {lines:#?}"
    );
}

/// socat in `a`.
fn start(bed: &Bed, args: &[&str]) -> Child {
    // nsenter becomes it.
    let mut command: Command = bed.command("a", "socat");
    command.args(args).spawn().expect("socat starts")
}

/// Waits until the namespace of a process has a socket that is bound to a port and not connected.
fn wait_for_socket(pid: u32, protocol: &str, port: u16) {
    let (table, state) = match protocol {
        "TCP4" => ("tcp", "0A"),
        _ => ("udp", "07"),
    };
    let bound = format!("00000000:{port:04X} 00000000:0000 {state} ");
    wait_for("the server's socket", || {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()?;
        table.contains(&bound).then_some(())
    });
}

fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < end, "{what} is missing");
        thread::sleep(Duration::from_millis(10));
    }
}

/// From the router, for UDP from one port always.
fn ask(bed: &Bed, protocol: &str, port: u16) {
    inside(bed, "r", || {
        if protocol == "TCP4" {
            drop(TcpStream::connect((A, port)).expect("connected"));
        } else {
            let socket = UdpSocket::bind((ROUTER, 4017)).expect("a socket");
            socket.send_to(b"ask", (A, port)).expect("sent");
        }
    });
}

/// A frame with a TCP segment from the router to `a`.
fn segment(bed: &Bed, from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mac = |ns: &str, interface: &str| -> Vec<u8> {
        let link = bed.link(ns, interface);
        let text = link["address"].as_str().expect("an address");
        let byte = |hex| u8::from_str_radix(hex, 16).expect("a byte");
        text.split(':').map(byte).collect()
    };
    let mut tcp = Vec::new();
    tcp.extend(from.to_be_bytes());
    tcp.extend(to.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    let pseudo = [&ROUTER.octets()[..], &A.octets(), &[0, 6, 0, 20]].concat();
    let sum = checksum(&[pseudo, tcp.clone()].concat());
    tcp[16..18].copy_from_slice(&sum);
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    ip.extend(ROUTER.octets());
    ip.extend(A.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    [mac("a", "eth0"), mac("r", "br0"), vec![0x08, 0], ip, tcp].concat()
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    (!((sum >> 16) + sum) as u16).to_be_bytes()
}
