//! What the cluster has: objects as serialized JSON with a few indexes, and the history that watches read.
//!
//! One version counts all writes, as etcd's revision does. Each resource keeps its last events ([`history`]); what a reader asks
//! beyond that is expired. Nothing here knows what the objects mean.
//!
//! **Invariant:** an entry never changes; a write makes a new one. So lists and watches hold entries while the store goes on.

mod entry;
mod history;
mod list;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};

pub(crate) use entry::{Entry, Key, Uid};
pub(crate) use history::{Event, History};
pub(crate) use list::{Continue, Query, VersionMatch};

use crate::resource::ResourceId;
use crate::value::set;

/// A write, for those who react to it.
#[derive(Clone, Debug)]
pub(crate) struct Touched {
    pub(crate) resource: ResourceId,
    pub(crate) before: Option<Arc<Entry>>,
    pub(crate) after: Option<Arc<Entry>>,
}

#[derive(Debug)]
struct Collection {
    objects: BTreeMap<Key, Arc<Entry>>,
    history: History,
}

/// All objects of a cluster.
#[derive(Debug)]
pub(crate) struct Store {
    version: u64,
    collections: BTreeMap<ResourceId, Collection>,
    by_uid: BTreeMap<Uid, (ResourceId, Key)>,
    owned: BTreeMap<Uid, BTreeSet<(ResourceId, Key)>>,
    touched: Vec<Touched>,
    history_max: usize,
}

impl Store {
    /// Empty. Each resource remembers `history_max` events.
    pub(crate) fn new(history_max: usize) -> Self {
        Self {
            version: 1,
            collections: BTreeMap::new(),
            by_uid: BTreeMap::new(),
            owned: BTreeMap::new(),
            touched: Vec::new(),
            history_max,
        }
    }

    /// Of the last write.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn entry(&self, resource: ResourceId, key: &Key) -> Option<&Arc<Entry>> {
        self.collections.get(&resource)?.objects.get(key)
    }

    /// An object, to be changed and written back; without kind and API version.
    pub(crate) fn read(&self, resource: ResourceId, key: &Key) -> Option<Value> {
        self.entry(resource, key).map(|entry| entry.value())
    }

    /// All of a resource, in one namespace or all, in order of their keys.
    pub(crate) fn scan<'a>(
        &'a self,
        resource: ResourceId,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        let namespace = namespace.map(str::to_owned);
        let from = Key::new(namespace.as_deref().unwrap_or_default(), "");
        let objects = self.collections.get(&resource).map(|it| &it.objects);
        let range = objects.map(|it| it.range((Bound::Included(from), Bound::Unbounded)));
        let entries = range.into_iter().flatten().map(|(_, entry)| entry);
        entries.take_while(move |entry| {
            namespace.as_deref().is_none_or(|it| *it == *entry.key().namespace)
        })
    }

    /// How many objects a resource has.
    pub(crate) fn count(&self, resource: ResourceId) -> usize {
        self.collections.get(&resource).map_or(0, |it| it.objects.len())
    }

    /// Where the object with this UID is.
    pub(crate) fn by_uid(&self, uid: Uid) -> Option<&(ResourceId, Key)> {
        self.by_uid.get(&uid)
    }

    /// What names this object as an owner.
    pub(crate) fn owned_by(&self, uid: Uid) -> impl Iterator<Item = &(ResourceId, Key)> {
        self.owned.get(&uid).into_iter().flatten()
    }

    /// What of one resource names this object as an owner.
    pub(crate) fn dependents(&self, uid: Uid, resource: ResourceId) -> Vec<Arc<Entry>> {
        let owned = self.owned_by(uid).filter(|(it, _)| *it == resource);
        owned.filter_map(|(_, key)| self.entry(resource, key).cloned()).collect()
    }

    /// Writes an object, which then has a new version.
    pub(crate) fn put(&mut self, resource: ResourceId, key: &Key, mut object: Value) -> Arc<Entry> {
        self.version += 1;
        set(&mut object, &["metadata", "resourceVersion"], self.version.to_string());
        let entry = Arc::new(Entry::new(key.clone(), self.version, object));
        let before = self.collection(resource).objects.insert(key.clone(), Arc::clone(&entry));
        if let Some(before) = &before {
            self.disown(resource, before);
        }
        self.by_uid.insert(entry.uid(), (resource, key.clone()));
        for owner in entry.owners() {
            self.owned.entry(*owner).or_default().insert((resource, key.clone()));
        }
        self.note(resource, before, Some(Arc::clone(&entry)));
        entry
    }

    /// Removes an object. What is told of it is its last state, with the version of its removal.
    pub(crate) fn remove(&mut self, resource: ResourceId, key: &Key) -> Option<Arc<Entry>> {
        let before = self.collection(resource).objects.remove(key)?;
        self.version += 1;
        self.disown(resource, &before);
        self.by_uid.remove(&before.uid());
        let mut object = before.value();
        set(&mut object, &["metadata", "resourceVersion"], self.version.to_string());
        let last = Arc::new(Entry::new(key.clone(), self.version, object));
        let event = Event {
            version: self.version,
            before: Some(before.clone()),
            after: None,
            shown: Arc::clone(&last),
        };
        self.collection(resource).history.push(event);
        self.touched.push(Touched { resource, before: Some(before), after: None });
        Some(last)
    }

    /// What was written since this was last asked.
    pub(crate) fn take_touched(&mut self) -> Vec<Touched> {
        std::mem::take(&mut self.touched)
    }

    /// The history of a resource.
    pub(crate) fn history(&self, resource: ResourceId) -> Option<&History> {
        self.collections.get(&resource).map(|it| &it.history)
    }

    /// Forgets all history, as a compaction of etcd and a restart of the API server do together.
    pub(crate) fn compact(&mut self) {
        let version = self.version;
        self.collections.values_mut().for_each(|it| it.history.forget(version));
    }

    fn collection(&mut self, resource: ResourceId) -> &mut Collection {
        let history_max = self.history_max;
        self.collections.entry(resource).or_insert_with(|| Collection {
            objects: BTreeMap::new(),
            history: History::new(history_max),
        })
    }

    fn disown(&mut self, resource: ResourceId, entry: &Entry) {
        for owner in entry.owners() {
            let place = (resource, entry.key().clone());
            if let Some(owned) = self.owned.get_mut(owner) {
                owned.remove(&place);
                if owned.is_empty() {
                    self.owned.remove(owner);
                }
            }
        }
    }

    fn note(
        &mut self,
        resource: ResourceId,
        before: Option<Arc<Entry>>,
        after: Option<Arc<Entry>>,
    ) {
        if let Some(shown) = after.clone() {
            let event = Event {
                version: self.version,
                before: before.clone(),
                after: after.clone(),
                shown,
            };
            self.collection(resource).history.push(event);
        }
        self.touched.push(Touched { resource, before, after });
    }
}

/// An owner reference of an object that its owner controls.
pub(crate) fn owner_reference(api_version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!([{
        "apiVersion": api_version, "kind": kind, "name": name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    }])
}
