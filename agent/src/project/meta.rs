//! `metadata` of any object, and the metadata that can still be read of an object that cannot.

use std::{collections::BTreeMap, fmt};

use prost::bytes::Bytes;
use serde::{
    Deserialize,
    de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use vitals_proto::{identity::Uid, v1};

use super::lenient::{List, Strings, Time, mapping, seconds};

/// The annotations that leave the cluster. All others may hold anything (`last-applied-configuration` holds whole
/// objects, `change-cause` the command line of `kubectl --record`), so each one here has a reader.
pub const ANNOTATIONS_KEPT: [&str; 3] = [
    "argocd.argoproj.io/tracking-id", // which Argo CD application owns the object
    "deployment.kubernetes.io/revision", // which ReplicaSet is the current one of its Deployment
    "vitals.dev/entity",              // which entity claims the object
];

/// Slim `metav1.ObjectMeta`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) resource_version: Option<String>,
    pub(super) deletion_grace_period_seconds: Option<i64>,
    uid: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Strings,
    annotations: Annotations,
    owner_references: List<OwnerReference>,
    finalizers: List<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OwnerReference {
    api_version: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    controller: Option<bool>,
}

impl Metadata {
    /// An object of this kind controls it.
    pub(super) fn is_owned_by(&self, kind: &str) -> bool {
        let is_one = |owner: &OwnerReference| {
            owner.controller == Some(true) && owner.kind.as_deref() == Some(kind)
        };
        self.owner_references.0.iter().any(is_one)
    }

    /// The facts of it. Name, namespace and `resourceVersion` stand in the message itself.
    pub(super) fn facts(self) -> v1::Meta {
        v1::Meta {
            uid: self.uid.map(|uid| uid_bytes(&uid)).unwrap_or_default(),
            generation: self.generation.unwrap_or_default(),
            created_at_unix_s: seconds(self.creation_timestamp),
            deleted_at_unix_s: self.deletion_timestamp.map(|Time(seconds)| seconds),
            labels: self.labels.0,
            annotations: self.annotations.0,
            owners: self.owner_references.map(owner),
            finalizers: self.finalizers.0,
        }
    }
}

fn owner(owner: OwnerReference) -> v1::OwnerReference {
    v1::OwnerReference {
        api_version: owner.api_version.unwrap_or_default(),
        kind: owner.kind.unwrap_or_default(),
        name: owner.name.unwrap_or_default(),
        uid: owner.uid.map(|uid| uid_bytes(&uid)).unwrap_or_default(),
        controller: owner.controller.unwrap_or_default(),
    }
}

/// A UID as it stands on the wire.
pub(super) fn uid_bytes(text: &str) -> Bytes {
    Uid::from_text(text).to_wire().into()
}

/// Those annotations that are kept. The values of the others are skipped, not allocated.
#[derive(Debug, Default)]
struct Annotations(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kept;
        impl<'de> Visitor<'de> for Kept {
            type Value = Annotations;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of strings")
            }

            fn visit_unit<E: Error>(self) -> Result<Annotations, E> {
                Ok(Annotations::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut kept = BTreeMap::new();
                while let Some(AnnotationKey(key)) = map.next_key()? {
                    match key {
                        Some(key) => {
                            let value: Option<String> = map.next_value()?;
                            kept.insert(key.to_owned(), value.unwrap_or_default());
                        }
                        None => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Annotations(kept))
            }
        }
        deserializer.deserialize_any(Kept)
    }
}

/// A key on the allow-list, or none.
struct AnnotationKey(Option<&'static str>);

impl<'de> Deserialize<'de> for AnnotationKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = AnnotationKey;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the key of an annotation")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AnnotationKey, E> {
                Ok(AnnotationKey(ANNOTATIONS_KEPT.into_iter().find(|kept| *kept == text)))
            }
        }
        deserializer.deserialize_str(Key)
    }
}

/// What can be read of the metadata of an object that cannot be decoded: each field for itself.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) resource_version: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) labels: Option<Strings>,
}

impl Names {
    /// Reads as much as can be. An absent namespace is an empty one: the object is of the cluster.
    pub(super) fn read(json: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow, default, deserialize_with = "mapping")]
            metadata: Option<RawMetadata<'a>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct RawMetadata<'a> {
            #[serde(borrow)]
            namespace: Option<&'a RawValue>,
            #[serde(borrow)]
            name: Option<&'a RawValue>,
            #[serde(borrow)]
            resource_version: Option<&'a RawValue>,
            #[serde(borrow)]
            uid: Option<&'a RawValue>,
            #[serde(borrow)]
            labels: Option<&'a RawValue>,
        }
        // serde would take a list for the fields in their order.
        if json.trim_ascii_start().starts_with(b"[") {
            return Self::default();
        }
        let Ok(Object { metadata: Some(raw) }) = serde_json::from_slice::<Object<'_>>(json) else {
            return Self::default();
        };
        Self {
            namespace: raw.namespace.map_or_else(|| Some(String::new()), |raw| field(Some(raw))),
            name: field(raw.name),
            resource_version: field(raw.resource_version),
            uid: field(raw.uid),
            labels: field(raw.labels),
        }
    }
}

fn field<'de, T: Deserialize<'de>>(raw: Option<&'de RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}
