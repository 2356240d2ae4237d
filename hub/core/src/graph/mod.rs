//! The graph of objects: who owns whom, by UID and within a cluster; what Services and budgets select, and what an object names,
//! within a namespace; on which node a pod is.
//!
//! Behind the store, before entities. Order does not matter: a pod may come before its ReplicaSet, and links that lead
//! nowhere wait. Kept up to date at a cost of what a change touches: its own links, and for a Service or for labels that
//! changed, the namespace.
//!
//! Invariants: a function of the objects held, whatever the order in which they came; [`ObjectId`]s are reused and do
//! depend on that order, so they never decide anything, and nothing iterates a hash table.

pub(crate) mod ids;
pub(crate) mod labels;
pub(crate) mod object;
pub(crate) mod names;
mod index;
mod link;
mod nodes;
mod owners;

use std::{collections::BTreeSet, sync::Arc};

use hashbrown::{HashMap, HashSet};
use vitals_proto::{
    identity::{ClusterName, KeyParts, ObjectKey, Uid},
    v1,
};

use self::{
    ids::IdSet,
    index::Index,
    labels::LabelPool,
    link::Namespace,
    nodes::{Nodes, node_name},
    object::{Object, Owner, OwnerRead, Read},
    owners::Owners,
};
use crate::{chunks::Chunks, time::Time};

/// Most steps up from an object to those that control it, or down. Kubernetes has no more than a handful.
const CONTROLLERS_MAX: usize = 64;

/// Most steps up within which the top must be reached, for claims to be inherited: owners that come round have none.
const TOP_MAX: usize = CONTROLLERS_MAX;

/// An object within this graph, as long as it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectId(u32);

impl ObjectId {
    /// Its place in a list by object.
    pub(crate) fn slot(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    objects: Chunks<Option<Object>>,
    free: Vec<ObjectId>,
    by_key: Index,
    by_uid: Index,
    owners: Owners,
    nodes: Nodes,
    namespaces: HashMap<(ClusterName, Arc<str>), Namespace>,
    /// By Service or budget.
    selected: HashMap<ObjectId, IdSet>,
    /// What an object names, where it names something.
    names: HashMap<ObjectId, Box<[ObjectKey]>>,
    /// What names a key.
    naming: HashMap<ObjectKey, IdSet>,
    pool: LabelPool,
    /// The names of all that were ever seen: the hub takes so many at most.
    clusters: HashSet<ClusterName>,
}

/// An object as it is to be put.
#[derive(Debug)]
pub(crate) struct Prepared {
    object: Object,
    owners: Vec<OwnerRead>,
    names: Box<[ObjectKey]>,
    /// The node on which it is, where that changes; empty for none.
    node: Option<Box<str>>,
    /// The object of that key as it is held now.
    pub(crate) held: Option<ObjectId>,
    /// What it changes.
    pub(crate) links: Links,
}

/// What an object as it is now does to its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// It is new, or its UID or owners changed: all below it may belong elsewhere.
    Moved,
    /// Its labels, annotations, template, selector or what it names changed, and it may claim or select otherwise.
    Relabelled,
    /// Neither.
    Same,
}

impl Graph {
    /// Reads an object as it is now, and compares it with what is held of it.
    pub(crate) fn prepare(
        &mut self,
        key: &ObjectKey,
        facts: Option<&v1::Facts>,
        now: Time,
    ) -> Prepared {
        let Read { object, owners, names } = Object::read(key, facts, &mut self.pool, now);
        let held = self.find(key);
        let links = match held.and_then(|id| Some((id, self.get(id)?))) {
            Some((id, before)) if self.are_owners(before, &owners) => {
                let renamed = *self.names(id) != *names;
                let links = difference(before, &object);
                if renamed && links == Links::Same { Links::Relabelled } else { links }
            }
            Some(_) | None => Links::Moved,
        };
        let node = node_name(facts);
        let node = (held.map_or("", |id| self.node_name(id)) != node).then(|| node.into());
        Prepared { object, owners, names, node, held, links }
    }

    /// Puts it.
    pub(crate) fn put(&mut self, prepared: Prepared) -> ObjectId {
        let Prepared { node, .. } = &prepared;
        let node = node.clone();
        let id = self.put_linked(prepared);
        if let Some(node) = node {
            self.link_node(id, &node);
        }
        id
    }

    fn put_linked(&mut self, prepared: Prepared) -> ObjectId {
        let Prepared { object, owners, names, held, links, node: _ } = prepared;
        let Some(id) = held else {
            let id = self.insert(object);
            self.link_owners(id, &owners);
            self.link_selection(id);
            self.link_names(id, names);
            return id;
        };
        if links == Links::Moved {
            self.unlink_owners(id);
        }
        if links != Links::Same {
            self.unlink_selection(id);
            self.unlink_names(id);
        }
        if let Some(held) = self.objects.get_mut(id.slot()).and_then(Option::as_mut) {
            let ties = std::mem::take(&mut held.ties);
            std::mem::replace(held, Object { ties, ..object }).release(&mut self.pool);
        }
        if links == Links::Moved {
            self.link_owners(id, &owners);
        }
        if links != Links::Same {
            self.link_selection(id);
            self.link_names(id, names);
        }
        id
    }

