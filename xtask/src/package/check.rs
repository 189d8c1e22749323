//! The package in a Debian that knows nothing of this machine: installed, used, removed.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use super::{VERSION, man};
use crate::{
    command::{must, output},
    install, release,
};

/// What apt and dpkg write for themselves, whichever package they handle.
const THEIRS: [&str; 5] = [
    "var/cache",
    "var/log",
    "var/lib/apt",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/lock-frontend",
];

/// Checks it all.
pub(super) fn run(package: &Path) -> Result<()> {
    install::need(&[("mmdebstrap", "mmdebstrap"), ("lintian", "lintian")])?;
    must(
        Command::new("lintian")
            .args(["--allow-root", "--fail-on", "error,warning"])
            // Of Debian's own archive alone.
            .args(["--suppress-tags", "initial-upload-closes-no-bugs"])
            .arg(package),
    )?;
    let folder = tempfile::tempdir()?;
    let system = System::new(folder.path())?;
    fs::copy(package, system.root.join("netns-trace.deb"))?;
    let before = system.files()?;
    system.shell("apt-get install -q -y /netns-trace.deb")?;
    used(&system)?;
    system.shell("dpkg --purge netns-trace")?;
    let after = system.files()?;
    let left: Vec<_> = after.symmetric_difference(&before).collect();
    ensure!(left.is_empty(), "the package leaves a difference: {left:?}");
    println!("the package installs, works, and goes without a trace");
    Ok(())
}

/// What a user would try first.
fn used(system: &System) -> Result<()> {
    let version = system.shell("netns-trace --version")?;
    ensure!(version == format!("netns-trace {VERSION}"), "{version}");
    for (page, _) in man::pages("")? {
        let name = page.trim_end_matches(".1");
        let shown = system.shell(&format!("man --warnings {name} 2>&1"))?;
        ensure!(
            shown.contains("NAME\n") && !shown.contains("warning:"),
            "man {name}: {shown}"
        );
    }
    for (shell, line) in COMPLETIONS {
        let completed = system.shell(line)?;
        ensure!(completed == "capture", "{shell} completes: {completed}");
    }
    let code = system.shell("netns-trace capture host --print-filter tcp port 443")?;
    ensure!(!code.is_empty(), "a filter has no code");
    let demo = system.shell(
        "netns-trace demo --dir /tmp/demo && ls /tmp/demo && ! ls -d /run/netns-trace 2>/dev/null",
    )?;
    ensure!(demo.contains("checksums agree"), "{demo}");
    ensure!(demo.ends_with("demo.pcapng"), "{demo}");
    Ok(())
}

/// The rest of `netns-trace cap`, as each shell looks for it. zsh, which has no way to be asked without a
/// terminal, only says whether it knows the command and can read what it has for it.
const COMPLETIONS: [(&str, &str); 3] = [
    (
        "bash",
        r#"
        . /usr/share/bash-completion/bash_completion
        _completion_loader netns-trace
        COMP_WORDS=(netns-trace cap) COMP_CWORD=1
        function=$(complete -p netns-trace | sed 's/.*-F \([^ ]*\).*/\1/')
        $function netns-trace cap netns-trace
        echo "${COMPREPLY[@]}""#,
    ),
    (
        "fish",
        "fish -c 'complete -C \"netns-trace cap\"' 2>&1 | cut -f1",
    ),
    (
        "zsh",
        "zsh -c 'autoload -U compinit; compinit -u -D; autoload +X ${_comps[netns-trace]:?} && echo capture' 2>&1",
    ),
];

/// A Debian in a folder, of this machine's release.
struct System {
    root: PathBuf,
}

impl System {
    fn new(folder: &Path) -> Result<Self> {
        let root = folder.join("root");
        let release = release::codename()?;
        println!("making a {release} for the check");
        must(
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=apt", "--mode=root"])
                .arg("--include=bash-completion,fish,libpcap0.8,man-db,zsh")
                .arg(release)
                .arg(&root),
        )?;
        Ok(Self { root })
    }

    /// Runs a line of bash in it; what it prints. It has the machine's processes and devices, and
    /// `/run` and `/tmp` of its own.
    fn shell(&self, line: &str) -> Result<String> {
        const ENTER: &str = "
            set -e
            mount -t proc proc \"$0/proc\"
            mount --rbind /sys \"$0/sys\"
            mount --rbind /dev \"$0/dev\"
            mount -t tmpfs tmpfs \"$0/run\"
            mount -t tmpfs tmpfs \"$0/tmp\"
            exec chroot \"$0\" bash -c \"$1\"";
        output(
            Command::new("unshare")
                .args(["--mount", "sh", "-c", ENTER])
                .arg(&self.root)
                .arg(line)
                .env_clear()
                .envs([
                    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                    ("DEBIAN_FRONTEND", "noninteractive"),
                    ("LC_ALL", "C.UTF-8"),
                    ("MANPAGER", "cat"),
                    ("HOME", "/tmp"),
                ]),
        )
    }

    /// All files in it, but those that apt and dpkg keep for themselves.
    fn files(&self) -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.root.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.strip_prefix(&self.root)?.to_owned();
                if THEIRS.iter().any(|theirs| name.starts_with(theirs)) {
                    continue;
                }
                if path.symlink_metadata()?.mode() & libc::S_IFMT == libc::S_IFDIR {
                    open.push(path);
                }
                found.insert(name);
            }
        }
        Ok(found)
    }
}
