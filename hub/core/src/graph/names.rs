//! Links by name, within a namespace: from an autoscaler to what it scales, from an Ingress to the Services behind it, from an
//! EndpointSlice to the Service that it is of, from a pod to its volume claims, from a claim to its volume and from a quota to its namespace, which have none themselves; and
//! from Events to what they are about, of any kind that is known. (Those of a StatefulSet's templates, `<template>-<pod>`, Kubernetes names in the pod itself.)
//!
//! A name leads to whatever has it: what comes later, or goes, needs no change here.

use vitals_proto::{
    identity::{ClusterName, KeyParts, ObjectKey},
    kind::Kind,
    v1::{self, facts::Kind as Facts},
};

use super::{Graph, ObjectId};

/// The label of an EndpointSlice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What an object names, ordered, each once.
pub(super) fn read(key: &ObjectKey, meta: &v1::Meta, facts: &Facts) -> Box<[ObjectKey]> {
    let cluster = key.cluster();
    let in_place = |(kind, name)| at(cluster, kind, key.namespace(), name);
    let mut keys: Vec<ObjectKey> = match facts {
        Facts::Pod(it) => {
            let claims = it.claims.iter().map(|name| (Kind::PersistentVolumeClaim, name.as_str()));
            claims.filter_map(in_place).collect()
        }
        Facts::PersistentVolumeClaim(it) => {
            at(cluster, Kind::PersistentVolume, "", &it.volume_name).into_iter().collect()
        }
        Facts::Event(it) => it.involved.iter().filter_map(|it| involved(cluster, it)).collect(),
        Facts::ResourceQuota(_) => {
            at(cluster, Kind::Namespace, "", key.namespace()).into_iter().collect()
        }
        Facts::HorizontalPodAutoscaler(it) => {
            it.target.iter().filter_map(scaled).filter_map(in_place).collect()
        }
        Facts::Ingress(it) => {
            let paths = it.rules.iter().flat_map(|rule| &rule.paths);
            let backends = paths.filter_map(|path| path.backend.as_ref());
            let backends = it.default_backend.iter().chain(backends);
            let services = backends.map(|it| (Kind::Service, it.service.as_str()));
            services.filter_map(in_place).collect()
        }
        Facts::EndpointSlice(_) => {
            // Most are owned by it, and need no second link.
            let is_owned = meta.owners.iter().any(|it| it.controller && it.kind == "Service");
            let service = meta.labels.get(SERVICE_NAME).filter(|_| !is_owned);
            let service = service.map(|name| (Kind::Service, name.as_str()));
            service.into_iter().filter_map(in_place).collect()
        }
        Facts::Deployment(_)
        | Facts::ReplicaSet(_)
        | Facts::ReplicationController(_)
        | Facts::StatefulSet(_)
        | Facts::DaemonSet(_)
        | Facts::Service(_)
        | Facts::Node(_)
        | Facts::Namespace(_)
        | Facts::Job(_)
        | Facts::CronJob(_)
        | Facts::PersistentVolume(_)
        | Facts::PodDisruptionBudget(_) => Vec::new(),
    };
    keys.sort_unstable();
    keys.dedup();
    keys.into()
}

/// Only what has replicas and is watched can be scaled by what we know of it.
fn scaled(target: &v1::ScaleTarget) -> Option<(Kind, &str)> {
    let kind = match (target.api_version.split('/').next(), target.kind.as_str()) {
        (Some("apps"), "Deployment") => Kind::Deployment,
        (Some("apps"), "StatefulSet") => Kind::StatefulSet,
        (Some("apps"), "ReplicaSet") => Kind::ReplicaSet,
        (Some("v1"), "ReplicationController") => Kind::ReplicationController,
        _ => return None,
    };
    Some((kind, &target.name))
}

/// What Events are about, where its kind is known. Some that tell of nodes do not say of which API version they are.
fn involved(cluster: &ClusterName, involved: &v1::InvolvedObject) -> Option<ObjectKey> {
    let v1::InvolvedObject { api_version, kind, namespace, name } = involved;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let mut known = Kind::KNOWN.into_iter().filter(|it| it.title() == kind);
    let kind = known.find(|it| {
        let of_kind = it.resource().split_once('.').map_or("", |(_, group)| group);
        api_version.is_empty() || of_kind == group
    })?;
    at(cluster, kind, namespace, name)
}

/// `None` where it is no name of an object.
fn at(cluster: &ClusterName, kind: Kind, namespace: &str, name: &str) -> Option<ObjectKey> {
    ObjectKey::new(KeyParts { cluster: cluster.clone(), kind, namespace, name }).ok()
}

/// It belongs where something else does that it selects or names, or that names it.
pub(crate) fn takes(kind: &Kind) -> bool {
    match kind {
        Kind::Service
        | Kind::PodDisruptionBudget
        | Kind::HorizontalPodAutoscaler
        | Kind::Ingress
        | Kind::Event
        | Kind::PersistentVolume
        | Kind::EndpointSlice
        | Kind::PersistentVolumeClaim => true,
        Kind::Namespace
        | Kind::Node
        | Kind::ReplicationController
        | Kind::ResourceQuota
        | Kind::Deployment
        | Kind::StatefulSet
        | Kind::DaemonSet
        | Kind::CronJob
        | Kind::ReplicaSet
        | Kind::Job
        | Kind::Pod
        | Kind::Other(_) => false,
    }
}

impl Graph {
    pub(super) fn link_names(&mut self, id: ObjectId, names: Box<[ObjectKey]>) {
        if names.is_empty() {
            return;
        }
        for key in &names {
            self.naming.entry(key.clone()).or_default().insert(id);
        }
        self.names.insert(id, names);
    }

