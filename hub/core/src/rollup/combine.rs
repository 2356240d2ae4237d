//! Joins the verdicts of clusters into the one over all, and says what there is to say where there is no object at all.

use std::collections::BTreeMap;

use vitals_proto::{
    identity::ClusterName,
    kind::Kind,
    v1::{self, FreshnessState, HealthStatus, Severity},
};

use super::{dimension, sentence};
use crate::{assess::Reason, catalog::Definition, freshness::ClusterFreshness};

/// Over all clusters: of their statuses the worst, told by the first cluster that has it. Without `since`.
pub(crate) fn combine(clusters: &[v1::ClusterVerdict]) -> v1::Verdict {
    let all: Vec<&v1::Verdict> = clusters.iter().filter_map(|it| it.verdict.as_ref()).collect();
    let Some(first) = all
        .iter()
        .copied()
        .min_by_key(|it| (std::cmp::Reverse(it.status), std::cmp::Reverse(it.severity)))
    else {
        return v1::Verdict::default();
    };
    let alike = all.iter().filter(|it| it.status == first.status).count();
    let message = match (all.len(), alike) {
        (1, _) | (_, 1) => first.message.clone(),
        (all, alike) if alike == all && first.status() == HealthStatus::Healthy => {
            format!("healthy in all {all} clusters")
        }
        (all, alike) => format!(
            "{} ({alike} of {all} clusters are {})",
            first.message,
            sentence::word(first.status())
        ),
    };
    let stale = all.iter().any(|it| it.last_known() != HealthStatus::Unspecified);
    let last_known =
        all.iter().map(|it| if it.last_known == 0 { it.status } else { it.last_known });
    // Field by field: to copy the first as a whole would copy the largest parts of it for nothing.
    v1::Verdict {
        status: first.status,
        severity: first.severity,
        reason: first.reason.clone(),
        message,
        since: first.since,
        cause: first.cause.clone(),
        evidence: first.evidence.clone(),
        next: first.next.clone(),
        last_change: first.last_change.clone(),
        freshness: freshness(&all),
        last_known: if stale { last_known.max().unwrap_or_default() } else { 0 },
        flapping: first.flapping,
        dimensions: dimensions(&all),
    }
}

/// The worst, since the first of them.
fn freshness(all: &[&v1::Verdict]) -> Option<v1::Freshness> {
    let all = all.iter().filter_map(|it| it.freshness.as_ref());
    let order = |it: &&v1::Freshness| {
        let since = it.since.as_ref().map(|at| (at.seconds, at.nanos));
        (std::cmp::Reverse(it.state), since.is_none(), since)
    };
    all.min_by_key(order).cloned()
}

fn dimensions(all: &[&v1::Verdict]) -> Vec<v1::Dimension> {
    const ORDER: [&str; 4] = ["workload", "rollout", "traffic", "freshness"];
    let worst = |name: &str| {
        let named = all.iter().flat_map(|it| &it.dimensions).filter(|it| it.name == name);
        named.reduce(|held, it| if it.status > held.status { it } else { held })
    };
    ORDER.into_iter().filter_map(worst).cloned().collect()
}

/// What is said of a registered entity in a cluster, or over all, where it has no object: Missing where that is known.
pub(crate) fn absent(
    definition: &Definition,
    clusters: &BTreeMap<ClusterName, ClusterFreshness>,
) -> v1::Verdict {
    let around: Vec<_> = clusters.iter().filter(|(cluster, _)| definition.is_in(cluster)).collect();
    let unseen = around.iter().find(|(_, it)| is_blind(it));
    let (status, reason, message, state) = match (around.first(), unseen) {
        (None, _) => {
            let wanted = &definition.wire.kubernetes_cluster;
            let message = if wanted.is_empty() {
                "no cluster is seen yet".to_owned()
            } else {
                format!("cluster {wanted}, where it should be, is not seen")
            };
            (HealthStatus::Unknown, Reason::ClusterNotSeen, message, FreshnessState::Unverified)
        }
        (Some(_), Some((cluster, it))) => {
            let message = format!(
                "no object of it where it can be seen, and {cluster} is not seen: {}",
                it.message
            );
            (HealthStatus::Unknown, Reason::ClusterNotSeen, message, it.state)
        }
        (Some(_), None) => {
            let message = match around.as_slice() {
                [(cluster, _)] => format!("it is registered, and has no object in {cluster}"),
                many => {
                    format!("it is registered, and has no object in any of {} clusters", many.len())
                }
            };
            (HealthStatus::Missing, Reason::NoObjects, message, FreshnessState::Fresh)
        }
    };
    let is_known = status == HealthStatus::Missing;
    let freshness = if is_known {
        dimension("freshness", HealthStatus::Healthy, Reason::None)
    } else {
        dimension("freshness", status, reason)
    };
    v1::Verdict {
        status: status.into(),
        severity: Severity::Warning.into(),
        reason: reason.code().to_owned(),
        freshness: Some(v1::Freshness {
            state: state.into(),
            since: unseen.map(|(_, it)| it.since.to_wire()),
            message: if is_known { String::new() } else { message.clone() },
        }),
        next: next(definition, status),
        dimensions: vec![freshness],
        message,
        ..v1::Verdict::default()
    }
}

/// Something could be there all the same: nothing of the cluster is seen, or not a kind of which objects make an entity.
fn is_blind(freshness: &ClusterFreshness) -> bool {
    match freshness.state {
        FreshnessState::Fresh | FreshnessState::BlindSpot => {
            freshness.unseen.iter().any(makes_an_entity)
        }
        FreshnessState::Unspecified
        | FreshnessState::Unverified
        | FreshnessState::ApiServerUnreachable
        | FreshnessState::AgentLost
        | FreshnessState::Conflict
        | FreshnessState::HubBlind => true,
    }
}

/// Objects of the cluster itself, such as nodes, are not what runs, nor is what only stands beside workloads.
fn makes_an_entity(kind: &Kind) -> bool {
    match kind {
        Kind::Deployment
        | Kind::StatefulSet
        | Kind::DaemonSet
        | Kind::CronJob
        | Kind::ReplicaSet
        | Kind::Job
        | Kind::Pod
        | Kind::ReplicationController
        | Kind::Service
        | Kind::Other(_) => true,
        Kind::Namespace
        | Kind::Node
        | Kind::PersistentVolumeClaim
        | Kind::Ingress
        | Kind::Event
        | Kind::ResourceQuota
        | Kind::PersistentVolume
        | Kind::EndpointSlice
        | Kind::HorizontalPodAutoscaler
        | Kind::PodDisruptionBudget => false,
    }
}

fn next(definition: &Definition, status: HealthStatus) -> String {
    if status != HealthStatus::Missing {
        return "vitals clusters".to_owned();
    }
    let wire = &definition.wire;
    let selector = match wire.kubernetes_label_selector.as_str() {
        "" => {
            let id = if wire.kubernetes_id.is_empty() {
                definition.entity.name()
            } else {
                &wire.kubernetes_id
            };
            format!("{}={id}", crate::entity::rule::KUBERNETES_ID)
        }
        selector => selector.to_owned(),
    };
    let namespace = match wire.kubernetes_namespace.as_str() {
        "" => "-A".to_owned(),
        namespace => format!("-n {}", sentence::quoted(namespace)),
    };
    format!(
        "kubectl get deployments,statefulsets,daemonsets,cronjobs,pods {namespace} -l {}",
        sentence::quoted(&selector)
    )
}
