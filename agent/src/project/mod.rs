//! Projection: the JSON of one Kubernetes object becomes the facts that rules read of it.
//!
//! On the path: watch → *project* → publish. Each kind has a file with its *slim* types, which hold only the fields that the
//! projection reads: all other JSON is skipped, never allocated. Strings are moved from the slim types into the facts.
//!
//! Invariants: a pure function; equal objects give equal facts, hence equal bytes, whatever the order of their JSON
//! fields; no input panics. `null` stands for absent wherever it stands, and where the API server would have filled in a
//! default that a rule reads, so does the projection: a plain manifest gives the facts that the stored object gives.
//!
//! It does not judge ([`fit`](fit::fit) cuts, the hub assesses), and knows nothing of watches.

mod lenient;
mod meta;
mod condition;
mod selector;
mod references;
mod scheduling;
mod template;
mod namespace;
mod node;
mod deployment;
mod stateful_set;
mod daemon_set;
mod cron_job;
mod replica_set;
mod replication_controller;
mod job;
mod persistent_volume_claim;
mod persistent_volume;
mod pod;
mod service;
mod endpoint_slice;
mod ingress;
mod horizontal_pod_autoscaler;
mod pod_disruption_budget;
mod resource_quota;
pub(crate) mod event;
pub mod fit;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod laws;

use std::collections::BTreeMap;

use prost::bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use vitals_proto::{kind::Kind, v1};

pub use event::folds;
pub use meta::ANNOTATIONS_KEPT;

use meta::Metadata;

/// What the projection makes of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Projected {
    /// `metadata.namespace`; empty for an object of the cluster.
    pub namespace: String,
    /// `metadata.name`; never empty.
    pub name: String,
    /// `metadata.uid`, as in [`v1::Meta`].
    pub uid: Bytes,
    /// `metadata.resourceVersion`, as it stands; empty in a plain manifest.
    pub resource_version: String,
    /// The facts, not cut.
    pub facts: v1::Facts,
}

/// An object that could not be read, named as far as its metadata could be. Final until the object changes: it is counted,
/// named and skipped.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {} {}/{}", kind, part(namespace), part(name))]
pub struct Unreadable {
    /// Kind of the object.
    pub kind: Kind,
    /// `metadata.namespace`, where it can be read; empty where it is absent.
    pub namespace: Option<String>,
    /// `metadata.name`, where it can be read.
    pub name: Option<String>,
    /// `metadata.resourceVersion`, where it can be read.
    pub resource_version: Option<String>,
    /// What is wrong.
    #[source]
    pub source: Error,
}

/// What is wrong with an object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON, or a field has another type than Kubernetes gives it.
    #[error("cannot decode the object")]
    Json(#[from] serde_json::Error),
    /// It is no UTF-8.
    #[error("the object is no UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// It is a list.
    #[error("the object is a list")]
    List,
    /// `metadata.name` is absent or empty.
    #[error("the object has no name")]
    Unnamed,
    /// It is longer than anything the API server takes.
    #[error("the object is too long")]
    TooLong,
}

/// What the last words on a deleted object say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// `metadata.namespace`; empty for an object of the cluster.
    pub namespace: String,
    /// `metadata.name`; never empty.
    pub name: String,
    /// `metadata.uid`, as in [`v1::Meta`]; empty where it cannot be read.
    pub uid: Bytes,
    /// `metadata.labels`; empty where they cannot be read.
    pub labels: BTreeMap<String, String>,
    /// `metadata.resourceVersion` of the deletion; empty where it cannot be read.
    pub resource_version: String,
}

