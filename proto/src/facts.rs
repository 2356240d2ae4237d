//! Facts as bytes, with the words that most objects share shortened.
//!
//! A pod's facts are to a third the keys of well-known labels, the types of its conditions and the like. On the wire such a
//! word stands as `~` and one character, its place in [`WORDS`]; a text that begins with `~` itself gets another in front. No
//! valid label key, API version, kind or condition type begins with `~`. The image of a container's status stands as `~=`
//! where it is that of the container. Only the fields that [`rewrite`] names are shortened.
//!
//! Invariants: equal facts give equal bytes; decoding what was encoded gives the same facts; facts in which nothing is
//! shortened read as they are. A code that this version does not know is kept as it stands: hubs are updated before agents.

use std::{collections::BTreeMap, sync::LazyLock};

use hashbrown::HashMap;
use prost::Message as _;

use crate::v1::{self, facts::Kind};

/// Only ever appended to, 62 at most: a place in it is on the wire.
const WORDS: [&str; 56] = [
    // Keys of labels and annotations.
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/component",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "deployment.kubernetes.io/revision",
    "backstage.io/kubernetes-id",
    "argocd.argoproj.io/instance",
    "argocd.argoproj.io/tracking-id",
    "vitals.dev/entity",
    "kustomize.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/namespace",
    "helm.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/namespace",
    "kubernetes.io/metadata.name",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    // API versions and kinds of owners.
    "apps/v1",
    "batch/v1",
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    // Types, reasons and messages of conditions.
    "Initialized",
    "ContainersReady",
    "PodScheduled",
    "PodReadyToStartContainers",
    "ContainersNotReady",
    "Available",
    "Progressing",
    "MinimumReplicasAvailable",
    "Deployment has minimum availability.",
    "MinimumReplicasUnavailable",
    "Deployment does not have minimum availability.",
    "NewReplicaSetAvailable",
    "ReplicaSetUpdated",
    "NewReplicaSetCreated",
    "MemoryPressure",
    "DiskPressure",
    "PIDPressure",
    // Labels of the pods of a Job, and of their template.
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/controller-uid",
    "controller-uid",
    // Labels of an EndpointSlice, and the kind of its owner.
    "kubernetes.io/service-name",
    "endpointslice.kubernetes.io/managed-by",
    "Service",
];

/// By place.
const CODES: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Begins what is shortened.
const MARK: char = '~';

/// The image of a container's status that is the container's.
const SAME_IMAGE: &str = "~=";

// Looked up in, never iterated.
static PLACES: LazyLock<HashMap<&'static str, u8>> =
    LazyLock::new(|| WORDS.into_iter().zip(CODES.iter().copied()).collect());

/// The bytes that go on the wire.
#[must_use]
pub fn encode(mut facts: v1::Facts) -> Vec<u8> {
    if let Some(Kind::Pod(pod)) = &mut facts.kind {
        shorten_images(pod);
    }
    rewrite(&mut facts, shorten);
    facts.encode_to_vec()
}

/// What came from the wire.
///
/// # Errors
/// The bytes are no facts.
pub fn decode(bytes: &[u8]) -> Result<v1::Facts, prost::DecodeError> {
    let mut facts = v1::Facts::decode(bytes)?;
    lengthen_all(&mut facts);
    Ok(facts)
}

/// For facts that were decoded as a part of their message.
pub fn lengthen_all(facts: &mut v1::Facts) {
    rewrite(facts, lengthen);
    if let Some(Kind::Pod(pod)) = &mut facts.kind {
        lengthen_images(pod);
    }
}

fn shorten(word: &mut String) {
    if let Some(code) = PLACES.get(word.as_str()) {
        word.clear();
        word.push(MARK);
        word.push(char::from(*code));
    } else if word.starts_with(MARK) {
        word.insert(0, MARK);
    }
}

fn lengthen(word: &mut String) {
    let Some(code) = word.strip_prefix(MARK) else { return };
    if code.starts_with(MARK) {
        word.remove(0);
        return;
    }
    let place = match code.as_bytes() {
        [code] => CODES.iter().position(|it| it == code),
        _ => None,
    };
    if let Some(long) = place.and_then(|place| WORDS.get(place)) {
        word.clear();
        word.push_str(long);
    }
}

/// Statuses come in the order of their containers, or nearly so.
fn image_of<'a>(containers: &'a [v1::Container], name: &str) -> Option<&'a str> {
    let container = containers.iter().find(|container| container.name == name)?;
    Some(&container.image)
}

