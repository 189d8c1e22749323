//! Programs of classic BPF: read, translated, and run on a packet.

use super::{
    Bytes, assert_printable,
    machine::{Machine, Tag},
    packets::each,
    piece,
};
use crate::filter::{Instruction, Program, View, translate};

/// Instructions of eBPF that one of classic BPF may become: a load whose place is in a register and may touch the
/// tag, in both copies of a program.
const FOR_EACH: usize = 400;
const BESIDES: usize = 64;

/// What kind of program it is, the program, and a packet. What is read is what is printed; and the translation says
/// of the packet what the program itself says, with a VLAN tag within it and beside it.
pub fn filters(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let flags = bytes.byte();
    let code = bytes.piece().unwrap_or_default();
    let program = if flags & 1 == 0 {
        Program::new(code.chunks_exact(8).map(instruction).collect())
    } else {
        Program::parse(&String::from_utf8_lossy(code))
    };
    let program = match program {
        Ok(program) => program,
        Err(why) => return assert_printable(&why.to_string()),
    };
    assert_printable(&program.to_string());
    let translated = match translate(&program) {
        Ok(translated) => translated,
        Err(why) => return assert_printable(&why.to_string()),
    };
    let len = program.instructions().len();
    assert!(translated.len() <= BESIDES + FOR_EACH * len);
    let view = View {
        data: bytes.0,
        length: bytes.0.len() as u32,
        is_outgoing: flags & 2 != 0,
        interface: 7,
    };
    let accepts = program.accepts(&view);
    assert!(!(accepts && program.rejects_all()));
    assert!(accepts || !program.accepts_all());
    let mut machine = Machine {
        data: view.data.to_vec(),
        tag: None,
        is_outgoing: view.is_outgoing,
        interface: view.interface,
    };
    assert_eq!(machine.run(&translated), accepts, "\n{program}");
    if let Some(tag) = Tag::take(&mut machine.data) {
        machine.tag = Some(tag);
        assert_eq!(machine.run(&translated), accepts, "tagged\n{program}");
    }
}

fn instruction(bytes: &[u8]) -> Instruction {
    Instruction {
        code: u16::from_be_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

/// `ip and udp`, as it is in the file's first packet.
pub(super) fn seeds(file: &[u8]) -> Vec<Vec<u8>> {
    let program = [
        (0x28, 0, 0, 12),
        (0x15, 0, 3, 0x800),
        (0x30, 0, 0, 23),
        (0x15, 0, 1, 17),
        (0x06, 0, 0, 262_144),
        (0x06, 0, 0, 0),
    ];
    let mut code = Vec::new();
    for (one, jt, jf, k) in program {
        code.extend(u16::to_be_bytes(one));
        code.extend([jt, jf]);
        code.extend(u32::to_be_bytes(k));
    }
    let mut seeds = Vec::new();
    each(file, |_, data| {
        let mut seed = vec![0];
        seed.extend(piece(&code));
        seed.extend(data);
        seeds.push(seed);
    });
    seeds.truncate(1);
    seeds
}
