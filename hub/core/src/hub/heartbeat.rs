//! One heartbeat: who is alive, what is proven, and what is to be repaired.

use std::collections::BTreeSet;

use prost::Message as _;
use vitals_proto::{
    identity::{ClusterName, Epoch, Scope, Uid},
    rule::Rule,
    v1,
};

use super::{Effect, Hub, Refusal};
use crate::{
    ingest::{
        clock::ClusterClock,
        comparison::Reading,
        epochs::{Certainty, Standing},
        repair::{self, Asked, Streamed},
    },
    position::StreamPoint,
    time::Time,
};

impl Hub {
    pub(super) fn take_heartbeat(
        &mut self,
        payload: &[u8],
        (cluster, said_by): (ClusterName, Scope),
        at: &StreamPoint,
        now: Time,
    ) -> Result<(), Refusal> {
        let heartbeat = v1::Heartbeat::decode(payload).map_err(|_| Refusal::Unreadable)?;
        if heartbeat.scope != said_by.as_str() {
            return Err(Refusal::Foreign);
        }
        let uid = Uid::from_wire(&heartbeat.cluster_uid).map_err(|_| Refusal::Unreadable)?;
        let beside = self.hear_cluster(&cluster, uid, at, now)?;
        let name = cluster.clone();
        self.in_place_of(&name, beside.as_ref(), |hub| {
            hub.compare(heartbeat, (cluster, said_by), at, now)
        })
    }

    fn compare(
        &mut self,
        heartbeat: v1::Heartbeat,
        (cluster, said_by): (ClusterName, Scope),
        at: &StreamPoint,
        now: Time,
    ) -> Result<(), Refusal> {
        let epoch: Epoch = heartbeat.epoch.unwrap_or_default().into();
        let (listening, reading) = (self.listening(&at.stream), self.reading(&at.stream));
        let scope = self.sharing(said_by.clone());
        let of = self.clusters.get_mut(&cluster).ok_or(Refusal::TooMany)?;
        let state = of.hear_scope(&scope, at, now).ok_or(Refusal::TooMany)?;
        let certainty =
            if heartbeat.provisional { Certainty::Provisional } else { Certainty::Leased };
        match state.epochs.hear_heartbeat(epoch, certainty, now, listening) {
            Standing::Lower => return Err(Refusal::LowerEpoch),
            Standing::Began => state.begin_epoch(),
            Standing::Current => {}
        }
        if !state.epochs.take_heartbeat(heartbeat.counter) {
            return Err(Refusal::Repeated);
        }
        let differing = state.comparison.judge(&heartbeat, &state.sums, now, reading);
        self.counters.heartbeats += 1;
        self.counters.differing_buckets += u64::from(state.comparison.differing());
        let clock_ahead_ms = ClusterClock::read(&heartbeat, now);
        state.take(heartbeat, now);
        if let Some(ahead_ms) = clock_ahead_ms {
            of.clock.hear(ahead_ms);
        }
        // Objects may be left over in a stream that was the cluster's before; its agents speak in the one that is.
        if of.stream != at.stream {
            of.stream = at.stream.clone();
        }
        let is_doubted = of.is_doubted();
        let lacking = match reading {
            Reading::Whole | Reading::Holed => self.lacking(&cluster, &scope, now),
            Reading::Snapshot => BTreeSet::new(),
        };
        // While it is not decided whose the name is, what is held is of several: its agent would bury what it does not know.
        if !is_doubted && (!differing.is_empty() || !lacking.is_empty()) {
            self.ask(&cluster, &said_by, epoch, Buckets { differing, lacking }, now);
        }
        self.stirred.insert(cluster);
        Ok(())
    }

    /// The buckets that are equal, but of which the stream lacks something.
    fn lacking(&mut self, cluster: &ClusterName, scope: &Scope, now: Time) -> BTreeSet<u8> {
        let state = self.clusters.get_mut(cluster).and_then(|state| state.scope_mut(scope));
        let Some(state) = state.filter(|state| !state.unstreamed.is_empty()) else {
            return BTreeSet::new();
        };
        // What is held since, of whichever scope, is there again.
        state.unstreamed.lay_all(|key| self.store.get(key).is_some());
        let of_scope = self.store.objects(cluster).filter(|held| held.scope() == scope);
        let lacking = of_scope.filter(|held| !held.is_streamed());
        state.unstreamed.set_buckets(&lacking.map(|held| held.bucket()).collect());
        let mut due = state.unstreamed.due(now);
        due.retain(|bucket| state.comparison.is_equal(*bucket));
        due
    }

    fn ask(
        &mut self,
        cluster: &ClusterName,
        said_by: &Scope,
        epoch: Epoch,
        buckets: Buckets,
        now: Time,
    ) {
        let scope = self.sharing(said_by.clone());
        let held_of = self.rules.hold(Rule::PerScope).then_some(&scope);
        let state = self.clusters.get_mut(cluster).and_then(|state| state.scope_mut(&scope));
        let Some(state) = state else { return };
        let Buckets { differing, lacking } = buckets;
        let all: BTreeSet<u8> = differing.into_iter().chain(lacking.iter().copied()).collect();
        let streamed = Streamed { lacking: &lacking, unstreamed: &state.unstreamed };
        let asked = Asked { cluster, scope: said_by, epoch, held_of, streamed };
        let requests = repair::requests(&self.store, asked, &all);
        for (bucket, parts) in requests {
            if lacking.contains(&bucket) {
                state.unstreamed.asked(bucket, now);
            } else {
                state.comparison.asked(bucket, now);
            }
            for request in parts {
                state.repairs += 1;
                self.counters.repairs_asked += 1;
                self.effects.push(Effect::AskRepair { cluster: cluster.clone(), request });
            }
        }
    }
}

/// What to ask for.
struct Buckets {
    /// Hub and cluster differ.
    differing: Vec<u8>,
    /// Hub and cluster are equal, and the stream lacks something.
    lacking: BTreeSet<u8>,
}
