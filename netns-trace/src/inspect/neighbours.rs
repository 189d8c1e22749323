//! Neighbours and whether they answer, as `ip neigh` lists them. Reads only.

use std::net::IpAddr;

use serde::Serialize;

use super::routes::{HEADER, MOST, Names, family};
use crate::topology::netlink::{self, Netlink, NetlinkError, attribute, u16_at, u32_at};

/// A neighbour on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// The device that leads to it. Not safe to print.
    pub device: String,
    /// Its hardware address, once it is known.
    pub mac: Option<String>,
    /// `reachable`, `stale`, `failed`, `permanent` and so on.
    pub state: &'static str,
}

/// The neighbours in the calling thread's namespace, but those that need no asking (`noarp`).
pub(super) fn neighbours_here(
    netlink: &mut Netlink,
    names: Names<'_>,
) -> Result<(Vec<Neighbour>, usize), NetlinkError> {
    let (answers, more) = netlink.dump_table(libc::RTM_GETNEIGH, &[0; HEADER], MOST)?;
    let read = |body: &[u8]| read_neighbour(body, names);
    Ok((
        answers
            .iter()
            .filter_map(|answer| read(&answer.body))
            .collect(),
        more,
    ))
}

// struct ndmsg and NDA_*; include/uapi/linux/neighbour.h.
pub(crate) fn read_neighbour(body: &[u8], names: Names<'_>) -> Option<Neighbour> {
    const NDA_DST: u16 = 1;
    const NDA_LLADDR: u16 = 2;
    let header = body.get(..HEADER)?;
    family(header[0])?; // a bridge's forwarding entries are something else
    let attributes = &body[HEADER..];
    let state = match u16_at(header, 8)? {
        0x01 => "incomplete",
        0x02 => "reachable",
        0x04 => "stale",
        0x08 => "delay",
        0x10 => "probe",
        0x20 => "failed",
        0x40 => return None, // noarp
        0x80 => "permanent",
        _ => "none",
    };
    let mac = attribute(attributes, NDA_LLADDR);
    let mac = mac.map(|mac| {
        mac.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
    });
    Some(Neighbour {
        address: attribute(attributes, NDA_DST).and_then(netlink::address)?,
        device: names(u32_at(header, 4)?),
        mac: mac.map(|mac| mac.join(":")),
        state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::netlink::write_attribute as attr;

    fn named(index: u32) -> String {
        format!("if{index}")
    }

    #[test]
    fn neighbours_have_a_state_in_words() {
        let mut body = vec![libc::AF_INET as u8, 0, 0, 0, 5, 0, 0, 0, 0x20, 0, 0, 1];
        body.extend(attr(1, &[10, 0, 0, 9]));
        let neighbour = read_neighbour(&body, &named).expect("a neighbour");
        assert_eq!(
            (neighbour.device.as_str(), neighbour.state),
            ("if5", "failed")
        );
        assert_eq!(neighbour.mac, None);
        for end in 0..body.len() {
            assert_eq!(read_neighbour(&body[..end], &named), None);
        }
        body[0] = libc::AF_BRIDGE as u8;
        assert_eq!(read_neighbour(&body, &named), None);
    }
}
