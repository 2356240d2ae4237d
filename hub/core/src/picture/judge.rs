//! Judges one entity: rolls up each cluster, joins them, remembers since when, and compares with what was said before.

use std::sync::Arc;

use prost::Message as _;
use vitals_proto::{
    digest::Digest,
    identity::EntityRef,
    rule::Rule,
    v1::{self, EntityOrigin},
};

use super::{Dirty, EntityChange, Judged, Outcome, Picture, since::Since};
use crate::{
    catalog::Definition,
    cluster_record::ClusterLabels,
    entity::{membership::Members, rule},
    position::Position,
    rollup::{self, Scene, combine},
    store::Store,
    time::Time,
};

impl Picture {
    pub(super) fn judge(
        &mut self,
        store: &Store,
        position: &Position,
        now: Time,
        entity: EntityRef,
        dirty: Dirty,
    ) -> Option<EntityChange> {
        let before = self.judged.remove(&entity);
        let since = dirty.at.unwrap_or(now);
        let (mut state, recheck_at) = self.look(store, now, &entity);
        let mut encoded = std::mem::take(&mut self.scratch);
        state.digest = digest(&mut state, &mut encoded);
        let since = Since::date(&mut state, before.as_ref().map(|before| &before.since), since);
        encode(&state, &mut encoded);

        let (mut touched, old_recheck) = match &before {
            Some(before) => (before.touched.clone(), before.recheck_at),
            None => (self.graves.take(&entity), None),
        };
        self.reschedule(&entity, old_recheck, recheck_at);
        let same = before.as_ref().is_some_and(|before| *before.state == *encoded);
        let touches = !same || self.rules.hold(Rule::TouchedByInput);
        match &dirty.touched {
            Some(by) if touches => touched.merge(by),
            Some(_) => {}
            // Time alone: it is as of all that was read.
            None if !same => touched.merge(position),
            None => {}
        }
        let outcome = if same {
            (touches && dirty.touched.is_some()).then_some(Outcome::Touched)
        } else {
            let verdict = since.change_from(before.as_ref().map(|before| &before.since));
            state.revision = Some(touched.to_wire());
            Some(Outcome::Changed { state: Arc::new(state), verdict })
        };
        let judged = match before {
            Some(before) if same => Judged { touched: touched.clone(), recheck_at, ..before },
            _ => Judged {
                state: encoded.as_slice().into(),
                since,
                touched: touched.clone(),
                recheck_at,
            },
        };
        self.scratch = encoded;
        self.judged.insert(entity.clone(), judged);
        outcome.map(|outcome| EntityChange { entity, touched, outcome })
    }

    fn reschedule(&mut self, entity: &EntityRef, before: Option<Time>, after: Option<Time>) {
        if before != after {
            if let Some(at) = before {
                self.rechecks.remove(&(at, entity.clone()));
            }
            if let Some(at) = after {
                self.rechecks.insert((at, entity.clone()));
            }
        }
    }

