//! HorizontalPodAutoscalers, as `autoscaling/v2` has them.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    lenient::{List, Scalar, Time, seconds},
    meta::Metadata,
};

/// Slim `autoscalingv2.HorizontalPodAutoscalerSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    scale_target_ref: Option<Target>,
    min_replicas: Option<i32>,
    max_replicas: Option<i32>,
    metrics: List<Metric>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Target {
    api_version: Option<String>,
    kind: Option<String>,
    name: Option<String>,
}

/// Slim `autoscalingv2.MetricSpec` and `autoscalingv2.MetricStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metric {
    r#type: Option<String>,
    resource: Option<Source>,
    container_resource: Option<Source>,
    pods: Option<Source>,
    object: Option<Source>,
    external: Option<Source>,
}

/// Whatever is measured: resources have a name, others a metric that has one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Source {
    name: Option<String>,
    container: Option<String>,
    metric: Option<Named>,
    target: Option<Value>,
    current: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: Option<String>,
}

/// Slim `autoscalingv2.MetricTarget` and `autoscalingv2.MetricValueStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Value {
    average_utilization: Option<i32>,
    average_value: Option<Scalar>,
    value: Option<Scalar>,
}

/// Slim `autoscalingv2.HorizontalPodAutoscalerStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    observed_generation: Option<i64>,
    last_scale_time: Option<Time>,
    current_replicas: Option<i32>,
    desired_replicas: Option<i32>,
    current_metrics: List<Metric>,
    conditions: List<Condition>,
}

/// The facts of a HorizontalPodAutoscaler.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    let Target { api_version, kind, name } = spec.scale_target_ref.unwrap_or_default();
    Some(v1::facts::Kind::HorizontalPodAutoscaler(v1::HorizontalPodAutoscalerFacts {
        target: Some(v1::ScaleTarget {
            api_version: api_version.unwrap_or_default(),
            kind: kind.unwrap_or_default(),
            name: name.unwrap_or_default(),
        }),
        min: spec.min_replicas.unwrap_or(1),
        max: spec.max_replicas.unwrap_or_default(),
        metrics: spec.metrics.map(metric),
        observed_generation: status.observed_generation,
        last_scaled_at_unix_s: seconds(status.last_scale_time),
        current: status.current_replicas.unwrap_or_default(),
        desired: status.desired_replicas.unwrap_or_default(),
        current_metrics: status.current_metrics.map(metric),
        conditions: condition::facts(status.conditions),
    }))
}

/// An API server that could not measure anything reports one metric without a type.
fn metric(metric: Metric) -> v1::AutoscalerMetric {
    let Metric { r#type, resource, container_resource, pods, object, external } = metric;
    let source = resource.or(container_resource).or(pods).or(object).or(external);
    let Source { name, container, metric, target, current } = source.unwrap_or_default();
    v1::AutoscalerMetric {
        r#type: r#type.unwrap_or_default(),
        name: name.or(metric.unwrap_or_default().name).unwrap_or_default(),
        container: container.unwrap_or_default(),
        value: target.or(current).map(value).unwrap_or_default(),
    }
}

fn value(value: Value) -> String {
    let Value { average_utilization, average_value, value } = value;
    match average_utilization {
        Some(percent) => format!("{percent}%"),
        None => average_value.or(value).unwrap_or_default().0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::HorizontalPodAutoscalerFacts {
        match project_yaml(&Kind::HorizontalPodAutoscaler, yaml).facts.kind {
            Some(v1::facts::Kind::HorizontalPodAutoscaler(facts)) => facts,
            other => panic!("not a HorizontalPodAutoscaler: {other:?}"),
        }
    }

    #[test]
    fn reads_target_bounds_and_each_type_of_metric() {
        let facts = facts(
            "metadata: {name: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  minReplicas: 2
  maxReplicas: 10
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}
  - {type: ContainerResource, containerResource: {name: memory, container: app, target: {type: AverageValue, averageValue: 500Mi}}}
  - {type: Pods, pods: {metric: {name: requests}, target: {type: AverageValue, averageValue: 100}}}
  - {type: Object, object: {describedObject: {kind: Ingress, name: shop}, metric: {name: rps, selector: null}, target: {type: Value, value: 2k}}}
  - {type: External, external: {metric: {name: queue}, target: {type: Value, value: '30'}}}
status:
  observedGeneration: 1
  currentReplicas: 10
  desiredReplicas: 10
  lastScaleTime: '2026-01-02T03:04:05Z'
  currentMetrics: [{type: Resource, resource: {name: cpu, current: {averageUtilization: 97, averageValue: 970m}}}, {type: ''}]
  conditions: [{type: ScalingLimited, status: 'True', reason: TooManyReplicas}]",
        );
        let target = facts.target.unwrap();
        assert_eq!((&*target.kind, &*target.name), ("Deployment", "shop"));
        assert_eq!((facts.min, facts.max, facts.current, facts.desired), (2, 10, 10, 10));
        let metrics: Vec<_> = facts.metrics.iter().map(|it| (&*it.name, &*it.value)).collect();
        let want = [
            ("cpu", "80%"),
            ("memory", "500Mi"),
            ("requests", "100"),
            ("rps", "2k"),
            ("queue", "30"),
        ];
        assert_eq!(metrics, want);
        assert_eq!(facts.metrics[1].container, "app");
        assert_eq!(facts.current_metrics[0].value, "97%");
        assert_eq!(facts.current_metrics[1], v1::AutoscalerMetric::default());
        assert_eq!(facts.last_scaled_at_unix_s, 1_767_323_045);
    }

    #[test]
    fn a_manifest_scales_from_one() {
        let facts = facts("metadata: {name: shop}\nspec: {maxReplicas: 3, metrics: null}");
        assert_eq!((facts.min, facts.max, facts.observed_generation), (1, 3, None));
    }
}
