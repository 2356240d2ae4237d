//! What the reader says to the core's loop.

use async_nats::Subject;
use bytes::Bytes;
use vitals_hub_core::{StreamName, Time};

/// What was read of one stream, in order. Between two batches of one stream nothing is left out; batches of
/// different streams have no order.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The stream.
    pub stream: StreamName,
    /// Not empty.
    pub items: Vec<ReadItem>,
}

/// One thing that the reader says.
///
/// A stream is seen after `SnapshotBegin` or `Resumed` and blind after `Lost`, and before the first of all.
/// Each `SnapshotBegin` is followed by its `SnapshotEnd`, however often sight is lost between them, unless
/// another `SnapshotBegin` takes its place.
#[derive(Clone, Debug)]
pub enum ReadItem {
    /// The stream is read from its beginning. What is held stays: a snapshot merges.
    SnapshotBegin {
        /// Creation time of the stream. Nanoseconds since the Unix epoch.
        incarnation_unix_ns: i64,
        /// Its last sequence when reading began: the snapshot ends there.
        last_sequence: u64,
        /// Why it is not resumed.
        reason: SnapshotReason,
    },
    /// Reading goes on behind what was read before; nothing was missed.
    Resumed {
        /// As before.
        incarnation_unix_ns: i64,
        /// The last sequence that was read.
        sequence: u64,
    },
    /// What a subject holds now.
    Message(Message),
    /// All that was in the stream when the snapshot began, and was not replaced meanwhile, has been said.
    SnapshotEnd {
        /// Everything up to this sequence has been read.
        sequence: u64,
    },
    /// All that is in the stream has been read, and the server lives.
    Idle {
        /// When, by our clock.
        as_of: Time,
    },
    /// The stream cannot be seen any more. It is tried again, for ever.
    Lost {
        /// Why.
        reason: LostReason,
    },
}

/// A message of the stream. Anything may stand in it: the core decides what it is.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its sequence. Sequences rise; those left out were replaced by later ones, or removed.
    pub sequence: u64,
    /// Its subject.
    pub subject: Subject,
    /// Its payload: part of a larger buffer, which lives for as long as this does. Copy what is kept.
    pub payload: Bytes,
    /// When the broker stored it, by the broker's clock.
    pub published_at: Time,
    /// How many messages were behind it when the broker sent it.
    pub pending: u64,
    /// What its headers say is done to its subject.
    pub operation: Operation,
}

/// Header `KV-Operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It has no such header, or another.
    Put,
    /// `DEL`: the value of a key-value bucket is gone.
    Delete,
    /// `PURGE`: likewise; or this is a tombstone of OBJECTS.
    Purge,
}

/// Why a stream is read from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotReason {
    /// It was never read by this process.
    First,
    /// It was deleted and made anew.
    Recreated,
    /// It ends before what was read: its store is an older one.
    WentBack,
    /// At or before the last sequence that was read, it holds messages that are later than what was read:
    /// its store was an older one for a while.
    Diverged,
    /// It could not be seen for so long that tombstones may have expired unseen.
    BlindTooLong,
    /// This stream is never resumed: nothing else would find what a resume misses.
    Always,
}

/// Why a stream cannot be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// The connection to NATS is down.
    Disconnected,
    /// Neither a message nor an idle heartbeat came in time.
    Silent,
    /// The server ended our consumer: it was deleted, with its stream or alone, or the server or its leader
    /// is ending.
    ConsumerGone,
    /// The server sent messages that did not arrive.
    DeliveryGap,
    /// There is no such stream.
    StreamMissing,
    /// The server does not let us read, or does not answer. For a person, in one line.
    Refused(String),
}

impl SnapshotReason {
    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Recreated => "recreated",
            Self::WentBack => "went_back",
            Self::Diverged => "diverged",
            Self::BlindTooLong => "blind_too_long",
            Self::Always => "always",
        }
    }
}

impl LostReason {
    /// For metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Silent => "silent",
            Self::ConsumerGone => "consumer_gone",
            Self::DeliveryGap => "delivery_gap",
            Self::StreamMissing => "stream_missing",
            Self::Refused(_) => "refused",
        }
    }
}

impl std::fmt::Display for LostReason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disconnected => formatter.write_str("the connection to NATS is down"),
            Self::Silent => formatter.write_str("NATS is silent"),
            Self::ConsumerGone => formatter.write_str("the server ended our consumer"),
            Self::DeliveryGap => formatter.write_str("messages were lost on the way"),
            Self::StreamMissing => formatter.write_str("there is no such stream"),
            Self::Refused(why) => formatter.write_str(why),
        }
    }
}
