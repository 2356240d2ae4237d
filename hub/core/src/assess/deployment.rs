//! Deployments, as Argo CD's `health_deployment.go` and `kubectl rollout status`.

use vitals_proto::v1::{DeploymentFacts, HealthStatus};

use super::{Assessment, Reason, condition, stale_generation};

pub(super) fn assess(facts: &DeploymentFacts, generation: i64) -> Assessment {
    let settled = facts.observed_generation >= generation && is_current(facts);
    verdict(facts, generation).settled_if(settled)
}

fn verdict(facts: &DeploymentFacts, generation: i64) -> Assessment {
    let DeploymentFacts { desired, updated, available, replicas, .. } = *facts;
    if facts.paused {
        return Assessment::new(HealthStatus::Suspended, Reason::Paused, "the rollout is paused");
    }
    if let Some(stale) = stale_generation(facts.observed_generation, generation) {
        return stale;
    }
    if let Some(progressing) = condition::find(&facts.conditions, "Progressing")
        && progressing.reason == "ProgressDeadlineExceeded"
    {
        return Assessment::degraded(
            Reason::ProgressDeadlineExceeded,
            format!(
                "the rollout exceeded its progress deadline with {updated} of {desired} replicas updated"
            ),
        );
    }
    if updated < desired {
        return Assessment::progressing(
            Reason::RolloutInProgress,
            format!("{updated} of {desired} replicas are updated"),
        );
    }
    if replicas > updated {
        let old = replicas.saturating_sub(updated);
        return Assessment::progressing(
            Reason::OldReplicasPending,
            format!(
                "{old} old {} still there",
                if old == 1 { "replica is" } else { "replicas are" }
            ),
        );
    }
    if available < updated {
        return Assessment::progressing(
            Reason::ReplicasUnavailable,
            format!("{available} of {updated} updated replicas are available"),
        );
    }
    match desired {
        0 => Assessment::healthy("scaled to 0"),
        _ => Assessment::healthy(format!("{available} of {desired} replicas are available")),
    }
}

/// kstatus' `Current`, the generation apart.
fn is_current(facts: &DeploymentFacts) -> bool {
    let progressing = condition::find(&facts.conditions, "Progressing");
    let done = match progressing {
        Some(it) => it.status == "True" && it.reason == "NewReplicaSetAvailable",
        None => facts.progress_deadline_s.is_none(),
    };
    let DeploymentFacts { desired, replicas, updated, ready, available, .. } = *facts;
    let counts =
        replicas == desired && updated >= desired && available >= updated && ready >= desired;
    (done || facts.paused) && counts && condition::is_true(&facts.conditions, "Available")
}

#[cfg(test)]
mod tests {
    use super::*;
    use HealthStatus::{Degraded, Healthy, Progressing, Suspended};
    use vitals_proto::v1::Condition;

    fn condition(r#type: &str, status: &str, reason: &str) -> Condition {
        let [r#type, status, reason] = [r#type, status, reason].map(str::to_owned);
        Condition { r#type, status, reason, ..Condition::default() }
    }

    fn rolled_out() -> DeploymentFacts {
        DeploymentFacts {
            desired: 3,
            observed_generation: 2,
            replicas: 3,
            updated: 3,
            ready: 3,
            available: 3,
            conditions: vec![
                condition("Available", "True", "MinimumReplicasAvailable"),
                condition("Progressing", "True", "NewReplicaSetAvailable"),
            ],
            ..DeploymentFacts::default()
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, some lines a case")]
    fn rule() {
        let ok = rolled_out();
        let deadline = vec![condition("Progressing", "False", "ProgressDeadlineExceeded")];
        for (case, facts, status, reason, settled) in [
            ("rolled out", ok.clone(), Healthy, Reason::None, true),
            (
                "paused before all",
                DeploymentFacts { paused: true, observed_generation: 1, ..ok.clone() },
                Suspended,
                Reason::Paused,
                false,
            ),
            (
                "paused at rest",
                DeploymentFacts { paused: true, ..ok.clone() },
                Suspended,
                Reason::Paused,
                true,
            ),
            (
                "stale before the deadline",
                DeploymentFacts {
                    observed_generation: 1,
                    conditions: deadline.clone(),
                    ..ok.clone()
                },
                Progressing,
                Reason::GenerationNotObserved,
                false,
            ),
            (
                "deadline before counts",
                DeploymentFacts { updated: 1, conditions: deadline, ..ok.clone() },
                Degraded,
                Reason::ProgressDeadlineExceeded,
                false,
            ),
            (
                "one not updated",
                DeploymentFacts { updated: 2, replicas: 4, ..ok.clone() },
                Progressing,
                Reason::RolloutInProgress,
                false,
            ),
            (
                "one old",
                DeploymentFacts { replicas: 4, available: 2, ..ok.clone() },
                Progressing,
                Reason::OldReplicasPending,
                false,
            ),
            (
                "one not available",
                DeploymentFacts { available: 2, ..ok.clone() },
                Progressing,
                Reason::ReplicasUnavailable,
                false,
            ),
            (
                "healthy though Available is False",
                DeploymentFacts {
                    conditions: vec![condition("Available", "False", "x")],
                    ..ok.clone()
                },
                Healthy,
                Reason::None,
                false,
            ),
            (
                "scaled to 0",
                DeploymentFacts {
                    desired: 0,
                    replicas: 0,
                    updated: 0,
                    ready: 0,
                    available: 0,
                    ..ok.clone()
                },
                Healthy,
                Reason::None,
                true,
            ),
        ] {
            let got = assess(&facts, 2);
            assert_eq!((got.status, got.reason, got.settled), (status, reason, settled), "{case}");
        }
        assert_eq!(
            assess(&DeploymentFacts { replicas: 4, ..ok }, 2).message,
            "1 old replica is still there"
        );
    }
}
