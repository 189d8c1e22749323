//! What Docker and Podman have in common: their command line.

use std::process::Command;

use serde_json::Value;

use super::IMAGE;
use crate::tool;

/// A runtime with Docker's command line.
pub trait Engine {
    /// Its client, with what leads to this very daemon or storage.
    fn client(&self) -> Command;

    /// Options of every `run`.
    fn run_options(&self) -> Vec<String> {
        Vec::new()
    }

    /// Runs the client, which must succeed; what it printed, without the last line's end.
    ///
    /// # Panics
    ///
    /// If it does not.
    fn cli(&self, args: &[&str]) -> String {
        let mut command = self.client();
        command.args(args);
        tool::must(command).trim_end().to_owned()
    }

    /// Starts a container in the background; its id. `options` as for `docker run`; an empty
    /// `program` sleeps for ever.
    fn run(&self, name: &str, options: &[&str], program: &[&str]) -> String {
        let own = self.run_options();
        // A first process ignores signals that it does not handle: `stop` would take ten seconds.
        let mut args = vec!["run", "-d", "--name", name, "--stop-signal", "KILL"];
        args.extend(own.iter().map(String::as_str));
        args.extend(options);
        args.push(IMAGE);
        args.extend(program);
        self.cli(&args)
    }

    /// What the runtime knows of a container.
    ///
    /// # Panics
    ///
    /// If there is no such container.
    fn inspect(&self, name: &str) -> Value {
        let text = self.cli(&["container", "inspect", name]);
        let json: Value = serde_json::from_str(&text).expect("JSON");
        json[0].clone()
    }

    /// The pid of a container's first process, as its runtime numbers it.
    ///
    /// # Panics
    ///
    /// If it does not run.
    fn pid(&self, name: &str) -> u32 {
        let pid = self.inspect(name)["State"]["Pid"].as_u64();
        let pid = pid.filter(|pid| *pid > 0);
        pid.unwrap_or_else(|| panic!("{name} does not run")) as u32
    }

    /// A container's first IPv4 address, in whichever network it is.
    ///
    /// # Panics
    ///
    /// If it has none.
    fn address(&self, name: &str) -> String {
        let networks = self.inspect(name)["NetworkSettings"]["Networks"].clone();
        let networks = networks.as_object().expect("networks");
        let mut addresses = networks.values().map(|network| &network["IPAddress"]);
        let found = addresses.find_map(|address| address.as_str().filter(|text| !text.is_empty()));
        found
            .unwrap_or_else(|| panic!("{name} has no address"))
            .to_owned()
    }

    /// Runs a program in a container; what it printed.
    fn exec(&self, name: &str, program: &[&str]) -> String {
        self.cli(&[&["exec", name][..], program].concat())
    }

    /// Ends a container, which stays there.
    fn stop(&self, name: &str) {
        self.cli(&["stop", name]);
    }

    /// Starts an ended container again.
    fn start_again(&self, name: &str) {
        self.cli(&["start", name]);
    }

    /// Freezes a container.
    fn pause(&self, name: &str) {
        self.cli(&["pause", name]);
    }

    /// Removes a container, running or not.
    fn remove(&self, name: &str) {
        self.cli(&["rm", "-f", name]);
    }
}
