//! Links of the graph: from an object to what it names as owner, and between Services and what they select.
//!
//! Each is made when either end comes, and taken away when an end goes or changes; the object itself is in its place
//! meanwhile, since its links are found by what it holds.

use std::sync::Arc;

use hashbrown::HashMap;
use vitals_proto::{identity::ClusterName, kind::Kind};

use super::{Graph, ObjectId, ids::IdSet, index::Index, object::Object};

/// What can select and be selected in a namespace.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub(super) services: IdSet,
    /// Workloads, by the labels of their template.
    pub(super) workloads: IdSet,
    pods: IdSet,
}

impl Namespace {
    fn of_kind(&mut self, kind: &Kind) -> &mut IdSet {
        match kind {
            Kind::Service => &mut self.services,
            Kind::Pod => &mut self.pods,
            Kind::Deployment
            | Kind::ReplicaSet
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::Namespace
            | Kind::Node
            | Kind::Other(_) => &mut self.workloads,
        }
    }

    fn is_empty(&self) -> bool {
        self.services.is_empty() && self.workloads.is_empty() && self.pods.is_empty()
    }
}

impl Graph {
    pub(super) fn link_owners(&mut self, id: ObjectId) {
        let Some(object) = self.objects.get(id.slot()).and_then(Option::as_ref) else { return };
        for owner in &object.owners {
            let key = (object.key.cluster().clone(), owner.uid.clone());
            self.owned.entry(key).or_default().insert(id);
        }
        if !object.uid.is_empty() {
            let hash = self.by_uid.hash(&(object.key.cluster(), &object.uid));
            let objects = &self.objects;
            self.by_uid.insert(hash, id, |index, id| hash_uid(index, objects, id));
        }
    }

    pub(super) fn unlink_owners(&mut self, id: ObjectId) {
        let Some(object) = self.objects.get(id.slot()).and_then(Option::as_ref) else { return };
        for owner in &object.owners {
            let key = (object.key.cluster().clone(), owner.uid.clone());
            if let Some(owned) = self.owned.get_mut(&key) {
                owned.remove(id);
                if owned.is_empty() {
                    self.owned.remove(&key);
                }
            }
        }
        if !object.uid.is_empty() {
            self.by_uid.remove(hash_uid(&self.by_uid, &self.objects, id), id);
        }
    }

    pub(super) fn link_selection(&mut self, id: ObjectId) {
        let Some(object) = self.objects.get(id.slot()).and_then(Option::as_ref) else { return };
        let Some(place_key) = place(object) else { return };
        let is_service = matches!(object.key.kind(), Kind::Service);
        let place = self.namespaces.entry(place_key).or_default();
        place.of_kind(object.key.kind()).insert(id);
        let pairs: Vec<_> = if is_service {
            let selects = |it: &ObjectId| matches(&self.objects, id, *it);
            place.workloads.iter().chain(&place.pods).filter(selects).map(|it| (id, it)).collect()
        } else {
            let selects = |it: &ObjectId| matches(&self.objects, *it, id);
            place.services.iter().filter(selects).map(|it| (it, id)).collect()
        };
        for (service, backend) in pairs {
            self.selected.entry(service).or_default().insert(backend);
            self.selecting.entry(backend).or_default().insert(service);
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
            forget(&mut self.selecting, backend, id);
        }
        for service in &self.selecting.remove(&id).unwrap_or_default() {
            forget(&mut self.selected, service, id);
        }
    }
}

fn hash_uid(index: &Index, objects: &[Option<Object>], id: ObjectId) -> u64 {
    let object = objects.get(id.slot()).and_then(Option::as_ref);
    object.map_or(0, |object| index.hash(&(object.key.cluster(), &object.uid)))
}

/// The namespace of what selects or can be selected.
fn place(object: &Object) -> Option<(ClusterName, Arc<str>)> {
    let linked = match object.key.kind() {
        Kind::Service => !object.selector.is_empty(),
        Kind::Pod => true,
        Kind::Deployment | Kind::ReplicaSet | Kind::StatefulSet | Kind::DaemonSet => {
            !object.template.is_empty()
        }
        Kind::Namespace | Kind::Node | Kind::Other(_) => false,
    };
    linked.then(|| (object.key.cluster().clone(), object.key.namespace().into()))
}

fn matches(objects: &[Option<Object>], service: ObjectId, backend: ObjectId) -> bool {
    let object = |id: ObjectId| objects.get(id.slot()).and_then(Option::as_ref);
    let (Some(service), Some(backend)) = (object(service), object(backend)) else { return false };
    backend.selectable().are_selected_by(&service.selector)
}

fn forget(links: &mut HashMap<ObjectId, IdSet>, from: ObjectId, to: ObjectId) {
    if let Some(linked) = links.get_mut(&from) {
        linked.remove(to);
        if linked.is_empty() {
            links.remove(&from);
        }
    }
}
