//! A simulated hub process: the real core, a reader of the simulated stream, and the view that subscribers see. Checks the laws
//! after everything that it does.

use std::collections::{BTreeMap, BTreeSet};

use vitals_hub_core::{
    ClusterRecord, Effect, Forgotten, Hub, Input, MayResume, Message, Position, Settings,
    StreamName, Time,
    picture::{EntityChange, Outcome},
};
use vitals_proto::{
    identity::{EntityRef, KeyParts, ObjectKey},
    kind::Kind,
    rule::Rules,
    subject::Published,
    v1,
};

use crate::{
    api::{self, Api, Name},
    broker::{Broker, Stored},
    process::Spoken,
    world::CLUSTER,
};

const STREAM: &str = "VITALS_OBJECTS";

/// What operators said of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// Of all that they said.
    pub revision: u64,
    /// Up to where it is forgotten.
    pub forgotten: Option<Forgotten>,
}

/// A law that does not hold, and how that was seen.
#[derive(Debug)]
pub struct Violation {
    /// 1 to 7, as docs/protocol.md numbers them.
    pub law: u8,
    /// What was seen.
    pub seen: String,
}

fn violates<T>(law: u8, seen: String) -> Result<T, Violation> {
    Err(Violation { law, seen })
}

/// What subscribers see of an entity: it, unless it was removed, and what touched it last.
type View = BTreeMap<EntityRef, (Option<v1::Entity>, Position)>;

/// A subscriber that left.
pub struct Left {
    entities: BTreeMap<EntityRef, v1::Entity>,
    token: Position,
    as_of: Time,
    scopes: BTreeSet<String>,
    /// What it has seen was not proven: see [`Replica::is_proven`]. A hub also gives tokens while a scope was never verified
    /// for long, and then the digest tells too.
    pub(crate) unproven: bool,
}

struct Attached {
    history: u64,
    /// Until where the snapshot goes, while it is read.
    snapshot_until: Option<u64>,
}

/// One hub.
pub struct Replica {
    /// It reads nothing.
    pub lags: bool,
    /// When the stream had gone back and it did not notice, by the broker's clock.
    pub deceived_at: Option<i64>,
    hub: Hub,
    stream: StreamName,
    attached: Option<Attached>,
    /// Incarnation and sequence of what was read last.
    read: Option<(i64, u64)>,
    view: View,
    /// The highest version of each object that was held, by its uid.
    highest: BTreeMap<ObjectKey, (String, u64)>,
    heard: BTreeMap<(String, i64), usize>,
    /// Until then a time may mean several heartbeats.
    unsure_until: i64,
    /// It will forget the cluster at the end of its first snapshot.
    forgets: bool,
    asked: Vec<v1::RepairRequest>,
}

impl Replica {
    /// A hub that has just started.
    pub fn start(rules: Rules, described: &Described) -> Self {
        let mut replica = Self {
            lags: false,
            deceived_at: None,
            hub: Hub::new(Settings { rules, streams: vec![STREAM.into()] }),
            stream: STREAM.into(),
            attached: None,
            read: None,
            view: View::new(),
            highest: BTreeMap::new(),
            heard: BTreeMap::new(),
            unsure_until: i64::MIN,
            forgets: false,
            asked: Vec::new(),
        };
        replica.describe(described, 0);
        replica
    }

    /// How the cluster would be forgotten, where this hub knows it.
    pub fn forgetting(&self, now: i64) -> Option<Forgotten> {
        let cluster = "c".parse().unwrap();
        let forgetting = self.hub.forgetting(&cluster, Time::from_unix_ms(now));
        Some(forgetting.ok()?.forgotten)
    }

    /// Reads what operators said. Once read it is not read again.
    pub fn describe(&mut self, described: &Described, now: i64) {
        let Described { revision, forgotten } = described;
        if self.hub.position().clusters_revision == *revision && *revision > 0 {
            return;
        }
        let record = ClusterRecord { forgotten: forgotten.clone(), ..ClusterRecord::default() };
        let records = BTreeMap::from([("c".parse().unwrap(), record)]);
        let now = Time::from_unix_ms(now);
        self.hub.apply(Input::Clusters { records, revision: *revision }, now);
        // What is forgotten and exists comes again with the next repairs; until all was read once, it goes only then.
        self.highest.clear();
        self.forgets = !self.hub.is_ready();
        let effects = self.hub.settle(now);
        self.perform(effects);
    }

