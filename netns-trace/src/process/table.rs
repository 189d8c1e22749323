//! What is known of the sockets of one namespace.

use std::{collections::HashMap, sync::Arc};

use super::{Endpoint, Flow, Process};
use crate::recent::Recent;

/// Sockets and flows that are remembered at least.
const MAX_KNOWN: usize = 32 << 10;

/// A socket, and who has it open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedSocket {
    /// The protocol's number.
    pub protocol: u8,
    /// Its own end; the unspecified address for any.
    pub local: Endpoint,
    /// The other end, once it is connected.
    pub remote: Option<Endpoint>,
    /// Who has it open.
    pub process: Process,
}

/// The processes behind sockets, and behind the flows of namespaces. Bounded, whatever comes.
#[derive(Debug)]
pub struct ProcessTable {
    /// By the sockets' numbers, which are the whole machine's.
    sockets: Recent<u64, Arc<Process>>,
    /// By the namespaces' inodes.
    namespaces: HashMap<u64, Ends>,
}

impl Default for ProcessTable {
    fn default() -> Self {
        Self {
            sockets: Recent::new(MAX_KNOWN),
            namespaces: HashMap::new(),
        }
    }
}

impl ProcessTable {
    /// Takes in the sockets that there are now in a namespace. Those that are gone stay known where packets may
    /// still be theirs.
    pub fn take_in(&mut self, namespace: u64, sockets: Vec<OwnedSocket>) {
        let ends = self.namespaces.entry(namespace).or_default();
        ends.take_in(sockets);
    }

    /// Forgets a namespace that is gone.
    pub fn forget(&mut self, namespace: u64) {
        self.namespaces.remove(&namespace);
    }

    /// Whose packet it is that was sent by `socket`, its cookie, or 0; where it is known, from this namespace and
    /// with these ends. `made` tells who has made a socket.
    pub fn sender(
        &mut self,
        socket: u64,
        ends: Option<(u64, &Flow)>,
        made: impl FnOnce(u64) -> Option<Process>,
    ) -> Option<Arc<Process>> {
        let mut process = self.sockets.get(&socket).cloned();
        if process.is_none() && socket != 0 {
            process = made(socket).map(Arc::new);
        }
        let process = match (process, ends) {
            (Some(process), _) => process,
            (None, Some((namespace, flow))) => self.namespaces.get_mut(&namespace)?.owner(flow)?,
            (None, None) => return None,
        };
        if socket != 0 {
            self.sockets.insert(socket, Arc::clone(&process));
        }
        if let Some((namespace, flow)) = ends {
            let ends = self.namespaces.entry(namespace).or_default();
            ends.flows.insert(*flow, Arc::clone(&process));
        }
        Some(process)
    }

    /// Whose packet it is that comes to this namespace.
    pub fn receiver(&mut self, namespace: u64, flow: &Flow) -> Option<Arc<Process>> {
        self.namespaces.get_mut(&namespace)?.owner(flow)
    }
}

/// What is known of one namespace.
#[derive(Debug)]
struct Ends {
    flows: Recent<Flow, Arc<Process>>,
    /// Sockets that are not connected, by their own end.
    listeners: HashMap<(u8, Endpoint), Arc<Process>>,
    /// The same by protocol and port alone, for those that take any address.
    anywhere: HashMap<(u8, u16), Arc<Process>>,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            flows: Recent::new(MAX_KNOWN),
            listeners: HashMap::new(),
            anywhere: HashMap::new(),
        }
    }
}

impl Ends {
    fn take_in(&mut self, sockets: Vec<OwnedSocket>) {
        self.listeners.clear();
        self.anywhere.clear();
        for socket in sockets {
            let (protocol, local) = (socket.protocol, socket.local);
            let process = Arc::new(socket.process);
            match socket.remote {
                Some(remote) => {
                    let flow = Flow {
                        protocol,
                        local,
                        remote,
                    };
                    self.flows.insert(flow, process);
                }
                None if local.address.is_unspecified() => {
                    self.anywhere.insert((protocol, local.port), process);
                }
                None => {
                    self.listeners.insert((protocol, local), process);
                }
            }
        }
    }

    fn owner(&mut self, flow: &Flow) -> Option<Arc<Process>> {
        if let Some(process) = self.flows.get(flow) {
            return Some(Arc::clone(process));
        }
        let listener = self.listeners.get(&(flow.protocol, flow.local));
        listener
            .or_else(|| self.anywhere.get(&(flow.protocol, flow.local.port)))
            .filter(|_| flow.local.port != 0)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS: u64 = 1;

    fn end(last: u8, port: u16) -> Endpoint {
        Endpoint {
            address: [10, 0, 0, last].into(),
            port,
        }
    }

    fn flow(local: u16, remote: u16) -> Flow {
        Flow {
            protocol: 6,
            local: end(1, local),
            remote: end(2, remote),
        }
    }

    fn nobody(_: u64) -> Option<Process> {
        None
    }

    fn name(process: Option<Arc<Process>>) -> Option<String> {
        process.map(|process| process.command.clone())
    }

    #[test]
    fn a_socket_s_maker_gets_its_answers_too() {
        let mut table = ProcessTable::default();
        let made = |cookie| (cookie == 5).then(|| Process::new(1, b"curl"));
        assert_eq!(name(table.receiver(NS, &flow(1000, 80))), None);
        assert_eq!(
            name(table.sender(5, Some((NS, &flow(1000, 80))), made)).as_deref(),
            Some("curl")
        );
        assert_eq!(
            name(table.receiver(NS, &flow(1000, 80))).as_deref(),
            Some("curl")
        );
        assert_eq!(
            name(table.sender(5, Some((NS, &flow(1000, 81))), nobody)).as_deref(),
            Some("curl")
        );
        assert_eq!(name(table.sender(0, Some((NS, &flow(1, 1))), made)), None);
        // At a tap of no namespace, the socket is enough; elsewhere the same ends are another's.
        assert_eq!(name(table.sender(5, None, nobody)).as_deref(), Some("curl"));
        assert_eq!(name(table.receiver(NS + 1, &flow(1000, 80))), None);
    }

    #[test]
    fn an_accepted_connection_is_its_listener_s_unless_more_is_known() {
        let mut table = ProcessTable::default();
        let any = Endpoint {
            address: [0, 0, 0, 0].into(),
            port: 80,
        };
        let of = |local, remote, command: &[u8]| OwnedSocket {
            protocol: 6,
            local,
            remote,
            process: Process::new(1, command),
        };
        table.take_in(
            NS,
            vec![
                of(any, None, b"any"),
                of(end(1, 81), None, b"one"),
                of(end(1, 80), Some(end(2, 7)), b"worker"),
            ],
        );
        assert_eq!(
            name(table.receiver(NS, &flow(80, 9))).as_deref(),
            Some("any")
        );
        assert_eq!(
            name(table.receiver(NS, &flow(80, 7))).as_deref(),
            Some("worker")
        );
        assert_eq!(
            name(table.sender(9, Some((NS, &flow(81, 9))), nobody)).as_deref(),
            Some("one")
        );
        assert_eq!(name(table.receiver(NS, &flow(82, 9))), None);
        // Another protocol's port is another one.
        let udp = Flow {
            protocol: 17,
            ..flow(80, 9)
        };
        assert_eq!(name(table.receiver(NS, &udp)), None);
    }
}
