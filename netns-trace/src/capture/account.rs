//! What became of every packet, per tap and hook:
//! `received = captured + dropped + lost + discarded`, exactly.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::Serialize;

/// With more hooks than this, text only counts those that saw nothing.
const MANY: usize = 24;

/// What the kernel side counted at one hook of a tap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookTotals {
    /// Packets that it saw.
    pub seen: u64,
    /// Of these, wanted ones.
    pub received: u64,
    /// Wanted packets that it handed over.
    pub recorded: u64,
    /// Wanted packets for which the ring had no room.
    pub ring_full: u64,
    /// Wanted packets whose bytes it could not copy.
    pub copy_failed: u64,
    /// Wanted packets after the end of the capture.
    pub discarded: u64,
    /// Of those that it saw, others' at a shared tap.
    pub foreign: u64,
    /// Of those that it handed over, packets whose body was left out.
    pub shed: u64,
    /// Wanted ones that it left out, as one of many was asked for.
    pub unsampled: u64,
}

/// Why a packet that the kernel side handed over is not in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// The device, or the user's share of it, is full.
    NoSpace,
    /// The reader has closed the pipe.
    OutputClosed,
    /// The reader stopped reading, and the capture was to end.
    OutputStalled,
    /// Writing failed otherwise.
    WriteFailed,
    /// At a tap that others share: whose packet it was could not be told.
    Undecided,
    /// The record was damaged.
    BadRecord,
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "no space",
            Self::OutputClosed => "output closed",
            Self::OutputStalled => "output stalled",
            Self::WriteFailed => "write failed",
            Self::Undecided => "undecided",
            Self::BadRecord => "bad record",
        })
    }
}

/// Whose counts they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookLabel {
    /// The tap's number.
    pub tap: u32,
    /// Its interface in the file.
    pub interface: u32,
    /// `eth0@web`.
    pub label: String,
    /// Its interface's name.
    pub ifname: String,
    /// Its namespace.
    pub netns_inode: u64,
    /// The packets leave the target; otherwise they enter it.
    pub leaving: bool,
}

impl HookLabel {
    fn direction(&self) -> &'static str {
        if self.leaving { "out" } else { "in" }
    }
}

#[derive(Clone, Debug)]
struct Hook {
    label: HookLabel,
    kernel: HookTotals,
    captured: u64,
    lost: BTreeMap<LossCause, u64>,
    discarded: u64,
    foreign: u64,
    rejected: u64,
}

impl Hook {
    fn received(&self) -> u64 {
        self.kernel.received.saturating_sub(self.left_out())
    }

    /// Packets that the kernel side handed over as wanted, and that are not.
    fn left_out(&self) -> u64 {
        self.foreign + self.rejected
    }

    /// Packets that a filter left out: in the kernel, or here by their process.
    fn filtered(&self) -> u64 {
        let wanted = self.kernel.received + self.kernel.unsampled + self.kernel.foreign;
        self.kernel.seen.saturating_sub(wanted) + self.rejected
    }

    fn dropped(&self) -> u64 {
        self.kernel.ring_full + self.kernel.copy_failed
    }

    fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    fn discarded(&self) -> u64 {
        self.kernel.discarded + self.discarded
    }
}

/// The sums of a hook do not agree: a fault of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counts of {label} do not agree: {received} received, {accounted} accounted for")]
pub struct Imbalance {
    /// Which hook.
    pub label: String,
    /// Packets received.
    pub received: u64,
    /// Packets whose fate is known.
    pub accounted: u64,
}

/// The counts of one capture. A hook is known by the number that [`Account::add`] gives.
#[derive(Clone, Debug, Default)]
pub struct Account {
    hooks: Vec<Hook>,
}

/// The sums of one interface, for its statistics block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceTotals {
    /// Packets seen before the filter.
    pub seen: u64,
    /// Packets received.
    pub received: u64,
    /// Packets that the kernel dropped.
    pub dropped: u64,
    /// Packets in the output.
    pub captured: u64,
}

impl Account {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a hook whose packets are written.
    pub fn add(&mut self, label: HookLabel) -> u32 {
        self.hooks.push(Hook {
            label,
            kernel: HookTotals::default(),
            captured: 0,
            lost: BTreeMap::new(),
            discarded: 0,
            foreign: 0,
            rejected: 0,
        });
        (self.hooks.len() - 1) as u32
    }

    fn hook(&mut self, hook: u32) -> Option<&mut Hook> {
        self.hooks.get_mut(hook as usize)
    }

    /// A packet is in the output.
    pub fn captured(&mut self, hook: u32) {
        if let Some(hook) = self.hook(hook) {
            hook.captured += 1;
        }
    }

