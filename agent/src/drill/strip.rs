//! What of an object stays in its cluster: who manages which field (long, and of no use elsewhere), the values of environment
//! variables, what was last applied (it repeats all of them), and the bodies of Secrets and ConfigMaps that other objects embed
//! (templates, and manifests that are handed on to other clusters).
//!
//! Looks everywhere in the object, since custom resources hold pod templates in places of their own.
//! Deliberately not here: what people write into commands, arguments or fields of custom resources.

use std::collections::BTreeSet;

use serde_json::Value;

use super::kind::is_secret;

/// What `kubectl apply` writes: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is left out of objects, in the words that are said of it.
pub(super) const MANAGED_FIELDS: &str = "metadata.managedFields";
pub(super) const ENV_VALUES: &str = "values of environment variables";
pub(super) const LAST_APPLIED_SAID: &str =
    "annotation kubectl.kubernetes.io/last-applied-configuration";
pub(super) const EMBEDDED: &str = "bodies of embedded Secrets and ConfigMaps";

/// Leaves out what stays. Says what was.
pub(super) fn strip(object: &mut Value) -> BTreeSet<&'static str> {
    let mut left_out = BTreeSet::new();
    walk(object, &mut left_out);
    left_out
}

/// It is a Secret or ConfigMap, or a list with one in it.
pub(super) fn is_refused(object: &Value) -> bool {
    let is_one = |value: &Value| value.get("kind").and_then(Value::as_str).is_some_and(is_secret);
    let items = object.get("items").and_then(Value::as_array);
    is_one(object) || items.is_some_and(|items| items.iter().any(is_one))
}

