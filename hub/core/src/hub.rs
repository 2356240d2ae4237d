//! The hub's core as one: apply what was read, settle what follows from it, tick when time passes.
//!
//! The shell calls [`Hub::apply`] for everything that comes, [`Hub::settle`] once per batch of it, and [`Hub::tick`] about once
//! a second; it performs the [`Effect`]s. One writer, no clock, no I/O: a hub that is given the same inputs at the same times
//! says the same, and two hubs that are given the same messages come to hold the same.
//!
//! Invariants: the sums are those of what the store holds; nothing of what is held is dropped but for a tombstone, or because
//! another cluster has taken its name; until every stream of the set has been read once, no entity is said.

mod input;
mod counters;
mod names;
mod intake;
mod heartbeat;
mod resume;
mod forget;

use std::collections::{BTreeMap, BTreeSet};

use vitals_proto::{
    identity::{ClusterName, ObjectKey, Scope},
    limits::FREEZE_MIN,
    rule::{Rule, Rules},
    v1,
};

pub use counters::{Counters, Refusal};
pub use forget::{Forgetting, NotForgettable};
pub use input::{Effect, Input, Message};
pub use resume::MayResume;

use crate::{
    catalog,
    cluster_record::{ClusterLabels, ClusterRecord},
    ingest::{
        burials::Burials,
        cluster::ClusterState,
        freshness::Seen,
        stream::{Arrival, StreamState},
    },
    picture::{Picture, PictureConfig},
    position::{Position, StreamName, StreamPoint},
    store::Store,
    time::Time,
};

/// What a hub is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The rules that hold: all, but in tests that take one away.
    pub rules: Rules,
    /// The streams of the set.
    pub streams: Vec<StreamName>,
}

/// A broker's clock that goes back by more was set back, and is not just read a little differently each time.
const CLOCK_STEP_MIN_MS: i64 = 1_000;

/// Most clusters. Messages of more are refused and counted: names come from whoever may publish.
const CLUSTERS_MAX: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub struct Hub {
    rules: Rules,
    streams: BTreeMap<StreamName, StreamState>,
    position: Position,
    /// The latest time that was heard, by the broker's clock.
    heard_at: Time,
    ticked_at: Option<Time>,
    clusters: BTreeMap<ClusterName, ClusterState>,
    /// Clusters to be judged anew.
    stirred: BTreeSet<ClusterName>,
    store: Store,
    burials: Burials,
    picture: Picture,
    definitions: BTreeMap<String, v1::EntityDefinition>,
    definition_problems: Vec<catalog::Error>,
    records: BTreeMap<ClusterName, ClusterRecord>,
    /// The revision of the records that were read first: what was forgotten until then was never here.
    first_records: Option<u64>,
    /// Clusters to be forgotten, once all was read.
    unforgotten: BTreeSet<ClusterName>,
    counters: Counters,
    effects: Vec<Effect>,
    /// What a snapshot has named so far. Only without [`Rule::SnapshotMerges`].
    named: BTreeMap<StreamName, BTreeSet<ObjectKey>>,
}

