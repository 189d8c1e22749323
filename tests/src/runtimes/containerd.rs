//! A containerd in a machine of the test's own, and `ctr`. Its CRI plugin is switched on, with a CNI
//! network of bridge and veths for pods.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    process::Child,
    sync::Arc,
};

use super::{IMAGE, Machine, guard::last_lines, have, wait_for};
use crate::root::skip;

/// A containerd at its usual place, `/run/containerd/containerd.sock`, inside its machine.
pub struct Containerd {
    machine: Arc<Machine>,
    daemon: Child,
}

impl Containerd {
    /// A containerd in a machine. `None`, with a word why, where it does not run.
    ///
    /// # Panics
    ///
    /// Under CI, where it does not run.
    #[must_use]
    pub fn start(machine: &Arc<Machine>) -> Option<Self> {
        if !have(&["containerd", "ctr", "runc", "curl"]) {
            return None;
        }
        let folder = machine.folder();
        let networks = folder.join("networks");
        fs::create_dir_all(&networks).expect("a folder");
        let network = serde_json::json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.204.0.0/24" }]] },
            }],
        });
        fs::write(networks.join("10-pods.conflist"), network.to_string()).expect("written");
        let config = format!(
            "version = 2\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\n\
             sandbox_image = \"{IMAGE}\"\n\
             restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
             bin_dir = \"/usr/lib/cni\"\n\
             conf_dir = \"{}\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n\
             snapshotter = \"native\"\n",
            networks.display()
        );
        let file = folder.join("containerd.toml");
        fs::write(&file, config).expect("written");
        let log = folder.join("containerd.log");
        let output = File::create(&log).expect("a log");
        let mut command = machine.command("containerd");
        command
            .arg("--config")
            .arg(file)
            .stdout(output.try_clone().expect("a log"))
            .stderr(output);
        let mut daemon = command.spawn().expect("containerd starts");
        let socket = machine.path("/run/containerd/containerd.sock");
        let served = wait_for(|| match daemon.try_wait() {
            Ok(None) => UnixStream::connect(&socket).ok().map(|_| true),
            _ => Some(false),
        });
        if served != Some(true) {
            let why = last_lines(&log);
            skip(&format!("containerd does not start here:\n{why}"));
            return None;
        }
        let containerd = Self {
            machine: machine.clone(),
            daemon,
        };
        for namespace in ["default", "k8s.io"] {
            let image = folder.join("image.tar").display().to_string();
            let import = ["image", "import", "--snapshotter", "native", &image];
            containerd.ctr(namespace, &import);
        }
        Some(containerd)
    }

    /// A containerd in a machine of its own.
    ///
    /// # Panics
    ///
    /// Under CI, where it does not run.
    #[must_use]
    pub fn private() -> Option<Self> {
        Self::start(&Arc::new(Machine::start()?))
    }

    /// The machine that it runs in.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Runs `ctr` in one of containerd's namespaces, which must succeed; what it printed.
    pub fn ctr(&self, namespace: &str, args: &[&str]) -> String {
        self.machine
            .must("ctr", &[&["--namespace", namespace][..], args].concat())
    }

    /// Starts a container that sleeps for ever, in the background, in a network namespace with
    /// loopback alone, unless the options say otherwise (`--net-host`, `--with-ns network:/PATH`).
    pub fn run(&self, namespace: &str, id: &str, options: &[&str]) {
        // As ctr does by itself, below the cgroup of the test.
        let cgroup = format!("/{}/{namespace}/{id}", self.machine.cgroup());
        let mut args = vec![
            "run",
            "--detach",
            "--snapshotter",
            "native",
            "--cgroup",
            &cgroup,
        ];
        args.extend(options);
        args.extend([IMAGE, id, "sleep", "2147483647"]);
        self.ctr(namespace, &args);
    }

    /// The pid of a container's first process.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn pid(&self, namespace: &str, id: &str) -> u32 {
        let text = self.ctr(namespace, &["task", "ls"]);
        let mut lines = text.lines().map(|line| line.split_whitespace());
        let pid = lines.find_map(|mut words| (words.next() == Some(id)).then(|| words.next()));
        let pid = pid.flatten().and_then(|pid| pid.parse().ok());
        pid.unwrap_or_else(|| panic!("{id} does not run: {text}"))
    }

    /// Ends a container and removes it.
    pub fn remove(&self, namespace: &str, id: &str) {
        self.ctr(namespace, &["task", "delete", "--force", id]);
        self.ctr(namespace, &["container", "delete", id]);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // containerd itself ends with the machine.
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}
