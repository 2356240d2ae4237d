//! ReplicaSets and ReplicationControllers: so many pods of one template.

use jiff::Timestamp;
use serde_json::Value;

use super::pods::{NewPod, PodView, min_ready_s, observe_generation, set_counts};
use crate::resource::{REPLICATION_CONTROLLERS, ResourceId};
use crate::store::Key;
use crate::value::{at, number, set};
use crate::world::World;
use crate::world::events::{Happened, Tone};
use crate::world::queue::Controller;
use crate::world::write::is_deleted;

/// How many pods are made or deleted in one turn.
const BURST_MAX: usize = 500;

impl World {
    pub(crate) fn sync_replica_set(&mut self, resource: ResourceId, key: &Key, now: Timestamp) {
        let Some(set) = self.store.read(resource, key) else { return };
        if !is_deleted(&set) {
            self.scale_pods(resource, &set, now);
        }
        let Some(mut set) = self.store.read(resource, key) else { return };
        let pods = self.pods_of(&set);
        let min_ready_s = min_ready_s(&set);
        let active: Vec<&PodView> = pods.iter().filter(|pod| pod.is_active()).collect();
        let waiting = active.iter().filter_map(|pod| pod.available_at(min_ready_s));
        if let Some(at) = waiting.filter(|at| *at > now).min() {
            self.wake_at(at, Controller::ReplicaSet, resource, key);
        }
        let count = |test: &dyn Fn(&PodView) -> bool| {
            as_number(active.iter().filter(|pod| test(pod)).count())
        };
        let (all, ready) = (as_number(active.len()), count(&|pod| pod.ready));
        let available = count(&|pod| pod.is_available(min_ready_s, now));
        crate::value::set(&mut set, &["status", "replicas"], all);
        set_counts(
            &mut set,
            [
                ("fullyLabeledReplicas", all),
                ("readyReplicas", ready),
                ("availableReplicas", available),
            ],
        );
        if resource != REPLICATION_CONTROLLERS {
            let leaving = as_number(pods.iter().filter(|pod| pod.deleted).count());
            crate::value::set(&mut set, &["status", "terminatingReplicas"], leaving);
        }
        observe_generation(&mut set);
        self.write_status(resource, key, set, now);
    }

    fn scale_pods(&mut self, resource: ResourceId, set: &Value, now: Timestamp) {
        let wanted = number(set, "/spec/replicas").unwrap_or(1).max(0);
        let wanted = usize::try_from(wanted).unwrap_or_default();
        let mut active = self.pods_of(set);
        active.retain(PodView::is_active);
        let missing = wanted.saturating_sub(active.len()).min(BURST_MAX);
        let Some(described) = self.registry.get(resource).cloned() else { return };
        let template = at(set, "/spec/template");
        for _ in 0..missing {
            let new = NewPod { owner: set, owner_resource: &described, template, name: None };
            let Some(pod) = self.make_pod(new, |_| {}, now) else { break };
            self.tell_of_pod(
                resource,
                set,
                "SuccessfulCreate",
                format!("Created pod: {}", pod.name),
                now,
            );
        }
        if missing == BURST_MAX {
            self.wake(
                Controller::ReplicaSet,
                resource,
                &Key::new(crate::value::text(set, "/metadata/namespace"), super::name(set)),
            );
        }
        let surplus = active.len().saturating_sub(wanted);
        active.sort_by_cached_key(PodView::expendable);
        for pod in active.iter().take(surplus) {
            self.delete_pod(&pod.key, now);
            self.tell_of_pod(
                resource,
                set,
                "SuccessfulDelete",
                format!("Deleted pod: {}", pod.key.name),
                now,
            );
        }
    }

    fn tell_of_pod(
        &mut self,
        resource: ResourceId,
        set: &Value,
        reason: &'static str,
        message: String,
        now: Timestamp,
    ) {
        let source = "replicaset-controller";
        self.tell(resource, set, Happened { tone: Tone::Normal, reason, message, source }, now);
    }
}

/// A count as JSON has it.
pub(crate) fn as_number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Sets the number of replicas of an object.
pub(crate) fn set_replicas(object: &mut Value, replicas: i64) {
    set(object, &["spec", "replicas"], replicas.max(0));
}
