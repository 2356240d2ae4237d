//! Deployments.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    lenient::{List, Scalar},
    meta::Metadata,
    selector::{self, Selector},
    template::{self, Template},
};

/// Slim `appsv1.DeploymentSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    replicas: Option<i32>,
    paused: Option<bool>,
    strategy: Option<Strategy>,
    min_ready_seconds: Option<i32>,
    progress_deadline_seconds: Option<i32>,
    selector: Option<Selector>,
    template: Option<Template>,
}

/// Slim `spec.strategy` of Deployments, and `spec.updateStrategy` of StatefulSets and DaemonSets.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Strategy {
    r#type: Option<String>,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RollingUpdate {
    max_surge: Option<Scalar>,
    max_unavailable: Option<Scalar>,
    partition: Option<i32>,
}

/// Slim `appsv1.DeploymentStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    observed_generation: Option<i64>,
    replicas: Option<i32>,
    updated_replicas: Option<i32>,
    ready_replicas: Option<i32>,
    available_replicas: Option<i32>,
    unavailable_replicas: Option<i32>,
    conditions: List<Condition>,
}

/// The facts of a Deployment.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    Some(v1::facts::Kind::Deployment(v1::DeploymentFacts {
        desired: spec.replicas.unwrap_or(1),
        paused: spec.paused.unwrap_or_default(),
        strategy: strategy(spec.strategy),
        min_ready_s: spec.min_ready_seconds.unwrap_or_default(),
        progress_deadline_s: spec.progress_deadline_seconds,
        selector: selector::facts(spec.selector),
        template: template::facts(spec.template),
        observed_generation: status.observed_generation.unwrap_or_default(),
        replicas: status.replicas.unwrap_or_default(),
        updated: status.updated_replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
        available: status.available_replicas.unwrap_or_default(),
        unavailable: status.unavailable_replicas.unwrap_or_default(),
        conditions: condition::facts(status.conditions),
    }))
}

/// The facts of a strategy; its type is `RollingUpdate` where absent, the API server's default for all three kinds.
pub(super) fn strategy(strategy: Option<Strategy>) -> Option<v1::UpdateStrategy> {
    let Strategy { r#type, rolling_update } = strategy.unwrap_or_default();
    let rolling = rolling_update.unwrap_or_default();
    Some(v1::UpdateStrategy {
        r#type: r#type.filter(|it| !it.is_empty()).unwrap_or_else(|| "RollingUpdate".to_owned()),
        max_surge: rolling.max_surge.unwrap_or_default().0,
        max_unavailable: rolling.max_unavailable.unwrap_or_default().0,
        partition: rolling.partition,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::DeploymentFacts {
        match project_yaml(&Kind::Deployment, yaml).facts.kind {
            Some(v1::facts::Kind::Deployment(facts)) => facts,
            other => panic!("not a Deployment: {other:?}"),
        }
    }

    #[test]
    fn reads_spec_and_status() {
        let facts = facts(
            "metadata: {name: web, namespace: shop, generation: 7}
spec:
  replicas: 3
  paused: true
  minReadySeconds: 5
  progressDeadlineSeconds: 600
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 1}}
  selector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: In, values: [a, b]}]}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'nginx:1', ports: [{containerPort: 80, protocol: TCP}], env: [{name: SECRET, value: hunter2}]}
status:
  observedGeneration: 7
  replicas: 4
  updatedReplicas: 2
  readyReplicas: 3
  availableReplicas: 3
  unavailableReplicas: 1
  conditions: [{type: Progressing, status: 'True', reason: ReplicaSetUpdated}]",
        );
        let counts = (facts.desired, facts.replicas, facts.updated, facts.ready, facts.available);
        assert_eq!(counts, (3, 4, 2, 3, 3));
        assert!(facts.paused);
        assert_eq!(facts.progress_deadline_s, Some(600));
        let strategy = facts.strategy.clone().unwrap();
        assert_eq!((strategy.max_surge.as_str(), strategy.max_unavailable.as_str()), ("25%", "1"));
        let selector = facts.selector.clone().unwrap();
        assert_eq!(selector.match_expressions[0].values, ["a", "b"]);
        let template = facts.template.clone().unwrap();
        assert_eq!(template.containers[0].image, "nginx:1");
        assert_eq!(template.containers[0].ports[0].protocol, "", "TCP is the default");
        assert!(!format!("{facts:?}").contains("hunter2"), "values of env never leave");
    }

    #[test]
    fn a_manifest_has_the_defaults_of_the_api_server() {
        let facts = facts("metadata: {name: web}\nspec: {template: null, selector: null}");
        assert_eq!(facts.desired, 1);
        assert_eq!(facts.strategy.unwrap().r#type, "RollingUpdate");
        assert_eq!((facts.selector, facts.template), (None, None));
        assert_eq!(facts.observed_generation, 0);
    }
}
