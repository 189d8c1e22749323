//! Classic BPF to eBPF: a function `int filter(struct __sk_buff *packet, u32 hook)` that returns not 0 for
//! a packet that passes.
//!
//! Exact, as libpcap's own `bpf_filter` runs a program: a load out of the packet, and a division by zero,
//! reject it; a shift by 32 or more leaves 0; all is 32 bits wide and unsigned.
//!
//! What a program sees is what the file gets. So where the kernel keeps a VLAN tag beside the packet, the
//! tag counts as there: a second copy of the program, which the function chooses by `vlan_present`,
//! reads bytes 12 to 15 from the tag, and all behind them four bytes earlier.
//!
//! Loads are `LD_ABS` and `LD_IND`, which the kernel inlines (`bpf_gen_ld_abs`, net/core/filter.c), paged data
//! included. Out of range, they end their function with 0: in the entry program that would be an order
//! to let the packet pass and skip the programs behind ours; here it is just "rejected".

use super::{
    classic::{
        self, A, ABS, ADD, ALU, AND, Ancillary, B, DIV, H, IMM, IND, Instruction, JA, JEQ, JGE,
        JGT, JMP, JSET, LD, LDX, LEN, LSH, MEM, MOD, MSH, MUL, NEG, OR, Program, RET, RSH, ST, STX,
        SUB, TXA, W, X, XOR,
    },
    ebpf::{Insn, Label, Op, Reg, Size, Source, Writer},
};

/// Offsets of `struct __sk_buff`; include/uapi/linux/bpf.h.
mod sk_buff {
    pub(super) const LEN: i16 = 0;
    pub(super) const VLAN_PRESENT: i16 = 20;
    pub(super) const VLAN_TCI: i16 = 24;
    pub(super) const VLAN_PROTO: i16 = 28;
    pub(super) const IFINDEX: i16 = 40;
}

/// The accumulator, where loads leave what they read.
const ACC: Reg = Reg(0);
/// The packet's context: where `LD_ABS` wants it.
const CONTEXT: Reg = Reg(6);
/// The index register.
const INDEX: Reg = Reg(7);
/// What is kept over a load.
const KEPT: Reg = Reg(8);
/// In the copy for tagged packets: bytes 12 to 15, the tag.
const TAG: Reg = Reg(9);
/// What loads destroy.
const SCRATCH: Reg = Reg(1);
const OFFSET: Reg = Reg(2);
const FRAME: Reg = Reg(10);

/// Where the tag is, and how long it is.
const TAG_AT: u32 = 12;
const TAG_LEN: u32 = 4;
/// The hook's place below the frame's end; memory is above it.
const HOOK_AT: i16 = -72;
/// The packet's direction, as the kernel tells it; include/uapi/linux/if_packet.h.
const PACKET_OUTGOING: i32 = 4;
/// No packet is longer.
const LONGEST: u32 = 0x7fff_0000;

/// Why a program cannot be translated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter is too long: its jumps lead over more than 32767 instructions")]
pub struct TooLong;

