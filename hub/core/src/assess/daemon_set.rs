//! DaemonSets, as Argo CD's `health_daemonset.go` and `kubectl rollout status`.

use vitals_proto::v1::DaemonSetFacts;

use super::{Assessment, Reason, stale_generation};

pub(super) fn assess(facts: &DaemonSetFacts, generation: i64) -> Assessment {
    let DaemonSetFacts { desired, current, updated, available, ready, .. } = *facts;
    let settled = facts.observed_generation >= generation
        && [current, updated, available, ready].into_iter().all(|count| count >= desired);
    if let Some(stale) = stale_generation(facts.observed_generation, generation) {
        return stale;
    }
    let on_delete = facts.strategy.as_ref().is_some_and(|strategy| strategy.r#type == "OnDelete");
    let verdict = if on_delete {
        Assessment::healthy(format!(
            "available on {available} of {desired} nodes; updates wait for the deletion of pods"
        ))
    } else if updated < desired {
        Assessment::progressing(
            Reason::RolloutInProgress,
            format!("updated on {updated} of {desired} nodes"),
        )
    } else if available < desired {
        Assessment::progressing(
            Reason::ReplicasUnavailable,
            format!("available on {available} of {desired} nodes"),
        )
    } else {
        Assessment::healthy(format!("available on {available} of {desired} nodes"))
    };
    verdict.settled_if(settled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::{
        HealthStatus::{Healthy, Progressing},
        UpdateStrategy,
    };

    #[test]
    fn rule() {
        let ok = DaemonSetFacts {
            observed_generation: 1,
            desired: 4,
            current: 4,
            ready: 4,
            updated: 4,
            available: 4,
            ..Default::default()
        };
        let on_delete =
            Some(UpdateStrategy { r#type: "OnDelete".to_owned(), ..Default::default() });
        for (case, facts, generation, status, reason, settled) in [
            ("everywhere", ok.clone(), 1, Healthy, Reason::None, true),
            ("stale", ok.clone(), 2, Progressing, Reason::GenerationNotObserved, false),
            (
                "OnDelete",
                DaemonSetFacts { updated: 0, available: 0, strategy: on_delete, ..ok.clone() },
                1,
                Healthy,
                Reason::None,
                false,
            ),
            (
                "updating",
                DaemonSetFacts { updated: 3, available: 3, ..ok.clone() },
                1,
                Progressing,
                Reason::RolloutInProgress,
                false,
            ),
            (
                "one down",
                DaemonSetFacts { available: 3, ..ok.clone() },
                1,
                Progressing,
                Reason::ReplicasUnavailable,
                false,
            ),
            (
                "no node wanted",
                DaemonSetFacts { observed_generation: 1, ..Default::default() },
                1,
                Healthy,
                Reason::None,
                true,
            ),
        ] {
            let got = assess(&facts, generation);
            assert_eq!((got.status, got.reason, got.settled), (status, reason, settled), "{case}");
        }
    }
}
