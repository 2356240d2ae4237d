//! As much of an OpenAPI description as kubectl needs: that objects can be patched, and fields checked by the server. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::resource::Registry;

/// `/openapi/v3`: where the description of each group and version is.
pub(crate) fn index(registry: &Registry) -> Value {
    let versions: BTreeSet<String> = registry.all().map(|it| path_of(&it.api_version())).collect();
    let paths: serde_json::Map<String, Value> = versions
        .into_iter()
        .map(|it| {
            (it.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{it}?hash=simulated") }))
        })
        .collect();
    json!({ "paths": paths })
}

fn path_of(api_version: &str) -> String {
    if api_version.contains('/') {
        format!("apis/{api_version}")
    } else {
        format!("api/{api_version}")
    }
}

/// `/openapi/v3/apis/GROUP/VERSION`.
pub(crate) fn description(registry: &Registry, of: &str) -> Result<Value, Refusal> {
    let mut paths = serde_json::Map::new();
    let resources: Vec<_> =
        registry.all().filter(|it| path_of(&it.api_version()) == of).cloned().collect();
    if resources.is_empty() {
        return Err(Refusal::no_such_path());
    }
    for resource in resources {
        let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let path = format!("/{of}{scope}/{}/{{name}}", resource.plural);
        let kind =
            json!({ "group": resource.group, "version": resource.version, "kind": resource.kind });
        let parameter =
            |name: &str| json!({ "name": name, "in": "query", "schema": { "type": "string" } });
        let operation = json!({
            "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
            "responses": { "200": { "description": "OK" } },
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": kind,
        });
        paths.insert(path, json!({ "patch": operation }));
    }
    Ok(json!({
        "openapi": "3.0.0", "info": { "title": "Kubernetes, simulated", "version": crate::VERSION },
        "paths": paths, "components": { "schemas": {} },
    }))
}

/// `/openapi/v2`, in JSON.
pub(crate) fn v2() -> Value {
    json!({
        "swagger": "2.0", "info": { "title": "Kubernetes, simulated", "version": crate::VERSION },
        "paths": {},
    })
}
