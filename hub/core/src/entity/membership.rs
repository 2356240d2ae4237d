//! Which objects belong to which entities, kept up to date.
//!
//! The claims of an object, the first of these that gives any: its own explicit claims; the claims of its controller, where
//! that is held; its own implicit claim; for a Service, the claims of what it selects; for a top-level controller, the
//! entity derived from it. (Owners come before own labels, since pods carry copies of labels that were meant for others.)
//! Owners that come round lead nowhere: each object then stands for itself.
//!
//! Eager: every change gives the entities of what it moved at once, so that what an input touched does not depend on how
//! inputs are batched. The cost is that of the objects whose claims may change.
//!
//! Invariants: claims are a function of the objects and definitions held, whatever the order in which they came; an entity
//! has a place here as long as it has a member.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use hashbrown::{HashMap, HashSet};
use vitals_proto::{
    identity::{ClusterName, EntityRef, ObjectKey},
    kind::Kind,
};

use super::{
    derived::{Clusters, Derived},
    rule::{self, Bearer, Marks, OwnClaim, Rule, Why},
};
use crate::{
    catalog::Catalog,
    chunks::Chunks,
    graph::{Graph, ObjectId, ids::IdSet, labels::Labels, names, object::Object},
};

/// The members of one entity, by cluster. A list ordered by cluster: nearly always of one or a few.
#[derive(Debug, Default)]
pub(crate) struct Members(Vec<(ClusterName, IdSet)>);

type Claims = Arc<[EntityRef]>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Membership {
    members: HashMap<EntityRef, Members>,
    /// By object, ordered. An object shares those that it inherits.
    claims: Chunks<Claims>,
    derived: Derived,
}

impl Members {
    /// Those in a cluster.
    pub(crate) fn of(&self, cluster: &ClusterName) -> Option<&IdSet> {
        self.0.get(self.place(cluster).ok()?).map(|(_, ids)| ids)
    }

    /// In how many clusters they are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn place(&self, cluster: &ClusterName) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.cmp(cluster))
    }

    fn insert(&mut self, cluster: &ClusterName, id: ObjectId) -> bool {
        let place = self.place(cluster).unwrap_or_else(|place| {
            self.0.reserve_exact(1);
            self.0.insert(place, (cluster.clone(), IdSet::default()));
            place
        });
        self.0.get_mut(place).is_some_and(|(_, ids)| ids.insert(id))
    }

    fn remove(&mut self, cluster: &ClusterName, id: ObjectId) {
        let Ok(place) = self.place(cluster) else { return };
        if let Some((_, ids)) = self.0.get_mut(place) {
            ids.remove(id);
            if ids.is_empty() {
                self.0.remove(place);
            }
        }
    }
}

impl<'a> IntoIterator for &'a Members {
    type Item = &'a (ClusterName, IdSet);
    type IntoIter = std::slice::Iter<'a, (ClusterName, IdSet)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Why an object belongs to an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Explanation<'a> {
    pub(crate) rule: Rule,
    /// Through which objects, the nearest first; the last one makes the claim.
    pub(crate) via: Vec<ObjectId>,
    /// What is claimed there.
    pub(crate) claim: OwnClaim<'a>,
}

impl Membership {
    pub(crate) fn new(clusters: Clusters) -> Self {
        Self { members: HashMap::new(), claims: Chunks::default(), derived: Derived::new(clusters) }
    }

    /// The members of an entity.
    pub(crate) fn members(&self, entity: &EntityRef) -> Option<&Members> {
        self.members.get(entity)
    }

    /// All entities that have members, in no order that means anything.
    pub(crate) fn entities(&self) -> impl Iterator<Item = (&EntityRef, &Members)> {
        self.members.iter()
    }

    /// The entities of an object, ordered.
    pub(crate) fn claims(&self, id: ObjectId) -> &[EntityRef] {
        self.claims.get(id.slot()).map(|claims| &**claims).unwrap_or_default()
    }

