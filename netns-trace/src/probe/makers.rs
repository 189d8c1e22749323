//! Who makes sockets: a program at the root of the control groups, which notes it.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, Map, MapData},
    programs::{
        CgroupAttachMode, CgroupSock,
        links::{FdLink, LinkError},
    },
};
use netns_trace_ebpf::SocketMaker;

use super::{ProbeError, error, link::own_fd, pins};
use crate::privilege::{Capability, raised, why_denied};

/// [`SocketMaker`], as aya takes a map's value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodMaker(SocketMaker);

// SAFETY: `repr(C)` integers without padding.
unsafe impl Pod for PodMaker {}

/// The makers of the sockets that were made lately. They are noted as long as this is there.
pub struct Makers {
    map: HashMap<MapData, u64, PodMaker>,
    _link: OwnedFd,
}

/// The same, not used yet.
pub(super) struct NotedMakers {
    map: MapData,
    link: OwnedFd,
}

impl NotedMakers {
    /// Attaches the program for all processes: to the root of the control groups of version 2, which every kernel
    /// has, whether a system uses them or not. Others' programs there run as before.
    pub(super) fn attach(ebpf: &mut Ebpf) -> Result<Self, ProbeError> {
        const PROGRAM: &str = "netns_trace_socket";
        let root = pins::detached(c"cgroup2").map_err(|source| ProbeError::Read {
            what: "the control groups".to_owned(),
            source,
        })?;
        let program: &mut CgroupSock = ebpf
            .program_mut(PROGRAM)
            .ok_or(ProbeError::Incomplete { part: PROGRAM })?
            .try_into()
            .map_err(error::program)?;
        program.load().map_err(error::program)?;
        let link = program
            .attach(root.as_fd(), CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id))
            .map_err(error::program)?;
        let link: Result<FdLink, LinkError> = link.try_into();
        let link = link.map_err(io::Error::other).and_then(own_fd);
        let link = link.map_err(|source| ProbeError::Read {
            what: "the link of a program".to_owned(),
            source,
        })?;
        let Some(Map::LruHashMap(map)) = ebpf.take_map("SOCKETS") else {
            return Err(ProbeError::Incomplete { part: "SOCKETS" });
        };
        Ok(Self { map, link })
    }

    /// From its map, and what keeps its program attached.
    pub(super) fn new(map: MapData, link: OwnedFd) -> Self {
        Self { map, link }
    }

    /// Those two.
    pub(super) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.map.fd().as_fd(), self.link.as_fd()]
    }

    pub(super) fn open(self) -> Result<Makers, ProbeError> {
        Ok(Makers {
            map: HashMap::try_from(Map::LruHashMap(self.map)).map_err(error::map)?,
            _link: self.link,
        })
    }
}

impl Makers {
    /// Who made the socket of a cookie, if that was seen and is remembered.
    #[must_use]
    pub fn of(&self, socket: u64) -> Option<SocketMaker> {
        raised(|| self.map.get(&socket, 0))
            .ok()
            .map(|PodMaker(maker)| maker)
    }
}

impl std::fmt::Debug for Makers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Makers").finish_non_exhaustive()
    }
}

/// Whether the kernel lets this be: what it says otherwise.
pub(super) fn why_not(error: &ProbeError) -> String {
    let denied = matches!(error, ProbeError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied);
    if denied {
        format!("{error}; {}", why_denied(&[Capability::SysAdmin]))
    } else {
        error.to_string()
    }
}
