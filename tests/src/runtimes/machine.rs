//! A machine of the test's own inside the real one: pids, mounts and network apart, the kernel and the
//! file system's programs shared.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{guard::Guard, have, image};
use crate::{
    inspected,
    names::unique,
    root::skip,
    tool::{self, Running, Witness},
};

/// Starts what is inside, and waits until that is the machine's first process.
const START: &str = r#"
unshare --mount --net --pid --fork --kill-child sh -ec "$3" machine "$1" </dev/null 2>"$1/log" &
below=$!
"#;

/// A pid namespace ends with its first process, and that waits for all others: also for frozen ones,
/// as those of a paused container are, which cannot even be killed.
const END: &str = r#"
thaw() {
    find /sys/fs/cgroup -path "*/$2/*" \( -name freezer.state -o -name cgroup.freeze \) | while read -r file; do
        case $file in
            */freezer.state) echo THAWED >"$file" ;;
            *) echo 0 >"$file" ;;
        esac
    done 2>/dev/null
}
[ -e "$1/init" ] && kill -KILL "$(cat "$1/init")"
thaw "$@"
wait $below
"#;

/// Inside: places of its own for all that runtimes write, whether they ask for another place or not,
/// and a user without rights for rootless ones.
const INSIDE: &str = r#"
read -r pid rest </proc/self/stat
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /run/netns /run/user/4711 "$1/home" "$1/over" "$1/cgroup"
# Of the real one's /sys, cgroups alone: its interfaces and security modules are not of this machine.
mount --rbind /sys/fs/cgroup "$1/cgroup"
mount -t sysfs sys /sys
mount --rbind "$1/cgroup" /sys/fs/cgroup
umount -l "$1/cgroup"
# What crun refuses: version 2 beside version 1, with controllers in both.
umount /sys/fs/cgroup/unified 2>/dev/null || true
mount -t tmpfs -o mode=755 over "$1/over"
for name in etc opt var; do
    mkdir -p "$1/over/$name" "$1/over/$name.work"
    mount -t overlay -o "lowerdir=/$name,upperdir=$1/over/$name,workdir=$1/over/$name.work" over "/$name"
done
# Storage of the real machine's own runtimes is nothing to begin with.
for name in docker containerd containers cni; do
    mkdir -p "/var/lib/$name" "$1/over/lib/$name"
    mount --bind "$1/over/lib/$name" "/var/lib/$name"
done
chown 4711:4711 /run/user/4711 "$1/home"
echo "lodger:x:4711:4711::$1/home:/bin/sh" >>/etc/passwd
echo "lodger:x:4711:" >>/etc/group
echo "lodger:100000:65536" | tee -a /etc/subuid >>/etc/subgid
# For everybody, as udev has it: without udev the kernel's own is for root alone.
if [ -e /dev/net/tun ]; then
    mknod -m 666 "$1/over/tun" c 10 200
    mount --bind "$1/over/tun" /dev/net/tun
fi
ip link set lo up
echo "$pid" >"$1/init"
echo "$pid"
exec docker-init -- sleep infinity >/dev/null
"#;

/// A machine of the test's own. It has loopback alone until a runtime makes bridges, its own
/// `/run`, and its first process in `/proc/1`. All of it ends when it is dropped.
pub struct Machine {
    // The guard goes first: it removes the folder when all processes have ended.
    _guard: Guard,
    init: u32,
    folder: PathBuf,
    cgroup: String,
}

