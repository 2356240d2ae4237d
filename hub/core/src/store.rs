//! What the hub holds: the last state of each object that its cluster's agents said, encoded as it came.
//!
//! Behind `ingest`, which decides what is held, and before the graph, which decodes facts when a rule reads them. One compact
//! record per object: an envelope's fields that anybody asks for later, and one allocation with the facts as they came, the
//! names and the resource version. Neither the payload nor a second copy of the key is kept: a digest stands for the payload.
//!
//! Invariants: one record per key; a record's scope, epoch and counter are those of the message that it came with.
//! Deliberately not here: the order of messages, sums, and what anything means. What is iterated comes in no promised order.

mod cluster;
mod held;

use std::collections::BTreeMap;

use vitals_proto::{
    digest::Digest,
    identity::{ClusterName, ObjectKey, Scope},
    kind::Kind,
    v1,
};

use cluster::ClusterStore;
pub use held::Held;
pub(crate) use held::{Content, NewHeld};

use crate::position::{StreamName, StreamPoint};

/// All that is held.
#[derive(Debug, Default)]
pub struct Store {
    clusters: BTreeMap<ClusterName, ClusterStore>,
    streams: Streams,
}

/// The readings of streams, by index: an object names the one in which it was read last in two bytes.
#[derive(Debug, Default)]
struct Streams {
    readings: Vec<Reading>,
    /// How often each was begun to be read from its beginning.
    begun: BTreeMap<StreamName, u32>,
}

/// A stream, from the beginning of one snapshot to that of the next.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    stream: StreamName,
    incarnation_unix_ns: i64,
    number: u32,
}

impl Streams {
    fn index(&mut self, point: &StreamPoint) -> u16 {
        let number = self.number(&point.stream);
        let same = |reading: &Reading| {
            let Reading { stream, incarnation_unix_ns, number: of } = reading;
            *of == number
                && *incarnation_unix_ns == point.incarnation_unix_ns
                && *stream == point.stream
        };
        // Streams are put back or made anew by hand, a few times in the life of a process. Were it 65,535 times, the last
        // ones would share an index, and an explanation would name the wrong incarnation.
        let index = self.readings.iter().rposition(same).unwrap_or_else(|| {
            if self.readings.len() < usize::from(u16::MAX) {
                let StreamPoint { stream, incarnation_unix_ns, .. } = point.clone();
                self.readings.push(Reading { stream, incarnation_unix_ns, number });
            }
            self.readings.len().saturating_sub(1)
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    fn number(&self, stream: &StreamName) -> u32 {
        self.begun.get(stream).copied().unwrap_or_default()
    }

    /// Its stream was not begun to be read anew since.
    fn is_current(&self, index: u16) -> bool {
        let reading = self.readings.get(usize::from(index));
        reading.is_some_and(|Reading { stream, number, .. }| *number == self.number(stream))
    }

    fn point(&self, index: u16, sequence: u64) -> StreamPoint {
        match self.readings.get(usize::from(index)) {
            Some(Reading { stream, incarnation_unix_ns, .. }) => StreamPoint {
                stream: stream.clone(),
                incarnation_unix_ns: *incarnation_unix_ns,
                sequence,
            },
            None => StreamPoint { stream: "".into(), incarnation_unix_ns: 0, sequence },
        }
    }
}

impl Store {
    /// What is held of an object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Held<'_>> {
        let cluster = self.clusters.get(key.cluster())?;
        let record = cluster.get(key)?;
        Some(Held::new(record, cluster, &self.streams))
    }

    /// The facts of an object; `None` where it is not held, and where its content is not understood.
    #[must_use]
    pub fn facts(&self, key: &ObjectKey) -> Option<v1::Facts> {
        self.get(key)?.facts()
    }

    /// All objects of a cluster, in no promised order.
    pub fn objects<'a>(
        &'a self,
        cluster: &ClusterName,
    ) -> impl Iterator<Item = Held<'a>> + use<'a> {
        let cluster = self.clusters.get(cluster);
        cluster.into_iter().flat_map(|cluster| {
            cluster.records().map(|record| Held::new(record, cluster, &self.streams))
        })
    }

    /// Objects held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clusters.values().map(ClusterStore::len).sum()
    }

