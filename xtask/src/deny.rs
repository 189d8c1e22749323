//! What we depend on: licences, versions and sources by `deny.toml`, and known vulnerabilities.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{install, root};

/// Reads advisories with CVSS 4.0, and fetches by `git`: older versions bring an HTTP stack.
const VERSION: &str = "0.20.2";

/// As in `deny.toml`.
const DATABASE: &str = "https://github.com/RustSec/advisory-db";

/// Seconds in which the database's server must answer.
const PATIENCE: &str = "30";

/// Checks what `Cargo.lock` has.
pub(crate) fn run() -> Result<()> {
    install::need(&[("git", "git")])?;
    let deny = install::cargo_tool("cargo-deny", VERSION, &[])?;
    check(&deny, &["licenses", "bans", "sources"])?;
    // Asked first: whatever fails after that is a finding or a fault, and not the network.
    if is_reachable(DATABASE)? {
        check(&deny, &["advisories"])
    } else {
        println!("advisories NOT checked: {DATABASE} cannot be reached");
        Ok(())
    }
}

fn check(deny: &Path, what: &[&str]) -> Result<()> {
    let status = Command::new(deny)
        .args(["--locked", "check", "--deny", "warnings"])
        .args(what)
        .current_dir(root())
        .status()
        .context("cannot run cargo-deny")?;
    ensure!(
        status.success(),
        "cargo deny check {} failed ({status})",
        what.join(" ")
    );
    Ok(())
}

/// Whether a git repository can be read from here.
fn is_reachable(repository: &str) -> Result<bool> {
    let status = Command::new("timeout")
        .args([PATIENCE, "git", "ls-remote", "--quiet", repository, "HEAD"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot run git")?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_that_is_asked_for_is_the_one_that_is_used() -> Result<()> {
        let config = std::fs::read_to_string(root().join("deny.toml"))?;
        assert!(
            config.contains(&format!("db-urls = [{DATABASE:?}]")),
            "{config}"
        );
        Ok(())
    }

    #[test]
    fn a_repository_that_is_not_there_cannot_be_reached() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let url = format!("file://{}", folder.path().display());
        assert!(!is_reachable(&url)?);
        let init = Command::new("git")
            .args(["init", "--quiet"])
            .arg(folder.path())
            .status()?;
        assert!(init.success());
        assert!(is_reachable(&url)?);
        Ok(())
    }
}
