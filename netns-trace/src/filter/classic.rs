//! Classic BPF, as libpcap compiles filters to: instructions, reading and printing them.
//!
//! The machine has an accumulator A, an index register X, 16 words of memory, and the packet;
//! <https://www.kernel.org/doc/Documentation/networking/filter.txt>.

use std::fmt::{self, Write as _};

// Classes, sizes, modes and operations; include/uapi/linux/bpf_common.h.
pub(super) const LD: u16 = 0x00;
pub(super) const LDX: u16 = 0x01;
pub(super) const ST: u16 = 0x02;
pub(super) const STX: u16 = 0x03;
pub(super) const ALU: u16 = 0x04;
pub(super) const JMP: u16 = 0x05;
pub(super) const RET: u16 = 0x06;
pub(super) const MISC: u16 = 0x07;
pub(super) const W: u16 = 0x00;
pub(super) const H: u16 = 0x08;
pub(super) const B: u16 = 0x10;
pub(super) const IMM: u16 = 0x00;
pub(super) const ABS: u16 = 0x20;
pub(super) const IND: u16 = 0x40;
pub(super) const MEM: u16 = 0x60;
pub(super) const LEN: u16 = 0x80;
pub(super) const MSH: u16 = 0xa0;
pub(super) const ADD: u16 = 0x00;
pub(super) const SUB: u16 = 0x10;
pub(super) const MUL: u16 = 0x20;
pub(super) const DIV: u16 = 0x30;
pub(super) const OR: u16 = 0x40;
pub(super) const AND: u16 = 0x50;
pub(super) const LSH: u16 = 0x60;
pub(super) const RSH: u16 = 0x70;
pub(super) const NEG: u16 = 0x80;
pub(super) const MOD: u16 = 0x90;
pub(super) const XOR: u16 = 0xa0;
pub(super) const JA: u16 = 0x00;
pub(super) const JEQ: u16 = 0x10;
pub(super) const JGT: u16 = 0x20;
pub(super) const JGE: u16 = 0x30;
pub(super) const JSET: u16 = 0x40;
pub(super) const K: u16 = 0x00;
pub(super) const X: u16 = 0x08;
pub(super) const A: u16 = 0x10;
pub(super) const TAX: u16 = 0x00;
pub(super) const TXA: u16 = 0x80;

/// Words of memory.
pub(super) const MEMORY: u32 = 16;
/// Most instructions of a filter: more than libpcap makes of a thousand hosts.
pub(super) const MOST: usize = 1 << 15;

/// Offsets from here on are none in the packet, but mean what the kernel knows of it;
/// include/uapi/linux/filter.h.
const SKF_AD_OFF: u32 = -0x1000_i32 as u32;
/// From here on they mean nothing: a load from there is one beyond the packet's end.
const SKF_AD_MAX: u32 = 64;

/// What the kernel knows of a packet and a filter may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ancillary {
    /// Whether the packet comes in (0) or goes out (4).
    PacketType,
    /// The interface's index.
    InterfaceIndex,
}

impl Ancillary {
    /// What is at such an offset.
    #[must_use]
    pub fn at(offset: u32) -> Option<Self> {
        match offset.checked_sub(SKF_AD_OFF)? {
            4 => Some(Self::PacketType),
            8 => Some(Self::InterfaceIndex),
            _ => None,
        }
    }
}

/// An instruction, as the kernel and libpcap lay it out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// Instructions that are passed over where a comparison is true.
    pub jt: u8,
    /// And where it is false.
    pub jf: u8,
    /// Its constant.
    pub k: u32,
}

/// A filter whose every instruction is known and leads to another one or to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