/// Reduces an object to its facts.
///
/// # Errors
/// When the object cannot be decoded or has no name.
pub fn project(kind: &Kind, json: &[u8]) -> Result<Projected, Unreadable> {
    let read = match kind {
        Kind::Namespace => read(json, namespace::facts),
        Kind::Node => read(json, node::facts),
        Kind::Deployment => read(json, deployment::facts),
        Kind::StatefulSet => read(json, stateful_set::facts),
        Kind::DaemonSet => read(json, daemon_set::facts),
        Kind::CronJob => read(json, cron_job::facts),
        Kind::ReplicaSet => read(json, replica_set::facts),
        Kind::ReplicationController => read(json, replication_controller::facts),
        Kind::Job => read(json, job::facts),
        Kind::PersistentVolumeClaim => read(json, persistent_volume_claim::facts),
        Kind::PersistentVolume => read(json, persistent_volume::facts),
        Kind::Pod => read(json, pod::facts),
        Kind::Service => read(json, service::facts),
        // Its endpoints stand beside its metadata: it has neither spec nor status.
        Kind::EndpointSlice => endpoint_slice::read(json),
        Kind::Ingress => read(json, ingress::facts),
        Kind::HorizontalPodAutoscaler => read(json, horizontal_pod_autoscaler::facts),
        Kind::PodDisruptionBudget => read(json, pod_disruption_budget::facts),
        Kind::ResourceQuota => read(json, resource_quota::facts),
        Kind::Event => event::read(json),
        Kind::Other(_) => read(json, |_: &Metadata, _: IgnoredAny, _: IgnoredAny| None),
    };
    read.map_err(|source| unreadable(kind, json, source))
}

/// Reads of a deleted object what a tombstone says. Takes an object whose other fields cannot be decoded.
///
/// # Errors
/// When not even the name can be read.
pub fn project_deleted(kind: &Kind, json: &[u8]) -> Result<Deleted, Unreadable> {
    let names = meta::Names::read(json);
    let Some(name) = names.name.filter(|name| !name.is_empty()) else {
        return Err(unreadable(kind, json, Error::Unnamed));
    };
    Ok(Deleted {
        namespace: names.namespace.unwrap_or_default(),
        name,
        uid: names.uid.map(|uid| meta::uid_bytes(&uid)).unwrap_or_default(),
        labels: names.labels.unwrap_or_default().0,
        resource_version: names.resource_version.unwrap_or_default(),
    })
}

/// Any object, in the slim types of its kind.
#[derive(Deserialize)]
struct Object<Spec, Status> {
    #[serde(default, deserialize_with = "lenient::mapping")]
    metadata: Option<Metadata>,
    spec: Option<Spec>,
    status: Option<Status>,
}

fn read<'de, Spec, Status>(
    json: &'de [u8],
    facts: impl FnOnce(&Metadata, Spec, Status) -> Option<v1::facts::Kind>,
) -> Result<Projected, Error>
where
    Spec: Deserialize<'de> + Default,
    Status: Deserialize<'de> + Default,
{
    let Object { metadata, spec, status } = decode(json)?;
    let facts =
        |metadata: &_| facts(metadata, spec.unwrap_or_default(), status.unwrap_or_default());
    projected(metadata, facts)
}

fn decode<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, Error> {
    // Checked once as a whole, and not string by string. To read the rest of what is no UTF-8, which no API server sends, would
    // take all slim types a second time: a quarter of a megabyte of program.
    let text = std::str::from_utf8(json).map_err(Error::NotUtf8)?;
    if text.trim_start().starts_with('[') {
        // serde would take it for the fields in their order.
        return Err(Error::List);
    }
    Ok(serde_json::from_str(text)?)
}

fn projected(
    metadata: Option<Metadata>,
    facts: impl FnOnce(&Metadata) -> Option<v1::facts::Kind>,
) -> Result<Projected, Error> {
    let mut metadata = metadata.unwrap_or_default();
    let name = metadata.name.take().filter(|name| !name.is_empty()).ok_or(Error::Unnamed)?;
    let namespace = metadata.namespace.take().unwrap_or_default();
    let resource_version = metadata.resource_version.take().unwrap_or_default();
    let kind = facts(&metadata);
    let meta = metadata.facts();
    let uid = meta.uid.clone();
    let facts = v1::Facts { meta: Some(meta), truncated: Vec::new(), kind };
    Ok(Projected { namespace, name, uid, resource_version, facts })
}

/// Names the object as far as its metadata can be read.
fn unreadable(kind: &Kind, json: &[u8], source: Error) -> Unreadable {
    let meta::Names { namespace, name, resource_version, .. } = meta::Names::read(json);
    let name = name.filter(|name| !name.is_empty());
    Unreadable { kind: kind.clone(), namespace, name, resource_version, source }
}

fn part(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("?")
}
