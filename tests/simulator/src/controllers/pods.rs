//! Pods as controllers see them, and how controllers make them.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::resource::{PODS, Resource};
use crate::store::{Entry, Key, Uid, owner_reference};
use crate::value::{at, condition, number, object_mut, set, text, time};
use crate::world::World;
use crate::world::write::{Deletion, is_deleted};

/// What a controller reads of a pod.
#[derive(Clone, Debug)]
pub(crate) struct PodView {
    pub(crate) key: Key,
    pub(crate) phase: String,
    pub(crate) node: String,
    pub(crate) ready: bool,
    pub(crate) ready_since: Option<Timestamp>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) deleted: bool,
    pub(crate) restarts: i64,
}

impl PodView {
    pub(crate) fn of(entry: &Entry) -> Self {
        let pod = entry.value();
        let ready = condition(&pod, "Ready");
        let containers = crate::value::items(&pod, "/status/containerStatuses").iter();
        Self {
            key: entry.key().clone(),
            phase: text(&pod, "/status/phase").to_owned(),
            node: text(&pod, "/spec/nodeName").to_owned(),
            ready: ready.is_some_and(|it| text(it, "/status") == "True"),
            ready_since: ready.and_then(|it| time(it, "/lastTransitionTime")),
            created: time(&pod, "/metadata/creationTimestamp"),
            deleted: is_deleted(&pod),
            restarts: containers.filter_map(|it| number(it, "/restartCount")).sum(),
        }
    }

    /// Neither ended nor about to be.
    pub(crate) fn is_active(&self) -> bool {
        !self.deleted && !self.has_ended()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.phase == "Succeeded" || self.phase == "Failed"
    }

    /// Ready for so many seconds.
    pub(crate) fn is_available(&self, min_ready_s: i64, now: Timestamp) -> bool {
        self.ready && self.available_at(min_ready_s).is_none_or(|at| at <= now)
    }

    /// When it will have been ready for so many seconds.
    pub(crate) fn available_at(&self, min_ready_s: i64) -> Option<Timestamp> {
        let since = self.ready_since.filter(|_| self.ready)?;
        Some(crate::world::seconds_later(since, min_ready_s))
    }

    /// Those that a scale down takes first come first: unscheduled, pending, not ready, restarted more often, younger.
    pub(crate) fn expendable(&self) -> impl Ord + use<> {
        (
            !self.node.is_empty(),
            self.phase == "Running",
            self.ready,
            -self.restarts,
            std::cmp::Reverse(self.created),
            self.key.clone(),
        )
    }
}

/// A pod to be made from a template.
pub(crate) struct NewPod<'a> {
    pub(crate) owner: &'a Value,
    pub(crate) owner_resource: &'a Arc<Resource>,
    pub(crate) template: &'a Value,
    /// Exact, or none: then it is generated from the owner's.
    pub(crate) name: Option<String>,
}

impl World {
    /// The pods that an object controls, of which it is an owner.
    pub(crate) fn pods_of(&self, owner: &Value) -> Vec<PodView> {
        let Some(uid) = Uid::parse(text(owner, "/metadata/uid")) else { return Vec::new() };
        self.store.dependents(uid, PODS).iter().map(|entry| PodView::of(entry)).collect()
    }

    /// Makes a pod; `change` may add to it before.
    pub(crate) fn make_pod(
        &mut self,
        new: NewPod<'_>,
        change: impl FnOnce(&mut Value),
        now: Timestamp,
    ) -> Option<Key> {
        let NewPod { owner, owner_resource, template, name } = new;
        let (owner_name, namespace) =
            (text(owner, "/metadata/name"), text(owner, "/metadata/namespace"));
        let mut pod = template.clone();
        let metadata = object_mut(&mut pod, &["metadata"]);
        match name {
            Some(name) => metadata.insert("name".to_owned(), name.into()),
            None => metadata.insert("generateName".to_owned(), format!("{owner_name}-").into()),
        };
        let references = owner_reference(
            &owner_resource.api_version(),
            &owner_resource.kind,
            owner_name,
            text(owner, "/metadata/uid"),
        );
        metadata.insert("ownerReferences".to_owned(), references);
        change(&mut pod);
        self.make(PODS, namespace, pod, now).map(|entry| entry.key().clone())
    }

    /// Deletes a pod, gracefully.
    pub(crate) fn delete_pod(&mut self, key: &Key, now: Timestamp) {
        if let Some(resource) = self.registry.get(PODS).cloned() {
            // It can only have gone meanwhile.
            self.delete(&resource, key, &Deletion::default(), now).ok();
        }
    }
}

/// A short name for a template: equal templates, equal hash. In the letters of generated names.
pub(crate) fn template_hash(template: &Value) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut template = template.clone();
    for label in ["pod-template-hash", "controller-revision-hash"] {
        crate::value::remove(&mut template, &["metadata", "labels", label]);
    }
    let mut rest = xxhash_rust::xxh3::xxh3_64(template.to_string().as_bytes());
    let mut hash = String::new();
    for _ in 0..9 {
        let index = usize::try_from(rest % 27).unwrap_or_default();
        hash.push(LETTERS.get(index).copied().map_or('b', char::from));
        rest /= 27;
    }
    hash
}

/// The seconds for which a pod has to be ready before it counts as available.
pub(crate) fn min_ready_s(object: &Value) -> i64 {
    number(object, "/spec/minReadySeconds").unwrap_or_default()
}

/// Writes the generation that was acted on into a status.
pub(crate) fn observe_generation(object: &mut Value) {
    let generation = at(object, "/metadata/generation").clone();
    set(object, &["status", "observedGeneration"], generation);
}

/// Writes numbers into a status; zeros are left out, as the API types do with all but some.
pub(crate) fn set_counts<const N: usize>(object: &mut Value, counts: [(&str, i64); N]) {
    for (field, count) in counts {
        if count == 0 {
            crate::value::remove(object, &["status", field]);
        } else {
            set(object, &["status", field], json!(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_the_template_alone() {
        let with = |image: &str, hash: &str| json!({ "metadata": { "labels": { "pod-template-hash": hash } }, "spec": { "image": image } });
        assert_eq!(template_hash(&with("a", "1")), template_hash(&with("a", "2")));
        assert_ne!(template_hash(&with("a", "1")), template_hash(&with("b", "1")));
    }
}
