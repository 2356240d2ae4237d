//! Layer 1: what an object's own fields say of it (HEALTH.md), one file per kind.
//!
//! Pure functions from facts and time to an [`Assessment`], in Argo CD's words and by its rules, so that its users are not
//! surprised. In every rule the first match wins, and a deletion that was asked for comes before all of them. Beside the
//! verdict stands whether the object is *settled*: whether kstatus would call it current.
//!
//! Invariants: never Healthy by facts that were cut or not understood; equal facts and times give equal assessments.
//!
//! It looks at no other object: causes and entities are the business of [`crate::rollup`].

mod condition;
mod reason;
mod custom;
mod cron_job;
mod daemon_set;
mod deployment;
pub(crate) mod endpoint_slice;
mod event;
pub(crate) mod horizontal_pod_autoscaler;
mod ingress;
mod job;
mod namespace;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub(crate) mod pod;
pub(crate) mod pod_disruption_budget;
mod quantity;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod service;
mod stateful_set;

use std::borrow::Cow;

use vitals_proto::v1::{self, HealthStatus, facts::Kind as Facts};

use crate::time::Time;

pub use self::{custom::assess_custom, reason::Reason};

/// The verdict on one object by its own fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The verdict, in Argo CD's words.
    pub status: HealthStatus,
    /// The controller has seen the latest generation and finished acting on it (kstatus: `Current`).
    pub settled: bool,
    /// Which rule said so; [`Reason::None`] while healthy.
    pub reason: Reason,
    /// One plain sentence without a full stop.
    pub message: Cow<'static, str>,
    /// When the passing of time alone can change it; `None` where only a change of the object can.
    pub recheck_at: Option<Time>,
}

impl Assessment {
    fn new(status: HealthStatus, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, settled: false, reason, message: message.into(), recheck_at: None }
    }

    fn healthy(message: impl Into<Cow<'static, str>>) -> Self {
        Self { settled: true, ..Self::new(HealthStatus::Healthy, Reason::None, message) }
    }

    fn progressing(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(HealthStatus::Progressing, reason, message)
    }

    fn degraded(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(HealthStatus::Degraded, reason, message)
    }

    fn unknown(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(HealthStatus::Unknown, reason, message)
    }

    fn settled_if(self, settled: bool) -> Self {
        Self { settled, ..self }
    }

    /// Of an object whose content this hub does not understand.
    #[must_use]
    pub fn not_understood() -> Self {
        Self::unknown(
            Reason::NotUnderstood,
            "this hub does not understand the content of its message",
        )
    }

    /// For the API.
    #[must_use]
    pub fn to_health(&self) -> v1::ObjectHealth {
        v1::ObjectHealth {
            status: self.status.into(),
            reason: self.reason.code().to_owned(),
            message: self.message.clone().into_owned(),
            settled: self.settled,
        }
    }
}

/// A plain trouble of an object on which its rule, to stay compatible, is silent; or that is trouble only once it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// From when on it counts.
    pub(crate) from: Time,
}

/// The names that `truncated` has for what every rule reads.
const READ_BY_ALL: [&str; 2] = ["kind", "meta"];

/// Judges one object by its facts, as of `now` (the broker's clock).
#[must_use]
pub fn assess(facts: &v1::Facts, now: Time) -> Assessment {
    if let Some(meta) = &facts.meta
        && meta.deleted_at_unix_s.is_some()
    {
        return pending_deletion(meta, facts.kind.as_ref());
    }
    if let Some(cut) = first_cut(facts, &READ_BY_ALL) {
        return truncated(cut);
    }
    let generation = facts.meta.as_ref().map_or(0, |meta| meta.generation);
    match &facts.kind {
        Some(Facts::Deployment(it)) => deployment::assess(it, generation),
        Some(Facts::ReplicaSet(it)) => replica_set::assess(it, generation),
        Some(Facts::ReplicationController(it)) => replication_controller::assess(it, generation),
        Some(Facts::StatefulSet(it)) => stateful_set::assess(it, generation),
        Some(Facts::DaemonSet(it)) => daemon_set::assess(it, generation),
        Some(Facts::Pod(it)) => match first_cut(facts, &pod::READS) {
            Some(cut) => truncated(cut),
            None => pod::assess(it, now),
        },
        Some(Facts::Service(it)) => service::assess(it),
        Some(Facts::Node(it)) => node::assess(it),
        Some(Facts::Namespace(it)) => namespace::assess(it),
        Some(Facts::Job(it)) => job::assess(it),
        Some(Facts::CronJob(it)) => cron_job::assess(it),
        Some(Facts::HorizontalPodAutoscaler(it)) => {
            horizontal_pod_autoscaler::assess(it, generation)
        }
        Some(Facts::PersistentVolumeClaim(it)) => persistent_volume_claim::assess(it),
        Some(Facts::PersistentVolume(it)) => persistent_volume::assess(it),
        Some(Facts::Event(it)) => event::assess(it),
        Some(Facts::ResourceQuota(it)) => resource_quota::assess(it),
        Some(Facts::PodDisruptionBudget(it)) => pod_disruption_budget::assess(it, generation),
        Some(Facts::Ingress(it)) => ingress::assess(it),
        Some(Facts::EndpointSlice(it)) => match first_cut(facts, &endpoint_slice::READS) {
            Some(cut) => truncated(cut),
            None => endpoint_slice::assess(it),
        },
        None => Assessment::unknown(
            Reason::KindNotJudged,
            "this hub has no rule for the kind of this object",
        ),
    }
}

