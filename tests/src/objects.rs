//! Objects on a cluster: made, changed and awaited with a few words in a test.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, Resource, ResourceExt as _, discovery};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::kwok::PINNED;
use crate::wait_for;

/// Who the API server thinks sets the fields that tests set.
pub(crate) const FIELD_MANAGER: &str = "testbed";

/// The annotation by which a simulated cluster leaves an object's status to the test.
pub const MANUAL: (&str, &str) = (vitals_simulator::behaviour::ANNOTATION, "manual");

/// How many requests run side by side when many objects are made.
const REQUESTS_MAX: usize = 32;

/// Creates a namespace of a name that nobody else has: `<prefix>-<random>`.
pub async fn namespace(client: &Client, prefix: &str) -> Result<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "generateName": format!("{prefix}-") },
    }))?;
    let made = namespaces.create(&PostParams::default(), &namespace).await;
    Ok(made.context("create a namespace")?.name_any())
}

/// Applies (server-side) every object of a YAML text with one or more documents. Objects that are
/// namespaced and name none go to `namespace`.
pub async fn apply(
    client: &Client,
    namespace: &str,
    manifests: &str,
) -> Result<Vec<DynamicObject>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifests).context("read manifests")?;
    let mut applied = Vec::new();
    for document in documents {
        let object: DynamicObject =
            serde_json::from_value(document).context("read an object of the manifests")?;
        let name = object.name_any();
        let one = apply_one(client, namespace, &object).await;
        applied.push(one.with_context(|| format!("apply {name}"))?);
    }
    Ok(applied)
}

async fn apply_one(client: &Client, home: &str, object: &DynamicObject) -> Result<DynamicObject> {
    let types = object.types.as_ref().context("an object without kind")?;
    let kind = GroupVersionKind::try_from(types)?;
    let (resource, capabilities) = discovery::oneshot::pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = match capabilities.scope {
        discovery::Scope::Cluster => Api::all_with(client.clone(), &resource),
        discovery::Scope::Namespaced => {
            let namespace = object.namespace().unwrap_or_else(|| home.to_owned());
            Api::namespaced_with(client.clone(), &namespace, &resource)
        }
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    Ok(api.patch(&object.name_any(), &params, &Patch::Apply(object)).await?)
}

/// A Deployment with one container `main`, as JSON, so that a test can change any of it before creating it.
pub fn deployment(name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "registry.test/app:1" }] },
            },
        },
    })
}

/// Creates Deployments `app-0`, `app-1`, … with so many pods each. Does not wait for the pods.
pub async fn create_deployments(
    client: &Client,
    namespace: &str,
    Many { deployments, pods_each }: Many,
) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    stream::iter(0..deployments)
        .map(|number| create(&api, deployment(&format!("app-{number}"), pods_each)))
        .buffer_unordered(REQUESTS_MAX)
        .try_for_each(async |_| Ok(()))
        .await
}

/// How many.
#[derive(Clone, Copy, Debug)]
pub struct Many {
    /// Deployments.
    pub deployments: usize,
    /// Pods of each.
    pub pods_each: usize,
}

/// Creates an object from JSON.
pub async fn create<K>(api: &Api<K>, object: Value) -> Result<K>
where
    K: Clone + Debug + DeserializeOwned + serde::Serialize + Resource,
{
    let object: K = serde_json::from_value(object).context("read the object")?;
    Ok(api.create(&PostParams::default(), &object).await?)
}

/// Waits until the object is there and `condition` holds of it.
pub async fn wait_until<K>(
    api: &Api<K>,
    name: &str,
    deadline: Duration,
    condition: impl Fn(&K) -> bool,
) -> Result<K>
where
    K: Clone + Debug + DeserializeOwned + Resource,
{
    wait_for(&format!("{name} to be as wanted"), deadline, async || {
        Ok(api.get_opt(name).await?.filter(|object| condition(object)))
    })
    .await
}

/// Waits until a Deployment is rolled out and all its replicas are available.
pub async fn wait_available(
    client: &Client,
    namespace: &str,
    name: &str,
    deadline: Duration,
) -> Result<Deployment> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    wait_until(&api, name, deadline, |deployment| {
        let wanted = deployment.spec.replicas.unwrap_or(1);
        deployment.status.as_ref().is_some_and(|status| {
            status.observed_generation == deployment.metadata.generation
                && status.updated_replicas.unwrap_or(0) == wanted
                && status.available_replicas.unwrap_or(0) == wanted
                && status.replicas.unwrap_or(0) == wanted
        })
    })
    .await
}

/// The pods with a label selector such as `app=web`, by name.
pub async fn pods(client: &Client, namespace: &str, selector: &str) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut pods = api.list(&ListParams::default().labels(selector)).await?.items;
    pods.sort_by_key(kube::ResourceExt::name_any);
    Ok(pods)
}

/// Writes a pod's status as a kubelet would: `status` (see [`pod_status`](crate::pod_status)) is merged
/// into the status subresource. The pod is [`PINNED`] before, so that kwok leaves it so; and a simulation, by [`MANUAL`].
///
/// Wait until kwok has made the pod ready before, or pin the pod's template: else kwok may be at it.
pub async fn write_pod_status(
    client: &Client,
    namespace: &str,
    name: &str,
    status: Value,
) -> Result<Pod> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pin = json!({ "metadata": { "annotations": { PINNED: "", MANUAL.0: MANUAL.1 } } });
    api.patch(name, &PatchParams::default(), &Patch::Merge(pin)).await.context("pin the pod")?;
    let status = json!({ "status": status });
    let written = api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
    written.with_context(|| format!("write the status of the pod {name}"))
}
