//! What is served, said as API servers say it: group by group, or all at once (aggregated discovery). Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::resource::{Registry, Resource};

/// What can be done with any resource.
const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Whether a client asks for all of it at once.
pub(crate) fn wants_aggregated(accept: &str) -> bool {
    accept.contains("as=APIGroupDiscoveryList") && accept.contains("v=v2")
}

/// The content type of aggregated discovery.
pub(crate) const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/version`.
pub(crate) fn version() -> Value {
    let mut numbers = crate::VERSION.trim_start_matches('v').split('.');
    json!({
        "major": numbers.next(), "minor": numbers.next(), "gitVersion": crate::VERSION,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "simulated", "platform": "linux/amd64",
    })
}

/// `/api`, as a list of versions.
pub(crate) fn core() -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
}

/// `/apis`, as a list of groups.
pub(crate) fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = versions(registry)
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_value(group, versions.keys()))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/GROUP`.
pub(crate) fn group(registry: &Registry, name: &str) -> Result<Value, Refusal> {
    let all = versions(registry);
    let versions = all.get(name).ok_or_else(Refusal::no_such_path)?;
    let mut group = group_value(name, versions.keys());
    crate::value::set(&mut group, &["kind"], "APIGroup");
    crate::value::set(&mut group, &["apiVersion"], "v1");
    Ok(group)
}

/// `/apis/GROUP/VERSION`.
pub(crate) fn resources(registry: &Registry, group: &str, version: &str) -> Result<Value, Refusal> {
    let all = versions(registry);
    let found = all.get(group).and_then(|it| it.get(version)).ok_or_else(Refusal::no_such_path)?;
    let mut resources = Vec::new();
    for resource in found {
        resources.push(json!({
            "name": resource.plural, "singularName": resource.singular(), "kind": resource.kind,
            "namespaced": resource.namespaced, "verbs": VERBS, "shortNames": resource.short_names,
            "storageVersionHash": "", "categories": categories(resource),
        }));
        for Sub { name, group, version, kind, verbs } in subresources(resource) {
            resources.push(json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "", "kind": kind,
                "namespaced": resource.namespaced, "verbs": verbs, "group": group, "version": version,
            }));
        }
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources,
    }))
}

/// `/api` or `/apis`, all at once.
pub(crate) fn aggregated(registry: &Registry, core: bool) -> Value {
    let mut items = Vec::new();
    for (group, versions) in versions(registry).iter().filter(|(group, _)| group.is_empty() == core)
    {
        let of_versions: Vec<Value> = versions
            .iter()
            .map(|(version, resources)| {
                let resources: Vec<Value> =
                    resources.iter().map(|it| aggregated_resource(group, version, it)).collect();
                json!({ "version": version, "freshness": "Current", "resources": resources })
            })
            .collect();
        items.push(json!({ "metadata": { "name": group }, "versions": of_versions }));
    }
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(group: &str, version: &str, resource: &Resource) -> Value {
    let subresources: Vec<Value> = subresources(resource)
        .into_iter()
        .map(|Sub { name, group, version, kind, verbs }| {
            json!({
                "subresource": name, "verbs": verbs,
                "responseKind": { "group": group, "version": version, "kind": kind },
            })
        })
        .collect();
    json!({
        "resource": resource.plural, "singularResource": resource.singular(),
        "responseKind": { "group": group, "version": version, "kind": resource.kind },
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "verbs": VERBS, "shortNames": resource.short_names, "categories": categories(resource),
        "subresources": subresources,
    })
}

struct Sub<'a> {
    name: &'static str,
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    verbs: &'static [&'static str],
}

fn subresources(resource: &Resource) -> Vec<Sub<'_>> {
    let verbs = &["get", "patch", "update"];
    let mut all = Vec::new();
    if resource.has_status {
        let Resource { group, version, kind, .. } = resource;
        all.push(Sub { name: "status", group, version, kind, verbs });
    }
    if resource.has_scale {
        all.push(Sub { name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs });
    }
    if resource.plural == "pods" {
        all.push(Sub { name: "log", group: "", version: "v1", kind: "Pod", verbs: &["get"] });
    }
    all
}

/// `kubectl get all` shows these.
fn categories(resource: &Resource) -> &'static [&'static str] {
    let shown = [
        "pods",
        "services",
        "replicationcontrollers",
        "deployments",
        "replicasets",
        "statefulsets",
        "daemonsets",
        "jobs",
        "cronjobs",
        "horizontalpodautoscalers",
    ];
    if shown.contains(&resource.plural.as_str()) { &["all"] } else { &[] }
}

type Versions = BTreeMap<String, Vec<Arc<Resource>>>;

fn versions(registry: &Registry) -> BTreeMap<String, Versions> {
    let mut groups: BTreeMap<String, Versions> = BTreeMap::new();
    for resource in registry.all() {
        let versions = groups.entry(resource.group.clone()).or_default();
        versions.entry(resource.version.clone()).or_default().push(Arc::clone(resource));
    }
    groups
}

fn group_value<'a>(name: &str, versions: impl Iterator<Item = &'a String>) -> Value {
    let versions: Vec<Value> = versions
        .map(|version| json!({ "groupVersion": format!("{name}/{version}"), "version": version }))
        .collect();
    json!({ "name": name, "versions": versions, "preferredVersion": versions.first() })
}
