//! One message of an object: whether it counts, and what is held then.
//!
//! Everything is decided from the envelope, before the facts are looked at. What is refused is counted, and changes nothing but
//! what is known of who is alive; so the sums show it, and it is repaired where it should have been held.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use vitals_proto::{
    MAGIC,
    digest::{Digest, Place},
    identity::{ClusterName, ObjectKey, Scope, Uid},
    rule::Rule,
    subject::Published,
    v1,
};

use super::{Effect, Hub, Message, Refusal};
use crate::{
    ingest::{
        comparison::Reading,
        envelope::{Envelope, Problem, State},
        epochs::{Listening, Rank, Standing, compare},
    },
    position::{StreamName, StreamPoint},
    store::{Content, NewHeld},
    time::Time,
};

/// An object's message whose envelope was read.
struct Said<'a> {
    key: ObjectKey,
    scope: Scope,
    envelope: Envelope<'a>,
    message: Message<'a>,
    at: &'a StreamPoint,
    now: Time,
}

/// What of the sums a held message takes part in.
struct Counted {
    scope: Scope,
    bucket: u8,
    digest: Digest,
}

impl Hub {
    /// Takes in a message that was not read before.
    pub(super) fn take(
        &mut self,
        message: Message<'_>,
        at: &StreamPoint,
        now: Time,
    ) -> Result<(), Refusal> {
        let published = Published::parse(message.subject).map_err(|_| Refusal::Foreign)?;
        if self.is_forgotten(&published, at, now) {
            // It is there again where the stream was put back: then its agent has to bury it, or to send what is held.
            if let Published::Object(key) = &published {
                self.displace(key, message);
            }
            return Err(Refusal::Forgotten);
        }
        match published {
            Published::Heartbeat(..) if !message.payload.starts_with(&MAGIC) => {
                Err(Refusal::Foreign)
            }
            Published::Heartbeat(cluster, scope) => {
                self.take_heartbeat(message.payload, (cluster, scope), at, now)
            }
            Published::Object(key) => {
                let taken = self.take_object(key.clone(), message, at, now);
                if taken.is_err_and(|refusal| refusal != Refusal::Repeated) {
                    self.displace(&key, message);
                }
                taken
            }
        }
    }

    fn take_object(
        &mut self,
        key: ObjectKey,
        message: Message<'_>,
        at: &StreamPoint,
        now: Time,
    ) -> Result<(), Refusal> {
        if !message.payload.starts_with(&MAGIC) {
            return Err(Refusal::Foreign);
        }
        let envelope = Envelope::parse(message.payload).map_err(|problem| match problem {
            Problem::Foreign => Refusal::Foreign,
            Problem::Unreadable => Refusal::Unreadable,
        })?;
        let named = (envelope.kind, envelope.namespace, envelope.name);
        if named != (key.kind().resource(), key.namespace(), key.name()) {
            return Err(Refusal::Foreign);
        }
        if let Some(named) = self.named.get_mut(&at.stream) {
            named.insert(key.clone());
        }
        let uid = Uid::from_wire(envelope.cluster_uid).map_err(|_| Refusal::Unreadable)?;
        if uid.is_empty() {
            return Err(Refusal::Unreadable);
        }
        let scope = envelope.scope.parse().map_err(|_| Refusal::Unreadable)?;
        let scope = self.sharing(scope);
        let beside = self.hear_cluster(key.cluster(), uid, at, now)?;
        self.is_held_by(&key, beside.as_ref())?;
        let said = Said { key: key.clone(), scope, envelope, message, at, now };
        self.in_place_of(key.cluster(), beside.as_ref(), |hub| hub.order(said))?;
        self.keep_beside(&key, beside.as_ref());
        Ok(())
    }

