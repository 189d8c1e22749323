//! Attaches loaded programs to an interface of a namespace, and detaches them again.
//!
//! Attaching happens on a thread that has entered the namespace, since a name and an index mean
//! something only there. TCX links need nothing of that sort to detach: they go with their
//! descriptor. Filters of older kernels do, and are kept in `clsact`.

use std::{fmt, os::fd::OwnedFd, str::FromStr, sync::Arc};

use aya::{
    Ebpf,
    programs::{
        LinkOrder, SchedClassifier, TcAttachType, TestRun as _, TestRunOptions,
        links::{FdLink, LinkError},
        tc::TcAttachOptions,
    },
};
use netns_trace_ebpf::{EGRESS, INGRESS};
use nix::net::if_::if_indextoname;
use serde::{Deserialize, Serialize};

use super::{
    ProbeError,
    clsact::{self, Filter},
    error,
    kernel::has_tcx,
    link::TcxLink,
};
use crate::netns::NetNs;

/// One of an interface's two hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hook {
    /// What the interface receives.
    Ingress,
    /// What it sends.
    Egress,
}

impl Hook {
    /// Both, in the order of their indices.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];
    /// The programs' names in the object, in the order of [`Hook::BOTH`].
    pub(super) const PROGRAMS: [&'static str; 2] = ["netns_trace_in", "netns_trace_out"];

    /// Its number on the line between kernel and user.
    #[must_use]
    pub const fn index(self) -> u32 {
        match self {
            Self::Ingress => INGRESS,
            Self::Egress => EGRESS,
        }
    }

    pub(super) const fn program(self) -> &'static str {
        Self::PROGRAMS[self.index() as usize]
    }

    const fn attach_type(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMethod {
    /// TCX where the kernel has it (6.6), clsact otherwise.
    #[default]
    Auto,
    /// At the head of the TCX chain.
    Tcx,
    /// As a filter of the clsact qdisc.
    Clsact,
}

impl AttachMethod {
    /// Whether what is attached stays when its interface moves to another namespace: a TCX link goes
    /// with the interface, qdiscs are taken off.
    /// <https://github.com/torvalds/linux/blob/v6.6/net/core/dev.c#L11249>
    #[must_use]
    pub fn survives_moving(self) -> bool {
        self.resolve() == Self::Tcx
    }

    /// [`AttachMethod::Tcx`] or [`AttachMethod::Clsact`].
    pub(crate) fn resolve(self) -> Self {
        match self {
            Self::Auto if has_tcx() => Self::Tcx,
            Self::Auto => Self::Clsact,
            chosen => chosen,
        }
    }
}

impl fmt::Display for AttachMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

impl FromStr for AttachMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Auto, Self::Tcx, Self::Clsact]
            .into_iter()
            .find(|method| method.to_string() == text)
            .ok_or_else(|| format!("{text:?} is not auto, tcx or clsact"))
    }
}

/// An interface to attach to.
#[derive(Clone, Debug)]
pub struct TapSite {
    /// Its namespace.
    pub ns: Arc<NetNs>,
    /// Its name there, when it was looked at.
    pub ifname: String,
    /// Its index there.
    pub ifindex: u32,
    /// `eth0@web`, for messages.
    pub label: String,
}

impl TapSite {
    /// Whether the interface is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let there = self.ns.run(|| renamed_here(self).is_ok());
        there.is_ok_and(|there| there)
    }
}

/// The programs of one tap, loaded and not attached yet.
pub struct LoadedTap {
    ebpf: Ebpf,
}

impl LoadedTap {
    pub(super) fn new(ebpf: Ebpf) -> Self {
        Self { ebpf }
    }

    /// Lets the kernel run a program on a packet so many times; nanoseconds for each run.
    ///
    /// # Errors
    ///
    /// The kernel refuses: a packet shorter than an Ethernet header or longer than a page, say.
    pub fn time(&self, hook: Hook, packet: &[u8], runs: u32) -> Result<f64, ProbeError> {
        let program: &SchedClassifier = self
            .ebpf
            .program(hook.program())
            .ok_or(ProbeError::Incomplete {
                part: hook.program(),
            })?
            .try_into()
            .map_err(error::program)?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = runs;
        let result = program.test_run(options).map_err(error::program)?;
        Ok(result.duration.as_nanos() as f64)
    }

    /// Attaches the programs of these hooks, first in line where the kernel lets us choose. If
    /// one hook fails, the other is detached again.
    ///
    /// Takes about 9 ms for each hook with TCX: an RCU grace period.
    ///
    /// # Errors
    ///
    /// The namespace or the interface is gone, or the kernel refuses.
    pub fn attach(
        self,
        site: &TapSite,
        hooks: &[Hook],
        method: AttachMethod,
    ) -> Result<AttachedTap, ProbeError> {
        let method = method.resolve();
        let mut ebpf = self.ebpf;
        let links = site.ns.run(|| -> Result<Vec<HookLink>, ProbeError> {
            let site = &renamed_here(site)?;
            let mut links = Vec::new();
            for hook in hooks {
                let program: &mut SchedClassifier = ebpf
                    .program_mut(hook.program())
                    .ok_or(ProbeError::Incomplete {
                        part: hook.program(),
                    })?
                    .try_into()
                    .map_err(error::program)?;
                let link = match method {
                    AttachMethod::Clsact => {
                        clsact::attach(program, site, *hook).map(HookLink::Clsact)
                    }
                    _ => attach_tcx(program, site, *hook).map(HookLink::Tcx),
                };
                match link {
                    Ok(link) => links.push(link),
                    Err(why) => {
                        for link in links {
                            if let Err(also) = link.detach_here() {
                                log::warn!("{}: {also}", site.label);
                            }
                        }
                        return Err(why);
                    }
                }
            }
            Ok(links)
        })??;
        log::info!(
            "attached to {} ({method}, {} hooks)",
            site.label,
            links.len()
        );
        Ok(AttachedTap {
            label: site.label.clone(),
            links,
        })
    }
}

