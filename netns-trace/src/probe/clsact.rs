//! Filters of the clsact qdisc, for kernels before 6.6, and what it takes to leave none behind.
//!
//! A filter outlives the process that added it. So each is written down first (`lists`), and whoever starts next takes
//! off what is on a list without an owner. A qdisc that we added is marked by a file of its own (`marks`), and goes
//! with the last filter on it, whichever of our processes that belongs to.

use std::{io, path::PathBuf};

use aya::programs::{
    SchedClassifier, TcAttachType,
    tc::{NlOptions, TcAttachOptions, TcHandle},
};
use nix::{errno::Errno, net::if_::if_nametoindex};
use serde::{Deserialize, Serialize};

use super::{Hook, ProbeError, TapSite, error, keeper::keeper, lists, marks::Mark, tc};
use crate::{
    netns::{Identity, NetNs},
    privilege::of_roots_file,
    topology::NetlinkError,
};

/// First in line, as far as priorities go.
const PRIORITY: u16 = 1;

/// A filter of ours, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    /// How its namespace was found, to enter it again.
    pub(super) ns_path: PathBuf,
    /// Which namespace that was.
    pub(super) ns: Identity,
    ifname: String,
    pub(super) ifindex: u32,
    egress: bool,
    pub(super) handle: u32,
    /// `eth0@web`.
    pub(super) label: String,
}

impl Filter {
    fn hook(&self) -> Hook {
        if self.egress {
            Hook::Egress
        } else {
            Hook::Ingress
        }
    }
}

/// Adds a filter, on a thread that is in the site's namespace.
pub(super) fn attach(
    program: &mut SchedClassifier,
    site: &TapSite,
    hook: Hook,
) -> Result<Filter, ProbeError> {
    let filter = Filter {
        ns_path: site.ns.path().to_owned(),
        ns: site.ns.identity().clone(),
        ifname: site.ifname.clone(),
        ifindex: site.ifindex,
        egress: hook == Hook::Egress,
        handle: lists::own().new_handle(site, hook),
        label: site.label.clone(),
    };
    // Written down first: what is not there after all is no harm to the sweep.
    let written = lists::own().write_down(&filter);
    written.map_err(|why| failed_file(&filter, "write its list", &why))?;
    let attached = attach_listed(program, &filter, hook);
    if attached.is_err() {
        lists::own().cross_off(&filter);
    }
    attached.map(|()| filter)
}

fn attach_listed(
    program: &mut SchedClassifier,
    filter: &Filter,
    hook: Hook,
) -> Result<(), ProbeError> {
    let mark = Mark::lock(&filter.ns, filter.ifindex)
        .map_err(|why| failed_file(filter, "mark its qdisc", &why))?;
    if !tc::has_clsact(filter.ifindex).map_err(|why| failed(filter, "list its qdiscs", &why))? {
        mark.set(&filter.ns)
            .map_err(|why| failed_file(filter, "mark its qdisc", &why))?;
        match tc::add_clsact(filter.ifindex) {
            Ok(()) => {}
            Err(why) if why.errno() == Some(Errno::EEXIST as i32) => mark.clear(),
            Err(why) => {
                mark.clear();
                return Err(failed(filter, "add a clsact qdisc", &why));
            }
        }
    }
    let attach_type = match hook {
        Hook::Ingress => TcAttachType::Ingress,
        Hook::Egress => TcAttachType::Egress,
    };
    let options = NlOptions {
        priority: PRIORITY,
        handle: TcHandle::from(filter.handle),
        classid: None,
    };
    let attached = program
        .attach_with_options(
            &filter.ifname,
            attach_type,
            TcAttachOptions::Netlink(options),
        )
        .and_then(|id| program.take_link(id));
    match attached {
        Ok(link) => {
            // Dropping it would detach it, wherever that thread happens to be.
            std::mem::forget(link);
            Ok(())
        }
        Err(why) => {
            let why = ProbeError::Attach {
                interface: filter.label.clone(),
                why: format!("clsact {hook}: {}", error::chain(&why)),
            };
            if let Err(also) = release_qdisc(filter, &mark) {
                log::warn!("{}: {also}", filter.label);
            }
            Err(why)
        }
    }
}