    /// Whether it is newer than what is known of its object.
    fn order(&mut self, said: Said<'_>) -> Result<(), Refusal> {
        let Envelope { epoch, counter, state, .. } = said.envelope;
        let rank = Rank { epoch, counter };
        let cluster = self.clusters.get_mut(said.key.cluster()).ok_or(Refusal::TooMany)?;
        let scope = cluster.hear_scope(&said.scope, said.at, said.now).ok_or(Refusal::TooMany)?;
        let standing = scope.epochs.hear_object(epoch, said.now);
        let current = scope.epochs.current();
        if standing == Standing::Began {
            scope.begin_epoch();
        }
        // In a snapshot a lower epoch's message may be all that is left of an object, and its heartbeat comes last.
        if standing == Standing::Lower && self.reading(&said.at.stream) != Reading::Snapshot {
            self.count_refused(&said);
            return Err(Refusal::LowerEpoch);
        }
        let order = |known: Rank| match compare(rank, known, current) {
            Ordering::Greater => Ok(()),
            Ordering::Equal => Err(Refusal::Repeated),
            Ordering::Less => Err(Refusal::Older),
        };
        let held = self.store.get(&said.key);
        let ordered = match &held {
            Some(held) if *held.scope() == said.scope => {
                order(Rank { epoch: held.epoch(), counter: held.counter() })
            }
            // Epochs of two scopes do not compare. Who says that it exists is believed, the last one most; who says that it
            // does not, only of what it said itself.
            Some(_) if matches!(state, State::Tombstone(_)) => Err(Refusal::OtherScope),
            Some(_) => Ok(()),
            None => self.burials.get(said.message.subject, &said.scope).map_or(Ok(()), order),
        };
        let held = held.map(|held| Counted {
            scope: held.scope().clone(),
            bucket: held.bucket(),
            digest: held.digest(),
        });
        if let Err(refusal) = ordered {
            if refusal == Refusal::Older {
                self.count_refused(&said);
            }
            if refusal == Refusal::Repeated && held.is_some() {
                self.store.read_again(&said.key, said.at);
            }
            return Err(refusal);
        }
        match state {
            State::Facts(facts) => self.hold(&said, held, Some(facts)),
            State::Other => self.hold(&said, held, None),
            State::Tombstone(tombstone) => {
                self.bury(&said, held, rank, tombstone);
                Ok(())
            }
        }
    }

    fn hold(
        &mut self,
        said: &Said<'_>,
        held: Option<Counted>,
        facts: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let Said { key, scope, envelope, message, at, now } = said;
        if !self.store.admits(key, scope) {
            return Err(Refusal::TooMany);
        }
        let decoded = facts.and_then(|facts| vitals_proto::facts::decode(facts).ok());
        let content = match (facts, &decoded) {
            (Some(facts), Some(_)) => Content::Facts(facts),
            (Some(_), None) | (None, _) => Content::Opaque,
        };
        if let Some(held) = held.as_ref().filter(|held| held.scope != *scope) {
            self.note_overlap(key, &held.scope, scope);
        }
        let digest = Digest::of(message.subject, message.payload);
        let bucket = match &held {
            Some(held) => held.bucket,
            None => {
                self.burials.unbury(message.subject, scope);
                Place::of(message.subject).bucket()
            }
        };
        self.uncount(key, held);
        if let Some(state) = self.scope_mut(key.cluster(), scope) {
            state.sums.add(key.kind(), bucket, digest);
            state.unstreamed.lay(message.subject);
        }
        let Envelope { epoch, counter, observed_at_unix_ms, resource_version, .. } = *envelope;
        let message_bytes = message.payload.len();
        self.store.put(
            key,
            NewHeld {
                scope,
                epoch,
                counter,
                digest,
                bucket,
                at,
                observed_at_unix_ms,
                resource_version,
                message_bytes,
                content,
            },
        );
        self.counters.applied += 1;
        self.counters.opaque += u64::from(content == Content::Opaque);
        self.picture.upsert(key, decoded.as_ref(), at, *now);
        Ok(())
    }

    /// Each of two scopes that watch one object takes it from the other at every change, so that neither is ever verified for
    /// long: the operator must hear of it.
    fn note_overlap(&mut self, key: &ObjectKey, before: &Scope, after: &Scope) {
        self.counters.objects_taken_over += 1;
        let Some(cluster) = self.clusters.get_mut(key.cluster()) else { return };
        if let Some(scopes) = cluster.overlap(before, after) {
            let (cluster, object) = (key.cluster().clone(), key.clone());
            self.effects.push(Effect::ScopesOverlap { cluster, scopes, object });
        }
    }

    fn bury(&mut self, said: &Said<'_>, held: Option<Counted>, rank: Rank, tombstone: &[u8]) {
        let Said { key, scope, message, at, now, .. } = said;
        self.uncount(key, held);
        self.store.remove(key);
        self.burials.bury(message.subject, scope, rank, *now);
        if let Some(state) = self.scope_mut(key.cluster(), scope) {
            state.unstreamed.lay(message.subject);
        }
        self.counters.applied += 1;
        // A tombstone that cannot be read says all the same that the object is gone.
        let tombstone = v1::Tombstone::decode(tombstone).ok();
        self.picture.remove(key, tombstone.as_ref(), at);
    }

