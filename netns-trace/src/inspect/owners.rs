//! Who has a namespace's sockets open, for telling whose packets are whose.

use std::collections::HashSet;

use super::{
    processes,
    sockets::{self, Socket},
};
use crate::{
    netns::{NetNs, NetNsError},
    process::{Endpoint, OwnedSocket, Process},
};

/// The sockets of a namespace that a process has open. Where several have one, it is the first's, by number.
///
/// # Errors
///
/// The namespace cannot be entered.
pub fn socket_owners(ns: &NetNs) -> Result<Vec<OwnedSocket>, NetNsError> {
    let (sockets, _) = ns.run(|| sockets::sockets_here(&|index| index.to_string()))?;
    let inodes: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let found = processes::find(ns, &inodes);
    let owned = sockets.iter().filter_map(|socket| {
        let holder = found.holders.get(&socket.inode)?.first()?;
        let process = Process::new(holder.process.pid, holder.process.command.as_bytes());
        owned(socket, process)
    });
    Ok(owned.collect())
}

fn owned(socket: &Socket, process: Process) -> Option<OwnedSocket> {
    let local = socket.local?;
    let (protocol, has_ports) = match (socket.protocol, socket.family) {
        ("tcp", _) => (libc::IPPROTO_TCP, true),
        ("udp", _) => (libc::IPPROTO_UDP, true),
        ("udplite", _) => (libc::IPPROTO_UDPLITE, true),
        // The identifier of its echoes is in the port's place.
        ("icmp", Some(4)) => (libc::IPPROTO_ICMP, true),
        ("icmp", _) => (libc::IPPROTO_ICMPV6, true),
        ("raw", _) => (i32::from(local.port), false),
        _ => return None,
    };
    let end = |end: sockets::Endpoint| Endpoint {
        // What is IPv4 on the wire may have a socket of IPv6.
        address: end.address.to_canonical(),
        port: if has_ports { end.port } else { 0 },
    };
    // An echo's other end has no port, where packets have the identifier.
    let is_echo = socket.protocol == "icmp";
    Some(OwnedSocket {
        protocol: u8::try_from(protocol).ok()?,
        local: end(local),
        remote: socket.remote.map(|remote| Endpoint {
            port: if is_echo {
                local.port
            } else {
                end(remote).port
            },
            ..end(remote)
        }),
        process,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn our_own_connection_is_ours() {
        let listener = TcpListener::bind("[::]:0").expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let own = stream.local_addr().expect("its address");
        let ns = NetNs::current().expect("our namespace");
        let owners = socket_owners(&ns).expect("the owners");
        let of = |address: IpAddr, port: u16| {
            let end = Endpoint { address, port };
            let socket = owners.iter().find(|socket| socket.local == end);
            socket.unwrap_or_else(|| panic!("{end:?} is missing"))
        };
        let client = of(own.ip(), own.port());
        assert_eq!(client.process.pid, std::process::id());
        assert_eq!(client.remote.map(|remote| remote.port), Some(port));
        let server = of("::".parse().expect("an address"), port);
        assert_eq!((server.protocol, server.remote), (6, None));
    }
}
