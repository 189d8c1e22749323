//! The shared libraries of a guest's programs, and where the guest is to have them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::arch::Arch;

/// The shared libraries of a program, its loader included: each here and in the guest. None of what
/// is no program.
pub(crate) fn of(program: &Path, arch: &Arch) -> Result<Vec<(PathBuf, String)>> {
    if arch.is_native() {
        native(program)
    } else {
        foreign(program, Path::new(&arch.library_folder()))
    }
}

fn native(program: &Path) -> Result<Vec<(PathBuf, String)>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("cannot run ldd")?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|word| (PathBuf::from(word), word.to_owned()))
        .collect())
}

/// ldd runs the program's loader, which another architecture's is none here. What programs and
/// libraries name is looked for in the one folder that the cross compiler links against.
fn foreign(program: &Path, folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![program.to_owned()];
    while let Some(file) = waiting.pop() {
        for there in named(&read_elf(&file)?) {
            let name = there.rsplit('/').next().unwrap_or(&there);
            let here = folder.join(name);
            ensure!(
                here.is_file(),
                "{} needs {name}, which is not in {}",
                file.display(),
                folder.display()
            );
            // The loader has its whole path, and may be among a library's needs without.
            let is_new = !found.contains_key(&here);
            if is_new || there.starts_with('/') {
                let there = if there.starts_with('/') {
                    there
                } else {
                    format!("/lib/{there}")
                };
                found.insert(here.clone(), there);
            }
            if is_new {
                waiting.push(here);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// readelf's words about a file of any architecture; it has none about what is no ELF file.
fn read_elf(file: &Path) -> Result<String> {
    let output = Command::new("readelf")
        .args(["--wide", "--program-headers", "--dynamic"])
        .arg(file)
        .env("LC_ALL", "C")
        .output()
        .context("cannot run readelf")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The loader's path, and the names of the libraries.
fn named(words: &str) -> Vec<String> {
    words
        .lines()
        .filter_map(|line| {
            let (_, rest) = line
                .split_once("[Requesting program interpreter: ")
                .or_else(|| line.split_once("Shared library: ["))?;
            Some(rest.split_once(']')?.0.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_the_libraries_are_read() {
        let words = "  INTERP  0x000318 0x0000000000000318 R   0x1\n\
                     \x20     [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]\n\
                     \x200x0000000000000001 (NEEDED)  Shared library: [libgcc_s.so.1]\n\
                     \x200x0000000000000001 (NEEDED)  Shared library: [libc.so.6]\n\
                     \x200x000000000000000c (INIT)    0x6e000\n";
        assert_eq!(
            named(words),
            ["/lib/ld-linux-aarch64.so.1", "libgcc_s.so.1", "libc.so.6"]
        );
        assert!(named("readelf: Error: Not an ELF file").is_empty());
    }
}
