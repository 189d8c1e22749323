//! Debian's cloud kernels, fetched as packages from the mirror that this machine itself uses,
//! checked against the archive's signature, and unpacked into a cache.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::arch::{AMD64, ARM64, Arch};
use crate::command::must;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// A kernel that the tests run on.
pub(crate) struct Kernel {
    /// As users name it.
    pub(crate) name: &'static str,
    pub(crate) arch: &'static Arch,
    suite: &'static str,
}

/// The oldest that is supported, and those of Debian's releases since.
pub(crate) static KERNELS: [Kernel; 4] = [
    Kernel::amd64("5.10", "bullseye"),
    Kernel::amd64("6.1", "bookworm"),
    Kernel::amd64("6.12", "trixie"),
    Kernel::amd64("7.2", "forky"),
];

/// The same of another architecture, which run where they are asked for by name: what they run has
/// to be built apart, and an emulated CPU of another kind is slower.
pub(crate) static OTHERS: [Kernel; 4] = [
    Kernel::arm64("5.10-arm64", "bullseye"),
    Kernel::arm64("6.1-arm64", "bookworm"),
    Kernel::arm64("6.12-arm64", "trixie"),
    Kernel::arm64("7.2-arm64", "forky"),
];

/// A kernel that is here.
pub(crate) struct Installed {
    /// `uname -r`.
    pub(crate) release: String,
    /// What boots.
    pub(crate) image: PathBuf,
    /// Where its modules are.
    pub(crate) modules: PathBuf,
    pub(crate) arch: &'static Arch,
    /// A busybox that runs on it, if this machine's own does not.
    pub(crate) busybox: Option<PathBuf>,
}

/// Where kernels are kept: `NETNS_TRACE_CACHE`, or the build directory.
pub(crate) fn cache() -> PathBuf {
    env::var_os("NETNS_TRACE_CACHE").map_or_else(|| crate::root().join("target/vm"), PathBuf::from)
}

impl Kernel {
    const fn amd64(name: &'static str, suite: &'static str) -> Self {
        Self {
            name,
            arch: &AMD64,
            suite,
        }
    }

    const fn arm64(name: &'static str, suite: &'static str) -> Self {
        Self {
            name,
            arch: &ARM64,
            suite,
        }
    }

    /// The first two numbers of its version.
    fn series(&self) -> &'static str {
        self.name.split('-').next().unwrap_or(self.name)
    }

    /// Fetches the newest kernel of this series, unless it is in the cache.
    pub(crate) fn fetch(&self, cache: &Path) -> Result<Installed> {
        let root = cache.join(self.name);
        if let Some(installed) = self.find(&root) {
            return Ok(installed);
        }
        fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let mirror = mirror()?;
        println!("fetching Debian's kernel {} ({})", self.name, self.suite);
        let index = self.index(&mirror, cache)?;
        let mut packages = choose(&index, self.series(), self.arch);
        ensure!(
            !packages.is_empty(),
            "{} has no cloud kernel {} of {}",
            self.suite,
            self.series(),
            self.arch.debian
        );
        if !self.arch.is_native() {
            packages.push(named(&index, "busybox-static").context("it has no busybox-static")?);
        }
        let fresh = cache.join(format!("{}.new", self.name));
        remove(&fresh)?;
        for package in packages {
            let file = cache.join("package.deb");
            download(
                &format!("{mirror}/{}", package.path),
                &file,
                Some(&package.sha256),
            )?;
            let mut unpack = Command::new("dpkg-deb");
            must(unpack.arg("--extract").arg(&file).arg(&fresh))?;
            remove(&file)?;
        }
        remove(&root)?;
        fs::rename(&fresh, &root).context("cannot put the kernel into the cache")?;
        self.find(&root)
            .with_context(|| format!("the packages of {} hold no kernel", self.name))
    }

    /// The kernel under `root`, if one was unpacked there.
    fn find(&self, root: &Path) -> Option<Installed> {
        let modules = [root.join("usr/lib/modules"), root.join("lib/modules")]
            .into_iter()
            .find_map(|folder| fs::read_dir(folder).ok()?.next()?.ok())?;
        let release = modules.file_name().to_string_lossy().into_owned();
        let image = [
            modules.path().join("vmlinuz"),
            root.join(format!("boot/vmlinuz-{release}")),
        ]
        .into_iter()
        .find(|image| image.is_file())?;
        let busybox = [root.join("usr/bin/busybox"), root.join("bin/busybox")]
            .into_iter()
            .find(|busybox| busybox.is_file());
        Some(Installed {
            release,
            image,
            modules: modules.path(),
            arch: self.arch,
            busybox,
        })
    }

    /// The suite's list of packages, whose hash the archive has signed.
    fn index(&self, mirror: &str, cache: &Path) -> Result<String> {
        let list = format!("main/binary-{}/Packages.xz", self.arch.debian);
        let base = format!("{mirror}/dists/{}", self.suite);
        let (signed, packed) = (cache.join("InRelease"), cache.join("Packages.xz"));
        download(&format!("{base}/InRelease"), &signed, None)?;
        let mut verify = Command::new("gpgv");
        verify
            .args(["--quiet", "--keyring", KEYRING])
            .arg(&signed)
            .stderr(Stdio::null());
        must(&mut verify).context("the archive's signature does not verify")?;
        let release = fs::read_to_string(&signed)?;
        let hash = release
            .split_once("\nSHA256:")
            .and_then(|(_, lines)| lines.lines().find(|line| line.ends_with(&list)))
            .and_then(|line| line.split_whitespace().next())
            .with_context(|| format!("{} does not list {list}", self.suite))?;
        download(&format!("{base}/{list}"), &packed, Some(hash))?;
        let unpacked = Command::new("xz").args(["-dc"]).arg(&packed).output()?;
        ensure!(unpacked.status.success(), "cannot unpack {list}");
        Ok(String::from_utf8_lossy(&unpacked.stdout).into_owned())
    }
}

