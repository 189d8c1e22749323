//! What is known of the sockets of one namespace.

use std::{collections::HashMap, sync::Arc};

use super::{Endpoint, Flow, PacketFlow, Process, flow::TCP};
use crate::recent::Recent;

/// Sockets and flows that are remembered at least.
const MAX_KNOWN: usize = 32 << 10;

/// A socket, and who has it open.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

/// Whose packet it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The process.
    pub process: Arc<Process>,
    /// How that is known.
    pub basis: Basis,
}

/// What an answer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The socket itself.
    Own,
    /// A socket that listens; who has accepted the connection is not known yet.
    Listener,
    /// A socket whose process has ended. Another one may have its port by now.
    Ended,
}

/// The processes behind sockets, and behind the flows of namespaces. Bounded, whatever comes.
#[derive(Debug)]
pub struct ProcessTable {
    /// By the sockets' numbers, which are the whole machine's; `None` where nobody is known to have made one. What is
    /// known by a flow alone is not remembered here: the kernel sends all its resets and echo replies by a few
    /// sockets of its own.
    sockets: Recent<u64, Option<Arc<Process>>>,
    /// By the namespaces' inodes.
    namespaces: HashMap<u64, Ends>,
    is_there: fn(&Process) -> bool,
}

impl ProcessTable {
    /// An empty one. `is_there` says whether a process has not ended.
    #[must_use]
    pub fn new(is_there: fn(&Process) -> bool) -> Self {
        Self {
            sockets: Recent::new(MAX_KNOWN),
            namespaces: HashMap::new(),
            is_there,
        }
    }

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
        ends: Option<(u64, &PacketFlow)>,
        made: impl FnOnce(u64) -> Option<Process>,
    ) -> Option<Answer> {
        let answer = match self.maker(socket, made) {
            Some(process) => Answer {
                process,
                basis: Basis::Own,
            },
            None => {
                let (namespace, packet) = ends?;
                let known = self.namespaces.get_mut(&namespace)?;
                known.owner(packet, self.is_there)?
            }
        };
        if let Some((namespace, packet)) = ends
            && answer.basis != Basis::Ended
        {
            let ends = self.namespaces.entry(namespace).or_default();
            ends.flows.insert(packet.flow, answer.clone());
        }
        Some(answer)
    }

    /// Whose packet it is that comes to this namespace.
    pub fn receiver(&mut self, namespace: u64, packet: &PacketFlow) -> Option<Answer> {
        let known = self.namespaces.get_mut(&namespace)?;
        known.owner(packet, self.is_there)
    }

    fn maker(
        &mut self,
        socket: u64,
        made: impl FnOnce(u64) -> Option<Process>,
    ) -> Option<Arc<Process>> {
        if socket == 0 {
            return None;
        }
        if let Some(known) = self.sockets.get(&socket) {
            return known.clone();
        }
        let process = made(socket).map(Arc::new);
        self.sockets.insert(socket, process.clone());
        process
    }
}

/// What is known of one namespace.
#[derive(Debug)]
struct Ends {
    flows: Recent<Flow, Answer>,
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
                    let answer = Answer {
                        process,
                        basis: Basis::Own,
                    };
                    self.flows.insert(flow, answer);
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

