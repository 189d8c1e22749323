//! Runs a filter here, as libpcap's `bpf_filter` does: for files, and to compare with the kernel.

use super::classic::{
    A, ABS, ADD, ALU, AND, Ancillary, B, DIV, H, IMM, IND, JA, JEQ, JGE, JGT, JMP, LD, LDX, LEN,
    LSH, MEM, MEMORY, MOD, MSH, MUL, NEG, OR, Program, RET, RSH, ST, STX, SUB, TXA, X, XOR,
};

/// A packet as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The bytes that are there.
    pub data: &'a [u8],
    /// How long it was before it was cut.
    pub length: u32,
    /// Whether it left by the interface.
    pub is_outgoing: bool,
    /// The interface's index.
    pub interface: u32,
}

impl Program {
    /// Whether a packet passes.
    #[must_use]
    pub fn accepts(&self, packet: &View<'_>) -> bool {
        run(self, packet).is_some_and(|result| result != 0)
    }
}

/// What a program returns; `None` where it asks for what is not there, or divides by zero.
fn run(program: &Program, packet: &View<'_>) -> Option<u32> {
    let (mut a, mut x) = (0_u32, 0_u32);
    let mut memory = [0_u32; MEMORY as usize];
    let mut at = 0;
    // Jumps lead forwards alone, so it ends.
    loop {
        let one = program.instructions().get(at)?;
        at += 1;
        let (code, k) = (one.code, one.k);
        let operand = if code & X == X { x } else { k };
        match code & 7 {
            LD | LDX => {
                let value = match code & 0xe0 {
                    IMM => k,
                    MEM => memory[k as usize],
                    LEN => packet.length,
                    MSH => 4 * (load(packet.data, B, k.into())? & 0xf),
                    IND => load(packet.data, code & 0x18, u64::from(x) + u64::from(k))?,
                    mode => {
                        debug_assert_eq!(mode, ABS);
                        match Ancillary::at(k) {
                            Some(Ancillary::PacketType) => 4 * u32::from(packet.is_outgoing),
                            Some(Ancillary::InterfaceIndex) => packet.interface,
                            None => load(packet.data, code & 0x18, k.into())?,
                        }
                    }
                };
                *(if code & 7 == LD { &mut a } else { &mut x }) = value;
            }
            ST => memory[k as usize] = a,
            STX => memory[k as usize] = x,
            ALU => {
                a = match code & 0xf0 {
                    ADD => a.wrapping_add(operand),
                    SUB => a.wrapping_sub(operand),
                    MUL => a.wrapping_mul(operand),
                    DIV => a.checked_div(operand)?,
                    MOD => a.checked_rem(operand)?,
                    OR => a | operand,
                    AND => a & operand,
                    XOR => a ^ operand,
                    LSH => a.checked_shl(operand).unwrap_or(0),
                    RSH => a.checked_shr(operand).unwrap_or(0),
                    operation => {
                        debug_assert_eq!(operation, NEG);
                        a.wrapping_neg()
                    }
                };
            }
            JMP => {
                let is_true = match code & 0xf0 {
                    JA => {
                        at += k as usize;
                        continue;
                    }
                    JEQ => a == operand,
                    JGT => a > operand,
                    JGE => a >= operand,
                    _ => a & operand != 0,
                };
                at += usize::from(if is_true { one.jt } else { one.jf });
            }
            RET => return Some(if code & !7 == A { a } else { k }),
            _ if code & !7 == TXA => a = x,
            _ => x = a,
        }
    }
}

fn load(data: &[u8], size: u16, at: u64) -> Option<u32> {
    let bytes = match size {
        B => 1,
        H => 2,
        _ => 4,
    };
    let at = usize::try_from(at).ok()?;
    let bytes = data.get(at..at.checked_add(bytes)?)?;
    Some(
        bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u32::from(*byte)),
    )
}