/// Why some instructions are no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProgram {
    /// There is none.
    #[error("it has no instructions")]
    Empty,
    /// There are too many.
    #[error("it has {0} instructions, and {MOST} at most may be")]
    TooLong(usize),
    /// One of them is not known, or not here.
    #[error("instruction {at} ({}) is not supported: {why}", text(.instruction))]
    Unsupported {
        /// Its number, from 0.
        at: usize,
        /// The instruction.
        instruction: Instruction,
        /// What is wrong with it.
        why: &'static str,
    },
    /// One of them leads back, so that it might never end.
    #[error(
        "instruction {0} leads back, as those of `protochain` do, and the kernel takes no loops"
    )]
    Loop(usize),
    /// One of them leads behind the last.
    #[error("instruction {0} leads behind the last one")]
    Jump(usize),
    /// A line of a bytecode file is none.
    #[error("line {line}: {why}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl Program {
    /// Checks them.
    ///
    /// # Errors
    ///
    /// The first that is wrong.
    pub fn new(instructions: Vec<Instruction>) -> Result<Self, BadProgram> {
        if instructions.is_empty() {
            return Err(BadProgram::Empty);
        }
        if instructions.len() > MOST {
            return Err(BadProgram::TooLong(instructions.len()));
        }
        for (at, instruction) in instructions.iter().enumerate() {
            if let Err(why) = check(instruction) {
                return Err(BadProgram::Unsupported {
                    at,
                    instruction: *instruction,
                    why,
                });
            }
            if instruction.code == JMP | JA && (instruction.k as i32) < 0 {
                return Err(BadProgram::Loop(at));
            }
            let leads = |by: u32| at as u64 + 1 + u64::from(by) < instructions.len() as u64;
            let is_well = match (instruction.code & 7, instruction.code & 0xf0) {
                (RET, _) => true,
                (JMP, JA) => leads(instruction.k),
                (JMP, _) => leads(instruction.jt.into()) && leads(instruction.jf.into()),
                _ => leads(0),
            };
            if !is_well {
                return Err(BadProgram::Jump(at));
            }
        }
        Ok(Self(instructions))
    }

    /// Reads what `tcpdump -ddd` prints: the number of instructions, then one a line.
    ///
    /// # Errors
    ///
    /// The first line that is none, and as [`Program::new`].
    pub fn parse(text: &str) -> Result<Self, BadProgram> {
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        let bad = |line: usize, why: String| BadProgram::Line {
            line: line + 1,
            why,
        };
        let Some((first, count)) = lines.next() else {
            return Err(BadProgram::Empty);
        };
        let count: usize = count.trim().parse().map_err(|_| {
            bad(
                first,
                "the number of instructions is expected, as `tcpdump -ddd` prints it".into(),
            )
        })?;
        if count > MOST {
            return Err(BadProgram::TooLong(count));
        }
        let mut instructions = Vec::new();
        for (at, line) in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let parsed = match words[..] {
                [code, jt, jf, k] => (|| {
                    Some(Instruction {
                        code: code.parse().ok()?,
                        jt: jt.parse().ok()?,
                        jf: jf.parse().ok()?,
                        k: k.parse().ok()?,
                    })
                })(),
                _ => None,
            };
            instructions.push(
                parsed.ok_or_else(|| {
                    bad(at, "four numbers are expected: code, jt, jf and k".into())
                })?,
            );
            if instructions.len() > count {
                return Err(bad(at, format!("only {count} instructions were announced")));
            }
        }
        if instructions.len() < count {
            let last = text.lines().count().saturating_sub(1);
            return Err(bad(
                last,
                format!(
                    "it ends after {} of {count} instructions",
                    instructions.len()
                ),
            ));
        }
        Self::new(instructions)
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// Whether no packet passes: all ways end with 0.
    #[must_use]
    pub fn rejects_all(&self) -> bool {
        self.0
            .iter()
            .all(|one| one.code & 7 != RET || (one.code == RET | K && one.k == 0))
    }

    /// Whether all packets pass: there is nothing but the end.
    #[must_use]
    pub fn accepts_all(&self) -> bool {
        matches!(self.0[..], [Instruction { code, k: 1.., .. }] if code == RET | K)
    }
}

/// As `tcpdump -d` prints it.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, instruction) in self.0.iter().enumerate() {
            writeln!(f, "({at:03}) {}", line(at, instruction).trim_end())?;
        }
        Ok(())
    }
}

