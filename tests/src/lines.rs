//! Lines of text about real packets: ours beside tcpdump's, packet by packet, and which of them are of protocols
//! that netns-trace puts in tcpdump's words.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use crate::{corpus, tool};

/// Link types whose files are compared: tcpdump's names.
const LINK_TYPES: [&str; 5] = ["EN10MB", "RAW", "LINUX_SLL", "NULL", "IPV6"];

/// Layers, as tshark names them, of packets that hold nothing else than what the contract of the text lists.
const LAYERS: &[&str] = &[
    "eth",
    "ethertype",
    "sll",
    "null",
    "raw",
    "vlan",
    "ieee8021ad",
    "arp",
    "ip",
    "ipv6",
    "ipv6.hopopts",
    "ipv6.routing",
    "ipv6.fraghdr",
    "ipv6.dstopts",
    "icmp",
    "icmpv6",
    "tcp",
    "mptcp",
    "udp",
    "dns",
    "mdns",
    "dhcp",
    "dhcpv6",
    "data",
];

/// Ports for which tcpdump has a printer of its own, of other protocols: what tshark calls mere data there,
/// tcpdump does not. (tcp.h and udp.h of tcpdump 4.99.)
const OTHER_TCP: &[u16] = &[
    23, 139, 179, 323, 445, 639, 646, 1723, 2049, 6633, 6653, 10288,
];
const OTHER_UDP: &[u16] = &[
    69, 88, 111, 137, 138, 161, 162, 319, 320, 496, 500, 514, 520, 521, 525, 646, 654, 698, 701,
    750, 921, 1589, 1645, 1646, 1700, 1701, 1812, 1813, 1985, 2049, 2103, 2104, 3456, 3503, 3784,
    3785, 3799, 4342, 4500, 4567, 4784, 4790, 5359, 6343, 6635, 6696, 6697, 6784, 7000, 7001, 7002,
    7003, 7004, 7005, 7006, 7007, 7008, 7009, 7500, 8231, 8472, 8500, 12222, 12223, 17754, 30490,
    49152,
];

/// A packet as tshark sees it.
#[derive(Clone, Debug)]
struct Seen {
    /// All of its layers are listed above, and one of them is IP or ARP.
    is_listed: bool,
    /// tcpdump prints it as another protocol, because of a port.
    is_other_port: bool,
}

/// Two texts of one packet.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The file, and the packet's number in it, from 0.
    pub place: String,
    /// What tcpdump prints.
    pub theirs: String,
    /// What we print.
    pub ours: String,
    /// Whether it is of the listed protocols alone, by its layers.
    pub is_listed: bool,
    /// Whether tcpdump treats it so, too.
    pub is_theirs: bool,
}

/// How many lines are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// All.
    pub all: usize,
    /// Those that are equal to the letter.
    pub equal: usize,
}

impl Share {
    /// Of the pairs that count.
    pub fn of<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Self {
        pairs.fold(Self::default(), |share, pair| Self {
            all: share.all + 1,
            equal: share.equal + usize::from(pair.ours == pair.theirs),
        })
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        100.0 * self.equal as f64 / self.all.max(1) as f64
    }
}

/// The files of the corpus and what tshark says of their packets.
pub struct Files {
    files: Vec<(PathBuf, Vec<Seen>)>,
}

impl Files {
    /// Looks at all files of link types that can be put in words.
    ///
    /// # Panics
    ///
    /// If tcpdump or tshark cannot be run.
    #[must_use]
    pub fn look(folder: &Path) -> Self {
        let files = corpus::files(folder);
        let files = each(&files, |file| {
            let said = tcpdump(file, &["-c", "1"]).1;
            let is_known = LINK_TYPES
                .iter()
                .any(|name| said.contains(&format!("link-type {name} ")));
            is_known.then(|| (file.clone(), seen(file)))
        });
        Self {
            files: files.into_iter().flatten().collect(),
        }
    }

