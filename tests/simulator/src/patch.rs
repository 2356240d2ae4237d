//! The four kinds of patches: JSON merge, strategic merge, JSON patch, and server-side apply (taken as a strategic merge).
//!
//! Who owns which field is not kept: an apply never conflicts, and takes nothing away for being left out.

use serde_json::{Map, Value};

use crate::refusal::Refusal;
use crate::value::text;

/// How a patch is written, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchKind {
    Merge,
    Strategic,
    Json,
    Apply,
}

impl PatchKind {
    pub(crate) fn parse(content_type: &str) -> Result<Self, Refusal> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/json-patch+json" => Ok(Self::Json),
            "application/apply-patch+yaml" | "application/apply-patch" => Ok(Self::Apply),
            other => Err(Refusal::new(
                415,
                "UnsupportedMediaType",
                format!("the body of the request was in an unknown format: {other:?}"),
            )),
        }
    }
}

/// Applies a patch to an object.
///
/// # Errors
/// Where the patch cannot be applied.
pub(crate) fn apply(kind: PatchKind, object: &mut Value, patch: &Value) -> Result<(), Refusal> {
    match kind {
        PatchKind::Merge => {
            json_patch::merge(object, patch);
            Ok(())
        }
        PatchKind::Strategic | PatchKind::Apply => {
            merge(object, patch);
            Ok(())
        }
        PatchKind::Json => {
            let bad = |error: &dyn std::fmt::Display| {
                Refusal::new(422, "Invalid", format!("the patch cannot be applied: {error}"))
            };
            let patch: json_patch::Patch =
                serde_json::from_value(patch.clone()).map_err(|error| bad(&error))?;
            json_patch::patch(object, &patch).map_err(|error| bad(&error))
        }
    }
}

/// Lists of objects that are merged by a key, as the API types say; all others are replaced.
fn merge_key(field: &str, element: &Value) -> Option<&'static str> {
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets" => Some("name"),
        "ports" if element.get("containerPort").is_some() => Some("containerPort"),
        "ports" if element.get("port").is_some() => Some("port"),
        "conditions" | "addresses" => Some("type"),
        "volumeMounts" => Some("mountPath"),
        "ownerReferences" => Some("uid"),
        "taints" => Some("key"),
        "hostAliases" | "podIPs" => Some("ip"),
        _ => None,
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if text_of(patch, "$patch") == "replace" {
        *target = Value::Object(without_directives(patch));
        return;
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    if let Some(Value::Array(keys)) = patch.get("$retainKeys") {
        target.retain(|key, _| keys.iter().any(|it| it == key));
    }
    for (field, value) in patch {
        if let Some(list) = field.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(Value::Array(items)) = target.get_mut(list) {
                items.retain(|it| !gone.contains(it));
            }
        } else if field.starts_with('$') {
            // Order of elements, and directives that were seen above.
        } else if value.is_null() {
            target.remove(field);
        } else if let Value::Object(fields) = value
            && text_of(fields, "$patch") == "delete"
        {
            target.remove(field);
        } else if let Value::Array(elements) = value {
            merge_list(field, target.entry(field.as_str()).or_insert(Value::Null), elements);
        } else {
            merge(target.entry(field.as_str()).or_insert(Value::Null), value);
        }
    }
}

fn merge_list(field: &str, target: &mut Value, patch: &[Value]) {
    let key = patch.iter().find_map(|element| merge_key(field, element));
    let replaces = patch.iter().any(|element| text(element, "/$patch") == "replace");
    if field == "finalizers" && target.is_array() {
        if let Value::Array(items) = target {
            let new = patch.iter().filter(|it| !items.contains(it)).cloned().collect::<Vec<_>>();
            items.extend(new);
        }
        return;
    }
    let (Some(key), false) = (key, replaces) else {
        let kept = patch.iter().filter(|element| element.get("$patch").is_none());
        *target = Value::Array(kept.cloned().collect());
        return;
    };
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Value::Array(items) = target else { return };
    for element in patch {
        let place = items.iter().position(|it| it.get(key) == element.get(key));
        if text(element, "/$patch") == "delete" {
            if let Some(index) = place {
                items.remove(index);
            }
            continue;
        }
        match place.and_then(|index| items.get_mut(index)) {
            Some(item) => merge(item, element),
            None => {
                let mut item = Value::Null;
                merge(&mut item, element);
                items.push(item);
            }
        }
    }
}

fn text_of<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    let kept = map.iter().filter(|(key, _)| !key.starts_with('$'));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_changes_as_kubernetes_does() {
        let object = json!({
            "metadata": { "labels": { "a": "1", "b": "2" } },
            "containers": [{ "name": "main", "image": "x:1" }, { "name": "side" }],
            "args": [1, 2],
        });
        for (case, kind, patch, want) in [
            (
                "merge replaces lists",
                PatchKind::Merge,
                json!({ "containers": [{ "name": "main" }], "metadata": { "labels": { "a": null } } }),
                json!({
                    "metadata": { "labels": { "b": "2" } },
                    "containers": [{ "name": "main" }], "args": [1, 2],
                }),
            ),
            (
                "strategic merges lists by name",
                PatchKind::Strategic,
                json!({
                    "$setElementOrder/containers": [],
                    "containers": [{ "name": "main", "image": "x:2" }, { "name": "side", "$patch": "delete" }],
                    "args": [3],
                }),
                json!({
                    "metadata": { "labels": { "a": "1", "b": "2" } },
                    "containers": [{ "name": "main", "image": "x:2" }], "args": [3],
                }),
            ),
            (
                "JSON patch",
                PatchKind::Json,
                json!([{ "op": "replace", "path": "/containers/0/image", "value": "x:3" }]),
                json!({
                    "metadata": { "labels": { "a": "1", "b": "2" } },
                    "containers": [{ "name": "main", "image": "x:3" }, { "name": "side" }],
                    "args": [1, 2],
                }),
            ),
        ] {
            let mut changed = object.clone();
            apply(kind, &mut changed, &patch).unwrap();
            assert_eq!(changed, want, "{case}");
        }
        let bad = json!([{ "op": "remove", "path": "/nowhere" }]);
        assert_eq!(apply(PatchKind::Json, &mut object.clone(), &bad).unwrap_err().code, 422);
        assert_eq!(PatchKind::parse("application/json").unwrap_err().code, 415);
    }

    #[test]
    fn applying_twice_changes_nothing() {
        let patch = json!({ "spec": { "ports": [{ "port": 80 }, { "port": 81 }] } });
        let mut object = json!({});
        apply(PatchKind::Apply, &mut object, &patch).unwrap();
        let once = object.clone();
        apply(PatchKind::Apply, &mut object, &patch).unwrap();
        assert_eq!(object, once);
    }
}
