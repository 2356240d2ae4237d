//! What stands beside workloads: what routes traffic to them, scales them, guards them and holds their data.
//!
//! None of it says by itself that nothing runs: what it finds is a warning at most, but for a volume that is lost.

use std::{borrow::Cow, time::Duration};

use vitals_proto::{
    kind::Kind,
    v1::{HealthStatus, facts::Kind as Facts},
};

use super::{Scene, Tally};
use crate::{
    assess::{Reason, pod, pod_disruption_budget::BLOCKED_AFTER},
    graph::{
        ObjectId,
        object::{Life, Object, Readiness},
    },
    time::Time,
};

/// So long a new Service may wait for its load balancer before that is no progress any more: where none is provided it
/// would wait for ever, and the entity with it. It shows in the dimension `traffic` all the same. Ingresses wait so too, and
/// volume claims: many get their volume only when a pod needs it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// So long a new Ingress may be there before the Services that are created with it.
pub(crate) const BACKEND_PATIENCE: Duration = Duration::from_secs(15);

/// Services that are missing are named up to so many.
const MISSING_NAMED_MAX: usize = 3;

/// What it finds is never critical.
pub(crate) fn is_warning_at_most(kind: &Kind) -> bool {
    match kind {
        Kind::Ingress
        | Kind::Event
        | Kind::ResourceQuota
        | Kind::PersistentVolume
        | Kind::EndpointSlice
        | Kind::HorizontalPodAutoscaler
        | Kind::PodDisruptionBudget => true,
        Kind::Namespace
        | Kind::ReplicationController
        | Kind::Node
        | Kind::Deployment
        | Kind::StatefulSet
        | Kind::DaemonSet
        | Kind::CronJob
        | Kind::ReplicaSet
        | Kind::Job
        | Kind::PersistentVolumeClaim
        | Kind::Pod
        | Kind::Service
        | Kind::Other(_) => false,
    }
}

impl Tally {
    pub(super) fn add_service(&mut self, now: Time, id: ObjectId, object: &Object) {
        self.judged += 1;
        let assessment = &object.assessment;
        self.traffic.add(assessment.status, assessment.reason);
        if assessment.reason != Reason::LoadBalancerPending || self.is_patient(now, object) {
            self.add_assessment(id, None, object);
        }
    }

    pub(super) fn add_ingress(&mut self, scene: Scene<'_>, id: ObjectId, object: &Object) {
        self.add_service(scene.now, id, object);
        let Some(message) = missing(scene, id) else { return };
        let from = object.created_at.after(BACKEND_PATIENCE);
        if scene.now < from {
            return self.recheck(from);
        }
        self.traffic.add(HealthStatus::Degraded, Reason::BackendMissing);
        self.find(HealthStatus::Degraded, Reason::BackendMissing, id, None, message);
    }

    pub(super) fn add_claim(&mut self, now: Time, id: ObjectId, object: &Object) {
        self.judged += 1;
        if object.assessment.reason != Reason::ClaimPending || self.is_patient(now, object) {
            self.add_assessment(id, None, object);
        }
    }

    /// That it is still wanted while somebody asked for its deletion, or waits for a claim, is no trouble of its entity.
    pub(super) fn add_volume(&mut self, id: ObjectId, object: &Object) {
        self.add_silent(id, object);
        if object.assessment.status == HealthStatus::Degraded {
            self.add_assessment(id, None, object);
        }
    }

    /// What says nothing by itself, unless that it cannot be judged.
    pub(super) fn add_silent(&mut self, id: ObjectId, object: &Object) {
        self.judged += 1;
        if object.assessment.status == HealthStatus::Unknown {
            self.add_assessment(id, None, object);
        }
    }

    /// An autoscaler or a budget: only what lasts counts.
    pub(super) fn add_guard(&mut self, scene: Scene<'_>, id: ObjectId, object: &Object) {
        self.add_silent(id, object);
        let is_leaving = object.assessment.reason == Reason::PendingDeletion;
        let Some(trouble) = object.trouble().filter(|_| !is_leaving) else { return };
        let from = if trouble.reason == Reason::DisruptionBlocked {
            trouble.from.max(unready_since(scene, id))
        } else {
            trouble.from
        };
        if scene.now < from {
            return self.recheck(from);
        }
        let message = Cow::Owned(trouble.message.clone());
        self.find(HealthStatus::Degraded, trouble.reason, id, None, message);
    }

    /// It is new enough to be waited for.
    fn is_patient(&mut self, now: Time, object: &Object) -> bool {
        let until = object.created_at.after(PATIENCE);
        let is_patient = now < until;
        if is_patient {
            self.recheck(until);
        }
        is_patient
    }
}

/// The Services that an Ingress routes to and that are not held.
fn missing(scene: Scene<'_>, id: ObjectId) -> Option<Cow<'static, str>> {
    let graph = scene.graph;
    let missing = graph.names(id).iter().filter(|key| graph.find(key).is_none());
    let missing: Vec<&str> = missing.map(|key| key.name()).collect();
    match missing.as_slice() {
        [] => None,
        [one] => Some(format!("it routes to service {one}, which does not exist").into()),
        many => {
            let named: Vec<&str> = many.iter().take(MISSING_NAMED_MAX).copied().collect();
            let named = named.join(", ");
            let more = many.len().saturating_sub(MISSING_NAMED_MAX);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            Some(format!("it routes to services {named}{more}, which do not exist").into())
        }
    }
}

/// From when on it counts that pods of a budget are not ready: the first of them, so long ago. Of those that do not exist
/// nobody can say.
fn unready_since(scene: Scene<'_>, budget: ObjectId) -> Time {
    let unready = scene.graph.selected(budget).filter_map(|id| {
        let object = scene.graph.get(id)?;
        let pod = object.pod()?;
        let counts = matches!(pod.life, Life::Lasting | Life::Passing)
            && pod.readiness == Readiness::NotReady;
        if !counts {
            return None;
        }
        let facts = scene.store.facts(&object.key)?.kind;
        let Some(Facts::Pod(facts)) = facts else { return None };
        pod::not_ready_since(&facts)
    });
    unready.min().map_or(Time::MIN, |since| since.after(BLOCKED_AFTER))
}
