//! On which node each pod is. A node that pods name has a number, by which it is found from a pod; and holds its pods, whether
//! the Node itself is held or not.

use std::{hash::BuildHasher as _, num::NonZeroU32};

use hashbrown::{DefaultHashBuilder, HashTable};
use vitals_proto::{
    identity::{ClusterName, KeyParts, ObjectKey},
    kind::Kind,
    v1,
};

use super::{Graph, ObjectId, ids::IdSet};

/// A node, as long as a pod is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(NonZeroU32); // counts from 1, so that an absent one takes no memory

#[derive(Debug)]
struct Place {
    cluster: ClusterName,
    name: Box<str>,
    pods: IdSet,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    all: Vec<Option<Place>>,
    free: Vec<NodeId>,
    // Never iterated, so that its order cannot show.
    index: HashTable<NodeId>,
    hasher: DefaultHashBuilder,
}

impl NodeId {
    fn slot(self) -> usize {
        usize::try_from(self.0.get()).map_or(usize::MAX, |number| number - 1)
    }
}

impl Nodes {
    fn get(&self, id: NodeId) -> Option<&Place> {
        at(&self.all, id)
    }

    fn find(&self, cluster: &ClusterName, name: &str) -> Option<NodeId> {
        let hash = self.hasher.hash_one((cluster, name));
        let is_it = |id: &NodeId| {
            at(&self.all, *id).is_some_and(|it| *it.name == *name && it.cluster == *cluster)
        };
        self.index.find(hash, is_it).copied()
    }

    fn enter(&mut self, cluster: &ClusterName, name: &str) -> NodeId {
        if let Some(id) = self.find(cluster, name) {
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            // 2^32 nodes do not fit into memory; the last number would be shared.
            let number = u32::try_from(self.all.len()).ok().and_then(NonZeroU32::new);
            NodeId(number.unwrap_or(NonZeroU32::MAX))
        });
        if let Some(slot) = self.all.get_mut(id.slot()) {
            let (cluster, name) = (cluster.clone(), name.into());
            *slot = Some(Place { cluster, name, pods: IdSet::default() });
        }
        let Self { all, index, hasher, .. } = self;
        let hash =
            |id: &NodeId| at(all, *id).map_or(0, |it| hasher.hash_one((&it.cluster, &*it.name)));
        index.insert_unique(hash(&id), id, hash);
        id
    }

    /// A pod is not there any more. The last one takes the node with it.
    fn leave(&mut self, id: NodeId, pod: ObjectId) {
        let Some(slot) = self.all.get_mut(id.slot()) else { return };
        let Some(place) = slot else { return };
        place.pods.remove(pod);
        if place.pods.is_empty() {
            let hash = self.hasher.hash_one((&place.cluster, &*place.name));
            *slot = None;
            if let Ok(entry) = self.index.find_entry(hash, |held| *held == id) {
                entry.remove();
            }
            self.free.push(id);
        }
    }
}

fn at(all: &[Option<Place>], id: NodeId) -> Option<&Place> {
    all.get(id.slot())?.as_ref()
}

/// The name of the node on which an object is, by its facts; empty where it is on none, as everything but a pod.
pub(super) fn node_name(facts: Option<&v1::Facts>) -> &str {
    match facts.and_then(|facts| facts.kind.as_ref()) {
        Some(v1::facts::Kind::Pod(pod)) => &pod.node_name,
        _ => "",
    }
}

impl Graph {
    /// The name of the node on which a pod is; empty where it is on none.
    pub(super) fn node_name(&self, id: ObjectId) -> &str {
        let node = self.get(id).and_then(|object| self.nodes.get(object.ties.node?));
        node.map(|place| &*place.name).unwrap_or_default()
    }

    /// A pod is on this node from now on, or where the name is empty on none.
    pub(super) fn link_node(&mut self, id: ObjectId, name: &str) {
        let Some(object) = self.get(id) else { return };
        let (cluster, before) = (object.key.cluster().clone(), object.ties.node);
        let node = (!name.is_empty()).then(|| self.nodes.enter(&cluster, name));
        if let Some(place) = node.and_then(|it| self.nodes.all.get_mut(it.slot())?.as_mut()) {
            place.pods.insert(id);
        }
        if let Some(before) = before.filter(|it| Some(*it) != node) {
            self.nodes.leave(before, id);
        }
        self.tie(id, |ties| ties.node = node);
    }

    /// The Node on which a pod is, where that is held.
    pub(crate) fn node(&self, id: ObjectId) -> Option<ObjectId> {
        let place = self.nodes.get(self.get(id)?.ties.node?)?;
        let (cluster, kind) = (place.cluster.clone(), Kind::Node);
        let parts = KeyParts { cluster, kind, namespace: "", name: &place.name };
        self.find(&ObjectKey::new(parts).ok()?)
    }

    /// The pods on a Node.
    pub(crate) fn pods_on(&self, node: &ObjectKey) -> impl Iterator<Item = ObjectId> + '_ {
        let place = self.nodes.find(node.cluster(), node.name());
        place.and_then(|id| self.nodes.get(id)).into_iter().flat_map(|place| &place.pods)
    }

    #[cfg(test)]
    pub(crate) fn nodes_named(&self) -> usize {
        self.nodes.index.len()
    }
}
