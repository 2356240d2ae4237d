//! All that the core hears: one closed enum, so that everything that can move it stands in one place.

use std::collections::BTreeMap;

use bytes::Bytes;
use vitals_proto::{
    identity::{Epoch, Uid},
    kind::Kind,
};

use crate::outbox::Ticket;

/// The time of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// By the wall clock, which can step: for stamps alone. Milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// Since the process began, by a clock that never goes back: for delays. Milliseconds.
    pub monotonic_ms: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A life as publisher begins: at a start, and at every taking of the Lease.
    EpochBegun {
        /// From [`crate::epoch`].
        epoch: Epoch,
        /// Whether objects may be published under it.
        standing: Standing,
        /// UID of `kube-system`; empty under a provisional epoch.
        cluster_uid: Uid,
    },
    /// Another holds the Lease: nothing is published until the next epoch.
    LeaseLost,
    /// The Lease could not be renewed in time, and another may hold it: heartbeats only, until it was kept or lost.
    LeaseDoubted,
    /// The Lease was ours all the time: objects are published again.
    LeaseKept,
    /// From the watch of one kind.
    Watch {
        /// Which.
        kind: Kind,
        /// What.
        item: WatchItem,
    },
    /// The API server was probed.
    Probed(Probe),
    /// NATS is connected, for the first time or again.
    Connected,
    /// What became of a publication. An acknowledgement may still come after [`Outcome::Transient`] was told.
    Settled {
        /// From the publication.
        ticket: Ticket,
        /// What became of it.
        outcome: Outcome,
    },
    /// Time passed. Due at least every [`crate::agent::TICK_INTERVAL_MS`]: a late one means that the process was frozen.
    Tick,
}

/// Standing of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It stands in the Lease (or none is in use): objects are published.
    Held,
    /// It stood in the Lease, and may not any more: heartbeats only.
    Doubted,
    /// The API server was never reached: heartbeats only.
    Provisional,
}

/// From the watch of one kind, in its order.
#[derive(Clone, Debug)]
pub enum WatchItem {
    /// A consistent list begins.
    ListStarted {
        /// What it names is at least as new as this.
        resource_version: String,
        /// Of the cluster.
        history: History,
    },
    /// It names this object.
    Listed(Object),
    /// It is whole: what it did not name does not exist.
    ListEnded {
        /// Of the list.
        resource_version: String,
        /// Objects in it of which not even the name could be read: while there are any, what was not listed may exist.
        unnamed: u64,
    },
    /// It broke off, or cannot be used: another will begin.
    ListDiscarded,
    /// The object was added or changed.
    Applied(Object),
    /// The object was deleted.
    Deleted(Deletion),
    /// The object exists, and cannot be read; nor can its name, where there is none.
    Unreadable(Option<ObjectName>),
    /// The watch lives, and nothing changed (a bookmark).
    Alive {
        /// Up to which it has seen everything; empty where unknown.
        resource_version: String,
    },
    /// How the watch does.
    State(WatchState),
}

/// An object, projected.
#[derive(Clone, Debug)]
pub struct Object {
    /// Which.
    pub name: ObjectName,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `vitals.v1.Facts`, encoded, at most [`vitals_proto::limits::FACTS_BYTES_MAX`].
    pub facts: Bytes,
}

/// An object within a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// Empty for an object of the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What is known of an object that is gone.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// Which.
    pub name: ObjectName,
    /// `metadata.resourceVersion` of the deletion; empty where unknown.
    pub resource_version: String,
    /// `metadata.labels`, where known.
    pub labels: BTreeMap<String, String>,
    /// `metadata.uid` as on the wire, where known.
    pub uid: Bytes,
}

/// What a list says of the versions seen before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// They were lower, or the same.
    Goes,
    /// They mean nothing any more: the cluster's etcd was restored to an earlier state.
    Rewound,
}

/// How the watch of a kind does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchState {
    /// It follows.
    Live,
    /// It lists, or tries to; something may have been missed. With the reason, where it is not going well.
    Listing(String),
    /// The API server refuses it (401, 403). With the reason.
    Forbidden(String),
    /// The cluster does not have the kind, in any version: 404 while discovery succeeds. With the reason.
    Absent(String),
    /// Nothing heard for longer than its bound, or listing keeps failing. With the reason.
    Stalled(String),
}

/// What a probe of the API server found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What went wrong, if anything did.
    pub outcome: Result<(), String>,
    /// The agent's clock minus the API server's, where known. Milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// `gitVersion` of the API server, where known.
    pub version: Option<String>,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The stream has it.
    Acked,
    /// No answer, or one that may be another next time: the newest state is sent again, with backoff.
    Transient,
    /// The stream takes no message of this size. Final until the object changes.
    TooLarge,
    /// The stream takes no new subject. Tried again slowly.
    StreamFull,
    /// We may not publish there. Tried again slowly.
    Permission,
}
