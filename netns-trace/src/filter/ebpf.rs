//! eBPF instructions: as many kinds as filters need, written with labels, and printed.
//! <https://docs.kernel.org/bpf/standardization/instruction-set.html>

use std::fmt;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reg(pub(super) u8);

/// How much a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    W,
    H,
    B,
}

impl Size {
    pub(super) const fn bytes(self) -> u32 {
        match self {
            Self::W => 4,
            Self::H => 2,
            Self::B => 1,
        }
    }

    pub(super) const fn mask(self) -> u32 {
        match self {
            Self::W => u32::MAX,
            Self::H => 0xffff,
            Self::B => 0xff,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::W => 0x00,
            Self::H => 0x08,
            Self::B => 0x10,
        }
    }
}

/// The second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Reg(Reg),
    Imm(i32),
}

/// What is done with two operands; the upper four bits of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Op(u8);

impl Op {
    pub(super) const ADD: Self = Self(0x00);
    pub(super) const SUB: Self = Self(0x10);
    pub(super) const MUL: Self = Self(0x20);
    pub(super) const DIV: Self = Self(0x30);
    pub(super) const OR: Self = Self(0x40);
    pub(super) const AND: Self = Self(0x50);
    pub(super) const LSH: Self = Self(0x60);
    pub(super) const RSH: Self = Self(0x70);
    pub(super) const MOD: Self = Self(0x90);
    pub(super) const XOR: Self = Self(0xa0);
    pub(super) const MOV: Self = Self(0xb0);
    pub(super) const JEQ: Self = Self(0x10);
    pub(super) const JGT: Self = Self(0x20);
    pub(super) const JGE: Self = Self(0x30);
    pub(super) const JSET: Self = Self(0x40);
    pub(super) const JNE: Self = Self(0x50);
    pub(super) const JLT: Self = Self(0xa0);
    pub(super) const JLE: Self = Self(0xb0);

    /// The comparison that is true where this one is false.
    pub(super) fn inverse(self) -> Option<Self> {
        match self {
            Self::JEQ => Some(Self::JNE),
            Self::JGT => Some(Self::JLE),
            Self::JGE => Some(Self::JLT),
            _ => None,
        }
    }
}

// Classes.
const LD: u8 = 0x00;
const LDX: u8 = 0x01;
const STX: u8 = 0x03;
const ALU: u8 = 0x04;
const JMP: u8 = 0x05;
const JMP32: u8 = 0x06;
const ALU64: u8 = 0x07;
// Modes of loads, and where an operand is.
const ABS: u8 = 0x20;
const IND: u8 = 0x40;
const MEM: u8 = 0x60;
const REG: u8 = 0x08;

/// An instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    immediate: i32,
}

impl Insn {
    fn new(code: u8, to: Reg, source: Source) -> Self {
        let (code, from, immediate) = match source {
            Source::Reg(from) => (code | REG, from.0, 0),
            Source::Imm(immediate) => (code, 0, immediate),
        };
        Self {
            code,
            to: to.0,
            from,
            offset: 0,
            immediate,
        }
    }

    pub(super) fn mov64(to: Reg, source: Source) -> Self {
        Self::new(ALU64 | Op::MOV.0, to, source)
    }

    pub(super) fn add64(to: Reg, immediate: i32) -> Self {
        Self::new(ALU64 | Op::ADD.0, to, Source::Imm(immediate))
    }

    pub(super) fn alu32(op: Op, to: Reg, source: Source) -> Self {
        Self::new(ALU | op.0, to, source)
    }

    pub(super) fn negate32(to: Reg) -> Self {
        Self::new(ALU | 0x80, to, Source::Imm(0))
    }

    /// Turns the lower 16 bits around on a little-endian machine, and clears the others.
    pub(super) fn to_big_endian16(to: Reg) -> Self {
        Self {
            code: ALU | 0xd0 | REG,
            to: to.0,
            immediate: 16,
            ..Self::default()
        }
    }

    pub(super) fn load(size: Size, to: Reg, base: Reg, offset: i16) -> Self {
        Self {
            code: LDX | MEM | size.code(),
            to: to.0,
            from: base.0,
            offset,
            immediate: 0,
        }
    }

    pub(super) fn store(size: Size, base: Reg, offset: i16, from: Reg) -> Self {
        Self {
            code: STX | MEM | size.code(),
            to: base.0,
            from: from.0,
            offset,
            immediate: 0,
        }
    }

    pub(super) fn load_absolute(size: Size, at: i32) -> Self {
        Self {
            code: LD | ABS | size.code(),
            immediate: at,
            ..Self::default()
        }
    }

    pub(super) fn load_indexed(size: Size, by: Reg, at: i32) -> Self {
        Self {
            code: LD | IND | size.code(),
            from: by.0,
            immediate: at,
            ..Self::default()
        }
    }

    pub(super) fn exit() -> Self {
        Self {
            code: JMP | 0x90,
            ..Self::default()
        }
    }

