//! The cluster's side of a comparison: everything as its API server lists it, as JSON.
//!
//! Lists are consistent (from the store, not from a cache), in pages. Nothing of the agent's watch is used.

use std::collections::{BTreeMap, BTreeSet};

use http::Request;
use serde_json::Value;
use vitals_agent::project::{Unreadable, fit::fit, folds, project};
use vitals_proto::identity::{ClusterName, KeyParts, ObjectKey};
use vitals_proto::kind::Kind;
use vitals_proto::limits::FACTS_BYTES_MAX;
use vitals_proto::v1::Facts;

use super::Error;

/// Objects on a page.
const PAGE: usize = 500;

/// One object as the API server has it; of Events all that are about one object.
pub(super) struct LiveObject {
    json: Value,
    /// Where they are Events, those beside the newest.
    others: Vec<Value>,
}

/// A cluster.
pub(super) struct Live {
    pub(super) objects: BTreeMap<ObjectKey, LiveObject>,
}

impl Live {
    pub(super) async fn list(
        client: &kube::Client,
        cluster: &ClusterName,
        kinds: &BTreeSet<Kind>,
        namespaces: &[String],
    ) -> Result<Self, Error> {
        let mut objects = BTreeMap::new();
        for (kind, path) in kinds.iter().flat_map(|kind| paths(kind, namespaces)) {
            for json in list_kind(client, cluster, kind, &path).await? {
                let mut object = LiveObject { json, others: Vec::new() };
                let fold = if *kind == Kind::Event { object.fold_name() } else { None };
                let parts = KeyParts {
                    cluster: cluster.clone(),
                    kind: kind.clone(),
                    namespace: object.text("/metadata/namespace"),
                    name: fold.as_deref().unwrap_or_else(|| object.text("/metadata/name")),
                };
                let key = ObjectKey::new(parts)
                    .map_err(|error| unreadable(cluster, kind, error.to_string()))?;
                if let Some(held) = objects.remove(&key) {
                    object.join(held);
                }
                objects.insert(key, object);
            }
        }
        Ok(Self { objects })
    }
}

/// What to list of a kind: all of it, or what is in these namespaces where some are named.
fn paths<'a>(kind: &'a Kind, namespaces: &[String]) -> Vec<(&'a Kind, String)> {
    let plural = kind.plural();
    let selector =
        kind.field_selector().map(|it| format!("?fieldSelector={}", it.replace('=', "%3D")));
    let plural = format!("{plural}{}", selector.unwrap_or_default());
    let version = kind.api_version().unwrap_or("v1");
    let root = if version.contains('/') { "apis" } else { "api" };
    if namespaces.is_empty() {
        return vec![(kind, format!("/{root}/{version}/{plural}"))];
    }
    let namespaced = namespaces.iter().filter(|_| kind.is_namespaced() == Some(true));
    let path = |it: &String| format!("/{root}/{version}/namespaces/{it}/{plural}");
    namespaced.map(|it| (kind, path(it))).collect()
}

impl LiveObject {
    #[cfg(test)]
    pub(super) fn new(json: Value) -> Self {
        Self { json, others: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn set(&mut self, pointer: &str, value: Value) {
        *self.json.pointer_mut(pointer).unwrap() = value;
    }

    /// Its facts, cut as an agent cuts them.
    pub(super) fn facts(&self, kind: &Kind) -> Result<Facts, Unreadable> {
        let read = |json: &Value| project(kind, json.to_string().as_bytes());
        let mut facts = if *kind == Kind::Event {
            let events = std::iter::once(&self.json).chain(&self.others).map(read);
            let folds = folds(events.collect::<Result<_, _>>()?);
            folds.into_iter().next().map(|fold| fold.facts).unwrap_or_default()
        } else {
            read(&self.json)?.facts
        };
        fit(&mut facts, FACTS_BYTES_MAX);
        Ok(facts)
    }

    /// What it is called with the others about one object.
    pub(super) fn fold_name(&self) -> Option<String> {
        let event = project(&Kind::Event, self.json.to_string().as_bytes()).ok()?;
        folds(vec![event]).pop().map(|fold| fold.name)
    }

    /// Takes others in that are about the same object. The newest stands for all.
    pub(super) fn join(&mut self, other: Self) {
        let version = |json: &Self| json.resource_version().parse::<u64>().unwrap_or_default();
        let Self { mut json, others } = other;
        if version(&Self { json: json.clone(), others: Vec::new() }) > version(self) {
            std::mem::swap(&mut self.json, &mut json);
        }
        self.others.extend(others);
        self.others.push(json);
    }

    pub(super) fn resource_version(&self) -> &str {
        self.text("/metadata/resourceVersion")
    }

    pub(super) fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    /// Empty where it is absent.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// `None` where it is absent.
    pub(super) fn number(&self, pointer: &str) -> Option<i64> {
        self.json.pointer(pointer).and_then(Value::as_i64)
    }

    /// Nothing where it is absent.
    pub(super) fn items(&self, pointer: &str) -> impl Iterator<Item = &Value> {
        self.json.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
    }

    /// A label or annotation.
    pub(super) fn has_key(&self, pointer: &str, key: &str) -> bool {
        self.json.pointer(pointer).and_then(|map| map.get(key)).is_some()
    }

    /// The UID of its controller.
    pub(super) fn controller(&self) -> Option<&str> {
        let is_controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
        self.items("/metadata/ownerReferences").find(is_controller)?.get("uid")?.as_str()
    }
}

async fn list_kind(
    client: &kube::Client,
    cluster: &ClusterName,
    kind: &Kind,
    path: &str,
) -> Result<Vec<Value>, Error> {
    let mut all = Vec::new();
    let mut next = String::new();
    loop {
        let page = match page(client, path, &next).await {
            Ok(page) => page,
            // The kind does not exist in this cluster.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(all),
            // The continuation is too old: from the start.
            Err(kube::Error::Api(status)) if status.code == 410 && !next.is_empty() => {
                all.clear();
                next.clear();
                continue;
            }
            Err(source) => {
                let (cluster, kind) = (cluster.clone(), kind.to_string());
                return Err(Error::List { cluster, kind, source: Box::new(source) });
            }
        };
        let Value::Object(mut page) = page else {
            return Err(unreadable(cluster, kind, "it is no object".to_owned()));
        };
        if let Some(Value::Array(items)) = page.remove("items") {
            all.extend(items);
        }
        let more = page.get("metadata").and_then(|it| it.get("continue")).and_then(Value::as_str);
        next = more.unwrap_or_default().to_owned();
        if next.is_empty() {
            return Ok(all);
        }
    }
}

async fn page(client: &kube::Client, path: &str, next: &str) -> Result<Value, kube::Error> {
    // A token of the API server is base64: safe in a URL.
    let more = if next.is_empty() { String::new() } else { format!("&continue={next}") };
    let joint = if path.contains('?') { '&' } else { '?' };
    let request = Request::get(format!("{path}{joint}limit={PAGE}{more}"));
    let request = request.body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request(request).await
}

fn unreadable(cluster: &ClusterName, kind: &Kind, problem: String) -> Error {
    Error::Answer { cluster: cluster.clone(), kind: kind.to_string(), problem }
}
