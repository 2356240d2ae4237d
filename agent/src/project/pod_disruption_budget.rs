//! PodDisruptionBudgets.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    lenient::{List, Scalar},
    meta::Metadata,
    selector::{self, Selector},
};

/// Slim `policyv1.PodDisruptionBudgetSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    selector: Option<Selector>,
    min_available: Option<Scalar>,
    max_unavailable: Option<Scalar>,
}

/// Slim `policyv1.PodDisruptionBudgetStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    observed_generation: Option<i64>,
    disruptions_allowed: Option<i32>,
    current_healthy: Option<i32>,
    desired_healthy: Option<i32>,
    expected_pods: Option<i32>,
    conditions: List<Condition>,
}

/// The facts of a PodDisruptionBudget.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    Some(v1::facts::Kind::PodDisruptionBudget(v1::PodDisruptionBudgetFacts {
        selector: selector::facts(spec.selector),
        min_available: spec.min_available.unwrap_or_default().0,
        max_unavailable: spec.max_unavailable.unwrap_or_default().0,
        observed_generation: status.observed_generation.unwrap_or_default(),
        disruptions_allowed: status.disruptions_allowed.unwrap_or_default(),
        current_healthy: status.current_healthy.unwrap_or_default(),
        desired_healthy: status.desired_healthy.unwrap_or_default(),
        expected: status.expected_pods.unwrap_or_default(),
        conditions: condition::facts(status.conditions),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::PodDisruptionBudgetFacts {
        match project_yaml(&Kind::PodDisruptionBudget, yaml).facts.kind {
            Some(v1::facts::Kind::PodDisruptionBudget(facts)) => facts,
            other => panic!("not a PodDisruptionBudget: {other:?}"),
        }
    }

    #[test]
    fn reads_bounds_and_counts() {
        let facts = facts(
            "metadata: {name: shop}
spec: {minAvailable: 50%, selector: {matchLabels: {app: shop}, matchExpressions: [{key: tier, operator: In, values: [web]}]}}
status: {observedGeneration: 1, disruptionsAllowed: 0, currentHealthy: 1, desiredHealthy: 2, expectedPods: 3,
  conditions: [{type: DisruptionAllowed, status: 'False', reason: InsufficientPods}]}",
        );
        assert_eq!((&*facts.min_available, &*facts.max_unavailable), ("50%", ""));
        assert_eq!(facts.selector.unwrap().match_expressions[0].values, ["web"]);
        let counts = [
            facts.disruptions_allowed,
            facts.current_healthy,
            facts.desired_healthy,
            facts.expected,
        ];
        assert_eq!(counts, [0, 1, 2, 3]);
        assert_eq!(facts.conditions[0].reason, "InsufficientPods");
    }

    #[test]
    fn no_selector_is_not_an_empty_one() {
        let of = |spec: &str| facts(&format!("metadata: {{name: shop}}\nspec: {{{spec}}}"));
        assert_eq!(of("maxUnavailable: 1").selector, None);
        let empty = of("maxUnavailable: 1, selector: {}");
        assert_eq!(
            (empty.selector, &*empty.max_unavailable),
            (Some(v1::LabelSelector::default()), "1")
        );
    }
}