    /// Reads at most `most` messages. Gives what it asks of agents.
    pub fn read(
        &mut self,
        most: usize,
        seen: &Seen<'_>,
    ) -> Result<Vec<v1::RepairRequest>, Violation> {
        let now = Time::from_unix_ms(seen.now);
        let broker = seen.broker;
        if self.attached.as_ref().is_none_or(|attached| attached.history != broker.history) {
            self.attach(broker, now);
        }
        let mut idle = false;
        for _ in 0..most {
            let sequence = self.read.map_or(0, |(_, sequence)| sequence);
            let Some((stored, pending)) = broker.next_after(sequence) else {
                idle = true;
                break;
            };
            self.deliver(stored, pending, seen)?;
        }
        self.end_snapshot(broker, idle, now, seen)?;
        if idle {
            self.hub.apply(Input::Idle { stream: &self.stream }, now);
        }
        let effects = self.hub.settle(now);
        self.perform(effects);
        self.check_fresh()?;
        Ok(std::mem::take(&mut self.asked))
    }

    fn attach(&mut self, broker: &Broker, now: Time) {
        let stream = self.stream.clone();
        if self.attached.is_some() {
            let reason = "reconnect".to_owned();
            self.hub.apply(Input::Lost { stream: &stream, reason }, now);
        }
        let incarnation_unix_ns = broker.incarnation;
        // A stream that was rolled back and has grown past what was read looks as if nothing had happened.
        let resumed = self.read.filter(|(of, sequence)| {
            *of == incarnation_unix_ns && *sequence <= broker.last_sequence()
        });
        // Only a digest tells of what it missed, until all was verified since.
        if resumed.is_some() {
            self.deceived_at = Some(now.unix_ms());
        }
        let snapshot_until = match resumed {
            Some((_, sequence)) => {
                let stream = &stream;
                self.hub.apply(Input::Resumed { stream, incarnation_unix_ns, sequence }, now);
                // A snapshot that was interrupted goes on.
                let unread = self.attached.as_ref().and_then(|attached| attached.snapshot_until);
                unread.map(|_| broker.last_sequence())
            }
            None => {
                self.read = Some((incarnation_unix_ns, 0));
                self.hub.apply(Input::SnapshotBegin { stream: &stream, incarnation_unix_ns }, now);
                Some(broker.last_sequence())
            }
        };
        self.attached = Some(Attached { history: broker.history, snapshot_until });
    }

    fn end_snapshot(
        &mut self,
        broker: &Broker,
        idle: bool,
        now: Time,
        seen: &Seen<'_>,
    ) -> Result<(), Violation> {
        let sequence = self.read.map_or(0, |(_, sequence)| sequence);
        let Some(attached) = &mut self.attached else { return Ok(()) };
        if attached.snapshot_until.is_some_and(|until| idle || sequence >= until) {
            let sequence = attached.snapshot_until.take().unwrap_or_default().max(sequence);
            let sequence = sequence.min(broker.last_sequence());
            let before = self.held();
            self.hub.apply(Input::SnapshotEnd { stream: &self.stream, sequence }, now);
            let after = self.held();
            if !std::mem::take(&mut self.forgets) {
                for key in before.difference(&after) {
                    self.check_removed(key, seen)?;
                }
            }
        }
        Ok(())
    }

    fn deliver(&mut self, stored: &Stored, pending: u64, seen: &Seen<'_>) -> Result<(), Violation> {
        let Stored { sequence, subject, payload, published_at } = stored;
        self.read = Some((seen.broker.incarnation, *sequence));
        let now = Time::from_unix_ms(*published_at);
        let published = Published::parse(subject).unwrap();
        let before = match &published {
            Published::Object(key) => self.hub.store().facts(key),
            Published::Heartbeat(..) => None,
        };
        let taken = self.hub.counters().names_taken;
        let message = Message { sequence: *sequence, subject, payload, pending };
        self.hub.apply(Input::Message { stream: &self.stream, message }, now);
        match published {
            Published::Object(key) => match (before, self.hub.store().facts(&key)) {
                // Another cluster took the name, and all that was held went.
                _ if self.hub.counters().names_taken != taken => Ok(()),
                (Some(_), None) => self.check_removed(&key, seen),
                (_, Some(after)) => self.check_order(&key, &after),
                (None, None) => Ok(()),
            },
            Published::Heartbeat(_, scope) => {
                if *published_at > self.unsure_until
                    && let Some(spoken) =
                        seen.spoken.iter().position(|spoken| spoken.payload == *payload)
                {
                    // Of several that were stored at one time, the first: at least that one holds.
                    self.heard.entry((scope.to_string(), *published_at)).or_insert(spoken);
                }
                // What is verified must be judged at once: the next message may change what is held.
                let effects = self.hub.settle(now);
                self.perform(effects);
                self.check_verified(seen)
            }
        }
    }