/// Translates a program.
///
/// # Errors
///
/// It is too long.
pub fn translate(program: &Program) -> Result<Vec<Insn>, TooLong> {
    let mut writer = Writer::default();
    let uses = Uses::of(program);
    writer.put(Insn::mov64(CONTEXT, Source::Reg(SCRATCH)));
    if uses.hook {
        writer.put(Insn::store(Size::W, FRAME, HOOK_AT, OFFSET));
    }
    writer.put(Insn::alu32(Op::MOV, ACC, Source::Imm(0)));
    writer.put(Insn::alu32(Op::MOV, INDEX, Source::Imm(0)));
    for word in 0..classic::MEMORY {
        if uses.memory & 1 << word != 0 {
            writer.put(Insn::store(Size::W, FRAME, memory(word), ACC));
        }
    }
    let tagged = writer.label();
    if uses.packet {
        writer.put(Insn::load(Size::W, SCRATCH, CONTEXT, sk_buff::VLAN_PRESENT));
        writer.jump(Op::JNE, SCRATCH, Source::Imm(0), tagged);
    }
    body(&mut writer, program, false);
    if uses.packet {
        writer.place(tagged);
        // The tag as it is on the wire: its protocol, then what it holds.
        writer.put(Insn::load(Size::W, TAG, CONTEXT, sk_buff::VLAN_PROTO));
        writer.put(Insn::to_big_endian16(TAG));
        writer.put(Insn::alu32(Op::LSH, TAG, Source::Imm(16)));
        writer.put(Insn::load(Size::W, SCRATCH, CONTEXT, sk_buff::VLAN_TCI));
        writer.put(Insn::alu32(Op::AND, SCRATCH, Source::Imm(0xffff)));
        writer.put(Insn::alu32(Op::OR, TAG, Source::Reg(SCRATCH)));
        body(&mut writer, program, true);
    }
    writer.finish().ok_or(TooLong)
}

/// What a program needs.
struct Uses {
    packet: bool,
    hook: bool,
    memory: u32,
}

impl Uses {
    fn of(program: &Program) -> Self {
        let mut uses = Self {
            packet: false,
            hook: false,
            memory: 0,
        };
        for one in program.instructions() {
            match (one.code & 7, one.code & 0xe0) {
                (LD, ABS) => match Ancillary::at(one.k) {
                    Some(Ancillary::PacketType) => uses.hook = true,
                    Some(Ancillary::InterfaceIndex) => {}
                    None => uses.packet = true,
                },
                (LD, IND | LEN) | (LDX, MSH | LEN) => uses.packet = true,
                (LD | LDX, MEM) | (ST | STX, _) => uses.memory |= 1 << one.k,
                _ => {}
            }
        }
        uses
    }
}

fn memory(word: u32) -> i16 {
    -4 * (word as i16 + 1)
}

/// One copy of the program.
fn body(writer: &mut Writer, program: &Program, is_tagged: bool) {
    let labels: Vec<Label> = program
        .instructions()
        .iter()
        .map(|_| writer.label())
        .collect();
    let reject = writer.label();
    let mut code = Body {
        writer,
        is_tagged,
        reject,
    };
    for (at, one) in program.instructions().iter().enumerate() {
        code.writer.place(labels[at]);
        code.instruction(one, |by| labels[at + 1 + by as usize]);
    }
    code.writer.place(reject);
    code.writer.put(Insn::alu32(Op::MOV, ACC, Source::Imm(0)));
    code.writer.put(Insn::exit());
}

struct Body<'a> {
    writer: &'a mut Writer,
    is_tagged: bool,
    reject: Label,
}

