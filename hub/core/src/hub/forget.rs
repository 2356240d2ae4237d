//! What operators say of clusters: labels, which the picture shows, and which clusters are forgotten.
//!
//! Whether a cluster may be forgotten is decided here, by the one writer, from what it has read; what is written to KV then
//! comes back as [`super::Input::Clusters`], at every replica, and only that makes it forgotten. So all of them forget alike.
//!
//! Invariant: nothing of what was said up to where a cluster is forgotten is held, however late it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vitals_proto::{
    identity::{ClusterName, ObjectKey},
    subject::Published,
};

use super::{Effect, Hub};
use crate::{
    cluster_record::{ClusterRecord, Forgotten},
    ingest::{cluster::ClusterState, comparison::Reading, stream::StreamState},
    position::StreamPoint,
    time::Time,
};

/// How a cluster would be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgetting {
    /// Up to where: what comes later is heard.
    pub forgotten: Forgotten,
    /// Objects that are held of it.
    pub objects: usize,
    /// How long ago it was heard, where that does not prove that all of its agents are silent.
    pub alive: Option<Duration>,
}

/// Why it cannot be said how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotForgettable {
    /// Nothing of it is known here.
    #[error("there is no cluster {0}")]
    Unknown(ClusterName),
    /// This hub does not see now whether it is alive.
    #[error("this hub does not see now whether an agent of it is alive: {0}")]
    Unseen(String),
}

impl Hub {
    /// How a cluster would be forgotten now.
    ///
    /// # Errors
    /// Where it is not known, or not seen: silence that nobody listens to proves nothing.
    pub fn forgetting(&self, name: &ClusterName, now: Time) -> Result<Forgetting, NotForgettable> {
        let unseen = |why: &str| NotForgettable::Unseen(why.to_owned());
        if !self.is_ready() {
            return Err(unseen("it reads the objects for the first time"));
        }
        let unknown = || NotForgettable::Unknown(name.clone());
        let cluster = self.clusters.get(name).ok_or_else(unknown)?;
        for stream in self.streams.values() {
            if let Some((_, reason)) = stream.blind() {
                return Err(unseen(reason));
            }
            if stream.reading() != Reading::Whole {
                return Err(unseen("it has not read all that was published"));
            }
        }
        let forgotten = Forgotten { position: self.position.clone(), at: now.max(self.heard_at) };
        let objects = self.store.count(name);
        Ok(Forgetting { forgotten, objects, alive: self.alive(cluster, now) })
    }

    /// How long ago an agent was heard that may be alive.
    fn alive(&self, cluster: &ClusterState, now: Time) -> Option<Duration> {
        let listening = self.streams.get(&cluster.stream).map(StreamState::listening_now)?;
        if cluster.identity.conflicting(now).next().is_some() {
            return Some(Duration::ZERO);
        }
        let heard = cluster.scopes().map(|(_, scope)| scope.heard_at());
        let alive = heard.filter(|at| !listening.proves_silence(*at, now));
        alive.map(|at| now.since(at)).min()
    }

    /// All that operators say. What differs from before is shown from now on, and what is forgotten goes.
    pub(super) fn describe(
        &mut self,
        records: BTreeMap<ClusterName, ClusterRecord>,
        revision: u64,
    ) {
        self.position.clusters_revision = revision;
        self.first_records.get_or_insert(revision);
        let before = std::mem::replace(&mut self.records, records);
        let names: BTreeSet<ClusterName> =
            before.keys().chain(self.records.keys()).cloned().collect();
        for name in names {
            let (was, is) = (before.get(&name), self.records.get(&name));
            let labels = |record: Option<&ClusterRecord>| {
                record.map(|record| record.labels.clone()).unwrap_or_default()
            };
            let labels_now = labels(is);
            if labels(was) != labels_now {
                self.picture.set_labels(&name, labels_now, revision);
                if self.clusters.contains_key(&name) {
                    self.stirred.insert(name.clone());
                }
            }
            let forgotten = |record: Option<&ClusterRecord>| record?.forgotten.clone();
            if forgotten(was) != forgotten(is) {
                self.unforgotten.insert(name);
            }
        }
        self.forget_all();
    }

    /// Drops what is to be forgotten, once it is decided whose each name is: until then nobody is told anything.
    pub(super) fn forget_all(&mut self) {
        if self.is_ready() {
            for name in std::mem::take(&mut self.unforgotten) {
                self.forget(&name);
            }
        }
    }

    fn forget(&mut self, name: &ClusterName) {
        let forgotten = self.records.get(name).and_then(|record| record.forgotten.clone());
        let Some(Forgotten { position, at: _ }) = forgotten else { return };
        let revision = self.position.clusters_revision;
        // What the stream had before it was put back or made anew, and has no more, was said before too.
        let is_reached = |held: &crate::store::Held<'_>| {
            !held.is_of_this_reading() || position.reaches(&held.at())
        };
        let held = self.store.objects(name).filter(is_reached).map(|held| held.key());
        let mut keys: Vec<ObjectKey> = held.collect();
        keys.sort_unstable();
        for key in &keys {
            self.drop_held(key);
            self.picture.forget_object(key, revision);
        }
        let Some(cluster) = self.clusters.get_mut(name) else { return };
        cluster.forget(&position, !keys.is_empty());
        if cluster.scopes().next().is_none() && self.store.count(name) == 0 {
            self.clusters.remove(name);
            self.stirred.remove(name);
            self.store.remove_cluster(name);
            self.picture.forget_cluster(name, revision);
            let objects = keys.len();
            self.effects.push(Effect::ClusterForgotten { cluster: name.clone(), objects });
        } else {
            self.stirred.insert(name.clone());
        }
    }

    /// It was published before its cluster was forgotten.
    pub(super) fn is_forgotten(
        &self,
        published: &Published,
        at: &StreamPoint,
        published_at: Time,
    ) -> bool {
        if self.records.is_empty() {
            return false;
        }
        let name = match published {
            Published::Object(key) => key.cluster(),
            Published::Heartbeat(cluster, _) => cluster,
        };
        let forgotten = self.records.get(name).and_then(|record| record.forgotten.as_ref());
        forgotten.is_some_and(|forgotten| forgotten.reaches(at, published_at))
    }
}
