//! PodDisruptionBudgets, as Argo CD's `PodDisruptionBudget/health.lua`; and when one that lets nothing go is trouble, for
//! [`crate::rollup`].

use std::time::Duration;

use vitals_proto::v1::{Condition, PodDisruptionBudgetFacts};

use super::{Assessment, Reason, Trouble, condition, stale_generation};
use crate::time::Time;

/// Pods that are replaced are not healthy for a while.
pub(crate) const BLOCKED_AFTER: Duration = Duration::from_secs(120);

/// The reason of a condition by which a budget does its work.
const INSUFFICIENT: &str = "InsufficientPods";

pub(super) fn assess(facts: &PodDisruptionBudgetFacts, generation: i64) -> Assessment {
    if let Some(failed) = facts.conditions.iter().find(is_failure) {
        return Assessment::degraded(Reason::BudgetFailed, failure(failed));
    }
    if facts.conditions.is_empty() {
        return Assessment::progressing(Reason::BudgetPending, "it has not been reckoned yet");
    }
    if let Some(stale) = stale_generation(facts.observed_generation, generation) {
        return stale;
    }
    let (healthy, desired) = (facts.current_healthy, facts.desired_healthy);
    Assessment::healthy(match facts.disruptions_allowed {
        0 => format!("no pod may go: {healthy} are healthy, {desired} must be"),
        1 => format!("1 pod may go: {healthy} are healthy, {desired} must be"),
        many => format!("{many} pods may go: {healthy} are healthy, {desired} must be"),
    })
}

fn is_failure(condition: &&Condition) -> bool {
    condition.status == "False" && condition.reason != INSUFFICIENT
}

fn failure(condition: &Condition) -> String {
    format!("it cannot be reckoned: {}", condition::words(condition))
}

/// It cannot be reckoned, or no pod may go, and some are not healthy: who drains a node waits for its owner. From when on it counts is said of the budget;
/// one that never lets a pod go says nothing of since when its pods are not healthy.
pub(crate) fn trouble(facts: &PodDisruptionBudgetFacts) -> Option<Trouble> {
    let from =
        |it: &Condition| Time::from_unix_s(it.last_transition_at_unix_s).after(BLOCKED_AFTER);
    if let Some(failed) = facts.conditions.iter().find(is_failure) {
        let (reason, from) = (Reason::BudgetFailed, from(failed));
        return Some(Trouble { reason, message: failure(failed), from });
    }
    let refused = condition::find(&facts.conditions, "DisruptionAllowed")
        .filter(|it| it.status == "False" && it.reason == INSUFFICIENT)?;
    let (healthy, expected) = (facts.current_healthy, facts.expected);
    (facts.disruptions_allowed == 0 && healthy < expected).then(|| Trouble {
        reason: Reason::DisruptionBlocked,
        message: format!(
            "it lets no pod go while {} of {expected} are not healthy, so that nodes cannot be drained",
            expected.saturating_sub(healthy)
        ),
        from: from(refused),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::HealthStatus::{Degraded, Healthy, Progressing};

    fn condition(status: &str, reason: &str) -> Vec<Condition> {
        vec![Condition {
            r#type: "DisruptionAllowed".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            last_transition_at_unix_s: 100,
            ..Condition::default()
        }]
    }

    fn budget(status: &str, reason: &str) -> PodDisruptionBudgetFacts {
        PodDisruptionBudgetFacts {
            observed_generation: 1,
            disruptions_allowed: i32::from(status == "True"),
            current_healthy: 2,
            desired_healthy: 2,
            expected: 3,
            conditions: condition(status, reason),
            ..Default::default()
        }
    }

    #[test]
    fn rule() {
        let unseen = PodDisruptionBudgetFacts { conditions: vec![], ..budget("", "") };
        let stale = "its controller has not seen the latest change yet";
        for (case, facts, generation, status, reason, message) in [
            (
                "lets one go",
                budget("True", "SufficientPods"),
                1,
                Healthy,
                Reason::None,
                "1 pod may go: 2 are healthy, 2 must be",
            ),
            (
                "lets none go",
                budget("False", INSUFFICIENT),
                1,
                Healthy,
                Reason::None,
                "no pod may go: 2 are healthy, 2 must be",
            ),
            (
                "cannot be reckoned",
                budget("False", "SyncFailed"),
                2,
                Degraded,
                Reason::BudgetFailed,
                "it cannot be reckoned: SyncFailed",
            ),
            ("new", unseen, 1, Progressing, Reason::BudgetPending, "it has not been reckoned yet"),
            ("changed", budget("True", ""), 2, Progressing, Reason::GenerationNotObserved, stale),
        ] {
            let got = assess(&facts, generation);
            assert_eq!(
                (got.status, got.reason, got.message.as_ref(), got.settled),
                (status, reason, message, status == Healthy),
                "{case}"
            );
        }
    }

    #[test]
    fn it_is_trouble_only_while_pods_are_not_healthy() {
        let whole =
            PodDisruptionBudgetFacts { current_healthy: 3, ..budget("False", INSUFFICIENT) };
        assert_eq!(trouble(&whole), None, "by design");
        assert_eq!(trouble(&budget("True", "SufficientPods")), None);
        let failed = trouble(&budget("False", "SyncFailed")).unwrap();
        assert_eq!((failed.reason, failed.from), (Reason::BudgetFailed, Time::from_unix_s(220)));
        let blocked = trouble(&budget("False", INSUFFICIENT)).unwrap();
        assert_eq!(
            (blocked.reason, blocked.from),
            (Reason::DisruptionBlocked, Time::from_unix_s(220))
        );
        assert!(blocked.message.contains("while 1 of 3 are not healthy"), "{}", blocked.message);
    }
}
