//! Numbers in the byte order of a file.

/// In which order a number's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Big,
    Little,
}

impl Order {
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        self.number(bytes, at, 2) as u16
    }

    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        self.number(bytes, at, 4) as u32
    }

    pub(super) fn u64(self, bytes: &[u8], at: usize) -> u64 {
        self.number(bytes, at, 8)
    }

    /// A number of at most 8 bytes; 0 where they are not all there.
    fn number(self, bytes: &[u8], at: usize, len: usize) -> u64 {
        let bytes = bytes.get(at..at + len).unwrap_or_default().iter();
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self {
            Self::Big => bytes.fold(0, join),
            Self::Little => bytes.rev().fold(0, join),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_and_what_is_not_there() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(Order::Big.u16(&bytes, 1), 0x0203);
        assert_eq!(Order::Little.u32(&bytes, 0), 0x0403_0201);
        assert_eq!(Order::Big.u64(&bytes, 1), 0x0203_0405_0607_0809);
        assert_eq!(Order::Little.u64(&bytes, 2), 0);
    }
}
