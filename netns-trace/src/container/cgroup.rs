//! Runtime and id of a process's container, from its cgroup path: no permission is needed, and no
//! runtime is asked.

use std::{collections::BTreeMap, fs};

use super::{ContainerKey, Runtime};

/// The container that a process runs in; `None` for processes of the machine itself, and for those that
/// have ended.
#[must_use]
pub fn of_process(pid: u32) -> Option<ContainerKey> {
    of_table(&fs::read(format!("/proc/{pid}/cgroup")).ok()?)
}

/// Each container that has a process, with the lowest pid among its processes.
pub(super) fn all() -> BTreeMap<ContainerKey, u32> {
    let mut found = BTreeMap::new();
    for pid in crate::netns::pids() {
        if let Some(key) = of_process(pid) {
            found.entry(key).or_insert(pid);
        }
    }
    found
}

/// The first container that a line of /proc/PID/cgroup names; cgroups(7).
fn of_table(table: &[u8]) -> Option<ContainerKey> {
    let table = String::from_utf8_lossy(table);
    table
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .find_map(of_path)
}

/// `/system.slice/docker-ID.scope`, `/docker/ID`, `…/libpod-ID.scope`, `…/libpod-ID/container`.
fn of_path(path: &str) -> Option<ContainerKey> {
    let parts: Vec<&str> = path.split('/').collect();
    for (at, part) in parts.iter().enumerate().rev() {
        let scope = part.strip_suffix(".scope").unwrap_or(part);
        for (prefix, runtime) in [
            ("docker-", Runtime::Docker),
            ("libpod-", Runtime::Podman),
            ("cri-containerd-", Runtime::Cri),
            ("crio-", Runtime::Cri),
        ] {
            if let Some(id) = scope.strip_prefix(prefix).filter(|id| is_id(id)) {
                return Some(ContainerKey {
                    runtime,
                    id: id.to_owned(),
                });
            }
        }
        if at > 0 && parts[at - 1] == "docker" && is_id(part) {
            return Some(ContainerKey {
                runtime: Runtime::Docker,
                id: (*part).to_owned(),
            });
        }
    }
    None
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_and_id_are_in_the_path() {
        let id = "0123456789abcdef".repeat(4);
        for (path, runtime) in [
            (format!("/system.slice/docker-{id}.scope"), Runtime::Docker),
            (format!("/docker/{id}"), Runtime::Docker),
            (
                format!("/machine.slice/libpod-{id}.scope/container"),
                Runtime::Podman,
            ),
        ] {
            let table = format!("12:net_cls:/\n0::{path}\n");
            let key = of_table(table.as_bytes()).expect(&path);
            assert_eq!((key.runtime, &key.id), (runtime, &id), "{path}");
        }
        assert_eq!(of_table(b"0::/user.slice/user-0.slice\n"), None);
        assert_eq!(of_table(b"0::/docker/short\n"), None);
        assert_eq!(of_table(b"\xff\n::\n"), None);
    }
}
