//! Links of the graph: from an object to what it names as owner, and between Services or budgets and what they select.
//!
//! Each is made when either end comes, and taken away when an end goes or changes; the object itself is in its place
//! meanwhile, since its links are found by what it holds.

use std::sync::Arc;

use vitals_proto::{
    identity::{ClusterName, Uid},
    kind::Kind,
};

use super::{
    Graph, ObjectId,
    ids::IdSet,
    index::Index,
    labels::Labels,
    object::{Object, Owner, OwnerRead, Ties},
    owners::{OwnerId, Owning},
};
use crate::chunks::Chunks;

/// What can select and be selected in a namespace.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    /// Services and budgets.
    pub(super) selecting: IdSet,
    /// Workloads, by the labels of their template.
    pub(super) workloads: IdSet,
    pods: IdSet,
}

impl Namespace {
    fn of_kind(&mut self, kind: &Kind) -> &mut IdSet {
        match kind {
            Kind::Service | Kind::PodDisruptionBudget => &mut self.selecting,
            Kind::Pod => &mut self.pods,
            Kind::Deployment
            | Kind::ReplicaSet
            | Kind::ReplicationController
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::CronJob
            | Kind::Job
            | Kind::PersistentVolumeClaim
            | Kind::Ingress
            | Kind::Event
            | Kind::ResourceQuota
            | Kind::PersistentVolume
            | Kind::EndpointSlice
            | Kind::HorizontalPodAutoscaler
            | Kind::Namespace
            | Kind::Node
            | Kind::Other(_) => &mut self.workloads,
        }
    }

    fn is_empty(&self) -> bool {
        self.selecting.is_empty() && self.workloads.is_empty() && self.pods.is_empty()
    }
}

impl Graph {
    pub(super) fn link_owners(&mut self, id: ObjectId, owners: &[OwnerRead]) {
        let Some(object) = self.get(id) else { return };
        let (cluster, uid) = (object.key.cluster().clone(), object.uid.clone());
        let named = owners.iter().map(|OwnerRead { uid, role, kind }| {
            let owner = self.owners.find(&cluster, uid);
            let owner = owner.unwrap_or_else(|| self.begin_owning(&cluster, uid));
            if let Some(owning) = self.owners.get_mut(owner) {
                owning.owned.insert(id);
            }
            Owner { id: owner, role: *role, kind: *kind }
        });
        let named = named.collect();
        self.tie(id, |ties| ties.owners = named);
        if !uid.is_empty() {
            let hash = self.by_uid.hash(&(&cluster, &uid));
            let objects = &self.objects;
            self.by_uid.insert(hash, id, |index, id| hash_uid(index, objects, id));
            if let Some(owner) = self.owners.find(&cluster, &uid) {
                self.tie(id, |ties| ties.owning = Some(owner));
                self.hold_owner(owner, &cluster, &uid);
            }
        }
    }

    pub(super) fn unlink_owners(&mut self, id: ObjectId) {
        let mut owners = Box::default();
        self.tie(id, |ties| owners = std::mem::take(&mut ties.owners));
        for Owner { id: owner, .. } in owners {
            let Some(owning) = self.owners.get_mut(owner) else { continue };
            owning.owned.remove(id);
            if owning.owned.is_empty() {
                self.end_owning(owner);
            }
        }
        let Some(object) = self.get(id).filter(|object| !object.uid.is_empty()) else { return };
        let (cluster, uid) = (object.key.cluster().clone(), object.uid.clone());
        self.by_uid.remove(hash_uid(&self.by_uid, &self.objects, id), id);
        if let Some(owner) = self.owners.find(&cluster, &uid) {
            self.tie(id, |ties| ties.owning = None);
            self.hold_owner(owner, &cluster, &uid);
        }
    }

    /// A UID is named as an owner for the first time.
    fn begin_owning(&mut self, cluster: &ClusterName, uid: &Uid) -> OwnerId {
        let owner = self.owners.insert(cluster, uid, self.by_uid(cluster, uid));
        for holder in self.of_uid(cluster, uid).collect::<Vec<_>>() {
            self.tie(holder, |ties| ties.owning = Some(owner));
        }
        owner
    }

    /// Nothing names it any more.
    fn end_owning(&mut self, owner: OwnerId) {
        let Some(Owning { cluster, uid, .. }) = self.owners.remove(owner) else { return };
        for holder in self.of_uid(&cluster, &uid).collect::<Vec<_>>() {
            self.tie(holder, |ties| ties.owning = None);
        }
    }

    fn hold_owner(&mut self, owner: OwnerId, cluster: &ClusterName, uid: &Uid) {
        let holder = self.by_uid(cluster, uid);
        if let Some(owning) = self.owners.get_mut(owner) {
            owning.holder = holder;
        }
    }

