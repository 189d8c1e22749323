//! The guest's root file system: busybox, the kernel modules that are needed, the programs with
//! their libraries, and an init that runs one command and tells how it ended.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{MARKER, UP, kernels::Installed, libraries};

/// Modules that the tests use, where the kernel has them as modules.
const MODULES: [&str; 21] = [
    "veth",
    "bridge",
    "sch_ingress",
    "cls_bpf",
    "act_bpf",
    "sch_netem",
    "sch_tbf",
    "tun",
    "macvlan",
    "8021q",
    "dummy",
    "ipv6",
    "nf_tables",
    "nft_chain_nat",
    "nft_masq",
    "nf_nat",
    "nf_conntrack",
    "af_packet",
    // The disks of `suite`.
    "virtio_pci",
    "virtio_blk",
    "ext4",
];

/// What a guest holds and runs.
#[derive(Default)]
pub(crate) struct Guest {
    files: Vec<(PathBuf, String)>,
    command: String,
}

impl Guest {
    /// Adds a file; of a program, the libraries it needs too.
    pub(crate) fn file(&mut self, host: &Path, guest: &str) {
        self.files.push((host.to_owned(), guest.to_owned()));
    }

    /// What it runs, for a shell.
    pub(crate) fn command(&mut self, command: &str) {
        command.clone_into(&mut self.command);
    }

    /// Packs it for a kernel.
    pub(crate) fn pack(&self, kernel: &Installed, image: &Path) -> Result<()> {
        let root = tempfile::tempdir().context("cannot make a directory")?;
        let root = root.path();
        for folder in [
            "bin", "proc", "sys", "dev", "tmp", "run", "etc", "root", "mnt", "modules",
        ] {
            fs::create_dir_all(root.join(folder))?;
        }
        let busybox = match &kernel.busybox {
            Some(theirs) => theirs.clone(),
            None => find_program("busybox")?,
        };
        put(&busybox, root, "/bin/busybox")?;
        for (host, guest) in &self.files {
            put(host, root, guest)?;
            strip(&kernel.arch.tool("strip"), &root.join(inside(guest)))?;
            for (here, there) in libraries::of(host, kernel.arch)? {
                put(&here, root, &there)?;
            }
        }
        let modules = copy_modules(kernel, &root.join("modules"))?;
        let init = root.join("init");
        fs::write(&init, self.init(&modules))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        archive(root, image)
    }

    fn init(&self, modules: &[String]) -> String {
        let load: String = modules
            .iter()
            .map(|module| format!("insmod /modules/{module} 2>/dev/null\n"))
            .collect();
        format!(
            "#!/bin/busybox sh\n\
             /bin/busybox mkdir -p /usr/bin /sbin /usr/sbin\n\
             /bin/busybox --install -s /bin\n\
             echo \"{UP}\"\n\
             export PATH=/bin HOME=/root TMPDIR=/tmp\n\
             mount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmount -t devtmpfs devtmpfs /dev\n\
             mount -t tmpfs tmpfs /run\nmount -t tmpfs tmpfs /tmp\n\
             {load}\
             ip link set lo up\n\
             {}\n\
             echo \"{MARKER}$?\"\n\
             poweroff -f\n",
            self.command
        )
    }
}

fn find_program(name: &str) -> Result<PathBuf> {
    ["/bin", "/usr/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is missing"))
}

/// A path of the guest, seen from its root.
fn inside(guest: &str) -> &str {
    guest.trim_start_matches('/')
}

/// Copies a file into the root.
fn put(host: &Path, root: &Path, guest: &str) -> Result<()> {
    let to = root.join(inside(guest));
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(host, &to).with_context(|| format!("cannot copy {} for the guest", host.display()))?;
    Ok(())
}

/// Takes from a program what only debuggers read. What is no program stays as it is.
pub(super) fn strip(tool: &str, file: &Path) -> Result<()> {
    let mut command = Command::new(tool);
    command
        .arg(file)
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {tool}"))?;
    Ok(())
}

