//! The disks of a guest that runs the whole suite: a Debian with the tests' witnesses, made once and
//! kept; a kernel's modules, so that it loads those it wants by itself; and the tests of this build.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{guest, kernels::Installed};
use crate::{command::must, release};

/// Packages of the guest's Debian, beside its smallest set: what the tests call. Container runtimes and
/// a browser are not among them (`left_out`).
const PACKAGES: [&str; 27] = [
    "bpftool",
    "bpftrace",
    "bsdutils",
    "busybox-static",
    "conntrack",
    "curl",
    "ethtool",
    "gzip",
    "iproute2",
    "iptables",
    "iputils-ping",
    "kmod",
    "libcap2-bin",
    "libpcap0.8",
    "libxml2-utils",
    "mount",
    "netcat-openbsd",
    "nftables",
    "procps",
    "python3-minimal",
    "socat",
    "tcpdump",
    "tcpreplay",
    "tini",
    "tmux",
    "tshark",
    "util-linux",
];

/// Links that packages make which are left out, and that tests use.
const LINKS: [(&str, &str); 1] = [("usr/bin/docker-init", "tini-static")];

/// The Debian's disk, from the cache or made now. It is of this machine's release, whose C library the
/// tests are built with.
pub(super) fn debian(cache: &Path) -> Result<PathBuf> {
    let release = release::codename()?;
    let (disk, list) = (cache.join("debian.ext4"), cache.join("debian.packages"));
    let wanted = format!("{release} {}\n", PACKAGES.join(" "));
    if disk.is_file() && fs::read_to_string(&list).is_ok_and(|made_of| made_of == wanted) {
        return Ok(disk);
    }
    println!("making a {release} with the tests' tools for the guests");
    let folder = tempfile::tempdir_in(cache)?;
    let root = folder.path().join("root");
    must(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase", "--mode=root"])
            .arg(format!("--include={}", PACKAGES.join(",")))
            .arg(&release)
            .arg(&root),
    )?;
    fs::create_dir(root.join("suite"))?;
    fs::create_dir_all(root.join("usr/lib/modules"))?;
    for (link, to) in LINKS {
        std::os::unix::fs::symlink(to, root.join(link)).with_context(|| format!("/{link}"))?;
    }
    pack(&root, &disk, 512)?;
    fs::write(&list, wanted).with_context(|| format!("cannot write {}", list.display()))?;
    Ok(disk)
}

/// The disk of a kernel's modules, which is mounted where it looks for them.
pub(super) fn modules(name: &str, kernel: &Installed, cache: &Path) -> Result<PathBuf> {
    let disk = cache.join(format!("{name}.modules.ext4"));
    let folder = kernel.modules.parent().context("modules lie in a folder")?;
    pack(folder, &disk, 8)?;
    Ok(disk)
}

/// Copies a file for a guest's disk; a program without what only debuggers read.
pub(super) fn put(file: &Path, to: &Path) -> Result<()> {
    fs::copy(file, to).with_context(|| format!("cannot copy {}", file.display()))?;
    guest::strip("strip", to)
}

/// Makes an image with the files of a folder, and so many MiB of room beside them.
pub(super) fn pack(folder: &Path, disk: &Path, room: u64) -> Result<()> {
    let size = Command::new("du")
        .args(["--summarize", "--block-size=M"])
        .arg(folder)
        .output()
        .context("cannot run du")?;
    let size = String::from_utf8_lossy(&size.stdout);
    let size: u64 = size
        .split('M')
        .next()
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("du does not tell the size of {}", folder.display()))?;
    let fresh = disk.with_extension("new");
    if fresh.exists() {
        fs::remove_file(&fresh)?;
    }
    must(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
            .arg(folder)
            .arg(&fresh)
            // A tenth for the file system's own tables.
            .arg(format!("{}M", size + size / 10 + room)),
    )?;
    fs::rename(&fresh, disk).with_context(|| format!("cannot put {} in place", disk.display()))
}
