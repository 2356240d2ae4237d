//! ResourceQuotas.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    lenient::{List, Strings},
    meta::Metadata,
};

/// Slim `corev1.ResourceQuotaSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    hard: Strings,
    scopes: List<String>,
    scope_selector: Option<ScopeSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ScopeSelector {
    match_expressions: List<ScopeRequirement>,
}

/// As that of a label selector, but for the name of its key.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ScopeRequirement {
    scope_name: Option<String>,
    operator: Option<String>,
    values: List<String>,
}

/// Slim `corev1.ResourceQuotaStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    hard: Strings,
    used: Strings,
}

/// The facts of a ResourceQuota: the bounds are those that are enforced, or that will be once its controller has seen them.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    let Strings(enforced) = status.hard;
    let scoped = spec.scope_selector.unwrap_or_default().match_expressions;
    Some(v1::facts::Kind::ResourceQuota(v1::ResourceQuotaFacts {
        hard: if enforced.is_empty() { spec.hard.0 } else { enforced },
        used: status.used.0,
        scopes: spec.scopes.0,
        scope_selector: scoped.map(|scope| v1::LabelRequirement {
            key: scope.scope_name.unwrap_or_default(),
            operator: scope.operator.unwrap_or_default(),
            values: scope.values.0,
        }),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::ResourceQuotaFacts {
        match project_yaml(&Kind::ResourceQuota, yaml).facts.kind {
            Some(v1::facts::Kind::ResourceQuota(facts)) => facts,
            other => panic!("not a ResourceQuota: {other:?}"),
        }
    }

    #[test]
    fn reads_bounds_use_and_what_it_counts() {
        let facts = facts(
            "metadata: {name: compute}
spec:
  hard: {requests.cpu: 8, pods: 20}
  scopes: [NotTerminating]
  scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [high]}]}
status: {hard: {requests.cpu: '4'}, used: {requests.cpu: 1500m}}",
        );
        assert_eq!(
            facts.hard.into_iter().collect::<Vec<_>>(),
            [("requests.cpu".into(), "4".into())]
        );
        assert_eq!(facts.used["requests.cpu"], "1500m");
        assert_eq!(facts.scopes, ["NotTerminating"]);
        let scope = &facts.scope_selector[0];
        assert_eq!(
            (&*scope.key, &*scope.operator, &*scope.values[0]),
            ("PriorityClass", "In", "high")
        );
    }

    #[test]
    fn before_it_is_reckoned_its_bounds_are_those_asked_for() {
        let facts = facts(
            "metadata: {name: compute}\nspec: {hard: {pods: 20}, scopeSelector: null}\nstatus: {}",
        );
        assert_eq!((&*facts.hard["pods"], facts.used.len()), ("20", 0));
    }
}
