//! The objects of an entity, or around one object, as a tree.
//!
//! Invariant: each object stands in full once; where else it hangs it is named without what hangs on it, so that the size is
//! that of the links, whatever their shape; and no tree is deeper than [`LEVELS_MAX`].

use std::collections::BTreeSet;

use vitals_proto::{
    identity::{EntityRef, KeyParts, ObjectKey},
    kind::Kind,
    v1::{self, facts::Kind as Facts},
};

use crate::{
    graph::{
        Graph, ObjectId, names,
        object::{Readiness, Vital},
    },
    picture::Picture,
    store::Store,
};

/// Most levels of a tree. Owners may go on for ever, by design or by forgery: what is deeper is named without what it owns.
/// (Messages nest as trees do, and decoders take 100 levels at most.)
const LEVELS_MAX: usize = 32;

impl Picture {
    /// The tree of an entity; `None` where there is none of that reference.
    #[must_use]
    pub fn tree(&self, store: &Store, entity: &EntityRef) -> Option<v1::GetEntityTreeResponse> {
        let state = self.entity(entity)?;
        let members = self.membership.members(entity).into_iter().flatten();
        let members: BTreeSet<ObjectId> = members.flat_map(|(_, ids)| ids).collect();
        let owned = |id: &ObjectId| self.graph.owners(*id).iter().any(|it| members.contains(it));
        let roots: Vec<ObjectId> = members.iter().filter(|id| !owned(id)).copied().collect();
        // Where owners come round nobody is at the top: what was not reached stands beside it.
        let roots = self.roots(store, roots, &members);
        Some(v1::GetEntityTreeResponse { entity: Some(state), roots })
    }

    /// The tree around an object: all under the top of its owners, or for a volume or its claim under those of the pods whose data
    /// it holds; what selects, scales or holds data of any of that, and what routes to that or is bound to it. `None` where it is
    /// not held.
    #[must_use]
    pub fn tree_around(&self, store: &Store, key: &ObjectKey) -> Option<v1::GetEntityTreeResponse> {
        let id = self.graph.find(key)?;
        let tops = self.tops(id);
        let below = tops.iter().flat_map(|top| self.graph.descendants(*top));
        let whole = tops.iter().copied().chain(below);
        let takers: BTreeSet<ObjectId> = whole.flat_map(|id| self.graph.takers(id)).collect();
        let beyond = takers.iter().flat_map(|id| self.graph.takers(*id));
        let roots: BTreeSet<ObjectId> =
            tops.iter().copied().chain(takers.iter().copied()).chain(beyond).collect();
        let roots = self.roots(store, roots.into_iter().collect(), &BTreeSet::from([id]));
        Some(v1::GetEntityTreeResponse { entity: None, roots })
    }

    fn tops(&self, id: ObjectId) -> BTreeSet<ObjectId> {
        let holds_data = |id: &ObjectId| {
            let kind = self.graph.key(*id).map(ObjectKey::kind);
            matches!(kind, Some(Kind::PersistentVolume | Kind::PersistentVolumeClaim))
        };
        // From a volume to its claim, and from there to its pods.
        let (mut found, mut open) = (BTreeSet::new(), vec![id]);
        for _ in 0..2 {
            let (data, others): (Vec<_>, Vec<_>) = open.into_iter().partition(holds_data);
            found.extend(others);
            open = Vec::new();
            for id in data {
                let mut sources = self.graph.sources(id).peekable();
                if sources.peek().is_none() {
                    found.insert(id);
                }
                open.extend(sources);
            }
        }
        found.extend(open);
        let top = |id: ObjectId| self.graph.controllers(id).last().unwrap_or(id);
        found.into_iter().map(top).collect()
    }

    /// The trees of `roots`, and of those of `all` that are in none of them.
    fn roots(
        &self,
        store: &Store,
        roots: Vec<ObjectId>,
        all: &BTreeSet<ObjectId>,
    ) -> Vec<v1::TreeNode> {
        let mut grower = Grower { graph: &self.graph, store, grown: BTreeSet::new() };
        let mut trees = Vec::new();
        let others = self.graph.in_order(all.iter().copied());
        let takes = |id: &ObjectId| self.graph.key(*id).is_some_and(|it| names::takes(it.kind()));
        let (takers, owners): (Vec<_>, Vec<_>) =
            self.graph.in_order(roots.into_iter()).into_iter().partition(takes);
        let is_event =
            |id: &ObjectId| self.graph.key(*id).is_some_and(|it| matches!(it.kind(), Kind::Event));
        let (events, takers): (Vec<_>, Vec<_>) = takers.into_iter().partition(is_event);
        // Services and the like last: what they select stands in full under its owner; and Events under what they are about.
        for id in owners.into_iter().chain(takers).chain(others).chain(events) {
            if !grower.grown.contains(&id) {
                trees.extend(grower.grow(id, "", 1));
            }
        }
        trees.sort_by(|a, b| place(a).cmp(&place(b)));
        trees
    }
}

struct Grower<'a> {
    graph: &'a Graph,
    store: &'a Store,
    grown: BTreeSet<ObjectId>,
}

