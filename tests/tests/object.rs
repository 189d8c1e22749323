//! The committed object loads on this kernel, specialised in every way that a capture asks for,
//! and its programs let every packet go on.

use std::{
    io,
    os::fd::{AsRawFd as _, RawFd},
};

use netns_trace::probe::{Hook, Probe, ProbeOptions, TapConfig, test_run};
use netns_trace_ebpf::{
    HookCounters, MAX_SNAPLEN, Pair, RecordHeader, feature, hook_index, pair_index,
};
use netns_trace_tests::require_root;

const TCX_NEXT: i32 = -1;
const LENGTHS: [usize; 4] = [14, 15, 60, 1514];
/// Runs of each program for each length.
const RUNS: u32 = 3;

/// Bits of one hook, in every combination that a capture's plan gives a hook.
fn combinations() -> Vec<u32> {
    let mut all = Vec::new();
    let socket = feature::EMIT | feature::SOCKET;
    for output in [0, feature::EMIT, feature::EMIT | feature::LIMIT, socket] {
        let timed = feature::IDENTIFY | feature::LATENCY;
        for identify in [
            0,
            feature::IDENTIFY | feature::NUMBER,
            timed | feature::EXPECT | feature::NUMBER,
            timed | feature::ORIGIN,
            timed | feature::EXPECT | feature::END | feature::LAST,
        ] {
            for raw in [0, feature::RAW] {
                for owner in [
                    feature::SHARED,
                    feature::SHARED | feature::DECIDED,
                    feature::TARGET,
                    feature::TARGET | feature::TELL,
                ] {
                    // Only a shared tap is told anything, and then the output's end is not the
                    // kernel side's to see.
                    let told = feature::TARGET | feature::TELL | feature::LIMIT;
                    let bits = output | identify | raw | owner;
                    if bits & told != told {
                        all.push(bits);
                    }
                }
            }
        }
    }
    all
}

/// The programs that this process has loaded, ingress first: its descriptors tell.
fn programs() -> Vec<RawFd> {
    let mut found: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .expect("own descriptors")
        .flatten()
        .filter(|entry| {
            let target = std::fs::read_link(entry.path());
            target.is_ok_and(|target| target.to_string_lossy() == "anon_inode:bpf-prog")
        })
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect();
    found.sort_unstable();
    found
}

/// Packets of a length, of each kind that is looked into.
fn packets(len: usize) -> impl Iterator<Item = Vec<u8>> {
    [0x0800_u16, 0x0806, 0x86dd, 0x88b5]
        .into_iter()
        .map(move |kind| {
            let mut packet = vec![0x02; 12];
            packet.extend(kind.to_be_bytes());
            packet.push(0x45);
            packet.resize(packet.len().max(len), 6);
            packet.truncate(len);
            packet
        })
}

/// Each hook is its own neighbour, as it finds the packet of the run before.
fn pairs(taps: u32) -> std::collections::BTreeMap<u32, Pair> {
    let hooks = hook_index(taps, 0);
    let itself = |hook| {
        (
            pair_index(hook, hook, hooks),
            Pair {
                segment: 1,
                total: 2,
            },
        )
    };
    (0..hooks).map(itself).collect()
}

fn options(ring_bytes: u32, taps: usize, verbose: bool) -> ProbeOptions {
    ProbeOptions {
        ring_bytes,
        taps: taps as u32,
        segments: 2,
        pairs: pairs(taps as u32),
        makers: false,
        verbose,
    }
}

