//! HorizontalPodAutoscalers, as Argo CD's `health_hpa.go`; and what is plain trouble once it lasts, for [`crate::rollup`].

use std::time::Duration;

use vitals_proto::v1::{Condition, HealthStatus, HorizontalPodAutoscalerFacts};

use super::{Assessment, Reason, Trouble, condition};
use crate::time::Time;

/// After each rollout an autoscaler has no metrics for a while (argo-cd#6287).
pub(crate) const BLIND_AFTER: Duration = Duration::from_secs(120);

/// To be at the maximum for some minutes is what a maximum is for.
pub(crate) const LIMITED_AFTER: Duration = Duration::from_secs(300);

/// Types and reasons of conditions by which it fails.
const FAILURES: [(&str, &[&str]); 2] = [
    ("AbleToScale", &["FailedGetScale", "FailedUpdateScale"]),
    (
        "ScalingActive",
        &[
            "FailedGetResourceMetric",
            "FailedGetContainerResourceMetric",
            "FailedGetObjectMetric",
            "FailedGetPodsMetric",
            "FailedGetExternalMetric",
            "FailedComputeMetricsReplicas",
            "InvalidSelector",
        ],
    ),
];

pub(super) fn assess(facts: &HorizontalPodAutoscalerFacts, generation: i64) -> Assessment {
    let settled = facts.observed_generation.is_none_or(|observed| observed >= generation);
    let fails = |it: &&Condition| {
        FAILURES
            .iter()
            .any(|(r#type, reasons)| it.r#type == *r#type && reasons.contains(&it.reason.as_str()))
    };
    let verdict = if let Some(failed) = facts.conditions.iter().find(fails) {
        Assessment::degraded(Reason::AutoscalingFailed, failure(failed))
    } else if ["AbleToScale", "ScalingLimited"]
        .into_iter()
        .any(|it| condition::is_true(&facts.conditions, it))
    {
        Assessment::healthy(format!(
            "it has {} replicas, between {} and {}",
            facts.current, facts.min, facts.max
        ))
    } else {
        Assessment::progressing(Reason::AutoscalerPending, "it has not been looked at yet")
    };
    let healthy = verdict.status == HealthStatus::Healthy;
    verdict.settled_if(settled && healthy)
}

fn failure(condition: &Condition) -> String {
    let what = if condition.r#type == "AbleToScale" { "it cannot scale" } else { "it is blind" };
    format!("{what}: {}", condition::words(condition))
}

/// It cannot scale, or has not for long what to go by; or it wants more than its maximum, where that is no fixed number.
/// (A maximum that equals the minimum is one.)
pub(crate) fn trouble(facts: &HorizontalPodAutoscalerFacts) -> Option<Trouble> {
    let since = |it: &Condition| Time::from_unix_s(it.last_transition_at_unix_s);
    let failed = FAILURES.iter().find_map(|(r#type, _)| {
        // What was scaled to 0 is not scaled: somebody wants it so.
        condition::find(&facts.conditions, r#type)
            .filter(|it| it.status == "False" && it.reason != "ScalingDisabled")
    });
    if let Some(failed) = failed {
        let (reason, from) = (Reason::AutoscalingFailed, since(failed).after(BLIND_AFTER));
        return Some(Trouble { reason, message: failure(failed), from });
    }
    let limited = condition::find(&facts.conditions, "ScalingLimited")
        .filter(|it| it.status == "True" && it.reason == "TooManyReplicas")
        .filter(|_| facts.min < facts.max)?;
    let message = format!("it is at its maximum of {} replicas, and wants more", facts.max);
    Some(Trouble {
        reason: Reason::AutoscalingLimited,
        message,
        from: since(limited).after(LIMITED_AFTER),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::HealthStatus::{Degraded, Healthy, Progressing};

    fn facts(conditions: &[(&str, &str, &str)]) -> HorizontalPodAutoscalerFacts {
        let conditions = conditions.iter().map(|(r#type, status, reason)| Condition {
            r#type: (*r#type).to_owned(),
            status: (*status).to_owned(),
            reason: (*reason).to_owned(),
            last_transition_at_unix_s: 100,
            ..Condition::default()
        });
        HorizontalPodAutoscalerFacts {
            min: 2,
            max: 10,
            current: 4,
            conditions: conditions.collect(),
            ..Default::default()
        }
    }

    const ABLE: (&str, &str, &str) = ("AbleToScale", "True", "ReadyForNewScale");
    const BLIND: (&str, &str, &str) = ("ScalingActive", "False", "FailedGetResourceMetric");
    const LIMITED: (&str, &str, &str) = ("ScalingLimited", "True", "TooManyReplicas");

    #[test]
    fn rule() {
        let well = "it has 4 replicas, between 2 and 10";
        for (case, conditions, status, reason, message) in [
            ("well", vec![ABLE], Healthy, Reason::None, well),
            ("at its maximum", vec![ABLE, LIMITED], Healthy, Reason::None, well),
            (
                "blind",
                vec![ABLE, BLIND],
                Degraded,
                Reason::AutoscalingFailed,
                "it is blind: FailedGetResourceMetric",
            ),
            (
                "no target",
                vec![("AbleToScale", "False", "FailedGetScale")],
                Degraded,
                Reason::AutoscalingFailed,
                "it cannot scale: FailedGetScale",
            ),
            (
                "scaled to 0",
                vec![ABLE, ("ScalingActive", "False", "ScalingDisabled")],
                Healthy,
                Reason::None,
                well,
            ),
            (
                "new",
                vec![],
                Progressing,
                Reason::AutoscalerPending,
                "it has not been looked at yet",
            ),
        ] {
            let got = assess(&facts(&conditions), 1);
            assert_eq!(
                (got.status, got.reason, got.message.as_ref(), got.settled),
                (status, reason, message, status == Healthy),
                "{case}"
            );
        }
        let unseen =
            HorizontalPodAutoscalerFacts { observed_generation: Some(1), ..facts(&[ABLE]) };
        assert!(assess(&unseen, 1).settled && !assess(&unseen, 2).settled);
    }

    #[test]
    fn what_lasts_is_trouble() {
        let fixed = HorizontalPodAutoscalerFacts { min: 10, ..facts(&[ABLE, LIMITED]) };
        for (case, facts, want) in [
            ("well", facts(&[ABLE]), None),
            ("blind", facts(&[ABLE, BLIND, LIMITED]), Some((Reason::AutoscalingFailed, 220))),
            ("at its maximum", facts(&[ABLE, LIMITED]), Some((Reason::AutoscalingLimited, 400))),
            ("a fixed number", fixed, None),
            ("at its minimum", facts(&[ABLE, ("ScalingLimited", "True", "TooFewReplicas")]), None),
            ("scaled to 0", facts(&[ABLE, ("ScalingActive", "False", "ScalingDisabled")]), None),
        ] {
            let got = trouble(&facts).map(|it| (it.reason, it.from));
            let want = want.map(|(reason, from)| (reason, Time::from_unix_s(from)));
            assert_eq!(got, want, "{case}");
        }
    }
}
