//! Judges one entity: rolls up each cluster, joins them, remembers since when, and compares with what was said before.

use std::sync::Arc;

use prost::Message as _;
use vitals_proto::{
    digest::Digest,
    identity::EntityRef,
    rule::Rule,
    v1::{self, EntityOrigin},
};

use super::{Dirty, EntityChange, Judged, Outcome, Picture, VerdictChange};
use crate::{
    catalog::Definition,
    entity::rule,
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
        state.digest = digest(&state);
        let held = before.as_ref().map(|before| &*before.state);
        date(&mut state, held, since);

        let (mut touched, old_recheck) = match &before {
            Some(before) => (before.touched.clone(), before.recheck_at),
            None => (self.graves.take(&entity), None),
        };
        self.reschedule(&entity, old_recheck, recheck_at);
        let same = held == Some(&state);
        let touches = !same || self.rules.hold(Rule::TouchedByInput);
        match &dirty.touched {
            Some(by) if touches => touched.merge(by),
            Some(_) => {}
            // Time alone: it is as of all that was read.
            None if !same => touched.merge(position),
            None => {}
        }
        let verdict = verdict_change(held, &state);
        let state = match before {
            Some(before) if same => before.state,
            _ => Arc::new(state),
        };
        let judged = Judged { state, touched: touched.clone(), recheck_at };
        let outcome = if same {
            (touches && dirty.touched.is_some()).then_some(Outcome::Touched)
        } else {
            Some(Outcome::Changed { state: Arc::new(judged.to_wire()), verdict })
        };
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
        let (mut clusters, mut recheck_at) = (Vec::new(), None::<Time>);
        for (cluster, members) in self.membership.members(entity).into_iter().flatten() {
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
            });
            clusters.sort_by(|a, b| a.cluster.cmp(&b.cluster));
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
        let systems = members.filter_map(|id| self.graph.get(*id)).filter_map(rule::system);
        let system = systems.min().map(|system| system.to_string()).unwrap_or_default();
        v1::Entity { origin: EntityOrigin::Labelled.into(), system, ..names }
    }
}

/// Over all that is judged: not over times and words of freshness, which differ from replica to replica.
fn digest(state: &v1::Entity) -> u64 {
    let mut judged = state.clone();
    let clusters = judged.clusters.iter_mut().filter_map(|it| it.verdict.as_mut());
    for verdict in clusters.chain(judged.verdict.as_mut()) {
        if let Some(freshness) = &mut verdict.freshness {
            freshness.since = None;
            // Its words are also in the message of what is stale.
            if !freshness.message.is_empty() {
                freshness.message.clear();
                verdict.message.clear();
            }
        }
    }
    let digest = Digest::of(&judged.r#ref, &judged.encode_to_vec()).to_wire();
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}

/// Since when each verdict has its status and reason: as before, or since now.
fn date(state: &mut v1::Entity, before: Option<&v1::Entity>, now: Time) {
    let date = |verdict: &mut v1::Verdict, before: Option<&v1::Verdict>| {
        let same = before.filter(|it| (it.status, &it.reason) == (verdict.status, &verdict.reason));
        verdict.since = same.and_then(|it| it.since).or_else(|| Some(now.to_wire()));
    };
    if let Some(verdict) = &mut state.verdict {
        date(verdict, before.and_then(|before| before.verdict.as_ref()));
    }
    for cluster in &mut state.clusters {
        let before =
            before.and_then(|it| it.clusters.iter().find(|it| it.cluster == cluster.cluster));
        if let Some(verdict) = &mut cluster.verdict {
            date(verdict, before.and_then(|before| before.verdict.as_ref()));
        }
    }
}

fn verdict_change(before: Option<&v1::Entity>, after: &v1::Entity) -> VerdictChange {
    let of = |it: &v1::Entity| it.verdict.as_ref().map(|it| (it.status, it.reason.clone()));
    if before.is_some_and(|before| of(before) == of(after)) {
        VerdictChange::Same
    } else {
        VerdictChange::Changed
    }
}
