//! The hub's side of a comparison.

use std::collections::{BTreeMap, BTreeSet};

use vitals_proto::identity::ObjectKey;
use vitals_proto::kind::Kind;
use vitals_proto::v1::{Cluster, Entity, HeldObjectState, KindState};

use super::report::Unseen;
use crate::text;

/// What the hub says of one cluster.
pub(super) struct Held {
    pub(super) seen: Cluster,
    pub(super) objects: BTreeMap<ObjectKey, HeldObjectState>,
    pub(super) entities: Vec<Entity>,
    /// Nothing but labels and names maps objects to entities.
    pub(super) is_catalog_empty: bool,
}

impl Held {
    pub(super) fn new(
        seen: Cluster,
        objects: Vec<HeldObjectState>,
        entities: Vec<Entity>,
        is_catalog_empty: bool,
    ) -> Self {
        let key = |object: &HeldObjectState| ObjectKey::try_from(object.object.as_ref()?).ok();
        let objects = objects.into_iter().filter_map(|it| Some((key(&it)?, it))).collect();
        Self { seen, objects, entities, is_catalog_empty }
    }

    /// Only objects of these kinds. Where namespaces are named: only their objects, and only entities all of whose objects
    /// they are, but for objects of the cluster, such as the volumes of their claims.
    pub(super) fn retain(&mut self, kinds: &BTreeSet<Kind>, namespaces: &[String]) {
        self.objects.retain(|key, _| kinds.contains(key.kind()));
        if namespaces.is_empty() {
            return;
        }
        let is_inside = |key: &ObjectKey| namespaces.iter().any(|it| it == key.namespace());
        let (mut inside, mut outside) = (BTreeSet::new(), BTreeSet::new());
        for (key, object) in &self.objects {
            if key.kind().is_namespaced() != Some(false) {
                let side = if is_inside(key) { &mut inside } else { &mut outside };
                side.extend(object.entities.iter().cloned());
            }
        }
        self.objects.retain(|key, _| is_inside(key));
        self.entities.retain(|it| inside.contains(&it.r#ref) && !outside.contains(&it.r#ref));
    }
}

/// The kinds that the hub sees, and why it does not see the others.
pub(super) fn kinds(seen: &Cluster) -> (BTreeSet<Kind>, Vec<Unseen>) {
    let (mut kinds, mut unseen) = (BTreeSet::new(), Vec::new());
    for kind in Kind::KNOWN {
        let reports = seen.scopes.iter().flat_map(|scope| &scope.kinds);
        let mut reports = reports.filter(|report| report.kind == kind.resource()).peekable();
        let state = match reports.peek() {
            None => Some("no agent watches it".to_owned()),
            Some(_) => reports.find_map(|report| {
                let is_seen = matches!(report.state(), KindState::Complete | KindState::Absent);
                let (word, _) = text::kind_state(report.state());
                (!is_seen).then(|| format!("{word}, {}", report.detail))
            }),
        };
        match state {
            None => drop(kinds.insert(kind)),
            Some(state) => unseen.push(Unseen { kind: kind.to_string(), state }),
        }
    }
    (kinds, unseen)
}