    /// Judges anew to whom these objects belong, and all that follows from it. Gives every entity that gained or lost one.
    pub(crate) fn reclaim(
        &mut self,
        graph: &Graph,
        catalog: &Catalog,
        ids: impl IntoIterator<Item = ObjectId>,
    ) -> BTreeSet<EntityRef> {
        let mut moved = BTreeSet::new();
        let mut queue: VecDeque<ObjectId> = ids.into_iter().collect();
        let mut queued: HashSet<ObjectId> = queue.iter().copied().collect();
        while let Some(id) = queue.pop_front() {
            queued.remove(&id);
            let Some(object) = graph.get(id) else { continue };
            let (claims, renamed) = self.resolve(graph, catalog, id, object);
            let mut next = renamed;
            if *claims != *self.claims(id) {
                self.replace(id, object.key.cluster(), claims, &mut moved);
                next.extend(graph.controlled(id));
                next.extend(graph.takers(id));
            }
            queue.extend(next.into_iter().filter(|id| queued.insert(*id)));
        }
        moved
    }

    /// Takes an object out that is about to be removed. What it leaves behind is to be reclaimed: that is given too.
    pub(crate) fn release(
        &mut self,
        graph: &Graph,
        id: ObjectId,
    ) -> (BTreeSet<EntityRef>, Vec<ObjectId>) {
        let mut moved = BTreeSet::new();
        let Some(object) = graph.get(id) else { return (moved, Vec::new()) };
        let renamed = self.derived.remove(id, &object.key);
        self.replace(id, object.key.cluster(), Claims::default(), &mut moved);
        (moved, renamed)
    }

    fn replace(
        &mut self,
        id: ObjectId,
        cluster: &ClusterName,
        claims: Claims,
        moved: &mut BTreeSet<EntityRef>,
    ) {
        for entity in self.claims(id).to_vec() {
            if claims.contains(&entity) {
                continue;
            }
            if let Some(members) = self.members.get_mut(&entity) {
                members.remove(cluster, id);
                if members.0.is_empty() {
                    self.members.remove(&entity);
                }
            }
            moved.insert(entity);
        }
        for entity in &*claims {
            let members = self.members.entry(entity.clone()).or_default();
            if members.insert(cluster, id) {
                moved.insert(entity.clone());
            }
        }
        while self.claims.len() <= id.slot() {
            self.claims.push(Claims::default());
        }
        if let Some(held) = self.claims.get_mut(id.slot()) {
            *held = claims;
        }
    }

    /// The claims of an object, ordered, and the objects that are called otherwise on account of it.
    fn resolve(
        &mut self,
        graph: &Graph,
        catalog: &Catalog,
        id: ObjectId,
        object: &Object,
    ) -> (Claims, Vec<ObjectId>) {
        let claimed = self.without_derivation(graph, catalog, id, object);
        if !claimed.is_empty() || !is_derivable(object) {
            let renamed = self.derived.remove(id, &object.key);
            return (claimed, renamed);
        }
        let renamed = self.derived.insert(id, &object.key);
        (self.derived.entity(&object.key).into_iter().collect(), renamed)
    }

    fn without_derivation(
        &self,
        graph: &Graph,
        catalog: &Catalog,
        id: ObjectId,
        object: &Object,
    ) -> Claims {
        let explicit = rule::explicit(object, catalog);
        if !explicit.is_empty() {
            return explicit.into_iter().map(|claim| claim.entity).collect();
        }
        if let Some(controller) = heir_of(graph, id) {
            let inherited = self.claims.get(controller.slot());
            if let Some(inherited) = inherited.filter(|claims| !claims.is_empty()) {
                return inherited.clone();
            }
        }
        if let Some(claim) = rule::implicit(object, catalog) {
            return [claim.entity].into();
        }
        let taken = sources(graph, id).flat_map(|source| self.claims(source)).cloned();
        taken.collect::<BTreeSet<EntityRef>>().into_iter().collect()
    }

