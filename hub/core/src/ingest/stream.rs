//! What has been read of one stream, and what has not.
//!
//! First on the path. Sequences that were skipped are a *hole*: what stood there has been replaced, and its successor may not
//! be read yet. The hole closes when everything has been read that was last in the stream when it was found: at the next
//! message behind which nothing is pending. Until then nothing that was read is known to be whole.
//!
//! Deliberately not here: messages. How a stream is attached to, and why it is read anew, is the reader's to decide.

use super::{comparison::Reading, epochs::Listening};
use crate::time::Time;

/// One stream of the set.
#[derive(Clone, Debug)]
pub(crate) struct StreamState {
    incarnation_unix_ns: i64,
    sequence: u64,
    sight: Sight,
    hole: Hole,
    snapshot: Option<SnapshotRun>,
    own: Option<OwnSnapshot>,
    listening: Listening,
    as_of: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sight {
    /// Never read.
    Unread,
    /// Cut from it.
    Lost {
        since: Time,
        reason: String,
    },
    /// Read again, and what came meanwhile is not all read yet.
    CatchingUp {
        lost: Option<(Time, String)>,
    },
    Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    None,
    Open,
}

/// A snapshot that is being read.
#[derive(Clone, Copy, Debug)]
struct SnapshotRun {
    began_at: Time,
}

/// The last snapshot that was read whole. Nobody resumes from before it: what was removed until then is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnSnapshot {
    /// When the reader attached. A position beyond [`Self::sequence`] that was said before that is of another history.
    pub(crate) began_at: Time,
    pub(crate) ended_at: Time,
    pub(crate) sequence: u64,
}

/// Whether a message is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    New,
    /// It was delivered before.
    Again,
}

impl Default for StreamState {
    fn default() -> Self {
        Self {
            incarnation_unix_ns: 0,
            sequence: 0,
            sight: Sight::Unread,
            hole: Hole::Open,
            snapshot: None,
            own: None,
            listening: Listening::Always,
            as_of: Time::MIN,
        }
    }
}

impl StreamState {
    /// It is read from its beginning. Positions restart: in another incarnation, or after its store went back, its sequences
    /// are not those that were read before.
    pub(crate) fn begin_snapshot(&mut self, incarnation_unix_ns: i64, now: Time) {
        self.incarnation_unix_ns = incarnation_unix_ns;
        self.sequence = 0;
        self.snapshot = Some(SnapshotRun { began_at: now });
        self.see_again();
    }

    /// Reading goes on.
    pub(crate) fn resume(&mut self, incarnation_unix_ns: i64, sequence: u64) {
        self.incarnation_unix_ns = incarnation_unix_ns;
        self.sequence = self.sequence.max(sequence);
        self.see_again();
    }

    /// The snapshot is whole. Everything up to `sequence` was read, also where the last of it is gone from the stream.
    pub(crate) fn end_snapshot(&mut self, sequence: u64, now: Time) {
        self.sequence = self.sequence.max(sequence);
        let began_at = self.snapshot.take().map_or(now, |snapshot| snapshot.began_at);
        self.as_of = self.as_of.max(began_at);
        self.own = Some(OwnSnapshot { began_at, ended_at: now, sequence: self.sequence });
        self.catch_up(now);
    }

    /// A message came.
    pub(crate) fn read(&mut self, sequence: u64, pending: u64, published_at: Time) -> Arrival {
        if sequence <= self.sequence {
            return Arrival::Again;
        }
        if sequence > self.sequence + 1 {
            self.hole = Hole::Open;
        }
        self.sequence = sequence;
        self.as_of = self.as_of.max(published_at);
        if pending == 0 {
            self.catch_up(published_at);
        }
        Arrival::New
    }

    /// All that is in the stream was read.
    pub(crate) fn idle(&mut self, as_of: Time) {
        self.as_of = self.as_of.max(as_of);
        self.catch_up(as_of);
    }

    /// The stream cannot be seen.
    pub(crate) fn lose(&mut self, reason: String, now: Time) {
        self.listening = Listening::Not;
        // Who loses it while catching up has not seen it since.
        self.sight = match std::mem::replace(&mut self.sight, Sight::Unread) {
            Sight::Unread | Sight::Seen | Sight::CatchingUp { lost: None } => {
                Sight::Lost { since: now, reason }
            }
            Sight::Lost { since, .. } | Sight::CatchingUp { lost: Some((since, _)) } => {
                Sight::Lost { since, reason }
            }
        };
    }

    /// This hub slept, and what came meanwhile is not read yet: as if it had been cut off.
    pub(crate) fn oversleep(&mut self, now: Time) {
        if self.sight == Sight::Seen {
            self.lose("it was frozen and has not read what came meanwhile".to_owned(), now);
            self.see_again();
        }
    }

    /// Since when and why it is not seen; `None` while it is.
    pub(crate) fn blind(&self) -> Option<(Time, &str)> {
        match &self.sight {
            Sight::Lost { since, reason } | Sight::CatchingUp { lost: Some((since, reason)) } => {
                Some((*since, reason))
            }
            Sight::Unread | Sight::CatchingUp { lost: None } | Sight::Seen => None,
        }
    }

    /// How much a heartbeat that is read now can be compared with what is held.
    pub(crate) fn reading(&self) -> Reading {
        match (self.snapshot, self.hole) {
            (Some(_), _) => Reading::Snapshot,
            (None, Hole::Open) => Reading::Holed,
            (None, Hole::None) => Reading::Whole,
        }
    }

    /// What silence in it proves.
    pub(crate) fn listening(&self) -> Listening {
        self.listening
    }

