//! The picture: which entities there are, and how each does, as a function of the objects, definitions and freshness that
//! were put in.
//!
//! Behind the store and the ingest, which put changes in; before serving, which takes what [`Picture::settle`] gives. Links
//! and claims follow each change at once; verdicts are reached once a batch, for the entities that it touched.
//!
//! Invariants: equal inputs give equal entities, whatever the order and the batches in which they came; an entity's position
//! is the pointwise greatest of all inputs that could have changed anything of it; nothing stale is Healthy.
//!
//! It tells nobody, and remembers of the past only since when a verdict holds.

mod graves;
mod judge;
mod read;
mod since;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hashbrown::HashMap;
use vitals_proto::{
    identity::{ClusterName, EntityRef, ObjectKey},
    rule::{Rule, Rules},
    v1,
};

use self::{graves::Graves, since::Since};
pub use crate::entity::derived::Clusters;
use crate::{
    catalog::{self, Catalog, Definition},
    cluster_record::ClusterLabels,
    entity::membership::Membership,
    freshness::ClusterFreshness,
    graph::{Graph, Links, ObjectId, labels::Labels},
    position::{Position, StreamPoint},
    store::Store,
    time::Time,
};

/// How a picture is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureConfig {
    /// Whether derived entities of one name in several clusters are one.
    pub derived: Clusters,
}

/// What came of an entity in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityChange {
    /// Which.
    pub entity: EntityRef,
    /// The pointwise greatest position of all that touched it.
    pub touched: Position,
    /// What came of it.
    pub outcome: Outcome,
}

/// See [`EntityChange`].
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It differs from before, or is new. The state carries its revision.
    Changed {
        /// As it is now.
        state: Arc<v1::Entity>,
        /// Whether its verdict over all clusters differs in status or reason.
        verdict: VerdictChange,
    },
    /// Nothing of it differs but the revision.
    Touched,
    /// It is gone, or was never here: who asks what was touched hears it all the same.
    Removed,
}

/// Whether a verdict is another one than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictChange {
    /// Another status or reason, or the first.
    Changed,
    /// The same status and reason.
    Same,
}

/// See the module.
#[derive(Debug)]
pub struct Picture {
    rules: Rules,
    pub(crate) graph: Graph,
    pub(crate) catalog: Catalog,
    definitions_revision: u64,
    pub(crate) membership: Membership,
    freshness: BTreeMap<ClusterName, ClusterFreshness>,
    /// By slug.
    labels: BTreeMap<String, ClusterLabels>,
    clusters_revision: u64,
    judged: HashMap<EntityRef, Judged>,
    dirty: HashMap<EntityRef, Dirty>,
    rechecks: BTreeSet<(Time, EntityRef)>,
    graves: Graves,
    /// For what is encoded, so that it is not allocated anew for each entity. Says nothing.
    scratch: Vec<u8>,
}

/// An entity as it was judged last.
#[derive(Debug)]
struct Judged {
    /// Encoded, without its revision, which is in `touched`: it is mostly compared, seldom read, and so a tenth as large.
    state: Box<[u8]>,
    since: Since,
    touched: Position,
    recheck_at: Option<Time>,
}

/// What touched an entity since it was judged last.
#[derive(Debug, Default)]
struct Dirty {
    /// `None`: nothing but time.
    touched: Option<Position>,
    /// The latest time of it, where it has one.
    at: Option<Time>,
}

