//! Whose packets they are. What leaves is known by the socket that sent it: a program in the kernel notes who makes
//! sockets. What comes, and what sockets send that were there before, is known by addresses and ports: the
//! helper process reads the namespaces' sockets at first, and again when a packet comes that nobody is known for.
//!
//! The reader of the ring waits for that, so that a packet to a new listener is told right; it does so a
//! twentieth of the time at most. It does not wait to learn who has accepted a connection: until then, that is its
//! listener's.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use serde::{Deserialize, Serialize};

use super::outline::{Outline, OutlinedTap, Owner};
use crate::{
    capture::LinkType,
    helper::Channel,
    inspect::socket_owners,
    netns::{NetNs, command},
    probe::Makers,
    process::{Answer, Basis, OwnedSocket, PacketFlow, Process, ProcessFilter, ProcessTable},
    recent::Recent,
};

/// Packets that are remembered at least, to tell at a shared tap what was known at the target's.
const MAX_PACKETS: usize = 64 << 10;
/// How long the start waits for the first look at all namespaces.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// How long a packet waits for another one.
const WAIT: Duration = Duration::from_millis(100);
/// Looks at one namespace are at least so far apart, and
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// so many times as far as one took.
const REST: u32 = 20;
/// How many looks are asked for at once.
const MOST_UNDER_WAY: usize = 64;
/// How much later a namespace is looked at again where only listeners are known.
const LOOK_FOR_ACCEPTED_AFTER: Duration = Duration::from_secs(1);

/// The sockets of a namespace, or none where it is gone.
#[derive(Serialize, Deserialize)]
struct Found {
    namespace: u64,
    sockets: Option<Vec<OwnedSocket>>,
    took: Duration,
}

/// Where a packet passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    /// The namespace whose sockets are behind it, where that is one.
    pub(super) owner: Option<u64>,
    /// Whether it left the target.
    pub(super) leaving: bool,
    /// How the packet starts.
    pub(super) link_type: LinkType,
    /// The same number wherever it passed; 0 where that is not known.
    pub(super) packet: u64,
}

/// How many packets were told whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    /// Packets with a process.
    pub(super) attributed: u64,
    /// Packets without one.
    pub(super) unknown: u64,
}

/// The processes behind a capture's packets.
pub(super) struct Processes {
    filter: ProcessFilter,
    table: ProcessTable,
    owners: HashMap<u64, Watched>,
    /// To the helper process, which looks.
    helper: Channel,
    /// Looks that nothing has come of yet.
    under_way: usize,
    told: Told,
    /// By packets, where some pass taps that no namespace owns.
    packets: Option<Recent<u64, Arc<Process>>>,
}

/// A namespace whose sockets are looked at.
struct Watched {
    ns: Owner,
    /// None while a look is under way.
    next_look: Option<Instant>,
}

impl Processes {
    /// Nothing is known yet; a helper process is at the other end, in [`look`].
    pub(super) fn new(filter: ProcessFilter, helper: Channel) -> Self {
        Self {
            filter,
            table: ProcessTable::new(is_there),
            owners: HashMap::new(),
            helper,
            under_way: 0,
            told: Told::default(),
            packets: None,
        }
    }

    /// Takes in the namespaces of a plan, and the sockets that are there.
    pub(super) fn admit(&mut self, plan: &Outline) {
        let is_shared = |tap: &OutlinedTap| tap.owner.is_none();
        if self.packets.is_none() && plan.written().any(is_shared) {
            self.packets = Some(Recent::new(MAX_PACKETS));
        }
        for ns in plan.taps.iter().filter_map(|tap| tap.owner.as_ref()) {
            let inode = ns.identity.inode;
            if let Entry::Vacant(entry) = self.owners.entry(inode) {
                entry.insert(Watched {
                    ns: ns.clone(),
                    next_look: Some(Instant::now()),
                });
                self.look(inode);
            }
        }
        let end = Instant::now() + FIRST_WAIT;
        while self.owners.values().any(|owner| owner.next_look.is_none()) && self.wait(end) {}
    }

    /// Forgets a namespace of which nothing is captured any more.
    pub(super) fn forget(&mut self, namespace: u64) {
        self.owners.remove(&namespace);
        self.table.forget(namespace);
    }

    /// Whose packet it is, if that is known; counted either way.
    pub(super) fn of(
        &mut self,
        passage: Passage,
        socket: u64,
        data: &[u8],
        makers: Option<&Makers>,
    ) -> Option<Arc<Process>> {
        let packet = match passage.link_type {
            LinkType::Ethernet => PacketFlow::of_frame(data, passage.leaving),
            LinkType::Raw => PacketFlow::of_packet(data, passage.leaving),
        };
        self.take_in();
        let mut answer = self.known(passage, socket, packet.as_ref(), makers);
        if let (Some(owner), Some(packet)) = (passage.owner, packet)
            && packet.flow.has_ports()
        {
            match answer.as_ref().map(|answer| answer.basis) {
                None | Some(Basis::Ended) if self.look_again(owner) => {
                    answer = self.known(passage, socket, Some(&packet), makers);
                }
                Some(Basis::Listener) => self.look_for_accepted(owner),
                _ => {}
            }
        }
        let mut process = answer.map(|answer| answer.process);
        if let Some(packets) = &mut self.packets
            && passage.packet != 0
        {
            match &process {
                Some(process) => drop(packets.insert(passage.packet, Arc::clone(process))),
                None => process = packets.get(&passage.packet).cloned(),
            }
        }
        match process {
            Some(_) => self.told.attributed += 1,
            None => self.told.unknown += 1,
        }
        process
    }

