//! What `netns-trace list` says, and cgroups and mounts for it to find.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use nix::mount::{MntFlags, umount2};
use serde_json::Value;

use crate::{refusal::check_plain, tool::netns_trace};

/// What `list --json` told.
pub struct Listed {
    /// All of it.
    pub json: Value,
    /// What it said besides.
    pub stderr: String,
}

impl Listed {
    /// Runs it.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn now() -> Self {
        Self::by(&mut netns_trace(["list", "--json"]))
    }

    /// Runs it by another command.
    ///
    /// # Panics
    /// If it fails, or says what is not plain.
    pub fn by(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("netns-trace starts");
        let stderr = String::from_utf8(stderr).expect("text");
        assert!(status.success(), "{status}: {stderr}");
        for line in stderr.lines() {
            check_plain(line.strip_prefix("netns-trace: ").expect(line));
        }
        let stdout = String::from_utf8(stdout).expect("text");
        assert_eq!(stdout.matches('\n').count(), 1, "one line: {stdout}");
        let json = serde_json::from_str(&stdout).unwrap_or_else(|why| panic!("{why}: {stdout}"));
        Self { json, stderr }
    }

    /// All namespaces.
    ///
    /// # Panics
    /// If there is no list of them.
    #[must_use]
    pub fn namespaces(&self) -> &Vec<Value> {
        self.json["namespaces"].as_array().expect("namespaces")
    }

    /// The namespace with this inode, if it is listed.
    ///
    /// # Panics
    /// If it is listed twice.
    #[must_use]
    pub fn find(&self, inode: u64) -> Option<&Value> {
        let mut found = self.namespaces().iter().filter(|one| one["inode"] == inode);
        let first = found.next();
        assert!(found.next().is_none(), "{inode} is listed twice");
        first
    }

    /// The namespace with this inode.
    ///
    /// # Panics
    /// If it is not listed once.
    #[must_use]
    pub fn get(&self, inode: u64) -> &Value {
        self.find(inode)
            .unwrap_or_else(|| panic!("{inode} is not listed: {}", self.json))
    }

    /// An interface of a namespace.
    ///
    /// # Panics
    /// If it is not listed.
    #[must_use]
    pub fn interface(&self, inode: u64, name: &str) -> &Value {
        let interfaces = self.get(inode)["interfaces"].as_array();
        interfaces
            .expect("interfaces")
            .iter()
            .find(|one| one["name"] == name)
            .unwrap_or_else(|| panic!("{name} is not listed: {}", self.get(inode)))
    }
}

/// The table.
///
/// # Panics
/// If `list` fails.
#[must_use]
pub fn table() -> String {
    let output = netns_trace(["list"]).output().expect("netns-trace starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The line of the table that a namespace begins with.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn line(table: &str, inode: u64) -> &str {
    let start = format!("{inode} ");
    table
        .lines()
        .find(|line| line.starts_with(&start))
        .unwrap_or_else(|| panic!("{inode} has no line:\n{table}"))
}

/// A file that something may be mounted on; unmounted and removed at the end.
pub struct Point(PathBuf);

impl Point {
    /// Makes it.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        fs::write(&path, "").expect("a file");
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        // Nothing may be mounted there.
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap_or_default();
        drop(fs::remove_file(&self.0));
    }
}

/// A cgroup as Docker makes one, without Docker.
pub struct FakeContainer {
    dir: PathBuf,
    /// The container's id.
    pub id: String,
}

impl FakeContainer {
    /// Makes it, and puts a process into it.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    pub fn of(pid: u32, number: u32) -> Self {
        let id = format!("{:032x}{number:032x}", std::process::id());
        let roots = ["/sys/fs/cgroup/freezer", "/sys/fs/cgroup"].map(Path::new);
        let root = roots
            .into_iter()
            .find(|root| root.join("cgroup.procs").exists());
        let dir = root.expect("cgroups").join(format!("docker-{id}.scope"));
        fs::create_dir(&dir).expect("a cgroup");
        let made = Self { dir, id };
        fs::write(made.dir.join("cgroup.procs"), pid.to_string()).expect("the process moves");
        made
    }
}

impl Drop for FakeContainer {
    fn drop(&mut self) {
        let processes = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines() {
            drop(fs::write(self.dir.join("../cgroup.procs"), pid)); // it may have ended
        }
        if let Err(why) = fs::remove_dir(&self.dir) {
            eprintln!("cannot remove the cgroup {}: {why}", self.dir.display());
        }
    }
}