/// What touches entities.
#[derive(Clone, Copy, Debug)]
enum Input<'a> {
    Message(&'a StreamPoint, Option<Time>),
    Freshness(&'a Position, Time),
    Definitions(u64),
    Clusters(u64),
}

impl Picture {
    /// An empty one, made as usual.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self::with(rules, PictureConfig::default())
    }

    /// An empty one.
    #[must_use]
    pub fn with(rules: Rules, config: PictureConfig) -> Self {
        Self {
            rules,
            graph: Graph::default(),
            catalog: Catalog::default(),
            definitions_revision: 0,
            membership: Membership::new(config.derived),
            freshness: BTreeMap::new(),
            labels: BTreeMap::new(),
            clusters_revision: 0,
            judged: HashMap::new(),
            dirty: HashMap::new(),
            rechecks: BTreeSet::new(),
            graves: Graves::default(),
            scratch: Vec::new(),
        }
    }

    /// An object is as these facts say. `None`: the content of its message is not understood, and the object Unknown.
    pub fn upsert(
        &mut self,
        key: &ObjectKey,
        facts: Option<&v1::Facts>,
        at: &StreamPoint,
        now: Time,
    ) {
        let input = Input::Message(at, Some(now));
        let prepared = self.graph.prepare(key, facts, now);
        let links = prepared.links;
        if links == Links::Same {
            let id = self.graph.put(prepared);
            return self.touch_around(id, input);
        }
        // What hangs on it may belong elsewhere: what hung on it before, and what does now.
        let holders = self.graph.holders(&prepared);
        let mut stirred = self.stir(&holders, links, input);
        let id = self.graph.put(prepared);
        let holders = self.graph.holders_of(id).into_iter().chain(holders).collect::<Vec<_>>();
        stirred.extend(self.stir(&holders, links, input));
        stirred.push(id);
        self.reclaim(stirred, input);
        self.touch_around(id, input);
    }

    /// An object is gone. Touches the entities that it belonged to, also by the labels of its tombstone: here it may never
    /// have been held, or held with other labels.
    pub fn remove(&mut self, key: &ObjectKey, tombstone: Option<&v1::Tombstone>, at: &StreamPoint) {
        let input = Input::Message(at, None);
        let held = self.graph.find(key).and_then(|id| self.graph.get(id));
        let labels = tombstone.map(|tombstone| Labels::from(&tombstone.labels));
        // Without a tombstone nobody can have held it otherwise.
        let otherwise = labels.filter(|labels| held.is_none_or(|held| held.labels != *labels));
        self.take_out(key, input);
        if let Some(labels) = otherwise {
            let named = self.membership.candidates(&self.graph, &self.catalog, key, &labels);
            self.touch(named, input);
        }
    }

    /// How well a cluster is seen.
    pub fn set_freshness(
        &mut self,
        cluster: &ClusterName,
        freshness: ClusterFreshness,
        at: &Position,
        now: Time,
    ) {
        if self.freshness.get(cluster) != Some(&freshness) {
            self.freshness.insert(cluster.clone(), freshness);
            self.touch_cluster(cluster, Input::Freshness(at, now));
        }
    }

    /// What operators say of a cluster. Its entities carry it.
    pub fn set_labels(&mut self, cluster: &ClusterName, labels: ClusterLabels, revision: u64) {
        let input = self.clusters_input(revision);
        if labels.is_empty() {
            self.labels.remove(cluster.as_str());
        } else {
            self.labels.insert(cluster.to_string(), labels);
        }
        self.touch_cluster(cluster, input);
    }

    /// An object of a cluster that is forgotten: it is gone, whether or not it exists.
    pub fn forget_object(&mut self, key: &ObjectKey, revision: u64) {
        let input = self.clusters_input(revision);
        self.take_out(key, input);
    }

    /// A cluster of which nothing is held is forgotten: nothing is expected of it.
    pub fn forget_cluster(&mut self, cluster: &ClusterName, revision: u64) {
        let input = self.clusters_input(revision);
        self.freshness.remove(cluster);
        self.touch_cluster(cluster, input);
    }

    /// As with definitions: where the bucket was made anew its revisions are lower, and what touches is later all the same.
    fn clusters_input(&mut self, revision: u64) -> Input<'static> {
        self.clusters_revision = self.clusters_revision.max(revision);
        Input::Clusters(self.clusters_revision)
    }

    /// All definitions there are now. Those that cannot be taken are left out, and given back with what is wrong.
    pub fn set_definitions(
        &mut self,
        definitions: Vec<v1::EntityDefinition>,
        revision: u64,
        at: &Position,
    ) -> Vec<catalog::Error> {
        let (catalog, problems) = Catalog::new(definitions);
        let revision = revision.max(at.definitions_revision).max(self.definitions_revision);
        self.definitions_revision = revision;
        let differing = catalog.differing(&self.catalog);
        self.catalog = catalog;
        if !differing.is_empty() {
            let input = Input::Definitions(revision);
            self.touch(differing, input);
            let all: Vec<ObjectId> = self.graph.ids().collect();
            self.reclaim(all, input);
        }
        problems
    }

    /// Judges what was touched since the last time, and what its time has come for. `position` is where the hub stands.
    pub fn settle(&mut self, store: &Store, position: &Position, now: Time) -> Vec<EntityChange> {
        let mut dirty = std::mem::take(&mut self.dirty);
        let due = self.rechecks.iter().take_while(|(at, _)| *at <= now);
        for (_, entity) in due {
            dirty.entry(entity.clone()).or_default();
        }
        let mut dirty: Vec<(EntityRef, Dirty)> = dirty.into_iter().collect();
        dirty.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let settled = dirty.into_iter().filter_map(|(entity, dirty)| {
            if self.exists(&entity) {
                self.judge(store, position, now, entity, dirty)
            } else {
                self.bury(entity, dirty)
            }
        });
        settled.collect()
    }

    /// When the passing of time alone can change a verdict next.
    #[must_use]
    pub fn recheck_at(&self) -> Option<Time> {
        self.rechecks.first().map(|(at, _)| *at)
    }

    fn exists(&self, entity: &EntityRef) -> bool {
        self.membership.members(entity).is_some()
            || self.catalog.get(entity).is_some_and(Definition::runs)
    }

    fn take_out(&mut self, key: &ObjectKey, input: Input<'_>) {
        let Some(id) = self.graph.find(key) else { return };
        let holders = self.graph.holders_of(id);
        let mut left = self.stir(&holders, Links::Moved, input);
        let (moved, renamed) = self.membership.release(&self.graph, id);
        left.extend(renamed);
        self.graph.remove(id);
        self.touch(moved, input);
        left.extend(self.stir(&holders, Links::Moved, input));
        self.reclaim(left, input);
    }

    /// Touches what is around these, and gives all whose claims may depend on them.
    fn stir(&mut self, ids: &[ObjectId], links: Links, input: Input<'_>) -> Vec<ObjectId> {
        ids.iter().for_each(|id| self.touch_around(*id, input));
        ids.iter().flat_map(|id| self.graph.dependents(*id, links)).collect()
    }

    fn reclaim(&mut self, ids: impl IntoIterator<Item = ObjectId>, input: Input<'_>) {
        let moved = self.membership.reclaim(&self.graph, &self.catalog, ids);
        self.touch(moved, input);
    }

    /// Touches all whose verdict can rest on an object: its own entities, those of what controls it and what it controls, and of
    /// what else is judged by it.
    fn touch_around(&mut self, id: ObjectId, input: Input<'_>) {
        let own = self.membership.claims(id);
        let others = self.graph.controllers(id).chain(self.graph.below(id));
        let others = others.chain(self.graph.judged_by(id));
        let others = others.map(|id| self.membership.claims(id));
        // Mostly they are the same, and shared.
        let differs = |claims: &&[EntityRef]| !std::ptr::eq(*claims, own) && *claims != own;
        let others: BTreeSet<&EntityRef> = others.filter(differs).flatten().collect();
        let near = own.iter().chain(others).cloned();
        near.for_each(|entity| touch(&mut self.dirty, entity, input));
    }

    /// Touches all that have objects in a cluster, and those registered that could.
    fn touch_cluster(&mut self, cluster: &ClusterName, input: Input<'_>) {
        let there = self.membership.entities().filter(|(_, members)| members.of(cluster).is_some());
        let mut near: BTreeSet<EntityRef> = there.map(|(entity, _)| entity.clone()).collect();
        let missing = self.catalog.running().filter(|definition| {
            let is_nowhere = self.membership.members(&definition.entity).is_none();
            definition.is_in(cluster) && (is_nowhere || definition.only_cluster().is_some())
        });
        near.extend(missing.map(|definition| definition.entity.clone()));
        self.touch(near, input);
    }

    fn touch(&mut self, entities: impl IntoIterator<Item = EntityRef>, input: Input<'_>) {
        entities.into_iter().for_each(|entity| touch(&mut self.dirty, entity, input));
    }

    /// An entity that is not there any more.
    fn bury(&mut self, entity: EntityRef, dirty: Dirty) -> Option<EntityChange> {
        let mut touched = dirty.touched.unwrap_or_default();
        match self.judged.remove(&entity) {
            Some(judged) => {
                touched.merge(&judged.touched);
                if let Some(at) = judged.recheck_at {
                    self.rechecks.remove(&(at, entity.clone()));
                }
            }
            None if !self.rules.hold(Rule::TouchedByInput) => return None,
            None => {}
        }
        self.graves.put(&entity, &mut touched);
        Some(EntityChange { entity, touched, outcome: Outcome::Removed })
    }
}

fn touch(all: &mut HashMap<EntityRef, Dirty>, entity: EntityRef, input: Input<'_>) {
    let dirty = all.entry(entity).or_default();
    let touched = dirty.touched.get_or_insert_default();
    let at = match input {
        Input::Message(point, at) => {
            touched.touch(point);
            at
        }
        Input::Freshness(position, at) => {
            touched.merge(position);
            Some(at)
        }
        Input::Definitions(revision) => {
            touched.definitions_revision = touched.definitions_revision.max(revision);
            None
        }
        Input::Clusters(revision) => {
            touched.clusters_revision = touched.clusters_revision.max(revision);
            None
        }
    };
    dirty.at = dirty.at.max(at);
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
