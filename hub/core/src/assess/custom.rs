//! The rules of kinds that have no facts of their own: custom resources, and what the API server says of its own extensions.
//!
//! They read the object itself, as JSON. Each falls back on the next: a rule for the kind, else the [`generic`] rule, which
//! kstatus has for any kind. As everywhere, a deletion that was asked for comes first.
//!
//! An object may be of any shape: what is absent, or is not what it should be, counts as not there.

mod api_service;
mod argo;
mod definition;
mod generic;
mod read;

use serde_json::Value;

use super::{Assessment, Reason};

/// Judges one object by its own JSON. `group` is that of its `apiVersion`, empty for the core group.
#[must_use]
pub fn assess_custom(group: &str, kind: &str, object: &Value) -> Assessment {
    if read::text(object, &["metadata", "deletionTimestamp"]).is_some() {
        return Assessment::progressing(Reason::PendingDeletion, deletion(object));
    }
    match (group, kind) {
        ("apiregistration.k8s.io", "APIService") => api_service::assess(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition::assess(object),
        ("argoproj.io", "Workflow") => argo::workflow(object),
        ("argoproj.io", "Rollout") => argo::rollout(object),
        ("argoproj.io", "Application") => argo::application(object),
        _ => generic::assess(object),
    }
}

fn deletion(object: &Value) -> String {
    let finalizers = read::list(object, &["metadata", "finalizers"]);
    let finalizers: Vec<&str> = finalizers.iter().filter_map(Value::as_str).collect();
    if finalizers.is_empty() {
        return "pending deletion".to_owned();
    }
    format!("pending deletion, waits for finalizer {}", finalizers.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vitals_proto::v1::HealthStatus;

    use super::*;

    #[test]
    fn deletion_comes_before_any_rule() {
        let object = json!({
            "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b", 7] },
            "status": { "phase": "Failed" },
        });
        for (group, kind) in [("argoproj.io", "Workflow"), ("example.org", "Widget")] {
            let got = assess_custom(group, kind, &object);
            assert_eq!(
                (got.status, got.reason),
                (HealthStatus::Progressing, Reason::PendingDeletion)
            );
            assert_eq!(got.message, "pending deletion, waits for finalizer a/b");
        }
    }

    #[test]
    fn no_shape_is_a_surprise() {
        let kinds = [
            ("apiregistration.k8s.io", "APIService"),
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("argoproj.io", "Workflow"),
            ("argoproj.io", "Rollout"),
            ("argoproj.io", "Application"),
            ("", "Whatever"),
        ];
        let shapes = [
            json!(null),
            json!([]),
            json!("text"),
            json!({ "metadata": [], "spec": 1, "status": "x" }),
            json!({ "status": { "conditions": { "type": "Ready" }, "phase": 7, "health": [] } }),
            json!({ "status": { "conditions": [null, 1, {}, { "type": 1, "status": true }] } }),
        ];
        for (group, kind) in kinds {
            for shape in &shapes {
                assert!(!assess_custom(group, kind, shape).message.is_empty(), "{kind} {shape}");
            }
        }
    }
}
