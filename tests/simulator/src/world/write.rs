//! Writes, with the rules that an API server has for all kinds: names, versions, generations, finalizers, graceful ends.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::{check_kind, check_name, check_preconditions, check_version};
use super::{World, prepare, seconds_later};
use crate::patch::{self, PatchKind};
use crate::refusal::Refusal;
use crate::resource::{DEFINITIONS, NAMESPACES, PODS, Resource};
use crate::store::{Entry, Key};
use crate::value::{
    at, drop_nulls, items, number, object_mut, remove, rfc3339, set, set_default, text,
};

/// What of an object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status, where that is written by itself.
    Main,
    /// The status alone.
    Status,
}

/// What becomes of the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They go after it.
    #[default]
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// How something is deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) grace_s: Option<i64>,
    pub(crate) propagation: Propagation,
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
}

impl Deletion {
    /// From the body of a request and its query.
    pub(crate) fn of(options: &Value) -> Self {
        let precondition =
            |name: &str| at(options, &format!("/preconditions/{name}")).as_str().map(str::to_owned);
        Self {
            grace_s: number(options, "/gracePeriodSeconds"),
            propagation: match text(options, "/propagationPolicy") {
                "Foreground" => Propagation::Foreground,
                "Orphan" => Propagation::Orphan,
                _ => Propagation::Background,
            },
            uid: precondition("uid"),
            version: precondition("resourceVersion"),
        }
    }
}

/// The finalizer of what goes after all that it owns.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

impl World {
    /// Creates an object.
    pub(crate) fn create(
        &mut self,
        resource: &Arc<Resource>,
        namespace: &str,
        mut object: Value,
        now: Timestamp,
    ) -> Result<Arc<Entry>, Refusal> {
        drop_nulls(&mut object);
        check_kind(resource, &object)?;
        let key = self.new_key(resource, namespace, &mut object)?;
        if self.store.entry(resource.id, &key).is_some() {
            return Err(Refusal::exists(&resource.qualified(), &key.name));
        }
        if resource.namespaced {
            self.check_namespace(resource, &key)?;
        }
        let uid = self.new_uid().to_string();
        let metadata = object_mut(&mut object, &["metadata"]);
        for field in ["managedFields", "selfLink", "deletionTimestamp", "generation"] {
            metadata.remove(field);
        }
        metadata.insert("uid".to_owned(), uid.into());
        metadata.insert("creationTimestamp".to_owned(), rfc3339(now).into());
        if resource.has_generation {
            metadata.insert("generation".to_owned(), 1.into());
        }
        if resource.has_status && resource.id != crate::resource::NODES {
            remove(&mut object, &["status"]);
        }
        prepare::defaults(self, resource, &mut object);
        prepare::status(self, resource, &mut object, now);
        if resource.id == DEFINITIONS {
            self.registry.define(&object);
        }
        let entry = self.store.put(resource.id, &key, object);
        self.dispatch(now);
        Ok(entry)
    }

