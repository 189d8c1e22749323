//! The internet checksum (RFC 1071).

/// What is left when all words are added: 0 if the checksum within them is right.
pub(super) fn remainder(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    let mut odd = false;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        sum += if odd {
            u64::from(*byte)
        } else {
            u64::from(*byte) << 8
        };
        odd = !odd;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What the checksum should have been, from what it is and what is left.
pub(super) fn expected(found: u16, remainder: u16) -> u16 {
    let mut sum = u32::from(found) + u32::from(remainder);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_ip_header() {
        let mut header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8,
            0, 0xc7,
        ];
        assert_eq!(remainder(&[&header]), 0);
        assert_eq!(
            remainder(&[&header[..7], &header[7..]]),
            0,
            "in parts of odd length"
        );
        header[10] = 0;
        header[11] = 1;
        let left = remainder(&[&header]);
        assert_ne!(left, 0);
        assert_eq!(expected(1, left), 0xb861);
    }
}