/// Copies the modules with what they need, unpacked; their names, in the order to load them in.
fn copy_modules(kernel: &Installed, to: &Path) -> Result<Vec<String>> {
    let index = kernel.modules.join("modules.dep");
    // Debian's packages come without the index, which is made at installation.
    let text = match fs::read_to_string(&index) {
        Ok(text) if !text.is_empty() => text,
        _ => {
            // ROOT/lib/modules/RELEASE or ROOT/usr/lib/modules/RELEASE; depmod adds /lib/modules.
            let base = kernel
                .modules
                .ancestors()
                .nth(3)
                .context("modules lie in a root")?;
            // It warns of lists that only an installation has.
            let done = Command::new("depmod")
                .arg("--basedir")
                .arg(base)
                .arg(&kernel.release)
                .output()
                .context("cannot run depmod")?;
            ensure!(
                done.status.success(),
                "depmod failed ({}): {}",
                done.status,
                String::from_utf8_lossy(&done.stderr)
            );
            fs::read_to_string(&index).context("depmod has made no index")?
        }
    };
    let mut order = Vec::new();
    for module in MODULES {
        for path in needed(&text, module) {
            let name = file_name(&path);
            if order.contains(&name) {
                continue;
            }
            let from = kernel.modules.join(&path);
            if path.ends_with(".xz") {
                let unpacked = Command::new("xz").arg("-dc").arg(&from).output()?;
                ensure!(
                    unpacked.status.success(),
                    "cannot unpack {}",
                    from.display()
                );
                fs::write(to.join(&name), unpacked.stdout)?;
            } else {
                fs::copy(&from, to.join(&name))
                    .with_context(|| format!("cannot copy {}", from.display()))?;
            }
            order.push(name);
        }
    }
    Ok(order)
}

fn file_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.trim_end_matches(".xz").to_owned()
}

/// The files of a module and of what it needs, that first; none where the kernel has it built in.
fn needed(index: &str, module: &str) -> Vec<String> {
    let (plain, packed) = (format!("{module}.ko"), format!("{module}.ko.xz"));
    let line = index.lines().find_map(|line| {
        let (path, needs) = line.split_once(':')?;
        let name = path.rsplit('/').next()?;
        (name == plain || name == packed).then_some((path, needs))
    });
    let Some((path, needs)) = line else {
        return Vec::new();
    };
    // modules.dep lists what is needed, the nearest first.
    let mut files: Vec<String> = needs.split_whitespace().map(str::to_owned).collect();
    files.reverse();
    files.push(path.to_owned());
    files
}

/// Packs a folder as an initramfs.
fn archive(root: &Path, image: &Path) -> Result<()> {
    let mut names = Vec::new();
    list(root, root, &mut names)?;
    let out =
        fs::File::create(image).with_context(|| format!("cannot write {}", image.display()))?;
    let mut gzip = Command::new("gzip")
        .arg("-1")
        .stdin(Stdio::piped())
        .stdout(out)
        .spawn()
        .context("cannot run gzip")?;
    let pipe = gzip.stdin.take().context("gzip has no stdin")?;
    let mut cpio = Command::new("cpio")
        .args(["--quiet", "-o", "-H", "newc"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(pipe)
        .spawn()
        .context("cannot run cpio")?;
    let mut stdin = cpio.stdin.take().context("cpio has no stdin")?;
    stdin.write_all(names.join("\n").as_bytes())?;
    drop(stdin);
    ensure!(
        cpio.wait()?.success() && gzip.wait()?.success(),
        "cannot pack the guest"
    );
    Ok(())
}

fn list(root: &Path, folder: &Path, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        names.push(path.strip_prefix(root)?.to_string_lossy().into_owned());
        if path.is_dir() && !path.is_symlink() {
            list(root, &path, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_comes_first() {
        let index = "kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz\n\
                     kernel/net/llc/llc.ko.xz:\n";
        assert_eq!(
            needed(index, "bridge"),
            [
                "kernel/net/llc/llc.ko.xz",
                "kernel/net/802/stp.ko.xz",
                "kernel/net/bridge/bridge.ko.xz"
            ]
        );
        assert!(needed(index, "veth").is_empty());
    }
}
