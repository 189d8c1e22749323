//! Building a lab, and taking it apart: everything that touches the machine, in order.

use std::{net::IpAddr, os::fd::AsFd};

use super::{
    AttachSpec, Cidr, LabError, LabSpec, Node, NodeRole, Topology,
    layout::{BRIDGE, Layout, UPLINK, lay_out},
    names,
    spec::{check_name, host_side},
    state::{Record, StateFile},
    wire::{self, Wire},
};
use crate::{
    netns::{NetNs, named},
    privilege::{self, Capability},
    topology::{LinkKind, links},
};

/// Builds a lab; what was made is undone when a step fails.
pub(super) fn build(spec: &LabSpec, private: bool) -> Result<(Record, StateFile), LabError> {
    let layout = lay_out(spec, &spec.plan()?);
    check_privileges()?;
    let mut record = record(&spec.name, spec.topology, private, layout.nodes.clone());
    let state = begin(&record)?;
    let made = make_nodes(&mut record, &state, layout.forward)
        .and_then(|namespaces| connect(&layout, &namespaces, spec.topology));
    finish(made, record, state)
}

/// Builds one namespace on a bridge that is in our own namespace.
pub(super) fn attach(spec: &AttachSpec) -> Result<(Record, StateFile), LabError> {
    check_name(&spec.name)?;
    check_gateways(spec)?;
    check_privileges()?;
    let here = NetNs::current()?;
    check_bridge(&here, &spec.bridge)?;
    let mut node = Node::new(spec.name.clone(), NodeRole::Container);
    node.add("eth0", spec.addresses.clone());
    let mut record = record(&spec.name, Topology::Attached, false, vec![node]);
    let state = begin(&record)?;
    let made = make_nodes(&mut record, &state, false).and_then(|namespaces| {
        let host_side = host_side(&spec.name);
        here.run(|| {
            let mut wire = Wire::here()?;
            wire.veth(&host_side, "eth0", namespaces[0].as_fd())?;
            wire.set_master(&host_side, &spec.bridge)?;
            wire.set_up(&host_side)
        })??;
        let routes: Vec<_> = spec
            .gateways
            .iter()
            .map(|&gateway| (None, gateway))
            .collect();
        configure(&namespaces[0], &record.nodes[0], &routes)?;
        wait_until_running(&namespaces[0], &record.nodes[0])
    });
    finish(made, record, state)
}

/// What making and removing namespaces and interfaces needs.
pub(super) const NEEDED: [Capability; 2] = [Capability::NetAdmin, Capability::SysAdmin];

/// Refuses before anything is touched what would be refused halfway, with no right to undo it.
pub(super) fn check_privileges() -> Result<(), LabError> {
    let missing = privilege::missing(&NEEDED)
        .map_err(|e| LabError::io(format!("read {}", privilege::STATUS), e))?;
    match missing {
        None => Ok(()),
        Some(missing) => Err(LabError::Privilege { missing }),
    }
}

/// Removes what a lab is made of: everything is tried, every failure is told.
pub(super) fn take_apart(record: &Record) -> Vec<LabError> {
    let mut errors = Vec::new();
    // Interfaces first: the kernel would remove them with their namespace, but in its own time.
    for node in record.nodes.iter().filter(|node| node.inode.is_some()) {
        let Ok(ns) = node.open() else {
            continue; // gone, or not ours: told below
        };
        let removed = ns.run(|| {
            let mut wire = Wire::here()?;
            let delete = |interface: &super::Interface| wire.delete(&interface.name).err();
            LabError::gather(node.interfaces.iter().filter_map(delete).collect())
        });
        errors.extend(removed.map_err(LabError::from).flatten().err());
    }
    for node in &record.nodes {
        errors.extend(names::remove(&node.name, node.inode, node.cookie).err());
    }
    errors
}

fn record(name: &str, topology: Topology, private: bool, nodes: Vec<Node>) -> Record {
    Record {
        version: 1,
        name: name.to_owned(),
        topology,
        private,
        complete: false,
        pid: std::process::id(),
        nodes,
    }
}

/// Refuses names that are taken, and claims the lab's own.
fn begin(record: &Record) -> Result<StateFile, LabError> {
    let state = StateFile::create(record)?;
    let taken = record.nodes.iter().find(|node| named(&node.name).is_some());
    let Some(node) = taken else {
        return Ok(state);
    };
    let error = LabError::NamespaceExists {
        name: node.name.clone(),
    };
    state.remove()?;
    Err(error)
}

fn finish(
    made: Result<(), LabError>,
    mut record: Record,
    state: StateFile,
) -> Result<(Record, StateFile), LabError> {
    let result = made.and_then(|()| {
        record.complete = true;
        state.write(&record)
    });
    let Err(error) = result else {
        return Ok((record, state));
    };
    let mut undone = take_apart(&record);
    undone.extend(state.remove().err());
    Err(match LabError::gather(undone) {
        Ok(()) => error,
        Err(left) => LabError::Several(vec![error, left]),
    })
}

