//! Packets in words. That the words are tcpdump's own is shown on real files, by `tests/tests/read.rs`.

use super::*;

fn describe(options: &Options, link_type: u16, data: &[u8], original_len: usize) -> String {
    let mut text = String::new();
    Dissector::new(options.clone()).describe(
        &mut text,
        &Frame {
            link_type,
            data,
            original_len: original_len as u32,
        },
    );
    text
}

/// Every way to print a packet.
fn all_options() -> Vec<Options> {
    let mut all = Vec::new();
    for verbose in 0..4 {
        for link_header in [false, true] {
            for quiet in 0..2 {
                for dump in [None, Some(DumpForm::HexAscii), Some(DumpForm::Ascii)] {
                    all.push(Options {
                        verbose,
                        link_header,
                        quiet,
                        dump: dump.map(|form| Dump { form, link_header }),
                        ..Options::default()
                    });
                }
            }
        }
    }
    all
}

struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }
}

/// A frame whose headers are right up to a port of each protocol, with whatever behind them.
fn plausible(random: &mut Random, port: u16, protocol: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0x00]);
    let payload: Vec<u8> = (0..random.byte()).map(|_| random.byte()).collect();
    let used = if protocol == 17 { 8 } else { 20 };
    let total = (20 + used + payload.len()) as u16;
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let mut header = [0; 20];
    header[2..4].copy_from_slice(&port.to_be_bytes());
    if protocol == 17 {
        header[4..6].copy_from_slice(&(total - 20).to_be_bytes());
    } else {
        header[12] = 0x50;
        header[13] = random.byte();
    }
    frame.extend(&header[..used]);
    frame.extend(&payload);
    frame
}

#[test]
fn whatever_a_packet_says_it_is_printable_and_ends() {
    let mut random = Random(1);
    let ports = [
        53, 5353, 67, 123, 546, 4789, 6081, 5060, 80, 22, 21, 25, 554, 6379, 9,
    ];
    for options in all_options() {
        for (protocol, port) in [17, 6]
            .iter()
            .flat_map(|protocol| ports.map(|port| (*protocol, port)))
        {
            let mut frame = plausible(&mut random, port, protocol);
            for _ in 0..random.byte() % 4 {
                let at = usize::from(random.byte()) % frame.len();
                frame[at] = random.byte();
            }
            let cut = usize::from(random.byte()) % (frame.len() + 1);
            let text = describe(&options, 1, &frame[..cut], frame.len());
            assert!(
                text.chars()
                    .all(|c| c == '\n' || c == '\t' || !c.is_control()),
                "{text:?} of {frame:02x?}"
            );
        }
    }
}

#[test]
fn bytes_by_chance_of_each_link_type_are_printable() {
    let mut random = Random(7);
    for link_type in [0, 1, 101, 108, 113, 228, 229, 276, 9999] {
        for len in 0..200_usize {
            let data: Vec<u8> = (0..len).map(|_| random.byte()).collect();
            for verbose in [0, 2] {
                let options = Options {
                    verbose,
                    ..Options::default()
                };
                let text = describe(&options, link_type, &data, len);
                assert!(
                    text.chars()
                        .all(|c| c == '\n' || c == '\t' || !c.is_control()),
                    "{text:?}"
                );
            }
        }
    }
}

#[test]
fn headers_within_headers_come_to_an_end() {
    // IP in IP, over and over.
    let mut data = Vec::new();
    for level in (0..3000_u32).rev() {
        let total = ((level + 1) * 20).min(65535) as u16;
        let mut header = vec![0x45, 0];
        header.extend(total.to_be_bytes());
        header.extend([0, 0, 0, 0, 64, 4, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
        data.extend(header);
    }
    let text = describe(&Options::default(), 101, &data, data.len());
    assert!(text.ends_with("[headers nested too deep]"), "{text}");
}

#[test]
fn names_stand_beside_addresses() {
    let mut dissector = Dissector::default();
    let name = |last: u8, name: &str| (IpAddr::from([10, 0, 0, last]), name.to_owned());
    dissector.name([name(1, "web"), name(2, "d\u{1b}b")]);
    let frame = plausible(&mut Random(3), 9, 17);
    let mut text = String::new();
    let frame = Frame {
        link_type: 1,
        data: &frame,
        original_len: frame.len() as u32,
    };
    dissector.describe(&mut text, &frame);
    assert!(
        text.starts_with("IP 10.0.0.1[web].0 > 10.0.0.2[d\\u{1b}b].9: UDP, length "),
        "{text}"
    );
}

#[test]
fn names_are_bounded_in_number() {
    let mut dissector = Dissector::default();
    let named = |number: u32| {
        (
            std::net::Ipv4Addr::from_bits(number).into(),
            number.to_string(),
        )
    };
    dissector.name((0..super::MOST_NAMES as u32 + 10).map(named));
    assert_eq!(dissector.names.len(), super::MOST_NAMES);
    dissector.name([(std::net::Ipv4Addr::from_bits(7).into(), "web".to_owned())]);
    assert!(dissector.names.values().any(|name| name == "web"));
}