    /// A packet is not in the output.
    pub fn lost(&mut self, hook: u32, cause: LossCause) {
        if let Some(hook) = self.hook(hook) {
            *hook.lost.entry(cause).or_default() += 1;
        }
    }

    /// A packet came after the end.
    pub fn discarded(&mut self, hook: u32) {
        if let Some(hook) = self.hook(hook) {
            hook.discarded += 1;
        }
    }

    /// A packet turned out to be somebody else's.
    pub fn foreign(&mut self, hook: u32) {
        if let Some(hook) = self.hook(hook) {
            hook.foreign += 1;
        }
    }

    /// A packet is none of the processes' that were asked for.
    pub fn rejected(&mut self, hook: u32) {
        if let Some(hook) = self.hook(hook) {
            hook.rejected += 1;
        }
    }

    /// What the kernel side counted at a hook.
    pub fn set_kernel(&mut self, hook: u32, totals: HookTotals) {
        if let Some(hook) = self.hook(hook) {
            hook.kernel = totals;
        }
    }

    /// Checks every hook's sums, once all is read and written.
    ///
    /// # Errors
    ///
    /// The first hook whose sums do not agree.
    pub fn check(&self) -> Result<(), Imbalance> {
        for hook in &self.hooks {
            let accounted = hook.captured + hook.dropped() + hook.lost() + hook.discarded();
            let handed_over = hook.captured + hook.lost() + hook.discarded + hook.left_out();
            if accounted != hook.received() || handed_over != hook.kernel.recorded {
                return Err(Imbalance {
                    label: format!("{} {}", hook.label.label, hook.label.direction()),
                    received: hook.received(),
                    accounted,
                });
            }
        }
        Ok(())
    }

    fn sum(&self, of: impl Fn(&Hook) -> u64) -> u64 {
        self.hooks.iter().map(of).sum()
    }

    /// Packets in the output.
    #[must_use]
    pub fn total_captured(&self) -> u64 {
        self.sum(|hook| hook.captured)
    }

    /// Packets received.
    #[must_use]
    pub fn total_received(&self) -> u64 {
        self.sum(Hook::received)
    }

    /// Packets that the kernel dropped.
    #[must_use]
    pub fn total_dropped(&self) -> u64 {
        self.sum(Hook::dropped)
    }

    /// The sums of an interface of the file.
    #[must_use]
    pub fn interface(&self, interface: u32) -> InterfaceTotals {
        let mut totals = InterfaceTotals::default();
        for hook in self
            .hooks
            .iter()
            .filter(|hook| hook.label.interface == interface)
        {
            totals.seen += hook.kernel.seen;
            totals.received += hook.received();
            totals.dropped += hook.dropped();
            totals.captured += hook.captured;
        }
        totals
    }

    /// The summary as text: tcpdump's three lines, then one for each tap and direction.
    #[must_use]
    pub fn text(&self) -> String {
        let packets = |count: u64| format!("{count} packet{}", if count == 1 { "" } else { "s" });
        let mut text = format!(
            "{} captured\n{} received by filter\n{} dropped by kernel\n",
            packets(self.total_captured()),
            packets(self.total_received()),
            packets(self.total_dropped())
        );
        let few = self.hooks.len() <= MANY;
        let mut silent = 0;
        for hook in &self.hooks {
            if !few && hook.kernel.seen == 0 {
                silent += 1;
                continue;
            }
            let label = &hook.label;
            text.push_str(&format!(
                "  {} {}: {} received, {} captured",
                label.label,
                label.direction(),
                hook.received(),
                hook.captured
            ));
            let kernel = [
                ("dropped: ring full", hook.kernel.ring_full),
                ("dropped: copy failed", hook.kernel.copy_failed),
            ];
            for (what, count) in kernel.into_iter().filter(|(_, count)| *count > 0) {
                text.push_str(&format!(", {count} {what}"));
            }
            for (cause, count) in &hook.lost {
                text.push_str(&format!(", {count} lost: {cause}"));
            }
            if hook.discarded() > 0 {
                text.push_str(&format!(", {} discarded", hook.discarded()));
            }
            let foreign = hook.foreign + hook.kernel.foreign;
            for (what, count) in [
                ("cut short (shed)", hook.kernel.shed),
                ("of others", foreign),
                ("filtered out", hook.filtered()),
                ("not sampled", hook.kernel.unsampled),
            ] {
                if count > 0 {
                    text.push_str(&format!(", {count} {what}"));
                }
            }
            text.push('\n');
        }
        if silent > 0 {
            text.push_str(&format!("  {silent} more saw nothing\n"));
        }
        text
    }

