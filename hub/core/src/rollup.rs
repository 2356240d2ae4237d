//! From objects to the verdict on an entity, in one cluster and over all.
//!
//! Behind layer 1 ([`crate::assess`]), which it follows where that is sensible for a whole: what is left over does not count
//! (a ReplicaSet scaled to 0, a pod that is over and replaced, one that is being deleted), nor what a controller tells in its
//! own numbers (its pod that is merely starting). Where layer 1 stays silent to be compatible, plain troubles count: a pod
//! that no node takes, an init container that fails.
//!
//! Invariants: a function of the members, of what controls them and what they control, of freshness and of time; nothing that
//! is stale is Healthy; of several statuses the one that comes last in `HealthStatus` wins.
//!
//! [`tally`] collects findings, [`sentence`] puts them into words, [`combine`] joins clusters.

pub(crate) mod tally;
pub(crate) mod sentence;
pub(crate) mod combine;

use std::collections::BTreeSet;

use vitals_proto::{
    identity::ClusterName,
    kind::Kind,
    v1::{self, FreshnessState, HealthStatus, Severity},
};

use self::tally::{Finding, Tally, beside};
use crate::{
    assess::Reason,
    freshness::ClusterFreshness,
    graph::{Graph, ids::IdSet},
    store::Store,
    time::Time,
};

/// What there is to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) store: &'a Store,
    /// By the clock of the cluster.
    pub(crate) now: Time,
}

/// A verdict, and when the passing of time alone can change it.
#[derive(Debug)]
pub(crate) struct Rolled {
    pub(crate) verdict: v1::ClusterVerdict,
    /// By the clock of the cluster.
    pub(crate) recheck_at: Option<Time>,
}

/// The verdict on the members of an entity in one cluster. Without `since`, which is the caller's to know.
pub(crate) fn roll_up(
    scene: Scene<'_>,
    cluster: &ClusterName,
    members: &IdSet,
    freshness: Option<&ClusterFreshness>,
) -> Rolled {
    let tally = Tally::of(scene, members);
    let never = ClusterFreshness::never_verified(Time::MIN);
    let freshness = freshness.unwrap_or(&never);
    let live = judge(scene, cluster, &tally);
    let verdict = match stale_reason(freshness, &tally.kinds_that_matter) {
        None => fresh(live, freshness, cluster),
        Some(reason) => stale(&live, freshness, cluster, reason),
    };
    // There are as many of these as entities, most of one workload: spare room would be most of what they take.
    let mut workloads = Vec::with_capacity(tally.workloads.len());
    workloads.extend(tally.workloads.iter().filter_map(|id| sentence::summary(scene.graph, *id)));
    let verdict = v1::ClusterVerdict {
        cluster: cluster.to_string(),
        verdict: Some(verdict),
        workloads,
        labels: std::collections::BTreeMap::new(),
    };
    Rolled { verdict, recheck_at: tally.recheck_at }
}

/// The verdict as if all were fresh.
fn judge(scene: Scene<'_>, cluster: &ClusterName, tally: &Tally) -> v1::Verdict {
    let dimensions = tally.dimensions();
    let Some(worst) = tally.worst(scene.graph) else {
        return v1::Verdict {
            status: HealthStatus::Healthy.into(),
            severity: Severity::None.into(),
            message: sentence::healthy(scene.graph, cluster, tally),
            dimensions,
            ..v1::Verdict::default()
        };
    };
    let told = sentence::tell(scene, cluster, tally, worst);
    v1::Verdict {
        status: worst.status.into(),
        severity: severity(scene.graph, tally, worst).into(),
        reason: worst.reason.code().to_owned(),
        message: told.message,
        cause: told.cause,
        evidence: told.evidence,
        next: told.next,
        dimensions,
        ..v1::Verdict::default()
    }
}

/// Critical: a workload of which nothing is available fails. Without a workload: nothing of the entity is, and what fails could be
/// why. CronJobs and Jobs keep nothing available, so that they never are.
fn severity(graph: &Graph, tally: &Tally, worst: &Finding) -> Severity {
    match worst.status {
        HealthStatus::Degraded => {
            let is_beside = |it: &Finding| {
                graph.key(it.object).is_some_and(|key| beside::is_warning_at_most(key.kind()))
            };
            let failing = tally.findings.iter().filter(|it| it.status == HealthStatus::Degraded);
            let mut down = failing.map(|it| match it.workload.and_then(|id| graph.get(id)) {
                Some(object) => {
                    object.workload().is_some_and(|it| it.available == 0 && it.desired > 0)
                }
                None => tally.available == 0 && !is_beside(it),
            });
            if down.any(|down| down) { Severity::Critical } else { Severity::Warning }
        }
        HealthStatus::Unknown | HealthStatus::Missing => Severity::Warning,
        HealthStatus::Suspended => Severity::Info,
        HealthStatus::Progressing | HealthStatus::Healthy | HealthStatus::Unspecified => {
            Severity::None
        }
    }
}

