//! StatefulSets, as Argo CD's `health_statefulset.go` and `kubectl rollout status`.

use vitals_proto::v1::StatefulSetFacts;

use super::{Assessment, Reason, stale_generation};

pub(super) fn assess(facts: &StatefulSetFacts, generation: i64) -> Assessment {
    let settled = is_observed(facts, generation) && is_current(facts);
    verdict(facts, generation).settled_if(settled)
}

fn is_observed(facts: &StatefulSetFacts, generation: i64) -> bool {
    facts.observed_generation != 0 && facts.observed_generation >= generation
}

fn verdict(facts: &StatefulSetFacts, generation: i64) -> Assessment {
    let StatefulSetFacts { desired, ready, updated, .. } = *facts;
    if !is_observed(facts, generation) {
        // An observed generation of 0 is not seen yet, whatever the object's own is.
        let stale = stale_generation(facts.observed_generation, generation.max(1));
        return stale.unwrap_or_else(Assessment::not_understood);
    }
    if ready < desired {
        return Assessment::progressing(
            Reason::ReplicasUnavailable,
            format!("{ready} of {desired} replicas are ready"),
        );
    }
    if is_on_delete(facts) {
        return Assessment::healthy(format!(
            "{ready} of {desired} replicas are ready; updates wait for the deletion of pods"
        ));
    }
    if let Some(partition) = partition(facts) {
        let wanted = desired.saturating_sub(partition);
        if updated < wanted {
            return Assessment::progressing(
                Reason::RolloutInProgress,
                format!("{updated} of {wanted} replicas of the partition are updated"),
            );
        }
    } else if facts.current_revision != facts.update_revision {
        return Assessment::progressing(
            Reason::RolloutInProgress,
            format!("{updated} of {desired} replicas are updated"),
        );
    }
    match desired {
        0 => Assessment::healthy("scaled to 0"),
        _ => Assessment::healthy(format!("{ready} of {desired} replicas are ready")),
    }
}

fn is_on_delete(facts: &StatefulSetFacts) -> bool {
    facts.strategy.as_ref().is_some_and(|strategy| strategy.r#type == "OnDelete")
}

fn partition(facts: &StatefulSetFacts) -> Option<i32> {
    facts.strategy.as_ref().and_then(|strategy| strategy.partition)
}

/// kstatus' `Current`, the generation apart.
fn is_current(facts: &StatefulSetFacts) -> bool {
    if is_on_delete(facts) {
        return true;
    }
    let StatefulSetFacts { desired, replicas, ready, current, updated, .. } = *facts;
    if replicas != desired || ready < desired {
        return false;
    }
    match partition(facts) {
        Some(partition) if partition > 0 => updated >= desired.saturating_sub(partition),
        Some(_) | None => current >= desired && facts.current_revision == facts.update_revision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::{
        HealthStatus::{Healthy, Progressing},
        UpdateStrategy,
    };

    fn strategy(r#type: &str, partition: Option<i32>) -> Option<UpdateStrategy> {
        Some(UpdateStrategy { r#type: r#type.to_owned(), partition, ..UpdateStrategy::default() })
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, some lines a case")]
    fn rule() {
        let ok = StatefulSetFacts {
            desired: 3,
            observed_generation: 2,
            replicas: 3,
            ready: 3,
            current: 3,
            updated: 3,
            current_revision: "a".to_owned(),
            update_revision: "a".to_owned(),
            strategy: strategy("RollingUpdate", None),
            ..StatefulSetFacts::default()
        };
        let rolling = StatefulSetFacts {
            update_revision: "b".to_owned(),
            updated: 1,
            current: 2,
            ..ok.clone()
        };
        let on_delete =
            StatefulSetFacts { strategy: strategy("OnDelete", None), ..rolling.clone() };
        let partitioned = |partition| StatefulSetFacts {
            strategy: strategy("RollingUpdate", Some(partition)),
            ..rolling.clone()
        };
        for (case, facts, generation, status, reason, settled) in [
            ("at rest", ok.clone(), 2, Healthy, Reason::None, true),
            ("stale", ok.clone(), 3, Progressing, Reason::GenerationNotObserved, false),
            (
                "never observed",
                StatefulSetFacts { observed_generation: 0, ..ok.clone() },
                0,
                Progressing,
                Reason::GenerationNotObserved,
                false,
            ),
            (
                "one not ready",
                StatefulSetFacts { ready: 2, ..ok.clone() },
                2,
                Progressing,
                Reason::ReplicasUnavailable,
                false,
            ),
            (
                "one not ready, OnDelete",
                StatefulSetFacts { ready: 2, ..on_delete.clone() },
                2,
                Progressing,
                Reason::ReplicasUnavailable,
                true,
            ),
            ("OnDelete does not wait for revisions", on_delete, 2, Healthy, Reason::None, true),
            ("partition reached", partitioned(2), 2, Healthy, Reason::None, true),
            (
                "partition not reached",
                partitioned(1),
                2,
                Progressing,
                Reason::RolloutInProgress,
                false,
            ),
            ("partition of 0", partitioned(0), 2, Progressing, Reason::RolloutInProgress, false),
            ("revisions differ", rolling, 2, Progressing, Reason::RolloutInProgress, false),
            (
                "scaled to 0",
                StatefulSetFacts {
                    desired: 0,
                    replicas: 0,
                    ready: 0,
                    current: 0,
                    updated: 0,
                    ..ok
                },
                2,
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