    fn new_key(
        &mut self,
        resource: &Resource,
        namespace: &str,
        object: &mut Value,
    ) -> Result<Key, Refusal> {
        let given = text(object, "/metadata/namespace");
        if resource.namespaced && !given.is_empty() && given != namespace {
            return Err(Refusal::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request: {given} is not {namespace}"
            )));
        }
        let prefix = text(object, "/metadata/generateName").to_owned();
        if text(object, "/metadata/name").is_empty() && !prefix.is_empty() {
            let name = format!("{prefix}{}", self.new_suffix());
            set(object, &["metadata", "name"], name);
        }
        let name = text(object, "/metadata/name").to_owned();
        check_name(resource, &name)?;
        if resource.namespaced {
            set(object, &["metadata", "namespace"], namespace);
            return Ok(Key::new(namespace, &name));
        }
        remove(object, &["metadata", "namespace"]);
        Ok(Key::new("", &name))
    }

    fn check_namespace(&self, resource: &Resource, key: &Key) -> Result<(), Refusal> {
        let namespace = self.store.read(NAMESPACES, &Key::new("", &key.namespace));
        let namespace =
            namespace.ok_or_else(|| Refusal::not_found("namespaces", &key.namespace))?;
        if text(&namespace, "/status/phase") == "Terminating" {
            let (what, name, namespace) = (resource.qualified(), &key.name, &key.namespace);
            let message = format!(
                "{what} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated"
            );
            return Err(Refusal::new(403, "Forbidden", message));
        }
        Ok(())
    }

    /// Replaces an object, or its status.
    pub(crate) fn update(
        &mut self,
        resource: &Arc<Resource>,
        key: &Key,
        mut object: Value,
        part: Part,
        now: Timestamp,
    ) -> Result<Arc<Entry>, Refusal> {
        let not_found = || Refusal::not_found(&resource.qualified(), &key.name);
        let entry = self.store.entry(resource.id, key).cloned().ok_or_else(not_found)?;
        let old = entry.value();
        check_kind(resource, &object)?;
        check_version(resource, &old, &object)?;
        drop_nulls(&mut object);
        let mut new = match part {
            Part::Status => {
                let mut new = old.clone();
                match object.get("status") {
                    Some(status) => set(&mut new, &["status"], status.clone()),
                    None => drop(remove(&mut new, &["status"])),
                }
                new
            }
            Part::Main => {
                let mut new = object;
                keep_metadata(&old, &mut new);
                if resource.has_status {
                    match old.get("status") {
                        Some(status) => set(&mut new, &["status"], status.clone()),
                        None => drop(remove(&mut new, &["status"])),
                    }
                }
                prepare::defaults(self, resource, &mut new);
                new
            }
        };
        remove(&mut new, &["apiVersion"]);
        remove(&mut new, &["kind"]);
        if resource.has_generation && part == Part::Main && specifies_else(&old, &new) {
            let generation = number(&old, "/metadata/generation").unwrap_or_default();
            set(&mut new, &["metadata", "generation"], generation + 1);
        }
        if new == old {
            return Ok(entry);
        }
        let written = self.commit(resource, key, new, now);
        self.dispatch(now);
        Ok(written)
    }

    /// Writes, or removes what was only kept by finalizers that are gone now.
    fn commit(
        &mut self,
        resource: &Resource,
        key: &Key,
        object: Value,
        now: Timestamp,
    ) -> Arc<Entry> {
        if resource.id == DEFINITIONS {
            self.registry.define(&object);
        }
        let ends = is_deleted(&object)
            && items(&object, "/metadata/finalizers").is_empty()
            && resource.id != NAMESPACES
            && number(&object, "/metadata/deletionGracePeriodSeconds").unwrap_or_default() == 0;
        let entry = self.store.put(resource.id, key, object);
        let removed = if ends { self.store.remove(resource.id, key) } else { None };
        self.dispatch(now);
        removed.unwrap_or(entry)
    }

    /// Patches an object or its status. An apply creates what is not there.
    pub(crate) fn patch(
        &mut self,
        resource: &Arc<Resource>,
        key: &Key,
        (kind, patch): (PatchKind, &Value),
        part: Part,
        now: Timestamp,
    ) -> Result<(Arc<Entry>, bool), Refusal> {
        let Some(entry) = self.store.entry(resource.id, key) else {
            if kind == PatchKind::Apply && part == Part::Main {
                let mut object = json!({ "metadata": { "name": &*key.name } });
                patch::apply(kind, &mut object, patch)?;
                let created = self.create(resource, &key.namespace, object, now)?;
                return Ok((created, true));
            }
            return Err(Refusal::not_found(&resource.qualified(), &key.name));
        };
        let mut object = entry.whole(resource);
        patch::apply(kind, &mut object, patch)?;
        if text(&object, "/metadata/name") != &*key.name {
            let message = format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                text(&object, "/metadata/name"),
                key.name
            );
            return Err(Refusal::bad_request(message));
        }
        self.update(resource, key, object, part, now).map(|entry| (entry, false))
    }

    /// Deletes an object, or begins to. Returns its last state, and whether it is gone.
    pub(crate) fn delete(
        &mut self,
        resource: &Arc<Resource>,
        key: &Key,
        deletion: &Deletion,
        now: Timestamp,
    ) -> Result<(Arc<Entry>, bool), Refusal> {
        let not_found = || Refusal::not_found(&resource.qualified(), &key.name);
        let entry = self.store.entry(resource.id, key).cloned().ok_or_else(not_found)?;
        let mut object = entry.value();
        check_preconditions(resource, &object, deletion)?;
        let grace = grace(resource, &object, deletion);
        match deletion.propagation {
            Propagation::Background => {}
            Propagation::Foreground => add_finalizer(&mut object, FOREGROUND),
            Propagation::Orphan => self.orphan(&entry, now),
        }
        let kept = grace > 0
            || resource.id == NAMESPACES
            || !items(&object, "/metadata/finalizers").is_empty();
        if !kept {
            let removed = self.store.remove(resource.id, key).ok_or_else(not_found)?;
            self.dispatch(now);
            return Ok((removed, true));
        }
        let known = number(&object, "/metadata/deletionGracePeriodSeconds");
        if !is_deleted(&object) || known.is_some_and(|known| grace < known) {
            set(
                &mut object,
                &["metadata", "deletionTimestamp"],
                rfc3339(seconds_later(now, grace)),
            );
            set(&mut object, &["metadata", "deletionGracePeriodSeconds"], grace);
            if let Some(generation) = number(&object, "/metadata/generation") {
                set(&mut object, &["metadata", "generation"], generation + 1);
            }
        }
        if resource.id == NAMESPACES {
            set(&mut object, &["status", "phase"], "Terminating");
        }
        let changed = object != entry.value();
        let written = if changed { self.store.put(resource.id, key, object) } else { entry };
        self.dispatch(now);
        Ok((written, false))
    }

    /// Takes the owner out of what it owns.
    fn orphan(&mut self, owner: &Entry, now: Timestamp) {
        let uid = owner.uid().to_string();
        let owned: Vec<_> = self.store.owned_by(owner.uid()).cloned().collect();
        for (resource, key) in owned {
            let Some(mut object) = self.store.read(resource, &key) else { continue };
            if let Some(Value::Array(owners)) = object.pointer_mut("/metadata/ownerReferences") {
                owners.retain(|it| text(it, "/uid") != uid);
            }
            self.write_spec(resource, &key, object, now);
        }
    }
}

