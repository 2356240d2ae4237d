//! ReplicationControllers.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    condition, lenient::Strings, meta::Metadata, replica_set::Status, template, template::Template,
};

/// Slim `corev1.ReplicationControllerSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    replicas: Option<i32>,
    min_ready_seconds: Option<i32>,
    selector: Strings,
    template: Option<Template>,
}

/// The facts of a ReplicationController, whose status is that of a ReplicaSet. It selects by the labels of its template where
/// it has no selector, the API server's default.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    let template = template::facts(spec.template);
    let Strings(mut selector) = spec.selector;
    if let (true, Some(template)) = (selector.is_empty(), &template) {
        selector.clone_from(&template.labels);
    }
    Some(v1::facts::Kind::ReplicationController(v1::ReplicationControllerFacts {
        desired: spec.replicas.unwrap_or(1),
        min_ready_s: spec.min_ready_seconds.unwrap_or_default(),
        selector,
        template,
        observed_generation: status.observed_generation.unwrap_or_default(),
        replicas: status.replicas.unwrap_or_default(),
        fully_labeled: status.fully_labeled_replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
        available: status.available_replicas.unwrap_or_default(),
        conditions: condition::facts(status.conditions),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::ReplicationControllerFacts {
        match project_yaml(&Kind::ReplicationController, yaml).facts.kind {
            Some(v1::facts::Kind::ReplicationController(facts)) => facts,
            other => panic!("not a ReplicationController: {other:?}"),
        }
    }

    #[test]
    fn reads_spec_and_status() {
        let facts = facts(
            "metadata: {name: legacy}
spec: {replicas: 0, minReadySeconds: 5, selector: {app: legacy, tier: web}, template: {metadata: {labels: {app: legacy}}}}
status: {observedGeneration: 3, replicas: 2, fullyLabeledReplicas: 2, readyReplicas: 1, availableReplicas: 1, conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate}]}",
        );
        assert_eq!((facts.desired, facts.min_ready_s, facts.observed_generation), (0, 5, 3));
        assert_eq!(
            [facts.replicas, facts.fully_labeled, facts.ready, facts.available],
            [2, 2, 1, 1]
        );
        assert_eq!((&*facts.selector["tier"], facts.selector.len()), ("web", 2));
        assert_eq!(facts.conditions[0].reason, "FailedCreate");
    }

    #[test]
    fn a_manifest_gets_the_defaults_of_the_api_server() {
        let facts = facts(
            "metadata: {name: legacy}\nspec: {template: {metadata: {labels: {app: legacy}}}}",
        );
        assert_eq!((facts.desired, &*facts.selector["app"]), (1, "legacy"));
    }
}
