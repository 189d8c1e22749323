//! Real container runtimes, started by the tests for themselves: Docker, Podman with and without root,
//! containerd with `ctr` and its CRI plugin.
//!
//! Each test has a [`Machine`] of its own: processes, mounts and a network that the real machine does
//! not see among its own, so that the runtimes keep their usual places (`/run/docker.sock`) and tests
//! run side by side, and that nothing of theirs, such as rules in the firewall, touches the real machine.
//! Nothing is pulled: images are made of the machine's busybox. All that is started ends with its value,
//! and also when the test is killed.

mod containerd;
mod cri;
mod docker;
mod engine;
mod guard;
mod image;
mod machine;
mod podman;

pub use self::{
    containerd::Containerd,
    cri::{Cri, Sandbox},
    docker::Docker,
    engine::Engine,
    image::IMAGE,
    machine::Machine,
    podman::{Podman, User},
};

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{patience::patience, root::skip};

/// The first of a program's places: Debian's before a machine's own.
fn find(program: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .map(|folder| PathBuf::from(folder).join(program))
        .into_iter()
        .find(|path| path.is_file())
}

/// Whether the programs that a test needs are there; says what is missing.
///
/// # Panics
///
/// Under CI, if one is missing.
fn have(programs: &[&str]) -> bool {
    if !crate::root::may_run("container runtimes") {
        return false;
    }
    match programs.iter().find(|program| find(program).is_none()) {
        Some(program) => {
            skip(&format!("{program} is not installed"));
            false
        }
        None => true,
    }
}

/// A new folder, which other users may enter: its guard removes it.
fn folder() -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new().prefix("nt-").tempdir();
    let folder = folder.expect("a folder").keep();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&folder, mode).expect("its mode");
    folder
}

/// Asks until the answer is there, for [`patience`].
fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