fn check(instruction: &Instruction) -> Result<(), &'static str> {
    let Instruction { code, k, .. } = *instruction;
    let memory = |k: u32| match k < MEMORY {
        true => Ok(()),
        false => Err("there are 16 words of memory"),
    };
    match code & 7 {
        LD | LDX => match (code & 0xe0, code & 0x18) {
            (IMM | LEN, W) => Ok(()),
            (MEM, W) => memory(k),
            (MSH, B) if code & 7 == LDX => Ok(()),
            (ABS, W | H | B) if code & 7 == LD => {
                let is_asked = k
                    .checked_sub(SKF_AD_OFF)
                    .is_some_and(|what| what < SKF_AD_MAX);
                match is_asked && Ancillary::at(k).is_none() {
                    true => Err("it asks the kernel for what is not known here"),
                    false => Ok(()),
                }
            }
            (IND, W | H | B) if code & 7 == LD => Ok(()),
            _ => Err("there is no such load"),
        },
        ST | STX if code & !7 == 0 => memory(k),
        ALU if code & 0xff00 == 0 => match (code & 0xf0, code & 8) {
            (DIV | MOD, K) if k == 0 => Err("it divides by zero"),
            (ADD | SUB | MUL | DIV | MOD | AND | OR | XOR | LSH | RSH, _) | (NEG, K) => Ok(()),
            _ => Err("there is no such operation"),
        },
        JMP if code & 0xff00 == 0 => match (code & 0xf0, code & 8) {
            (JA, K) | (JEQ | JGT | JGE | JSET, _) => Ok(()),
            _ => Err("there is no such jump"),
        },
        RET if matches!(code & !7, K | A) => Ok(()),
        MISC if matches!(code & !7, TAX | TXA) => Ok(()),
        _ => Err("there is no such instruction"),
    }
}

/// An instruction by itself.
fn text(instruction: &Instruction) -> String {
    let Instruction { code, jt, jf, k } = instruction;
    format!("code {code}, jt {jt}, jf {jf}, k {k}")
}

/// As libpcap's `bpf_image` words it.
fn line(at: usize, instruction: &Instruction) -> String {
    let Instruction { code, jt, jf, k } = *instruction;
    let size = |word: &'static str, half: &'static str, byte: &'static str| match code & 0x18 {
        H => half,
        B => byte,
        _ => word,
    };
    let (name, operand) = match code & 7 {
        LD => match code & 0xe0 {
            IMM => ("ld", format!("#0x{k:x}")),
            MEM => ("ld", format!("M[{k}]")),
            LEN => ("ld", "#pktlen".to_owned()),
            IND => (size("ld", "ldh", "ldb"), format!("[x + {k}]")),
            _ => (size("ld", "ldh", "ldb"), format!("[{k}]")),
        },
        LDX => match code & 0xe0 {
            IMM => ("ldx", format!("#0x{k:x}")),
            MEM => ("ldx", format!("M[{k}]")),
            LEN => ("ldx", "#pktlen".to_owned()),
            _ => ("ldxb", format!("4*([{k}]&0xf)")),
        },
        ST => ("st", format!("M[{k}]")),
        STX => ("stx", format!("M[{k}]")),
        JMP => {
            let name = match code & 0xf0 {
                JA => "ja",
                JEQ => "jeq",
                JGT => "jgt",
                JGE => "jge",
                _ => "jset",
            };
            let operand = match (code & 0xf0, code & 8) {
                (JA, _) => (at + 1 + k as usize).to_string(),
                (_, X) => "x".to_owned(),
                _ => format!("#0x{k:x}"),
            };
            (name, operand)
        }
        ALU => {
            let name = match code & 0xf0 {
                ADD => "add",
                SUB => "sub",
                MUL => "mul",
                DIV => "div",
                MOD => "mod",
                AND => "and",
                OR => "or",
                XOR => "xor",
                LSH => "lsh",
                RSH => "rsh",
                _ => "neg",
            };
            let operand = match (code & 0xf0, code & 8) {
                (NEG, _) => String::new(),
                (_, X) => "x".to_owned(),
                (AND | OR | XOR, _) => format!("#0x{k:x}"),
                _ => format!("#{k}"),
            };
            (name, operand)
        }
        RET => match code & !7 {
            A => ("ret", String::new()),
            _ => ("ret", format!("#{k}")),
        },
        _ => match code & !7 {
            TAX => ("tax", String::new()),
            _ => ("txa", String::new()),
        },
    };
    let mut line = format!("{name:<8} {operand}");
    if code & 7 == JMP && code & 0xf0 != JA {
        let (yes, no) = (at + 1 + usize::from(jt), at + 1 + usize::from(jf));
        write!(
            line,
            "{:width$}jt {yes}\tjf {no}",
            "",
            width = 17_usize.saturating_sub(operand.len())
        )
        .expect("a String takes all");
    }
    line
}