/// Whether its deletion has begun.
pub(crate) fn is_deleted(object: &Value) -> bool {
    !at(object, "/metadata/deletionTimestamp").is_null()
}

/// Only pods end gracefully, and of them only those that a kubelet has.
fn grace(resource: &Resource, object: &Value, deletion: &Deletion) -> i64 {
    let has_ended = ["Succeeded", "Failed"].contains(&text(object, "/status/phase"));
    if resource.id != PODS || text(object, "/spec/nodeName").is_empty() || has_ended {
        return 0;
    }
    let usual = number(object, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
    deletion.grace_s.unwrap_or(usual).max(0)
}

fn add_finalizer(object: &mut Value, finalizer: &str) {
    set_default(object, &["metadata", "finalizers"], json!([]));
    if let Some(Value::Array(all)) = object.pointer_mut("/metadata/finalizers")
        && !all.iter().any(|it| it == finalizer)
    {
        all.push(finalizer.into());
    }
}

/// What a client cannot change.
fn keep_metadata(old: &Value, new: &mut Value) {
    let metadata = object_mut(new, &["metadata"]);
    metadata.remove("managedFields");
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        match at(old, "/metadata").get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
}

/// Whether anything but metadata and status differs.
fn specifies_else(old: &Value, new: &Value) -> bool {
    let fields = |object: &Value| {
        let mut fields = object.as_object().cloned().unwrap_or_default();
        for field in ["metadata", "status", "apiVersion", "kind"] {
            fields.remove(field);
        }
        fields
    };
    fields(old) != fields(new)
}
