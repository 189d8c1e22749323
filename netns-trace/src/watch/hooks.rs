//! A command of the user's for each event, which it finds in its environment. A few run at once, the
//! others wait for their turn; none of them can hold up the watch.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    io,
    os::unix::{ffi::OsStringExt as _, process::CommandExt as _},
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
};

use nix::sys::{
    eventfd::EventFd,
    signal::{SigSet, SigmaskHow, sigprocmask},
};

use super::{Change, Event};

/// Most commands that run at once.
const MOST_RUNNING: usize = 8;
/// Most events that wait for theirs.
const MOST_WAITING: usize = 4096;

/// Runs the commands.
pub(super) struct Hooks {
    command: OsString,
    /// Told of each that has ended.
    wake: Arc<EventFd>,
    ended: Receiver<io::Result<ExitStatus>>,
    sender: Sender<io::Result<ExitStatus>>,
    running: usize,
    waiting: VecDeque<Vec<(&'static str, OsString)>>,
    /// Events that found no place to wait in.
    lost: u64,
}

impl Hooks {
    /// Runs `sh -c COMMAND`. `wake` is written to when one has ended.
    pub(super) fn new(command: &OsStr, wake: Arc<EventFd>) -> Self {
        let (sender, ended) = channel();
        Self {
            command: command.to_owned(),
            wake,
            ended,
            sender,
            running: 0,
            waiting: VecDeque::new(),
            lost: 0,
        }
    }

    /// Runs the command for an event, at once or later.
    pub(super) fn add(&mut self, event: &Event) {
        if self.waiting.len() >= MOST_WAITING {
            self.lost += 1;
            return;
        }
        self.waiting.push_back(environment(event));
        self.advance();
    }

    /// Starts what may start now, and tells of those that have failed.
    pub(super) fn advance(&mut self) {
        while let Ok(ended) = self.ended.try_recv() {
            self.running -= 1;
            match ended {
                Ok(status) if status.success() => {}
                Ok(status) => eprintln!("netns-trace: the command of --exec: {status}"),
                Err(why) => eprintln!("netns-trace: the command of --exec cannot be run: {why}"),
            }
        }
        while self.running < MOST_RUNNING
            && let Some(variables) = self.waiting.pop_front()
        {
            self.start(variables);
        }
        if self.waiting.is_empty() && self.lost > 0 {
            eprintln!(
                "netns-trace: the commands of --exec were too slow: none was run for {} events",
                std::mem::take(&mut self.lost)
            );
        }
    }

    fn start(&mut self, variables: Vec<(&'static str, OsString)>) {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(&self.command)
            .envs(variables)
            .stdin(Stdio::null());
        // SAFETY: between fork and exec, it only calls sigprocmask, which may be called there.
        unsafe {
            // Our own signals are blocked, which a program inherits.
            command.pre_exec(|| {
                Ok(sigprocmask(
                    SigmaskHow::SIG_SETMASK,
                    Some(&SigSet::empty()),
                    None,
                )?)
            });
        }
        let (sender, wake) = (self.sender.clone(), Arc::clone(&self.wake));
        let waits = std::thread::Builder::new()
            .name("exec".to_owned())
            .spawn(move || {
                // Nobody waits for it once the watch has ended: it goes on by itself.
                drop(sender.send(command.status()));
                if let Err(errno) = wake.write(1) {
                    log::warn!("cannot wake the watch: {errno}");
                }
            });
        match waits {
            Ok(_) => self.running += 1,
            Err(why) => eprintln!("netns-trace: the command of --exec cannot be run: {why}"),
        }
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        let left = self.waiting.len() as u64 + self.lost;
        if left > 0 {
            eprintln!("netns-trace: the command of --exec was not run for {left} events");
        }
    }
}

/// What a command finds in its environment.
fn environment(event: &Event) -> Vec<(&'static str, OsString)> {
    let change = &event.change;
    let namespace = change.namespace();
    let mut all = vec![
        ("NETNS_TRACE_EVENT", OsString::from(change.word())),
        ("NETNS_TRACE_TIME_NS", event.at.time_ns.to_string().into()),
        (
            "NETNS_TRACE_JSON",
            serde_json::to_string(event).unwrap_or_default().into(),
        ),
    ];
    let mut add = |name, value: Option<OsString>| all.extend(value.map(|value| (name, value)));
    add(
        "NETNS_TRACE_INODE",
        namespace.inode.map(|inode| inode.to_string().into()),
    );
    add("NETNS_TRACE_PATH", namespace.path.clone().map(Into::into));
    let name = match change {
        Change::NameAdded { name, .. } | Change::NameRemoved { name, .. } => Some(name),
        _ => namespace.names.first(),
    };
    add("NETNS_TRACE_NAME", name.map(|name| name.target().into()));
    let container = match change {
        Change::ContainerStarted { container, .. }
        | Change::ContainerNamed { container, .. }
        | Change::ContainerStopped { container, .. } => Some(container),
        _ => namespace.containers.first(),
    };
    add(
        "NETNS_TRACE_CONTAINER",
        container.map(|container| container.target().into()),
    );
    add(
        "NETNS_TRACE_CONTAINER_ID",
        container.map(|container| container.key.id.clone().into()),
    );
    add(
        "NETNS_TRACE_PID",
        change
            .process()
            .map(|process| process.pid.to_string().into()),
    );
    for (_, value) in &mut all {
        // A NUL would end the variable, and no command could be run.
        if value.as_encoded_bytes().contains(&0) {
            let bytes = std::mem::take(value).into_vec();
            *value = OsString::from_vec(bytes.into_iter().filter(|byte| *byte != 0).collect());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        container::{ContainerKey, Runtime},
        watch::{Label, Moment, Name, Namespace, Process},
    };

    #[test]
    fn a_command_finds_the_event() {
        let event = Event {
            at: Moment {
                time_ns: 5,
                monotonic_ns: 6,
            },
            existing: false,
            change: Change::ContainerStarted {
                container: Label {
                    key: ContainerKey {
                        runtime: Runtime::Docker,
                        id: "ab".into(),
                    },
                    name: Some("we\0b".into()),
                    pod: None,
                },
                process: Some(Process {
                    pid: 7,
                    command: None,
                }),
                namespace: Namespace {
                    inode: Some(4),
                    names: vec![Name("/run/netns/x".into())],
                    path: Some("/proc/7/ns/net".into()),
                    ..Namespace::default()
                },
            },
        };
        let all = environment(&event);
        let of = |name: &str| {
            let found = all.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.to_str().expect("text"))
        };
        for (name, value) in [
            ("NETNS_TRACE_EVENT", "container-started"),
            ("NETNS_TRACE_TIME_NS", "5"),
            ("NETNS_TRACE_INODE", "4"),
            ("NETNS_TRACE_PATH", "/proc/7/ns/net"),
            ("NETNS_TRACE_NAME", "netns:x"),
            ("NETNS_TRACE_CONTAINER", "docker:web"),
            ("NETNS_TRACE_CONTAINER_ID", "ab"),
            ("NETNS_TRACE_PID", "7"),
        ] {
            assert_eq!(of(name), Some(value), "{name}");
        }
        let json: serde_json::Value =
            serde_json::from_str(of("NETNS_TRACE_JSON").expect("it")).expect("JSON");
        assert_eq!(json["event"], "container-started");
    }
}
