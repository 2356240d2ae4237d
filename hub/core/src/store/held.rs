//! One object as it is held.

use vitals_proto::{
    digest::Digest,
    identity::{Epoch, KeyParts, ObjectKey, Scope},
    kind::Kind,
    v1,
};

use super::{Streams, cluster::ClusterStore};
use crate::position::StreamPoint;

/// What a message says of the state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// Facts, encoded.
    Facts(&'a [u8]),
    /// Something that this hub does not understand. It is held, and counts, all the same.
    Opaque,
}

/// What to hold.
#[derive(Clone, Debug)]
pub(crate) struct NewHeld<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) epoch: Epoch,
    pub(crate) counter: u64,
    pub(crate) digest: Digest,
    pub(crate) bucket: u8,
    pub(crate) at: &'a StreamPoint,
    pub(crate) observed_at_unix_ms: i64,
    pub(crate) resource_version: &'a str,
    pub(crate) message_bytes: usize,
    pub(crate) content: Content<'a>,
}

/// One object in memory. Its size is the hub's memory: see `a_record_is_small`.
#[derive(Debug)]
pub(super) struct Record {
    /// Facts, namespace, name and resource version, one behind the other.
    pub(super) bytes: Box<[u8]>,
    /// Of the message that counts in the sums: the one that is held.
    pub(super) digest: Digest,
    pub(super) epoch: Epoch,
    pub(super) counter: u64,
    pub(super) sequence: u64,
    pub(super) observed_at_unix_ms: i64,
    pub(super) message_bytes: u32,
    pub(super) facts_bytes: u32,
    pub(super) stream: u16,
    pub(super) scope: u16,
    pub(super) kind: u16,
    pub(super) namespace_bytes: u8,
    pub(super) name_bytes: u8,
    pub(super) bucket: u8,
    pub(super) understood: bool,
    /// The stream has another message of it, which was refused.
    pub(super) displaced: bool,
}

/// Namespace and name: what tells the objects of one kind apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name<'a> {
    pub(super) kind: u16,
    pub(super) namespace: &'a [u8],
    pub(super) name: &'a [u8],
}

impl Record {
    fn split(&self) -> (&[u8], &[u8], &[u8], &[u8]) {
        let facts_bytes = usize::try_from(self.facts_bytes).unwrap_or(usize::MAX);
        let split = |bytes: &[u8], at: usize| bytes.split_at_checked(at).is_some();
        debug_assert!(split(&self.bytes, facts_bytes), "a record knows its lengths");
        let (facts, rest) = self.bytes.split_at_checked(facts_bytes).unwrap_or_default();
        let (namespace, rest) =
            rest.split_at_checked(self.namespace_bytes.into()).unwrap_or_default();
        let (name, version) = rest.split_at_checked(self.name_bytes.into()).unwrap_or_default();
        (facts, namespace, name, version)
    }

    pub(super) fn name(&self) -> Name<'_> {
        let (_, namespace, name, _) = self.split();
        Name { kind: self.kind, namespace, name }
    }
}

/// One object as it is held, to read.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    record: &'a Record,
    cluster: &'a ClusterStore,
    streams: &'a Streams,
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl<'a> Held<'a> {
    pub(super) fn new(record: &'a Record, cluster: &'a ClusterStore, streams: &'a Streams) -> Self {
        Self { record, cluster, streams }
    }

    /// Which object. Allocates: the key is kept in a shorter form.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        let key = ObjectKey::new(KeyParts {
            cluster: self.cluster.name().clone(),
            kind: self.kind().clone(),
            namespace: self.namespace(),
            name: self.name(),
        });
        #[expect(clippy::expect_used, reason = "a record is made from an ObjectKey alone")]
        key.expect("the parts of a key make a key")
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &'a Kind {
        self.cluster.kind(self.record.kind)
    }

    /// Its namespace; empty for an object of the cluster.
    #[must_use]
    pub fn namespace(&self) -> &'a str {
        text(self.record.split().1)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        text(self.record.split().2)
    }

    /// `metadata.resourceVersion` of the state that is held.
    #[must_use]
    pub fn resource_version(&self) -> &'a str {
        text(self.record.split().3)
    }

    /// Its facts as they came; empty where the content is not understood.
    #[must_use]
    pub fn facts_bytes(&self) -> &'a [u8] {
        self.record.split().0
    }

    /// Its facts, decoded; `None` where the content is not understood.
    #[must_use]
    pub fn facts(&self) -> Option<v1::Facts> {
        if self.record.understood {
            vitals_proto::facts::decode(self.facts_bytes()).ok()
        } else {
            None
        }
    }

    /// The scope whose agent said it.
    #[must_use]
    pub fn scope(&self) -> &'a Scope {
        self.cluster.scope(self.record.scope)
    }

    /// The epoch of the agent that said it.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.record.epoch
    }

    /// The counter of its message in that epoch.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.record.counter
    }

    /// Digest of its message.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.record.digest
    }

    /// The bucket in which its message counts.
    #[must_use]
    pub fn bucket(&self) -> u8 {
        self.record.bucket
    }

    /// Where its message was read.
    #[must_use]
    pub fn at(&self) -> StreamPoint {
        self.streams.point(self.record.stream, self.record.sequence)
    }

    /// Its message is the last on its subject, as far as was read: no other took its place, and the stream has not been read
    /// from its beginning without it since.
    pub(crate) fn is_streamed(&self) -> bool {
        !self.record.displaced && self.is_of_this_reading()
    }

    /// Its message was read since its stream was last begun to be read from its beginning.
    pub(crate) fn is_of_this_reading(&self) -> bool {
        self.streams.is_current(self.record.stream)
    }

    /// When the agent saw this state, by the agent's clock. Milliseconds since the Unix epoch.
    #[must_use]
    pub fn observed_at_unix_ms(&self) -> i64 {
        self.record.observed_at_unix_ms
    }

    /// Bytes of the payload of its message.
    #[must_use]
    pub fn message_bytes(&self) -> u32 {
        self.record.message_bytes
    }
}
