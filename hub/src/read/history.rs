//! Whether the stream that is there now is the one that was read, so that reading can go on where it ended.
//!
//! Four things can have happened while nobody looked. It was made anew: its creation time differs. Its store
//! was put back to an older copy: it ends before what was read. Both are told by the server at once. Or it
//! was put back and has grown past that point since: then it looks the same, and what its new history holds
//! at or before our sequence would be skipped for ever. That is found by time: within one history the
//! broker's times rise with the sequences, so the first message *after the time* of our last message must
//! stand *after its sequence*. One direct get answers that, for every message that still stands.
//!
//! What stays unseen: a new history all of whose messages up to our sequence have been replaced by later
//! ones (nothing is missed then: the later ones are read), and a broker whose clock went back meanwhile.
//! That the hub then holds things of the lost history is found by the digests of the heartbeats
//! (PROTOCOL.md): they compare what is held with the cluster, not with the stream.

use std::time::Duration;

use tokio::time::Instant;
use vitals_proto::limits::TOMBSTONE_TTL;

use super::item::SnapshotReason;

/// A stream that could not be seen for longer is not resumed: tombstones expire without a trace, and one that
/// was published and expired meanwhile would be missed. Half their life is left for the clocks.
const BLIND_MAX: Duration = Duration::from_secs(TOMBSTONE_TTL.as_secs() / 2);

/// How far a stream was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Creation time of the stream. Nanoseconds since the Unix epoch.
    pub(super) incarnation_unix_ns: i64,
    /// The last sequence that was read; 0 for none.
    pub(super) sequence: u64,
    /// The broker's time of that message. Nanoseconds since the Unix epoch.
    pub(super) published_unix_ns: i64,
    /// When the stream was last seen.
    pub(super) seen_at: Instant,
}

/// The stream that is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) incarnation_unix_ns: i64,
    pub(super) last_sequence: u64,
    /// The broker's time of its last message. Nanoseconds since the Unix epoch.
    pub(super) last_published_unix_ns: i64,
}

impl Mark {
    /// Why it cannot be resumed, as far as the two tell.
    pub(super) fn compare(&self, found: &Found, now: Instant) -> Result<(), SnapshotReason> {
        if found.incarnation_unix_ns != self.incarnation_unix_ns {
            return Err(SnapshotReason::Recreated);
        }
        if found.last_sequence < self.sequence {
            return Err(SnapshotReason::WentBack);
        }
        if now.duration_since(self.seen_at) > BLIND_MAX {
            return Err(SnapshotReason::BlindTooLong);
        }
        Ok(())
    }

    /// Why it cannot be resumed, given the first sequence that is later in time than what was read.
    pub(super) fn compare_later(&self, first_later: Option<u64>) -> Result<(), SnapshotReason> {
        match first_later {
            Some(sequence) if sequence <= self.sequence => Err(SnapshotReason::Diverged),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tells_another_history_from_the_same() {
        let now = Instant::now();
        let mark =
            Mark { incarnation_unix_ns: 7, sequence: 100, published_unix_ns: 5_000, seen_at: now };
        let found = |incarnation_unix_ns, last_sequence| Found {
            incarnation_unix_ns,
            last_sequence,
            last_published_unix_ns: 9_000,
        };
        let long = BLIND_MAX + Duration::from_secs(1);
        for (case, found, after, first_later, want) in [
            ("the same", found(7, 100), Duration::ZERO, None, Ok(())),
            ("grown", found(7, 130), Duration::ZERO, Some(101), Ok(())),
            (
                "made anew, shorter",
                found(8, 3),
                Duration::ZERO,
                Some(1),
                Err(SnapshotReason::Recreated),
            ),
            (
                "made anew, longer",
                found(8, 900),
                Duration::ZERO,
                Some(1),
                Err(SnapshotReason::Recreated),
            ),
            ("put back", found(7, 99), Duration::ZERO, None, Err(SnapshotReason::WentBack)),
            (
                "put back and grown",
                found(7, 130),
                Duration::ZERO,
                Some(80),
                Err(SnapshotReason::Diverged),
            ),
            (
                "put back and as long",
                found(7, 100),
                Duration::ZERO,
                Some(100),
                Err(SnapshotReason::Diverged),
            ),
            ("unseen for long", found(7, 130), long, Some(101), Err(SnapshotReason::BlindTooLong)),
        ] {
            let got =
                mark.compare(&found, now + after).and_then(|()| mark.compare_later(first_later));
            assert_eq!(got, want, "{case}");
        }
    }
}
