//! What a lab is to look like: topology, names, addresses. Nothing here touches the machine.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::LabError;

/// How the namespaces of a lab are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Topology {
    /// Containers on a bridge, which is in a lab router.
    Bridge,
    /// As `bridge`; the router also has an uplink to a namespace outside, and masquerades.
    Nat,
    /// Two namespaces, joined by one veth pair.
    Direct,
    /// Each namespace is joined to the next one, and the last to the first; all of them route.
    Ring,
    /// Each namespace is joined to each other one.
    Mesh,
    /// One namespace on a bridge that was there before.
    Attached,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bridge => "bridge",
            Self::Nat => "nat",
            Self::Direct => "direct",
            Self::Ring => "ring",
            Self::Mesh => "mesh",
            Self::Attached => "attached",
        })
    }
}

/// An address with its prefix length, such as `10.77.0.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    /// The address as written, host bits and all.
    pub address: IpAddr,
    /// The prefix length in bits.
    pub prefix: u8,
}

impl FromStr for Cidr {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        let read = || {
            let (address, prefix) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let prefix: u8 = prefix.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            (prefix <= most).then_some(Self { address, prefix })
        };
        read().ok_or_else(|| {
            LabError::Spec(format!(
                "{text:?} is no address with a prefix length, such as 10.77.0.2/24"
            ))
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl TryFrom<String> for Cidr {
    type Error = LabError;

    fn try_from(text: String) -> Result<Self, LabError> {
        text.parse()
    }
}

/// What to build.
#[derive(Debug, Clone)]
pub struct LabSpec {
    /// How the namespaces are joined; [`Topology::Attached`] is built by [`super::attach`].
    pub topology: Topology,
    /// The lab's name, which the names of its namespaces begin with.
    pub name: String,
    /// How many namespaces, besides router and outside; `None` for 2, or 3 in ring and mesh.
    pub count: Option<usize>,
    /// The IPv4 subnet, of which ring and mesh take a /30 for each pair.
    pub subnet: Cidr,
    /// The IPv6 subnet, a /64; `None` for one of the unique local range, made of the IPv4 one.
    pub subnet6: Option<Cidr>,
}

impl LabSpec {
    /// A lab of the default size and subnet, 10.77.0.0/24.
    pub fn new(topology: Topology, name: impl Into<String>) -> Self {
        Self {
            topology,
            name: name.into(),
            count: None,
            subnet: Cidr {
                address: Ipv4Addr::new(10, 77, 0, 0).into(),
                prefix: 24,
            },
            subnet6: None,
        }
    }

    /// Checks everything that can be checked beforehand, and lays the lab out.
    pub(super) fn plan(&self) -> Result<Plan, LabError> {
        check_name(&self.name)?;
        let refuse = |why: String| Err(LabError::Spec(why));
        let (least, usual) = match self.topology {
            Topology::Bridge | Topology::Nat => (1, 2),
            Topology::Direct => (2, 2),
            Topology::Ring => (3, 3),
            Topology::Mesh => (2, 3),
            Topology::Attached => return refuse("an attached namespace needs a bridge".into()),
        };
        let count = self.count.unwrap_or(usual);
        if count < least || (self.topology == Topology::Direct && count > 2) {
            let bound = if count < least { "at least" } else { "exactly" };
            return refuse(format!(
                "a {} lab has {bound} {least} namespaces, not {count}",
                self.topology
            ));
        }
        let plan = Plan {
            count,
            v4: self.network4()?,
            v6: self.network6()?,
        };
        let (wanted, room) = match self.topology {
            Topology::Ring => (count, plan.v4.pairs()),
            Topology::Mesh => (count.saturating_mul(count - 1) / 2, plan.v4.pairs()),
            _ => (count, plan.v4.hosts() - 1),
        };
        if wanted > room || count > MOST {
            return refuse(format!(
                "{count} namespaces are too many for {} in a {} lab (at most {MOST}, and no more \
                 than the subnet has room for)",
                self.subnet, self.topology
            ));
        }
        Ok(plan)
    }

    fn network4(&self) -> Result<Network4, LabError> {
        let Cidr { address, prefix } = self.subnet;
        let refuse = |why: &str| Err(LabError::Spec(format!("--subnet {}: {why}", self.subnet)));
        let IpAddr::V4(v4) = address else {
            return refuse("it must be of IPv4; --subnet6 takes the one of IPv6");
        };
        if !(8..=29).contains(&prefix) {
            return refuse("the prefix length must be from 8 to 29");
        }
        let mask = u32::MAX << (32 - prefix);
        if v4.to_bits() & !mask != 0 {
            return refuse("it has bits beyond its prefix length");
        }
        if v4.is_loopback() || v4.is_multicast() || v4.is_unspecified() || v4.is_broadcast() {
            return refuse("no host can have its addresses");
        }
        let outside = OUTSIDE4.to_bits();
        if outside & mask == v4.to_bits() || v4.to_bits() & 0xffff_ff00 == outside {
            return refuse("203.0.113.0/24 is what the lab has outside");
        }
        Ok(Network4 {
            base: v4.to_bits(),
            prefix,
        })
    }

    fn network6(&self) -> Result<u128, LabError> {
        let IpAddr::V4(v4) = self.subnet.address else {
            return Err(LabError::Spec("--subnet must be of IPv4".into()));
        };
        let Some(subnet) = self.subnet6 else {
            // fd6e:7473 is "nts" in the unique local range (RFC 4193).
            let [a, b, c, d] = v4.octets().map(u16::from);
            let made = Ipv6Addr::new(0xfd6e, 0x7473, a << 8 | b, c << 8 | d, 0, 0, 0, 0);
            return Ok(made.to_bits());
        };
        match subnet.address {
            IpAddr::V6(v6)
                if subnet.prefix == 64
                    && v6.to_bits() & u128::from(u64::MAX) == 0
                    && !v6.is_multicast()
                    && !v6.is_unspecified() =>
            {
                Ok(v6.to_bits())
            }
            _ => Err(LabError::Spec(format!(
                "--subnet6 {subnet}: it must be a /64 of IPv6, such as fd00:77::/64"
            ))),
        }
    }
}

/// More namespaces than a machine builds in a few seconds.
const MOST: usize = 250;
/// The subnet between router and outside, TEST-NET-3 (RFC 5737): inside the lab alone.
pub(super) const OUTSIDE4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 0);
/// The same for IPv6, of the documentation range (RFC 3849).
pub(super) const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0);

/// The numbers of a lab that passed its checks.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) count: usize,
    v4: Network4,
    v6: u128,
}