impl Body<'_> {
    fn instruction(&mut self, one: &Instruction, target: impl Fn(u32) -> Label) {
        let Instruction { code, k, .. } = *one;
        let operand = match code & X {
            X => Source::Reg(INDEX),
            _ => Source::Imm(k as i32),
        };
        match code & 7 {
            LD | LDX => self.load(code, k),
            ST => self.put(Insn::store(Size::W, FRAME, memory(k), ACC)),
            STX => self.put(Insn::store(Size::W, FRAME, memory(k), INDEX)),
            ALU => self.arithmetic(code & 0xf0, operand),
            JMP => self.jump(one, operand, target),
            RET => {
                if code & !7 != A {
                    self.put(Insn::alu32(Op::MOV, ACC, Source::Imm(i32::from(k != 0))));
                }
                self.put(Insn::exit());
            }
            _ if code & !7 == TXA => self.put(Insn::alu32(Op::MOV, ACC, Source::Reg(INDEX))),
            _ => self.put(Insn::alu32(Op::MOV, INDEX, Source::Reg(ACC))),
        }
    }

    fn put(&mut self, insn: Insn) {
        self.writer.put(insn);
    }

    fn arithmetic(&mut self, operation: u16, operand: Source) {
        let op = match operation {
            ADD => Op::ADD,
            SUB => Op::SUB,
            MUL => Op::MUL,
            DIV => Op::DIV,
            MOD => Op::MOD,
            OR => Op::OR,
            AND => Op::AND,
            XOR => Op::XOR,
            LSH => Op::LSH,
            RSH => Op::RSH,
            _ => {
                debug_assert_eq!(operation, NEG);
                return self.put(Insn::negate32(ACC));
            }
        };
        match (op, operand) {
            (Op::DIV | Op::MOD, Source::Reg(by)) => {
                self.writer.jump32(Op::JEQ, by, Source::Imm(0), self.reject);
                self.put(Insn::alu32(op, ACC, operand));
            }
            (Op::LSH | Op::RSH, Source::Imm(by)) if !(0..32).contains(&by) => {
                self.put(Insn::alu32(Op::MOV, ACC, Source::Imm(0)));
            }
            (Op::LSH | Op::RSH, Source::Reg(by)) => {
                let (far, done) = (self.writer.label(), self.writer.label());
                self.writer.jump32(Op::JGT, by, Source::Imm(31), far);
                self.put(Insn::alu32(op, ACC, operand));
                self.writer.go(done);
                self.writer.place(far);
                self.put(Insn::alu32(Op::MOV, ACC, Source::Imm(0)));
                self.writer.place(done);
            }
            _ => self.put(Insn::alu32(op, ACC, operand)),
        }
    }

    fn jump(&mut self, one: &Instruction, operand: Source, target: impl Fn(u32) -> Label) {
        let op = match one.code & 0xf0 {
            JA => return self.writer.go(target(one.k)),
            JEQ => Op::JEQ,
            JGT => Op::JGT,
            JGE => Op::JGE,
            code => {
                debug_assert_eq!(code, JSET);
                Op::JSET
            }
        };
        match op.inverse() {
            Some(inverse) if one.jt == 0 => {
                self.writer
                    .jump32(inverse, ACC, operand, target(one.jf.into()));
            }
            _ => {
                self.writer.jump32(op, ACC, operand, target(one.jt.into()));
                if one.jf > 0 {
                    self.writer.go(target(one.jf.into()));
                }
            }
        }
    }

    fn load(&mut self, code: u16, k: u32) {
        let into = if code & 7 == LD { ACC } else { INDEX };
        match code & 0xe0 {
            IMM => self.put(Insn::alu32(Op::MOV, into, Source::Imm(k as i32))),
            MEM => self.put(Insn::load(Size::W, into, FRAME, memory(k))),
            LEN => {
                self.put(Insn::load(Size::W, into, CONTEXT, sk_buff::LEN));
                if self.is_tagged {
                    self.put(Insn::alu32(Op::ADD, into, Source::Imm(TAG_LEN as i32)));
                }
            }
            MSH => {
                self.put(Insn::alu32(Op::MOV, KEPT, Source::Reg(ACC)));
                self.fixed(Size::B, k);
                self.put(Insn::alu32(Op::AND, ACC, Source::Imm(0xf)));
                self.put(Insn::alu32(Op::LSH, ACC, Source::Imm(2)));
                self.put(Insn::alu32(Op::MOV, INDEX, Source::Reg(ACC)));
                self.put(Insn::alu32(Op::MOV, ACC, Source::Reg(KEPT)));
            }
            IND => self.indexed(size(code), k),
            mode => {
                debug_assert_eq!(mode, ABS);
                match Ancillary::at(k) {
                    Some(Ancillary::PacketType) => self.packet_type(),
                    Some(Ancillary::InterfaceIndex) => {
                        self.put(Insn::load(Size::W, ACC, CONTEXT, sk_buff::IFINDEX));
                    }
                    None => self.fixed(size(code), k),
                }
            }
        }
    }

    /// By the hook: where a packet leaves, the kernel has its own word for it only later.
    fn packet_type(&mut self) {
        let done = self.writer.label();
        self.put(Insn::load(Size::W, ACC, FRAME, HOOK_AT));
        // Ingress is 0 in both worlds.
        self.writer.jump32(Op::JEQ, ACC, Source::Imm(0), done);
        self.put(Insn::alu32(Op::MOV, ACC, Source::Imm(PACKET_OUTGOING)));
        self.writer.place(done);
    }

    /// Loads from a place that is known.
    fn fixed(&mut self, size: Size, at: u32) {
        if at > LONGEST {
            return self.writer.go(self.reject);
        }
        let end = at + size.bytes();
        if !self.is_tagged || end <= TAG_AT {
            return self.put(Insn::load_absolute(size, at as i32));
        }
        if at >= TAG_AT + TAG_LEN {
            return self.put(Insn::load_absolute(size, (at - TAG_LEN) as i32));
        }
        if at >= TAG_AT && end <= TAG_AT + TAG_LEN {
            // All of it lies in the tag.
            self.put(Insn::alu32(Op::MOV, ACC, Source::Reg(TAG)));
            let below = 8 * (TAG_AT + TAG_LEN - end) as i32;
            self.put(Insn::alu32(Op::RSH, ACC, Source::Imm(below)));
            return self.put(Insn::alu32(Op::AND, ACC, Source::Imm(size.mask() as i32)));
        }
        // Byte by byte, the first one highest; what has been read so far is kept over each load.
        debug_assert!(size.bytes() > 1, "a byte lies in one place");
        self.put(Insn::alu32(Op::MOV, KEPT, Source::Imm(0)));
        for byte in at..end {
            self.fixed(Size::B, byte);
            self.put(Insn::alu32(Op::LSH, KEPT, Source::Imm(8)));
            self.put(Insn::alu32(Op::OR, KEPT, Source::Reg(ACC)));
        }
        self.put(Insn::alu32(Op::MOV, ACC, Source::Reg(KEPT)));
    }

    /// Loads from a place that the index register moves.
    fn indexed(&mut self, size: Size, by: u32) {
        if by > LONGEST {
            return self.writer.go(self.reject);
        }
        // With 64 bits: there is no way around the end to the packet's beginning.
        self.put(Insn::mov64(OFFSET, Source::Reg(INDEX)));
        self.put(Insn::add64(OFFSET, by as i32));
        self.writer
            .jump(Op::JGT, OFFSET, Source::Imm(LONGEST as i32), self.reject);
        if !self.is_tagged {
            return self.put(Insn::load_indexed(size, OFFSET, 0));
        }
        let done = self.writer.label();
        let (behind, across) = (self.writer.label(), self.writer.label());
        let before = (TAG_AT - size.bytes()) as i32;
        self.writer
            .jump(Op::JGT, OFFSET, Source::Imm(before), across);
        self.put(Insn::load_indexed(size, OFFSET, 0));
        self.writer.go(done);
        self.writer.place(across);
        let end = (TAG_AT + TAG_LEN) as i32;
        self.writer.jump(Op::JGE, OFFSET, Source::Imm(end), behind);
        // It touches the tag: one of a few places, each of them known.
        let first = TAG_AT + 1 - size.bytes();
        for at in first..TAG_AT + TAG_LEN {
            let next = self.writer.label();
            self.writer
                .jump(Op::JNE, OFFSET, Source::Imm(at as i32), next);
            // The index is needed no more, and loads leave it alone.
            self.fixed(size, at);
            self.writer.go(done);
            self.writer.place(next);
        }
        self.writer.place(behind);
        self.put(Insn::load_indexed(size, OFFSET, -(TAG_LEN as i32)));
        self.writer.place(done);
    }
}

fn size(code: u16) -> Size {
    match code & 0x18 {
        H => Size::H,
        B => Size::B,
        size => {
            debug_assert_eq!(size, W);
            Size::W
        }
    }
}