    /// All whose claims may depend on an object whose links change so: what it controls, and what takes from any of it.
    pub(crate) fn dependents(&self, id: ObjectId, links: Links) -> Vec<ObjectId> {
        let mut found = match links {
            Links::Moved => self.descendants(id),
            Links::Relabelled => Vec::new(),
            Links::Same => return Vec::new(),
        };
        let takers = std::iter::once(&id).chain(&found).flat_map(|it| self.takers(*it));
        let takers: BTreeSet<_> = takers.collect();
        found.extend(takers);
        found
    }

    /// Forgets an object. What it owned stays, waiting for another of its UID.
    pub(crate) fn remove(&mut self, id: ObjectId) {
        self.unlink_owners(id);
        self.unlink_selection(id);
        self.unlink_names(id);
        self.link_node(id, "");
        let objects = &self.objects;
        self.by_key.remove(hash_key(&self.by_key, objects, id), id);
        if let Some(object) = self.objects.get_mut(id.slot()).and_then(Option::take) {
            object.release(&mut self.pool);
            self.free.push(id);
        }
    }

    /// The object of a key.
    pub(crate) fn find(&self, key: &ObjectKey) -> Option<ObjectId> {
        let mut found = self.by_key.candidates(self.by_key.hash(key));
        found.find(|id| self.get(*id).is_some_and(|object| object.key == *key))
    }

    pub(crate) fn get(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(id.slot())?.as_ref()
    }