/// Why what is known of this cluster does not count as known now; `None` where it does.
fn stale_reason(freshness: &ClusterFreshness, kinds: &BTreeSet<Kind>) -> Option<Reason> {
    match freshness.state {
        FreshnessState::Unverified | FreshnessState::Unspecified => Some(Reason::Unverified),
        FreshnessState::ApiServerUnreachable => Some(Reason::ApiServerUnreachable),
        FreshnessState::AgentLost => Some(Reason::AgentLost),
        FreshnessState::Conflict => Some(Reason::ClusterConflict),
        FreshnessState::HubBlind => Some(Reason::HubBlind),
        // It matters to those alone that have, or could have, objects of an unseen kind.
        FreshnessState::Fresh | FreshnessState::BlindSpot => {
            (!freshness.unseen.is_disjoint(kinds)).then_some(Reason::BlindSpot)
        }
    }
}

fn fresh(
    mut live: v1::Verdict,
    freshness: &ClusterFreshness,
    cluster: &ClusterName,
) -> v1::Verdict {
    let blind_elsewhere = freshness.state == FreshnessState::BlindSpot;
    let unseen = freshness.unseen.iter().filter(|kind| may_explain(kind, &live));
    let unseen: Vec<_> = unseen.map(|kind| format!("{kind} are not seen in {cluster}")).collect();
    live.evidence.extend(unseen.into_iter().map(|it| format!("{it}: a cause may be missing")));
    let mut verdict = v1::Verdict {
        freshness: Some(v1::Freshness {
            state: FreshnessState::Fresh.into(),
            // A spot that does not matter here says nothing of how long this has been fresh.
            since: (!blind_elsewhere).then(|| freshness.since.to_wire()),
            message: String::new(),
        }),
        ..live
    };
    verdict.dimensions.push(dimension("freshness", HealthStatus::Healthy, Reason::None));
    verdict
}

/// Objects of a kind could say more of why something is bad, though they decide no verdict.
fn may_explain(kind: &Kind, verdict: &v1::Verdict) -> bool {
    let is_for = |reasons: &[Reason]| reasons.iter().any(|it| it.code() == verdict.reason);
    match kind {
        Kind::Event => verdict.status() != HealthStatus::Healthy,
        Kind::ResourceQuota => is_for(&[Reason::ReplicaFailure, Reason::ReplicasUnavailable]),
        Kind::PersistentVolume | Kind::PersistentVolumeClaim => {
            is_for(&[Reason::Unschedulable, Reason::ClaimPending, Reason::ClaimLost])
        }
        Kind::Namespace
        | Kind::Node
        | Kind::Deployment
        | Kind::StatefulSet
        | Kind::DaemonSet
        | Kind::CronJob
        | Kind::ReplicaSet
        | Kind::ReplicationController
        | Kind::Job
        | Kind::Pod
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Ingress
        | Kind::HorizontalPodAutoscaler
        | Kind::PodDisruptionBudget
        | Kind::Other(_) => false,
    }
}

fn stale(
    live: &v1::Verdict,
    freshness: &ClusterFreshness,
    cluster: &ClusterName,
    reason: Reason,
) -> v1::Verdict {
    let blind_spot = reason == Reason::BlindSpot;
    let state = if blind_spot { FreshnessState::BlindSpot } else { freshness.state };
    let why = if freshness.message.is_empty() { "it is not seen" } else { &freshness.message };
    let dimensions = live.dimensions.iter().map(|it| v1::Dimension {
        name: it.name.clone(),
        status: HealthStatus::Unknown.into(),
        reason: reason.code().to_owned(),
    });
    let own = dimension("freshness", HealthStatus::Unknown, reason);
    v1::Verdict {
        status: HealthStatus::Unknown.into(),
        severity: Severity::Warning.into(),
        reason: reason.code().to_owned(),
        message: format!(
            "not known in {cluster}: {why}; last known {}",
            sentence::word(live.status())
        ),
        freshness: Some(v1::Freshness {
            state: state.into(),
            since: (freshness.since != Time::MIN).then(|| freshness.since.to_wire()),
            message: freshness.message.clone(),
        }),
        last_known: live.status,
        next: "vitals clusters".to_owned(),
        dimensions: dimensions.chain([own]).collect(),
        ..v1::Verdict::default()
    }
}

pub(crate) fn dimension(name: &str, status: HealthStatus, reason: Reason) -> v1::Dimension {
    v1::Dimension { name: name.to_owned(), status: status.into(), reason: reason.code().to_owned() }
}

#[cfg(test)]
#[path = "rollup_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "rollup/beside_tests.rs"]
mod beside_tests;