/// A package, as the index lists it.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    path: String,
    sha256: String,
}

impl Package {
    fn of(stanza: &str) -> Option<Self> {
        Some(Self {
            name: field(stanza, "Package")?.to_owned(),
            path: field(stanza, "Filename")?.to_owned(),
            sha256: field(stanza, "SHA256")?.to_owned(),
        })
    }
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The package of a name.
fn named(index: &str, name: &str) -> Option<Package> {
    index
        .split("\n\n")
        .find(|stanza| field(stanza, "Package") == Some(name))
        .and_then(Package::of)
}

/// The newest cloud kernel of a series: one package up to 6.x, image and modules apart from 7.x on.
fn choose(index: &str, series: &str, arch: &Arch) -> Vec<Package> {
    let ending = format!("-cloud-{}", arch.debian);
    let mut newest: Vec<(Vec<u64>, Package)> = Vec::new();
    for stanza in index.split("\n\n") {
        let Some(package) = Package::of(stanza) else {
            continue;
        };
        let version = ["linux-image-", "linux-binary-", "linux-modules-"]
            .iter()
            .find_map(|prefix| package.name.strip_prefix(prefix)?.strip_suffix(&ending));
        let Some(version) = version else { continue };
        if !version
            .strip_prefix(series)
            .is_some_and(|rest| rest.starts_with('.'))
        {
            continue;
        }
        // Meta packages depend on a kernel and hold none.
        let size = field(stanza, "Size")
            .and_then(|size| size.parse::<u64>().ok())
            .unwrap_or(0);
        if size < 1_000_000 {
            continue;
        }
        let numbers = version
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|n| n.parse().ok())
            .collect();
        newest.push((numbers, package));
    }
    let Some(best) = newest.iter().map(|(numbers, _)| numbers.clone()).max() else {
        return Vec::new();
    };
    newest
        .into_iter()
        .filter(|(numbers, _)| *numbers == best)
        .map(|(_, package)| package)
        .collect()
}

/// The archive that this machine installs from.
fn mirror() -> Result<String> {
    let mut sources = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    sources.extend(parts.map(|entry| entry.path()));
    sources.sort();
    sources
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|text| archive(&text))
        .context("apt's sources name no Debian archive (a URI that ends in /debian)")
}

/// The first URI of Debian's own archive in a list of sources, of either format.
fn archive(sources: &str) -> Option<String> {
    sources
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches('/'))
        .find(|word| word.starts_with("http") && word.ends_with("/debian"))
        .map(str::to_owned)
}

fn download(from: &str, to: &Path, sha256: Option<&str>) -> Result<()> {
    remove(to)?;
    let mut command = Command::new(APT_HELPER);
    // The cache need not be readable for apt's own user.
    command.args(["-o", "APT::Sandbox::User=root"]);
    command.arg("download-file").arg(from).arg(to);
    if let Some(sha256) = sha256 {
        command.arg(format!("SHA256:{sha256}"));
    }
    must(command.stdout(Stdio::null())).with_context(|| format!("cannot fetch {from}"))
}

fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match result {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot remove {}: {why}", path.display())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_found_in_both_formats() {
        let deb822 = "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm\n";
        assert_eq!(
            archive(deb822).as_deref(),
            Some("http://mirror.example/debian")
        );
        let line = "# deb http://old.example/debian x main\ndeb [signed-by=/k] https://m.example/debian trixie main\n";
        assert_eq!(archive(line).as_deref(), Some("https://m.example/debian"));
        assert_eq!(
            archive("deb http://m.example/debian-security bookworm main"),
            None
        );
    }

    #[test]
    fn the_newest_kernel_of_a_series_is_chosen() {
        let stanza = |name: &str, size: u32| {
            format!("Package: {name}\nFilename: pool/{name}.deb\nSize: {size}\nSHA256: ab\n")
        };
        let index = [
            stanza("linux-image-6.1.0-9-cloud-amd64", 9_000_000),
            stanza("linux-image-6.1.0-50-cloud-amd64", 9_000_000),
            stanza("linux-image-6.12.1-cloud-amd64", 9_000_000),
            stanza("linux-image-7.2.1-cloud-amd64", 900),
            stanza("linux-binary-7.2.1-cloud-amd64", 9_000_000),
            stanza("linux-modules-7.2.1-cloud-amd64", 9_000_000),
            stanza("linux-image-6.1.0-60-amd64", 9_000_000),
            stanza("linux-image-6.1.0-50-cloud-arm64", 9_000_000),
            stanza("busybox-static", 800_000),
        ]
        .join("\n");
        let names = |series, arch| -> Vec<String> {
            choose(&index, series, arch)
                .into_iter()
                .map(|package| package.name)
                .collect()
        };
        assert_eq!(names("6.1", &AMD64), ["linux-image-6.1.0-50-cloud-amd64"]);
        assert_eq!(
            names("7.2", &AMD64),
            [
                "linux-binary-7.2.1-cloud-amd64",
                "linux-modules-7.2.1-cloud-amd64"
            ]
        );
        assert_eq!(names("6.1", &ARM64), ["linux-image-6.1.0-50-cloud-arm64"]);
        assert!(names("5.10", &AMD64).is_empty());
        let busybox = named(&index, "busybox-static").map(|package| package.path);
        assert_eq!(busybox.as_deref(), Some("pool/busybox-static.deb"));
    }
}
