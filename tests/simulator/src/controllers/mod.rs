//! Who acts on what: writes wake controllers ([`World::dispatch`]), which look at one object each ([`World::sync`]).
//!
//! Controllers are level-triggered, as those of Kubernetes: each works out from what is there now what to do next, so it does
//! not matter how often or why it is woken.

pub(crate) mod deployment;
pub(crate) mod rollout;
mod progress;
pub(crate) mod replica_set;
pub(crate) mod stateful_set;
pub(crate) mod daemon_set;
pub(crate) mod job;
pub(crate) mod cron_job;
pub(crate) mod schedule;
pub(crate) mod service;
pub(crate) mod scaler;
pub(crate) mod budget;
pub(crate) mod volume;
pub(crate) mod cluster;
pub(crate) mod scheduler;
pub(crate) mod pods;

use jiff::Timestamp;
use serde_json::Value;

use crate::resource::{
    BUDGETS, CLAIMS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, EVENTS, INGRESSES, JOBS, NAMESPACES,
    NODES, PODS, QUOTAS, REPLICA_SETS, REPLICATION_CONTROLLERS, ResourceId, SCALERS, SERVICES,
    STATEFUL_SETS, VOLUMES,
};
use crate::selector::LabelSelector;
use crate::store::{Entry, Key, Touched};
use crate::value::{at, text};
use crate::world::World;
use crate::world::queue::{Controller, Item};

/// Which controller looks at a resource itself.
const OWN: [(ResourceId, Controller); 18] = [
    (NAMESPACES, Controller::Namespace),
    (NODES, Controller::Node),
    (PODS, Controller::Scheduler),
    (PODS, Controller::Kubelet),
    (SERVICES, Controller::Service),
    (EVENTS, Controller::EventExpiry),
    (CLAIMS, Controller::Claim),
    (VOLUMES, Controller::Volume),
    (QUOTAS, Controller::Quota),
    (REPLICATION_CONTROLLERS, Controller::ReplicaSet),
    (DEPLOYMENTS, Controller::Deployment),
    (REPLICA_SETS, Controller::ReplicaSet),
    (STATEFUL_SETS, Controller::StatefulSet),
    (DAEMON_SETS, Controller::DaemonSet),
    (JOBS, Controller::Job),
    (CRON_JOBS, Controller::CronJob),
    (SCALERS, Controller::Scaler),
    (BUDGETS, Controller::Budget),
];

/// Which controller looks at the owner when something that it owns changes.
fn of_owner(resource: ResourceId) -> Option<Controller> {
    match resource {
        DEPLOYMENTS => Some(Controller::Deployment),
        REPLICA_SETS | REPLICATION_CONTROLLERS => Some(Controller::ReplicaSet),
        STATEFUL_SETS => Some(Controller::StatefulSet),
        DAEMON_SETS => Some(Controller::DaemonSet),
        JOBS => Some(Controller::Job),
        CRON_JOBS => Some(Controller::CronJob),
        _ => None,
    }
}

impl World {
    /// Wakes controllers for what was written.
    pub(crate) fn dispatch(&mut self, now: Timestamp) {
        for touched in self.store.take_touched() {
            self.wake_for(&touched, now);
        }
    }

    fn wake_for(&mut self, touched: &Touched, now: Timestamp) {
        let Touched { resource, before, after } = touched;
        let Some(entry) = after.as_ref().or(before.as_ref()) else { return };
        let resource = *resource;
        for (own, controller) in OWN {
            if own == resource && (after.is_some() || controller == Controller::Node) {
                self.wake(controller, resource, entry.key());
            }
        }
        if resource == INGRESSES {
            self.wake(Controller::Ingress, resource, entry.key());
        }
        self.wake_owners(entry);
        if after.is_none() {
            let owned: Vec<_> = self.store.owned_by(entry.uid()).cloned().collect();
            for (resource, key) in owned {
                self.wake(Controller::Garbage, resource, &key);
            }
        } else if entry.is_leaving() {
            self.wake(Controller::Garbage, resource, entry.key());
        }
        if resource == PODS {
            self.wake_selecting(entry);
        }
        if resource == SERVICES || resource == BUDGETS {
            self.remember_selector(resource, entry.key(), after.as_deref());
        }
        self.wake_around(resource, entry, now);
    }

    fn wake_owners(&mut self, entry: &Entry) {
        for owner in entry.owners() {
            let Some((resource, key)) = self.store.by_uid(*owner).cloned() else { continue };
            if let Some(controller) = of_owner(resource) {
                self.wake(controller, resource, &key);
            }
            if self.store.entry(resource, &key).is_some_and(|owner| owner.is_leaving()) {
                self.wake(Controller::Garbage, resource, &key);
            }
        }
    }

