//! Where the echoes of `overhead` go: the far end, the interface that leads there, and a socket for
//! each of the three ways.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    echo::{EchoSocket, Kind, PATIENCE},
    overhead::OverheadConfig,
};
use crate::{
    latency::Overhead,
    netns::{NetNs, NetNsError},
    privilege::{Capability, why_denied},
    target::Target,
    topology::{Link, TopologyError, default_gateway, device_to, links},
};

/// Round trips that do not count: neighbours are resolved and caches filled.
pub(super) const WARM_UP: u64 = 20;
/// So many echoes without any reply, and nobody is there.
const GIVE_UP: u64 = 3;

/// Sockets for the target's loopback, the host's, and the way to the gateway; each where it can be
/// had.
pub(super) type EchoWays = [Option<EchoSocket>; 3];

/// The way that is compared with loopback.
pub(super) struct Way {
    /// The far end.
    pub(super) to: IpAddr,
    /// The device of a link-local address, by index; 0 for others.
    scope: u32,
    /// The interface whose taps are wanted, as the kernel names it.
    pub(super) interface: String,
    /// What is odd about it.
    pub(super) missing: Vec<String>,
}

/// Finds the far end and the interface that leads there.
pub(super) fn way_of(target: &Target, config: &OverheadConfig) -> Result<Way> {
    let (ns, label) = (&target.ns, &target.label);
    let links = links(ns)?;
    let named = config.interface.as_deref();
    let named = named.map(|name| find(&links, label, name)).transpose()?;
    let (to, device) = match config.to.map(|to| to.to_canonical()) {
        Some(to) if is_link_local(to) => {
            let Some(link) = named else {
                bail!("{to} is a link-local address: say with -i by which interface of {label}");
            };
            (to, link.index)
        }
        Some(to) => {
            let device = device_to(ns, to)?;
            (
                to,
                device.with_context(|| format!("{label} has no route to {to}"))?,
            )
        }
        None => {
            let gateway = default_gateway(ns, named.map(|link| link.index))?;
            let gateway = gateway.with_context(|| {
                let by = named.map(|link| format!(" through {}", link.printable_name()));
                format!(
                    "{label} has no default route with a gateway{}; name an address that answers \
                     echoes with --to ADDRESS",
                    by.unwrap_or_default()
                )
            })?;
            (gateway.address, gateway.index)
        }
    };
    let leads = links.iter().find(|link| link.index == device);
    let mut missing = Vec::new();
    if let (Some(named), Some(leads)) = (named, leads)
        && named.index != leads.index
    {
        let (named, leads) = (named.printable_name(), leads.printable_name());
        missing.push(format!("{named} is not on the way to {to}, {leads} is"));
    }
    let tapped = named.or(leads);
    let tapped = tapped.with_context(|| format!("the route of {label} to {to} has changed"))?;
    Ok(Way {
        to,
        scope: if is_link_local(to) { device } else { 0 },
        interface: tapped.name.clone(),
        missing,
    })
}

