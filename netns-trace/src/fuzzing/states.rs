//! Files and tables that others have written, or that we left behind: JSON of labs, names, filters and runtimes,
//! tables of /proc, and configuration of the resolver.

use std::ffi::OsStr;

use super::Bytes;
use crate::{
    container::{cgroup, docker, oci, podman, rootless, told::Told},
    inspect::{firewall, resolver, sockets},
    lab, link,
    netns::{find, is_name, process},
    probe::{lists, marks},
};

/// Longest name that is kept of a container.
const LONGEST: usize = 255;

/// Which kind of file, and what is in it. What is taken of it has the form that it must have.
pub fn states(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let (kind, file) = (bytes.byte(), bytes.0);
    match kind % 12 {
        0 => {
            if let Ok(record) = lab::state::parse("lab", file) {
                assert_eq!(record.name, "lab");
                assert!(record.nodes.iter().all(|node| is_name(&node.name)));
            }
        }
        1 => {
            if let Some(record) = link::register::parse(OsStr::new("web"), file) {
                assert_eq!(record.name, "web");
                assert_eq!(record.path(), crate::netns::path_of("web"));
            }
        }
        2 => {
            let lines = file.split(|byte| *byte == b'\n').count();
            assert!(lists::listed(file).len() <= lines);
            marks::marked(file);
        }
        3 => {
            for kind in ["net", "mnt"] {
                let lines = file.split(|byte| *byte == b'\n').count();
                assert!(find::mounts_of(file, kind).count() <= lines);
            }
        }
        4 => drop(process::parse(file)),
        5 => cgroups(file),
        6 => containers(file),
        7 => {
            let text = &*String::from_utf8_lossy(file);
            let mut resolver = resolver::parse(text);
            resolver.hosts = resolver::parse_hosts(text);
            assert!(resolver.nameservers.len() <= 3 && resolver.ndots <= 15);
            let name = text.split_ascii_whitespace().last().unwrap_or("web");
            assert!(resolver.candidates(name).len() <= 33);
            assert!(resolver.in_hosts(name).len() <= resolver.hosts.len());
        }
        8 => {
            for line in String::from_utf8_lossy(file).lines() {
                for (protocol, family) in [("tcp", 4), ("udp", 6)] {
                    sockets::read_inet(line, protocol, family);
                }
                sockets::read_packet(line, &|index| index.to_string());
            }
        }
        9 => {
            if let Ok(ruleset) = serde_json::from_slice(file) {
                firewall::nftables(&ruleset);
            }
        }
        10 => drop(firewall::iptables(
            "iptables",
            "ip",
            &String::from_utf8_lossy(file),
        )),
        _ => drop(serde_json::from_slice::<rootless::Status>(file)),
    }
}

/// The container is on the path, and a task that does not fit is none.
fn cgroups(table: &[u8]) {
    let tasks = |namespace: Option<&str>, _: &str| namespace.map(str::to_owned);
    if let Some(place) = cgroup::of_table(table, &tasks) {
        let id = &place.key.id;
        assert!(!id.is_empty());
        let text = String::from_utf8_lossy(table);
        assert!(id.split('/').all(|part| text.contains(part)), "{id:?}");
    }
}

fn containers(file: &[u8]) {
    let id = "f".repeat(64);
    let mut all: Vec<Told> = Vec::new();
    if let Ok(config) = serde_json::from_slice(file) {
        all.push(docker::told(
            id.clone(),
            config,
            serde_json::from_slice(file).ok(),
        ));
    }
    if let Ok(entries) = serde_json::from_slice::<Vec<podman::Entry>>(file) {
        all.extend(entries.into_iter().filter_map(podman::container));
    }
    if let Ok(config) = serde_json::from_slice(file) {
        let task = all.first().cloned();
        all.extend(task.map(|task| oci::with_names(task, "web", &config)));
        all.extend(oci::of_crio(id, &config));
    }
    for told in all {
        assert!(cgroup::is_id(&told.key.id) || told.key.id == "web");
        assert!(
            told.name
                .is_none_or(|name| name.len() <= LONGEST && !name.is_empty())
        );
        assert!(told.netns.is_none_or(|path| path.is_absolute()));
    }
}