    /// What was refused is now what the stream has: not what is held, or something that does not exist.
    fn displace(&mut self, key: &ObjectKey, message: Message<'_>) {
        let Message { subject, payload, .. } = message;
        let held = self.store.get(key).map(|held| (held.scope().clone(), held.bucket()));
        if let Some((scope, bucket)) = held {
            self.store.displace(key);
            if let Some(state) = self.scope_mut(key.cluster(), &scope) {
                state.unstreamed.lack(bucket);
            }
            return;
        }
        // Without a scope there is nobody to ask, and it is refused wherever it is read.
        let Ok(envelope) = Envelope::parse(payload) else { return };
        let is_tombstone = matches!(envelope.state, State::Tombstone(_));
        let Ok(scope) = envelope.scope.parse() else { return };
        if let Some(cluster) = self.clusters.get_mut(key.cluster()).filter(|_| !is_tombstone) {
            cluster.haunt(&scope, subject, Digest::of(subject, payload));
        }
    }

    /// A snapshot is whole: what it lacks of what is held is noted. Also the first may lack something, if it was begun again.
    pub(super) fn note_unstreamed(&mut self, stream: &StreamName) {
        for cluster in self.clusters.values_mut().filter(|cluster| cluster.stream == *stream) {
            let mut unread: BTreeMap<Scope, BTreeSet<u8>> = BTreeMap::new();
            for held in self.store.objects(cluster.name()) {
                if !held.is_streamed() {
                    unread.entry(held.scope().clone()).or_default().insert(held.bucket());
                }
            }
            for (scope, buckets) in unread {
                if let Some(state) = cluster.scope_mut(&scope) {
                    state.unstreamed.set_buckets(&buckets);
                }
            }
        }
    }

    /// What was held counts no more, in the sums of the scope that said it.
    fn uncount(&mut self, key: &ObjectKey, held: Option<Counted>) {
        let Some(Counted { scope, bucket, digest }) = held else { return };
        if let Some(state) = self.scope_mut(key.cluster(), &scope) {
            state.sums.remove(key.kind(), bucket, digest);
        }
    }

    /// Without [`Rule::SumsOverHeld`] a refused message counts in place of what is held.
    fn count_refused(&mut self, said: &Said<'_>) {
        if self.rules.hold(Rule::SumsOverHeld) {
            return;
        }
        let Some(held) = self.store.get(&said.key) else { return };
        let (scope, bucket, counted) = (held.scope().clone(), held.bucket(), held.digest());
        let digest = Digest::of(said.message.subject, said.message.payload);
        if let Some(state) = self.scope_mut(said.key.cluster(), &scope) {
            state.sums.remove(said.key.kind(), bucket, counted);
            state.sums.add(said.key.kind(), bucket, digest);
        }
        self.store.count_instead(&said.key, digest);
    }

    /// Without [`Rule::SnapshotMerges`] what a snapshot did not name is dropped at its end.
    pub(super) fn drop_unnamed(&mut self, stream: &StreamName, _now: Time) {
        let Some(named) = self.named.remove(stream) else { return };
        let of_stream = self.clusters.values().filter(|cluster| cluster.stream == *stream);
        let clusters: Vec<_> = of_stream.map(|cluster| cluster.name().clone()).collect();
        let Some(at) = self.position.point(stream) else { return };
        for cluster in clusters {
            let held: Vec<_> = self.store.objects(&cluster).map(|held| held.key()).collect();
            for key in held.into_iter().filter(|key| !named.contains(key)) {
                self.drop_held(&key);
                self.picture.remove(&key, None, &at);
            }
        }
    }

    /// Holds it no more, and counts it no more.
    pub(super) fn drop_held(&mut self, key: &ObjectKey) {
        let counted = self.store.get(key).map(|held| Counted {
            scope: held.scope().clone(),
            bucket: held.bucket(),
            digest: held.digest(),
        });
        self.uncount(key, counted);
        self.store.remove(key);
    }

    pub(super) fn listening(&self, stream: &StreamName) -> Listening {
        self.streams.get(stream).map_or(Listening::Not, |stream| stream.listening())
    }

    pub(super) fn reading(&self, stream: &StreamName) -> Reading {
        self.streams.get(stream).map_or(Reading::Holed, |stream| stream.reading())
    }

    fn scope_mut(
        &mut self,
        cluster: &ClusterName,
        scope: &Scope,
    ) -> Option<&mut crate::ingest::scope::ScopeState> {
        self.clusters.get_mut(cluster)?.scope_mut(scope)
    }
}
