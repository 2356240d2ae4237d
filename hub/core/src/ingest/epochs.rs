//! Which epoch of a scope is current, and which of two messages of one object is the newer.
//!
//! Behind the envelope. An agent that was frozen, or a standby that believes it leads, goes on publishing: its messages are
//! told by their epoch. A higher epoch is current at once. A lower one is refused until two of its *heartbeats* come after the
//! current one has been silent for [`SILENCE_MAX`]; only heartbeats, since they prove an agent that lives and not a message
//! that was under way; and two, [`WITNESS_INTERVAL`] apart, since the broker's clock may have been set forward: then whoever is
//! current speaks between them.
//!
//! Deliberately not here: what is held. Nothing is dropped for being of an older epoch.

use std::{cmp::Ordering, time::Duration};

use vitals_proto::{identity::Epoch, limits::SILENCE_MAX};

use crate::time::Time;

/// Least time between the two heartbeats that end the silence of another epoch. Below the interval of heartbeats, so that
/// jitter does not cost a third one.
const WITNESS_INTERVAL: Duration = Duration::from_secs(4);

/// Which epoch of one scope is current.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epochs {
    current: Option<Current>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    epoch: Epoch,
    certainty: Certainty,
    last_sign: Time,
    /// Of its newest heartbeat.
    heartbeat_counter: u64,
    /// The epoch that first spoke after the silence of this one, and when.
    witness: Option<(Epoch, Time)>,
}

/// How an epoch came to be. Ordered: a provisional one never outranks one that was written to a Lease, whatever their clocks.
/// (A standby that cannot reach its API server cannot know that another agent leads: its provisional heartbeats must not
/// silence the leader.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Certainty {
    /// Not written to a Lease.
    Provisional,
    /// Written to a Lease.
    Leased,
}

/// What a message of an epoch means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is of the current epoch.
    Current,
    /// Its epoch is current from now on.
    Began,
    /// Its epoch is not current.
    Lower,
}

/// From when on silence counts. A hub that was cut from the stream heard nobody, and what it did not hear may have been
/// replaced in the stream meanwhile, so that nobody's silence is proven by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Listening {
    /// From the beginning of what was read.
    Always,
    /// From then on.
    Since(Time),
    /// Not at all now.
    Not,
}

impl Listening {
    /// Who was last heard at `heard_at` has been silent for [`SILENCE_MAX`] at `at`.
    pub(crate) fn proves_silence(self, heard_at: Time, at: Time) -> bool {
        let since = match self {
            Self::Always => heard_at,
            Self::Since(listening) => heard_at.max(listening),
            Self::Not => return false,
        };
        at.since(since) > SILENCE_MAX
    }
}

impl Epochs {
    /// The current epoch.
    pub(crate) fn current(&self) -> Option<Epoch> {
        self.current.map(|current| current.epoch)
    }

    /// An object's message of `epoch` came.
    pub(crate) fn hear_object(&mut self, epoch: Epoch, at: Time) -> Standing {
        // Objects come under an epoch only once it is in the Lease.
        self.hear(epoch, Certainty::Leased, at)
    }

    /// A heartbeat of `epoch` came.
    pub(crate) fn hear_heartbeat(
        &mut self,
        epoch: Epoch,
        certainty: Certainty,
        at: Time,
        listening: Listening,
    ) -> Standing {
        let standing = self.hear(epoch, certainty, at);
        let Some(current) = self.current.as_mut().filter(|_| standing == Standing::Lower) else {
            return standing;
        };
        if !listening.proves_silence(current.last_sign, at) {
            return standing;
        }
        match current.witness {
            Some((seen, since)) if seen == epoch => {
                if at.since(since) < WITNESS_INTERVAL {
                    return standing;
                }
                self.begin(epoch, certainty, at)
            }
            _ => {
                current.witness = Some((epoch, at));
                standing
            }
        }
    }

    /// Whether a heartbeat of the current epoch is newer than those before. A repeated one is not.
    pub(crate) fn take_heartbeat(&mut self, counter: u64) -> bool {
        let Some(current) = &mut self.current else { return false };
        let newer = counter > current.heartbeat_counter;
        current.heartbeat_counter = current.heartbeat_counter.max(counter);
        newer
    }

    /// The broker's clock was set back: nothing was heard later than now.
    pub(crate) fn not_after(&mut self, now: Time) {
        if let Some(current) = &mut self.current {
            current.last_sign = current.last_sign.min(now);
            current.witness = current.witness.map(|(epoch, since)| (epoch, since.min(now)));
        }
    }

    fn hear(&mut self, epoch: Epoch, certainty: Certainty, at: Time) -> Standing {
        let Some(current) = &mut self.current else { return self.begin(epoch, certainty, at) };
        match (certainty, epoch).cmp(&(current.certainty, current.epoch)) {
            Ordering::Greater => self.begin(epoch, certainty, at),
            Ordering::Equal => {
                current.last_sign = current.last_sign.max(at);
                current.witness = None;
                Standing::Current
            }
            Ordering::Less => Standing::Lower,
        }
    }

    fn begin(&mut self, epoch: Epoch, certainty: Certainty, at: Time) -> Standing {
        let (last_sign, heartbeat_counter) = (at, 0);
        self.current =
            Some(Current { epoch, certainty, last_sign, heartbeat_counter, witness: None });
        Standing::Began
    }
}

/// Where a message stands in the order of its object: the epoch, and its counter there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    pub(crate) epoch: Epoch,
    pub(crate) counter: u64,
}

