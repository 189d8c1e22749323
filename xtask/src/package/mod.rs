//! The Debian package, and what is in it beside the command.

mod check;
mod man;
mod notices;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use clap_complete::{Generator as _, Shell};

use crate::{
    command::{must, output},
    install, root,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const CARGO_DEB: &str = "3.8.0";
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// What `cargo xtask package` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Then install it in a Debian of its own, run it there, and remove it again
    #[arg(long)]
    check: bool,
    /// How the command is built; what is made with dev is for --check alone
    #[arg(long, default_value = "release")]
    profile: Profile,
    /// Man pages and completions alone
    #[arg(long, conflicts_with = "check")]
    texts: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    Release,
    Dev,
}

/// Makes the package.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = root().join("target/package");
    texts(&folder)?;
    println!("man pages and completions are in {}", folder.display());
    if options.texts {
        return Ok(());
    }
    command(&folder, options.profile)?;
    let package = debian(&folder, options.profile)?;
    println!("the package is {}", package.display());
    if options.check {
        check::run(&package)?;
    }
    Ok(())
}

/// Man pages, completions, changelog and the licences of others.
fn texts(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        fs::remove_dir_all(folder)?;
    }
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    man::write(&man, &commit("%cs")?)?;
    for shell in SHELLS {
        let file = completions.join(shell.file_name("netns-trace"));
        fs::write(file, completion(shell)?)?;
    }
    fs::write(folder.join("changelog"), changelog(&commit("%cD")?))?;
    fs::write(folder.join("third-party"), notices::of("netns-trace")?)?;
    Ok(())
}

/// What a shell asks for the rest of a line.
fn completion(shell: Shell) -> Result<String> {
    let mut text = Vec::new();
    let mut command = netns_trace::cli::command();
    clap_complete::generate(shell, &mut command, "netns-trace", &mut text);
    let text = String::from_utf8(text)?;
    Ok(match shell {
        // Else a comment begins there.
        Shell::Fish => text.replace(" -s # ", " -s '#' "),
        _ => text,
    })
}

/// Debian's own changelog: what is new in a version of the packaging, of which there is one.
fn changelog(date: &str) -> String {
    format!(
        "netns-trace ({VERSION}-1) unstable; urgency=medium\n\n  \
         * What is new is told in /usr/share/doc/netns-trace/changelog.gz.\n\n \
         -- {MAINTAINER}  {date}\n"
    )
}

const MAINTAINER: &str = "The netns-trace authors <netns-trace@users.noreply.github.com>";

/// The command, without the symbols that only a debugger reads.
fn command(folder: &Path, profile: Profile) -> Result<()> {
    let (flags, built): (&[&str], _) = match profile {
        Profile::Release => (&["--release"], "release"),
        Profile::Dev => (&[], "debug"),
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--locked", "--package", "netns-trace"])
        .args(flags);
    must(&mut cargo)?;
    let mut strip = Command::new("strip");
    strip
        .args(["--strip-unneeded", "-R", ".comment", "-o"])
        .arg(folder.join("netns-trace"))
        .arg(root().join("target").join(built).join("netns-trace"));
    must(&mut strip)
}

/// Packs all of it: `[package.metadata.deb]` says how.
fn debian(folder: &Path, profile: Profile) -> Result<PathBuf> {
    install::need(&[("dpkg-shlibdeps", "dpkg-dev")])?;
    // Without features, xz compresses, which dpkg-dev brings.
    let cargo_deb = install::cargo_tool("cargo-deb", CARGO_DEB, &["--no-default-features"])?;
    let output = match profile {
        Profile::Release => root().join("target/debian"),
        Profile::Dev => folder.join("dev"),
    };
    fs::create_dir_all(&output)?;
    let package = output.join(format!("netns-trace_{VERSION}-1_{}.deb", architecture()?));
    let mut command = Command::new(cargo_deb);
    command
        .args([
            // It would warn that it does not build what is made here.
            "--quiet",
            "--locked",
            "--no-build",
            "--no-strip",
            "--package",
            "netns-trace",
        ])
        .arg("--output")
        .arg(&package)
        // The same sources make the same package.
        .env("SOURCE_DATE_EPOCH", commit("%ct")?)
        .current_dir(root());
    if profile == Profile::Dev {
        command.arg("--fast");
    }
    must(&mut command)?;
    Ok(package)
}

/// When the sources were committed, as git formats it; root may look at another user's, too.
fn commit(format: &str) -> Result<String> {
    let format = format!("--format={format}");
    output(Command::new("git").args(["-c", "safe.directory=*", "log", "-1", &format]))
}

/// As Debian names it.
fn architecture() -> Result<String> {
    output(Command::new("dpkg").arg("--print-architecture"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maintainer_is_told_once() -> Result<()> {
        let manifest = fs::read_to_string(root().join("netns-trace/Cargo.toml"))?;
        assert!(manifest.contains(&format!("maintainer = {MAINTAINER:?}")));
        Ok(())
    }

    #[test]
    fn completions_know_every_command() -> Result<()> {
        for shell in SHELLS {
            let text = completion(shell)?;
            for below in netns_trace::cli::command().get_subcommands() {
                let name = below.get_name();
                assert!(text.contains(name), "{shell}: {name}");
            }
            assert!(text.contains("snapshot-length"), "{shell}");
        }
        Ok(())
    }

    #[test]
    fn fish_takes_no_option_for_a_comment() -> Result<()> {
        let text = completion(Shell::Fish)?;
        let number: Vec<_> = text
            .lines()
            .filter(|line| line.contains("-l number"))
            .collect();
        assert!(!number.is_empty());
        assert!(
            number.iter().all(|line| line.contains(" -s '#' ")),
            "{number:?}"
        );
        Ok(())
    }
}
