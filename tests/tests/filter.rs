//! Filters: what the kernel side takes is what `tcpdump -r FILE EXPRESSION` takes, packet by packet.

use netns_trace::{
    filter::{BadProgram, Filter, FilterError, Program, View, translate},
    probe::Verdict,
};
use netns_trace_tests::{
    corpus::{self, Numbered, Stored},
    expressions,
    programs::Chance,
    require_root,
};

/// Most of a packet that the kernel takes to run a program on; it refuses some short ones as well.
const MOST: usize = 3500;

fn compile(expression: &str, link_type: u16) -> Result<Program, FilterError> {
    Filter::Expression(expression.to_owned()).compile(link_type, 262_144)
}

fn view(packet: &Stored) -> View<'_> {
    View {
        data: &packet.data,
        length: packet.length,
        is_outgoing: false,
        interface: 0,
    }
}

/// Compares all expressions on these packets.
fn compare(packets: &[Stored], link_type: u16) {
    let file = Numbered::new(packets, link_type.into());
    let (mut expressions, mut in_kernel, mut taken) = (0, 0_u64, 0_u64);
    for expression in expressions::all() {
        let program = match compile(&expression, link_type) {
            Ok(program) => program,
            // What the kernel takes from nobody.
            Err(FilterError::Program(BadProgram::Loop(_))) => {
                assert!(expression.contains("protochain"), "{expression}");
                continue;
            }
            Err(why) => {
                assert!(file.taken(&expression).is_err(), "{expression}: {why}");
                continue;
            }
        };
        let is_of_files = !expression.contains("bound");
        let by_tcpdump = if is_of_files {
            file.taken(&expression)
                .unwrap_or_else(|why| panic!("{expression}: {why}"))
        } else {
            let all = (0_u32..).zip(packets);
            let passing = all.filter(|(_, packet)| program.accepts(&view(packet)));
            passing.map(|(number, _)| number).collect()
        };
        let by_tcpdump: std::collections::HashSet<u32> = by_tcpdump.into_iter().collect();
        let mut verdict = Verdict::load(&translate(&program).expect("translated"))
            .unwrap_or_else(|why| panic!("{expression}: {why}"));
        for (number, packet) in (0_u32..).zip(packets) {
            let expected = by_tcpdump.contains(&number);
            assert_eq!(
                program.accepts(&view(packet)),
                expected,
                "here: {expression}: packet {number}: {packet:?}"
            );
            taken += u64::from(expected);
            if packet.is_cut() || packet.data.len() > MOST {
                continue;
            }
            if let Ok(passes) = verdict.passes(&packet.data) {
                in_kernel += 1;
                assert_eq!(
                    passes, expected,
                    "in the kernel: {expression}: packet {number}: {packet:?}"
                );
            }
        }
        expressions += 1;
    }
    println!(
        "link type {link_type}: {expressions} expressions on {} packets: {in_kernel} verdicts of the kernel, \
         {taken} packets taken",
        packets.len()
    );
    // Without a link layer, there is less to ask for.
    assert!(
        expressions >= if link_type == 1 { 300 } else { 200 },
        "{expressions}"
    );
    let possible = expressions * packets.iter().filter(|packet| !packet.is_cut()).count() as u64;
    assert!(in_kernel * 10 > possible * 9, "{in_kernel} of {possible}");
}

#[test]
fn on_ethernet_it_takes_what_tcpdump_takes() {
    require_root!();
    let Some(folder) = corpus::folder() else {
        return;
    };
    let packets = corpus::packets(&folder, &[1]);
    assert!(packets.len() > 1000, "{}", packets.len());
    compare(&packets, 1);
}

#[test]
fn on_raw_ip_it_takes_what_tcpdump_takes() {
    require_root!();
    let Some(folder) = corpus::folder() else {
        return;
    };
    // Raw IP by its number in files, by libpcap's own, and by version.
    let packets = corpus::packets(&folder, &[101, 12, 228, 229]);
    assert!(packets.len() > 10, "{}", packets.len());
    compare(&packets, 101);
}

#[test]
fn programs_made_by_chance_run_alike() {
    require_root!();
    let mut chance = Chance::new(1);
    let (mut passed, mut all) = (0, 0);
    for number in 0..400 {
        let program = chance.program();
        let mut verdict = Verdict::load(&translate(&program).expect("translated"))
            .unwrap_or_else(|why| panic!("program {number}: {why}\n{program}"));
        for _ in 0..20 {
            let length = 34 + chance.below(100);
            let mut data: Vec<u8> = (0..length).map(|_| chance.below(256) as u8).collect();
            data[12..14].copy_from_slice(&[8, 0]);
            let packet = Stored { data, length };
            let expected = program.accepts(&view(&packet));
            let passes = verdict.passes(&packet.data).expect("a verdict");
            assert_eq!(passes, expected, "program {number}:\n{program}{packet:?}");
            passed += u32::from(passes);
            all += 1;
        }
    }
    assert!(
        passed * 10 > all && passed * 10 < all * 9,
        "{passed} of {all}"
    );
}

/// A thousand hosts: the verifier looks at some thousand branches.
#[test]
fn a_thousand_hosts_are_one_filter() {
    require_root!();
    let program = compile(&expressions::hosts(1000), 1).expect("compiled");
    let mut verdict = Verdict::load(&translate(&program).expect("translated")).expect("loaded");
    let mut packet = vec![0; 60];
    packet[12..14].copy_from_slice(&[8, 0]);
    packet[14] = 0x45;
    for (address, passes) in [([10, 0, 3, 250], true), ([10, 0, 9, 9], false)] {
        packet[26..30].copy_from_slice(&address);
        assert_eq!(
            verdict.passes(&packet).expect("a verdict"),
            passes,
            "{address:?}"
        );
    }
}
