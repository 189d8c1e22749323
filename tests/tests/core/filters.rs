//! Filters on this kernel: the translated program, run by the kernel, against the same program run here.

use std::fs;

use netns_trace::{
    filter::{Program, View, translate},
    probe::Verdict,
};
use netns_trace_tests::{
    programs::{Chance, text},
    raw::{self, frame},
    require_root,
    tool::Running,
};

use super::{pair, quiet, read, target};

/// Whether a packet passes, by what is here.
fn passes(program: &Program, data: &[u8], length: u32) -> bool {
    program.accepts(&View {
        data,
        length,
        is_outgoing: false,
        interface: 0,
    })
}

#[test]
fn programs_made_by_chance_run_alike() {
    require_root!();
    let mut chance = Chance::new(2);
    for number in 0..60 {
        let program = chance.program();
        let mut verdict = Verdict::load(&translate(&program).expect("translated"))
            .unwrap_or_else(|why| panic!("program {number}: {why}\n{program}"));
        for _ in 0..20 {
            let length = 34 + chance.below(100);
            let mut data: Vec<u8> = (0..length).map(|_| chance.below(256) as u8).collect();
            data[12..14].copy_from_slice(&[8, 0]);
            let expected = passes(&program, &data, length);
            let told = verdict.passes(&data).expect("a verdict");
            assert_eq!(told, expected, "program {number}:\n{program}{data:?}");
        }
    }
}

/// As `tcpdump -ddd` has them: `vlan 7`, `ether[10:4] & 0xff = 0x81`, `len > 200 and ether[len - 1] & 1 = 0`.
const COMPILED: [&str; 3] = [
    "7\n40 0 0 12\n21 2 0 33024\n21 1 0 34984\n21 0 2 37120\n40 0 0 14\n84 0 0 4095\n22 0 0 0\n",
    "5\n32 0 0 10\n84 0 0 255\n21 0 1 129\n6 0 0 262144\n6 0 0 0\n",
    "9\n128 0 0 0\n37 0 6 200\n20 0 0 1\n7 0 0 0\n80 0 0 0\n84 0 0 1\n21 0 1 0\n6 0 0 262144\n6 0 0 0\n",
];

#[test]
fn tagged_frames_are_filtered_as_the_file_has_them() {
    require_root!();
    let lab = quiet();
    let (a, b) = pair(&lab);
    let folder = tempfile::tempdir().expect("a folder");
    let mut chance = Chance::new(3);
    let mut programs: Vec<Program> = COMPILED
        .iter()
        .map(|text| Program::parse(text).expect("a program"))
        .collect();
    programs.push(chance.program());
    let all = folder.path().join("all.pcapng");
    let start = |file: &std::path::Path, args: &[&str]| {
        let file = file.to_str().expect("text");
        let target = target(a);
        Running::capture([&[target.as_str(), "--no-latency", "-w", file], args].concat())
    };
    let whole = start(&all, &[]);
    let captures: Vec<_> = (0..)
        .zip(&programs)
        .map(|(number, program)| {
            let code = folder.path().join(format!("{number}.code"));
            fs::write(&code, text(program)).expect("written");
            let file = folder.path().join(format!("{number}.pcapng"));
            let code = code.to_str().expect("text").to_owned();
            let capture = start(&file, &["--filter-bytecode", &code]);
            (program, file, capture)
        })
        .collect();
    let tags = [
        None,
        Some((0x8100, 7)),
        Some((0x88a8, 9)),
        Some((0x8100, 0xe007)),
    ];
    let frames: Vec<Vec<u8>> = (0..200)
        .map(|number: u32| {
            let tag = tags[number as usize % tags.len()];
            frame(tag, number, 60 + (number as usize * 37) % 1400)
        })
        .collect();
    let send = || raw::send("eth0", &frames);
    b.open()
        .expect("the node")
        .run(send)
        .expect("entered")
        .expect("sent");
    assert!(whole.stop().status.success());
    let whole = read(&all);
    assert_eq!(whole.len(), frames.len());
    for (program, file, capture) in captures {
        let done = capture.stop();
        assert!(done.status.success(), "{done:?}");
        let ours: Vec<Vec<u8>> = read(&file).into_iter().map(|packet| packet.data).collect();
        let expected = whole
            .iter()
            .filter(|packet| passes(program, &packet.data, packet.len));
        let expected: Vec<Vec<u8>> = expected.map(|packet| packet.data.clone()).collect();
        assert_eq!(ours, expected, "{program}");
    }
    lab.down().expect("it goes");
}