    /// Whether a packet with this process, or none, is to be written.
    pub(super) fn takes(&self, process: Option<&Process>) -> bool {
        self.filter.takes(process)
    }

    /// The counts.
    pub(super) fn told(&self) -> Told {
        self.told
    }

    fn known(
        &mut self,
        passage: Passage,
        socket: u64,
        packet: Option<&PacketFlow>,
        makers: Option<&Makers>,
    ) -> Option<Answer> {
        let ends = passage.owner.zip(packet);
        if !passage.leaving {
            let (namespace, packet) = ends?;
            return self.table.receiver(namespace, packet);
        }
        self.table.sender(socket, ends, |socket| {
            let maker = makers?.of(socket)?;
            let noted = maker.command.split(|byte| *byte == 0).next();
            // Noted is the name of the thread. Where the process has ended, it has to do.
            let name = command(maker.pid);
            let name = name.as_ref().map_or(noted, |name| Some(name.as_bytes()));
            Some(Process::new(maker.pid, name.unwrap_or_default()))
        })
    }

    /// Looks at a namespace's sockets, if it is time; says whether there is news.
    fn look_again(&mut self, namespace: u64) -> bool {
        let now = Instant::now();
        let is_under_way = |this: &Self| {
            let owner = this.owners.get(&namespace);
            owner.is_some_and(|owner| owner.next_look.is_none())
        };
        // One that took too long goes on meanwhile.
        if is_under_way(self) || !self.look_if_due(namespace, now) {
            return false;
        }
        while is_under_way(self) && self.wait(now + WAIT) {}
        !is_under_way(self)
    }

    /// Looks at a namespace's sockets, if it is time to learn who has accepted its connections. Does not wait.
    fn look_for_accepted(&mut self, namespace: u64) {
        if let Some(due) = Instant::now().checked_sub(LOOK_FOR_ACCEPTED_AFTER) {
            self.look_if_due(namespace, due);
        }
    }

    /// Starts to look at a namespace's sockets, if that was due at a time and is not under way.
    fn look_if_due(&mut self, namespace: u64, at: Instant) -> bool {
        let owner = self.owners.get(&namespace);
        let next_look = owner.and_then(|owner| owner.next_look);
        let is_due = next_look.is_some_and(|next| next <= at);
        if is_due {
            self.look(namespace);
        }
        is_due
    }

    fn look(&mut self, namespace: u64) {
        // So both never wait for each other to read.
        while self.under_way >= MOST_UNDER_WAY && self.wait(Instant::now() + WAIT) {}
        let owner = self.owners.get_mut(&namespace);
        let Some(owner) = owner.filter(|_| self.under_way < MOST_UNDER_WAY) else {
            return;
        };
        owner.next_look = None;
        match self.helper.send(&owner.ns, &[]) {
            Ok(()) => self.under_way += 1,
            Err(why) => log::error!("the helper process does not look at sockets any more: {why}"),
        }
    }

    /// Waits for something that the helper has found; says whether anything came until `end`.
    fn wait(&mut self, end: Instant) -> bool {
        let rest = end.saturating_duration_since(Instant::now());
        let came = match self.helper.waits_for_news(rest) {
            Ok(true) => self.helper.receive(),
            Ok(false) => return false,
            Err(why) => Err(why),
        };
        match came {
            Ok(Some((found, _))) => {
                self.found(found);
                return true;
            }
            Ok(None) => log::error!("the helper process has ended"),
            Err(why) => log::error!("the helper process cannot be heard: {why}"),
        }
        // Nothing more will come.
        self.under_way = 0;
        false
    }

    /// Takes in all that the helper has found meanwhile.
    fn take_in(&mut self) {
        while self.under_way > 0 && self.wait(Instant::now()) {}
    }

    fn found(&mut self, found: Found) {
        self.under_way -= 1;
        let Some(sockets) = found.sockets else {
            self.forget(found.namespace);
            return;
        };
        if let Some(owner) = self.owners.get_mut(&found.namespace) {
            owner.next_look = Some(Instant::now() + LOOK_AFTER.max(found.took * REST));
            self.table.take_in(found.namespace, sockets);
        }
    }
}

/// Whether a process has not ended; asked without any right to it.
fn is_there(process: &Process) -> bool {
    let pid = i32::try_from(process.pid).map(Pid::from_raw);
    pid.is_ok_and(|pid| kill(pid, None) != Err(Errno::ESRCH))
}

/// In the helper process: looks at namespaces' sockets, as it is asked to, until the capture ends.
pub(super) fn look(channel: &Channel) {
    loop {
        let answered = match channel.receive() {
            Ok(Some((owner, _))) => channel.send(&sockets_of(&owner), &[]),
            Ok(None) => return,
            Err(why) => Err(why),
        };
        if let Err(why) = answered {
            return log::debug!("the capture does not listen: {why}");
        }
    }
}

fn sockets_of(owner: &Owner) -> Found {
    let start = Instant::now();
    let ns = NetNs::reopen(&owner.path, &owner.identity).ok();
    let ns = ns.or_else(|| NetNs::find(&owner.identity));
    let sockets = ns.and_then(|ns| match socket_owners(&ns) {
        Ok(sockets) => Some(sockets),
        Err(why) => {
            log::warn!("whose sockets they are is not known: {why}");
            None
        }
    });
    Found {
        namespace: owner.identity.inode,
        sockets,
        took: start.elapsed(),
    }
}
