//! The whole main job in a private lab: two containers on a bridge, traffic, a capture at all
//! taps, a report. What it runs is the very command that a user would type.

mod folder;

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use serde_json::Value;

use self::folder::Folder;
use crate::{
    lab::{self, Lab, LabSpec, Node, Topology, traffic},
    privilege::User,
    probe::{check_kernel, check_privileges},
    session::{Signals, Wish},
};

/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What goes over TCP, in bytes.
const TCP_BYTES: u64 = 16 << 20;
/// Datagrams that go over UDP, each answered.
const DATAGRAMS: u64 = 1000;
/// Datagrams to the world outside, through the bridge, the router's address translation, and back.
const OUTSIDE_DATAGRAMS: u64 = 100;
/// Lines of packets shown.
const LINES: &str = "8";

/// Runs the demo. Its lab goes also when it is interrupted.
///
/// # Errors
///
/// What could not be set up, or a capture that failed.
pub fn run(dir: Option<&Path>) -> Result<()> {
    check_kernel()?;
    check_privileges()?;
    let signals = Signals::new()?;
    for (name, result) in lab::sweep() {
        if let Err(why) = result {
            log::warn!("the lab {name} of an earlier run stays: {why}");
        }
    }
    let prepare = || {
        folder::sweep();
        Folder::new(dir)
    };
    // The capture is started through sudo as well, and writes with its user's rights.
    let user = User::behind_sudo()?;
    let folder = match &user {
        Some(user) => user.run(prepare)?.with_context(|| user.as_whom(None))?,
        None => prepare()?,
    };
    let path = folder.path().to_owned();
    let result = run_in(&path, &signals);
    let is_kept = User::run_as(user.as_ref(), || folder.hand_over())?;
    if is_kept && result.is_err() && dir.is_none() {
        eprintln!("what was captured until then is in {path:?}");
    }
    result
}

fn run_in(folder: &Path, signals: &Signals) -> Result<()> {
    let file = folder.join("demo.pcapng");
    let lab = build()?;
    let mut containers = lab.containers();
    let (Some(a), Some(b)) = (containers.next(), containers.next()) else {
        bail!("the lab has no two containers");
    };
    println!(
        "A lab of its own: {} and {} on a bridge behind {}.\n",
        a.name,
        b.name,
        lab.router().map_or("a router", |router| &router.name)
    );

    let file_name = file.to_string_lossy().into_owned();
    let target = format!("netns:{}", a.name);
    let seen = watch(&lab, a, b, &file_name, signals);
    drop(containers);
    lab.down().context("the lab is not removed wholly")?;
    // An interruption may have ended a capture before it was there to end cleanly.
    let seen = match seen {
        Err(_) if signals.next()? == Some(Wish::End) => None,
        seen => seen?,
    };
    let Some(Seen {
        sent,
        packets,
        summary,
    }) = seen
    else {
        println!("interrupted; the lab is removed");
        return Ok(());
    };

    println!("Traffic:\n{sent}");
    println!("The first packets, as `netns-trace capture {target}` prints them:");
    for line in packets.lines() {
        println!("  {line}");
    }
    println!("\n{}", report(&summary));
    println!("{}", latency(&summary["latency"]));
    let size = fs::metadata(&file).map_or(0, |file| file.len());
    println!(
        "The capture is {file_name} ({:.1} MB). Open it with",
        size as f64 / 1e6
    );
    println!("  wireshark {file_name}");
    println!("  tcpdump -nr {file_name}");
    println!("  netns-trace read {file_name}");
    println!(
        "\nThe lab is removed. Next: netns-trace lab up, then netns-trace capture netns:lab-a, or \
         netns-trace latency netns:lab-a"
    );
    Ok(())
}

/// What there is to report.
struct Seen {
    sent: String,
    packets: String,
    summary: Value,
}

/// Captures what is sent in the lab. None if it was interrupted.
fn watch(lab: &Lab, a: &Node, b: &Node, file: &str, signals: &Signals) -> Result<Option<Seen>> {
    let target = format!("netns:{}", a.name);
    let args = [
        "capture",
        &target,
        "--taps",
        "all",
        "-w",
        file,
        "--summary",
        "json",
    ];
    let mut capture = Tool::start(&args)?;
    let mut lines = Tool::start(&["capture", &target, "--no-latency", "-c", LINES])?;
    println!("$ netns-trace {}", args[..6].join(" "));
    println!("{}\n", capture.wait_for("listening on")?);
    lines.wait_for("listening on")?;

    let sent = send(lab, a, b, signals);
    lines.stop()?;
    capture.stop()?;
    let packets = lines.output()?;
    let summary = capture.summary()?;
    Ok(sent?.map(|sent| Seen {
        sent,
        packets,
        summary,
    }))
}

/// With address translation to an outside where the kernel has it, without otherwise.
fn build() -> Result<Lab> {
    let name = format!("demo{}", std::process::id());
    match lab::up_private(&LabSpec::new(Topology::Nat, name.clone())) {
        Ok(lab) => Ok(lab),
        Err(why) => {
            log::info!("no address translation here ({why}): the lab has no outside");
            Ok(lab::up_private(&LabSpec::new(Topology::Bridge, name))?)
        }
    }
}