/// How `new` compares with `held`, of the same object and scope. Counters compare within one epoch only; the current
/// epoch's messages come after all others', even those of a higher epoch that has fallen silent.
pub(crate) fn compare(new: Rank, held: Rank, current: Option<Epoch>) -> Ordering {
    let weight = |rank: Rank| (current == Some(rank.epoch), rank.epoch, rank.counter);
    weight(new).cmp(&weight(held))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Epoch = Epoch { started_at_unix_ms: 1, random: 0 };
    const HIGH: Epoch = Epoch { started_at_unix_ms: 2, random: 0 };

    fn at(unix_s: i64) -> Time {
        Time::from_unix_s(unix_s)
    }

    fn high_at_10() -> Epochs {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.hear_object(HIGH, at(10)), Standing::Began);
        epochs
    }

    #[test]
    fn a_lower_epoch_waits_for_the_silence_of_the_higher() {
        use Certainty::Leased;
        for (case, heartbeat_at, listening, want) in [
            ("not silent yet", 30, Listening::Always, Standing::Lower),
            ("silent", 31, Listening::Always, Standing::Began),
            ("silent since we listen", 46, Listening::Since(at(25)), Standing::Began),
            ("perhaps we did not hear it", 45, Listening::Since(at(25)), Standing::Lower),
            ("we do not listen", 1_000, Listening::Not, Standing::Lower),
        ] {
            let mut epochs = high_at_10();
            assert_eq!(epochs.hear_object(LOW, at(heartbeat_at)), Standing::Lower, "{case}");
            let mut hear = |unix_s| epochs.hear_heartbeat(LOW, Leased, at(unix_s), listening);
            assert_eq!(hear(heartbeat_at), Standing::Lower, "{case}: one heartbeat is none");
            assert_eq!(hear(heartbeat_at + 3), Standing::Lower, "{case}: it came late");
            let next = if want == Standing::Began { heartbeat_at + 5 } else { heartbeat_at };
            assert_eq!(hear(next), want, "{case}");
        }
    }

    #[test]
    fn a_clock_set_forward_does_not_silence_who_lives() {
        use Certainty::Leased;
        let mut epochs = high_at_10();
        let mut hear =
            |epoch, unix_s| epochs.hear_heartbeat(epoch, Leased, at(unix_s), Listening::Always);
        assert_eq!(hear(LOW, 32), Standing::Lower, "21 s later, after a second");
        assert_eq!(hear(HIGH, 36), Standing::Current);
        assert_eq!(hear(LOW, 37), Standing::Lower);
        assert_eq!(hear(LOW, 58), Standing::Lower, "now it is silent");
        assert_eq!(hear(LOW, 63), Standing::Began);
    }

    #[test]
    fn any_message_is_a_sign_of_life() {
        let mut epochs = high_at_10();
        assert_eq!(epochs.hear_object(HIGH, at(25)), Standing::Current);
        let standing = epochs.hear_heartbeat(LOW, Certainty::Leased, at(40), Listening::Always);
        assert_eq!(standing, Standing::Lower);
        assert_eq!(epochs.current(), Some(HIGH));
    }

    #[test]
    fn a_higher_epoch_is_current_at_once_unless_it_is_provisional() {
        use Certainty::{Leased, Provisional};
        let mut epochs = Epochs::default();
        epochs.hear_object(LOW, at(10));
        let hear = |epochs: &mut Epochs, epoch, certainty, unix_s| {
            epochs.hear_heartbeat(epoch, certainty, at(unix_s), Listening::Always)
        };
        assert_eq!(hear(&mut epochs, HIGH, Provisional, 20), Standing::Lower);
        assert_eq!(hear(&mut epochs, HIGH, Provisional, 31), Standing::Lower);
        assert_eq!(hear(&mut epochs, HIGH, Provisional, 36), Standing::Began);
        assert_eq!(
            hear(&mut epochs, LOW, Leased, 37),
            Standing::Began,
            "whoever holds the Lease wins"
        );
        assert_eq!(hear(&mut epochs, HIGH, Leased, 38), Standing::Began);
    }

    #[test]
    fn heartbeats_are_taken_once() {
        let mut epochs = high_at_10();
        let taken = [3, 3, 2, 4].map(|counter| epochs.take_heartbeat(counter));
        assert_eq!(taken, [true, false, false, true]);
        for unix_s in [100, 105] {
            epochs.hear_heartbeat(LOW, Certainty::Leased, at(unix_s), Listening::Always);
        }
        assert!(epochs.take_heartbeat(1), "another epoch counts anew");
    }

    #[test]
    fn a_clock_set_back_does_not_prolong_a_life() {
        let mut epochs = high_at_10();
        epochs.not_after(at(5));
        let mut hear =
            |unix_s| epochs.hear_heartbeat(LOW, Certainty::Leased, at(unix_s), Listening::Always);
        assert_eq!([hear(26), hear(31)], [Standing::Lower, Standing::Began]);
    }

    #[test]
    fn order_of_messages() {
        let rank = |epoch, counter| Rank { epoch, counter };
        for (case, new, held, current, want) in [
            ("counted on", rank(LOW, 5), rank(LOW, 4), Some(LOW), Ordering::Greater),
            ("repeated", rank(LOW, 4), rank(LOW, 4), Some(LOW), Ordering::Equal),
            ("late", rank(LOW, 3), rank(LOW, 4), Some(LOW), Ordering::Less),
            (
                "a higher epoch counts anew",
                rank(HIGH, 1),
                rank(LOW, 9),
                Some(HIGH),
                Ordering::Greater,
            ),
            ("the current one wins", rank(LOW, 1), rank(HIGH, 9), Some(LOW), Ordering::Greater),
            ("and is not replaced", rank(HIGH, 10), rank(LOW, 1), Some(LOW), Ordering::Less),
        ] {
            assert_eq!(compare(new, held, current), want, "{case}");
        }
    }
}
