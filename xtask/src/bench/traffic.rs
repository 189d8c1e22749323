//! What runs from one container to the other while something is measured.

use std::{
    io::{BufRead as _, BufReader},
    net::IpAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use netns_trace::{
    lab::{self, Datagrams, Lab, LabSpec, Topology, flood},
    netns::NetNs,
};
use serde_json::Value;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Traffic {
    /// iperf3's TCP, at so many Gbit/s, or as fast as it goes.
    Tcp(Option<u32>),
    /// Numbered datagrams in frames of so many bytes, of so many flows, as many as one thread can send.
    Udp(usize, usize),
    /// Payloads of 64 KB that the kernel passes on whole, to be cut into datagrams at the end of the way.
    UdpGso,
    /// Echo requests, each when the answer to the one before has come.
    Ping,
}

/// Bytes of an Ethernet, an IPv4 and a UDP header.
const HEADERS: usize = 14 + 20 + 8;

/// Payload of each datagram that UDP GSO makes.
const SEGMENT: u16 = 1472;

/// As many packets as there can be.
pub(super) const SMALL: Traffic = Traffic::Udp(64, 1);

/// Two containers on a bridge. They go with this.
pub(super) struct Containers {
    lab: Lab,
    /// The one that sends.
    pub(super) from: NetNs,
    to: NetNs,
    at: IpAddr,
    time: Duration,
}

impl Containers {
    /// Builds them, and sends once, so that what is measured is warm. Each run takes this time.
    pub(super) fn new(time: Duration) -> Result<Self> {
        Self::several(2, time)
    }

    /// As many, the first two of which talk to each other.
    pub(super) fn several(count: usize, time: Duration) -> Result<Self> {
        let name = format!("bench{}", std::process::id());
        let mut spec = LabSpec::new(Topology::Bridge, name);
        spec.count = Some(count);
        let lab = lab::up_private(&spec)?;
        let (from, to, at) = {
            let mut containers = lab.containers();
            let mut next = || containers.next().context("a container is missing");
            let (a, b) = (next()?, next()?);
            let at = b.address(false).context("a container without an address")?;
            (a.open()?, b.open()?, at)
        };
        let containers = Self {
            lab,
            from,
            to,
            at,
            time,
        };
        containers.send(SMALL)?;
        Ok(containers)
    }

    /// The targets: who sends, and who receives.
    pub(super) fn targets(&self) -> Vec<String> {
        let names = self
            .lab
            .containers()
            .map(|node| format!("netns:{}", node.name));
        names.collect()
    }

    /// Takes them down, and tells what could not be.
    pub(super) fn down(self) -> Result<()> {
        Ok(self.lab.down()?)
    }

    /// Sends, and tells how much went through a second: bits, datagrams, round trips.
    pub(super) fn send(&self, traffic: Traffic) -> Result<f64> {
        match traffic {
            Traffic::Tcp(gbits) => self.iperf(gbits),
            Traffic::Udp(frame, flows) => self.flood(Datagrams {
                size: frame - HEADERS,
                flows,
                segment: None,
            }),
            Traffic::UdpGso => self.flood(Datagrams {
                size: usize::from(SEGMENT) * 44,
                flows: 1,
                segment: Some(SEGMENT),
            }),
            Traffic::Ping => self.ping(),
        }
    }

    fn flood(&self, what: Datagrams) -> Result<f64> {
        Ok(flood(&self.from, &self.to, self.at, what, self.time)?.rate())
    }

    fn inside(ns: &NetNs, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", ns.path().display()))
            .arg(program)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    fn iperf(&self, gbits: Option<u32>) -> Result<f64> {
        let mut server = Self::inside(&self.to, "iperf3");
        let server = server
            .args(["-s", "-1", "--forceflush"])
            .spawn()
            .context("cannot run iperf3")?;
        let mut server = Killed(server);
        let stdout = server.0.stdout.take().context("it has a stdout")?;
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        ensure!(
            lines.any(|line| line.contains("listening")),
            "iperf3 -s did not listen"
        );
        // Its pipe must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        let mut client = Self::inside(&self.from, "iperf3");
        client.args(["-J", "-c", &self.at.to_string()]);
        client.args(["-t", &self.time.as_secs().max(1).to_string()]);
        if let Some(gbits) = gbits {
            client.args(["-b", &format!("{gbits}G")]);
        }
        let done = client.output().context("cannot run iperf3")?;
        let told: Value = serde_json::from_slice(&done.stdout).context("iperf3 -J")?;
        told["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .with_context(|| format!("iperf3 failed: {}", told["error"]))
    }

    fn ping(&self) -> Result<f64> {
        let mut ping = Self::inside(&self.from, "ping");
        let seconds = self.time.as_secs().max(1).to_string();
        ping.args(["-f", "-q", "-w", &seconds, &self.at.to_string()]);
        let done = ping.output().context("cannot run ping")?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        // 9 packets transmitted, 9 received, 0% packet loss, time 4ms
        let line = said.lines().find(|line| line.contains(" received, "));
        let rate = line.and_then(|line| {
            let received: f64 = line.split(' ').nth(3)?.parse().ok()?;
            let (_, time) = line.rsplit_once(" time ")?;
            let time: f64 = time.strip_suffix("ms")?.parse().ok()?;
            Some(received / time * 1e3)
        });
        rate.with_context(|| format!("ping failed: {said}"))
    }
}

/// A child that does not outlive its value.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) && self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}