fn find<'a>(links: &'a [Link], label: &str, name: &str) -> Result<&'a Link, TopologyError> {
    links.iter().find(|link| link.name == name).ok_or_else(|| {
        let there: Vec<String> = links.iter().map(Link::printable_name).collect();
        TopologyError::NoSuchInterface {
            label: label.to_owned(),
            name: name.to_owned(),
            there: there.join(", "),
        }
    })
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Opens a socket for each way, all of one kind, since kinds differ in cost. A loopback that cannot
/// be had is told in `missing`.
pub(super) fn open(
    target: &Target,
    way: &Way,
    missing: &mut Vec<String>,
) -> Result<(Kind, EchoWays)> {
    let v6 = way.to.is_ipv6();
    let inside = |kind| -> Result<io::Result<[EchoSocket; 2]>, NetNsError> {
        let pair = || Ok([EchoSocket::open(kind, v6)?, EchoSocket::open(kind, v6)?]);
        target.ns.run(pair)
    };
    let host = |kind| -> Result<EchoSocket, String> {
        let ns = NetNs::host().map_err(|why| why.to_string())?;
        let opened = ns.run(|| EchoSocket::open(kind, v6));
        opened
            .map_err(|why| why.to_string())?
            .map_err(|why| denied(&why))
    };
    let pings = (inside(Kind::Datagram)?, host(Kind::Datagram));
    let (kind, pair, host) = match pings {
        (Ok(pair), Ok(host)) => (Kind::Datagram, pair, Ok(host)),
        (pings, _) => match (inside(Kind::Raw)?, pings) {
            (Ok(pair), _) => (Kind::Raw, pair, host(Kind::Raw)),
            // Ping sockets are all we may have, and the host lets us have none.
            (Err(why), Ok(pair)) => (Kind::Datagram, pair, Err(denied(&why))),
            (Err(why), Err(_)) => bail!(
                "cannot send ICMP echoes from {}: {}; nor does net.ipv4.ping_group_range let this \
                 group use ping sockets there",
                target.label,
                denied(&why)
            ),
        },
    };
    let loopback = if v6 {
        Ipv6Addr::LOCALHOST.into()
    } else {
        Ipv4Addr::LOCALHOST.into()
    };
    let mut near = |name: String, socket: Result<EchoSocket, String>| {
        let connected = socket.and_then(|mut socket| {
            let done = socket.connect(loopback, 0);
            done.map(|()| socket)
                .map_err(|why| format!("{why}; is lo up?"))
        });
        connected
            .map_err(|why| missing.push(format!("{name}: {why}")))
            .ok()
    };
    let [own, mut far] = pair;
    let near = [
        near(format!("{}'s loopback", target.label), Ok(own)),
        // Where the target is the host, there is no other.
        if target.ns.is_host() {
            None
        } else {
            near("the host's loopback".to_owned(), host)
        },
    ];
    far.connect(way.to, way.scope).with_context(|| {
        format!(
            "cannot send ICMP echoes to {} from {}",
            way.to, target.label
        )
    })?;
    let [own, host] = near;
    Ok((kind, [own, host, Some(far)]))
}

/// Why a socket was refused, with the right that is missing.
fn denied(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::PermissionDenied => why_denied(&[Capability::NetRaw]),
        _ => format!("the kernel has no such socket: {why}"),
    }
}

/// First round trips, which do not count: finds out who does not answer. Returns about how long a
/// round trip takes on all ways together.
pub(super) fn warm_up(
    ways: &mut EchoWays,
    result: &mut Overhead,
    is_over: impl Fn() -> bool,
) -> Result<Duration> {
    let label = &result.target.label;
    let names = [
        format!("{label}'s loopback"),
        "the host's loopback".to_owned(),
    ];
    let mut all = 0;
    for (n, way) in ways.iter_mut().enumerate() {
        let Some(socket) = way else { continue };
        let mut times = Vec::new();
        for made in 0..WARM_UP {
            if is_over() || (made >= GIVE_UP && times.is_empty()) {
                break;
            }
            times.extend(socket.trip());
        }
        all += times.iter().sum::<u64>() / times.len().max(1) as u64;
        if !times.is_empty() || is_over() {
            continue;
        }
        let said = socket
            .refused()
            .map_or_else(String::new, |errno| format!(" ({errno})"));
        match names.get(n) {
            Some(name) => {
                let why = format!("{name}: no reply to {GIVE_UP} echoes{said}; is lo up?");
                result.missing.push(why);
                *way = None;
            }
            None => bail!(
                "{} does not answer ICMP echoes from {label}: no reply to {GIVE_UP} of them within \
                 {} s each{said}; name an address that answers with --to ADDRESS",
                result.to,
                PATIENCE.as_secs()
            ),
        }
    }
    Ok(Duration::from_nanos(all))
}
