//! Records become packets, and packets a file or text; every one is accounted for.
//!
//! Plain data in, bytes out: knows nothing of namespaces, netlink, or where records come from.

mod account;
mod clock;
pub(crate) mod encode;
pub mod input;
mod output;
mod packet;
mod pcap;
mod pcapng;
mod rotation;
mod sink;
mod text;

pub use self::{
    account::{Account, HookLabel, HookTotals, Imbalance, InterfaceTotals, LossCause},
    clock::{ClockNote, WallClock, monotonic_ns},
    output::{Format, Output, OutputError},
    packet::{Checksum, InterfaceInfo, LinkType, Packet, PacketBuilder, UnknownLinkType},
    rotation::Rotation,
    sink::{Fate, SinkError},
    text::{Tap, TextOptions, TextPrinter, TimeFormat, time_of_day},
};
