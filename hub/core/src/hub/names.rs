//! Whose a cluster's name is: a message of another cluster is refused, takes the name, or is kept beside until all was read once.

use vitals_proto::identity::{ClusterName, ObjectKey, Uid};
use vitals_proto::subject;

use super::{CLUSTERS_MAX, Hub, Refusal};
use crate::{
    ingest::{
        cluster::{ClusterState, Foreign},
        comparison::Reading,
        epochs::Listening,
        identity::Claim,
        stream::StreamState,
    },
    position::{StreamName, StreamPoint},
    time::Time,
};

impl Hub {
    /// A message of a cluster came, under that UID. Gives the UID where what it says is kept beside.
    pub(super) fn hear_cluster(
        &mut self,
        name: &ClusterName,
        uid: Uid,
        at: &StreamPoint,
        now: Time,
    ) -> Result<Option<Uid>, Refusal> {
        if !self.clusters.contains_key(name) {
            if self.clusters.len() >= CLUSTERS_MAX {
                return Err(Refusal::TooMany);
            }
            let state = ClusterState::new(name.clone(), at.stream.clone(), now);
            self.picture.set_freshness(name, state.freshness().clone(), &self.position, now);
            self.clusters.insert(name.clone(), state);
        }
        let is_read = self.is_ready();
        // Who spoke long before this hub began to read is given the time to speak again; and where something was skipped, what
        // it said meanwhile may stand behind it.
        let stream = self.streams.get(&at.stream).filter(|it| it.reading() == Reading::Whole);
        let listening = stream.map(StreamState::listening_now);
        let Some(cluster) = self.clusters.get_mut(name) else { return Ok(None) };
        let claim = if is_read {
            cluster.identity.hear(uid.clone(), now, listening.unwrap_or(Listening::Not))
        } else {
            cluster.identity.hear_at_first(uid.clone(), now)
        };
        match claim {
            Claim::Ours => Ok(None),
            Claim::Beside => Ok(Some(uid)),
            Claim::Refused => {
                self.stirred.insert(name.clone());
                Err(Refusal::OtherCluster)
            }
            Claim::Takes => {
                for held in self.store.objects(name) {
                    cluster.haunt(held.scope(), &subject::object(&held.key()), held.digest());
                }
                cluster.begin_anew();
                self.counters.names_taken += 1;
                self.stirred.insert(name.clone());
                for key in self.store.remove_cluster(name) {
                    self.picture.remove(&key, None, at);
                }
                Ok(None)
            }
        }
    }

    /// Does something with the scopes of the cluster that is kept beside, if any.
    pub(super) fn in_place_of<T>(
        &mut self,
        name: &ClusterName,
        beside: Option<&Uid>,
        happen: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let Some(uid) = beside else { return happen(self) };
        let swap = |hub: &mut Self| {
            if let Some(cluster) = hub.clusters.get_mut(name) {
                cluster.swap(uid);
            }
        };
        swap(self);
        let done = happen(self);
        swap(self);
        done
    }

    /// An object counts in the sums of the one that said it: what another says of it then is refused. Only while it is not
    /// decided whose the name is. A subject stands in a snapshot once, but more may be published while it is read, and it may be
    /// begun again.
    pub(super) fn is_held_by(&self, key: &ObjectKey, beside: Option<&Uid>) -> Result<(), Refusal> {
        let Some(cluster) = self.clusters.get(key.cluster()) else { return Ok(()) };
        if cluster.holder(key) != beside && self.store.get(key).is_some() {
            return Err(Refusal::OtherCluster);
        }
        Ok(())
    }

    /// Notes an object that was put or buried under the UID that is kept beside, if any.
    pub(super) fn keep_beside(&mut self, key: &ObjectKey, beside: Option<&Uid>) {
        let Some(uid) = beside else { return };
        let is_held = self.store.get(key).is_some();
        if let Some(cluster) = self.clusters.get_mut(key.cluster()) {
            cluster.keep_beside(uid, key, is_held);
        }
    }

    /// All was read once: decides whose each name is, and holds nothing of others any more. Nobody was told anything yet.
    pub(super) fn decide_names(&mut self, stream: &StreamName) {
        if !self.is_ready() {
            return;
        }
        let Some(at) = self.position.point(stream) else { return };
        for (name, cluster) in self.clusters.iter_mut().filter(|(_, it)| it.is_doubted()) {
            let foreign: Vec<ObjectKey> = match cluster.decide() {
                Foreign::These(keys) => keys.into_iter().collect(),
                Foreign::AllBut(keys) => {
                    self.counters.names_taken += 1;
                    let held = self.store.objects(name).map(|held| held.key());
                    held.filter(|key| !keys.contains(key)).collect()
                }
            };
            for key in foreign {
                // The stream still has it: its agent is asked to bury it there.
                if let Some(held) = self.store.get(&key) {
                    cluster.haunt(held.scope(), &subject::object(&key), held.digest());
                }
                self.store.remove(&key);
                self.picture.remove(&key, None, &at);
            }
        }
    }
}