    pub(super) fn tie(&mut self, id: ObjectId, tie: impl FnOnce(&mut Ties)) {
        if let Some(object) = self.objects.get_mut(id.slot()).and_then(Option::as_mut) {
            tie(&mut object.ties);
        }
    }

    pub(super) fn link_selection(&mut self, id: ObjectId) {
        let Some(object) = self.objects.get(id.slot()).and_then(Option::as_ref) else { return };
        let Some(place_key) = place(object) else { return };
        let selects = matches!(object.key.kind(), Kind::Service | Kind::PodDisruptionBudget);
        let place = self.namespaces.entry(place_key).or_default();
        place.of_kind(object.key.kind()).insert(id);
        let pairs: Vec<_> = if selects {
            let selects = |it: &ObjectId| matches(&self.objects, id, *it);
            place.workloads.iter().chain(&place.pods).filter(selects).map(|it| (id, it)).collect()
        } else {
            let selects = |it: &ObjectId| matches(&self.objects, *it, id);
            place.selecting.iter().filter(selects).map(|it| (it, id)).collect()
        };
        for (selector, backend) in pairs {
            self.selected.entry(selector).or_default().insert(backend);
            self.tie(backend, |ties| {
                ties.selecting.insert(selector);
            });
        }
    }

    pub(super) fn unlink_selection(&mut self, id: ObjectId) {
        let Some(object) = self.objects.get(id.slot()).and_then(Option::as_ref) else { return };
        let Some(place_key) = place(object) else { return };
        if let Some(place) = self.namespaces.get_mut(&place_key) {
            place.of_kind(object.key.kind()).remove(id);
            if place.is_empty() {
                self.namespaces.remove(&place_key);
            }
        }
        for backend in &self.selected.remove(&id).unwrap_or_default() {
            self.tie(backend, |ties| ties.selecting.remove(id));
        }
        let mut selecting = IdSet::default();
        self.tie(id, |ties| selecting = std::mem::take(&mut ties.selecting));
        for service in &selecting {
            if let Some(selected) = self.selected.get_mut(&service) {
                selected.remove(id);
                if selected.is_empty() {
                    self.selected.remove(&service);
                }
            }
        }
    }

    /// Services, budgets and workloads of a namespace that match the labels of a pod: for a pod that is not held.
    pub(crate) fn around(
        &self,
        cluster: &ClusterName,
        namespace: &str,
        labels: &Labels,
    ) -> Vec<ObjectId> {
        let Some(place) = self.namespaces.get(&(cluster.clone(), namespace.into())) else {
            return Vec::new();
        };
        let of = |id: &ObjectId| self.get(*id);
        let selecting =
            place.selecting.iter().filter(|id| of(id).is_some_and(|it| it.selects(labels)));
        let workloads = place
            .workloads
            .iter()
            .filter(|id| of(id).is_some_and(|it| labels.are_selected_by(&it.template)));
        selecting.chain(workloads).collect()
    }
}

fn hash_uid(index: &Index, objects: &Chunks<Option<Object>>, id: ObjectId) -> u64 {
    let object = objects.get(id.slot()).and_then(Option::as_ref);
    object.map_or(0, |object| index.hash(&(object.key.cluster(), &object.uid)))
}

/// The namespace of what selects or can be selected.
fn place(object: &Object) -> Option<(ClusterName, Arc<str>)> {
    let linked = match object.key.kind() {
        Kind::Service => !object.selector.is_empty(),
        Kind::PodDisruptionBudget => object.requirements().is_some(),
        Kind::Pod => true,
        Kind::Deployment
        | Kind::ReplicaSet
        | Kind::ReplicationController
        | Kind::StatefulSet
        | Kind::DaemonSet
        | Kind::CronJob
        | Kind::Job => !object.template.is_empty(),
        Kind::PersistentVolumeClaim
        | Kind::Ingress
        | Kind::Event
        | Kind::ResourceQuota
        | Kind::PersistentVolume
        | Kind::EndpointSlice
        | Kind::HorizontalPodAutoscaler
        | Kind::Namespace
        | Kind::Node
        | Kind::Other(_) => false,
    };
    linked.then(|| (object.key.cluster().clone(), object.key.namespace().into()))
}

fn matches(objects: &Chunks<Option<Object>>, selector: ObjectId, backend: ObjectId) -> bool {
    let object = |id: ObjectId| objects.get(id.slot()).and_then(Option::as_ref);
    let (Some(selector), Some(backend)) = (object(selector), object(backend)) else { return false };
    selector.selects(backend.selectable())
}