/// The interface by the name that it has now, in the calling thread's namespace: one that has just moved
/// in is renamed while it is attached to. The namespace is held open, and does not hand out the index of
/// one that is gone before it has handed out all others, but where somebody asks for that very index.
fn renamed_here(site: &TapSite) -> Result<TapSite, ProbeError> {
    let gone = |why: &dyn fmt::Display| ProbeError::Attach {
        interface: site.label.clone(),
        why: format!("the interface is gone ({why})"),
    };
    let name = if_indextoname(site.ifindex).map_err(|errno| gone(&errno))?;
    Ok(TapSite {
        ifname: name.into_string().map_err(|why| gone(&why))?,
        ..site.clone()
    })
}

fn attach_tcx(
    program: &mut SchedClassifier,
    site: &TapSite,
    hook: Hook,
) -> Result<TcxLink, ProbeError> {
    let failed = |why: &dyn std::error::Error| ProbeError::Attach {
        interface: site.label.clone(),
        why: format!("TCX {hook}: {}", error::chain(why)),
    };
    let id = program
        .attach_with_options(
            &site.ifname,
            hook.attach_type(),
            TcAttachOptions::TcxOrder(LinkOrder::first()),
        )
        .map_err(|why| failed(&why))?;
    let link = program.take_link(id).map_err(|why| failed(&why))?;
    let link: FdLink = link.try_into().map_err(|why: LinkError| failed(&why))?;
    TcxLink::take(link).map_err(|why| failed(&why))
}

/// What keeps a program at its hook.
enum HookLink {
    Tcx(TcxLink),
    Clsact(Filter),
}

impl HookLink {
    /// Detaches, on a thread that is in the link's namespace.
    fn detach_here(self) -> Result<(), ProbeError> {
        match self {
            Self::Tcx(link) => {
                drop(link);
                Ok(())
            }
            Self::Clsact(filter) => clsact::detach_here(&filter),
        }
    }
}

/// A tap that sees packets, until it is detached, its interface goes, or this process ends.
pub struct AttachedTap {
    label: String,
    links: Vec<HookLink>,
}

/// What has to be known of a tap that another process takes over, beside the descriptors of its links.
#[derive(Debug, Serialize, Deserialize)]
pub struct HandedTap {
    label: String,
    /// One for each link: a filter, or none where a descriptor keeps it.
    links: Vec<Option<Filter>>,
}

impl AttachedTap {
    /// Lets another process have it: from now on that keeps it, or nobody.
    #[must_use]
    pub fn hand_over(self) -> (HandedTap, Vec<OwnedFd>) {
        let mut fds = Vec::new();
        let links = self.links.into_iter().map(|link| match link {
            HookLink::Clsact(filter) => Some(filter),
            HookLink::Tcx(link) => {
                fds.push(link.into_fd());
                None
            }
        });
        let links = links.collect();
        let handed = HandedTap {
            label: self.label,
            links,
        };
        (handed, fds)
    }

    /// What another process has handed over.
    ///
    /// # Errors
    ///
    /// There are fewer descriptors than links.
    pub fn take_over(handed: HandedTap, fds: Vec<OwnedFd>) -> Result<Self, ProbeError> {
        let mut fds = fds.into_iter();
        let links = handed.links.into_iter().map(|link| match link {
            Some(filter) => Ok(HookLink::Clsact(filter)),
            None => (fds.next())
                .map(|fd| HookLink::Tcx(TcxLink::new(fd)))
                .ok_or(ProbeError::Incomplete { part: "a link" }),
        });
        Ok(Self {
            links: links.collect::<Result<_, _>>()?,
            label: handed.label,
        })
    }

    /// `eth0@web`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether its interface is gone: deleted, or with its namespace.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.links.iter().any(|link| match link {
            HookLink::Tcx(link) => link.is_gone(),
            HookLink::Clsact(filter) => clsact::is_gone(filter),
        })
    }

    /// Detaches. TCX takes about 9 ms for each hook.
    ///
    /// # Errors
    ///
    /// All failures, each with its interface; what can be detached is.
    pub fn detach(self) -> Result<(), Vec<ProbeError>> {
        let mut errors = Vec::new();
        for link in self.links {
            match link {
                HookLink::Tcx(link) => drop(link),
                HookLink::Clsact(filter) => {
                    if let Err(why) = clsact::detach(&filter) {
                        errors.push(why);
                    }
                }
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}
