//! Sockets at whose other end is no runtime, or none that behaves.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    path::PathBuf,
    thread,
    time::Instant,
};

use super::*;

struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    /// Does `work` with each connection, for as long as the test runs.
    fn new(work: impl Fn(std::os::unix::net::UnixStream) + Send + Sync + Clone + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("sock")).expect("a socket");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let work = work.clone();
                thread::spawn(move || work(stream));
            }
        });
        Self { dir }
    }

    /// Answers each request with this head and body.
    fn answering(head: &'static str, body: Vec<u8>) -> Self {
        Self::new(move |mut stream| {
            let mut request = [0; 4096];
            // The first connection asks nothing.
            if stream.read(&mut request).unwrap_or(0) == 0 {
                return;
            }
            let whole = [head.as_bytes(), &body].concat();
            // Whoever has heard enough goes away.
            drop(stream.write_all(&whole));
        })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// What is said of it, and that it did not take long.
    fn refusal(&self) -> String {
        let start = Instant::now();
        let silence = list(Runtime::Podman, &self.path()).expect_err("no good answer");
        assert!(
            start.elapsed() < PATIENCE * 13 / 10,
            "{:?}",
            start.elapsed()
        );
        match silence {
            Silence::Because(why) => {
                assert!(!why.contains(char::is_control), "{why}");
                assert!(why.len() < 1000, "{why}");
                why
            }
            Silence::Absent => panic!("it is there"),
        }
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";

#[test]
fn a_good_answer_is_read() {
    let ids = ["1", "2", "3"].map(|digit| digit.repeat(64));
    let body = format!(
        r#"[{{"Id":"{}","Names":["/other/alias","/web"],"State":"running","HostConfig":{{"NetworkMode":"host"}}}},
            {{"Id":"{}","Names":["/a\u001b[2Jb"],"HostConfig":{{"NetworkMode":"container:{}"}}}},
            {{"Id":"short","Names":["/x"]}},{{"Names":["/y"]}},{{"Id":"{}","Names":null}}]"#,
        ids[0], ids[1], ids[0], ids[2]
    );
    let fake = Fake::answering(HEAD, body.into_bytes());
    let told = list(Runtime::Podman, &fake.path()).expect("an answer");
    let names: Vec<Option<&str>> = told.iter().map(|one| one.name.as_deref()).collect();
    assert_eq!(names, [Some("web"), Some("a\x1b[2Jb"), None]);
    assert_eq!(told[0].network, super::super::Network::Host);
    assert_eq!(
        told[1].network,
        super::super::Network::Container(ids[0].clone())
    );
    assert_eq!(told[2].key.id, ids[2]);
}

#[test]
fn nobody_there_is_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sock");
    assert_eq!(list(Runtime::Docker, &path), Err(Silence::Absent));
    drop(UnixListener::bind(&path).expect("a socket"));
    match list(Runtime::Docker, &path) {
        Err(Silence::Because(why)) => assert!(why.starts_with("nobody listens on"), "{why}"),
        other => panic!("{other:?}"),
    }
    // Below a file there is nothing either.
    let below = path.join("docker.sock");
    assert_eq!(list(Runtime::Docker, &below), Err(Silence::Absent));
}

#[test]
fn who_never_answers_is_not_waited_for() {
    let fake = Fake::new(|stream| {
        thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let why = fake.refusal();
    assert!(why.starts_with("no answer from"), "{why}");
    assert!(why.ends_with("within 1 s"), "{why}");
}

#[test]
fn who_answers_byte_by_byte_is_not_waited_for() {
    let fake = Fake::new(|mut stream| {
        for byte in HEAD.bytes().chain(std::iter::repeat(b'[')) {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(fake.refusal().starts_with("no answer from"));
}

#[test]
fn an_answer_without_end_is_not_kept() {
    let fake = Fake::new(|mut stream| {
        let mut request = [0; 4096];
        if stream.read(&mut request).unwrap_or(0) == 0 || stream.write_all(HEAD.as_bytes()).is_err()
        {
            return;
        }
        let blanks = [b' '; 65536];
        while stream.write_all(&blanks).is_ok() {}
    });
    let why = fake.refusal();
    assert!(
        why.contains("no end") || why.starts_with("no answer from"),
        "{why}"
    );
}

#[test]
fn rubbish_is_told_as_such() {
    for (head, body) in [
        ("", b"\x1b[2J SSH-2.0-none\r\n\r\n".to_vec()),
        (HEAD, b"\x1b[2J<html>".to_vec()),
        (HEAD, b"[{\"Id\":\"".to_vec()),
        (HEAD, b"{\"Id\":[]}".to_vec()),
        (HEAD, vec![b'['; 100_000]),
        (
            "HTTP/1.1 500 No\r\nContent-Length: 30\r\n\r\n",
            b"{\"message\":\"\\u001b[2J the end\"}".to_vec(),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
            b"[".to_vec(),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n",
            b"[]".to_vec(),
        ),
    ] {
        let why = Fake::answering(head, body).refusal();
        assert!(why.contains("does not answer as a runtime does"), "{why}");
    }
}

#[test]
fn who_goes_away_at_once_is_told() {
    let why = Fake::new(drop).refusal();
    assert!(why.contains("does not answer as a runtime does"), "{why}");
}

#[test]
fn thousands_of_entries_are_read_up_to_a_limit() {
    let entry = |at: usize| format!(r#"{{"Id":"{at:064x}","Names":["/n{at}"]}}"#);
    let entries: Vec<String> = (0..MOST_TOLD + 10).map(entry).collect();
    let fake = Fake::answering(HEAD, format!("[{}]", entries.join(",")).into_bytes());
    let told = list(Runtime::Podman, &fake.path()).expect("an answer");
    assert_eq!(told.len(), MOST_TOLD);
}
