//! What the tests of the core drive it with: a stream that keeps the last message per subject, and agents that know what they
//! sent. Small models of their own; the law tests drive the real agent.

use std::collections::BTreeMap;

use prost::Message as _;
use vitals_proto::{
    FORMAT,
    digest::{Digest, Place, Sums},
    identity::{ClusterName, Epoch, KeyParts, ObjectKey, Scope, Uid},
    kind::Kind,
    subject,
    v1::{self, KindState, object_change::State},
};

use super::*;

/// A message on its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) subject: String,
    pub(super) payload: Vec<u8>,
}

/// One agent of one scope of the cluster `eu-1`.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) scope: Scope,
    pub(super) uid: Uid,
    pub(super) epoch: Epoch,
    pub(super) counter: u64,
    /// What exists, as it was sent.
    pub(super) sent: BTreeMap<ObjectKey, Vec<u8>>,
    pub(super) kinds: BTreeMap<Kind, KindState>,
    pub(super) reachable: bool,
    pub(super) provisional: bool,
}

pub(super) fn cluster() -> ClusterName {
    "eu-1".parse().unwrap()
}

pub(super) fn pod(name: &str) -> ObjectKey {
    object(Kind::Pod, name)
}

pub(super) fn object(kind: Kind, name: &str) -> ObjectKey {
    let namespace = if kind.is_namespaced() == Some(false) { "" } else { "pay" };
    ObjectKey::new(KeyParts { cluster: cluster(), kind, namespace, name }).unwrap()
}

pub(super) fn at(unix_s: i64) -> Time {
    Time::from_unix_s(unix_s)
}

impl Agent {
    pub(super) fn new(scope: &str, epoch: i64) -> Self {
        Self {
            scope: scope.parse().unwrap(),
            uid: Uid::from_text("1b4e28ba-2fa1-11d2-883f-0016d3cca427"),
            epoch: Epoch { started_at_unix_ms: epoch, random: 1 },
            counter: 0,
            sent: BTreeMap::new(),
            kinds: Kind::KNOWN.into_iter().map(|kind| (kind, KindState::Complete)).collect(),
            reachable: true,
            provisional: false,
        }
    }

    /// The same cluster under another epoch.
    pub(super) fn restarted(&self, epoch: i64) -> Self {
        let epoch = Epoch { started_at_unix_ms: epoch, ..self.epoch };
        Self { epoch, counter: 0, ..self.clone() }
    }

    pub(super) fn change(&mut self, key: &ObjectKey, state: Option<State>) -> Sent {
        self.counter += 1;
        let change = v1::ObjectChange {
            format: FORMAT,
            epoch: Some(self.epoch.into()),
            counter: self.counter,
            cluster_uid: self.uid.to_wire().into(),
            scope: self.scope.to_string(),
            kind: key.kind().to_string(),
            namespace: key.namespace().into(),
            name: key.name().into(),
            resource_version: self.counter.to_string(),
            observed_at_unix_ms: 1,
            state,
        };
        Sent { subject: subject::object(key), payload: change.encode_to_vec() }
    }

    /// The object is so now.
    pub(super) fn put(&mut self, key: &ObjectKey, version: &str) -> Sent {
        let facts = v1::Facts { truncated: vec![version.into()], ..Default::default() };
        let sent = self.change(key, Some(State::Facts(facts)));
        self.sent.insert(key.clone(), sent.payload.clone());
        sent
    }