fn first_cut<'a>(facts: &'a v1::Facts, read: &[&str]) -> Option<&'a str> {
    facts.truncated.iter().map(String::as_str).find(|name| read.contains(name))
}

fn truncated(cut: &str) -> Assessment {
    Assessment::unknown(
        Reason::FactsTruncated,
        format!("its message was too large, and the agent cut what the rule reads: {cut}"),
    )
}

fn pending_deletion(meta: &v1::Meta, kind: Option<&Facts>) -> Assessment {
    let blocker = match kind {
        Some(Facts::Namespace(it)) => namespace::blocker(it),
        _ => None,
    };
    let message = if let Some(blocker) = blocker {
        Cow::Owned(format!("pending deletion, {blocker}"))
    } else if meta.finalizers.is_empty() {
        Cow::Borrowed("pending deletion")
    } else {
        Cow::Owned(format!("pending deletion, waits for finalizer {}", meta.finalizers.join(", ")))
    };
    Assessment::progressing(Reason::PendingDeletion, message)
}

/// `status.observedGeneration` < `metadata.generation`.
fn stale_generation(observed: i64, generation: i64) -> Option<Assessment> {
    (observed < generation).then(|| {
        Assessment::progressing(
            Reason::GenerationNotObserved,
            "its controller has not seen the latest change yet",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_unix_ms(1_800_000_000_000);

    fn facts(meta: v1::Meta, kind: Option<Facts>) -> v1::Facts {
        v1::Facts { meta: Some(meta), truncated: vec![], kind }
    }

    #[test]
    fn what_holds_for_any_kind() {
        let deleting = v1::Meta { deleted_at_unix_s: Some(1), ..v1::Meta::default() };
        let held = v1::Meta { finalizers: vec!["a/b".to_owned()], ..deleting.clone() };
        let crashed = v1::PodFacts { phase: "Failed".to_owned(), ..v1::PodFacts::default() };
        let cut = |name: &str| v1::Facts {
            truncated: vec!["message".to_owned(), name.to_owned()],
            ..facts(v1::Meta::default(), Some(Facts::Pod(crashed.clone())))
        };
        let deleting_and_cut =
            v1::Facts { meta: Some(deleting.clone()), ..cut("container_statuses") };
        let pod = Some(Facts::Pod(crashed.clone()));
        for (case, facts, status, reason, message) in [
            (
                "deletion before phase",
                facts(deleting, pod.clone()),
                HealthStatus::Progressing,
                Reason::PendingDeletion,
                "pending deletion",
            ),
            (
                "finalizer",
                facts(held, pod),
                HealthStatus::Progressing,
                Reason::PendingDeletion,
                "pending deletion, waits for finalizer a/b",
            ),
            (
                "deletion before a cut",
                deleting_and_cut,
                HealthStatus::Progressing,
                Reason::PendingDeletion,
                "pending deletion",
            ),
            (
                "unknown kind",
                facts(v1::Meta::default(), None),
                HealthStatus::Unknown,
                Reason::KindNotJudged,
                "this hub has no rule for the kind of this object",
            ),
            (
                "kind cut",
                cut("kind"),
                HealthStatus::Unknown,
                Reason::FactsTruncated,
                "its message was too large, and the agent cut what the rule reads: kind",
            ),
            (
                "statuses cut",
                cut("container_statuses"),
                HealthStatus::Unknown,
                Reason::FactsTruncated,
                "its message was too large, and the agent cut what the rule reads: container_statuses",
            ),
            (
                "a cut that the rule does not read",
                cut("containers.probes"),
                HealthStatus::Degraded,
                Reason::PodFailed,
                "the pod failed",
            ),
        ] {
            let got = assess(&facts, NOW);
            assert_eq!(
                (got.status, got.reason, got.message.as_ref()),
                (status, reason, message),
                "{case}"
            );
            assert!(!got.settled, "{case}");
        }
    }
}
