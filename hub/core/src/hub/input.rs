//! What goes into the core, and what must happen then.

use std::collections::BTreeMap;

use vitals_proto::{
    identity::{ClusterName, ObjectKey, Scope},
    v1,
};

use crate::{
    cluster_record::ClusterRecord, picture::EntityChange, position::StreamName, time::Time,
};

/// Whatever can change what the hub knows, except time.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A stream is read from its beginning. What is held stays: a snapshot merges.
    SnapshotBegin {
        /// Which.
        stream: &'a StreamName,
        /// Its creation time. Nanoseconds since the Unix epoch.
        incarnation_unix_ns: i64,
    },
    /// The reading of a stream goes on behind what was read before.
    Resumed {
        /// Which.
        stream: &'a StreamName,
        /// Its creation time, as before. Nanoseconds since the Unix epoch.
        incarnation_unix_ns: i64,
        /// Up to where it was read.
        sequence: u64,
    },
    /// What a subject of a stream holds now.
    Message {
        /// The stream.
        stream: &'a StreamName,
        /// The message.
        message: Message<'a>,
    },
    /// All that was in the stream when the snapshot began has been said.
    SnapshotEnd {
        /// The stream.
        stream: &'a StreamName,
        /// Everything up to it has been read, also where nothing is there any more.
        sequence: u64,
    },
    /// All that is in the stream has been read.
    Idle {
        /// The stream.
        stream: &'a StreamName,
    },
    /// The stream cannot be seen, until it is resumed or read anew.
    Lost {
        /// The stream.
        stream: &'a StreamName,
        /// Why, in a few words.
        reason: String,
    },
    /// The entity definitions, all of them.
    Definitions {
        /// One of each reference.
        definitions: Vec<v1::EntityDefinition>,
        /// Their revision.
        revision: u64,
    },
    /// What operators say of clusters, all of it.
    Clusters {
        /// Of each that something is said of.
        records: BTreeMap<ClusterName, ClusterRecord>,
        /// Their revision.
        revision: u64,
    },
    /// An agent answered a request for repair.
    RepairAnswer {
        /// Of which cluster.
        cluster: &'a ClusterName,
        /// Of which scope.
        scope: &'a Scope,
        /// For which bucket.
        bucket: u8,
        /// What it says. The repair itself comes in the stream.
        answer: v1::RepairResponse,
    },
    /// Nobody answered a request for repair.
    NoAgent {
        /// Of which cluster.
        cluster: &'a ClusterName,
        /// Of which scope.
        scope: &'a Scope,
        /// For which bucket.
        bucket: u8,
    },
}

/// A message of a stream. Anything may stand in it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its sequence. Those left out were replaced, or removed.
    pub sequence: u64,
    /// Its subject.
    pub subject: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// How many were behind it when the broker sent it.
    pub pending: u64,
}

/// What must happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An entity is not what it was, or was touched by what may have changed it.
    Entity(EntityChange),
    /// A cluster is not what it was, in more than times.
    Cluster(v1::Cluster),
    /// A cluster was forgotten, and nothing was said of it since.
    ClusterForgotten {
        /// Which.
        cluster: ClusterName,
        /// Objects that were held of it.
        objects: usize,
    },
    /// The agent of a scope is to be asked for repair.
    AskRepair {
        /// Of which cluster.
        cluster: ClusterName,
        /// What it is asked.
        request: v1::RepairRequest,
    },
    /// Two scopes of a cluster say the same object. Said once for each two.
    ScopesOverlap {
        /// Of which cluster.
        cluster: ClusterName,
        /// The scopes, in order.
        scopes: [Scope; 2],
        /// The first object of which it was seen.
        object: ObjectKey,
    },
    /// This hub is cut from a stream.
    HubBlind {
        /// Which.
        stream: StreamName,
        /// Since when.
        since: Time,
        /// Why, in a few words.
        reason: String,
    },
    /// It sees the stream again, and all that came meanwhile was read.
    HubSees {
        /// Which.
        stream: StreamName,
    },
}