    /// The object is gone.
    pub(super) fn delete(&mut self, key: &ObjectKey) -> Sent {
        self.sent.remove(key);
        self.change(key, Some(State::Tombstone(v1::Tombstone::default())))
    }

    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for (key, payload) in &self.sent {
            if self.kinds.get(key.kind()) == Some(&KindState::Complete) {
                let subject = subject::object(key);
                sums.add(Place::of(&subject).bucket(), Digest::of(&subject, payload));
            }
        }
        sums
    }

    pub(super) fn heartbeat(&mut self) -> Sent {
        self.counter += 1;
        let kinds = self.kinds.iter().map(|(kind, state)| v1::KindReport {
            kind: kind.to_string(),
            state: (*state).into(),
            ..Default::default()
        });
        let heartbeat = v1::Heartbeat {
            format: FORMAT,
            epoch: Some(self.epoch.into()),
            counter: self.counter,
            cluster_uid: self.uid.to_wire().into(),
            scope: self.scope.to_string(),
            kinds: kinds.collect(),
            bucket_sums: self.sums().to_wire().into(),
            api_server: Some(v1::ApiServerReport {
                reachable: self.reachable,
                ..Default::default()
            }),
            provisional: self.provisional,
            ..Default::default()
        };
        let subject = subject::heartbeat(&cluster(), &self.scope);
        Sent { subject, payload: heartbeat.encode_to_vec() }
    }

    /// What it publishes when it is asked to repair.
    pub(super) fn repair(&mut self, request: &v1::RepairRequest) -> Vec<Sent> {
        if request.scope != self.scope.as_str()
            || request.epoch.map(Epoch::from) != Some(self.epoch)
        {
            return Vec::new();
        }
        let asked = |subject: &str| {
            let place = Place::of(subject);
            u32::from(place.bucket()) == request.bucket
                && place.part(request.part_bits) == request.part
        };
        let named: BTreeMap<_, _> =
            request.held.iter().map(|held| (held.subject.clone(), held.digest.clone())).collect();
        let mut repair = Vec::new();
        for (key, payload) in self.sent.clone() {
            let subject = subject::object(&key);
            let digest = Digest::of(&subject, &payload).to_wire().to_vec();
            if asked(&subject) && named.get(&subject).is_none_or(|named| *named != digest) {
                let change = v1::ObjectChange::decode(&payload[..]).unwrap();
                let sent = self.change(&key, change.state);
                self.sent.insert(key, sent.payload.clone());
                repair.push(sent);
            }
        }
        for subject in named.keys() {
            let Ok(subject::Published::Object(key)) = subject::Published::parse(subject) else {
                panic!("{subject} is no object's");
            };
            if !self.sent.contains_key(&key) {
                repair.push(self.delete(&key));
            }
        }
        repair
    }
}

/// A stream that keeps the last message per subject.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    pub(super) last: u64,
    pub(super) messages: BTreeMap<u64, (Sent, Time)>,
}

impl Stream {
    pub(super) fn append(&mut self, sent: &Sent, now: Time) -> u64 {
        self.messages.retain(|_, (message, _)| message.subject != sent.subject);
        self.last += 1;
        self.messages.insert(self.last, (sent.clone(), now));
        self.last
    }
}

/// A hub, its stream, and the time.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) hub: Hub,
    pub(super) stream: Stream,
    pub(super) incarnation: i64,
    pub(super) now: Time,
    pub(super) effects: Vec<Effect>,
    /// The stream cannot be seen.
    cut: bool,
}

pub(super) fn name() -> StreamName {
    "S".into()
}

impl Rig {
    /// Of a hub that has read an empty stream.
    pub(super) fn new() -> Self {
        Self::with(Rules::ALL)
    }

    pub(super) fn with(rules: Rules) -> Self {
        let mut rig = Self::unread(rules, Stream::default(), at(1_000));
        rig.snapshot();
        rig
    }

    pub(super) fn unread(rules: Rules, stream: Stream, now: Time) -> Self {
        let hub = Hub::new(Settings { rules, streams: vec![name()] });
        Self { hub, stream, incarnation: 1, now, effects: Vec::new(), cut: false }
    }

    pub(super) fn apply(&mut self, input: Input<'_>) {
        match input {
            Input::Lost { .. } => self.cut = true,
            Input::SnapshotBegin { .. } | Input::Resumed { .. } => self.cut = false,
            Input::Message { .. }
            | Input::SnapshotEnd { .. }
            | Input::Idle { .. }
            | Input::Definitions { .. }
            | Input::Clusters { .. }
            | Input::RepairAnswer { .. }
            | Input::NoAgent { .. } => {}
        }
        self.hub.apply(input, self.now);
    }

    /// Reads the stream from its beginning.
    pub(super) fn snapshot(&mut self) {
        let stream = &name();
        self.apply(Input::SnapshotBegin { stream, incarnation_unix_ns: self.incarnation });
        let messages = self.stream.messages.clone();
        let mut pending = messages.len();
        for (sequence, (sent, at)) in messages {
            pending -= 1;
            self.read(sequence, &sent, pending, at);
        }
        self.apply(Input::SnapshotEnd { stream, sequence: self.stream.last });
        self.settle();
    }