    pub(super) fn unlink_names(&mut self, id: ObjectId) {
        for key in &self.names.remove(&id).unwrap_or_default() {
            let Some(naming) = self.naming.get_mut(key) else { continue };
            naming.remove(id);
            if naming.is_empty() {
                self.naming.remove(key);
            }
        }
    }

    /// What an object names, whether it exists or not, in order.
    pub(crate) fn names(&self, id: ObjectId) -> &[ObjectKey] {
        self.names.get(&id).map(|names| &**names).unwrap_or_default()
    }

    /// What an object names and is held.
    pub(crate) fn named(&self, id: ObjectId) -> impl Iterator<Item = ObjectId> + '_ {
        self.names(id).iter().filter_map(|key| self.find(key))
    }

    /// What names a key.
    pub(crate) fn naming(&self, key: &ObjectKey) -> impl Iterator<Item = ObjectId> {
        self.naming.get(key).into_iter().flatten()
    }

    /// From what an object takes its claims, where it has none of its own.
    pub(crate) fn sources(&self, id: ObjectId) -> Box<dyn Iterator<Item = ObjectId> + '_> {
        match self.key(id).map(|key| (key, key.kind())) {
            Some((_, Kind::Service | Kind::PodDisruptionBudget)) => Box::new(self.selected(id)),
            Some((
                _,
                Kind::HorizontalPodAutoscaler | Kind::Ingress | Kind::EndpointSlice | Kind::Event,
            )) => Box::new(self.named(id)),
            Some((key, Kind::PersistentVolumeClaim | Kind::PersistentVolume)) => {
                Box::new(self.naming(key))
            }
            Some(_) | None => Box::new(std::iter::empty()),
        }
    }

    /// What may take its claims from an object: the other way round.
    pub(crate) fn takers(&self, id: ObjectId) -> impl Iterator<Item = ObjectId> + '_ {
        let key = self.key(id);
        let holds_data =
            key.is_some_and(|key| matches!(key.kind(), Kind::Pod | Kind::PersistentVolumeClaim));
        let holding = holds_data.then(|| self.named(id)).into_iter().flatten();
        let naming = key.into_iter().flat_map(|key| self.naming(key));
        let naming = naming.filter(|it| self.key(*it).is_some_and(|key| takes(key.kind())));
        self.selecting(id).chain(naming).chain(holding)
    }

    /// What is judged by an object beside what controls it and what it controls: budgets of a pod, Ingresses that route to a
    /// Service, the other runs of a Job's CronJob.
    pub(crate) fn judged_by(&self, id: ObjectId) -> impl Iterator<Item = ObjectId> + '_ {
        let key = self.key(id);
        let is_a = move |kind: Kind| {
            move |it: &ObjectId| self.key(*it).is_some_and(|key| *key.kind() == kind)
        };
        let budgets = self.selecting(id).filter(is_a(Kind::PodDisruptionBudget));
        // Asked at each change of anything: nothing else is looked up for it.
        let service = key.filter(|key| matches!(key.kind(), Kind::Service));
        let routes =
            service.into_iter().flat_map(|key| self.naming(key)).filter(is_a(Kind::Ingress));
        let is_job = key.is_some_and(|key| matches!(key.kind(), Kind::Job));
        let owner = is_job.then(|| self.controller(id)).flatten();
        let runs = owner.into_iter().flat_map(|owner| self.controlled(owner));
        budgets.chain(routes).chain(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::testing;

    #[test]
    fn each_name_is_read_once_and_in_order() {
        let names = |object: &testing::TestObject| -> Vec<String> {
            let names = read(
                &object.key,
                object.facts.meta.as_ref().unwrap(),
                object.facts.kind.as_ref().unwrap(),
            );
            names.iter().map(ToString::to_string).collect()
        };
        let pod = testing::pod("eu-1", "pay/db-0").mounting(&["data-db-0", "a", "a"]);
        assert_eq!(
            names(&pod),
            ["eu-1/persistentvolumeclaims/pay/a", "eu-1/persistentvolumeclaims/pay/data-db-0"]
        );
        let scaler = testing::autoscaler("eu-1", "pay/x", "Deployment", "shop");
        assert_eq!(names(&scaler), ["eu-1/deployments.apps/pay/shop"]);
        assert_eq!(names(&testing::autoscaler("eu-1", "pay/x", "Rollout", "shop")), [""; 0]);
        let ingress = testing::ingress("eu-1", "pay/x", &["web", "", "api", "web"]);
        assert_eq!(names(&ingress), ["eu-1/services/pay/api", "eu-1/services/pay/web"]);
        let claim = testing::claim("eu-1", "pay/data", "Bound");
        assert_eq!(names(&claim), ["eu-1/persistentvolumes/pv-data"]);
        for (api_version, kind, namespace, want) in [
            ("v1", "Pod", "pay", "eu-1/pods/pay/x"),
            ("apps/v1", "Deployment", "pay", "eu-1/deployments.apps/pay/x"),
            ("", "Node", "", "eu-1/nodes/x"),
        ] {
            let events = testing::events("eu-1", "pay", [api_version, kind, namespace, "x"]);
            assert_eq!(names(&events), [want]);
        }
        for about in [["example.org/v1", "Pod", "pay", "x"], ["v1", "Widget", "pay", "x"]] {
            assert_eq!(names(&testing::events("eu-1", "pay", about)), [""; 0]);
        }
        let quota = testing::quota("eu-1", "pay/compute");
        assert_eq!(names(&quota), ["eu-1/namespaces/pay"]);
        let slice = testing::endpoint_slice("eu-1", "pay/web-x", "web", &[]);
        assert_eq!(names(&slice), ["eu-1/services/pay/web"]);
        let web = testing::service("eu-1", "pay/web", "app=web");
        assert_eq!(names(&slice.under(&web)), [""; 0]);
    }
}
