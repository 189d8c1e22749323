//! Installs the programs that a chore needs, or names them.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::root;

/// Makes sure that programs are there, each with the Debian package that has it.
pub(crate) fn need(programs: &[(&str, &str)]) -> Result<()> {
    let mut packages: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    // SAFETY: reads the process's own credentials.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root || !is_there("apt-get") {
        bail!("these are missing: {names}. Install them (on Debian: apt-get install {names})");
    }
    println!("installing with apt-get: {names}");
    apt_get(&["update", "-q"])?;
    // What is installed stays: some cross compilers would take others' place.
    let mut install = vec![
        "install",
        "-q",
        "-y",
        "--no-install-recommends",
        "--no-remove",
    ];
    install.extend(&packages);
    apt_get(&install)?;
    let missing: Vec<&str> = programs
        .iter()
        .map(|(program, _)| *program)
        .filter(|program| !is_there(program))
        .collect();
    ensure!(
        missing.is_empty(),
        "{} are still missing after installing {names}",
        missing.join(", ")
    );
    Ok(())
}

/// The path of a tool of this very version from crates.io, built into `target/tools` where it is not
/// there yet, so that the user's own stays as it is.
pub(crate) fn cargo_tool(name: &str, version: &str, flags: &[&str]) -> Result<PathBuf> {
    let tools = root().join("target/tools");
    let ours = tools.join("bin").join(name);
    for path in [Path::new(name), &ours] {
        if has_version(path, version) {
            return Ok(path.to_owned());
        }
    }
    println!(
        "installing {name} {version} from crates.io into {}",
        tools.display()
    );
    let status = Command::new(env!("CARGO"))
        .args(["install", "--quiet", "--locked", "--force", name])
        .args(["--version", version])
        .arg("--root")
        .arg(&tools)
        .args(flags)
        // A tool that runs for seconds need not be compiled for minutes.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "cannot install {name} {version} ({status})"
    );
    Ok(ours)
}

fn has_version(program: &Path, version: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        output.status.success() && text.split_whitespace().any(|word| word == version)
    })
}

fn apt_get(args: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run apt-get")?;
    ensure!(
        status.success(),
        "apt-get {} failed ({status})",
        args.join(" ")
    );
    Ok(())
}

fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|folder| Path::new(&folder).join(program).is_file())
}
