//! An event as one line of text. Names are escaped: none of them ends a line or reaches a terminal.

use std::fmt::Write as _;

use super::{Change, Event, Label, Name, Namespace, Process};
use crate::capture::time_of_day;

impl Event {
    /// The line, without its end: time, what, and whose.
    #[must_use]
    pub fn text(&self) -> String {
        let (sign, what) = match &self.change {
            Change::NamespaceAdded { .. } => ('+', "namespace"),
            Change::NamespaceRemoved { .. } => ('-', "namespace"),
            Change::NameAdded { .. } => ('+', "name"),
            Change::NameRemoved { .. } => ('-', "name"),
            Change::ContainerStarted { .. } => ('+', "container"),
            Change::ContainerNamed { .. } => ('*', "container"),
            Change::ContainerStopped { .. } => ('-', "container"),
        };
        let sign = if self.existing { '=' } else { sign };
        let namespace = self.change.namespace();
        let inode = match namespace.inode {
            Some(inode) => inode.to_string(),
            None => "?".to_owned(),
        };
        let mut line = format!(
            "{} {sign} {what:<9} {inode:>10}",
            time_of_day(self.at.time_ns)
        );
        match &self.change {
            Change::NamespaceAdded { process, .. } => {
                whose(&mut line, namespace);
                push_process(&mut line, process.as_ref());
            }
            Change::NamespaceRemoved { lived, .. } => {
                whose(&mut line, namespace);
                if namespace.inode.is_none() {
                    line += "  gone before it could be looked at";
                }
                push_lived(&mut line, "lived", lived.as_ref());
            }
            Change::NameAdded { name, .. } => {
                push(&mut line, &name.target());
                let also = namespace.names.iter().filter(|other| *other != name);
                push_names(&mut line, "also", also);
            }
            Change::NameRemoved { name, .. } => {
                push(&mut line, &name.target());
                push_names(&mut line, "still", namespace.names.iter());
            }
            Change::ContainerStarted {
                container, process, ..
            } => {
                push(&mut line, &container.target());
                push_process(&mut line, process.as_ref());
                shared(&mut line, namespace, container);
            }
            Change::ContainerNamed { container, .. } => {
                push(&mut line, &container.target());
                let id = container.key.label();
                put(&mut line, format_args!("  is the name of {id}"));
            }
            Change::ContainerStopped {
                container, lived, ..
            } => {
                push(&mut line, &container.target());
                push_lived(&mut line, "ran", lived.as_ref());
            }
        }
        line
    }
}

fn push(line: &mut String, text: &str) {
    line.push_str("  ");
    line.extend(text.escape_debug());
}

fn whose(line: &mut String, namespace: &Namespace) {
    if namespace.host {
        line.push_str("  host");
    }
    for name in &namespace.names {
        push(line, &name.target());
    }
    for container in &namespace.containers {
        push(line, &container.target());
    }
}

/// Whose namespace it is in, where that is not its own alone.
fn shared(line: &mut String, namespace: &Namespace, container: &Label) {
    if namespace.host {
        line.push_str("  in the host's network");
    }
    let others = namespace.containers.iter();
    let others: Vec<String> = others
        .filter(|other| other.key != container.key)
        .map(|other| other.target().escape_debug().to_string())
        .collect();
    if !namespace.host && !others.is_empty() {
        put(line, format_args!("  shared with {}", others.join(" ")));
    }
}

fn push_names<'a>(line: &mut String, word: &str, names: impl Iterator<Item = &'a Name>) {
    let names: Vec<String> = names
        .map(|name| name.target().escape_debug().to_string())
        .collect();
    if !names.is_empty() {
        put(line, format_args!("  {word} {}", names.join(" ")));
    }
}

fn push_process(line: &mut String, process: Option<&Process>) {
    let Some(process) = process else { return };
    let command = process.command.as_deref().unwrap_or("?").escape_debug();
    put(line, format_args!("  {command}[{}]", process.pid));
}

fn push_lived(line: &mut String, word: &str, time: Option<&std::time::Duration>) {
    let Some(time) = time else { return };
    let seconds = time.as_secs();
    let time = match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    };
    put(line, format_args!("  {word} {time}"));
}

/// Writing to a string cannot fail.
fn put(to: &mut String, what: std::fmt::Arguments<'_>) {
    if to.write_fmt(what).is_err() {
        debug_assert!(false, "a string takes all");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        container::{ContainerKey, Runtime},
        watch::Moment,
    };

    fn event(change: Change) -> Event {
        Event {
            at: Moment {
                time_ns: 1_700_000_000_123_456_789,
                monotonic_ns: 5,
            },
            existing: false,
            change,
        }
    }

    fn namespace(names: &[&str]) -> Namespace {
        Namespace {
            inode: Some(4_026_532_211),
            names: names.iter().map(|name| Name(name.into())).collect(),
            ..Namespace::default()
        }
    }

    /// Without its time, which depends on the place.
    fn text(change: Change) -> String {
        let line = event(change).text();
        let (time, rest) = line.split_once(' ').expect("a time");
        assert!(time.ends_with(".123456"), "{line}");
        rest.to_owned()
    }

    #[test]
    fn a_line_tells_what_and_whose() {
        let process = Some(Process {
            pid: 7,
            command: Some("sleep".to_owned()),
        });
        let added = Change::NamespaceAdded {
            namespace: namespace(&["/run/netns/web", "/tmp/x"]),
            process: process.clone(),
        };
        assert_eq!(
            text(added),
            "+ namespace 4026532211  netns:web  /tmp/x  sleep[7]"
        );
        let removed = Change::NamespaceRemoved {
            namespace: namespace(&["/run/netns/web"]),
            lived: Some(Duration::from_millis(2340)),
        };
        assert_eq!(
            text(removed),
            "- namespace 4026532211  netns:web  lived 2.3 s"
        );
        let container = |id: &str, name: Option<&str>| Label {
            key: ContainerKey {
                runtime: Runtime::Docker,
                id: id.repeat(64),
            },
            name: name.map(str::to_owned),
            pod: None,
        };
        let mut shared = namespace(&[]);
        shared.containers = vec![container("a", Some("web")), container("b", None)];
        let started = Change::ContainerStarted {
            container: container("a", Some("web")),
            process,
            namespace: shared,
        };
        assert_eq!(
            text(started),
            "+ container 4026532211  docker:web  sleep[7]  shared with docker:bbbbbbbbbbbb"
        );
    }

    #[test]
    fn a_hostile_name_stays_in_its_line() {
        let evil = "/run/netns/a\n- namespace\x1b[2J";
        let line = text(Change::NameAdded {
            name: Name(evil.into()),
            namespace: namespace(&[evil, "/run/netns/b"]),
        });
        assert_eq!(
            line,
            r"+ name      4026532211  netns:a\n- namespace\u{1b}[2J  also netns:b"
        );
        let json = serde_json::to_string(&event(Change::NameRemoved {
            name: Name(evil.into()),
            namespace: namespace(&[]),
        }))
        .expect("JSON");
        assert!(!json.contains(['\n', '\x1b']), "{json}");
    }

    #[test]
    fn json_is_flat() {
        let json = serde_json::to_value(event(Change::NamespaceRemoved {
            namespace: namespace(&["/run/netns/web"]),
            lived: None,
        }))
        .expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "time_ns": 1_700_000_000_123_456_789_u64, "monotonic_ns": 5,
                "event": "namespace-removed", "inode": 4_026_532_211_u64, "device": 0,
                "cookie": null, "host": false, "names": ["netns:web"], "containers": [],
                "path": null, "lived_ns": null,
            })
        );
    }
}