/// Sends the traffic; a line for each kind. None if it was interrupted.
fn send(lab: &Lab, a: &Node, b: &Node, signals: &Signals) -> Result<Option<String>> {
    let interrupted = || -> Result<bool> { Ok(signals.next()? == Some(Wish::End)) };
    let (from, to) = (a.open()?, b.open()?);
    let address = |node: &Node| node.address(false).context("a node without an address");
    let tcp = traffic::tcp(&from, &to, address(b)?, TCP_BYTES, PATIENCE)?;
    ensure!(
        tcp.intact,
        "what was sent over TCP did not arrive as it was"
    );
    let mut text = format!(
        "  TCP  {} -> {}: {:.1} MB at {:.1} Gbit/s, checksums agree\n",
        a.name,
        b.name,
        tcp.bytes as f64 / 1e6,
        tcp.rate() / 1e9
    );
    if interrupted()? {
        return Ok(None);
    }
    let udp = traffic::udp(&from, &to, address(b)?, DATAGRAMS, 200, PATIENCE)?;
    text += &format!(
        "  UDP  {} -> {}: {} datagrams, {} answered\n",
        a.name, b.name, udp.sent, udp.returned
    );
    if interrupted()? {
        return Ok(None);
    }
    if let Some(outside) = lab.outside() {
        let there = outside.open()?;
        let udp = traffic::udp(
            &from,
            &there,
            address(outside)?,
            OUTSIDE_DATAGRAMS,
            200,
            PATIENCE,
        )?;
        text += &format!(
            "  UDP  {} -> {} (translated by the router): {} datagrams, {} answered\n",
            a.name, outside.name, udp.sent, udp.returned
        );
    }
    Ok((!interrupted()?).then_some(text))
}

/// The summary as a table.
fn report(summary: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let sum = |value: &Value| -> u64 {
        value
            .as_object()
            .map_or(0, |object| object.values().map(number).sum())
    };
    let mut text = format!(
        "{:<18} {:<4} {:>9} {:>9} {:>8} {:>5} {:>10}\n",
        "tap", "way", "received", "captured", "dropped", "lost", "after end"
    );
    for tap in summary["taps"].as_array().into_iter().flatten() {
        text += &format!(
            "{:<18} {:<4} {:>9} {:>9} {:>8} {:>5} {:>10}\n",
            tap["ifname"].as_str().unwrap_or("?"),
            tap["direction"].as_str().unwrap_or("?"),
            number(&tap["received"]),
            number(&tap["captured"]),
            sum(&tap["dropped"]),
            sum(&tap["lost"]),
            number(&tap["discarded"])
        );
    }
    let taps = || summary["taps"].as_array().into_iter().flatten();
    text += &format!(
        "{:<18} {:<4} {:>9} {:>9} {:>8} {:>5} {:>10}\n",
        "all",
        "",
        number(&summary["received"]),
        number(&summary["captured"]),
        number(&summary["dropped"]),
        taps().map(|tap| sum(&tap["lost"])).sum::<u64>(),
        taps().map(|tap| number(&tap["discarded"])).sum::<u64>()
    );
    text
}

/// What the way between the taps took, as a table.
fn latency(report: &Value) -> String {
    let mut text = format!(
        "{:<8} {:<4} {:>9} {:>9} {:>9} {:>9}   between\n",
        "segment", "way", "packets", "p50", "p99", "max"
    );
    for segment in report["segments"].as_array().into_iter().flatten() {
        let figure = |key: &str| {
            segment[key]
                .as_f64()
                .map_or_else(|| "-".to_owned(), crate::latency::time)
        };
        let name = |key: &str| segment[key].as_str().unwrap_or("?");
        text += &format!(
            "{:<8} {:<4} {:>9} {:>9} {:>9} {:>9}   {} -> {}\n",
            name("name"),
            name("direction"),
            segment["count"].as_u64().unwrap_or(0),
            figure("p50_ns"),
            figure("p99_ns"),
            figure("max_ns"),
            name("from"),
            name("to")
        );
    }
    if let Some(cost) = report["probe_cost_ns"].as_f64() {
        text += &format!(
            "Each tap itself costs a packet about {}.\n",
            crate::latency::time(cost)
        );
    }
    text
}

/// This program, run as a user would. It ends when we do.
struct Tool {
    child: Child,
    said: Receiver<String>,
    heard: Vec<String>,
}

impl Tool {
    fn start(args: &[&str]) -> Result<Self> {
        let program = env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: prctl may be called between fork and exec.
        unsafe {
            command.pre_exec(|| set_pdeathsig(Signal::SIGTERM).map_err(Into::into));
        }
        let mut child = command.spawn().context("cannot run this program again")?;
        let stderr = child.stderr.take().context("its stderr is missing")?;
        let (sender, said) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            said,
            heard: Vec::new(),
        })
    }

    fn wait_for(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = match self.said.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    self.heard.push(format!("it took longer than {PATIENCE:?}"));
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let found = line.contains(text);
            self.heard.push(line.clone());
            if found {
                return Ok(line);
            }
        }
        bail!("the capture did not start: {}", self.heard.join("; "))
    }

    /// Asks it to end.
    fn stop(&self) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT)
            .context("cannot end the capture")
    }

    /// What it printed, once it has ended.
    fn output(&mut self) -> Result<String> {
        let mut text = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut text)
                .context("cannot read the capture's output")?;
        }
        self.child.wait().context("cannot wait for the capture")?;
        Ok(text)
    }

    /// Its summary, once it has ended.
    fn summary(mut self) -> Result<Value> {
        self.output()?;
        self.heard.extend(self.said.iter());
        let line = self.heard.iter().rev().find(|line| line.starts_with('{'));
        let line =
            line.with_context(|| format!("the capture failed: {}", self.heard.join("; ")))?;
        serde_json::from_str(line).context("the capture's summary is damaged")
    }
}