    /// All objects, in no order that means anything.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        (0..)
            .map(ObjectId)
            .zip(self.objects.iter())
            .filter(|(_, it)| it.is_some())
            .map(|(id, _)| id)
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len() - self.free.len()
    }

    /// The object that controls it, where it is held.
    pub(crate) fn controller(&self, id: ObjectId) -> Option<ObjectId> {
        self.owners.get(self.get(id)?.controller()?.id)?.holder
    }

    /// What owns it in any role, ordered by key, where it is held.
    pub(crate) fn owners(&self, id: ObjectId) -> Vec<ObjectId> {
        let Some(object) = self.get(id) else { return Vec::new() };
        let owners = object.ties.owners.iter();
        self.in_order(owners.filter_map(|owner| self.owners.get(owner.id)?.holder))
    }

    /// Its controllers, from the nearest one up; those that come round once.
    pub(crate) fn controllers(&self, id: ObjectId) -> impl Iterator<Item = ObjectId> + '_ {
        let above = move |at: &ObjectId| self.controller(*at);
        let chain = std::iter::successors(above(&id), above).take(CONTROLLERS_MAX);
        // A controller that comes again has come at one of the steps before it.
        chain.enumerate().map_while(move |(steps, at)| {
            let before = std::iter::successors(Some(id), above).take(steps + 1);
            (!before.into_iter().any(|it| it == at)).then_some(at)
        })
    }

    /// Whether its controllers lead to a top.
    pub(crate) fn has_top(&self, id: ObjectId) -> bool {
        let above = std::iter::successors(Some(id), |at| self.controller(*at));
        above.take(TOP_MAX + 1).count() <= TOP_MAX
    }

    /// What names it as an owner in any role, in no order that means anything.
    pub(crate) fn owned(&self, id: ObjectId) -> impl Iterator<Item = ObjectId> + '_ {
        let owning = self.get(id).and_then(|object| self.owners.get(object.ties.owning?));
        owning.filter(|owning| owning.holder == Some(id)).into_iter().flat_map(|it| &it.owned)
    }

    /// What it controls.
    pub(crate) fn controlled(&self, id: ObjectId) -> impl Iterator<Item = ObjectId> + '_ {
        self.owned(id).filter(move |owned| self.controller(*owned) == Some(id))
    }

    /// All that it controls, directly or not, as far as [`Graph::controllers`] leads up to it.
    pub(crate) fn below(&self, id: ObjectId) -> Vec<ObjectId> {
        self.descend(id, CONTROLLERS_MAX)
    }

    /// All that it controls, however far, parents before what they control.
    pub(crate) fn descendants(&self, id: ObjectId) -> Vec<ObjectId> {
        self.descend(id, usize::MAX)
    }

    /// Each object has one controller, so that only `id` itself can be met again.
    fn descend(&self, id: ObjectId, steps_max: usize) -> Vec<ObjectId> {
        let mut found: Vec<ObjectId> = Vec::new();
        let mut level = vec![id];
        let mut steps = 0;
        while !level.is_empty() && steps < steps_max {
            let next = level.iter().flat_map(|at| self.controlled(*at)).filter(|it| *it != id);
            level = next.collect();
            found.extend(&level);
            steps += 1;
        }
        found
    }

    /// What a Service or a budget selects: pods, and workloads by their template.
    pub(crate) fn selected(&self, service: ObjectId) -> impl Iterator<Item = ObjectId> + '_ {
        self.selected.get(&service).into_iter().flatten()
    }

    /// The Services and budgets that select it.
    pub(crate) fn selecting(&self, id: ObjectId) -> impl Iterator<Item = ObjectId> + '_ {
        self.get(id).into_iter().flat_map(|object| &object.ties.selecting)
    }

    /// Sorts by key, and leaves out repeats.
    pub(crate) fn in_order(&self, ids: impl Iterator<Item = ObjectId>) -> Vec<ObjectId> {
        let mut ids: Vec<_> = ids.collect();
        ids.sort_by(|a, b| self.key(*a).cmp(&self.key(*b)));
        ids.dedup();
        ids
    }

    pub(crate) fn key(&self, id: ObjectId) -> Option<&ObjectKey> {
        self.get(id).map(|object| &object.key)
    }

    /// The objects whose links an object changes as it goes from its place or comes to it: itself, and those of its UID, old
    /// and new. Kubernetes has no two of one UID; a forged message could make them.
    pub(crate) fn holders(&self, prepared: &Prepared) -> Vec<ObjectId> {
        let new = self.of_uid(prepared.object.key.cluster(), &prepared.object.uid);
        let old = prepared.held.into_iter().flat_map(|id| self.holders_of(id));
        new.chain(old).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// An object, and those of its UID.
    pub(crate) fn holders_of(&self, id: ObjectId) -> Vec<ObjectId> {
        let others = self.get(id).map(|object| self.of_uid(object.key.cluster(), &object.uid));
        let all: BTreeSet<_> = others.into_iter().flatten().chain([id]).collect();
        all.into_iter().collect()
    }

    fn of_uid<'a>(
        &'a self,
        cluster: &'a ClusterName,
        uid: &'a Uid,
    ) -> impl Iterator<Item = ObjectId> + 'a {
        let found = self.by_uid.candidates(self.by_uid.hash(&(cluster, uid)));
        found.filter(move |id| {
            self.get(*id).is_some_and(|it| it.uid == *uid && it.key.cluster() == cluster)
        })
    }

    /// The object of a UID. Of several the first by key.
    fn by_uid(&self, cluster: &ClusterName, uid: &Uid) -> Option<ObjectId> {
        let found = self.of_uid(cluster, uid);
        found.min_by(|a, b| self.key(*a).cmp(&self.key(*b)))
    }

    fn are_owners(&self, object: &Object, read: &[OwnerRead]) -> bool {
        let same = |(held, read): (&Owner, &OwnerRead)| {
            (held.role, held.kind) == (read.role, read.kind)
                && self.owners.get(held.id).is_some_and(|owning| owning.uid == read.uid)
        };
        let held = &object.ties.owners;
        held.len() == read.len() && held.iter().zip(read).all(same)
    }

    fn insert(&mut self, mut object: Object) -> ObjectId {
        object.key = self.with_shared_cluster(object.key);
        let hash = self.by_key.hash(&object.key);
        let id = if let Some(id) = self.free.pop() {
            if let Some(slot) = self.objects.get_mut(id.slot()) {
                *slot = Some(object);
            }
            id
        } else {
            let id = ObjectId(u32::try_from(self.objects.len()).unwrap_or(u32::MAX));
            self.objects.push(Some(object));
            id
        };
        let objects = &self.objects;
        self.by_key.insert(hash, id, |index, id| hash_key(index, objects, id));
        id
    }

    /// The same key. Each message brings the name of its cluster anew, and objects hold it as long as they are held.
    fn with_shared_cluster(&mut self, key: ObjectKey) -> ObjectKey {
        let cluster = self.clusters.get_or_insert_with(key.cluster(), ClusterName::clone).clone();
        let (kind, namespace, name) = (key.kind().clone(), key.namespace(), key.name());
        ObjectKey::new(KeyParts { cluster, kind, namespace, name }).unwrap_or(key)
    }
}

fn hash_key(index: &Index, objects: &Chunks<Option<Object>>, id: ObjectId) -> u64 {
    let object = objects.get(id.slot()).and_then(Option::as_ref);
    object.map_or(0, |object| index.hash(&object.key))
}

fn difference(before: &Object, after: &Object) -> Links {
    if before.uid != after.uid {
        return Links::Moved;
    }
    let same = before.labels == after.labels
        && before.annotations == after.annotations
        && before.template == after.template
        && before.selector == after.selector
        && before.requirements() == after.requirements();
    if same { Links::Same } else { Links::Relabelled }
}
