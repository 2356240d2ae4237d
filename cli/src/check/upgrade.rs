//! Objects of API versions that are not read any more, or were never: brought to the shape of the version that is.
//!
//! Sources: the deprecated API migration guide of Kubernetes, and the conversions in `pkg/apis/autoscaling` and `networking`. Only
//! what a projection reads is brought along.

use serde_json::{Map, Value, json};
use vitals_proto::kind::Kind;

/// Where HorizontalPodAutoscalers of version 1 keep what that version has no fields for.
const AUTOSCALER_CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const AUTOSCALER_METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const AUTOSCALER_CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

/// Whether a kind was once in this group.
pub(super) fn was_in(kind: &Kind, group: &str) -> bool {
    match kind {
        Kind::Deployment
        | Kind::DaemonSet
        | Kind::ReplicaSet
        | Kind::Ingress
        | Kind::HorizontalPodAutoscaler => group == "extensions",
        Kind::Event => group == "events.k8s.io",
        Kind::Namespace
        | Kind::Node
        | Kind::StatefulSet
        | Kind::CronJob
        | Kind::Job
        | Kind::PersistentVolumeClaim
        | Kind::Pod
        | Kind::Service
        | Kind::ReplicationController
        | Kind::ResourceQuota
        | Kind::PersistentVolume
        | Kind::EndpointSlice
        | Kind::PodDisruptionBudget
        | Kind::Other(_) => false,
    }
}

/// Brings an object to the shape that is read.
pub(super) fn upgrade(kind: &Kind, object: &mut Value) {
    match kind {
        Kind::Ingress => ingress(object),
        Kind::HorizontalPodAutoscaler => autoscaler(object),
        Kind::Event => event(object),
        Kind::Namespace
        | Kind::Node
        | Kind::Deployment
        | Kind::StatefulSet
        | Kind::DaemonSet
        | Kind::ReplicaSet
        | Kind::CronJob
        | Kind::Job
        | Kind::PersistentVolumeClaim
        | Kind::Pod
        | Kind::Service
        | Kind::ReplicationController
        | Kind::ResourceQuota
        | Kind::PersistentVolume
        | Kind::EndpointSlice
        | Kind::PodDisruptionBudget
        | Kind::Other(_) => {}
    }
}

/// `backend` was `defaultBackend`, and a backend named its Service and port flat (`extensions/v1beta1`, `networking.k8s.io/v1beta1`).
fn ingress(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(backend) = spec.remove("backend") {
        spec.entry("defaultBackend").or_insert(backend);
    }
    if let Some(backend) = spec.get_mut("defaultBackend") {
        flat_backend(backend);
    }
    for rule in items_mut(spec.get_mut("rules")) {
        for path in items_mut(rule.pointer_mut("/http/paths")) {
            if let Some(backend) = path.get_mut("backend") {
                flat_backend(backend);
            }
        }
    }
}

/// `events.k8s.io/v1` has other names for most.
fn event(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    for (theirs, ours) in [
        ("regarding", "involvedObject"),
        ("note", "message"),
        ("deprecatedCount", "count"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
    ] {
        if let Some(value) = fields.remove(theirs) {
            fields.entry(ours).or_insert(value);
        }
    }
}

fn flat_backend(backend: &mut Value) {
    let Some(fields) = backend.as_object_mut() else { return };
    let Some(name) = fields.remove("serviceName") else { return };
    let port = match fields.remove("servicePort") {
        Some(Value::String(name)) => json!({ "name": name }),
        Some(number) => json!({ "number": number }),
        None => json!({}),
    };
    fields.insert("service".to_owned(), json!({ "name": name, "port": port }));
}

/// Version 1 keeps conditions and metrics as JSON in annotations; `v2beta1` has targets flat.
fn autoscaler(object: &mut Value) {
    let annotation = |object: &Value, name: &str| -> Option<Value> {
        let text = object.get("metadata")?.get("annotations")?.get(name)?.as_str()?;
        serde_json::from_str(text).ok()
    };
    let kept = [
        ("status", "conditions", annotation(object, AUTOSCALER_CONDITIONS)),
        ("spec", "metrics", annotation(object, AUTOSCALER_METRICS)),
        ("status", "currentMetrics", annotation(object, AUTOSCALER_CURRENT_METRICS)),
    ];
    for (part, field, value) in kept {
        if let (Some(value), Some(fields)) = (value, part_mut(object, part)) {
            fields.entry(field).or_insert(value);
        }
    }
    if let Some(spec) = part_mut(object, "spec") {
        if let Some(percent) = spec.remove("targetCPUUtilizationPercentage") {
            let target = json!({ "type": "Utilization", "averageUtilization": percent });
            let metric =
                json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } });
            let metrics = spec.entry("metrics").or_insert_with(|| json!([]));
            if let Some(metrics) = metrics.as_array_mut() {
                metrics.push(metric);
            }
        }
        for metric in items_mut(spec.get_mut("metrics")) {
            flat_metric(metric, "target");
        }
    }
    if let Some(status) = part_mut(object, "status") {
        if let Some(percent) = status.remove("currentCPUUtilizationPercentage") {
            let current = json!({ "averageUtilization": percent });
            let metric =
                json!({ "type": "Resource", "resource": { "name": "cpu", "current": current } });
            status.entry("currentMetrics").or_insert_with(|| json!([metric]));
        }
        for metric in items_mut(status.get_mut("currentMetrics")) {
            flat_metric(metric, "current");
        }
    }
}