fn shorten_images(pod: &mut v1::PodFacts) {
    let v1::PodFacts { containers, container_statuses, .. } = pod;
    for status in container_statuses {
        if !status.image.is_empty() && image_of(containers, &status.name) == Some(&status.image) {
            SAME_IMAGE.clone_into(&mut status.image);
        } else if status.image.starts_with(MARK) {
            status.image.insert(0, MARK);
        }
    }
}

fn lengthen_images(pod: &mut v1::PodFacts) {
    let v1::PodFacts { containers, container_statuses, .. } = pod;
    for status in container_statuses {
        if status.image == SAME_IMAGE {
            image_of(containers, &status.name).unwrap_or_default().clone_into(&mut status.image);
        } else if status.image.strip_prefix(MARK).is_some_and(|rest| rest.starts_with(MARK)) {
            status.image.remove(0);
        }
    }
}

/// All texts that may be shortened.
fn rewrite(facts: &mut v1::Facts, word: fn(&mut String)) {
    if let Some(meta) = &mut facts.meta {
        keys(&mut meta.labels, word);
        keys(&mut meta.annotations, word);
        for owner in &mut meta.owners {
            word(&mut owner.api_version);
            word(&mut owner.kind);
        }
    }
    match &mut facts.kind {
        Some(Kind::Deployment(it)) => {
            workload(&mut it.selector, &mut it.template, &mut it.conditions, word);
        }
        Some(Kind::ReplicaSet(it)) => {
            workload(&mut it.selector, &mut it.template, &mut it.conditions, word);
        }
        Some(Kind::StatefulSet(it)) => {
            workload(&mut it.selector, &mut it.template, &mut it.conditions, word);
        }
        Some(Kind::DaemonSet(it)) => {
            workload(&mut it.selector, &mut it.template, &mut it.conditions, word);
        }
        Some(Kind::Pod(it)) => pod(it, word),
        Some(Kind::Service(it)) => keys(&mut it.selector, word),
        Some(Kind::Node(it)) => conditions(&mut it.conditions, word),
        Some(Kind::Namespace(it)) => conditions(&mut it.conditions, word),
        Some(Kind::Job(it)) => {
            workload(&mut None, &mut it.template, &mut it.conditions, word);
        }
        Some(Kind::ReplicationController(it)) => {
            keys(&mut it.selector, word);
            workload(&mut None, &mut it.template, &mut it.conditions, word);
        }
        Some(Kind::CronJob(it)) => workload(&mut None, &mut it.template, &mut [], word),
        Some(Kind::HorizontalPodAutoscaler(it)) => conditions(&mut it.conditions, word),
        Some(Kind::PersistentVolumeClaim(it)) => conditions(&mut it.conditions, word),
        Some(Kind::PodDisruptionBudget(it)) => {
            workload(&mut it.selector, &mut None, &mut it.conditions, word);
        }
        Some(
            Kind::Ingress(_)
            | Kind::Event(_)
            | Kind::ResourceQuota(_)
            | Kind::PersistentVolume(_)
            | Kind::EndpointSlice(_),
        )
        | None => {}
    }
}

fn workload(
    of: &mut Option<v1::LabelSelector>,
    template: &mut Option<v1::PodTemplate>,
    all: &mut [v1::Condition],
    word: fn(&mut String),
) {
    if let Some(of) = of {
        selector(of, word);
    }
    if let Some(template) = template {
        keys(&mut template.labels, word);
    }
    conditions(all, word);
}

fn pod(pod: &mut v1::PodFacts, word: fn(&mut String)) {
    conditions(&mut pod.conditions, word);
    let Some(scheduling) = &mut pod.scheduling else { return };
    keys(&mut scheduling.node_selector, word);
    for term in scheduling.pod_affinity.iter_mut().chain(&mut scheduling.pod_anti_affinity) {
        word(&mut term.topology_key);
        if let Some(of) = &mut term.selector {
            selector(of, word);
        }
    }
    for spread in &mut scheduling.spread {
        word(&mut spread.topology_key);
    }
}

fn selector(selector: &mut v1::LabelSelector, word: fn(&mut String)) {
    keys(&mut selector.match_labels, word);
    for requirement in &mut selector.match_expressions {
        word(&mut requirement.key);
    }
}

fn conditions(conditions: &mut [v1::Condition], word: fn(&mut String)) {
    for condition in conditions {
        word(&mut condition.r#type);
        word(&mut condition.reason);
        word(&mut condition.message);
    }
}

fn keys(map: &mut BTreeMap<String, String>, word: fn(&mut String)) {
    if map.is_empty() {
        return;
    }
    let rewritten = std::mem::take(map).into_iter().map(|(mut key, value)| {
        word(&mut key);
        (key, value)
    });
    *map = rewritten.collect();
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
