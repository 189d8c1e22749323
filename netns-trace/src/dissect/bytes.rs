//! Bytes of a packet that are there. A read beyond them says so; it never reads further and never panics.

/// What a field asked for is beyond the bytes that were captured, or beyond the layer around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Truncated;

/// The bytes of a layer from its start to the end of what was captured of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn len(self) -> usize {
        self.0.len()
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn all(self) -> &'a [u8] {
        self.0
    }

    /// Whether bytes up to `end` are there.
    pub(super) const fn has(self, end: usize) -> bool {
        end <= self.0.len()
    }

    /// What is behind `at`: nothing, if that is beyond the end.
    pub(super) fn from(self, at: usize) -> Self {
        Self(self.0.get(at..).unwrap_or_default())
    }

    /// At most `len` of them.
    pub(super) fn up_to(self, len: usize) -> Self {
        Self(self.0.get(..len).unwrap_or(self.0))
    }

    pub(super) fn slice(self, at: usize, len: usize) -> Result<&'a [u8], Truncated> {
        let end = at.checked_add(len).ok_or(Truncated)?;
        self.0.get(at..end).ok_or(Truncated)
    }

    pub(super) fn array<const N: usize>(self, at: usize) -> Result<[u8; N], Truncated> {
        self.slice(at, N)?.try_into().map_err(|_| Truncated)
    }

    pub(super) fn u8(self, at: usize) -> Result<u8, Truncated> {
        self.0.get(at).copied().ok_or(Truncated)
    }

    pub(super) fn u16(self, at: usize) -> Result<u16, Truncated> {
        Ok(u16::from_be_bytes(self.array(at)?))
    }

    pub(super) fn u24(self, at: usize) -> Result<u32, Truncated> {
        let [a, b, c] = self.array(at)?;
        Ok(u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn u32(self, at: usize) -> Result<u32, Truncated> {
        Ok(u32::from_be_bytes(self.array(at)?))
    }

    pub(super) fn u64(self, at: usize) -> Result<u64, Truncated> {
        Ok(u64::from_be_bytes(self.array(at)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let bytes = Bytes::new(&[1, 2, 3]);
        assert_eq!(bytes.u16(1), Ok(0x203));
        assert_eq!(bytes.u16(2), Err(Truncated));
        assert_eq!(bytes.u32(usize::MAX), Err(Truncated));
        assert_eq!(bytes.slice(usize::MAX, 2), Err(Truncated));
        assert_eq!(bytes.slice(3, 0), Ok(&[][..]));
        assert!(bytes.from(4).is_empty() && bytes.from(3).is_empty());
        assert_eq!(bytes.up_to(2).all(), [1, 2]);
        assert_eq!(bytes.up_to(9).len(), 3);
    }
}
