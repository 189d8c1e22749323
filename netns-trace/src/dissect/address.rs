//! Addresses in words, with their names where there are some.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    Printer,
    bytes::{Bytes, Truncated},
};

/// A hardware address.
#[derive(Clone, Copy)]
pub(super) struct Mac<'a>(pub(super) &'a [u8]);

impl fmt::Display for Mac<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("<empty>");
        }
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// An IPv6 address as tcpdump writes it: one with 96 leading zero bits as IPv4, where Rust writes only
/// mapped ones so.
struct V6(Ipv6Addr);

impl fmt::Display for V6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.segments() {
            [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
                let [.., a, b, c, d] = self.0.octets();
                write!(f, "::{}", Ipv4Addr::new(a, b, c, d))
            }
            _ => write!(f, "{}", self.0),
        }
    }
}

impl Printer<'_> {
    /// An address, with its name behind it where it has one.
    pub(super) fn address(&self, address: IpAddr) -> String {
        let text = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => V6(v6).to_string(),
        };
        match self.names.get(&address) {
            Some(name) => format!("{text}[{}]", name.escape_debug()),
            None => text,
        }
    }

    /// The IPv4 address at `at`.
    pub(super) fn v4(&self, bytes: Bytes<'_>, at: usize) -> Result<String, Truncated> {
        let address: [u8; 4] = bytes.array(at)?;
        Ok(self.address(IpAddr::from(address)))
    }

    /// The IPv6 address at `at`.
    pub(super) fn v6(&self, bytes: Bytes<'_>, at: usize) -> Result<String, Truncated> {
        let address: [u8; 16] = bytes.array(at)?;
        Ok(self.address(IpAddr::from(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_as_tcpdump_writes_it() {
        let text = |address: &str| V6(address.parse().expect("an address")).to_string();
        for same in [
            "::",
            "::1",
            "fe80::1",
            "2001:db8::1:0:0:1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
        ] {
            assert_eq!(text(same), same);
        }
        assert_eq!(
            text("1:0:2:0:3:0:4:0"),
            "1:0:2:0:3:0:4:0",
            "one zero alone stays"
        );
    }

    #[test]
    fn hardware_addresses() {
        assert_eq!(Mac(&[0, 0xab, 1]).to_string(), "00:ab:01");
        assert_eq!(Mac(&[]).to_string(), "<empty>");
    }
}
