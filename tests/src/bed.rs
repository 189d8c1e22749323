//! Throw-away namespaces for one test, made with the `ip` command: a tool that is not ours, so that
//! a fault of ours does not hide itself. Everything goes when the bed is dropped.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use netns_trace::netns::NetNs;

use crate::corpus::{Numbered, Stored};

/// Two "containers" `a` and `b` on a bridge `br0` in a router namespace. Addresses: the router has
/// 10.9.0.1 and fd09::1, `a` ends in 2, `b` in 3. Host sides of the veths: `va`, `vb`.
pub struct Bed {
    prefix: String,
    names: Vec<String>,
    folder: tempfile::TempDir,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Runs a command, which must succeed.
///
/// # Panics
///
/// If it does not, with what it said.
pub fn must(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|why| panic!("{program} starts: {why}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Default for Bed {
    fn default() -> Self {
        Self::empty()
    }
}

impl Bed {
    /// A bed without namespaces, and a folder for files.
    ///
    /// # Panics
    ///
    /// Without root, which these tests need.
    #[must_use]
    pub fn empty() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            prefix: format!("nt{}x{number}", std::process::id()),
            names: Vec::new(),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// `a` and `b` on a bridge.
    #[must_use]
    pub fn bridge() -> Self {
        let mut bed = Self::empty();
        bed.add_namespace("r");
        // With snooping, the bridge sends reports of its own, seconds later.
        let bridge = "link add br0 type bridge mcast_snooping 0";
        bed.in_ns("r", "ip", &bridge.split(' ').collect::<Vec<_>>());
        bed.in_ns("r", "ip", &["link", "set", "br0", "up"]);
        bed.in_ns("r", "ip", &["addr", "add", "10.9.0.1/24", "dev", "br0"]);
        bed.in_ns(
            "r",
            "ip",
            &["-6", "addr", "add", "fd09::1/64", "dev", "br0", "nodad"],
        );
        for (name, last) in [("a", 2), ("b", 3)] {
            bed.add_namespace(name);
            let (host, ns) = (format!("v{name}"), bed.name(name));
            bed.in_ns(
                "r",
                "ip",
                &[
                    "link", "add", &host, "type", "veth", "peer", "name", "eth0", "netns", &ns,
                ],
            );
            bed.in_ns("r", "ip", &["link", "set", &host, "master", "br0", "up"]);
            bed.in_ns(name, "ip", &["link", "set", "eth0", "up"]);
            bed.in_ns(
                name,
                "ip",
                &["addr", "add", &format!("10.9.0.{last}/24"), "dev", "eth0"],
            );
            bed.in_ns(
                name,
                "ip",
                &[
                    "-6",
                    "addr",
                    "add",
                    &format!("fd09::{last}/64"),
                    "dev",
                    "eth0",
                    "nodad",
                ],
            );
            bed.in_ns(name, "ip", &["route", "add", "default", "via", "10.9.0.1"]);
        }
        for port in ["va", "vb"] {
            bed.wait_for_port("r", port);
        }
        bed
    }

    /// Waits until a bridge forwards what a port receives: the kernel notices the carrier in its
    /// own time, and what is sent before that is dropped.
    fn wait_for_port(&self, ns: &str, port: &str) {
        let ask = ["-d", "-j", "link", "show", "dev", port];
        for _ in 0..1000 {
            let text = self.in_ns(ns, "ip", &ask);
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let state = &json[0]["linkinfo"]["info_slave_data"]["state"];
            if state == "forwarding" && json[0]["operstate"] == "UP" {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("{port} forwards nothing");
    }

    /// As [`Bed::bridge`], without IPv6, of which the kernel sends by itself: what is counted is
    /// what the test sends.
    #[must_use]
    pub fn quiet() -> Self {
        let bed = Self::bridge();
        for name in ["r", "a", "b"] {
            bed.in_ns(name, "sysctl", &["-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
        }
        bed
    }

    /// Adds an empty namespace with `lo` up.
    pub fn add_namespace(&mut self, name: &str) {
        let full = self.name(name);
        must("ip", &["netns", "add", &full]);
        self.names.push(full);
        self.in_ns(name, "ip", &["link", "set", "lo", "up"]);
    }

    /// The full name of a namespace, for `ip netns` and `netns:`.
    #[must_use]
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Its target, as users write it.
    #[must_use]
    pub fn target(&self, name: &str) -> String {
        format!("netns:{}", self.name(name))
    }

    /// Its file.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/run/netns").join(self.name(name))
    }

    /// Opens it.
    ///
    /// # Panics
    ///
    /// If it is gone.
    #[must_use]
    pub fn open(&self, name: &str) -> NetNs {
        NetNs::open(&self.path(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
    }

    /// A file in this bed's folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that runs in a namespace.
    #[must_use]
    pub fn command(&self, name: &str, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path(name).display()))
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command in a namespace, which must succeed.
    pub fn in_ns(&self, name: &str, program: &str, args: &[&str]) -> String {
        let net = format!("--net={}", self.path(name).display());
        let mut all = vec![net.as_str(), program];
        all.extend(args);
        must("nsenter", &all)
    }

    /// Removes a namespace, as `ip netns del` does.
    pub fn remove(&mut self, name: &str) {
        let full = self.name(name);
        must("ip", &["netns", "del", &full]);
        self.names.retain(|other| *other != full);
    }

    /// What `ip` knows of an interface.
    ///
    /// # Panics
    ///
    /// If there is no such interface.
    #[must_use]
    pub fn link(&self, name: &str, interface: &str) -> serde_json::Value {
        let text = self.in_ns(name, "ip", &["-s", "-j", "link", "show", "dev", interface]);
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        json[0].clone()
    }

    /// Packets that an interface has received and sent, by its own count.
    ///
    /// # Panics
    ///
    /// If there is no such interface.
    #[must_use]
    pub fn counters(&self, name: &str, interface: &str) -> (u64, u64) {
        let link = self.link(name, interface);
        let packets = |way: &str| link["stats64"][way]["packets"].as_u64().expect("a count");
        (packets("rx"), packets("tx"))
    }

    /// The TCX programs of an interface: ingress, egress.
    ///
    /// # Panics
    ///
    /// If the kernel does not tell.
    #[must_use]
    pub fn tcx(&self, name: &str, interface: &str) -> [Vec<u32>; 2] {
        let ns = self.open(name);
        let ask = || crate::tcx::HOOKS.map(|hook| crate::tcx::programs(interface, hook));
        ns.run(ask)
            .expect("entered")
            .map(|ids| ids.expect("the kernel tells"))
    }

    /// Sends link-layer frames from an interface, as they are.
    ///
    /// # Panics
    ///
    /// If one cannot be sent.
    pub fn send_frames(&self, name: &str, interface: &str, frames: &[Vec<u8>]) {
        let ns = self.open(name);
        ns.run(|| crate::raw::send(interface, frames))
            .expect("entered")
            .expect("sent");
    }

    /// Sends frames from an interface with tcpreplay, as fast as that can.
    ///
    /// # Panics
    ///
    /// If not all are sent.
    pub fn replay(&self, name: &str, interface: &str, frames: &[Stored]) {
        let file = Numbered::new(frames, 1);
        let file = file.path().to_str().expect("a path");
        let said = self.in_ns(name, "tcpreplay", &["-t", "-i", interface, file]);
        let sent = format!("Successful packets:        {}\n", frames.len());
        assert!(said.contains(&sent), "{said}");
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for name in self.names.iter().rev() {
            let status = Command::new("ip").args(["netns", "del", name]).status();
            if !status.is_ok_and(|status| status.success()) {
                eprintln!("namespace {name} stays behind");
            }
        }
    }
}
