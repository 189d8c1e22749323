//! Named namespaces made by `ip netns`, gone at the end of the test.

use std::path::PathBuf;

use netns_trace::netns::NetNs;

use crate::{command::ip, names::unique};

/// A namespace in /run/netns under a name of its own.
#[derive(Debug)]
pub struct TestNs {
    /// Its name.
    pub name: String,
}

impl TestNs {
    /// Makes one, with `lo` up.
    ///
    /// # Panics
    /// When `ip` fails.
    pub fn new() -> Self {
        let name = unique('t');
        ip(&format!("netns add {name}"));
        let ns = Self { name };
        ns.ip("link set lo up");
        ns
    }

    /// Runs `ip` inside.
    ///
    /// # Panics
    /// When it fails.
    pub fn ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Joins both by a veth pair.
    ///
    /// # Panics
    /// When `ip` fails.
    pub fn join(&self, name: &str, other: &TestNs, other_name: &str) {
        self.ip(&format!(
            "link add {name} type veth peer name {other_name} netns {}",
            other.name
        ));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {other_name} up"));
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Opens it.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn open(&self) -> NetNs {
        NetNs::open(&self.path()).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

impl Default for TestNs {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TestNs {
    fn drop(&mut self) {
        let removed = std::process::Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
        if let Err(error) = removed {
            eprintln!("cannot remove the namespace {}: {error}", self.name);
        }
    }
}
