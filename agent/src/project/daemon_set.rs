//! DaemonSets.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    deployment::{Strategy, strategy},
    lenient::List,
    meta::Metadata,
    selector::{self, Selector},
    template::{self, Template},
};

/// Slim `appsv1.DaemonSetSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    update_strategy: Option<Strategy>,
    min_ready_seconds: Option<i32>,
    selector: Option<Selector>,
    template: Option<Template>,
}

/// Slim `appsv1.DaemonSetStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    observed_generation: Option<i64>,
    desired_number_scheduled: Option<i32>,
    current_number_scheduled: Option<i32>,
    number_misscheduled: Option<i32>,
    number_ready: Option<i32>,
    updated_number_scheduled: Option<i32>,
    number_available: Option<i32>,
    number_unavailable: Option<i32>,
    conditions: List<Condition>,
}

/// The facts of a DaemonSet.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    Some(v1::facts::Kind::DaemonSet(v1::DaemonSetFacts {
        strategy: strategy(spec.update_strategy),
        min_ready_s: spec.min_ready_seconds.unwrap_or_default(),
        selector: selector::facts(spec.selector),
        template: template::facts(spec.template),
        observed_generation: status.observed_generation.unwrap_or_default(),
        desired: status.desired_number_scheduled.unwrap_or_default(),
        current: status.current_number_scheduled.unwrap_or_default(),
        misscheduled: status.number_misscheduled.unwrap_or_default(),
        ready: status.number_ready.unwrap_or_default(),
        updated: status.updated_number_scheduled.unwrap_or_default(),
        available: status.number_available.unwrap_or_default(),
        unavailable: status.number_unavailable.unwrap_or_default(),
        conditions: condition::facts(status.conditions),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    #[test]
    fn reads_counts_and_strategy() {
        let projected = project_yaml(
            &Kind::DaemonSet,
            "metadata: {name: proxy}
spec: {updateStrategy: {type: OnDelete}, minReadySeconds: 3}
status: {observedGeneration: 1, desiredNumberScheduled: 5, currentNumberScheduled: 4, numberMisscheduled: 1, numberReady: 3, updatedNumberScheduled: 2, numberAvailable: 3, numberUnavailable: 2}",
        );
        let Some(v1::facts::Kind::DaemonSet(facts)) = projected.facts.kind else {
            panic!("not a DaemonSet")
        };
        assert_eq!(facts.strategy.unwrap().r#type, "OnDelete");
        assert_eq!((facts.desired, facts.current, facts.misscheduled, facts.ready), (5, 4, 1, 3));
        assert_eq!((facts.updated, facts.available, facts.unavailable), (2, 3, 2));
    }
}
