//! A dockerd of the test's own.

use std::{
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use super::{Engine, Machine, find, guard::last_lines, have, wait_for};
use crate::root::skip;

/// A dockerd in a machine, at its usual places. It ends when this is dropped; its containers end with
/// the machine.
pub struct Docker {
    machine: Arc<Machine>,
    daemon: Option<Child>,
}

impl Docker {
    /// In a machine of its own. `None`, with a word why, where Docker does not run.
    ///
    /// # Panics
    ///
    /// Under CI, where Docker does not run.
    #[must_use]
    pub fn private() -> Option<Self> {
        Self::start(&Arc::new(Machine::start()?))
    }

    /// In a machine that others may use, too. `None`, with a word why, where Docker does not run.
    ///
    /// # Panics
    ///
    /// Under CI, where Docker does not run.
    #[must_use]
    pub fn start(machine: &Arc<Machine>) -> Option<Self> {
        if !have(&["dockerd", "docker", "containerd", "runc", "iptables"]) {
            return None;
        }
        let mut docker = Self {
            machine: machine.clone(),
            daemon: None,
        };
        docker.start_daemon().then(|| {
            docker.load();
            docker
        })
    }

    /// The machine that it runs in.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Kills the daemon: its containers go on without it, and its socket's file stays.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill_daemon(&mut self) {
        // Its containerd has asked to be killed with it.
        let script = "kill -KILL $(cat /run/docker.pid)";
        self.machine.must("sh", &["-c", script]);
        if let Some(mut child) = self.daemon.take() {
            child.wait().expect("its end");
        }
    }

    /// Starts the daemon again after [`Docker::kill_daemon`]; whether it serves.
    ///
    /// # Panics
    ///
    /// Under CI, if it does not.
    pub fn start_daemon(&mut self) -> bool {
        let machine = self.machine.clone();
        let log = machine.folder().join("docker.log");
        let file = std::fs::File::create(&log).expect("a log");
        let mut command = machine.command("dockerd");
        command
            .args(["--storage-driver", "vfs", "--bip", "10.201.0.1/24"])
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--cgroup-parent", &format!("/{}/docker", machine.cgroup())])
            .arg("--live-restore")
            .stdout(file.try_clone().expect("a log"))
            .stderr(file);
        let mut child = command.spawn().expect("dockerd starts");
        let served = self.wait_until_served(|| matches!(child.try_wait(), Ok(None)));
        self.daemon = Some(child);
        if !served {
            let why = last_lines(&log);
            skip(&format!("dockerd does not start here:\n{why}"));
        }
        served
    }

    /// Whether the daemon answers before it ends.
    fn wait_until_served(&self, mut alive: impl FnMut() -> bool) -> bool {
        let socket = self.machine.path("/run/docker.sock");
        let ask = || match UnixStream::connect(&socket) {
            // The socket is there early: the first answer comes when the daemon is ready.
            Ok(_) => {
                let mut client = self.client();
                client
                    .args(["info"])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                client
                    .status()
                    .is_ok_and(|status| status.success())
                    .then_some(true)
            }
            Err(_) => None,
        };
        wait_for(|| ask().or_else(|| (!alive()).then_some(false))).unwrap_or(false)
    }

    fn load(&self) {
        let image = self.machine.folder().join("image.tar");
        self.cli(&["load", "-i", &image.display().to_string()]);
    }
}

impl Engine for Docker {
    fn client(&self) -> Command {
        self.machine
            .command(find("docker").unwrap_or_else(|| "docker".into()))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            // With the machine, it is killed; alone, it would outlive its value.
            drop(
                self.machine
                    .command("sh")
                    .args(["-c", "kill $(cat /run/docker.pid)"])
                    .status(),
            );
            drop(child.wait());
        }
    }
}