/// Loads every combination, runs it, and accounts for each packet; there is room for all records,
/// or for few.
fn every_combination(snaplen: u32, ring_bytes: u32, verbose: bool, step: usize) {
    let combinations: Vec<u32> = combinations().into_iter().step_by(step).collect();
    let hooks = hook_index(combinations.len() as u32, 0);
    let mut probe = Probe::new(options(ring_bytes, combinations.len(), verbose)).expect("a probe");
    let mut maps = None;
    for (tap, bits) in combinations.into_iter().enumerate() {
        let what = format!("tap {tap}, features {bits:#x}, snaplen {snaplen}, ring {ring_bytes}");
        let others = programs();
        let loaded = probe.load(
            TapConfig {
                limit: 5,
                tap: tap as u32,
                snaplen,
                features: [bits; 2],
                hooks,
                idle_gap_ns: 1_000_000,
                ..TapConfig::default()
            },
            None,
        );
        let loaded = loaded.unwrap_or_else(|why| panic!("{what}: {why}"));
        let maps = maps
            .get_or_insert_with(|| probe.take_maps().expect("the maps").open().expect("mapped"));
        let mut programs = programs();
        programs.retain(|program| !others.contains(program));
        assert_eq!(programs.len(), 2, "{what}: two programs");
        let mut runs = 0;
        for len in LENGTHS {
            for packet in packets(len) {
                for program in &programs {
                    match test_run(*program, &packet, RUNS) {
                        Ok((returned, _)) => {
                            assert_eq!(returned, TCX_NEXT, "{what}: a packet of {len} bytes");
                            runs += u64::from(RUNS);
                        }
                        // Kernels run none without a byte behind the header, and none of IP
                        // without the whole IP header.
                        Err(why) => {
                            let kind = u16::from_be_bytes([packet[12], packet[13]]);
                            let is_short = len == 14 || (len == 15 && kind != 0x88b5);
                            assert!(
                                is_short && why.raw_os_error() == Some(libc::EINVAL),
                                "{what}: {len} bytes, type {kind:#x}: {why}"
                            );
                        }
                    }
                }
            }
        }
        let mut records = 0;
        while let Some(record) = maps.ring.take() {
            let (header, data) = RecordHeader::split(record).expect("a record");
            if header.flags & netns_trace_ebpf::record::SIGHTING != 0 {
                continue;
            }
            records += 1;
            assert_eq!(usize::from(header.tap), tap, "{what}: {header:?}");
            assert_eq!(
                data.len() as u32,
                header.len.min(snaplen),
                "{what}: {header:?}"
            );
            let identified = bits & feature::NUMBER != 0;
            assert_eq!(header.packet_id != 0, identified, "{what}: {header:?}");
        }
        let mut seen = 0;
        let mut recorded = 0;
        for hook in Hook::BOTH {
            let counters = maps.counters(tap as u32, hook).expect("counters");
            assert_accounted(&counters, bits, &format!("{what}, {hook}"));
            seen += counters.seen;
            recorded += counters.recorded;
        }
        assert_eq!((seen, recorded), (runs, records), "{what}: seen, recorded");
        drop(loaded);
    }
}

fn assert_accounted(counters: &HookCounters, bits: u32, what: &str) {
    assert_eq!(
        counters.seen,
        counters.received + counters.foreign,
        "{what}: {counters:?}"
    );
    let became = counters.recorded + counters.ring_full + counters.copy_failed + counters.discarded;
    let emits = bits & feature::EMIT != 0;
    let expected = if emits { counters.received } else { 0 };
    assert_eq!(became, expected, "{what}: {counters:?}");
    assert_eq!(counters.copy_failed, 0, "{what}: {counters:?}");
    if bits & feature::SHARED == 0 {
        assert_eq!(counters.foreign, 0, "{what}: {counters:?}");
    }
}

/// One test, since a process's descriptors tell only what it has loaded, not which test did.
#[test]
fn every_specialisation_loads_and_lets_every_packet_go_on() {
    require_root!();
    every_combination(MAX_SNAPLEN, 1 << 20, false, 1);
    // What else differs is the same for all: some will do. The steps share no factor with the
    // number of variants, so that each of them comes up.
    every_combination(1, 1 << 20, false, 7);
    every_combination(96, 1 << 20, false, 7);
    every_combination(MAX_SNAPLEN, 4096, false, 7);
    every_combination(96, 4096, true, 7);
    who_makes_sockets_is_seen();
}

/// The program at the control groups' root: its map is full-sized with it alone.
fn who_makes_sockets_is_seen() {
    let options = ProbeOptions {
        makers: true,
        ..options(4096, 1, false)
    };
    let mut probe = Probe::new(options).expect("a probe");
    let loaded = probe.load(TapConfig::default(), None).expect("it loads");
    let maps = probe.take_maps().expect("the maps").open().expect("mapped");
    let makers = maps.makers.as_ref().expect("attached");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut cookie = 0_u64;
    let mut len = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: an open socket, and a buffer with its length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    let maker = makers.of(cookie).expect("it is noted");
    assert_eq!(maker.pid, std::process::id());
    drop(loaded);
}
