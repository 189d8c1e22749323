//! A `netns-trace watch --json` that runs, and the events that it tells. Other tests' namespaces come and
//! go meanwhile: what is waited for has names or inodes of the test's own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Instant,
};

use serde_json::Value;

use crate::{
    patience::patience,
    tool::{Done, Running},
};

/// A watch that runs.
pub struct Watching {
    running: Running,
    events: Receiver<String>,
    seen: Vec<Value>,
}

impl Watching {
    /// Starts it and waits until it watches.
    ///
    /// # Panics
    ///
    /// If it ends.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut running = Running::start({
            command.stdout(Stdio::piped());
            command
        });
        let stdout = running.child().stdout.take().expect("a pipe");
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        running.wait_for("watching; there are ");
        Self {
            running,
            events,
            seen: Vec::new(),
        }
    }

    /// Waits for the next event of a kind that is the one that is meant.
    ///
    /// # Panics
    ///
    /// If it does not come, or the watch prints what is no JSON.
    pub fn event(&mut self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.one_of(&[kind], is_it)
    }

    /// Waits until a namespace with this name is told: as new, or, where `ip` was seen in it before it named
    /// it, as named.
    ///
    /// # Panics
    ///
    /// As [`Watching::event`].
    pub fn named(&mut self, name: &str) -> Value {
        let kinds = ["namespace-added", "name-added"];
        self.one_of(&kinds, |event| has_name(event, name))
    }

    fn one_of(&mut self, kinds: &[&str], is_it: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + patience();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.events.recv_timeout(left) else {
                panic!("no such {kinds:?}; there were {:#?}", self.seen);
            };
            let event = parse(&line);
            self.seen.push(event.clone());
            if kinds.iter().any(|kind| event["event"] == *kind) && is_it(&event) {
                return event;
            }
        }
    }

    /// What it has said on stderr so far.
    #[must_use]
    pub fn said(&self) -> &[String] {
        self.running.said()
    }

    /// The watch itself.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Ends it by SIGINT; all that it has told, and how it ended.
    #[must_use]
    pub fn stop(mut self) -> (Vec<Value>, Done) {
        let done = self.running.stop();
        self.seen
            .extend(self.events.iter().map(|line| parse(&line)));
        (self.seen, done)
    }
}

/// Whether an event's namespace has a name.
pub fn has_name(event: &Value, name: &str) -> bool {
    let names = event["names"].as_array().expect("names");
    names.iter().any(|one| one == name)
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))
}
