//! A lab whose one container floods the other with 64-byte datagrams.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use netns_trace::{
    lab::{self, Lab, LabSpec, Topology, flood},
    netns::NetNs,
};

/// UDP payload of a frame of 64 bytes.
const PAYLOAD: usize = 64 - 14 - 20 - 8;

/// The lab. It goes with this.
pub(super) struct Flooded {
    lab: Lab,
    /// The container that sends.
    pub(super) from: NetNs,
    to: NetNs,
    at: IpAddr,
    time: Duration,
}

impl Flooded {
    /// Builds it, and sends once, so that what is measured is warm. Each flood takes this time.
    pub(super) fn new(time: Duration) -> Result<Self> {
        let name = format!("bench{}", std::process::id());
        let lab = lab::up_private(&LabSpec::new(Topology::Bridge, name))?;
        let (from, to, at) = {
            let mut containers = lab.containers();
            let mut next = || containers.next().context("a container is missing");
            let (a, b) = (next()?, next()?);
            let at = b.address(false).context("a container without an address")?;
            (a.open()?, b.open()?, at)
        };
        let flooded = Self {
            lab,
            from,
            to,
            at,
            time,
        };
        flooded.rate()?;
        Ok(flooded)
    }

    /// Datagrams a second that the sender sends.
    pub(super) fn rate(&self) -> Result<f64> {
        Ok(flood(&self.from, &self.to, self.at, PAYLOAD, self.time)?.rate())
    }

    /// The targets: who sends, and who receives.
    pub(super) fn targets(&self) -> Vec<String> {
        let names = self
            .lab
            .containers()
            .map(|node| format!("netns:{}", node.name));
        names.collect()
    }

    /// Takes it down, and tells what could not be.
    pub(super) fn down(self) -> Result<()> {
        Ok(self.lab.down()?)
    }
}
