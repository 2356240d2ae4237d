//! Namespaces.

use serde::{Deserialize, de::IgnoredAny};
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    lenient::List,
    meta::Metadata,
};

/// Slim `corev1.NamespaceStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    phase: Option<String>,
    conditions: List<Condition>,
}

/// The facts of a Namespace. A manifest has no phase; the API server creates it as `Active`.
pub(super) fn facts(_: &Metadata, _: IgnoredAny, status: Status) -> Option<v1::facts::Kind> {
    Some(v1::facts::Kind::Namespace(v1::NamespaceFacts {
        phase: status.phase.unwrap_or_else(|| "Active".to_owned()),
        conditions: condition::facts(status.conditions),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::NamespaceFacts {
        match project_yaml(&Kind::Namespace, yaml).facts.kind {
            Some(v1::facts::Kind::Namespace(facts)) => facts,
            other => panic!("not a Namespace: {other:?}"),
        }
    }

    #[test]
    fn a_terminating_namespace_keeps_what_blocks_it() {
        let facts = facts(
            "metadata: {name: shop, deletionTimestamp: '2026-01-02T03:04:05Z'}
status:
  phase: Terminating
  conditions:
  - {type: NamespaceContentRemaining, status: 'True', reason: SomeResourcesRemain, message: pods has 1 left}",
        );
        assert_eq!(facts.phase, "Terminating");
        assert_eq!(facts.conditions[0].reason, "SomeResourcesRemain");
    }

    #[test]
    fn a_manifest_is_active() {
        assert_eq!(facts("metadata: {name: shop}").phase, "Active");
        assert_eq!(facts("{metadata: {name: shop}, spec: null, status: null}").phase, "Active");
    }
}
