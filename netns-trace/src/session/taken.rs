//! Where a capture's records end up: each one in the output, or in the account with its cause.

use netns_trace_ebpf::{RecordHeader, record};

use super::{CaptureConfig, hold::Verdict, plan::Plan};
use crate::{
    capture::{Account, HookLabel, LinkType, LossCause, Output, PacketBuilder, WallClock},
    probe::Hook,
};

/// Says what is captured, once it is, and keeps what is needed of each written tap: no namespace,
/// which an open descriptor would keep alive.
pub(super) fn announce(config: &CaptureConfig, plan: &Plan, account: &mut Account) -> Vec<TapInfo> {
    let mut infos = Vec::new();
    let mut link_types = Vec::new();
    let written = plan.taps.iter().filter(|tap| tap.is_written());
    for (interface, tap) in written.enumerate() {
        let interface = interface as u32;
        let hooks = tap.written.iter().map(|hook| {
            let label = HookLabel {
                tap: tap.number,
                interface,
                label: tap.site.to_string(),
                ifname: tap.site.link.printable_name(),
                netns_inode: tap.site.ns.inode(),
                leaving: tap.is_leaving(*hook),
            };
            (*hook, account.add(label))
        });
        infos.push(TapInfo {
            number: tap.number,
            label: tap.site.to_string(),
            interface,
            link_type: tap.link_type,
            hooks: hooks.collect(),
        });
        link_types.push(tap.link_type.to_string());
    }
    link_types.dedup();
    let labels: Vec<&str> = infos.iter().map(|tap| tap.label.as_str()).collect();
    eprintln!(
        "listening on {}, link-type {}, snapshot length {} bytes",
        labels.join(", "),
        link_types.join(", "),
        config.snaplen
    );
    infos
}

/// What a capture that runs keeps of a written tap.
pub(super) struct TapInfo {
    pub(super) number: u32,
    pub(super) label: String,
    /// Its interface in the file.
    interface: u32,
    link_type: LinkType,
    /// Its written hooks, with their numbers in the account.
    pub(super) hooks: Vec<(Hook, u32)>,
}

impl TapInfo {
    fn account_of(&self, flags: u16) -> Option<u32> {
        let hook = if flags & record::EGRESS != 0 {
            Hook::Egress
        } else {
            Hook::Ingress
        };
        self.hooks
            .iter()
            .find(|(other, _)| *other == hook)
            .map(|(_, number)| *number)
    }
}

/// Where records end up.
pub(super) struct Taken {
    pub(super) infos: Vec<TapInfo>,
    pub(super) account: Account,
    pub(super) output: Output,
    builder: PacketBuilder,
    /// Packets that the output has taken.
    accepted: u64,
    limit: Option<u64>,
}

impl Taken {
    /// Nothing yet, and so many packets at most.
    pub(super) fn new(
        infos: Vec<TapInfo>,
        account: Account,
        output: Output,
        limit: Option<u64>,
    ) -> Self {
        Self {
            infos,
            account,
            output,
            builder: PacketBuilder::default(),
            accepted: 0,
            limit,
        }
    }

    /// Whether all packets that were asked for are there.
    pub(super) fn is_complete(&self) -> bool {
        self.limit.is_some_and(|limit| self.accepted >= limit)
    }

    /// Takes a record whose fate is decided.
    pub(super) fn take(
        &mut self,
        header: &RecordHeader,
        data: &[u8],
        verdict: Verdict,
        clock: &WallClock,
        snaplen: u32,
    ) {
        let number = u32::from(header.tap);
        let Some(tap) = self.infos.iter().find(|tap| tap.number == number) else {
            return;
        };
        let Some(hook) = tap.account_of(header.flags) else {
            return;
        };
        match verdict {
            Verdict::Foreign => self.account.foreign(hook),
            Verdict::Undecided => self.account.lost(hook, LossCause::Undecided),
            Verdict::Wanted if self.is_complete() => self.account.discarded(hook),
            Verdict::Wanted => {
                let time = clock.time_ns(header.time_ns);
                let packet =
                    self.builder
                        .build(header, data, tap.interface, tap.link_type, snaplen, time);
                self.output.packet(&packet, hook);
                self.accepted += 1;
            }
        }
    }
}
