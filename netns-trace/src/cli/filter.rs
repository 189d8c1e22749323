//! What `capture` and `latency` are about: targets, and behind them the words of a filter.

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    str::FromStr,
};

use clap::Args;

use crate::{
    filter::{Filter, Program},
    target::{TargetSpec, UsageError},
};

/// What is captured, with commas between: the words behind it are the filter's.
#[derive(Clone, Debug)]
pub(super) struct Targets(pub(super) Vec<TargetSpec>);

impl FromStr for Targets {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let specs = text.split(',').map(TargetSpec::from_str);
        specs.collect::<Result<_, _>>().map(Self)
    }
}

/// Which packets.
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Only packets that this lets pass, in tcpdump's language: pcap-filter(7)
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// The filter as `tcpdump -ddd` prints it, for hosts without libpcap
    #[arg(long, value_name = "FILE", conflicts_with = "filter", value_parser = bytecode)]
    filter_bytecode: Option<Program>,
}

impl FilterArgs {
    /// The filter, if there is one.
    pub(super) fn filter(self) -> Option<Filter> {
        match self.filter_bytecode {
            Some(program) => Some(Filter::Bytecode(program)),
            None if self.filter.is_empty() => None,
            None => Some(Filter::Expression(self.filter.join(" "))),
        }
    }
}

/// Longest file of bytecode.
const LONGEST_BYTECODE: u64 = 1 << 20;

/// Also from a pipe, as `<(tcpdump -ddd …)` is one.
fn bytecode(path: &str) -> Result<Program, String> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        let file = File::open(path)?.take(LONGEST_BYTECODE + 1);
        BufReader::new(file).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|why| why.to_string())?;
    if text.len() as u64 > LONGEST_BYTECODE {
        return Err(format!("it is longer than {LONGEST_BYTECODE} bytes"));
    }
    Program::parse(&text).map_err(|why| why.to_string())
}
