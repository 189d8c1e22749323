//! Programs of classic BPF that nobody would write, made by chance that repeats itself.

use netns_trace::filter::{Instruction, Program};

/// Chance: the same for the same seed (xorshift64*).
pub struct Chance(u64);

impl Chance {
    /// Begins with a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (high % u64::from(end)) as u32
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize]
    }

    /// A constant: small ones, odd ones, and any.
    fn constant(&mut self) -> u32 {
        match self.below(4) {
            0 => self.below(40),
            1 => self.of(&[
                0,
                1,
                31,
                32,
                33,
                0x7fff_ffff,
                0x8000_0000,
                0xffff_ffff,
                0x0800,
                0x8100,
            ]),
            2 => self.below(0x1_0000),
            _ => self.below(u32::MAX),
        }
    }

    /// An offset: mostly where packets are, often about a VLAN tag, at times far away.
    fn offset(&mut self) -> u32 {
        match self.below(8) {
            0..=3 => 6 + self.below(14),
            4..=6 => self.below(100),
            _ => self.constant(),
        }
    }

    /// A program.
    ///
    /// # Panics
    ///
    /// If it is none, which is this module's fault.
    pub fn program(&mut self) -> Program {
        let length = 3 + self.below(40);
        let mut all = Vec::new();
        for at in 0..length {
            let left = length - at - 1;
            all.push(self.instruction(left));
        }
        // The last one ends it.
        let (code, k) = self.of(&[(0x06, 0), (0x06, 1), (0x16, 0), (0x16, 0)]);
        all.push(Instruction {
            code,
            k,
            ..Instruction::default()
        });
        Program::new(all).expect("a program")
    }

    /// An instruction with so many behind it, beside the last.
    fn instruction(&mut self, left: u32) -> Instruction {
        let mut one = Instruction::default();
        match self.below(16) {
            0..=4 => {
                // Loads from the packet: words, half-words, bytes.
                one.code = self.of(&[0x20, 0x28, 0x30, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xb1]);
                one.k = self.offset();
                if one.code & 0xe0 == 0x20 && one.k >= 0xffff_f000 {
                    one.k = 12;
                }
            }
            5 => {
                one.code = self.of(&[0x00, 0x01, 0x80, 0x81]);
                one.k = if one.code == 0x01 {
                    self.below(30)
                } else {
                    self.constant()
                };
            }
            6 => {
                one.code = self.of(&[0x60, 0x61, 0x02, 0x03]);
                one.k = self.below(16);
            }
            7 => one.code = self.of(&[0x07, 0x87]),
            8..=11 => {
                let operation = self.of(&[
                    0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xa0,
                ]);
                let of_x = if operation == 0x80 {
                    0
                } else {
                    self.of(&[0, 8])
                };
                one.code = 0x04 | operation | of_x;
                one.k = self.constant();
                if matches!(operation, 0x30 | 0x90) && of_x == 0 {
                    one.k = one.k.max(1);
                }
            }
            _ => {
                one.code = 0x05 | self.of(&[0x00, 0x10, 0x20, 0x30, 0x40]) | self.of(&[0, 8]);
                if one.code & 0xf0 == 0 {
                    one.code = 0x05;
                    one.k = self.below(left.min(8) + 1);
                } else {
                    one.k = self.constant();
                    one.jt = self.below(left.min(12) + 1) as u8;
                    one.jf = self.below(left.min(12) + 1) as u8;
                }
            }
        }
        one
    }
}

/// As `tcpdump -ddd` prints it.
#[must_use]
pub fn text(program: &Program) -> String {
    let all = program.instructions();
    let line = |one: &Instruction| format!("{} {} {} {}\n", one.code, one.jt, one.jf, one.k);
    let lines: String = all.iter().map(line).collect();
    format!("{}\n{lines}", all.len())
}