#[derive(Debug)]
struct Network4 {
    base: u32,
    prefix: u8,
}

impl Network4 {
    fn hosts(&self) -> usize {
        (1 << (32 - self.prefix)) - 2
    }

    fn pairs(&self) -> usize {
        1 << (30 - self.prefix)
    }
}

impl Plan {
    /// The addresses of host `number` (from 1) in the one subnet.
    pub(super) fn host(&self, number: u32) -> Vec<Cidr> {
        vec![
            Cidr {
                address: Ipv4Addr::from_bits(self.v4.base + number).into(),
                prefix: self.v4.prefix,
            },
            Cidr {
                address: Ipv6Addr::from_bits(self.v6 + u128::from(number)).into(),
                prefix: 64,
            },
        ]
    }

    /// The addresses of end 0 or 1 of pair `number` (from 0), which has a subnet of its own.
    pub(super) fn pair(&self, number: u32, end: u32) -> Vec<Cidr> {
        // A /112 for each pair, numbered above the host part.
        let v6 = self.v6 + (u128::from(number) << 16) + u128::from(end + 1);
        vec![
            Cidr {
                address: Ipv4Addr::from_bits(self.v4.base + number * 4 + end + 1).into(),
                prefix: 30,
            },
            Cidr {
                address: Ipv6Addr::from_bits(v6).into(),
                prefix: 112,
            },
        ]
    }
}

/// The addresses between router (1) and outside (2).
pub(super) fn outside(number: u32) -> Vec<Cidr> {
    vec![
        Cidr {
            address: Ipv4Addr::from_bits(OUTSIDE4.to_bits() + number).into(),
            prefix: 24,
        },
        Cidr {
            address: Ipv6Addr::from_bits(OUTSIDE6.to_bits() + u128::from(number)).into(),
            prefix: 64,
        },
    ]
}

