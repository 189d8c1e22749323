//! Debian's cloud kernels, fetched as packages from the mirror that this machine itself uses,
//! checked against the archive's signature, and unpacked into a cache.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::must;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// A kernel that the tests run on.
pub(crate) struct Kernel {
    /// As users name it.
    pub(crate) name: &'static str,
    suite: &'static str,
}

/// The oldest that is supported, and those of Debian's releases since.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel {
        name: "5.10",
        suite: "bullseye",
    },
    Kernel {
        name: "6.1",
        suite: "bookworm",
    },
    Kernel {
        name: "6.12",
        suite: "trixie",
    },
    Kernel {
        name: "7.2",
        suite: "forky",
    },
];

/// A kernel that is here.
pub(crate) struct Installed {
    /// `uname -r`.
    pub(crate) release: String,
    /// What boots.
    pub(crate) image: PathBuf,
    /// Where its modules are.
    pub(crate) modules: PathBuf,
}

/// Where kernels are kept: `NETNS_TRACE_CACHE`, or the build directory.
pub(crate) fn cache() -> PathBuf {
    env::var_os("NETNS_TRACE_CACHE").map_or_else(|| crate::root().join("target/vm"), PathBuf::from)
}

impl Kernel {
    /// Fetches the newest kernel of this series, unless it is in the cache.
    pub(crate) fn fetch(&self, cache: &Path) -> Result<Installed> {
        let root = cache.join(self.name);
        if let Some(installed) = find(&root) {
            return Ok(installed);
        }
        fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let mirror = mirror()?;
        println!("fetching Debian's kernel {} ({})", self.name, self.suite);
        let index = self.index(&mirror, cache)?;
        let packages = choose(&index, self.name);
        ensure!(
            !packages.is_empty(),
            "{} has no cloud kernel {}",
            self.suite,
            self.name
        );
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
        find(&root).with_context(|| format!("the packages of {} hold no kernel", self.name))
    }

    /// The suite's list of packages, whose hash the archive has signed.
    fn index(&self, mirror: &str, cache: &Path) -> Result<String> {
        const INDEX: &str = "main/binary-amd64/Packages.xz";
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
            .and_then(|(_, list)| list.lines().find(|line| line.ends_with(INDEX)))
            .and_then(|line| line.split_whitespace().next())
            .with_context(|| format!("{} does not list {INDEX}", self.suite))?;
        download(&format!("{base}/{INDEX}"), &packed, Some(hash))?;
        let unpacked = Command::new("xz").args(["-dc"]).arg(&packed).output()?;
        ensure!(unpacked.status.success(), "cannot unpack {INDEX}");
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

/// The newest cloud kernel of a series: one package up to 6.x, image and modules apart from 7.x on.
fn choose(index: &str, series: &str) -> Vec<Package> {
    let mut newest: Vec<(Vec<u64>, Package)> = Vec::new();
    for stanza in index.split("\n\n") {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
        };
        let Some(name) = field("Package") else {
            continue;
        };
        let version = ["linux-image-", "linux-binary-", "linux-modules-"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix)?.strip_suffix("-cloud-amd64"));
        let Some(version) = version else { continue };
        if !version
            .strip_prefix(series)
            .is_some_and(|rest| rest.starts_with('.'))
        {
            continue;
        }
        // Meta packages depend on a kernel and hold none.
        let size = field("Size")
            .and_then(|size| size.parse::<u64>().ok())
            .unwrap_or(0);
        if size < 1_000_000 {
            continue;
        }
        let numbers = version
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|n| n.parse().ok())
            .collect();
        if let (Some(path), Some(sha256)) = (field("Filename"), field("SHA256")) {
            newest.push((numbers, Package { name, path, sha256 }));
        }
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

/// A kernel under `root`, if one was unpacked there.
fn find(root: &Path) -> Option<Installed> {
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
    Some(Installed {
        release,
        image,
        modules: modules.path(),
    })
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
        ]
        .join("\n");
        let names = |series| -> Vec<String> {
            choose(&index, series)
                .into_iter()
                .map(|package| package.name)
                .collect()
        };
        assert_eq!(names("6.1"), ["linux-image-6.1.0-50-cloud-amd64"]);
        assert_eq!(
            names("7.2"),
            [
                "linux-binary-7.2.1-cloud-amd64",
                "linux-modules-7.2.1-cloud-amd64"
            ]
        );
        assert!(names("5.10").is_empty());
    }
}
