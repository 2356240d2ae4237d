//! Puts a finding into words: one plain sentence with where and how many, the chain of causes, what was seen, and the exact
//! next command.

use std::borrow::Cow;

use vitals_proto::{
    identity::{ClusterName, ObjectKey},
    kind::Kind,
    v1::{self, HealthStatus, facts::Kind as Facts},
};

use super::{
    Scene,
    tally::{Finding, Tally},
};
use crate::{
    assess::{self, Reason},
    graph::{Graph, ObjectId},
};

/// The parts of a verdict that people read.
pub(crate) struct Told {
    pub(crate) message: String,
    pub(crate) cause: Vec<v1::ObjectRef>,
    pub(crate) evidence: Vec<String>,
    pub(crate) next: String,
}

pub(crate) fn tell(
    scene: Scene<'_>,
    cluster: &ClusterName,
    tally: &Tally,
    worst: &Finding,
) -> Told {
    let graph = scene.graph;
    let Some(root) = graph.get(worst.object) else {
        return Told {
            message: worst.message.to_string(),
            cause: vec![],
            evidence: vec![],
            next: String::new(),
        };
    };
    let facts = scene.store.facts(&root.key).and_then(|facts| facts.kind);
    let pod = if let Some(Facts::Pod(pod)) = facts { Some(pod) } else { None };
    let chain = worst.workload.filter(|it| *it != worst.object).into_iter().chain([worst.object]);
    let evidence = match &pod {
        Some(pod) => assess::pod::evidence(pod),
        None => numbers(graph, worst),
    };
    Told {
        message: message(graph, cluster, tally, worst, &root.key),
        cause: chain.filter_map(|id| graph.key(id)).map(ObjectKey::to_ref).collect(),
        evidence,
        next: next(&root.key, worst.reason, pod.as_ref()),
    }
}

fn message(
    graph: &Graph,
    cluster: &ClusterName,
    tally: &Tally,
    worst: &Finding,
    root: &ObjectKey,
) -> String {
    let words = &worst.message;
    let workload = worst.workload.filter(|it| *it != worst.object).and_then(|id| graph.key(id));
    let (Some(workload), Kind::Pod) = (workload, root.kind()) else {
        return format!("{} in {cluster}: {words}", name(workload.unwrap_or(root)));
    };
    let alike = tally.findings.iter().filter(|it| {
        (it.workload, it.status, it.reason) == (worst.workload, worst.status, worst.reason)
            && it.object != it.workload.unwrap_or(it.object)
            || it.object == worst.object
    });
    let alike = alike.count();
    let all = worst.workload.and_then(|id| tally.pods.get(&id)).copied().unwrap_or_default();
    let all = all.max(alike);
    let pods = if all == 1 { "pod" } else { "pods" };
    format!("{alike} of {all} {pods} of {} in {cluster}: {words}", name(workload))
}

/// `deployment pay/shop`.
fn name(key: &ObjectKey) -> String {
    let kind = key.kind().title().to_lowercase();
    match key.namespace() {
        "" => format!("{kind} {}", key.name()),
        namespace => format!("{kind} {namespace}/{}", key.name()),
    }
}

fn numbers(graph: &Graph, finding: &Finding) -> Vec<String> {
    let workload = [Some(finding.object), finding.workload].into_iter().flatten();
    let mut found = workload.filter_map(|id| graph.get(id)?.workload());
    let numbers = found.next().map(|it| {
        format!(
            "{} desired, {} updated, {} ready, {} available",
            it.desired, it.updated, it.ready, it.available
        )
    });
    numbers.into_iter().collect()
}

/// The command that shows most of it.
fn next(key: &ObjectKey, reason: Reason, pod: Option<&v1::PodFacts>) -> String {
    let kind = key.kind().title().to_lowercase();
    let name = quoted(key.name());
    let kubectl = match key.namespace() {
        "" => "kubectl".to_owned(),
        namespace => format!("kubectl -n {}", quoted(namespace)),
    };
    let container = pod.and_then(assess::pod::failing_container).map(quoted);
    let has_ended_before = matches!(
        reason,
        Reason::ContainerCrashLooping
            | Reason::PodNotReadyAfterRestart
            | Reason::InitContainerFailing
    );
    match container {
        Some(container) if has_ended_before => {
            format!("{kubectl} logs {name} -c {container} --previous")
        }
        Some(container) if reason == Reason::PodFailed => {
            format!("{kubectl} logs {name} -c {container}")
        }
        _ if reason == Reason::Paused => format!("{kubectl} rollout resume {kind} {name}"),
        _ if matches!(reason, Reason::RolloutInProgress | Reason::OldReplicasPending) => {
            format!("{kubectl} rollout status {kind} {name}")
        }
        _ => format!("{kubectl} describe {kind} {name}"),
    }
}

/// Safe to paste into a shell, whatever an object is called.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', r"'\''")).into()
    }
}

/// What is said of an entity that is healthy in a cluster.
pub(crate) fn healthy(graph: &Graph, cluster: &ClusterName, tally: &Tally) -> String {
    match (tally.workloads.as_slice(), tally.schedules.as_slice()) {
        // That a schedule is suspended is said here.
        ([id], _) | ([], [id]) => match graph.get(*id) {
            Some(object) => {
                format!("{} in {cluster}: {}", name(&object.key), object.assessment.message)
            }
            None => format!("healthy in {cluster}"),
        },
        ([], _) => format!("healthy in {cluster}"),
        (many, _) => format!("{} workloads are healthy in {cluster}", many.len()),
    }
}

/// A status within a sentence.
pub(crate) fn word(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Healthy => "Healthy",
        HealthStatus::Suspended => "Suspended",
        HealthStatus::Progressing => "Progressing",
        HealthStatus::Missing => "Missing",
        HealthStatus::Unknown | HealthStatus::Unspecified => "Unknown",
        HealthStatus::Degraded => "Degraded",
    }
}

/// A workload in kubectl's numbers.
pub(crate) fn summary(graph: &Graph, id: ObjectId) -> Option<v1::WorkloadSummary> {
    let object = graph.get(id)?;
    let numbers = object.workload();
    let restarts =
        graph.below(id).into_iter().filter_map(|id| Some(graph.get(id)?.pod()?.restarts));
    Some(v1::WorkloadSummary {
        object: Some(object.key.to_ref()),
        desired: numbers.map_or(0, |it| it.desired),
        updated: numbers.map_or(0, |it| it.updated),
        ready: numbers.map_or(0, |it| it.ready),
        available: numbers.map_or(0, |it| it.available),
        restarts: restarts.fold(0, i32::saturating_add),
        health: Some(object.assessment.to_health()),
        images: numbers
            .map(|it| it.images.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
    })
}
