//! Holds records of shared taps back until it is known whether the target saw their packet.
//!
//! The bridge device and the uplink are passed by all of the host's traffic. What comes in there
//! reaches a tap of the target microseconds later, or never. Until then it waits here, and all
//! that came after it too, so that the order stays. Bounded in time and in memory.

use std::collections::{HashSet, VecDeque};

use netns_trace_ebpf::{RecordHeader, record};

/// How long a packet may take from a shared tap to the target before it counts as another's, in
/// nanoseconds of capture time.
const PATIENCE_NS: u64 = 100_000_000;
/// Most bytes held back. One packet of others holds up all that comes after it: this is what the
/// target's own taps record in [`PATIENCE_NS`] at 5 Gbit/s in all.
const ROOM: usize = 64 << 20;

/// What became of a record that was held back, or passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Write it.
    Wanted,
    /// A packet of somebody else.
    Foreign,
    /// Whose it was is not known: the word on it was lost, or there was no room to wait.
    Undecided,
}

struct Held {
    header: RecordHeader,
    data: Vec<u8>,
    /// Its number in the order of arrival.
    number: u64,
}

/// Ids of packets that a tap of the target has seen while records waited, in two generations. An
/// id matters to records that were there before it; once the oldest record is younger than a
/// generation's last id, that generation is forgotten. With others' traffic without end, something
/// always waits, and without that they would pile up.
#[derive(Default)]
struct Seen {
    now: HashSet<u64>,
    before: HashSet<u64>,
    /// Records that had arrived when the older generation got its last id.
    closed_at: u64,
}

impl Seen {
    fn insert(&mut self, id: u64) {
        self.now.insert(id);
    }

    fn contains(&self, id: u64) -> bool {
        self.now.contains(&id) || self.before.contains(&id)
    }

    /// Forgets what concerns none of the records that wait: `oldest` is the first one's number,
    /// `arrived` that of the next to come.
    fn forget(&mut self, oldest: Option<u64>, arrived: u64) {
        match oldest {
            None => {
                self.now.clear();
                self.before.clear();
                self.closed_at = arrived;
            }
            Some(oldest) if oldest >= self.closed_at => {
                self.before = std::mem::take(&mut self.now);
                self.closed_at = arrived;
            }
            Some(_) => {}
        }
    }
}

/// The records that wait, oldest first.
#[derive(Default)]
pub(crate) struct Hold {
    queue: VecDeque<Held>,
    bytes: usize,
    /// Records that were held so far.
    arrived: u64,
    seen: Seen,
    /// Capture time of the last loss at a tap of the target.
    last_loss_ns: Option<u64>,
}

impl Hold {
    /// Takes a record in; `out` is called for each one, this or an older, that is decided now.
    pub(crate) fn push(
        &mut self,
        header: RecordHeader,
        data: &[u8],
        mut out: impl FnMut(&RecordHeader, &[u8], Verdict),
    ) {
        let undecided = header.flags & record::UNDECIDED != 0;
        if !undecided && header.drops > 0 {
            self.last_loss_ns = Some(header.time_ns);
        }
        if !undecided && !self.queue.is_empty() {
            self.seen.insert(header.packet_id);
        }
        if header.flags & record::SIGHTING == 0 {
            if !undecided && self.queue.is_empty() {
                out(&header, data, Verdict::Wanted);
                return;
            }
            self.bytes += data.len() + size_of::<Held>();
            self.queue.push_back(Held {
                header,
                data: data.to_vec(),
                number: self.arrived,
            });
            self.arrived += 1;
        }
        self.release(header.time_ns, &mut out);
    }

    /// Decides what has waited long enough by `now_ns`, in capture time.
    pub(crate) fn release(
        &mut self,
        now_ns: u64,
        out: &mut impl FnMut(&RecordHeader, &[u8], Verdict),
    ) {
        while let Some(front) = self.queue.front() {
            let undecided = front.header.flags & record::UNDECIDED != 0;
            let verdict = if !undecided || self.seen.contains(front.header.packet_id) {
                Verdict::Wanted
            } else if now_ns.saturating_sub(front.header.time_ns) > PATIENCE_NS {
                match self.last_loss_ns {
                    Some(loss) if loss >= front.header.time_ns => Verdict::Undecided,
                    _ => Verdict::Foreign,
                }
            } else if self.bytes > ROOM {
                Verdict::Undecided
            } else {
                break;
            };
            out(&front.header, &front.data, verdict);
            self.bytes -= front.data.len() + size_of::<Held>();
            self.queue.pop_front();
        }
        let oldest = self.queue.front().map(|held| held.number);
        self.seen.forget(oldest, self.arrived);
    }

    /// A tap of the target has lost something by now that no record will tell of any more.
    pub(super) fn note_loss(&mut self, now_ns: u64) {
        self.last_loss_ns = Some(now_ns);
    }

