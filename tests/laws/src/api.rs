//! A simulated API server: objects with resource versions, consistent lists, watches that lag, and a Lease per scope.
//!
//! Each namespace belongs to one scope, as with namespaced agents that share a cluster.

use std::collections::BTreeMap;

use vitals_proto::{identity::Epoch, kind::Kind, v1};

/// Kinds that are simulated: one that owns and one that is owned.
pub const KINDS: [Kind; 2] = [Kind::Deployment, Kind::Pod];

/// Namespace and name.
pub type Name = (String, String);

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Tells it from an earlier one of the same name.
    pub uid: u64,
    /// Counts all writes of the cluster.
    pub resource_version: u64,
    /// Replicas, or restarts: what changes.
    pub content: u32,
    /// Uid of its owner.
    pub owner: Option<u64>,
}

/// What a watch says.
#[derive(Clone, Debug)]
pub struct Event {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: Name,
    /// The object, as it is now or was last.
    pub object: Object,
    /// It is gone.
    pub deleted: bool,
}

/// Who publishes for a scope.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// The process that holds it.
    pub holder: Option<usize>,
    /// When the holder renewed it last. Milliseconds of simulated time.
    pub renewed_at: i64,
    /// The highest epoch that was begun under it.
    pub epoch: Epoch,
}

/// The API server.
#[derive(Default)]
pub struct Api {
    objects: BTreeMap<(Kind, Name), Object>,
    log: Vec<Event>,
    version: u64,
    /// It answers.
    pub up: bool,
    /// One for each scope.
    pub leases: BTreeMap<String, Lease>,
}

impl Api {
    /// One that answers, without objects.
    pub fn running() -> Self {
        Self { up: true, ..Self::default() }
    }

    /// Another cluster's: what is written there has versions and uids of its own.
    pub fn of_a_rival() -> Self {
        Self { version: 1_000_000, ..Self::running() }
    }

    /// All objects of `kind` in `namespace`, and the version that they are of.
    pub fn list(&self, kind: &Kind, namespace: &str) -> (Vec<(Name, Object)>, u64) {
        let listed = self
            .objects
            .iter()
            .filter(|((of, (within, _)), _)| of == kind && within == namespace)
            .map(|((_, name), object)| (name.clone(), object.clone()))
            .collect();
        (listed, self.version)
    }

    /// The next event of `kind` in `namespace` after `version`.
    pub fn event_after(&self, kind: &Kind, namespace: &str, version: u64) -> Option<&Event> {
        let from = self.log.partition_point(|event| event.object.resource_version <= version);
        self.log[from..].iter().find(|event| event.kind == *kind && event.name.0 == namespace)
    }

    /// Creates or changes an object.
    pub fn write(&mut self, kind: Kind, name: Name, content: u32, owner: Option<u64>) {
        self.version += 1;
        let resource_version = self.version;
        let object = self
            .objects
            .entry((kind.clone(), name.clone()))
            .and_modify(|object| {
                object.content = content;
                object.resource_version = resource_version;
            })
            .or_insert(Object { uid: resource_version, resource_version, content, owner })
            .clone();
        self.log.push(Event { kind, name, object, deleted: false });
    }

    /// Deletes an object, if it exists.
    pub fn delete(&mut self, kind: Kind, name: Name) {
        if let Some(mut object) = self.objects.remove(&(kind.clone(), name.clone())) {
            self.version += 1;
            object.resource_version = self.version;
            self.log.push(Event { kind, name, object, deleted: true });
        }
    }

    /// The object of that name now.
    pub fn get(&self, kind: &Kind, name: &Name) -> Option<&Object> {
        self.objects.get(&(kind.clone(), name.clone()))
    }

    /// All that exists.
    pub fn objects(&self) -> &BTreeMap<(Kind, Name), Object> {
        &self.objects
    }

    /// The version of the last write.
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// What an agent makes of an object.
pub fn facts(kind: &Kind, object: &Object) -> v1::Facts {
    let uid = |number: u64| format!("uid-{number}").into_bytes().into();
    let meta = v1::Meta {
        uid: uid(object.uid),
        generation: 1,
        created_at_unix_s: 1,
        // The version is in the facts, so that what is held tells which write it is of.
        annotations: [("version".to_owned(), object.resource_version.to_string())].into(),
        owners: object
            .owner
            .map(|owner| v1::OwnerReference {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                name: "owner".into(),
                uid: uid(owner),
                controller: true,
            })
            .into_iter()
            .collect(),
        ..v1::Meta::default()
    };
    let count = i32::try_from(object.content % 4).unwrap();
    let state = if *kind == Kind::Deployment {
        v1::facts::Kind::Deployment(v1::DeploymentFacts {
            desired: 2,
            observed_generation: 1,
            replicas: 2,
            updated: 2,
            ready: count.min(2),
            available: count.min(2),
            ..v1::DeploymentFacts::default()
        })
    } else {
        v1::facts::Kind::Pod(v1::PodFacts {
            phase: if count == 3 { "Failed" } else { "Running" }.into(),
            restart_policy: "Never".into(),
            ..v1::PodFacts::default()
        })
    };
    v1::Facts { meta: Some(meta), truncated: vec![], kind: Some(state) }
}

/// The version that facts made by [`facts`] are of.
pub fn version_of(facts: &v1::Facts) -> u64 {
    facts.meta.as_ref().and_then(|meta| meta.annotations.get("version")).unwrap().parse().unwrap()
}
