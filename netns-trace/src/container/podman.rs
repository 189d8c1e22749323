//! The files that Podman keeps of its containers, for when it cannot be asked: the names that
//! containers/storage has in `ROOT/overlay-containers/containers.json`, or under another driver's name.

use std::path::Path;

use serde::Deserialize;

use super::{
    Runtime,
    cgroup::is_id,
    files,
    told::{self, MOST_TOLD, Told},
};

/// Longest file. It has about 600 bytes for a container.
const MOST_FILE: usize = 16 << 20;

#[derive(Deserialize)]
pub(crate) struct Entry {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// All containers in the storage; CRI-O's, which are in the same one, are left out.
pub(super) fn list(root: &Path) -> Vec<Told> {
    let mut list = Vec::new();
    for driver in ["overlay", "vfs", "btrfs", "zfs"] {
        let path = root.join(format!("{driver}-containers/containers.json"));
        match files::json::<Vec<Entry>>(&path, MOST_FILE) {
            Ok(entries) => list.extend(entries.into_iter().filter_map(container)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => log::info!("{path:?}: {error}"),
        }
    }
    list.truncate(MOST_TOLD);
    list
}

pub(crate) fn container(entry: Entry) -> Option<Told> {
    let name = entry.names.first()?;
    if !is_id(&entry.id) || name.starts_with("k8s_") {
        return None;
    }
    let mut told = Told::new(Runtime::Podman, entry.id);
    told.name = told::name(name);
    Some(told)
}

#[cfg(test)]
mod tests;