    /// Every packet, printed with these options by both.
    ///
    /// # Panics
    ///
    /// If the two do not print equally many packets of a file, or either cannot be run.
    #[must_use]
    pub fn print(&self, options: &[&str]) -> Vec<Pair> {
        let pairs = each(&self.files, |(file, seen)| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let theirs = packets(&tcpdump(file, options).0);
            let ours = packets(&ours(file, options));
            assert_eq!(
                ours.len(),
                theirs.len(),
                "packets of {name} with {options:?}"
            );
            let pairs = theirs.into_iter().zip(ours).enumerate();
            let pairs = pairs.map(|(number, (theirs, ours))| {
                let seen = seen.get(number);
                let is_listed = seen.is_some_and(|seen| seen.is_listed);
                Pair {
                    place: format!("{name} {number}"),
                    theirs,
                    ours,
                    is_listed,
                    is_theirs: is_listed && seen.is_some_and(|seen| !seen.is_other_port),
                }
            });
            pairs.collect::<Vec<_>>()
        });
        pairs.into_iter().flatten().collect()
    }
}

/// Does it for each, on two threads.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (first, second) = items.split_at(items.len() / 2);
    thread::scope(|scope| {
        let second = scope.spawn(|| second.iter().map(&work).collect::<Vec<R>>());
        let mut all: Vec<R> = first.iter().map(&work).collect();
        all.extend(second.join().expect("the other half"));
        all
    })
}

/// What tcpdump prints and says, with numbers before packets.
fn tcpdump(file: &Path, options: &[&str]) -> (String, String) {
    let output = Command::new("tcpdump")
        .args(["-n", "-#", "-r"])
        .arg(file)
        .args(options)
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .output()
        .expect("tcpdump runs");
    // Text of packets may be anything: bytes that are no UTF-8 become the same mark on both sides.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn ours(file: &Path, options: &[&str]) -> String {
    let mut command = Command::new(tool::binary());
    command
        .arg("read")
        .arg(file)
        .arg("-#")
        .args(options)
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    let done = tool::done(command);
    assert!(
        matches!(done.status.code(), Some(0 | 1)),
        "{}: {:?} {}",
        file.display(),
        done.status,
        done.stderr
    );
    done.stdout
}

/// The texts of packets: what begins with the next number, up to the one after.
fn packets(text: &str) -> Vec<String> {
    let mut packets: Vec<String> = Vec::new();
    for line in text.lines() {
        let next = format!("{:>5}  ", packets.len() + 1);
        if line.starts_with(&next) {
            packets.push(line.to_owned());
        } else if let Some(packet) = packets.last_mut() {
            packet.push('\n');
            packet.push_str(line);
        }
    }
    packets
}

fn seen(file: &Path) -> Vec<Seen> {
    let output = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(file)
        .args(["-T", "fields", "-e", "frame.protocols"])
        .args(["-e", "tcp.port", "-e", "udp.port"])
        .stdin(Stdio::null())
        .output()
        .expect("tshark runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| {
        let mut fields = line.split('\t');
        let layers: Vec<&str> = fields.next().unwrap_or_default().split(':').collect();
        let is_other = |field: Option<&str>, others: &[u16]| {
            let ports = field.unwrap_or_default().split(',');
            ports
                .filter_map(|port| port.parse().ok())
                .any(|port: u16| others.contains(&port))
        };
        let tcp = is_other(fields.next(), OTHER_TCP);
        let udp = is_other(fields.next(), OTHER_UDP);
        Seen {
            is_listed: layers.iter().all(|layer| LAYERS.contains(layer))
                && layers
                    .iter()
                    .any(|layer| ["ip", "ipv6", "arp"].contains(layer)),
            is_other_port: tcp || udp,
        }
    });
    lines.collect()
}

/// The differences, by file: how many, and the first one.
#[must_use]
pub fn differences(pairs: &[Pair]) -> BTreeMap<String, (usize, Pair)> {
    let mut files = BTreeMap::new();
    for pair in pairs.iter().filter(|pair| pair.ours != pair.theirs) {
        let file = pair.place.split(' ').next().unwrap_or_default().to_owned();
        files.entry(file).or_insert_with(|| (0, pair.clone())).0 += 1;
    }
    files
}

/// tcpdump's version.
///
/// # Panics
///
/// If tcpdump cannot be run.
#[must_use]
pub fn tcpdump_version() -> String {
    let output = Command::new("tcpdump")
        .arg("--version")
        .output()
        .expect("tcpdump runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let version = text.split("tcpdump version ").nth(1).unwrap_or_default();
    version
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}