/// Recursion ends: serde_json reads no deeper than 128.
fn walk(value: &mut Value, left_out: &mut BTreeSet<&'static str>) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| walk(value, left_out)),
        Value::Object(fields) => {
            let embeds = fields.get("kind").and_then(Value::as_str).is_some_and(is_secret);
            if embeds {
                for field in ["data", "stringData", "binaryData"] {
                    if fields.remove(field).is_some() {
                        left_out.insert(EMBEDDED);
                    }
                }
            }
            if fields.remove("managedFields").is_some() {
                left_out.insert(MANAGED_FIELDS);
            }
            if let Some(annotations) = fields.get_mut("annotations").and_then(Value::as_object_mut)
                && annotations.remove(LAST_APPLIED).is_some()
            {
                left_out.insert(LAST_APPLIED_SAID);
            }
            if let Some(variables) = fields.get_mut("env")
                && strip_variables(variables)
            {
                left_out.insert(ENV_VALUES);
            }
            fields.values_mut().for_each(|value| walk(value, left_out));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Of variables as Kubernetes writes them (`- {name: …, value: …}`), and as some custom resources do (`NAME: value`, `- NAME=value`).
/// Where a value comes from (`valueFrom`) stays. Whether there was one.
fn strip_variables(variables: &mut Value) -> bool {
    match variables {
        Value::Array(variables) => {
            let strip_one = |variable: &mut Value| match variable {
                Value::Object(fields) => fields.remove("value").is_some(),
                Value::String(text) => match text.split_once('=') {
                    Some((name, _)) => {
                        *text = name.to_owned();
                        true
                    }
                    None => false,
                },
                Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => false,
            };
            // All of them, not up to the first that had one.
            variables.iter_mut().filter_map(|variable| strip_one(variable).then_some(())).count()
                > 0
        }
        Value::Object(variables) => {
            let strip_one = |value: &mut Value| match value {
                Value::Object(fields) => fields.remove("value").is_some(),
                Value::Array(_) | Value::Null => false,
                Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    *value = Value::Null;
                    true
                }
            };
            variables.values_mut().filter_map(|value| strip_one(value).then_some(())).count() > 0
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => {
            let any = !text.is_empty();
            text.clear();
            any
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container() -> Value {
        json!({ "name": "main", "env": [
            { "name": "PASSWORD", "value": "hunter2" },
            { "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } },
            { "name": "EMPTY" },
        ] })
    }

    #[test]
    fn values_of_variables_go_wherever_a_pod_template_stands() {
        let pod = || json!({ "containers": [container()], "initContainers": [container()], "ephemeralContainers": [container()] });
        let places: [fn(Value) -> Value; 4] = [
            |pod| json!({ "kind": "Pod", "spec": pod }),
            |pod| json!({ "kind": "Deployment", "spec": { "template": { "spec": pod } } }),
            |pod| json!({ "kind": "CronJob", "spec": { "jobTemplate": { "spec": { "template": { "spec": pod } } } } }),
            |pod| json!({ "kind": "Pool", "spec": { "roles": [{ "deep": { "podTemplate": { "spec": pod } } }] } }),
        ];
        for place in places {
            let mut object = place(pod());
            assert_eq!(strip(&mut object), [ENV_VALUES].into());
            assert!(!object.to_string().contains("hunter2"), "{object}");
            assert!(object.to_string().contains("secretKeyRef"), "{object}");
        }
        let mut one = container();
        strip(&mut one);
        let want = json!({ "name": "main", "env": [
            { "name": "PASSWORD" },
            { "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } },
            { "name": "EMPTY" },
        ] });
        assert_eq!(one, want);
    }

    #[test]
    fn variables_of_custom_resources_go_too() {
        for (env, want) in [
            (json!({ "A": "hunter2", "B": 1 }), json!({ "A": null, "B": null })),
            (
                json!({ "A": { "value": "hunter2" }, "B": { "from": "x" } }),
                json!({ "A": {}, "B": { "from": "x" } }),
            ),
            (json!(["A=hunter2", "B"]), json!(["A", "B"])),
            (json!("A=hunter2"), json!("")),
        ] {
            let mut object = json!({ "kind": "Function", "spec": { "env": env } });
            assert_eq!(strip(&mut object), [ENV_VALUES].into());
            assert_eq!(object["spec"]["env"], want);
        }
    }

    #[test]
    fn what_repeats_or_embeds_goes_and_all_else_stays() {
        let mut object = json!({
            "kind": "ManifestWork",
            "metadata": {
                "name": "w",
                "managedFields": [{ "manager": "m" }],
                "annotations": { LAST_APPLIED: "{…hunter2…}", "note": "kept" },
            },
            "spec": { "manifests": [
                { "kind": "Secret", "metadata": { "name": "s" }, "data": { "p": "aHVudGVyMg==" }, "stringData": {} },
                { "kind": "ConfigMap", "binaryData": { "p": "x" } },
                { "kind": "Deployment", "data": "kept" },
            ] },
            "subjects": [{ "kind": "Secret", "name": "only-named" }],
        });
        let left_out = strip(&mut object);
        assert_eq!(left_out, [EMBEDDED, LAST_APPLIED_SAID, MANAGED_FIELDS].into());
        assert_eq!(
            object,
            json!({
                "kind": "ManifestWork",
                "metadata": { "name": "w", "annotations": { "note": "kept" } },
                "spec": { "manifests": [
                    { "kind": "Secret", "metadata": { "name": "s" } },
                    { "kind": "ConfigMap" },
                    { "kind": "Deployment", "data": "kept" },
                ] },
                "subjects": [{ "kind": "Secret", "name": "only-named" }],
            })
        );
        assert!(strip(&mut object).is_empty(), "nothing is left out twice");
    }

    #[test]
    fn a_secret_is_one_in_any_version_and_in_a_list() {
        for (object, want) in [
            (json!({ "apiVersion": "v1", "kind": "Secret" }), true),
            (json!({ "apiVersion": "example.org/v9", "kind": "Secret" }), true),
            (json!({ "apiVersion": "v1", "kind": "ConfigMapList", "items": [] }), true),
            (
                json!({ "kind": "List", "items": [{ "kind": "Pod" }, { "kind": "ConfigMap" }] }),
                true,
            ),
            (json!({ "kind": "List", "items": [{ "kind": "Pod" }] }), false),
            (json!({ "kind": "SealedSecret", "spec": {} }), false),
        ] {
            assert_eq!(is_refused(&object), want, "{object}");
        }
    }
}