impl Hub {
    /// A hub that has read nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with(settings, PictureConfig::default())
    }

    /// The same, with a picture of its own kind.
    #[must_use]
    pub fn with(settings: Settings, config: PictureConfig) -> Self {
        let Settings { rules, streams } = settings;
        Self {
            rules,
            streams: streams.into_iter().map(|name| (name, StreamState::default())).collect(),
            position: Position::default(),
            heard_at: Time::MIN,
            ticked_at: None,
            clusters: BTreeMap::new(),
            stirred: BTreeSet::new(),
            store: Store::default(),
            burials: Burials::default(),
            picture: Picture::with(rules, config),
            definitions: BTreeMap::new(),
            definition_problems: Vec::new(),
            records: BTreeMap::new(),
            first_records: None,
            unforgotten: BTreeSet::new(),
            counters: Counters::default(),
            effects: Vec::new(),
            named: BTreeMap::new(),
        }
    }

    /// Takes in what came. `now` is the broker's time: for a message when the broker stored it, which is the same for all
    /// replicas and at every replay; for all else the best estimate of the broker's clock.
    pub fn apply(&mut self, input: Input<'_>, now: Time) {
        match input {
            Input::Message { stream, message } => self.apply_message(stream, message, now),
            Input::SnapshotBegin { stream, incarnation_unix_ns } => {
                if !self.rules.hold(Rule::SnapshotMerges) {
                    self.named.insert(stream.clone(), BTreeSet::new());
                }
                self.store.begin_reading(stream);
                self.with_stream(stream, |state| state.begin_snapshot(incarnation_unix_ns, now));
                self.stand_at(stream);
            }
            Input::Resumed { stream, incarnation_unix_ns, sequence } => {
                self.with_stream(stream, |state| state.resume(incarnation_unix_ns, sequence));
                self.stand_at(stream);
            }
            Input::SnapshotEnd { stream, sequence } => {
                self.drop_unnamed(stream, now);
                self.note_unstreamed(stream);
                self.with_stream(stream, |state| state.end_snapshot(sequence, now));
                self.stand_at(stream);
                self.decide_names(stream);
                self.forget_all();
                self.stirred.extend(self.clusters.keys().cloned());
            }
            Input::Idle { stream } => self.with_stream(stream, |state| state.idle(now)),
            Input::Lost { stream, reason } => {
                self.with_stream(stream, |state| state.lose(reason, now));
            }
            Input::Definitions { definitions, revision } => self.define(definitions, revision),
            Input::Clusters { records, revision } => self.describe(records, revision),
            Input::RepairAnswer { cluster, scope, bucket, answer } => {
                if !answer.refused.is_empty() {
                    self.counters.repairs_refused += 1;
                    self.not_repaired(cluster, scope, bucket, now);
                }
            }
            Input::NoAgent { cluster, scope, bucket } => {
                self.counters.repairs_unanswered += 1;
                self.not_repaired(cluster, scope, bucket, now);
            }
        }
    }

    /// Judges what was stirred since the last time, and gives what must happen. `now` is the broker's time, as well as known.
    pub fn settle(&mut self, now: Time) -> Vec<Effect> {
        for name in std::mem::take(&mut self.stirred) {
            self.judge_cluster(&name, now);
        }
        // A picture of which a part was never read is not judged: it would show what is there as missing.
        if self.is_ready() {
            let changes = self.picture.settle(&self.store, &self.position, now);
            self.effects.extend(changes.into_iter().map(Effect::Entity));
        }
        std::mem::take(&mut self.effects)
    }

    /// Time has passed. `now` is the broker's time, as well as known.
    pub fn tick(&mut self, now: Time) -> Vec<Effect> {
        if self.heard_at.unix_ms() > now.unix_ms().saturating_add(CLOCK_STEP_MIN_MS) {
            self.set_back(now);
        }
        let slept = self.ticked_at.is_some_and(|ticked_at| now.since(ticked_at) > FREEZE_MIN);
        self.ticked_at = Some(now);
        let names: Vec<_> = self.streams.keys().cloned().collect();
        for name in &names {
            self.with_stream(name, |stream| {
                stream.not_after(now);
                // Else all agents would count as lost, since what they said meanwhile waits to be read.
                if slept {
                    stream.oversleep(now);
                }
            });
        }
        self.burials.expire(now);
        self.stirred.extend(self.clusters.keys().cloned());
        self.settle(now)
    }

    /// When the next tick is needed at the latest, beside one a second; `None` where nothing waits for time.
    #[must_use]
    pub fn recheck_at(&self) -> Option<Time> {
        self.picture.recheck_at()
    }

    /// Every stream of the set was read once, so that entities can be said.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.streams.values().all(|stream| stream.own_snapshot().is_some())
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The broker's time up to which all was read, in every stream. It stands still while the hub is cut from one.
    #[must_use]
    pub fn as_of(&self) -> Time {
        self.streams.values().map(StreamState::as_of).min().unwrap_or(Time::MIN)
    }

    /// All clusters, in order.
    #[must_use]
    pub fn clusters(&self, now: Time) -> Vec<v1::Cluster> {
        let clusters = self.clusters.iter();
        let say = |(name, state): (&ClusterName, &ClusterState)| {
            state.to_wire(self.store.count(name), self.labels(name), now)
        };
        clusters.map(say).collect()
    }

    fn labels(&self, name: &ClusterName) -> Option<&ClusterLabels> {
        self.records.get(name).map(|record| &record.labels)
    }

    /// The entity definitions, ordered by reference.
    pub fn definitions(&self) -> impl Iterator<Item = &v1::EntityDefinition> {
        self.definitions.values()
    }

    /// What is wrong with those of them that were left out.
    #[must_use]
    pub fn definition_problems(&self) -> &[catalog::Error] {
        &self.definition_problems
    }

    /// What is held.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it means.
    #[must_use]
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn apply_message(&mut self, name: &StreamName, message: Message<'_>, now: Time) {
        self.counters.messages += 1;
        self.heard_at = self.heard_at.max(now);
        let Message { sequence, pending, .. } = message;
        let mut arrival = Arrival::New;
        self.with_stream(name, |stream| arrival = stream.read(sequence, pending, now));
        let Some(stream) = self.streams.get(name) else { return };
        let taken = match arrival {
            Arrival::Again => Err(Refusal::Redelivered),
            Arrival::New => {
                let incarnation_unix_ns = stream.incarnation_unix_ns();
                let at = StreamPoint { stream: name.clone(), incarnation_unix_ns, sequence };
                self.position.advance(&at);
                self.take(message, &at, now)
            }
        };
        if let Err(refusal) = taken {
            self.counters.refuse(refusal);
        }
    }

    /// Lets something happen to a stream. Whether it can be seen concerns all clusters, at once. A stream that is not of the
    /// set is taken into it: the shell knows what it reads.
    fn with_stream(&mut self, name: &StreamName, happen: impl FnOnce(&mut StreamState)) {
        if !self.streams.contains_key(name) {
            self.streams.insert(name.clone(), StreamState::default());
        }
        let Some(stream) = self.streams.get_mut(name) else { return };
        let blind = stream.blind().is_some();
        happen(stream);
        match (blind, stream.blind()) {
            (false, None) | (true, Some(_)) => return,
            (false, Some((since, reason))) => self.effects.push(Effect::HubBlind {
                stream: name.clone(),
                since,
                reason: reason.to_owned(),
            }),
            (true, None) => self.effects.push(Effect::HubSees { stream: name.clone() }),
        }
        self.stirred.extend(self.clusters.keys().cloned());
    }

    fn stand_at(&mut self, name: &StreamName) {
        if let Some(stream) = self.streams.get(name) {
            self.position.advance(&StreamPoint {
                stream: name.clone(),
                incarnation_unix_ns: stream.incarnation_unix_ns(),
                sequence: stream.sequence(),
            });
        }
    }

    fn define(&mut self, definitions: Vec<v1::EntityDefinition>, revision: u64) {
        self.position.definitions_revision = revision;
        let by_ref = definitions.iter().map(|definition| (definition.r#ref.clone(), definition));
        self.definitions = by_ref.map(|(name, definition)| (name, definition.clone())).collect();
        self.definition_problems =
            self.picture.set_definitions(definitions, revision, &self.position);
    }

    fn not_repaired(&mut self, cluster: &ClusterName, scope: &Scope, bucket: u8, now: Time) {
        let scope = self.sharing(scope.clone());
        let state = self.clusters.get_mut(cluster).and_then(|state| state.scope_mut(&scope));
        if let Some(state) = state {
            state.comparison.not_answered(bucket, now);
        }
    }

    fn judge_cluster(&mut self, name: &ClusterName, now: Time) {
        let Some(cluster) = self.clusters.get_mut(name) else { return };
        let Some(stream) = self.streams.get(&cluster.stream) else { return };
        let seen = Seen { blind: stream.blind(), listening: stream.listening_now() };
        if let Some(freshness) = cluster.judge(seen, now) {
            self.picture.set_freshness(name, freshness.clone(), &self.position, now);
        }
        let labels = self.records.get(name).map(|record| &record.labels);
        let said = cluster.say(self.store.count(name), labels, now);
        self.effects.extend(said.map(Effect::Cluster));
    }

    /// The broker's clock went back. Nothing that was heard was heard later than now: else an agent that falls silent would
    /// count as alive, and what is old as verified, until the clock has come to where it was.
    fn set_back(&mut self, now: Time) {
        self.heard_at = now;
        for cluster in self.clusters.values_mut() {
            cluster.not_after(now);
        }
    }

    /// Whose epochs, sums and repairs a scope shares: nobody's but its own.
    fn sharing(&self, scope: Scope) -> Scope {
        if self.rules.hold(Rule::PerScope) { scope } else { Scope::default() }
    }
}

#[cfg(test)]
mod rig;
#[cfg(test)]
#[path = "hub/hub_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "hub/forget_tests.rs"]
mod forget_tests;
#[cfg(test)]
#[path = "hub/unstreamed_tests.rs"]
mod unstreamed_tests;