/// `targetAverageUtilization`, `currentAverageValue` and so on, of `v2beta1`, as one field of `v2`.
fn flat_metric(metric: &mut Value, prefix: &str) {
    let Some(sources) = metric.as_object_mut() else { return };
    for source in sources.values_mut().filter_map(Value::as_object_mut) {
        let mut target = Map::new();
        for (flat, field) in [
            ("AverageUtilization", "averageUtilization"),
            ("AverageValue", "averageValue"),
            ("Value", "value"),
        ] {
            if let Some(value) = source.remove(&format!("{prefix}{flat}")) {
                target.insert(field.to_owned(), value);
            }
        }
        if !target.is_empty() {
            source.entry(prefix).or_insert(Value::Object(target));
        }
        if let Some(name) = source.remove("metricName") {
            source.entry("metric").or_insert_with(|| json!({ "name": name }));
        }
    }
}

/// `spec` or `status`, made where the object lacks it.
fn part_mut<'a>(object: &'a mut Value, part: &str) -> Option<&'a mut Map<String, Value>> {
    let fields = object.as_object_mut()?;
    fields.entry(part).or_insert_with(|| json!({})).as_object_mut()
}

fn items_mut(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingresses() {
        let mut old = json!({ "spec": {
            "backend": { "serviceName": "a", "servicePort": 80 },
            "rules": [{ "http": { "paths": [{ "backend": { "serviceName": "b", "servicePort": "http" } }] } }, {}],
        } });
        ingress(&mut old);
        assert_eq!(
            old,
            json!({ "spec": {
            "defaultBackend": { "service": { "name": "a", "port": { "number": 80 } } },
            "rules": [
                { "http": { "paths": [{ "backend": { "service": { "name": "b", "port": { "name": "http" } } } }] } },
                {},
            ],
        } })
        );
    }

    #[test]
    fn autoscalers() {
        let conditions =
            json!([{ "type": "AbleToScale", "status": "False", "reason": "FailedGetScale" }]);
        let mut one = json!({
            "metadata": { "annotations": { AUTOSCALER_CONDITIONS: conditions.to_string() } },
            "spec": { "targetCPUUtilizationPercentage": 80 },
        });
        autoscaler(&mut one);
        assert_eq!(one["status"]["conditions"], conditions);
        assert_eq!(one["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        let mut beta = json!({ "spec": { "metrics": [
            { "type": "Resource", "resource": { "name": "cpu", "targetAverageUtilization": 70 } },
            { "type": "Pods", "pods": { "metricName": "rps", "targetAverageValue": "10" } },
        ] } });
        autoscaler(&mut beta);
        assert_eq!(
            beta["spec"]["metrics"],
            json!([
                { "type": "Resource", "resource": { "name": "cpu", "target": { "averageUtilization": 70 } } },
                { "type": "Pods", "pods": { "metric": { "name": "rps" }, "target": { "averageValue": "10" } } },
            ])
        );
        let mut broken =
            json!({ "metadata": { "annotations": { AUTOSCALER_CONDITIONS: "[" } }, "spec": 7 });
        autoscaler(&mut broken);
        assert_eq!(broken["spec"], 7, "what makes no sense is left to the projection");
    }

    #[test]
    fn events_of_either_group_are_read() {
        let mut event = json!({
            "regarding": {"kind": "Pod", "name": "web"}, "note": "no", "reason": "Failed",
            "deprecatedCount": 3, "deprecatedFirstTimestamp": null,
            "deprecatedLastTimestamp": "2026-01-02T03:04:05Z",
        });
        upgrade(&Kind::Event, &mut event);
        let want = json!({
            "involvedObject": {"kind": "Pod", "name": "web"}, "message": "no", "reason": "Failed",
            "count": 3, "firstTimestamp": null, "lastTimestamp": "2026-01-02T03:04:05Z",
        });
        assert_eq!(event, want);
        assert!(was_in(&Kind::Event, "events.k8s.io") && !was_in(&Kind::Pod, "events.k8s.io"));
    }
}
