//! Real packets: tcpdump's own test data, which is not in the repository. `NETNS_TRACE_PCAPS` names its
//! folder, or it is `../shared/pcaps`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::root::skip;

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The bytes that are there.
    pub data: Vec<u8>,
    /// How long it was before it was cut.
    pub length: u32,
}

impl Stored {
    /// Whether bytes are missing.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.data.len() as u32 != self.length
    }
}

/// Where the files are; says it if they are not there.
///
/// # Panics
///
/// Under CI, if they are not there.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let folder = match std::env::var_os("NETNS_TRACE_PCAPS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/pcaps"),
    };
    if folder.is_dir() {
        return Some(folder);
    }
    skip(&format!(
        "{} is not there (NETNS_TRACE_PCAPS names the folder of tcpdump's test files)",
        folder.display()
    ));
    None
}

/// All files, by name.
///
/// # Panics
///
/// If the folder cannot be read.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

/// All packets of files with one of these link types, as tcpdump reads them.
///
/// # Panics
///
/// If the folder cannot be read.
#[must_use]
pub fn packets(folder: &Path, link_types: &[u32]) -> Vec<Stored> {
    let mut all = Vec::new();
    for file in files(folder) {
        let read = Command::new("tcpdump")
            .arg("-r")
            .arg(&file)
            .args(["-w", "-"])
            .stdin(Stdio::null())
            .output()
            .expect("tcpdump runs");
        let (link_type, packets) = parse(&read.stdout);
        if link_type.is_some_and(|link_type| link_types.contains(&link_type)) {
            all.extend(packets.into_iter().map(|(_, packet)| packet));
        }
    }
    all
}

/// Packets with their seconds, of a file as tcpdump writes it on this machine; and its link type.
fn parse(file: &[u8]) -> (Option<u32>, Vec<(u32, Stored)>) {
    let word = |at: usize| {
        let bytes = file.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let mut packets = Vec::new();
    let mut at = 24;
    while let (Some(seconds), Some(captured), Some(length)) =
        (word(at), word(at + 8), word(at + 12))
    {
        let Some(data) = file.get(at + 16..at + 16 + captured as usize) else {
            break;
        };
        packets.push((
            seconds,
            Stored {
                data: data.to_vec(),
                length,
            },
        ));
        at += 16 + captured as usize;
    }
    // The upper bits tell of other things.
    (word(20).map(|link_type| link_type & 0xffff), packets)
}

/// Ethernet frames that an interface sends as they are.
///
/// # Panics
///
/// If the folder cannot be read.
#[must_use]
pub fn sendable(folder: &Path) -> Vec<Stored> {
    let mut all = packets(folder, &[1]);
    all.retain(|packet| !packet.is_cut() && (14..1514).contains(&packet.data.len()));
    all
}

/// Packets in one file, each at the second that is its number.
pub struct Numbered {
    file: tempfile::NamedTempFile,
}

impl Numbered {
    /// Writes them.
    ///
    /// # Panics
    ///
    /// If the disk is full.
    #[must_use]
    pub fn new(packets: &[Stored], link_type: u32) -> Self {
        let mut bytes = Vec::new();
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link_type] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        for (number, packet) in (0_u32..).zip(packets) {
            for word in [number, 0, packet.data.len() as u32, packet.length] {
                bytes.extend(word.to_ne_bytes());
            }
            bytes.extend(&packet.data);
        }
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&bytes).expect("written");
        Self { file }
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The numbers of those that tcpdump takes; or what it says against the expression.
    ///
    /// # Errors
    ///
    /// It refuses the expression.
    ///
    /// # Panics
    ///
    /// If tcpdump cannot be run.
    pub fn taken(&self, expression: &str) -> Result<Vec<u32>, String> {
        let done = Command::new("tcpdump")
            .args(["-n", "-r"])
            .arg(self.file.path())
            .args(["-w", "-", expression])
            .stdin(Stdio::null())
            .output()
            .expect("tcpdump runs");
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
        let packets = parse(&done.stdout).1;
        Ok(packets.into_iter().map(|(number, _)| number).collect())
    }
}