    /// The summary as JSON.
    #[must_use]
    pub fn json(&self, file: Option<(&Path, u64)>) -> serde_json::Value {
        let taps = self.hooks.iter().map(|hook| TapJson {
            tap: hook.label.tap,
            netns_inode: hook.label.netns_inode,
            ifname: &hook.label.ifname,
            direction: hook.label.direction(),
            received: hook.received(),
            captured: hook.captured,
            dropped: BTreeMap::from([
                ("ring_full", hook.kernel.ring_full),
                ("copy_failed", hook.kernel.copy_failed),
            ]),
            lost: &hook.lost,
            discarded: hook.discarded(),
            filtered: hook.filtered(),
            shed: hook.kernel.shed,
            unsampled: hook.kernel.unsampled,
        });
        let summary = SummaryJson {
            captured: self.total_captured(),
            received: self.total_received(),
            dropped: self.total_dropped(),
            taps: taps.collect(),
            file: file.map(|(path, _)| path.to_string_lossy().into_owned()),
            files: file.map(|(_, count)| count),
        };
        serde_json::to_value(&summary)
            .unwrap_or_else(|why| serde_json::json!({ "error": why.to_string() }))
    }
}

#[derive(Serialize)]
struct SummaryJson<'a> {
    captured: u64,
    received: u64,
    dropped: u64,
    taps: Vec<TapJson<'a>>,
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
}

#[derive(Serialize)]
struct TapJson<'a> {
    tap: u32,
    netns_inode: u64,
    ifname: &'a str,
    direction: &'static str,
    received: u64,
    captured: u64,
    dropped: BTreeMap<&'static str, u64>,
    lost: &'a BTreeMap<LossCause, u64>,
    discarded: u64,
    filtered: u64,
    shed: u64,
    unsampled: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(tap: u32, leaving: bool) -> HookLabel {
        HookLabel {
            tap,
            interface: tap,
            label: "eth0@web".to_owned(),
            ifname: "eth0".to_owned(),
            netns_inode: 7,
            leaving,
        }
    }

    fn sample() -> Account {
        let mut account = Account::new();
        let out = account.add(label(0, true));
        let into = account.add(label(0, false));
        account.captured(out);
        account.lost(out, LossCause::NoSpace);
        account.discarded(out);
        account.foreign(out);
        account.set_kernel(
            out,
            HookTotals {
                seen: 15,
                received: 10,
                recorded: 4,
                ring_full: 3,
                copy_failed: 1,
                discarded: 2,
                foreign: 1,
                shed: 2,
                unsampled: 3,
            },
        );
        account.captured(into);
        account.set_kernel(
            into,
            HookTotals {
                seen: 1,
                received: 1,
                recorded: 1,
                ..HookTotals::default()
            },
        );
        account
    }

    #[test]
    fn the_sums_agree_or_are_refused() {
        let mut account = sample();
        assert_eq!(account.check(), Ok(()));
        account.captured(0);
        let imbalance = account.check().expect_err("one too many");
        assert_eq!((imbalance.received, imbalance.accounted), (9, 10));
    }

    #[test]
    fn text_starts_as_tcpdump_ends() {
        let text = sample().text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "2 packets captured",
                "10 packets received by filter",
                "4 packets dropped by kernel",
            ]
        );
        assert_eq!(
            lines[3],
            "  eth0@web out: 9 received, 1 captured, 3 dropped: ring full, 1 dropped: copy failed, \
             1 lost: no space, 3 discarded, 2 cut short (shed), 2 of others, 1 filtered out, \
             3 not sampled"
        );
        let mut one = Account::new();
        one.add(label(0, true));
        one.captured(0);
        assert!(
            one.text()
                .starts_with("1 packet captured\n0 packets received")
        );
    }

    #[test]
    fn many_that_saw_nothing_are_counted() {
        let mut account = sample();
        let few = account.text().lines().count();
        for tap in 1..=MANY as u32 {
            account.add(label(tap, true));
        }
        let text = account.text();
        assert_eq!(text.lines().count(), few + 1, "{text}");
        assert!(text.ends_with("\n  24 more saw nothing\n"), "{text}");
    }

    #[test]
    fn json_has_what_the_contract_names() {
        let json = sample().json(Some((Path::new("/tmp/x"), 1)));
        assert_eq!(json["captured"], 2);
        assert_eq!(json["dropped"], 4);
        assert_eq!(json["file"], "/tmp/x");
        let tap = &json["taps"][0];
        assert_eq!(tap["direction"], "out");
        assert_eq!(tap["dropped"]["ring_full"], 3);
        assert_eq!(tap["lost"]["no_space"], 1);
        assert_eq!(tap["discarded"], 3);
        assert_eq!(tap["filtered"], 1);
        assert_eq!((&tap["shed"], &tap["unsampled"]), (&2.into(), &3.into()));
    }
}