/// Removes a filter, on a thread that is in its namespace.
pub(super) fn detach_here(filter: &Filter) -> Result<(), ProbeError> {
    remove(filter).map_err(|why| failed(filter, "remove our filter", &why))?;
    lists::own().cross_off(filter);
    Ok(())
}

/// Enters a filter's namespace and removes it. One that went with its interface or its namespace is no error.
pub(super) fn detach(filter: &Filter) -> Result<(), ProbeError> {
    if let Some(keeper) = keeper() {
        return keeper.detach(filter);
    }
    match NetNs::reopen(&filter.ns_path, &filter.ns) {
        Ok(ns) => ns.run(|| detach_here(filter))?,
        Err(why) if why.is_gone() => {
            forget_mark(filter);
            lists::own().cross_off(filter);
            Ok(())
        }
        Err(why) => Err(why.into()),
    }
}

/// Whether the interface of a filter is gone, by itself or with its namespace.
pub(super) fn is_gone(filter: &Filter) -> bool {
    if let Some(keeper) = keeper() {
        return keeper.is_gone(filter);
    }
    let there = NetNs::reopen(&filter.ns_path, &filter.ns)
        .and_then(|ns| ns.run(|| if_nametoindex(filter.ifname.as_str())));
    match there {
        Ok(Ok(index)) => index != filter.ifindex,
        Ok(Err(errno)) => errno == Errno::ENODEV,
        Err(why) => why.is_gone(),
    }
}

fn failed(filter: &Filter, what: &str, why: &dyn std::error::Error) -> ProbeError {
    ProbeError::Attach {
        interface: filter.label.clone(),
        why: format!("clsact: cannot {what}: {}", error::chain(why)),
    }
}

fn failed_file(filter: &Filter, what: &str, why: &io::Error) -> ProbeError {
    ProbeError::Attach {
        interface: filter.label.clone(),
        why: format!("clsact: cannot {what}: {}", of_roots_file(why)),
    }
}

/// Removes a filter, if it is there and ours, and the qdisc, if that is ours and empty now.
pub(super) fn remove(filter: &Filter) -> Result<(), NetlinkError> {
    let mark = Mark::lock(&filter.ns, filter.ifindex)?;
    let hook = filter.hook();
    let ours = tc::filters(filter.ifindex, hook);
    let ours = match ours {
        Ok(filters) => filters.into_iter().any(|found| {
            found.priority == PRIORITY
                && found.handle == filter.handle
                && found.name.as_deref() == Some(hook.program())
        }),
        // The interface, or its qdisc, is gone.
        Err(why) if is_no_device(&why) => false,
        Err(why) => return Err(why),
    };
    if ours {
        tc::delete_filter(filter.ifindex, hook, PRIORITY, filter.handle)?;
    }
    release_qdisc(filter, &mark)
}

/// Removes the qdisc if one of ours added it and nobody's filter is left on it.
fn release_qdisc(filter: &Filter, mark: &Mark) -> Result<(), NetlinkError> {
    if mark.is_of(&filter.ns) {
        mark.release(filter.ifindex)
    } else {
        mark.clear_if_empty();
        Ok(())
    }
}

/// Removes the mark of a qdisc that went with its namespace.
pub(super) fn forget_mark(filter: &Filter) {
    match Mark::lock(&filter.ns, filter.ifindex) {
        Ok(mark) if mark.is_of(&filter.ns) => mark.clear(),
        Ok(mark) => mark.clear_if_empty(),
        Err(why) => log::warn!("the mark of {} stays: {why}", filter.label),
    }
}

/// What the kernel answers where an interface, or a qdisc on it, is not there.
pub(super) fn is_no_device(why: &NetlinkError) -> bool {
    [Errno::ENODEV, Errno::ENOENT, Errno::EINVAL]
        .iter()
        .any(|errno| why.errno() == Some(*errno as i32))
}
