//! One entity over two clusters, whose pods do only what a test writes; and what kubectl prints of it.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use vitals_proto::v1::{Entity, HealthStatus};
use vitals_tests::fleet::{Fleet, SOON};
use vitals_tests::{Cluster, objects, pod_status, wait_for};

use crate::scene::pinned;

/// In both clusters.
pub(crate) const SHOP: &str = "component:default/contract-shop";

/// The Deployment of the entity in one cluster.
pub(crate) struct Shop {
    pub(crate) cluster: Arc<Cluster>,
    client: Client,
    pub(crate) namespace: String,
    /// Its entity's name.
    id: &'static str,
}

impl Shop {
    pub(crate) const NAME: &str = "shop";

    pub(crate) async fn found(cluster: &str) -> Result<Self> {
        Self::called("contract-shop", cluster).await
    }

    /// One of another name: tests that run side by side share clusters.
    pub(crate) async fn called(id: &'static str, cluster: &str) -> Result<Self> {
        let cluster = Cluster::shared(cluster).await?;
        let client = cluster.client().await?;
        let namespace = objects::namespace(&client, "contract").await?;
        Ok(Self { cluster, client, namespace, id })
    }

    pub(crate) fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn open(&self) -> Result<()> {
        let mut shop = pinned(objects::deployment(Self::NAME, 2));
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            let labels = shop.pointer_mut(labels).context("labels")?;
            labels["backstage.io/kubernetes-id"] = json!(self.id);
        }
        objects::create(&self.deployments(), shop).await?;
        Ok(())
    }

    pub(crate) async fn image(&self, image: &str) -> Result<()> {
        let containers = json!([{ "name": "main", "image": image }]);
        let template = json!({ "template": { "spec": { "containers": containers } } });
        self.patch(json!({ "spec": template })).await
    }

    pub(crate) async fn scale(&self, replicas: usize) -> Result<()> {
        self.patch(json!({ "spec": { "replicas": replicas } })).await
    }

    async fn patch(&self, patch: serde_json::Value) -> Result<()> {
        let patch = Patch::Strategic(patch);
        self.deployments().patch(Self::NAME, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Makes each pod ready that is not, until the rollout is over.
    pub(crate) async fn all_ready(&self) -> Result<()> {
        wait_for("the rollout to end", SOON, async || {
            for pod in self.pods().await? {
                if !is_ready(&pod) && pod.metadata.deletion_timestamp.is_none() {
                    let (name, ready) = (pod.name_any(), pod_status::ready(0));
                    objects::write_pod_status(&self.client, &self.namespace, &name, ready).await?;
                }
            }
            let shop = self.deployments().get(Self::NAME).await?;
            let wanted = shop.spec.replicas;
            let generation = shop.metadata.generation;
            let is_over = shop.status.is_some_and(|status| {
                status.observed_generation == generation
                    && status.replicas == wanted
                    && status.updated_replicas == wanted
                    && status.available_replicas == wanted
            });
            Ok(is_over.then_some(()))
        })
        .await
    }

    pub(crate) async fn first_pod(&self, status: serde_json::Value) -> Result<String> {
        let pods = self.pods().await?;
        let pod = pods.first().context("no pod")?.name_any();
        objects::write_pod_status(&self.client, &self.namespace, &pod, status).await?;
        Ok(pod)
    }

    /// Those that run somewhere.
    async fn pods(&self) -> Result<Vec<Pod>> {
        let mut pods = objects::pods(&self.client, &self.namespace, "app=shop").await?;
        pods.retain(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
        Ok(pods)
    }

    /// READY, UP-TO-DATE, AVAILABLE and RESTARTS, as kubectl prints them.
    async fn columns(&self) -> Result<Columns> {
        let get = async |what: &[&str]| {
            let args = [&["get", "--no-headers", "-n", &self.namespace], what].concat();
            let output = self.cluster.kubectl(&args).await?;
            ensure!(output.status.success(), "{}", output.stderr);
            Ok(output.stdout)
        };
        let deployment = get(&["deployment", Self::NAME]).await?;
        let pods = get(&["pods", "-l", "app=shop"]).await?;
        let columns: Vec<&str> = deployment.split_whitespace().collect();
        let [_name, ready, updated, available, ..] = columns.as_slice() else {
            bail!("kubectl prints {deployment:?}")
        };
        let mut restarts = 0;
        for pod in pods.lines() {
            let restarted = pod.split_whitespace().nth(3);
            let restarted = restarted.with_context(|| format!("kubectl prints {pod:?}"))?;
            restarts += restarted.parse::<i32>()?;
        }
        Ok(Columns {
            ready: (*ready).to_owned(),
            updated: updated.parse()?,
            available: available.parse()?,
            restarts,
        })
    }
}

/// As kubectl prints them.
#[derive(Debug, PartialEq, Eq)]
struct Columns {
    ready: String,
    updated: i32,
    available: i32,
    restarts: i32,
}

pub(crate) trait Sees {
    /// Waits until the hub sees the shop so, and in the numbers that kubectl prints for each cluster.
    async fn is(&self, status: HealthStatus, shops: &[&Shop]) -> Result<Entity>;
}

impl Sees for Fleet {
    async fn is(&self, status: HealthStatus, shops: &[&Shop]) -> Result<Entity> {
        wait_for(&format!("the shop to be {status:?}, and as kubectl says"), SOON, async || {
            let id = shops.first().context("no shop")?.id;
            let reference = format!("component:default/{id}");
            let entity = self.entity(&reference).await?.context("it is unknown")?;
            let verdict = entity.verdict.clone().unwrap_or_default();
            ensure!(verdict.status() == status, "it is {verdict:?}");
            for shop in shops {
                let (wanted, said) = (shop.columns().await?, columns_of(&entity, shop)?);
                ensure!(wanted == said, "kubectl says {wanted:?}, the hub {said:?}");
            }
            Ok(Some(entity))
        })
        .await
    }
}

fn columns_of(entity: &Entity, shop: &Shop) -> Result<Columns> {
    let cluster = entity.clusters.iter().find(|it| it.cluster == shop.cluster.name());
    let workloads = &cluster.context("it is not in this cluster")?.workloads;
    let [workload] = workloads.as_slice() else { bail!("{} workloads", workloads.len()) };
    Ok(Columns {
        ready: format!("{}/{}", workload.ready, workload.desired),
        updated: workload.updated,
        available: workload.available,
        restarts: workload.restarts,
    })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
}