    fn never_falls_through(self) -> bool {
        self.code == JMP | 0x90 || self.code == JMP
    }

    /// As it stands in an object for a little-endian machine.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        let [offset, immediate] = [
            u64::from(self.offset as u16) << 16,
            u64::from(self.immediate as u32) << 32,
        ];
        let registers = u64::from(self.from << 4 | self.to) << 8;
        (u64::from(self.code) | registers | offset | immediate).to_le_bytes()
    }
}

/// As bpftool and the verifier's log print it.
impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            to,
            from,
            offset,
            immediate,
        } = *self;
        let size = match code & 0x18 {
            0x08 => "u16",
            0x10 => "u8",
            _ => "u32",
        };
        let is_wide = matches!(code & 7, JMP | ALU64);
        let r = if is_wide { "r" } else { "w" };
        let source = match code & REG {
            0 => format!("{immediate:#x}"),
            _ => format!("{r}{from}"),
        };
        match (code & 7, code & 0xf0) {
            (LD, _) if code & 0xe0 == ABS => write!(f, "r0 = *({size} *)skb[{immediate}]"),
            (LD, _) => write!(f, "r0 = *({size} *)skb[r{from} + {immediate}]"),
            (LDX, _) => write!(f, "r{to} = *({size} *)(r{from} {offset:+})"),
            (STX, _) => write!(f, "*({size} *)(r{to} {offset:+}) = r{from}"),
            (JMP, 0x90) => f.write_str("exit"),
            (JMP, 0x00) => write!(f, "goto pc{offset:+}"),
            (JMP | JMP32, op) => {
                let sign = match Op(op) {
                    Op::JEQ => "==",
                    Op::JGT => ">",
                    Op::JGE => ">=",
                    Op::JSET => "&",
                    Op::JLT => "<",
                    Op::JLE => "<=",
                    _ => "!=",
                };
                write!(f, "if {r}{to} {sign} {source} goto pc{offset:+}")
            }
            (_, 0xd0) => write!(f, "r{to} = be{immediate} r{to}"),
            (_, 0x80) => write!(f, "{r}{to} = -{r}{to}"),
            (_, op) => {
                let sign = match Op(op) {
                    Op::ADD => "+=",
                    Op::SUB => "-=",
                    Op::MUL => "*=",
                    Op::DIV => "/=",
                    Op::OR => "|=",
                    Op::AND => "&=",
                    Op::LSH => "<<=",
                    Op::RSH => ">>=",
                    Op::MOD => "%=",
                    Op::XOR => "^=",
                    _ => "=",
                };
                write!(f, "{r}{to} {sign} {source}")
            }
        }
    }
}

/// A place that jumps lead to, before it is known where that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// Writes instructions one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer {
    insns: Vec<Insn>,
    /// Where each label is.
    places: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Writer {
    pub(super) fn put(&mut self, insn: Insn) {
        self.insns.push(insn);
    }

    pub(super) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// A label's place is here.
    pub(super) fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.insns.len());
    }

    /// Goes there in any case.
    pub(super) fn go(&mut self, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.put(Insn {
            code: JMP,
            ..Insn::default()
        });
    }

    /// Goes there where the comparison of 64 bits is true.
    pub(super) fn jump(&mut self, op: Op, left: Reg, right: Source, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.put(Insn::new(JMP | op.0, left, right));
    }

    /// Goes there where the comparison of 32 bits is true.
    pub(super) fn jump32(&mut self, op: Op, left: Reg, right: Source, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.put(Insn::new(JMP32 | op.0, left, right));
    }

    /// The instructions that can be reached: the verifier refuses others. `None` if a jump is too long
    /// for one.
    pub(super) fn finish(self) -> Option<Vec<Insn>> {
        let mut targets: Vec<Option<usize>> = vec![None; self.insns.len()];
        for (at, label) in &self.jumps {
            targets[*at] = Some(self.places[label.0]?);
        }
        let mut is_reached = vec![false; self.insns.len()];
        let mut next = vec![0];
        while let Some(at) = next.pop() {
            if std::mem::replace(is_reached.get_mut(at)?, true) {
                continue;
            }
            next.extend(targets[at]);
            if !self.insns[at].never_falls_through() {
                next.push(at + 1);
            }
        }
        // Where each one that is kept ends up.
        let mut places = Vec::with_capacity(self.insns.len());
        let mut kept = 0_usize;
        for is_reached in &is_reached {
            places.push(kept);
            kept += usize::from(*is_reached);
        }
        let mut insns = Vec::with_capacity(kept);
        for (at, mut insn) in self.insns.into_iter().enumerate() {
            if !is_reached[at] {
                continue;
            }
            if let Some(target) = targets[at] {
                let by = places[target] as i64 - (places[at] as i64 + 1);
                insn.offset = i16::try_from(by).ok()?;
            }
            insns.push(insn);
        }
        Some(insns)
    }
}
