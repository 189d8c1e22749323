//! Cargo, set up to build for a guest's architecture.
//!
//! For another one than this machine's that takes a standard library for it, of the very compiler
//! that builds: the running toolchain's, where it has one or rustup adds it, or else Debian's
//! compiler with Debian's library, which is unpacked into the cache. So nothing of a foreign
//! architecture is installed on this machine.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::arch::Arch;
use crate::{command, install};

/// A cargo, and what it has in its environment.
pub(crate) struct Builder {
    cargo: PathBuf,
    env: Vec<(String, OsString)>,
}

impl Builder {
    /// For an architecture; what is missing for it is fetched, which is said.
    pub(crate) fn of(arch: &Arch, cache: &Path) -> Result<Self> {
        let cargo = PathBuf::from(env!("CARGO"));
        if arch.is_native() {
            return Ok(Self {
                cargo,
                env: Vec::new(),
            });
        }
        let rustc = cargo.with_file_name("rustc");
        if has_library(&rustc, arch) || rustup_adds(&rustc, arch) {
            return Ok(Self::foreign(cargo, rustc, arch, None));
        }
        let rustc = PathBuf::from("/usr/bin/rustc");
        let cargo = rustc.with_file_name("cargo");
        install::need(&[
            ("/usr/bin/rustc", "rustc-web"),
            ("/usr/bin/cargo", "cargo-web"),
        ])?;
        let sysroot = if has_library(&rustc, arch) {
            None
        } else {
            Some(debian_sysroot(&rustc, arch, cache)?)
        };
        Ok(Self::foreign(cargo, rustc, arch, sysroot))
    }

    fn foreign(cargo: PathBuf, rustc: PathBuf, arch: &Arch, sysroot: Option<PathBuf>) -> Self {
        println!("building for {} with {}", arch.debian, rustc.display());
        let of_target = arch.target.to_uppercase().replace('-', "_");
        let mut env = vec![
            ("RUSTC".to_owned(), rustc.into_os_string()),
            ("CARGO_BUILD_TARGET".to_owned(), arch.target.into()),
            (
                format!("CARGO_TARGET_{of_target}_LINKER"),
                arch.tool("gcc").into(),
            ),
            // Apart from the usual builds, whose compiler may be another, and which never wait.
            (
                "CARGO_TARGET_DIR".to_owned(),
                crate::root().join("target/cross").into_os_string(),
            ),
            // It is stripped for the guest.
            ("CARGO_PROFILE_DEV_DEBUG".to_owned(), "0".into()),
        ];
        if let Some(sysroot) = sysroot {
            let mut flag = OsString::from("--sysroot=");
            flag.push(sysroot);
            // Of the target alone: what runs while building has the compiler's own library.
            env.push(("CARGO_ENCODED_RUSTFLAGS".to_owned(), flag));
        }
        Self { cargo, env }
    }

    /// Builds, by a subcommand of cargo's; the programs that it has made.
    pub(crate) fn build(&self, args: &[&str]) -> Result<Vec<Made>> {
        let output = Command::new(&self.cargo)
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .args(args)
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo {} failed", args.join(" "));
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(Made::of_message).collect())
    }
}

/// A program that cargo has made.
pub(crate) struct Made {
    /// Its target's name.
    pub(crate) name: String,
    /// Its target's kind, such as `bin`.
    pub(crate) kind: String,
    pub(crate) path: PathBuf,
}

impl Made {
    fn of_message(line: &str) -> Option<Self> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let target = &message["target"];
        Some(Self {
            path: text(&message["executable"])?.into(),
            name: text(&target["name"])?,
            kind: text(&target["kind"][0])?,
        })
    }

    /// The one of a name and kind.
    pub(crate) fn find(all: Vec<Self>, name: &str, kind: &str) -> Result<PathBuf> {
        let mut all = all.into_iter();
        all.find(|made| made.name == name && made.kind == kind)
            .map(|made| made.path)
            .with_context(|| format!("cargo does not say where {name} is"))
    }
}

/// Where a compiler's libraries for a target are, in its sysroot.
fn library(sysroot: &Path, arch: &Arch) -> PathBuf {
    sysroot.join("lib/rustlib").join(arch.target).join("lib")
}

