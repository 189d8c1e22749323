//! Rootless containers that have no cgroup of their own, as where nobody delegates one: the kernel shows
//! that they are a user's, and that user's OCI runtime which they are.
//!
//! crun keeps `/run/user/UID/crun/ID/status`, runc `/run/user/UID/runc/ID/state.json`. The user may write
//! there what it likes, so it is believed of its own processes alone: those in a user namespace that it
//! made, and started when the file says.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::errno::Errno;
use serde::Deserialize;

use super::{
    ContainerKey, Runtime,
    cgroup::{Place, Shown, is_id},
    files,
};

/// `NS_GET_OWNER_UID`, from 4.11; include/uapi/linux/nsfs.h.
const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;
/// Longest file: runc's holds the whole configuration.
const MOST_FILE: usize = 1 << 20;
/// Most containers of one user, and most users.
const MOST: usize = 256;

/// What the OCI runtimes keep, as far as it is of use here.
#[derive(Deserialize)]
pub(crate) struct Status {
    #[serde(alias = "init_process_pid")]
    pid: u32,
    #[serde(rename = "process-start-time", alias = "init_process_start")]
    started: u64,
}

/// The containers of all users that are not among those that are shown already.
pub(super) fn add_all(shown: &mut BTreeMap<ContainerKey, Shown>) {
    let users = files::names(Path::new("/run/user"));
    let uids = users.into_iter().filter_map(|name| name.parse().ok());
    for uid in uids.filter(|&uid| uid != 0).take(MOST) {
        for (id, file) in states(uid) {
            if let Some(pid) = process(uid, &file) {
                let key = key(id);
                let place = Place::without_cgroup(key.clone(), uid);
                shown.entry(key).or_insert_with(|| Shown::new(place, pid));
            }
        }
    }
}

/// The container whose first process it is.
pub(super) fn of_process(pid: u32) -> Option<ContainerKey> {
    // A container's root is its user outside.
    let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    if uid == 0 {
        return None;
    }
    let uid = owner_of_namespace(pid).filter(|&owner| owner != 0)?;
    states(uid)
        .into_iter()
        .find(|(_, file)| process(uid, file) == Some(pid))
        .map(|(id, _)| key(id))
}

fn key(id: String) -> ContainerKey {
    ContainerKey {
        runtime: Runtime::Podman,
        id,
    }
}

/// The ids of a user's containers, and the files that tell of them.
fn states(uid: u32) -> Vec<(String, PathBuf)> {
    let run = PathBuf::from(format!("/run/user/{uid}"));
    let mut states = Vec::new();
    for (runtime, file) in [("crun", "status"), ("runc", "state.json")] {
        let dir = run.join(runtime);
        for id in files::names(&dir) {
            if is_id(&id) && states.len() < MOST {
                let file = dir.join(&id).join(file);
                states.push((id, file));
            }
        }
    }
    states
}

/// The process that a file tells of, if it is that user's.
fn process(uid: u32, file: &Path) -> Option<u32> {
    let status: Status = files::json(file, MOST_FILE).ok()?;
    let is_that_one = crate::netns::start_time(status.pid) == Some(status.started)
        && owner_of_namespace(status.pid) == Some(uid);
    is_that_one.then_some(status.pid)
}

/// Who made the user namespace that a process is in.
fn owner_of_namespace(pid: u32) -> Option<u32> {
    let namespace = File::open(format!("/proc/{pid}/ns/user")).ok()?;
    let mut uid: libc::uid_t = 0;
    // SAFETY: the ioctl writes one uid_t to the place that it is given, which lives over the call.
    let done = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
    Errno::result(done).ok().map(|_| uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runtimes_files_are_read() {
        for text in [
            r#"{"pid":4711,"process-start-time":99,"cgroup-path":"","rootfs":"/x"}"#,
            r#"{"id":"x","init_process_pid":4711,"init_process_start":99,"config":{}}"#,
        ] {
            let status: Status = serde_json::from_str(text).expect(text);
            assert_eq!((status.pid, status.started), (4711, 99));
        }
    }

    #[test]
    fn a_claim_of_somebody_elses_process_is_not_believed() {
        let own = std::process::id();
        let started = crate::netns::start_time(own).expect("we live");
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("status");
        let claim = |pid: u32, started: u64| {
            let text = format!(r#"{{"pid":{pid},"process-start-time":{started}}}"#);
            fs::write(&file, text).expect("a file");
        };
        let maker = owner_of_namespace(own).expect("our user namespace");
        claim(own, started);
        assert_eq!(process(maker, &file), Some(own));
        assert_eq!(process(maker + 1, &file), None, "another user's");
        claim(own, started + 1);
        assert_eq!(process(maker, &file), None, "another process by now");
        claim(u32::MAX, started);
        assert_eq!(process(maker, &file), None);
        fs::write(&file, "{\"pid\":").expect("a file");
        assert_eq!(process(maker, &file), None);
    }
}