    fn held(&self) -> BTreeSet<ObjectKey> {
        self.hub.store().objects(&"c".parse().unwrap()).map(|held| held.key()).collect()
    }

    /// Law 2: what exists is not removed; unless the name is another cluster's here, whose objects are held then.
    fn check_removed(&mut self, key: &ObjectKey, seen: &Seen<'_>) -> Result<(), Violation> {
        let now = Time::from_unix_ms(seen.now);
        if self.hub.clusters(now).iter().any(|cluster| cluster.uid != CLUSTER) {
            return Ok(());
        }
        let Some((uid, _)) = self.highest.get(key) else { return Ok(()) };
        match seen.api.get(key.kind(), &name_of(key)) {
            Some(object) if format!("uid-{}", object.uid) == *uid => {
                violates(2, format!("{key} was removed, and exists"))
            }
            _ => Ok(()),
        }
    }

    /// Law 3: the states of one object come in their order.
    fn check_order(&mut self, key: &ObjectKey, facts: &v1::Facts) -> Result<(), Violation> {
        let uid = String::from_utf8(facts.meta.as_ref().unwrap().uid.to_vec()).unwrap();
        let version = api::version_of(facts);
        match self.highest.insert(key.clone(), (uid.clone(), version)) {
            Some((before, highest)) if before == uid && highest > version => {
                violates(3, format!("{key} went back from {highest} to {version}"))
            }
            _ => Ok(()),
        }
    }