    /// The entity as it is, without revision, digest and since; and when the passing of time alone can change it.
    fn look(&self, store: &Store, now: Time, entity: &EntityRef) -> (v1::Entity, Option<Time>) {
        let definition = self.catalog.get(entity).filter(|definition| definition.runs());
        let members = self.membership.members(entity);
        let (mut clusters, mut recheck_at) =
            (Vec::with_capacity(members.map_or(0, Members::len)), None::<Time>);
        for (cluster, members) in members.into_iter().flatten() {
            let freshness = self.freshness.get(cluster);
            // What objects say of when is by their cluster's clock.
            let ahead_ms = freshness.map_or(0, |it| it.clock_ahead_ms);
            let scene = Scene { graph: &self.graph, store, now: now.shifted(ahead_ms) };
            let rolled = rollup::roll_up(scene, cluster, members, freshness);
            let due = rolled.recheck_at.map(|at| at.shifted(ahead_ms.saturating_neg()));
            recheck_at = [recheck_at, due].into_iter().flatten().min();
            clusters.push(rolled.verdict);
        }
        let absent = definition.map(|definition| combine::absent(definition, &self.freshness));
        if let Some(absent) = &absent
            && let Some(only) = definition.and_then(Definition::only_cluster)
            && clusters.iter().all(|it| it.cluster != only.as_str())
        {
            let verdict = Some(absent.clone());
            clusters.push(v1::ClusterVerdict {
                cluster: only.to_string(),
                verdict,
                workloads: vec![],
                labels: ClusterLabels::new(),
            });
            clusters.sort_by(|a, b| a.cluster.cmp(&b.cluster));
        }
        if !self.labels.is_empty() {
            for it in &mut clusters {
                it.labels = self.labels.get(&it.cluster).cloned().unwrap_or_default();
            }
        }
        let verdict = match (clusters.as_slice(), absent) {
            ([], Some(absent)) => absent,
            (clusters, _) => combine::combine(clusters),
        };
        let state =
            v1::Entity { verdict: Some(verdict), clusters, ..self.names(entity, definition) };
        (state, recheck_at)
    }

    fn names(&self, entity: &EntityRef, definition: Option<&Definition>) -> v1::Entity {
        let names = v1::Entity { r#ref: entity.to_string(), ..v1::Entity::default() };
        if let Some(v1::EntityDefinition { title, owner, system, domain, .. }) =
            definition.map(|definition| definition.wire.clone())
        {
            let origin = EntityOrigin::Registered.into();
            return v1::Entity { origin, title, owner, system, domain, ..names };
        }
        if entity.kind() == vitals_proto::identity::WORKLOAD {
            return v1::Entity { origin: EntityOrigin::Derived.into(), ..names };
        }
        let members =
            self.membership.members(entity).into_iter().flatten().flat_map(|(_, ids)| ids);
        let systems = members.filter_map(|id| self.graph.get(id)).filter_map(rule::system);
        let system = systems.min().map(|system| system.to_string()).unwrap_or_default();
        v1::Entity { origin: EntityOrigin::Labelled.into(), system, ..names }
    }
}

/// Over all that is judged: not over times and words of freshness, which differ from replica to replica. Those are taken out
/// for as long as it takes.
fn digest(state: &mut v1::Entity, scratch: &mut Vec<u8>) -> u64 {
    let taken: Vec<Unjudged> = verdicts(state).map(Unjudged::take).collect();
    encode(state, scratch);
    let digest = Digest::of(&state.r#ref, scratch).to_wire();
    verdicts(state).zip(taken).for_each(|(verdict, taken)| taken.put(verdict));
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}

fn encode(state: &v1::Entity, into: &mut Vec<u8>) {
    into.clear();
    #[expect(clippy::expect_used, reason = "only a buffer that cannot grow can be too small")]
    state.encode(into).expect("a Vec grows");
}

fn verdicts(state: &mut v1::Entity) -> impl Iterator<Item = &mut v1::Verdict> {
    state.clusters.iter_mut().filter_map(|it| it.verdict.as_mut()).chain(state.verdict.as_mut())
}

/// What of a verdict is not in the digest of its entity.
#[derive(Default)]
struct Unjudged {
    since: Option<prost_types::Timestamp>,
    freshness: String,
    /// Where the words of freshness are also in the message of what is stale.
    message: Option<String>,
}

impl Unjudged {
    fn take(verdict: &mut v1::Verdict) -> Self {
        let Some(freshness) = &mut verdict.freshness else { return Self::default() };
        let since = freshness.since.take();
        let freshness = std::mem::take(&mut freshness.message);
        let message = (!freshness.is_empty()).then(|| std::mem::take(&mut verdict.message));
        Self { since, freshness, message }
    }

    fn put(self, verdict: &mut v1::Verdict) {
        if let Some(freshness) = &mut verdict.freshness {
            (freshness.since, freshness.message) = (self.since, self.freshness);
        }
        if let Some(message) = self.message {
            verdict.message = message;
        }
    }
}