    /// Whether nothing waits.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(id: u64, time_ns: u64, flags: u16) -> RecordHeader {
        RecordHeader {
            packet_id: id,
            time_ns,
            flags,
            ..RecordHeader::default()
        }
    }

    fn push(hold: &mut Hold, header: RecordHeader) -> Vec<(u64, Verdict)> {
        let mut out = Vec::new();
        hold.push(header, &[0; 60], |header, _, verdict| {
            out.push((header.packet_id, verdict));
        });
        out
    }

    #[test]
    fn what_is_decided_passes_at_once() {
        let mut hold = Hold::default();
        assert_eq!(push(&mut hold, header(1, 10, 0)), [(1, Verdict::Wanted)]);
        assert!(hold.is_empty());
    }

    #[test]
    fn a_sighting_frees_its_packet_and_what_waits_behind_it() {
        let mut hold = Hold::default();
        assert_eq!(push(&mut hold, header(1, 10, record::UNDECIDED)), []);
        assert_eq!(push(&mut hold, header(2, 11, 0)), [], "order stays");
        assert_eq!(
            push(&mut hold, header(1, 12, record::SIGHTING)),
            [(1, Verdict::Wanted), (2, Verdict::Wanted)]
        );
        assert!(hold.is_empty());
    }

    #[test]
    fn the_targets_own_record_frees_its_packet_too() {
        let mut hold = Hold::default();
        assert_eq!(push(&mut hold, header(1, 10, record::UNDECIDED)), []);
        assert_eq!(
            push(&mut hold, header(1, 12, 0)),
            [(1, Verdict::Wanted), (1, Verdict::Wanted)]
        );
    }

    #[test]
    fn what_the_target_never_sees_is_foreign() {
        let mut hold = Hold::default();
        push(&mut hold, header(1, 10, record::UNDECIDED));
        assert_eq!(
            push(&mut hold, header(2, 11 + PATIENCE_NS, 0)),
            [(1, Verdict::Foreign), (2, Verdict::Wanted)]
        );
    }

    #[test]
    fn a_loss_at_the_target_leaves_it_undecided() {
        let mut hold = Hold::default();
        push(&mut hold, header(1, 10, record::UNDECIDED));
        let mut lossy = header(2, 12, 0);
        lossy.drops = 1;
        push(&mut hold, lossy);
        assert_eq!(
            push(&mut hold, header(3, 11 + PATIENCE_NS, 0)),
            [
                (1, Verdict::Undecided),
                (2, Verdict::Wanted),
                (3, Verdict::Wanted)
            ]
        );
    }

    /// Something of others always waits; the target's own traffic must not pile up beside it.
    #[test]
    fn what_was_seen_is_forgotten_in_time() {
        let mut hold = Hold::default();
        let step = PATIENCE_NS / 10;
        let mut most = 0;
        for round in 0..1000 {
            let time = round * step;
            push(&mut hold, header(2 * round, time, record::UNDECIDED));
            push(
                &mut hold,
                header(2 * round + 1, time + 1, record::UNDECIDED),
            );
            push(
                &mut hold,
                header(1 << 32 | round, time + 2, record::SIGHTING),
            );
            // Told late, after others have come: still in time.
            if round >= 5 {
                push(
                    &mut hold,
                    header(2 * (round - 5), time + 3, record::SIGHTING),
                );
            }
            assert!(!hold.is_empty());
            most = most.max(hold.seen.now.len() + hold.seen.before.len());
        }
        assert!(most < 100, "{most} ids kept");
        let mut wanted = 0;
        hold.release(u64::MAX, &mut |header, _, verdict| {
            assert_eq!(
                verdict == Verdict::Wanted,
                header.packet_id % 2 == 0 && header.packet_id < 2 * 995
            );
            wanted += u32::from(verdict == Verdict::Wanted);
        });
        assert!(wanted > 0);
    }

    /// A fast transfer of the target's own must not make a loss of a packet of others that came in
    /// meanwhile.
    #[test]
    fn there_is_room_for_a_fast_transfer_behind_a_packet_of_others() {
        let mut hold = Hold::default();
        push(&mut hold, header(1, 10, record::UNDECIDED));
        let data = vec![0; 65_536];
        for id in 2..=800 {
            hold.push(header(id, 11, 0), &data, |header, _, verdict| {
                panic!("{} is decided: {verdict:?}", header.packet_id);
            });
        }
        let decided = push(&mut hold, header(801, 11 + PATIENCE_NS, 0));
        assert_eq!(decided[0], (1, Verdict::Foreign));
        assert_eq!(decided.len(), 801);
    }

    #[test]
    fn memory_is_bounded() {
        let mut hold = Hold::default();
        let mut decided = 0;
        let data = vec![0; 65_536];
        for id in 1..=2000 {
            hold.push(header(id, 10, record::UNDECIDED), &data, |_, _, verdict| {
                assert_eq!(verdict, Verdict::Undecided);
                decided += 1;
            });
            assert!(hold.bytes <= ROOM);
        }
        assert!(decided > 700, "{decided}");
    }
}
