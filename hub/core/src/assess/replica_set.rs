//! ReplicaSets, as Argo CD's `health_replicaset.go`.

use vitals_proto::v1::{Condition, ReplicaSetFacts};

use super::{Assessment, Reason, condition, stale_generation};

pub(super) fn assess(facts: &ReplicaSetFacts, generation: i64) -> Assessment {
    let ReplicaSetFacts { desired, replicas, fully_labeled, ready, available, .. } = *facts;
    Replicas { desired, replicas, fully_labeled, ready, available }.assess(
        &facts.conditions,
        facts.observed_generation,
        generation,
    )
}

/// Of a ReplicaSet or a ReplicationController.
pub(super) struct Replicas {
    pub(super) desired: i32,
    pub(super) replicas: i32,
    pub(super) fully_labeled: i32,
    pub(super) ready: i32,
    pub(super) available: i32,
}

impl Replicas {
    pub(super) fn assess(
        &self,
        conditions: &[Condition],
        observed_generation: i64,
        generation: i64,
    ) -> Assessment {
        let Self { desired, replicas, fully_labeled, ready, available } = *self;
        let refused = condition::find(conditions, "ReplicaFailure")
            .filter(|condition| condition.status == "True");
        let settled = observed_generation >= generation
            && refused.is_none()
            && replicas == desired
            && [fully_labeled, ready, available].into_iter().all(|count| count >= desired);
        if let Some(stale) = stale_generation(observed_generation, generation) {
            return stale;
        }
        let verdict = if let Some(refused) = refused {
            Assessment::degraded(
                Reason::ReplicaFailure,
                format!("new pods are refused: {}", condition::words(refused)),
            )
        } else if available < desired {
            Assessment::progressing(
                Reason::ReplicasUnavailable,
                format!("{available} of {desired} replicas are available"),
            )
        } else if desired == 0 {
            Assessment::healthy("scaled to 0")
        } else {
            Assessment::healthy(format!("{available} of {desired} replicas are available"))
        };
        verdict.settled_if(settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::HealthStatus::{Degraded, Healthy, Progressing};

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, some lines a case")]
    fn rule() {
        let ok = ReplicaSetFacts {
            desired: 2,
            observed_generation: 1,
            replicas: 2,
            fully_labeled: 2,
            ready: 2,
            available: 2,
            ..Default::default()
        };
        let failure = |status: &str| {
            vec![Condition {
                r#type: "ReplicaFailure".into(),
                status: status.into(),
                reason: "FailedCreate".into(),
                message: "exceeded quota.".into(),
                ..Default::default()
            }]
        };
        let short = ReplicaSetFacts { available: 1, ..ok.clone() };
        for (case, facts, generation, status, reason, settled, message) in [
            (
                "all there",
                ok.clone(),
                1,
                Healthy,
                Reason::None,
                true,
                "2 of 2 replicas are available",
            ),
            (
                "stale before refused",
                ReplicaSetFacts { conditions: failure("True"), ..short.clone() },
                2,
                Progressing,
                Reason::GenerationNotObserved,
                false,
                "its controller has not seen the latest change yet",
            ),
            (
                "refused before counts",
                ReplicaSetFacts { conditions: failure("True"), ..short.clone() },
                1,
                Degraded,
                Reason::ReplicaFailure,
                false,
                "new pods are refused: exceeded quota",
            ),
            (
                "refused no more",
                ReplicaSetFacts { conditions: failure("False"), ..ok.clone() },
                1,
                Healthy,
                Reason::None,
                true,
                "2 of 2 replicas are available",
            ),
            (
                "one short",
                short,
                1,
                Progressing,
                Reason::ReplicasUnavailable,
                false,
                "1 of 2 replicas are available",
            ),
            (
                "an old one",
                ReplicaSetFacts { observed_generation: 1, ..Default::default() },
                1,
                Healthy,
                Reason::None,
                true,
                "scaled to 0",
            ),
        ] {
            let got = assess(&facts, generation);
            assert_eq!(
                (got.status, got.reason, got.settled, got.message.as_ref()),
                (status, reason, settled, message),
                "{case}"
            );
        }
    }
}