impl Grower<'_> {
    fn is_service(&self, id: ObjectId) -> bool {
        self.graph.key(id).is_some_and(|key| matches!(key.kind(), Kind::Service))
    }

    fn grow(&mut self, id: ObjectId, edge: &str, level: usize) -> Option<v1::TreeNode> {
        let mut node = self.node(id, edge)?;
        if level < LEVELS_MAX && self.grown.insert(id) {
            let owned = self.graph.in_order(self.graph.owned(id));
            let owned = owned.into_iter().filter_map(|id| self.grow(id, "owns", level + 1));
            node.children = owned.collect();
            let linked = self.linked(id).into_iter().chain(self.warnings(id));
            node.children.extend(linked.filter_map(|(edge, id)| self.node(id, edge)));
            node.children.sort_by(|a, b| place(a).cmp(&place(b)));
        }
        Some(node)
    }

    /// What an object selects or names, and what it is to each.
    fn linked(&self, id: ObjectId) -> Vec<(&'static str, ObjectId)> {
        let Some(key) = self.graph.key(id) else { return Vec::new() };
        let named = |edge| self.graph.named(id).map(move |it| (edge, it)).collect();
        match key.kind() {
            Kind::Service | Kind::PodDisruptionBudget => self.selected(id),
            Kind::HorizontalPodAutoscaler => named("scales"),
            Kind::Ingress => named("routes to"),
            Kind::EndpointSlice => self.endpoints(id, key),
            Kind::Pod => {
                let node = self.graph.node(id).map(|it| ("runs on", it));
                self.graph.named(id).map(|it| ("mounts", it)).chain(node).collect()
            }
            Kind::Node => self.graph.pods_on(key).map(|it| ("runs", it)).collect(),
            Kind::PersistentVolumeClaim => named("is bound to"),
            Kind::ResourceQuota => named("limits"),
            // Where it is asked for itself: elsewhere it hangs on what it is about.
            Kind::Event => named("is about"),
            Kind::Namespace => {
                let quotas = self.graph.naming(key).filter(|it| !self.is_event(*it));
                quotas.map(|it| ("is limited by", it)).collect()
            }
            Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::CronJob
            | Kind::ReplicaSet
            | Kind::ReplicationController
            | Kind::Job
            | Kind::PersistentVolume
            | Kind::Other(_) => Vec::new(),
        }
    }

    /// What Events told of it.
    fn warnings(&mut self, id: ObjectId) -> Vec<(&'static str, ObjectId)> {
        let Some(key) = self.graph.key(id) else { return Vec::new() };
        let events: Vec<_> = self.graph.naming(key).filter(|it| self.is_event(*it)).collect();
        // They stand here in full.
        self.grown.extend(&events);
        events.into_iter().map(|it| ("warned by", it)).collect()
    }

    fn is_event(&self, id: ObjectId) -> bool {
        self.graph.key(id).is_some_and(|key| matches!(key.kind(), Kind::Event))
    }

    /// The highest of what it selects: the workload rather than its pods.
    fn selected(&self, id: ObjectId) -> Vec<(&'static str, ObjectId)> {
        let all: BTreeSet<ObjectId> = self.graph.selected(id).collect();
        let below = |id: &ObjectId| self.graph.controllers(*id).any(|it| all.contains(&it));
        all.iter().filter(|id| !below(id)).map(|id| ("selects", *id)).collect()
    }

    /// The pods behind an EndpointSlice, and its Service where that does not own it. Read from its facts: kept in the graph they
    /// would be a second copy of the names of most pods.
    fn endpoints(&self, id: ObjectId, key: &ObjectKey) -> Vec<(&'static str, ObjectId)> {
        let services = self.graph.named(id).map(|it| ("serves", it));
        let facts = self.store.facts(key).and_then(|facts| facts.kind);
        let Some(Facts::EndpointSlice(facts)) = facts else { return services.collect() };
        let pods = facts.endpoints.iter().filter(|it| !it.pod.is_empty()).filter_map(|it| {
            let (cluster, kind) = (key.cluster().clone(), Kind::Pod);
            let parts = KeyParts { cluster, kind, namespace: key.namespace(), name: &it.pod };
            self.graph.find(&ObjectKey::new(parts).ok()?)
        });
        let pods: BTreeSet<ObjectId> = pods.collect();
        services.chain(pods.into_iter().map(|it| ("routes to", it))).collect()
    }

    fn node(&self, id: ObjectId, edge: &str) -> Option<v1::TreeNode> {
        let object = self.graph.get(id)?;
        let created_at = (object.created_at.unix_ms() != 0).then(|| object.created_at.to_wire());
        // An Event has no health of its own, but words.
        let (health, summary) = if self.is_event(id) {
            (None, object.assessment.message.clone().into_owned())
        } else {
            (Some(object.assessment.to_health()), self.summary(id, &object.vital))
        };
        Some(v1::TreeNode {
            object: Some(object.key.to_ref()),
            health,
            edge: edge.to_owned(),
            summary,
            created_at,
            children: Vec::new(),
        })
    }

    fn summary(&self, id: ObjectId, vital: &Vital) -> String {
        match vital {
            Vital::Workload(it) => format!("{}/{} ready", it.ready, it.desired),
            Vital::Pod(pod) => {
                let ready = if pod.readiness == Readiness::Ready { "ready" } else { "not ready" };
                match pod.restarts {
                    0 => ready.to_owned(),
                    1 => format!("{ready}, 1 restart"),
                    many => format!("{ready}, {many} restarts"),
                }
            }
            Vital::None if self.is_service(id) => {
                let pods = self.graph.selected(id).filter_map(|id| self.graph.get(id)?.pod());
                let ready = pods.filter(|pod| pod.readiness == Readiness::Ready).count();
                format!("{ready} ready")
            }
            Vital::Endpoints(it) => format!("{}/{} ready", it.ready, it.all),
            Vital::Schedule(_) | Vital::Budget(_) | Vital::Trouble(_) | Vital::None => {
                String::new()
            }
        }
    }
}

fn place(node: &v1::TreeNode) -> Option<(&str, &str, &str, &str)> {
    node.object
        .as_ref()
        .map(|it| (it.cluster.as_str(), it.kind.as_str(), it.namespace.as_str(), it.name.as_str()))
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
