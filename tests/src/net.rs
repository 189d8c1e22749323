//! A private lab of netns-trace for one test, with a folder for files. It goes with its value.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use netns_trace::{
    lab::{self, Lab, LabSpec, Node, Topology, traffic},
    netns::NetNs,
};

use crate::{names::unique, patience::slowed};

/// How long traffic may take.
#[must_use]
pub fn limit() -> Duration {
    slowed(Duration::from_secs(60))
}

/// A private lab, and a folder for files.
pub struct Net {
    /// The lab.
    pub lab: Lab,
    folder: tempfile::TempDir,
}

impl Net {
    /// A lab of two containers.
    ///
    /// # Panics
    ///
    /// If there is none, or it fails.
    pub fn up(topology: Topology) -> Self {
        let lab = lab::up_private(&LabSpec::new(topology, unique('l')))
            .unwrap_or_else(|why| panic!("{topology}: {why}"));
        let folder = tempfile::tempdir().expect("a folder");
        Self { lab, folder }
    }

    /// A file in this net's folder.
    ///
    /// # Panics
    ///
    /// If there is none, or it fails.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A container, by number.
    ///
    /// # Panics
    ///
    /// If there is none, or it fails.
    pub fn container(&self, number: usize) -> &Node {
        self.lab.containers().nth(number).expect("a container")
    }

    /// The namespace with bridge and uplink.
    ///
    /// # Panics
    ///
    /// If there is none, or it fails.
    pub fn router(&self) -> &Node {
        self.lab.router().expect("a router")
    }

    /// The namespace beyond the uplink.
    ///
    /// # Panics
    ///
    /// If there is none, or it fails.
    pub fn outside(&self) -> &Node {
        self.lab.outside().expect("an outside")
    }

    /// A container as users name it.
    ///
    /// # Panics
    ///
    /// If there is none, or it fails.
    pub fn target(&self, number: usize) -> String {
        format!("netns:{}", self.container(number).name)
    }

    /// The host side of a container's eth0.
    ///
    /// # Panics
    ///
    /// If there is none, or it fails.
    pub fn veth(&self, number: usize) -> &str {
        // The bridge comes first.
        &self.router().interfaces[number + 1].name
    }

    /// Sends datagrams, which are answered, and a transfer over TCP from one node to another.
    ///
    /// # Panics
    ///
    /// If there is none, or it fails.
    pub fn send(&self, from: &Node, to: &Node, datagrams: u64, size: usize) {
        let (here, there, at) = (open(from), open(to), v4(to).into());
        let udp = traffic::udp(&here, &there, at, datagrams, size, limit()).expect("datagrams");
        assert_eq!((udp.sent, udp.returned), (datagrams, datagrams));
        let tcp = traffic::tcp(&here, &there, at, 2_000_000, limit()).expect("a transfer");
        assert!(tcp.intact, "{tcp:?}");
    }
}

/// Opens a node's namespace.
///
/// # Panics
///
/// If it is gone.
#[must_use]
pub fn open(node: &Node) -> NetNs {
    node.open()
        .unwrap_or_else(|why| panic!("{}: {why}", node.name))
}

/// A node's address.
///
/// # Panics
///
/// If it has none.
#[must_use]
pub fn v4(node: &Node) -> Ipv4Addr {
    match node.address(false) {
        Some(IpAddr::V4(address)) => address,
        other => panic!("{} has {other:?}", node.name),
    }
}
