//! The bundles that containerd and CRI-O make for their containers: `config.json`, in whose annotations
//! Kubernetes' names are, and the pid of the first process beside it.
//!
//! containerd: `STATE/io.containerd.runtime.v2.task/NAMESPACE/ID/`; its keys are in
//! pkg/cri/annotations. CRI-O: `RUN/overlay-containers/ID/userdata/`; keys in pkg/annotations.

use std::{collections::HashMap, path::Path};

use serde::Deserialize;

use super::{
    Pod, Runtime,
    cgroup::{TASKS, is_id, key_of_task},
    files,
    told::{self, MOST_TOLD, Told},
};

/// Longest file. It holds the environment and the mounts.
const MOST_FILE: usize = 4 << 20;

#[derive(Default, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// All tasks of a containerd.
pub(super) fn containerd(state: &Path) -> Vec<Told> {
    let mut list = Vec::new();
    let tasks = state.join(TASKS);
    for namespace in files::names(&tasks) {
        let dir = tasks.join(&namespace);
        for id in files::names(&dir) {
            if list.len() >= MOST_TOLD {
                return list;
            }
            list.push(task(&dir.join(&id), &namespace, &id));
        }
    }
    list
}

fn task(bundle: &Path, namespace: &str, id: &str) -> Told {
    let key = key_of_task(namespace, id);
    let mut told = Told::new(key.runtime, key.id);
    told.pid = files::number(&bundle.join("init.pid"));
    if told.key.runtime == Runtime::Docker {
        return told; // it has no names here
    }
    // Cut short, or gone meanwhile: the id is known all the same.
    let config = files::json(&bundle.join("config.json"), MOST_FILE)
        .inspect_err(|error| log::info!("{bundle:?}: {error}"))
        .unwrap_or_default();
    with_names(told, id, &config)
}

/// What the annotations add to a task of this id.
pub(crate) fn with_names(mut told: Told, id: &str, config: &Config) -> Told {
    let of = |key: &str| {
        config
            .annotations
            .get(key)
            .and_then(|text| told::name(text))
    };
    if let (Some(namespace), Some(name)) = (
        of("io.kubernetes.cri.sandbox-namespace"),
        of("io.kubernetes.cri.sandbox-name"),
    ) {
        told.key.runtime = Runtime::Cri;
        id.clone_into(&mut told.key.id);
        told.name = of("io.kubernetes.cri.container-name");
        told.pod = Some(Pod {
            namespace,
            name,
            sandbox: of("io.kubernetes.cri.container-type").as_deref() == Some("sandbox"),
        });
    } else {
        told.name = of("nerdctl/name").or_else(|| told::name(id));
    }
    told
}

/// All containers of a CRI-O.
pub(super) fn crio(run: &Path) -> Vec<Told> {
    let dir = run.join("overlay-containers");
    let mut ids = files::names(&dir);
    ids.retain(|id| is_id(id));
    ids.truncate(MOST_TOLD);
    ids.into_iter()
        .filter_map(|id| crio_container(&dir.join(&id).join("userdata/config.json"), id))
        .collect()
}

fn crio_container(config: &Path, id: String) -> Option<Told> {
    // Podman has directories of the same form, without this file or these annotations.
    of_crio(id, &files::json(config, MOST_FILE).ok()?)
}

/// What the annotations say of a container of CRI-O's.
pub(crate) fn of_crio(id: String, config: &Config) -> Option<Told> {
    let of = |key: &str| {
        config
            .annotations
            .get(key)
            .and_then(|text| told::name(text))
    };
    let kind = of("io.kubernetes.cri-o.ContainerType")?;
    let mut told = Told::new(Runtime::Cri, id);
    told.name = of("io.kubernetes.container.name");
    told.pod = Some(Pod {
        namespace: of("io.kubernetes.pod.namespace")?,
        name: of("io.kubernetes.pod.name")?,
        sandbox: kind == "sandbox",
    });
    Some(told)
}

#[cfg(test)]
mod tests;
