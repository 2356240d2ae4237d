//! ReplicaSets.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    lenient::List,
    meta::Metadata,
    selector::{self, Selector},
    template::{self, Template},
};

/// Slim `appsv1.ReplicaSetSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    replicas: Option<i32>,
    min_ready_seconds: Option<i32>,
    selector: Option<Selector>,
    template: Option<Template>,
}

/// Slim `appsv1.ReplicaSetStatus`, and `corev1.ReplicationControllerStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) observed_generation: Option<i64>,
    pub(super) replicas: Option<i32>,
    pub(super) fully_labeled_replicas: Option<i32>,
    pub(super) ready_replicas: Option<i32>,
    pub(super) available_replicas: Option<i32>,
    pub(super) conditions: List<Condition>,
}

/// The facts of a ReplicaSet.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    Some(v1::facts::Kind::ReplicaSet(v1::ReplicaSetFacts {
        desired: spec.replicas.unwrap_or(1),
        min_ready_s: spec.min_ready_seconds.unwrap_or_default(),
        selector: selector::facts(spec.selector),
        template: template::facts(spec.template),
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

    #[test]
    fn reads_spec_status_owner_and_revision() {
        let projected = project_yaml(
            &Kind::ReplicaSet,
            "metadata:
  name: web-5d4
  namespace: shop
  annotations: {deployment.kubernetes.io/revision: '3', deployment.kubernetes.io/desired-replicas: '2'}
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: 0d9f3f0e-1111-4222-8333-444455556666, controller: true}]
spec: {replicas: 0, selector: {matchLabels: {app: web}}}
status: {replicas: 2, fullyLabeledReplicas: 2, readyReplicas: 1, conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate}]}",
        );
        let meta = projected.facts.meta.unwrap();
        assert_eq!(meta.annotations.len(), 1, "only what is on the allow-list");
        assert_eq!(meta.annotations["deployment.kubernetes.io/revision"], "3");
        assert!(meta.owners[0].controller);
        assert_eq!(meta.owners[0].uid.len(), 16);
        let Some(v1::facts::Kind::ReplicaSet(facts)) = projected.facts.kind else {
            panic!("not a ReplicaSet")
        };
        assert_eq!((facts.desired, facts.replicas, facts.fully_labeled, facts.ready), (0, 2, 2, 1));
        assert_eq!(facts.conditions[0].reason, "FailedCreate");
    }
}