    /// Law 7: what is said to be verified as of a heartbeat holds all that its agent knew then.
    fn check_verified(&self, seen: &Seen<'_>) -> Result<(), Violation> {
        let now = Time::from_unix_ms(seen.now);
        // While another cluster has the name, nothing is said of ours.
        let clusters = self.hub.clusters(now).into_iter().filter(|it| it.uid == CLUSTER);
        for cluster in clusters {
            for scope in &cluster.scopes {
                for kind in &scope.kinds {
                    let Some(at) = kind.verified_at.as_ref().map(Time::from_wire) else { continue };
                    let heard = self.heard.get(&(scope.scope.clone(), at.unix_ms()));
                    if let Some(spoken) = heard.and_then(|index| seen.spoken.get(*index)) {
                        self.check_truth(&Kind::from_resource(&kind.kind), spoken, seen)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn check_truth(&self, kind: &Kind, spoken: &Spoken, seen: &Seen<'_>) -> Result<(), Violation> {
        for ((of, name), version) in &spoken.truth {
            if of != kind {
                continue;
            }
            let held = self.hub.store().facts(&key_of(of, name));
            let held_version = held.as_ref().map_or(0, api::version_of);
            let gone = seen.api.get(of, name).is_none_or(|object| object.uid > *version);
            if held_version < *version && !(held.is_none() && gone) {
                let seen =
                    format!("{of} {name:?} is held at {held_version}, verified at {version}");
                return violates(7, seen);
            }
        }
        Ok(())
    }

    /// Law 7: what is stale is not Healthy.
    fn check_fresh(&self) -> Result<(), Violation> {
        for (entity, (state, _)) in &self.view {
            for cluster in state.iter().flat_map(|state| &state.clusters) {
                let Some(verdict) = &cluster.verdict else { continue };
                let fresh = verdict
                    .freshness
                    .as_ref()
                    .is_some_and(|freshness| freshness.state() == v1::FreshnessState::Fresh);
                if !fresh && verdict.status() == v1::HealthStatus::Healthy {
                    return violates(7, format!("{entity} is stale and Healthy"));
                }
            }
        }
        Ok(())
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Entity(EntityChange { entity, touched, outcome }) => match outcome {
                    Outcome::Changed { state, .. } => {
                        self.view.insert(entity, (Some(v1::Entity::clone(&state)), touched));
                    }
                    Outcome::Removed => {
                        self.view.insert(entity, (None, touched));
                    }
                    Outcome::Touched => {
                        if let Some((_, before)) = self.view.get_mut(&entity) {
                            *before = touched;
                        }
                    }
                },
                Effect::AskRepair { request, .. } => self.asked.push(request),
                Effect::Cluster(_)
                | Effect::ClusterForgotten { .. }
                | Effect::ScopesOverlap { .. }
                | Effect::HubBlind { .. }
                | Effect::HubSees { .. } => {}
            }
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: i64) -> Result<Vec<v1::RepairRequest>, Violation> {
        let effects = self.hub.tick(Time::from_unix_ms(now));
        self.perform(effects);
        // After the broker's clock was set back, what was verified counts as verified now, and its time does not tell any
        // more which heartbeat is meant.
        if self.heard.keys().any(|(_, at)| *at > now) {
            self.heard.clear();
            self.unsure_until = now;
        }
        self.check_fresh()?;
        Ok(std::mem::take(&mut self.asked))
    }

    fn entities(&self) -> BTreeMap<EntityRef, v1::Entity> {
        let present = |(entity, (state, _)): (&EntityRef, &(Option<v1::Entity>, Position))| {
            state.as_ref().map(|state| (entity.clone(), state.clone()))
        };
        self.view.iter().filter_map(present).collect()
    }

    /// A subscriber leaves with what it has seen; nobody can who was given no token to resume from.
    pub fn leave(&self, now: i64, lost_at: Option<i64>) -> Option<Left> {
        let at = Time::from_unix_ms(now);
        let (token, as_of) = (self.hub.token_position(at), self.hub.as_of());
        let scopes = self.scopes(now);
        let given = token != Position::default();
        let never_verified = self.states(now).contains(&v1::FreshnessState::Unverified);
        let unproven = never_verified || !self.is_proven(now, lost_at);
        given.then(|| Left { entities: self.entities(), token, as_of, scopes, unproven })
    }

    /// All was verified since the broker lost something, and since this replica missed something. Of that, one replica may have
    /// read what another had not yet, and only the digest in `synced` tells a subscriber who comes from the one to the other.
    fn is_proven(&self, now: i64, lost_at: Option<i64>) -> bool {
        let clusters = self.hub.clusters(Time::from_unix_ms(now));
        lost_at.max(self.deceived_at).is_none_or(|lost_at| {
            clusters.iter().all(|cluster| {
                cluster.verified_at.as_ref().map(Time::from_wire)
                    > Some(Time::from_unix_ms(lost_at))
            })
        })
    }

    fn states(&self, now: i64) -> Vec<v1::FreshnessState> {
        let clusters = self.hub.clusters(Time::from_unix_ms(now));
        let state = |cluster: v1::Cluster| cluster.freshness.unwrap_or_default().state();
        clusters.into_iter().map(state).collect()
    }

    fn scopes(&self, now: i64) -> BTreeSet<String> {
        let clusters = self.hub.clusters(Time::from_unix_ms(now));
        clusters.into_iter().flat_map(|cluster| cluster.scopes).map(|scope| scope.scope).collect()
    }

    /// Law 5: who resumes here sees what a fresh snapshot shows. Where both sides say that a cluster is not fresh, the view
    /// may differ in that alone, since it moves with time and not with the stream; the digest in `synced` tells the client.
    pub fn resume(
        &self,
        left: &Left,
        now: i64,
        lost_at: Option<i64>,
    ) -> Result<Resumed, Violation> {
        let Left { entities, token, as_of, scopes, unproven } = left;
        // A stream that lost a heartbeat and what it spoke of leaves a new hub without a trace of that scope, until its agent
        // speaks again, and one of an agent that then fell silent is not proven. Only the digest shows it.
        let all_fresh = self.states(now).iter().all(|it| *it == v1::FreshnessState::Fresh);
        let is_proven = !unproven && all_fresh && self.is_proven(now, lost_at);
        if !scopes.is_subset(&self.scopes(now)) || !is_proven {
            return Ok(Resumed::Anew);
        }
        match self.hub.may_resume(token, *as_of, Time::from_unix_ms(now)) {
            MayResume::Wait(_) => return Ok(Resumed::Waits),
            MayResume::Snapshot(_) => return Ok(Resumed::Anew),
            MayResume::Serve => {}
        }
        let mut resumed = entities.clone();
        for (entity, (state, touched)) in &self.view {
            if touched.is_touched_since(token) {
                match state {
                    Some(state) => resumed.insert(entity.clone(), state.clone()),
                    None => resumed.remove(entity),
                };
            }
        }
        let fresh = self.entities();
        let keys: BTreeSet<&EntityRef> = resumed.keys().chain(fresh.keys()).collect();
        for key in keys {
            let (ours, theirs) = (resumed.get(key), fresh.get(key));
            let known = [ours, theirs].into_iter().flatten().all(is_fresh);
            if known && ours.map(gist) != theirs.map(gist) {
                return violates(5, format!("{key}: resumed {ours:?}, fresh {theirs:?}"));
            }
        }
        Ok(Resumed::Served)
    }

    /// Law 1: what is held is what exists, it is fresh, and entities say the same as those of a hub that has just read it all.
    pub fn equals(&self, api: &Api, fresh: &Self, now: i64) -> Result<(), Violation> {
        let now = Time::from_unix_ms(now);
        let held: BTreeMap<(Kind, Name), u64> = self
            .held()
            .into_iter()
            .map(|key| {
                let version = self.hub.store().facts(&key).as_ref().map_or(0, api::version_of);
                ((key.kind().clone(), name_of(&key)), version)
            })
            .collect();
        let exists: BTreeMap<(Kind, Name), u64> = api
            .objects()
            .iter()
            .map(|(key, object)| (key.clone(), object.resource_version))
            .collect();
        if held != exists {
            return violates(1, format!("held {held:?}, exists {exists:?}"));
        }
        for cluster in self.hub.clusters(now) {
            let state = cluster.freshness.as_ref().map(v1::Freshness::state);
            if state != Some(v1::FreshnessState::Fresh) {
                return violates(1, format!("not fresh: {:?}", cluster.freshness));
            }
        }
        let [ours, theirs] = [self, fresh].map(|replica| {
            let entities = replica.entities();
            entities.into_iter().map(|(key, entity)| (key, gist(&entity))).collect::<Vec<_>>()
        });
        if ours == theirs { Ok(()) } else { violates(1, format!("{ours:?} but anew {theirs:?}")) }
    }
}

/// How a resume went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// The token was taken.
    Served,
    /// The subscriber waits.
    Waits,
    /// The subscriber begins anew.
    Anew,
}

/// What a hub can look at, and what its checks know besides.
pub struct Seen<'a> {
    /// The stream.
    pub broker: &'a Broker,
    /// The truth.
    pub api: &'a Api,
    /// What heartbeats spoke of.
    pub spoken: &'a [Spoken],
    /// The broker's time. Milliseconds.
    pub now: i64,
}

fn is_fresh(entity: &v1::Entity) -> bool {
    entity.clusters.iter().filter_map(|cluster| cluster.verdict.as_ref()).all(|verdict| {
        verdict
            .freshness
            .as_ref()
            .is_some_and(|freshness| freshness.state() == v1::FreshnessState::Fresh)
    })
}

/// What an entity is judged to be, without times.
fn gist(entity: &v1::Entity) -> Vec<(String, i32, String, Vec<v1::WorkloadSummary>)> {
    let gist = |name: &str, verdict: Option<&v1::Verdict>, workloads: &[v1::WorkloadSummary]| {
        let verdict = verdict.cloned().unwrap_or_default();
        (name.to_owned(), verdict.status, verdict.reason, workloads.to_vec())
    };
    let clusters = entity
        .clusters
        .iter()
        .map(|cluster| gist(&cluster.cluster, cluster.verdict.as_ref(), &cluster.workloads));
    std::iter::once(gist("", entity.verdict.as_ref(), &[])).chain(clusters).collect()
}

fn name_of(key: &ObjectKey) -> Name {
    (key.namespace().to_owned(), key.name().to_owned())
}

fn key_of(kind: &Kind, name: &Name) -> ObjectKey {
    let cluster = "c".parse().unwrap();
    ObjectKey::new(KeyParts { cluster, kind: kind.clone(), namespace: &name.0, name: &name.1 })
        .unwrap()
}
