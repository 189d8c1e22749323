//! Asks all runtimes at once, each on a thread of its own, and waits for them only so long: who reads a
//! file on a dead file system, or a socket that drips, is left behind.

use std::{
    path::Path,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use super::{
    Runtime, api,
    api::Silence,
    docker, files, oci, podman,
    sources::{DOCKERS_OWN, Source, Sources, owner},
    told::Answer,
};

/// How long all of them may take together: longer than one socket, by the time to read files instead.
const PATIENCE: Duration = Duration::from_millis(1400);

/// What all runtimes tell.
pub(super) fn all(sources: &Sources) -> Vec<Answer> {
    let deadline = Instant::now() + PATIENCE;
    let (sender, answers) = channel();
    let mut waiting: Vec<(usize, String)> = Vec::new();
    let mut told = Vec::new();
    let mut start = |what: String, work: Box<dyn FnOnce() -> Answer + Send>| {
        let sender = sender.clone();
        let number = waiting.len();
        let started = thread::Builder::new()
            .name("runtime".to_owned())
            .spawn(move || {
                // Nobody waits for who is late.
                drop(sender.send((number, work())));
            });
        match started {
            Ok(_) => waiting.push((number, what)),
            Err(error) => told.push(note(format!("{what}: cannot start a thread: {error}"))),
        }
    };
    for source in sources.all_engines() {
        start(
            source.runtime.to_string(),
            Box::new(move || engine(&source)),
        );
    }
    for state in sources.containerd.clone() {
        let work = move || {
            let mut answer = files_of(&state, oci::containerd(&state));
            // Docker's own has no names, so nothing is missed there.
            if state != Path::new(DOCKERS_OWN) {
                answer.notes.extend(closed("containerd", &state));
            }
            answer
        };
        start("containerd".to_owned(), Box::new(work));
    }
    for run in sources.crio.clone() {
        start(
            "CRI-O".to_owned(),
            Box::new(move || {
                let mut answer = files_of(&run, oci::crio(&run));
                answer.notes.extend(closed("CRI-O", &run));
                answer
            }),
        );
    }
    while !waiting.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        match answers.recv_timeout(left) {
            Ok((number, answer)) => {
                waiting.retain(|(other, _)| *other != number);
                told.push(answer);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    for (_, what) in waiting {
        told.push(note(format!("{what}: its files take too long to read")));
    }
    told
}

fn note(text: String) -> Answer {
    Answer {
        notes: vec![text],
        ..Answer::default()
    }
}

/// A note on files that may not be read.
fn closed(what: &str, dir: &Path) -> Option<String> {
    files::why_closed(dir).map(|why| format!("{what}: {why}"))
}

fn files_of(dir: &Path, told: Vec<super::told::Told>) -> Answer {
    Answer {
        told,
        user: owner(dir),
        notes: Vec::new(),
    }
}

/// What an engine answers, or else what its files say.
fn engine(source: &Source) -> Answer {
    let why = match &source.socket {
        Some(socket) => match api::list(source.runtime, socket) {
            Ok(told) => {
                return Answer {
                    told,
                    user: owner(socket),
                    notes: Vec::new(),
                };
            }
            Err(Silence::Absent) => None,
            Err(Silence::Because(why)) => Some(why),
        },
        None => None,
    };
    let mut answer = match &source.root {
        Some(root) if source.runtime == Runtime::Docker => files_of(root, docker::list(root)),
        Some(root) => files_of(root, podman::list(root)),
        None => Answer::default(),
    };
    if let Some(why) = why {
        let otherwise = match &source.root {
            Some(root) if !answer.told.is_empty() => format!("; names are from {root:?}"),
            Some(root) => files::why_closed(&root.join(source.kept_in()))
                .map(|why| format!("; {why}"))
                .unwrap_or_default(),
            None => String::new(),
        };
        answer
            .notes
            .push(format!("{}: {why}{otherwise}", source.runtime));
    }
    answer
}
