//! The files that Docker keeps of its containers, for when it cannot be asked:
//! `ROOT/containers/ID/config.v2.json` and `hostconfig.json` beside it (moby, daemon/container).

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    Runtime, State,
    cgroup::is_id,
    files,
    told::{self, MOST_TOLD, Told},
};

/// Longest file. They hold the environment and the labels.
const MOST_FILE: usize = 4 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Config {
    name: Option<String>,
    #[serde(default)]
    state: Running,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Running {
    running: bool,
    paused: bool,
    pid: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    sandbox_key: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HostConfig {
    network_mode: Option<String>,
}

/// All containers that have readable files.
pub(super) fn list(root: &Path) -> Vec<Told> {
    let dir = root.join("containers");
    let mut ids: Vec<String> = files::names(&dir)
        .into_iter()
        .filter(|id| is_id(id))
        .collect();
    ids.truncate(MOST_TOLD);
    ids.into_iter()
        .filter_map(|id| container(&dir.join(&id), id))
        .collect()
}

fn container(dir: &Path, id: String) -> Option<Told> {
    let config = files::json(&dir.join("config.v2.json"), MOST_FILE)
        .inspect_err(|error| log::info!("{dir:?}: {error}"))
        .ok()?;
    // Without it, a name is known all the same.
    let host = files::json(&dir.join("hostconfig.json"), MOST_FILE).ok();
    Some(told(id, config, host))
}

/// What the two files say.
pub(crate) fn told(id: String, config: Config, host: Option<HostConfig>) -> Told {
    let mut told = Told::new(Runtime::Docker, id);
    told.name = config.name.as_deref().and_then(told::name);
    told.state = match config.state {
        Running { paused: true, .. } => State::Paused,
        Running { running: true, .. } => State::Running,
        Running { .. } => State::Stopped,
    };
    told.pid = Some(config.state.pid).filter(|&pid| pid > 0);
    told.netns = config
        .network_settings
        .sandbox_key
        .filter(|path| path.is_absolute());
    if let Some(host) = host {
        told.network = told::network(&host.network_mode.unwrap_or_default());
    }
    told
}

#[cfg(test)]
mod tests;