impl Machine {
    /// Starts one. `None`, with a word why, if this machine cannot.
    ///
    /// # Panics
    ///
    /// Under CI, if this machine cannot.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !have(&["docker-init", "unshare", "nsenter", "ip", "busybox"]) {
            return None;
        }
        let cgroup = unique('m');
        let folder = super::folder();
        let started = Guard::start(&folder, &cgroup, [START, END], &[INSIDE])
            .and_then(|(guard, line)| Ok((guard, line.parse().map_err(|_| line)?)));
        match started {
            Ok((guard, init)) => {
                image::write(&folder);
                Some(Self {
                    _guard: guard,
                    init,
                    folder,
                    cgroup,
                })
            }
            Err(why) => {
                skip(&format!("no machine of its own for a test: {why}"));
                None
            }
        }
    }

    /// A command that runs inside. With [`tool::Running::start`], use `.of_child()`: signals are for
    /// the program, not for the `nsenter` that waits for it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init))
            .args(["--mount", "--net", "--pid", "--"])
            .arg(program)
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// A netns-trace that runs inside.
    #[must_use]
    pub fn netns_trace<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(tool::binary());
        command.args(args);
        command
    }

    /// Runs netns-trace inside to its end.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> tool::Done {
        tool::done(self.netns_trace(args))
    }

    /// Runs netns-trace inside, which must succeed, and reads the JSON that it prints.
    ///
    /// # Panics
    ///
    /// If it fails, or prints anything else.
    #[must_use]
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        inspected::json(&tool::must(self.netns_trace(args)))
    }

    /// A netns-trace on the real machine, which asks this machine's Docker for names.
    #[must_use]
    pub fn from_outside(&self, args: &[&str]) -> Command {
        let [socket, root] = ["/run/docker.sock", "/var/lib/docker"].map(|path| self.path(path));
        let places = format!("docker={}:docker-root={}", socket.display(), root.display());
        let mut command = tool::netns_trace(args);
        command.env("NETNS_TRACE_RUNTIMES", places);
        command
    }

    /// Starts `netns-trace capture` inside with the words of a line, and waits until it says `ready` on
    /// stderr.
    ///
    /// # Panics
    ///
    /// If it ends before.
    #[must_use]
    pub fn capture(&self, words: &str, ready: &str) -> Running {
        let words = ["capture"].into_iter().chain(words.split(' '));
        let mut running = Running::start(self.netns_trace(words)).of_child();
        running.wait_for(ready);
        running
    }

    /// tcpdump on an interface of a process's namespace: one for what it receives, one for what it
    /// sends.
    #[must_use]
    pub fn witnesses(&self, pid: u32, interface: &str) -> [Witness; 2] {
        let ns = self.path(&format!("/proc/{pid}/ns/net"));
        ["in", "out"].map(|way| {
            let file = self.folder.join(format!("{pid}-{interface}-{way}.pcap"));
            Witness::start(&ns, interface, way, file)
        })
    }

    /// Runs a program inside, which must succeed; what it printed.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn must(&self, program: &str, args: &[&str]) -> String {
        let mut command = self.command(program);
        command.args(args);
        tool::must(command)
    }

    /// A process of the machine, as the real machine finds a file that it sees:
    /// `/proc/PID/root` and the path.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// The inode of the machine's own network namespace: its `host`.
    ///
    /// # Panics
    ///
    /// If the machine is gone.
    #[must_use]
    pub fn host_inode(&self) -> u64 {
        self.inode(1)
    }

    /// The inode of the network namespace of a process inside, by its pid there.
    ///
    /// # Panics
    ///
    /// If there is no such process.
    #[must_use]
    pub fn inode(&self, pid: u32) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        let path = self.path(&format!("/proc/{pid}/ns/net"));
        let file = std::fs::metadata(&path).unwrap_or_else(|why| panic!("{path:?}: {why}"));
        file.ino()
    }

    /// Where its files are, the same inside and outside.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cgroup below which its containers are, without a slash.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// The same for the words of a line.
    pub fn line(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        self.must(words[0], &words[1..])
    }

    /// A network beyond the machine's uplink `eth0` (10.202.0.1), where its default route leads: a
    /// namespace with that name for `ip netns` inside, at 10.202.0.2.
    pub fn add_outside(&self, name: &str) {
        for line in [
            format!("netns add {name}"),
            format!("link add eth0 type veth peer name eth0 netns {name}"),
            "addr add 10.202.0.1/24 dev eth0".to_owned(),
            "link set eth0 up".to_owned(),
            "route add default via 10.202.0.2".to_owned(),
            format!("-n {name} addr add 10.202.0.2/24 dev eth0"),
            format!("-n {name} link set eth0 up"),
            format!("-n {name} link set lo up"),
        ] {
            self.line(&format!("ip {line}"));
        }
    }
}