    /// Services and budgets that select a pod.
    fn wake_selecting(&mut self, pod: &Entry) {
        let selecting: Vec<_> = [(SERVICES, Controller::Service), (BUDGETS, Controller::Budget)]
            .into_iter()
            .flat_map(|(resource, controller)| {
                let from = (resource, Key::new(&pod.key().namespace, ""));
                let range = self.selectors.range(from..);
                let range = range.take_while(move |((it, key), _)| {
                    *it == resource && key.namespace == pod.key().namespace
                });
                let matching = range.filter(|(_, selector)| selector.matches(pod.labels()));
                matching.map(move |((_, key), _)| (controller, resource, key.clone()))
            })
            .collect();
        for (controller, resource, key) in selecting {
            self.wake(controller, resource, &key);
        }
    }

    fn remember_selector(&mut self, resource: ResourceId, key: &Key, after: Option<&Entry>) {
        let place = (resource, key.clone());
        let Some(object) = after.map(Entry::value) else {
            self.selectors.remove(&place);
            return;
        };
        let selector = at(&object, "/spec/selector");
        let selector = if resource == SERVICES {
            LabelSelector::of_map(selector)
        } else {
            LabelSelector::of(selector)
        };
        if resource == SERVICES && selector.is_empty() {
            self.selectors.remove(&place);
        } else {
            self.selectors.insert(place, selector);
        }
    }

    /// What else depends on a write.
    fn wake_around(&mut self, resource: ResourceId, entry: &Entry, _now: Timestamp) {
        let of_namespace = |world: &mut Self, controller, resource| {
            let found = world.store.scan(resource, Some(&entry.key().namespace));
            let keys: Vec<_> = found.map(|it| it.key().clone()).collect();
            keys.iter().for_each(|key| world.wake(controller, resource, key));
        };
        match resource {
            NODES => {
                self.nodes = None;
                let sets: Vec<_> =
                    self.store.scan(DAEMON_SETS, None).map(|it| it.key().clone()).collect();
                sets.iter().for_each(|key| self.wake(Controller::DaemonSet, DAEMON_SETS, key));
                self.wake_pending(None);
            }
            VOLUMES => {
                let claims: Vec<_> =
                    self.store.scan(CLAIMS, None).map(|it| it.key().clone()).collect();
                claims.iter().for_each(|key| self.wake(Controller::Claim, CLAIMS, key));
            }
            CLAIMS => self.wake_pending(Some(&entry.key().namespace)),
            DEPLOYMENTS | STATEFUL_SETS => of_namespace(self, Controller::Scaler, SCALERS),
            _ => {}
        }
        // A namespace that is being deleted goes with its last object.
        let home = Key::new("", &entry.key().namespace);
        if !home.name.is_empty()
            && self.store.entry(NAMESPACES, &home).is_some_and(|it| it.is_leaving())
        {
            self.wake(Controller::Namespace, NAMESPACES, &home);
        }
    }

    /// Pods that could not be scheduled.
    fn wake_pending(&mut self, namespace: Option<&str>) {
        let pending = std::mem::take(&mut self.queue.unschedulable);
        for key in pending {
            if namespace.is_none_or(|it| *it == *key.namespace) {
                self.wake(Controller::Scheduler, PODS, &key);
            } else {
                self.queue.unschedulable.insert(key);
            }
        }
    }

    pub(crate) fn wake(&mut self, controller: Controller, resource: ResourceId, key: &Key) {
        self.queue.push(Item { controller, resource, key: key.clone() });
    }

    pub(crate) fn wake_at(
        &mut self,
        at: Timestamp,
        controller: Controller,
        resource: ResourceId,
        key: &Key,
    ) {
        self.queue.push_at(at, Item { controller, resource, key: key.clone() });
    }

    /// Lets a controller look at an object.
    pub(crate) fn sync(&mut self, item: &Item, now: Timestamp) {
        let Item { controller, resource, key } = item;
        match controller {
            Controller::Garbage => self.sync_garbage(*resource, key, now),
            Controller::Namespace => self.sync_namespace(key, now),
            Controller::Node => self.sync_node(key, now),
            Controller::Deployment => self.sync_deployment(key, now),
            Controller::ReplicaSet => self.sync_replica_set(*resource, key, now),
            Controller::StatefulSet => self.sync_stateful_set(key, now),
            Controller::DaemonSet => self.sync_daemon_set(key, now),
            Controller::Job => self.sync_job(key, now),
            Controller::CronJob => self.sync_cron_job(key, now),
            Controller::Claim => self.sync_claim(key, now),
            Controller::Volume => self.sync_volume(key, now),
            Controller::Scheduler => self.sync_scheduler(key, now),
            Controller::Kubelet => self.sync_kubelet(key, now),
            Controller::Service => self.sync_service(key, now),
            Controller::Ingress => self.sync_ingress(key, now),
            Controller::Scaler => self.sync_scaler(key, now),
            Controller::Budget => self.sync_budget(key, now),
            Controller::Quota => self.sync_quota(key, now),
            Controller::EventExpiry => self.sync_event(key, now),
        }
    }
}

/// An object's name.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}