fn has_library(rustc: &Path, arch: &Arch) -> bool {
    let sysroot = command::output(Command::new(rustc).args(["--print", "sysroot"]));
    sysroot.is_ok_and(|sysroot| library(Path::new(&sysroot), arch).is_dir())
}

/// Has rustup add the library to a toolchain, if that is one of rustup's.
fn rustup_adds(rustc: &Path, arch: &Arch) -> bool {
    let toolchain = rustc
        .ancestors()
        .nth(2)
        .filter(|toolchain| {
            toolchain
                .parent()
                .is_some_and(|all| all.ends_with("toolchains"))
        })
        .and_then(Path::file_name);
    let Some(toolchain) = toolchain else {
        return false;
    };
    println!(
        "rustup adds {} to {}",
        arch.target,
        toolchain.to_string_lossy()
    );
    let mut rustup = Command::new("rustup");
    rustup
        .args(["target", "add", arch.target, "--toolchain"])
        .arg(toolchain);
    match command::output(&mut rustup) {
        Ok(_) => has_library(rustc, arch),
        Err(why) => {
            println!("rustup cannot: {why:#}");
            false
        }
    }
}

/// A sysroot with the standard library of Debian's compiler for another architecture, made in the
/// cache. apt takes the package from this machine's own sources and checks its signatures, but as
/// on a machine of that architecture, with lists of its own: dpkg here never hears of it.
fn debian_sysroot(rustc: &Path, arch: &Arch, cache: &Path) -> Result<PathBuf> {
    let owner = command::output(Command::new("dpkg-query").arg("--search").arg(rustc))?;
    let (owner, _) = owner.split_once(':').context("no package has rustc")?;
    let version = command::output(Command::new("dpkg-query").args([
        "--show",
        "--showformat=${Version}",
        owner,
    ]))?;
    let package = format!("{}-dev", owner.replace("rustc", "libstd-rust"));
    let root = cache.join(format!("{package}-{version}-{}", arch.debian));
    let sysroot = root.join("usr");
    if library(&sysroot, arch).is_dir() {
        return Ok(sysroot);
    }
    println!("fetching Debian's {package} {version} of {}", arch.debian);
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let folder = tempfile::tempdir_in(cache).context("cannot make a directory")?;
    let folder = folder.path();
    apt_download(&format!("{package}={version}"), arch, folder)?;
    let file = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .with_context(|| format!("apt-get has left no {package}"))?;
    // Whole or not at all: what is found there is taken.
    let fresh = folder.join("root");
    let mut unpack = Command::new("dpkg-deb");
    command::must(unpack.arg("--extract").arg(&file).arg(&fresh))?;
    fs::rename(&fresh, &root).context("cannot put the library into the cache")?;
    ensure!(
        library(&sysroot, arch).is_dir(),
        "{package} has no library for {}",
        arch.target
    );
    Ok(sysroot)
}

/// Downloads a package of an architecture into a folder, where apt's own files are then as well.
fn apt_download(package: &str, arch: &Arch, folder: &Path) -> Result<()> {
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let apt_get = |args: &[&str]| {
        let mut apt_get = Command::new("apt-get");
        apt_get.current_dir(folder);
        for (key, value) in [
            ("APT::Architecture", arch.debian),
            ("APT::Architectures", arch.debian),
            ("APT::Sandbox::User", "root"),
            ("Dir::State::status", "/dev/null"),
        ] {
            apt_get.arg("-o").arg(format!("{key}={value}"));
        }
        for (key, part) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
            let value = folder.join(part);
            apt_get.arg("-o").arg(format!("{key}={}", value.display()));
        }
        apt_get.arg("-qq").args(args);
        apt_get.status().context("cannot run apt-get")
    };
    // A source that lacks the architecture, or cannot be reached, need not be the one.
    apt_get(&["update"])?;
    let downloaded = apt_get(&["download", package])?;
    ensure!(
        downloaded.success(),
        "cannot fetch {package} of {} with apt-get: use a Rust toolchain of rustup's, and run \
         `rustup target add {}`",
        arch.debian,
        arch.target
    );
    Ok(())
}