    /// Who is known for a packet's flow. A connection stays its process's, to its last packet; other ports may have
    /// been taken since. Nobody, where a process was known to listen that has ended.
    fn owner(&mut self, packet: &PacketFlow, is_there: fn(&Process) -> bool) -> Option<Answer> {
        let flow = &packet.flow;
        let known = self.flows.get(flow).filter(|_| !packet.is_accepted);
        if let Some(known) = known
            && (flow.protocol == TCP || is_there(&known.process))
        {
            return Some(known.clone());
        }
        let listener = (self.listeners.get(&(flow.protocol, flow.local)))
            .or_else(|| self.anywhere.get(&(flow.protocol, flow.local.port)))
            .filter(|_| flow.local.port != 0);
        let (process, basis) = match (listener, known) {
            (Some(process), _) => (is_there(process).then_some(process)?, Basis::Listener),
            (None, Some(known)) => (&known.process, Basis::Ended),
            (None, None) => return None,
        };
        Some(Answer {
            process: Arc::clone(process),
            basis,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const NS: u64 = 1;

    fn end(last: u8, port: u16) -> Endpoint {
        Endpoint {
            address: [10, 0, 0, last].into(),
            port,
        }
    }

    const UDP: u8 = 17;

    /// In the middle of a connection.
    fn flow(local: u16, remote: u16) -> PacketFlow {
        PacketFlow {
            flow: Flow {
                protocol: TCP,
                local: end(1, local),
                remote: end(2, remote),
            },
            is_accepted: false,
        }
    }

    fn nobody(_: u64) -> Option<Process> {
        None
    }

    fn name(answer: Option<Answer>) -> Option<String> {
        answer.map(|answer| answer.process.command.clone())
    }

    thread_local! {
        /// The process that has ended.
        static ENDED: Cell<u32> = const { Cell::new(0) };
    }

    fn table() -> ProcessTable {
        ENDED.set(0);
        ProcessTable::new(|process| process.pid != ENDED.get())
    }

    fn listening(port: u16, pid: u32, command: &[u8]) -> OwnedSocket {
        OwnedSocket {
            protocol: TCP,
            local: end(1, port),
            remote: None,
            process: Process::new(pid, command),
        }
    }

    #[test]
    fn a_socket_s_maker_gets_its_answers_too() {
        let mut table = table();
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
        let mut table = table();
        let any = Endpoint {
            address: [0, 0, 0, 0].into(),
            port: 80,
        };
        let of = |local, remote, command: &[u8]| OwnedSocket {
            protocol: TCP,
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
        let mut udp = flow(80, 9);
        udp.flow.protocol = UDP;
        assert_eq!(name(table.receiver(NS, &udp)), None);
    }

    #[test]
    fn a_socket_that_nobody_made_sends_for_many() {
        const KERNEL: u64 = 7;
        let mut table = table();
        let made = |_| Some(Process::new(1, b"curl"));
        table.sender(5, Some((NS, &flow(1000, 80))), made);
        // A reset after curl's end, then one for a port where nobody listens.
        let mut of = |port| name(table.sender(KERNEL, Some((NS, &flow(port, 80))), nobody));
        assert_eq!(of(1000).as_deref(), Some("curl"));
        assert_eq!(of(1001), None);
        assert_eq!(name(table.receiver(NS, &flow(1001, 80))), None);
    }

    #[test]
    fn a_maker_is_asked_for_once() {
        let mut table = table();
        assert_eq!(table.sender(5, None, nobody), None);
        let again = table.sender(5, None, |_| panic!("asked again"));
        assert_eq!(again, None);
    }

    #[test]
    fn a_server_that_was_started_again_has_its_ports() {
        for protocol in [TCP, UDP] {
            let mut table = table();
            let mut receiver = |socket: Option<OwnedSocket>| {
                if let Some(socket) = socket {
                    let socket = OwnedSocket { protocol, ..socket };
                    table.take_in(NS, vec![socket]);
                }
                let mut packet = flow(80, 5000);
                packet.flow.protocol = protocol;
                packet.is_accepted = protocol == TCP;
                let known = name(table.receiver(NS, &packet));
                table.sender(6, Some((NS, &packet)), nobody);
                known
            };
            let old = receiver(Some(listening(80, 1, b"old")));
            assert_eq!(old.as_deref(), Some("old"));
            // Of what has ended nothing is told, until the sockets were looked at.
            ENDED.set(1);
            assert_eq!(receiver(None), None);
            let new = receiver(Some(listening(80, 2, b"new")));
            assert_eq!(new.as_deref(), Some("new"));
        }
    }

    #[test]
    fn the_last_packets_of_a_connection_are_of_the_process_that_has_ended() {
        let mut table = table();
        let made = |_| Some(Process::new(1, b"server"));
        table.sender(5, Some((NS, &flow(80, 5000))), made);
        ENDED.set(1);
        let mut of = |sockets| {
            table.take_in(NS, sockets);
            name(table.receiver(NS, &flow(80, 5000)))
        };
        assert_eq!(of(vec![]).as_deref(), Some("server"));
        let new = of(vec![listening(80, 2, b"new")]);
        assert_eq!(new.as_deref(), Some("server"));
    }

    #[test]
    fn an_answer_to_who_has_ended_is_told_so() {
        let mut table = table();
        let mut packet = flow(5000, 53);
        packet.flow.protocol = UDP;
        let made = |_| Some(Process::new(1, b"dig"));
        table.sender(5, Some((NS, &packet)), made);
        let mut basis = || table.receiver(NS, &packet).map(|answer| answer.basis);
        assert_eq!(basis(), Some(Basis::Own));
        ENDED.set(1);
        assert_eq!(basis(), Some(Basis::Ended));
        let next = OwnedSocket {
            protocol: UDP,
            ..listening(5000, 2, b"next")
        };
        table.take_in(NS, vec![next]);
        assert_eq!(name(table.receiver(NS, &packet)).as_deref(), Some("next"));
    }

    #[test]
    fn who_accepted_a_connection_is_known_once_it_was_looked_at() {
        let mut table = table();
        table.take_in(NS, vec![listening(80, 1, b"listener")]);
        let at = flow(80, 5000);
        let answer = table.sender(5, Some((NS, &at)), nobody).expect("known");
        assert_eq!(answer.basis, Basis::Listener);
        let worker = OwnedSocket {
            remote: Some(at.flow.remote),
            ..listening(80, 2, b"worker")
        };
        table.take_in(NS, vec![listening(80, 1, b"listener"), worker]);
        let answer = table.sender(5, Some((NS, &at)), nobody).expect("known");
        assert_eq!(
            (answer.process.command.as_str(), answer.basis),
            ("worker", Basis::Own)
        );
    }
}
