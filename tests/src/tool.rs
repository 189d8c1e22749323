//! Runs netns-trace, and tcpdump as a second witness, and waits for what they say.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    packets::{self, Packet},
    patience::patience,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The netns-trace that is tested: `NETNS_TRACE_BIN`, or the one built beside this test.
///
/// # Panics
///
/// If it was not built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("NETNS_TRACE_BIN") {
        return path.into();
    }
    let mut path = std::env::current_exe().expect("the test's own path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("netns-trace");
    assert!(
        path.exists(),
        "{} is missing: build it with `cargo build`",
        path.display()
    );
    path
}

/// A command of netns-trace.
#[must_use]
pub fn netns_trace<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command.args(args).stdin(Stdio::null());
    // Whoever has started the tests through sudo has not started this.
    command.env_remove("SUDO_UID");
    command
}

/// What a command that ended by itself left.
#[derive(Debug)]
pub struct Done {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

/// Runs netns-trace to its end.
///
/// # Panics
///
/// If it cannot be started.
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Done {
    done(netns_trace(args))
}

/// Runs a command to its end.
///
/// # Panics
///
/// If it cannot be started.
#[must_use]
pub fn done(mut command: Command) -> Done {
    let output = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?} starts: {why}"));
    Done {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command, which must succeed; what it printed.
///
/// # Panics
///
/// If it does not, with what it said.
pub fn must(command: Command) -> String {
    let called = format!("{command:?}");
    let done = done(command);
    let (stdout, stderr) = (done.stdout, done.stderr);
    assert!(done.status.success(), "{called}: {stdout}{stderr}");
    stdout
}

/// A program that runs until it is told to end, and whose stderr is read meanwhile. It is killed
/// when dropped.
pub struct Running {
    child: Child,
    /// The program itself, where the child only waits for it.
    below: Option<i32>,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    said: Vec<String>,
}

impl Running {
    /// Starts a program.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|why| panic!("{command:?} starts: {why}"));
        let stderr = child.stderr.take().expect("its stderr");
        let (sender, lines) = channel();
        let forward = move |stderr: ChildStderr| {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        };
        let reader = std::thread::spawn(move || forward(stderr));
        Self {
            child,
            below: None,
            lines,
            reader: Some(reader),
            said: Vec::new(),
        }
    }

    /// Starts a capture and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not.
    #[must_use]
    pub fn capture<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let mut command = netns_trace(["capture"]);
        command.args(args);
        let mut running = Self::start(command);
        running.wait_for("listening on");
        running
    }

    /// Waits for a line on stderr that holds `text`.
    ///
    /// # Panics
    ///
    /// If the program ends, or takes too long, without saying it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + patience();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(why) => {
                    let why = match why {
                        RecvTimeoutError::Timeout => "takes too long",
                        RecvTimeoutError::Disconnected => "ended",
                    };
                    panic!(
                        "it {why} without saying {text:?}; it said: {:#?}",
                        self.said
                    );
                }
            }
        }
    }

    /// The same for a program whose parent waits for it, such as `nsenter --pid`: signals are for the
    /// program.
    ///
    /// # Panics
    ///
    /// If it ends before it is seen.
    #[must_use]
    pub fn of_child(mut self) -> Self {
        let pid = self.child.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        while self.below.is_none() {
            let text = std::fs::read_to_string(&children).expect("it runs");
            self.below = text
                .split_whitespace()
                .next()
                .map(|pid| pid.parse().expect("a pid"));
            assert!(
                matches!(self.child.try_wait(), Ok(None)),
                "it ended; it said: {:#?}",
                self.lines.iter().collect::<Vec<_>>()
            );
            std::thread::yield_now();
        }
        self
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.below.unwrap_or(self.child.id() as i32)
    }

    /// The lines of its stderr that were waited for, with those before them.
    #[must_use]
    pub fn said(&self) -> &[String] {
        &self.said
    }

    /// Its stdin and stdout, where they are pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("it runs");
    }

    /// Kills it after its helper process, so that nobody is left who could clean up, and waits.
    ///
    /// # Panics
    ///
    /// If it has no helper process, or has ended.
    pub fn kill_with_helper(self) -> Done {
        self.signal(Signal::SIGSTOP);
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(children).expect("its children");
        let helper = children.trim().parse().expect("one helper process");
        kill(Pid::from_raw(helper), Signal::SIGKILL).expect("the helper runs");
        self.signal(Signal::SIGKILL);
        self.wait()
    }

    /// Tells it to end with SIGINT, and waits.
    #[must_use]
    pub fn stop(self) -> Done {
        self.signal(Signal::SIGINT);
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If that takes too long.
    #[must_use]
    pub fn wait(mut self) -> Done {
        let end = Instant::now() + patience();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                break status;
            }
            assert!(
                Instant::now() < end,
                "{} does not end; it said: {:#?}",
                self.pid(),
                self.said
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("its stderr was read");
        }
        self.said.extend(self.lines.try_iter());
        let mut stdout = Vec::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_end(&mut stdout).expect("its stdout");
        }
        Done {
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: self.said.join("\n"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            if let Some(pid) = self.below {
                // It may have ended meanwhile.
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A tcpdump on one interface and direction of a namespace, from before to after the traffic.
pub struct Witness {
    running: Running,
    file: PathBuf,
}

impl Witness {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    ///
    /// If tcpdump is missing or refuses.
    #[must_use]
    pub fn start(ns: &Path, interface: &str, direction: &str, file: PathBuf) -> Self {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", ns.display()))
            .args([
                "tcpdump", "-n", "-i", interface, "-Q", direction, "-B", "262144", "-U",
            ])
            // A bridge in promiscuous mode takes in what it otherwise only forwards.
            .arg("-p")
            .args([
                // Its buffer is made of slots of this size, which hold the largest packets of
                // segmentation offload: so many that a burst finds room.
                "-s",
                "66000",
                "--immediate-mode",
                "--time-stamp-precision=nano",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file)
            .stdin(Stdio::null());
        let mut running = Running::start(command);
        running.wait_for("listening on");
        Self { running, file }
    }

    /// Waits until it has seen the marker `to`, ends it, and gives what it has seen between the
    /// markers.
    ///
    /// # Panics
    ///
    /// If it lost packets: then it is no witness.
    #[must_use]
    pub fn between(self, from: u32, to: u32) -> Vec<Packet> {
        let end = Instant::now() + patience();
        let packets = loop {
            if let Some(packets) = packets::between(&packets::read_own_pcap(&self.file), from, to) {
                break packets;
            }
            assert!(
                Instant::now() < end,
                "tcpdump has not seen the markers {from} and {to}"
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        let done = self.running.stop();
        assert!(
            done.stderr.contains("0 packets dropped by kernel"),
            "the witness lost packets: {}",
            done.stderr
        );
        packets
    }

    /// Gives its packets a moment to arrive, ends it, and gives all that it has seen.
    ///
    /// # Panics
    ///
    /// If it lost packets.
    #[must_use]
    pub fn all(self) -> Vec<Packet> {
        let mut seen = 0;
        let mut quiet = 0;
        while quiet < 5 {
            std::thread::sleep(Duration::from_millis(50));
            let now = packets::read_own_pcap(&self.file).len();
            quiet = if now == seen { quiet + 1 } else { 0 };
            seen = now;
        }
        let done = self.running.stop();
        assert!(
            done.stderr.contains("0 packets dropped by kernel"),
            "{}",
            done.stderr
        );
        packets::read_own_pcap(&self.file)
    }
}
