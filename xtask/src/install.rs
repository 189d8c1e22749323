//! Installs the programs that a chore needs, or names them.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

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
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
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
