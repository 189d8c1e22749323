//! From a container's name to its namespace, which is opened and then checked again: between two looks,
//! a container may end and another process get its pid.

use std::path::Path;

use super::{
    Target, TargetError, TargetSpec, members,
    names::{self, Fit},
};
use crate::{
    container::{self, Container, Containers, Network, Runtime, State},
    netns::{self, NetNs, NetNsError, named},
};

/// The namespace of the container that `name` means, or without a runtime of that name in /run/netns.
pub(super) fn named_container(
    spec: &TargetSpec,
    runtime: Option<Runtime>,
    name: &str,
    containers: &Containers,
) -> Result<Target, TargetError> {
    let meant = names::find(runtime, name, containers, &members::inode)?;
    let netns = match runtime {
        None if netns::is_name(name) => named(name),
        _ => None,
    };
    let (meant, path) = match (meant, netns) {
        (None, None) => return Err(names::none(runtime, name, containers)),
        (Some(meant), None) => (meant, None),
        (None, Some(path)) => return named_netns(spec, name, &path, Vec::new()),
        // A whole name comes before the beginning of an id, and what is there before what is not.
        (Some(meant), Some(path)) if meant.fit == Fit::Prefix => {
            let note = format!(
                "{}'s id begins with this name, too",
                names::spoken(meant.container)
            );
            return named_netns(spec, name, &path, vec![note]);
        }
        (Some(meant), Some(path)) if members::inode(meant.container).is_none() => {
            let note = format!(
                "{} has this name, too, and is not running",
                names::spoken(meant.container)
            );
            return named_netns(spec, name, &path, vec![note]);
        }
        (Some(meant), Some(path)) => (meant, Some(path)),
    };
    let container = meant.container;
    let ns = open(container)?;
    // A stale name means nothing.
    if let Some(path) = path
        && NetNs::open_plain(&path).is_ok_and(|other| !other.is_same(&ns))
    {
        return Err(names::ambiguous(name, &[container], Some(name), containers));
    }
    let mut notes = Vec::new();
    if meant.fit == Fit::Prefix && container.name.is_some() {
        notes.push(format!(
            "{} is {}",
            name.escape_debug(),
            names::spoken(container)
        ));
    }
    for stopped in meant.stopped.iter().take(3) {
        notes.push(format!("{} is not running", names::spoken(stopped)));
    }
    notes.extend(members::notes(container, &ns, containers));
    Ok(Target {
        spec: spec.clone(),
        label: if ns.is_host() {
            "host".to_owned()
        } else {
            container.label()
        },
        ns,
        notes,
    })
}

fn named_netns(
    spec: &TargetSpec,
    name: &str,
    path: &Path,
    notes: Vec<String>,
) -> Result<Target, TargetError> {
    let ns = NetNs::open(path)?;
    Ok(Target {
        spec: spec.clone(),
        label: if ns.is_host() {
            "host".to_owned()
        } else {
            name.escape_debug().to_string()
        },
        ns,
        notes,
    })
}

/// Opens a container's namespace, and makes sure that it is still that container's.
fn open(container: &Container) -> Result<NetNs, TargetError> {
    let spoken = names::spoken(container);
    let Some(pid) = container.pid else {
        // A sandbox may be there before its first process.
        let path = container.netns.as_deref();
        return match path.map(NetNs::open) {
            Some(Ok(ns)) if !ns.is_host() => Ok(ns),
            _ if container.state == State::Unknown => {
                Err(TargetError::Restarting { container: spoken })
            }
            _ => Err(TargetError::Stopped { container: spoken }),
        };
    };
    match NetNs::of_process(pid) {
        Ok(ns) if is_of(&ns, pid, container) => Ok(ns),
        Err(why) if !(why.is_gone() || matches!(why, NetNsError::ProcessChanged { .. })) => {
            Err(why.into())
        }
        _ => Err(TargetError::Restarting { container: spoken }),
    }
}

/// The process that was opened may have had the pid only since the container ended, and one of a
/// container that is being made is in the host's namespace first.
fn is_of(ns: &NetNs, pid: u32, container: &Container) -> bool {
    let has_own = matches!(container.network, Network::Own | Network::None);
    container::of_process(pid).as_ref() == Some(&container.key) && !(has_own && ns.is_host())
}

#[cfg(test)]
mod tests {
    use super::{super::Resolver, *};
    use crate::container::ContainerKey;

    #[test]
    fn a_process_that_is_another_containers_by_now_is_not_taken() {
        let one = |pid, name: &str| Container {
            key: ContainerKey {
                runtime: Runtime::Docker,
                id: "ab".repeat(32),
            },
            name: Some(name.to_owned()),
            pod: None,
            state: State::Running,
            pid,
            network: Network::Own,
            netns: None,
        };
        let dead = u32::MAX;
        for pid in [std::process::id(), dead] {
            let name = "netns-trace-of-no-container";
            let containers = Containers::of(vec![one(Some(pid), name)], Vec::new());
            let spec = TargetSpec::Name(name.to_owned());
            // Our own process is in no container of that id, and the other one is none.
            let error =
                named_container(&spec, None, name, &containers).expect_err("not that container");
            assert!(error.is_absent(), "{error}");
            let is_stopped = matches!(error, TargetError::Stopped { .. });
            let is_restarting = matches!(error, TargetError::Restarting { .. });
            assert!(is_stopped || is_restarting, "{error}");
            // Who is asked again says that there is no such container.
            let resolver = Resolver::of(containers);
            let error = resolver.resolve(&spec).expect_err("not there");
            assert!(error.is_absent(), "{error}");
        }
    }
}
