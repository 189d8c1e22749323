//! An inventory as JSON. Names are in it as they are; JSON's own escapes keep them harmless.

use serde_json::{Value, json};

use super::{
    names::{Stale, StaleReason},
    peers::Peer,
    take::{Interface, Inventory, Namespace},
};

impl Inventory {
    /// As `list --json` prints it. Bytes in paths that are no text are replaced.
    #[must_use]
    pub fn json(&self) -> Value {
        let (elsewhere, stale): (Vec<&Stale>, Vec<&Stale>) = self
            .stale
            .iter()
            .partition(|stale| matches!(stale.reason, StaleReason::MountedElsewhere { .. }));
        let path = |stale: &&Stale| stale.path.to_string_lossy().into_owned();
        let elsewhere: Vec<Value> = elsewhere
            .iter()
            .map(|one| json!({ "path": path(one), "why": one.reason.to_string() }))
            .collect();
        json!({
            "namespaces": self.namespaces.iter().map(namespace).collect::<Vec<Value>>(),
            "stale": stale.iter().map(path).collect::<Vec<String>>(),
            "elsewhere": elsewhere,
            "notes": self.notes,
        })
    }
}

fn namespace(one: &Namespace) -> Value {
    let reference = &one.reference;
    let names = reference.names.iter();
    let mounts = reference.mounts.iter().map(|path| path.to_string_lossy());
    let (interfaces, error) = match &one.interfaces {
        Ok(interfaces) => (interfaces.iter().map(interface).collect(), None),
        Err(why) => (Vec::new(), Some(why)),
    };
    json!({
        "inode": reference.inode,
        "host": reference.is_host,
        "names": names.map(|name| format!("netns:{}", name.name)).collect::<Vec<_>>(),
        "mounts": mounts.collect::<Vec<_>>(),
        "containers": one.containers,
        "shared": one.is_shared(),
        "processes": reference.processes.len(),
        "pids": reference.processes,
        "main": reference.main,
        "threads": reference.threads,
        "descriptors": reference.descriptors,
        "interfaces": interfaces,
        "error": error,
    })
}

fn interface(one: &Interface) -> Value {
    let link = &one.link;
    let addresses = link.addresses.iter();
    let mut value = json!({
        "name": link.name,
        "index": link.index,
        "kind": link.kind.to_string(),
        "state": if link.up { "up" } else { "down" },
        "mac": link.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
        "mtu": link.mtu,
        "addresses": addresses.map(|(ip, prefix)| format!("{ip}/{prefix}")).collect::<Vec<_>>(),
        "master": one.master,
        "peer": null,
    });
    if let Some(peer) = &one.peer {
        let key = if link.kind.is_pair() { "peer" } else { "lower" };
        value[key] = self::peer(peer);
    }
    value
}

fn peer(peer: &Peer) -> Value {
    json!({
        "netns_inode": peer.netns_inode,
        "nsid": peer.nsid,
        "name": peer.name,
        "index": peer.index,
        "master": peer.master,
    })
}