/// Makes the namespaces, and writes down each one as soon as it is there.
fn make_nodes(
    record: &mut Record,
    state: &StateFile,
    forward: bool,
) -> Result<Vec<NetNs>, LabError> {
    let mut made = Vec::new();
    for number in 0..record.nodes.len() {
        let name = record.nodes[number].name.clone();
        let forward = forward || record.nodes[number].role == NodeRole::Router;
        let ns = names::create(&name, |identity| {
            record.nodes[number].inode = Some(identity.inode);
            record.nodes[number].cookie = identity.cookie;
            state.write(record)
        })?;
        ns.run(|| {
            wire::settings(forward)?;
            Wire::here()?.set_up("lo")
        })??;
        made.push(ns);
    }
    Ok(made)
}

fn connect(layout: &Layout, namespaces: &[NetNs], topology: Topology) -> Result<(), LabError> {
    for (node, ns) in layout.nodes.iter().zip(namespaces) {
        if node.role == NodeRole::Router {
            ns.run(|| Wire::here()?.bridge(BRIDGE))??;
        }
    }
    for pair in &layout.pairs {
        namespaces[pair.at].run(|| {
            let mut wire = Wire::here()?;
            wire.veth(&pair.name, &pair.peer_name, namespaces[pair.peer].as_fd())?;
            if pair.bridged {
                wire.set_master(&pair.name, BRIDGE)?;
            }
            Ok::<(), LabError>(())
        })??;
    }
    // All interfaces before the first route: a gateway is reached only when both ends are up.
    for (node, ns) in layout.nodes.iter().zip(namespaces) {
        configure(ns, node, &[])?;
    }
    for (routes, ns) in layout.routes.iter().zip(namespaces) {
        ns.run(|| add_routes(routes))??;
    }
    for (node, ns) in layout.nodes.iter().zip(namespaces) {
        wait_until_running(ns, node)?;
    }
    if topology == Topology::Nat {
        let router = layout.nodes.iter().zip(namespaces);
        for (_, ns) in router.filter(|(node, _)| node.role == NodeRole::Router) {
            ns.run(|| super::nat::masquerade(UPLINK))??;
        }
    }
    Ok(())
}

fn configure(ns: &NetNs, node: &Node, routes: &[(Option<Cidr>, IpAddr)]) -> Result<(), LabError> {
    ns.run(|| {
        let mut wire = Wire::here()?;
        for interface in &node.interfaces {
            for cidr in &interface.addresses {
                wire.address(&interface.name, *cidr)?;
            }
            wire.set_up(&interface.name)?;
        }
        add_routes(routes)
    })?
}

fn wait_until_running(ns: &NetNs, node: &Node) -> Result<(), LabError> {
    ns.run(|| {
        let mut wire = Wire::here()?;
        let mut names = node.interfaces.iter().map(|interface| &interface.name);
        names.try_for_each(|name| wire.wait_until_running(name))
    })?
}

fn add_routes(routes: &[(Option<Cidr>, IpAddr)]) -> Result<(), LabError> {
    let mut wire = Wire::here()?;
    for (destination, gateway) in routes {
        wire.route(*destination, *gateway)?;
    }
    Ok(())
}

fn check_gateways(spec: &AttachSpec) -> Result<(), LabError> {
    for gateway in &spec.gateways {
        let reaches = |cidr: &Cidr| {
            wire::network(*cidr)
                == wire::network(Cidr {
                    address: *gateway,
                    prefix: cidr.prefix,
                })
        };
        let own = spec.addresses.iter().any(|cidr| cidr.address == *gateway);
        let same_family = |cidr: &&Cidr| cidr.address.is_ipv4() == gateway.is_ipv4();
        if own || !spec.addresses.iter().filter(same_family).any(reaches) {
            let why = if own {
                "is the namespace's own address"
            } else {
                "is in no subnet of --address"
            };
            return Err(LabError::Spec(format!("--gateway {gateway} {why}")));
        }
    }
    Ok(())
}

fn check_bridge(here: &NetNs, name: &str) -> Result<(), LabError> {
    let links = links(here)?;
    let bridges: Vec<_> = links
        .iter()
        .filter(|link| link.kind == LinkKind::Bridge)
        .collect();
    if bridges.iter().any(|link| link.name == name) {
        return Ok(());
    }
    let names: Vec<String> = bridges.iter().map(|link| link.printable_name()).collect();
    Err(LabError::NoSuchBridge {
        name: name.to_owned(),
        hint: if names.is_empty() {
            "; it has none".into()
        } else {
            format!(" (it has: {})", names.join(", "))
        },
    })
}
