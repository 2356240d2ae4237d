//! Entities derived from workloads that nothing claims: `workload:<namespace>/<name>`.
//!
//! Over clusters they are one where namespace, name and kind agree. Of several kinds under one name the first in the order
//! Deployment, StatefulSet, DaemonSet, ReplicaSet, CronJob, ReplicationController has the plain name; the others add theirs: `shop_statefulset`. Where
//! clusters are kept apart the cluster is added first: `shop_eu-1`. No name of Kubernetes holds `_`, so these stand for
//! nothing else.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use vitals_proto::{
    identity::{ClusterName, EntityRef, NAME_BYTES_MAX, ObjectKey, WORKLOAD},
    kind::Kind,
};

use crate::graph::{ObjectId, ids::IdSet};

/// Whether workloads of one name in several clusters are one entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clusters {
    /// They are.
    #[default]
    Combined,
    /// Each cluster's is its own.
    Apart,
}

/// The workloads that need a derived entity, by name.
#[derive(Debug)]
pub(crate) struct Derived {
    clusters: Clusters,
    groups: HashMap<Name, Group>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    cluster: Option<ClusterName>,
    namespace: Box<str>,
    name: Box<str>,
}

/// By kind, the one with the plain name first.
type Group = BTreeMap<u8, IdSet>;

/// The place of a kind among those of one name; `None` for kinds from which no entity is derived.
fn rank(kind: &Kind) -> Option<u8> {
    match kind {
        Kind::Deployment => Some(0),
        Kind::StatefulSet => Some(1),
        Kind::DaemonSet => Some(2),
        Kind::ReplicaSet => Some(3),
        Kind::CronJob => Some(4),
        Kind::ReplicationController => Some(5),
        Kind::Job
        | Kind::PersistentVolumeClaim
        | Kind::Pod
        | Kind::Service
        | Kind::Ingress
        | Kind::Event
        | Kind::ResourceQuota
        | Kind::PersistentVolume
        | Kind::EndpointSlice
        | Kind::HorizontalPodAutoscaler
        | Kind::PodDisruptionBudget
        | Kind::Node
        | Kind::Namespace
        | Kind::Other(_) => None,
    }
}

impl Derived {
    pub(crate) fn new(clusters: Clusters) -> Self {
        Self { clusters, groups: HashMap::new() }
    }

    /// Takes a workload in. Gives those of the same name that are called otherwise from now on.
    pub(crate) fn insert(&mut self, id: ObjectId, key: &ObjectKey) -> Vec<ObjectId> {
        let Some(rank) = rank(key.kind()) else { return Vec::new() };
        let group = self.groups.entry(name(self.clusters, key)).or_default();
        let before = group.keys().next().copied();
        if !group.entry(rank).or_default().insert(id) {
            return Vec::new();
        }
        renamed(group, before, id)
    }

    /// Takes a workload out. Gives those of the same name that are called otherwise from now on.
    pub(crate) fn remove(&mut self, id: ObjectId, key: &ObjectKey) -> Vec<ObjectId> {
        let (Some(rank), name) = (rank(key.kind()), name(self.clusters, key)) else {
            return Vec::new();
        };
        let Some(group) = self.groups.get_mut(&name) else { return Vec::new() };
        let before = group.keys().next().copied();
        if let Some(ids) = group.get_mut(&rank) {
            ids.remove(id);
            if ids.is_empty() {
                group.remove(&rank);
            }
        }
        let renamed = renamed(group, before, id);
        if group.is_empty() {
            self.groups.remove(&name);
        }
        renamed
    }

    /// What a workload is called; `None` where its names do not make a reference.
    pub(crate) fn entity(&self, key: &ObjectKey) -> Option<EntityRef> {
        let group = self.groups.get(&name(self.clusters, key));
        let first = group.and_then(|group| group.keys().next().copied());
        let is_first = first.is_none_or(|first| rank(key.kind()) == Some(first));
        self.candidates(key).nth(usize::from(!is_first))
    }

    /// All that a workload can be called: the plain name, then with its kind.
    pub(crate) fn candidates(&self, key: &ObjectKey) -> impl Iterator<Item = EntityRef> {
        let cluster = match self.clusters {
            Clusters::Combined => String::new(),
            Clusters::Apart => format!("_{}", key.cluster()),
        };
        let with_kind = format!("{cluster}_{}", key.kind().title().to_ascii_lowercase());
        let kinds = rank(key.kind()).map(|_| [cluster, with_kind]);
        let (namespace, name) = (key.namespace().to_owned(), key.name().to_owned());
        kinds.into_iter().flatten().filter_map(move |suffix| {
            // The longest names are cut to make room; two that then are one would share an entity, and nothing is lost.
            let room = NAME_BYTES_MAX.saturating_sub(suffix.len());
            let name = name.get(..name.floor_char_boundary(room)).unwrap_or_default();
            EntityRef::new(WORKLOAD, &namespace, &format!("{name}{suffix}")).ok()
        })
    }
}

fn name(clusters: Clusters, key: &ObjectKey) -> Name {
    let cluster = match clusters {
        Clusters::Combined => None,
        Clusters::Apart => Some(key.cluster().clone()),
    };
    Name { cluster, namespace: key.namespace().into(), name: key.name().into() }
}

/// The others of a group, where the kind with the plain name has changed.
fn renamed(group: &Group, before: Option<u8>, cause: ObjectId) -> Vec<ObjectId> {
    if group.keys().next().copied() == before {
        return Vec::new();
    }
    group.values().flatten().filter(|id| *id != cause).collect()
}
