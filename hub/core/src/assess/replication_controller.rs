//! ReplicationControllers, which neither Argo CD nor kstatus judges: as the ReplicaSets that came after them.

use vitals_proto::v1::ReplicationControllerFacts;

use super::{Assessment, replica_set::Replicas};

pub(super) fn assess(facts: &ReplicationControllerFacts, generation: i64) -> Assessment {
    let ReplicationControllerFacts { desired, replicas, fully_labeled, ready, available, .. } =
        *facts;
    Replicas { desired, replicas, fully_labeled, ready, available }.assess(
        &facts.conditions,
        facts.observed_generation,
        generation,
    )
}

#[cfg(test)]
mod tests {
    use super::super::Reason;
    use super::*;
    use vitals_proto::v1::{
        Condition,
        HealthStatus::{Degraded, Healthy, Progressing},
    };

    #[test]
    fn rule() {
        let ok = ReplicationControllerFacts {
            desired: 2,
            observed_generation: 1,
            replicas: 2,
            fully_labeled: 2,
            ready: 2,
            available: 2,
            ..Default::default()
        };
        let short = ReplicationControllerFacts { available: 1, ..ok.clone() };
        let failure = Condition {
            r#type: "ReplicaFailure".into(),
            status: "True".into(),
            reason: "FailedCreate".into(),
            ..Default::default()
        };
        let refused = ReplicationControllerFacts { conditions: vec![failure], ..short.clone() };
        for (facts, generation, status, reason) in [
            (ok.clone(), 1, Healthy, Reason::None),
            (ok, 2, Progressing, Reason::GenerationNotObserved),
            (short, 1, Progressing, Reason::ReplicasUnavailable),
            (refused, 1, Degraded, Reason::ReplicaFailure),
        ] {
            let got = assess(&facts, generation);
            assert_eq!((got.status, got.reason, got.settled), (status, reason, status == Healthy));
        }
    }
}