    pub(super) fn read(&mut self, sequence: u64, sent: &Sent, pending: usize, at: Time) {
        let message = Message {
            sequence,
            subject: &sent.subject,
            payload: &sent.payload,
            pending: pending.try_into().unwrap(),
        };
        self.hub.apply(Input::Message { stream: &name(), message }, at);
    }

    /// Publishes, and reads what was published.
    pub(super) fn send(&mut self, sent: Sent) {
        let sequence = self.stream.append(&sent, self.now);
        self.read(sequence, &sent, 0, self.now);
        self.settle();
    }

    pub(super) fn settle(&mut self) {
        let effects = self.hub.settle(self.now);
        self.effects.extend(effects);
    }

    /// Time passes, second by second, and the reader says that all is read.
    pub(super) fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now = self.now.after(std::time::Duration::from_secs(1));
            if !self.cut {
                self.apply(Input::Idle { stream: &name() });
            }
            let effects = self.hub.tick(self.now);
            self.effects.extend(effects);
        }
    }

    /// Five seconds pass, and the agent speaks. It repairs what it is asked to.
    pub(super) fn beat(&mut self, agent: &mut Agent) {
        self.pass(5);
        self.effects.clear();
        self.send(agent.heartbeat());
        for request in self.asked() {
            for sent in agent.repair(&request) {
                self.send(sent);
            }
        }
    }

    /// What was asked to be repaired.
    pub(super) fn asked(&self) -> Vec<v1::RepairRequest> {
        let asked = self.effects.iter().filter_map(|effect| match effect {
            Effect::AskRepair { request, .. } => Some(request.clone()),
            Effect::Entity(_)
            | Effect::Cluster(_)
            | Effect::ClusterForgotten { .. }
            | Effect::ScopesOverlap { .. }
            | Effect::HubBlind { .. }
            | Effect::HubSees { .. } => None,
        });
        asked.collect()
    }

    pub(super) fn cluster(&self) -> v1::Cluster {
        self.hub.clusters(self.now).remove(0)
    }

    pub(super) fn state(&self) -> v1::FreshnessState {
        self.cluster().freshness.unwrap().state()
    }

    /// What is held, as its versions.
    pub(super) fn held(&self) -> BTreeMap<ObjectKey, String> {
        let objects = self.hub.store().objects(&cluster());
        objects
            .map(|held| {
                let version = held.facts().map(|facts| facts.truncated.join(","));
                (held.key(), version.unwrap_or_default())
            })
            .collect()
    }

    /// What the agent says exists, as its versions.
    pub(super) fn exists(agent: &Agent) -> BTreeMap<ObjectKey, String> {
        let version =
            |payload: &Vec<u8>| match v1::ObjectChange::decode(&payload[..]).unwrap().state {
                Some(State::Facts(facts)) => facts.truncated.join(","),
                Some(State::Tombstone(_)) | None => String::new(),
            };
        agent.sent.iter().map(|(key, payload)| (key.clone(), version(payload))).collect()
    }

    /// All that the hub knows but times and counts of what came.
    pub(super) fn fingerprint(&self) -> Vec<String> {
        let mut held: Vec<_> = self
            .hub
            .store()
            .objects(&cluster())
            .map(|held| {
                format!("{} {} {} {:?}", held.key(), held.epoch(), held.counter(), held.digest())
            })
            .collect();
        held.sort();
        let clusters = self.hub.clusters(self.now);
        held.extend(clusters.iter().map(|cluster| format!("{cluster:?}")));
        held
    }

    /// The sums that are kept are those of what is held.
    pub(super) fn assert_sums_are_true(&self) {
        let Some(state) = self.hub.clusters.get(&cluster()) else { return };
        for (name, scope) in state.scopes() {
            let mut want: BTreeMap<Kind, (Sums, u64)> = BTreeMap::new();
            for held in self.hub.store().objects(&cluster()).filter(|held| held.scope() == name) {
                let (sums, count) = want.entry(held.kind().clone()).or_default();
                sums.add(Place::of(&subject::object(&held.key())).bucket(), held.digest());
                *count += 1;
            }
            assert_eq!(scope.sums.kinds().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
            for (kind, (sums, count)) in want {
                assert_eq!(scope.sums.over(&[kind.clone()].into()), sums);
                assert_eq!(scope.sums.count(&kind), count);
            }
        }
    }
}
