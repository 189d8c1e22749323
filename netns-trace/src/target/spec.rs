//! The forms of a target on the command line.

use std::{fmt, path::PathBuf, str::FromStr};

use super::names::{self, Fit};
use crate::{
    container::{Container, Runtime},
    netns::is_name,
};

/// A target as the user named it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TargetSpec {
    /// `netns:NAME`, a name in /run/netns.
    Netns(String),
    /// `pid:N`, the namespace of a process.
    Process(u32),
    /// `inode:N`, as `lsns` prints it.
    Inode(u64),
    /// `/a/path` of a namespace file.
    Path(PathBuf),
    /// `host`, the initial namespace.
    Host,
    /// A container's name or the beginning of its id, `NAMESPACE/POD`, or a name in /run/netns. As
    /// `name:NAME` it may be any, such as `host`.
    Name(String),
    /// `docker:NAME`, `podman:NAME`, `ctr:ID` or `ctr:NAMESPACE/ID`, `pod:NAMESPACE/NAME`: one runtime's
    /// container.
    Container(Runtime, String),
    /// `all`, every namespace of the machine.
    All,
}

/// A target that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{target:?} is no target: {why}")]
pub struct UsageError {
    /// What was written.
    pub target: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl TargetSpec {
    /// Whether it names this container, or its pod. The beginning of an id does not count unless it is
    /// long: what comes later may have any.
    #[must_use]
    pub fn means(&self, container: &Container) -> bool {
        let (runtime, name) = match self {
            Self::Name(name) => (None, name),
            Self::Container(runtime, name) => (Some(*runtime), name),
            _ => return false,
        };
        match names::fit(runtime, name, container) {
            Some(Fit::Whole) => true,
            Some(Fit::Prefix) => name.len() >= SHORT_ID,
            None => false,
        }
    }
}

/// The digits of an id that runtimes print.
const SHORT_ID: usize = 12;

impl FromStr for TargetSpec {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        let refuse = |why| UsageError {
            target: text.to_owned(),
            why,
        };
        if text.is_empty() {
            return Err(refuse(
                "it is empty; name one such as netns:NAME, pid:N or /a/path",
            ));
        }
        if text.contains('\0') {
            return Err(refuse("no name holds a NUL"));
        }
        if text.starts_with('/') {
            return Ok(Self::Path(text.into()));
        }
        match text.split_once(':') {
            Some(("netns", name)) if is_name(name) => Ok(Self::Netns(name.to_owned())),
            Some(("netns", _)) => Err(refuse(
                "netns: takes the name of a file in /run/netns; write a path as it is, /a/path",
            )),
            Some(("pid", number)) => match number.parse() {
                Ok(pid) if pid > 0 => Ok(Self::Process(pid)),
                _ => Err(refuse("pid: takes the number of a process, as in pid:4711")),
            },
            Some(("inode", number)) => match number.parse() {
                Ok(inode) if inode > 0 => Ok(Self::Inode(inode)),
                _ => Err(refuse(
                    "inode: takes the number that lsns prints, as in inode:4026532211",
                )),
            },
            Some(("name" | "docker" | "podman" | "ctr" | "pod", "")) => {
                Err(refuse("a name is missing after the colon"))
            }
            Some(("name", name)) => Ok(Self::Name(name.to_owned())),
            Some(("docker", name)) => Ok(Self::Container(Runtime::Docker, name.to_owned())),
            Some(("podman", name)) => Ok(Self::Container(Runtime::Podman, name.to_owned())),
            Some(("ctr", name)) => Ok(Self::Container(Runtime::Containerd, name.to_owned())),
            Some(("pod", name)) => Ok(Self::Container(Runtime::Cri, name.to_owned())),
            _ => Ok(match text {
                "host" => Self::Host,
                "all" => Self::All,
                name => Self::Name(name.to_owned()),
            }),
        }
    }
}

/// As the user would write it; control characters are escaped.
impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netns(name) => write!(f, "netns:{}", name.escape_debug()),
            Self::Process(pid) => write!(f, "pid:{pid}"),
            Self::Inode(inode) => write!(f, "inode:{inode}"),
            Self::Path(path) => write!(f, "{}", path.to_string_lossy().escape_debug()),
            Self::Host => f.write_str("host"),
            // Without its prefix it would mean something else.
            Self::Name(name) if name.parse() != Ok(self.clone()) => {
                write!(f, "name:{}", name.escape_debug())
            }
            Self::Name(name) => write!(f, "{}", name.escape_debug()),
            Self::Container(runtime, name) => write!(f, "{runtime}:{}", name.escape_debug()),
            Self::All => f.write_str("all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> TargetSpec {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_form_is_read_and_printed_as_it_was_written() {
        for (text, spec) in [
            ("netns:web", TargetSpec::Netns("web".into())),
            ("netns:a:b", TargetSpec::Netns("a:b".into())),
            ("netns:...", TargetSpec::Netns("...".into())),
            ("pid:1", TargetSpec::Process(1)),
            ("inode:4026532211", TargetSpec::Inode(4_026_532_211)),
            ("/proc/1/ns/net", TargetSpec::Path("/proc/1/ns/net".into())),
            ("host", TargetSpec::Host),
            ("all", TargetSpec::All),
            ("web", TargetSpec::Name("web".into())),
            (
                "docker:web",
                TargetSpec::Container(Runtime::Docker, "web".into()),
            ),
            (
                "ctr:default/web",
                TargetSpec::Container(Runtime::Containerd, "default/web".into()),
            ),
            (
                "pod:shop/web-7",
                TargetSpec::Container(Runtime::Cri, "shop/web-7".into()),
            ),
            ("name:host", TargetSpec::Name("host".into())),
            ("name:pid:1", TargetSpec::Name("pid:1".into())),
            ("shop/web-7", TargetSpec::Name("shop/web-7".into())),
        ] {
            assert_eq!(parse(text), spec, "{text}");
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_a_target_is_refused_with_the_form_that_can() {
        for (text, hint) in [
            ("", "netns:NAME"),
            ("netns:", "/run/netns"),
            ("netns:..", "/run/netns"),
            ("netns:../../etc/passwd", "/a/path"),
            ("netns:a/b", "/a/path"),
            ("pid:", "pid:4711"),
            ("pid:0", "pid:4711"),
            ("pid:-1", "pid:4711"),
            ("pid:4294967296", "pid:4711"),
            ("pid:self", "pid:4711"),
            ("inode:", "lsns"),
            ("inode:net:[4026532211]", "lsns"),
            ("docker:", "missing"),
            ("a\0b", "NUL"),
        ] {
            let error = text.parse::<TargetSpec>().expect_err(text).to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let error = "pid:\x1b[2J".parse::<TargetSpec>().expect_err("no number");
        assert!(!error.to_string().contains('\x1b'), "{error}");
        assert_eq!(parse("we\x1bb").to_string(), "we\\u{1b}b");
        assert_eq!(parse("/a\n").to_string(), "/a\\n");
    }
}