/// The last part of a namespace's name: a, b, … z, aa, ab, …
pub(super) fn letters(mut number: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.insert(0, b'a' + (number % 26) as u8);
        if number < 26 {
            return String::from_utf8_lossy(&letters).into_owned();
        }
        number = number / 26 - 1;
    }
}

/// The name of a namespace's host side: `v` and the name, of which a long one loses its head,
/// since names of one lab differ in their ends.
pub(super) fn host_side(name: &str) -> String {
    const ROOM: usize = libc::IFNAMSIZ - 2; // without the `v` and the NUL
    format!("v{}", &name[name.len().saturating_sub(ROOM)..])
}

/// A lab's name becomes part of file and interface names.
pub(crate) fn check_name(name: &str) -> Result<(), LabError> {
    let good = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if good {
        return Ok(());
    }
    Err(LabError::Spec(format!(
        "{name:?} cannot be a lab's name: it takes up to 64 letters, digits, '-', '_' and '.', \
         and begins with a letter or digit"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(topology: Topology, count: usize, subnet: &str) -> Result<Plan, LabError> {
        LabSpec {
            count: Some(count),
            subnet: subnet.parse()?,
            ..LabSpec::new(topology, "lab")
        }
        .plan()
    }

    #[test]
    fn names_count_as_columns_of_a_table_do() {
        let named: Vec<String> = [0, 1, 25, 26, 27, 51, 52, 701, 702].map(letters).into();
        assert_eq!(named, ["a", "b", "z", "aa", "ab", "az", "ba", "zz", "aaa"]);
    }

    #[test]
    fn host_sides_fit_an_interface_name() {
        assert_eq!(host_side("lab-a"), "vlab-a");
        assert_eq!(host_side("abcdefghijkl-a"), "vabcdefghijkl-a");
        assert_eq!(host_side("abcdefghijklmnop-a"), "vefghijklmnop-a");
    }

    #[test]
    fn hosts_and_pairs_have_addresses_of_their_own() {
        let plan = LabSpec::new(Topology::Mesh, "lab").plan().expect("a plan");
        let shown = |cidrs: Vec<Cidr>| cidrs.iter().map(Cidr::to_string).collect::<Vec<_>>();
        assert_eq!(shown(plan.host(2)), ["10.77.0.2/24", "fd6e:7473:a4d::2/64"]);
        assert_eq!(
            shown(plan.pair(0, 1)),
            ["10.77.0.2/30", "fd6e:7473:a4d::2/112"]
        );
        assert_eq!(
            shown(plan.pair(2, 0)),
            ["10.77.0.9/30", "fd6e:7473:a4d::2:1/112"]
        );
    }

    #[test]
    fn subnets_have_to_fit() {
        assert!(spec(Topology::Bridge, 5, "10.1.2.0/29").is_ok());
        assert!(spec(Topology::Bridge, 6, "10.1.2.0/29").is_err());
        assert!(spec(Topology::Mesh, 11, "10.1.2.0/24").is_ok());
        assert!(spec(Topology::Mesh, 12, "10.1.2.0/24").is_err());
        assert!(spec(Topology::Ring, 2, "10.1.2.0/24").is_err());
        assert!(spec(Topology::Direct, 3, "10.1.2.0/24").is_err());
        assert!(spec(Topology::Bridge, usize::MAX, "10.0.0.0/8").is_err());
        for subnet in [
            "10.1.2.1/24",
            "10.1.2.0/30",
            "10.1.2.0/33",
            "10.1.2.0",
            "127.0.0.0/8",
            "0.0.0.0/8",
            "224.0.0.0/24",
            "fd00::/64",
            "203.0.113.0/24",
            "203.0.113.128/25",
            "203.0.0.0/16",
            "x",
        ] {
            assert!(spec(Topology::Bridge, 2, subnet).is_err(), "{subnet}");
        }
    }

    #[test]
    fn a_lab_is_named_like_a_file() {
        for name in ["lab", "7", "a.b_c-d"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "-a",
            "a/b",
            "a b",
            "ä",
            "a\x1b",
            &"a".repeat(65),
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