    /// What silence proves of who should speak *now*. What a first snapshot brings was said long ago, perhaps because the
    /// broker was away as long as this hub: agents are given the time to speak again.
    pub(crate) fn listening_now(&self) -> Listening {
        match (self.listening, self.own) {
            (Listening::Always, Some(own)) => Listening::Since(own.ended_at),
            (Listening::Always, None) => Listening::Not,
            (listening @ (Listening::Since(_) | Listening::Not), _) => listening,
        }
    }

    /// The last snapshot that was read whole; `None` while the first is not.
    pub(crate) fn own_snapshot(&self) -> Option<OwnSnapshot> {
        self.own
    }

    /// Creation time of what is read.
    pub(crate) fn incarnation_unix_ns(&self) -> i64 {
        self.incarnation_unix_ns
    }

    /// Up to where it was read.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Broker's time up to which all was read.
    pub(crate) fn as_of(&self) -> Time {
        self.as_of
    }

    /// Nothing was read later than now: the broker's clock was set back, or was not known well before the first message.
    pub(crate) fn not_after(&mut self, now: Time) {
        self.as_of = self.as_of.min(now);
        if let Listening::Since(since) = &mut self.listening {
            *since = now.min(*since);
        }
        if let Some(own) = &mut self.own {
            own.began_at = own.began_at.min(now);
            own.ended_at = own.ended_at.min(now);
        }
    }

    fn see_again(&mut self) {
        self.hole = Hole::Open;
        self.sight = match std::mem::replace(&mut self.sight, Sight::Unread) {
            Sight::Lost { since, reason } => Sight::CatchingUp { lost: Some((since, reason)) },
            Sight::CatchingUp { lost } => Sight::CatchingUp { lost },
            Sight::Unread | Sight::Seen => Sight::CatchingUp { lost: None },
        };
        // The first snapshot is read as if we had always listened: nobody was told anything yet, and what it says of who
        // spoke when is all that there is. (`lose` ends this for ever.)
        if self.own.is_some() {
            self.listening = Listening::Not;
        }
    }

    fn catch_up(&mut self, now: Time) {
        if self.snapshot.is_some() {
            return;
        }
        self.hole = Hole::None;
        self.sight = Sight::Seen;
        if self.listening == Listening::Not {
            self.listening = Listening::Since(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_s: i64) -> Time {
        Time::from_unix_s(unix_s)
    }

    fn read() -> StreamState {
        let mut stream = StreamState::default();
        stream.begin_snapshot(7, at(100));
        stream.read(5, 2, at(50));
        stream.end_snapshot(9, at(101));
        stream
    }

    #[test]
    fn a_hole_closes_when_nothing_is_pending() {
        let mut stream = read();
        assert_eq!(stream.reading(), Reading::Whole);
        for (case, sequence, pending, want) in [
            ("the next one", 10, 3, Reading::Whole),
            ("one was skipped", 12, 2, Reading::Holed),
            ("still", 13, 1, Reading::Holed),
            ("nothing pending", 14, 0, Reading::Whole),
            ("skipped and nothing pending", 20, 0, Reading::Whole),
        ] {
            assert_eq!(stream.read(sequence, pending, at(110)), Arrival::New, "{case}");
            assert_eq!(stream.reading(), want, "{case}");
        }
        stream.read(30, 5, at(111));
        stream.idle(at(112));
        assert_eq!(stream.reading(), Reading::Whole);
        assert_eq!(stream.read(30, 0, at(113)), Arrival::Again);
        assert_eq!(stream.sequence(), 30);
    }

    #[test]
    fn a_snapshot_is_not_whole_before_its_end() {
        let mut stream = StreamState::default();
        assert_eq!((stream.blind(), stream.own_snapshot()), (None, None));
        stream.begin_snapshot(7, at(100));
        stream.read(1, 0, at(50));
        stream.idle(at(100));
        assert_eq!((stream.reading(), stream.listening()), (Reading::Snapshot, Listening::Always));
        stream.end_snapshot(4, at(101));
        let own = OwnSnapshot { began_at: at(100), ended_at: at(101), sequence: 4 };
        assert_eq!((stream.own_snapshot(), stream.sequence()), (Some(own), 4));
        assert_eq!((stream.reading(), stream.listening()), (Reading::Whole, Listening::Always));
    }

    #[test]
    fn who_is_cut_off_is_blind_until_all_is_read() {
        let mut stream = read();
        stream.lose("cut".into(), at(200));
        assert_eq!(stream.blind(), Some((at(200), "cut")));
        assert_eq!(stream.listening(), Listening::Not);
        stream.resume(7, 9);
        stream.read(15, 1, at(205));
        assert_eq!(stream.blind(), Some((at(200), "cut")), "not all is read");
        stream.lose("cut again".into(), at(210));
        assert_eq!(stream.blind(), Some((at(200), "cut again")));
        stream.resume(7, 15);
        stream.read(16, 0, at(212));
        assert_eq!((stream.blind(), stream.listening()), (None, Listening::Since(at(212))));
    }

    #[test]
    fn a_new_snapshot_restarts_the_sequences() {
        let mut stream = read();
        stream.lose("cut".into(), at(200));
        stream.begin_snapshot(8, at(210));
        assert_eq!((stream.sequence(), stream.incarnation_unix_ns()), (0, 8));
        stream.lose("cut".into(), at(211));
        stream.resume(8, 0);
        assert_eq!(stream.read(1, 0, at(212)), Arrival::New);
        assert_eq!(stream.reading(), Reading::Snapshot, "it goes on where it was");
        assert_eq!(stream.blind(), Some((at(200), "cut")));
        stream.end_snapshot(1, at(213));
        assert_eq!((stream.blind(), stream.listening()), (None, Listening::Since(at(213))));
    }
}