    /// Why an object belongs to its entities, ordered as they are.
    pub(crate) fn explain<'a>(
        &self,
        graph: &'a Graph,
        catalog: &'a Catalog,
        id: ObjectId,
    ) -> Vec<Explanation<'a>> {
        let Some(object) = graph.get(id) else { return Vec::new() };
        let own = |claim: OwnClaim<'a>| Explanation { rule: claim.rule, via: Vec::new(), claim };
        let explicit = rule::explicit(object, catalog);
        if !explicit.is_empty() {
            return explicit.into_iter().map(own).collect();
        }
        if let Some(controller) = heir_of(graph, id) {
            let inherited = self.explain(graph, catalog, controller);
            if !inherited.is_empty() {
                return inherited
                    .into_iter()
                    .map(|it| it.through(controller, Rule::Owner))
                    .collect();
            }
        }
        if let Some(claim) = rule::implicit(object, catalog) {
            return vec![own(claim)];
        }
        let mut taken: BTreeMap<EntityRef, Explanation<'a>> = BTreeMap::new();
        let rule = Rule::of_taker(object.key.kind());
        for source in graph.in_order(sources(graph, id)) {
            for it in self.explain(graph, catalog, source) {
                let entity = it.claim.entity.clone();
                taken.entry(entity).or_insert_with(|| it.through(source, rule));
            }
        }
        if !taken.is_empty() {
            return taken.into_values().collect();
        }
        let derived = is_derivable(object).then(|| self.derived.entity(&object.key)).flatten();
        let why = Why::TopLevel(object.key.kind().title());
        let claim = |entity| OwnClaim { entity, rule: Rule::Derived, bearer: Bearer::Itself, why };
        derived.map(claim).map(own).into_iter().collect()
    }

    /// All entities to which an object of these labels may have belonged that is not held: a deletion touches them too.
    pub(crate) fn candidates(
        &self,
        graph: &Graph,
        catalog: &Catalog,
        key: &ObjectKey,
        labels: &Labels,
    ) -> BTreeSet<EntityRef> {
        let marks = Marks { key, labels, annotations: None, bearer: Bearer::Itself };
        let explicit = rule::explicit_by(marks, catalog);
        let own = explicit.into_iter().chain(rule::implicit_by(marks, catalog));
        let mut found: BTreeSet<EntityRef> = own.map(|claim| claim.entity).collect();
        found.extend(self.derived.candidates(key));
        let around = graph.around(key.cluster(), key.namespace(), labels);
        let around = around.into_iter().chain(graph.naming(key));
        found.extend(around.flat_map(|id| self.claims(id)).cloned());
        found
    }
}

/// The controller whose claims an object inherits.
fn heir_of(graph: &Graph, id: ObjectId) -> Option<ObjectId> {
    graph.controller(id).filter(|_| graph.has_top(id))
}

/// What gives its claims to what stands beside workloads. What is itself under such an object does not: that would come round.
fn sources(graph: &Graph, id: ObjectId) -> impl Iterator<Item = ObjectId> + '_ {
    let under_a_taker = |source: ObjectId| {
        let mut above = graph.controllers(source).filter_map(|id| graph.key(id));
        above.any(|it| names::takes(it.kind()))
    };
    graph.sources(id).filter(move |source| !under_a_taker(*source))
}

/// A top-level controller. Of ReplicaSets only those that nothing controls: the others come and go with each rollout. No Job:
/// those of a CronJob are its runs, and one that stands alone is done once.
fn is_derivable(object: &Object) -> bool {
    match object.key.kind() {
        Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet | Kind::CronJob => true,
        Kind::ReplicaSet | Kind::ReplicationController => object.controller().is_none(),
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
        | Kind::Other(_) => false,
    }
}

impl Explanation<'_> {
    /// The same, inherited through an object.
    fn through(mut self, id: ObjectId, rule: Rule) -> Self {
        self.via.insert(0, id);
        Self { rule, ..self }
    }
}
