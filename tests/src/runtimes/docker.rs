//! A dockerd of the test's own.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use super::{
    Engine, Machine, find, folder,
    guard::{Guard, last_lines},
    have, image, wait_for,
};
use crate::{names::unique, root::skip, tool};

/// On the real machine: all places its own, no rule in the firewall, no forwarding switched on. The
/// script has a bridge in `$3`, its address in `$4`, and Docker's client in `$5`.
const START: &str = r#"
{ ip link add "$3" type bridge && ip addr add "$4" dev "$3" && ip link set "$3" up; } 2>"$1/log" || exit 1
dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" --host "unix://$1/docker.sock" \
    --storage-driver vfs --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$2/docker" \
    --bridge "$3" --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
    </dev/null >>"$1/log" 2>&1 &
daemon=$!
echo "$daemon"
"#;

/// Containers first: what a stopped dockerd leaves running would have to be looked for.
const END: &str = r#"
client=$5 socket=$1/docker.sock
docker() {
    timeout 60 "$client" -H "unix://$socket" "$@" >/dev/null
}
ids() {
    timeout 60 "$client" -H "unix://$socket" "$@" 2>/dev/null
}
if kill -CONT $daemon 2>/dev/null; then
    # Ids are words.
    for id in $(ids ps -aq); do docker rm -f "$id"; done
    for id in $(ids network ls -q -f type=custom); do docker network rm "$id"; done
    kill -TERM $daemon
    wait $daemon
fi
for name in "$1"/exec/netns/*; do
    umount "$name" 2>/dev/null
done
ip link del "$3"
"#;

/// Where it runs.
enum Place {
    /// In a machine of the test's own, with its usual places.
    Machine {
        machine: Arc<Machine>,
        daemon: Option<Child>,
    },
    /// On the real machine.
    Host { _guard: Guard, folder: PathBuf },
}

/// A dockerd, which ends with all its containers when this is dropped: on the real machine at once, in
/// a machine of the test's own with that.
pub struct Docker {
    place: Place,
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
            place: Place::Machine {
                machine: machine.clone(),
                daemon: None,
            },
        };
        docker.start_daemon().then(|| {
            docker.load();
            docker
        })
    }

    /// On the real machine, on a bridge of its own, without a rule in the firewall: what it publishes
    /// goes through its proxy. Pids are those of the test, and host mode is the real host's network.
    /// `None`, with a word why, where Docker does not run.
    ///
    /// # Panics
    ///
    /// Under CI, where Docker does not run.
    #[must_use]
    pub fn on_host() -> Option<Self> {
        if !have(&["dockerd", "docker", "containerd", "runc", "ip"]) {
            return None;
        }
        let (folder, name) = (folder(), unique('d'));
        image::write(&folder);
        // Subnets of test programs that run side by side differ.
        let pid = std::process::id();
        let address = format!("10.{}.{}.1/24", 203 + pid / 256 % 48, pid % 256);
        let client = find("docker")?.display().to_string();
        let more = [name.as_str(), &address, &client];
        let started = Guard::start(&folder, &name, [START, END], &more);
        let log = folder.join("log");
        let docker = started.map(|(guard, pid)| {
            (
                pid,
                Self {
                    place: Place::Host {
                        _guard: guard,
                        folder,
                    },
                },
            )
        });
        let why = match docker {
            Ok((pid, docker)) => {
                let alive = || PathBuf::from(format!("/proc/{pid}/exe")).exists();
                if docker.wait_until_served(alive) {
                    docker.load();
                    return Some(docker);
                }
                last_lines(&log)
            }
            Err(why) => why,
        };
        skip(&format!("dockerd does not start here:\n{why}"));
        None
    }

    /// The machine that it runs in.
    ///
    /// # Panics
    ///
    /// If that is the real one.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        match &self.place {
            Place::Machine { machine, .. } => machine,
            Place::Host { .. } => panic!("this dockerd runs on the real machine"),
        }
    }

    /// Its socket, for programs on the real machine.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        match &self.place {
            Place::Machine { machine, .. } => machine.path("/run/docker.sock"),
            Place::Host { folder, .. } => folder.join("docker.sock"),
        }
    }

    /// A netns-trace that finds this Docker: in its machine, or by `DOCKER_HOST`.
    #[must_use]
    pub fn netns_trace(&self, args: &[&str]) -> Command {
        match &self.place {
            Place::Machine { machine, .. } => machine.netns_trace(args),
            Place::Host { .. } => {
                let mut command = tool::netns_trace(args);
                let socket = self.socket();
                command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
                command
            }
        }
    }

    /// Kills the daemon: its containers go on without it, and its socket's file stays. In a machine of
    /// the test's own alone.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill_daemon(&mut self) {
        // Its containerd has asked to be killed with it.
        let script = "kill -KILL $(cat /run/docker.pid)";
        self.machine().must("sh", &["-c", script]);
        if let Place::Machine { daemon, .. } = &mut self.place
            && let Some(mut child) = daemon.take()
        {
            child.wait().expect("its end");
        }
    }

    /// Starts the daemon again after [`Docker::kill_daemon`]; whether it serves.
    ///
    /// # Panics
    ///
    /// Under CI, if it does not.
    pub fn start_daemon(&mut self) -> bool {
        let machine = self.machine().clone();
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
        if let Place::Machine { daemon, .. } = &mut self.place {
            *daemon = Some(child);
        }
        if !served {
            let why = last_lines(&log);
            skip(&format!("dockerd does not start here:\n{why}"));
        }
        served
    }

    /// Whether the daemon answers before it ends.
    fn wait_until_served(&self, mut alive: impl FnMut() -> bool) -> bool {
        let socket = self.socket();
        let mut ask = || match UnixStream::connect(&socket) {
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
        let folder = match &self.place {
            Place::Machine { machine, .. } => machine.folder(),
            Place::Host { folder, .. } => folder,
        };
        self.cli(&[
            "load",
            "-i",
            &folder.join("image.tar").display().to_string(),
        ]);
    }
}

impl Engine for Docker {
    fn client(&self) -> Command {
        let program = find("docker").unwrap_or_else(|| "docker".into());
        match &self.place {
            Place::Machine { machine, .. } => machine.command(program),
            Place::Host { .. } => {
                let mut command = Command::new(program);
                command
                    .arg("-H")
                    .arg(format!("unix://{}", self.socket().display()));
                command.stdin(Stdio::null());
                command
            }
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Place::Machine { machine, daemon } = &mut self.place
            && let Some(mut child) = daemon.take()
        {
            // With the machine, it is killed; alone, it would outlive its value.
            drop(
                machine
                    .command("sh")
                    .args(["-c", "kill $(cat /run/docker.pid)"])
                    .status(),
            );
            drop(child.wait());
        }
    }
}