    /// Nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clusters.values().all(|cluster| cluster.len() == 0)
    }

    /// Objects held of a cluster.
    #[must_use]
    pub fn count(&self, cluster: &ClusterName) -> usize {
        self.clusters.get(cluster).map_or(0, ClusterStore::len)
    }

    /// Objects held of one kind of a cluster.
    #[must_use]
    pub fn count_of_kind(&self, cluster: &ClusterName, kind: &Kind) -> usize {
        self.clusters.get(cluster).map_or(0, |cluster| cluster.count_of_kind(kind))
    }

    /// Bytes of facts held of all clusters, and bytes of memory for all that is held (without the allocator's own).
    #[must_use]
    pub fn bytes(&self) -> StoreBytes {
        self.clusters.values().map(ClusterStore::bytes).fold(StoreBytes::default(), |sum, bytes| {
            StoreBytes { facts: sum.facts + bytes.facts, memory: sum.memory + bytes.memory }
        })
    }

    /// Whether an object of this kind and scope can be held: a cluster has so many kinds and scopes at most, since each costs
    /// memory of its own, and names come from whoever may publish.
    pub(crate) fn admits(&self, key: &ObjectKey, scope: &Scope) -> bool {
        self.clusters.get(key.cluster()).is_none_or(|cluster| cluster.admits(key.kind(), scope))
    }

    /// Holds this from now on, in place of what was held.
    pub(crate) fn put(&mut self, key: &ObjectKey, new: NewHeld<'_>) {
        let stream = self.streams.index(new.at);
        match self.clusters.get_mut(key.cluster()) {
            Some(cluster) => cluster.put(key, stream, new),
            None => {
                let mut cluster = ClusterStore::new(key.cluster().clone());
                cluster.put(key, stream, new);
                self.clusters.insert(key.cluster().clone(), cluster);
            }
        }
    }

    /// A stream is read from its beginning: from now on what was read of it before counts as not read.
    pub(crate) fn begin_reading(&mut self, stream: &StreamName) {
        *self.streams.begun.entry(stream.clone()).or_default() += 1;
    }

    /// The message that is held was read again, there.
    pub(crate) fn read_again(&mut self, key: &ObjectKey, at: &StreamPoint) {
        let stream = self.streams.index(at);
        if let Some(cluster) = self.clusters.get_mut(key.cluster()) {
            cluster.read_again(key, stream, at.sequence);
        }
    }

    /// Another message of the object was read, and refused: the stream no longer has what is held.
    pub(crate) fn displace(&mut self, key: &ObjectKey) {
        if let Some(cluster) = self.clusters.get_mut(key.cluster()) {
            cluster.displace(key);
        }
    }

    /// Holds nothing of the object from now on.
    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        if let Some(cluster) = self.clusters.get_mut(key.cluster()) {
            cluster.remove(key);
        }
    }

    /// Holds nothing of the cluster from now on. Gives what was held, ordered by key.
    pub(crate) fn remove_cluster(&mut self, cluster: &ClusterName) -> Vec<ObjectKey> {
        let mut keys: Vec<_> = self.objects(cluster).map(|held| held.key()).collect();
        keys.sort_unstable();
        self.clusters.remove(cluster);
        keys
    }

    /// Counts another message in the sums than the one that is held. Only without [`vitals_proto::rule::Rule::SumsOverHeld`].
    pub(crate) fn count_instead(&mut self, key: &ObjectKey, digest: Digest) {
        if let Some(cluster) = self.clusters.get_mut(key.cluster()) {
            cluster.count_instead(key, digest);
        }
    }
}

/// How large what is held is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreBytes {
    /// Facts as they came.
    pub facts: usize,
    /// Everything.
    pub memory: usize,
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
