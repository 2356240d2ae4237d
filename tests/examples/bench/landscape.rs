//! The cluster that is measured on, real but for its kubelets, with our programs around it.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::{
    Client,
    api::{Api, ListParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};
use vitals_tests::{Cluster, Nats, Process, cluster::Options, fleet::Fleet, objects};

/// Pods of each Deployment.
pub(crate) const PODS_EACH: usize = 10;

/// Nodes that kwok plays.
const NODES: usize = 20;

/// Requests at once while the cluster is filled.
const REQUESTS_MAX: usize = 16;

/// A cluster of 10,000 pods is running after 4 minutes on an idle machine of two cores.
const GROWN_WITHIN: Duration = Duration::from_secs(25 * 60);

/// An agent that stops waits for what is in flight.
pub(crate) const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// What the cluster is called.
pub(crate) const NAME: &str = "bench";

/// The cluster, nats-server, hub and agent.
pub(crate) struct Landscape {
    pub(crate) cluster: Cluster,
    pub(crate) fleet: Fleet,
    pub(crate) client: Client,
    namespace: String,
    deployments: usize,
}

impl Landscape {
    pub(crate) async fn start() -> Result<Self> {
        let options = Options { nodes: NODES, ..Options::default() };
        let cluster = Box::pin(Cluster::start_with(NAME, options)).await?;
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        fleet.start_agent(NAME, &cluster, &[]).await?;
        fleet.wait_fresh(NAME).await?;
        let client = cluster.client().await?;
        let namespace = objects::namespace(&client, "shop").await?;
        Ok(Self { cluster, fleet, client, namespace, deployments: 0 })
    }

    pub(crate) fn agent(&self) -> Result<&Process> {
        self.fleet.agent(NAME)
    }

    /// Another one in its place.
    pub(crate) async fn replace_agent(&mut self, flags: &[&str]) -> Result<()> {
        self.agent()?.terminate(STOPPED_WITHIN).await?;
        let now = vitals_runtime::clock::SystemClock.unix_ms();
        self.fleet.start_agent(NAME, &self.cluster, flags).await?;
        self.fleet.wait_verified_after(NAME, now).await
    }

    /// A Deployment's name, and where it is.
    pub(crate) fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn pods(&self) -> usize {
        self.deployments * PODS_EACH
    }

    /// Adds Deployments and Services until there are so many, and waits until all pods are ready and the hub knows it.
    pub(crate) async fn grow(&mut self, deployments: usize) -> Result<()> {
        let begun = Instant::now();
        let apps = self.deployments();
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        stream::iter(self.deployments..deployments)
            .map(async |number| {
                let name = format!("app-{number}");
                objects::create(&apps, application(&name)?).await?;
                objects::create(&services, service(&name)).await.map(drop)
            })
            .buffer_unordered(REQUESTS_MAX)
            .try_for_each(async |()| anyhow::Ok(()))
            .await?;
        self.deployments = deployments;
        self.settled().await?;
        eprintln!("{} pods ready after {:?}", self.pods(), begun.elapsed());
        Ok(())
    }

    /// Deployments and pods of as few fields as possible, beside what is grown, and gone with their namespace's name.
    pub(crate) async fn roll_out_smallest(&self, deployments: usize) -> Result<()> {
        let namespace = objects::namespace(&self.client, "smallest").await?;
        let many = objects::Many { deployments, pods_each: PODS_EACH };
        objects::create_deployments(&self.client, &namespace, many).await?;
        for number in 0..deployments {
            let name = format!("app-{number}");
            objects::wait_available(&self.client, &namespace, &name, GROWN_WITHIN).await?;
        }
        let now = vitals_runtime::clock::SystemClock.unix_ms();
        self.fleet.wait_verified_after(NAME, now).await
    }

    /// Waits until every Deployment is rolled out, and the hub has verified the cluster after that.
    pub(crate) async fn settled(&self) -> Result<()> {
        let begun = Instant::now();
        let apps = self.deployments();
        loop {
            let mut ready = 0;
            for deployment in apps.list(&ListParams::default()).await?.items {
                let generation = deployment.metadata.generation;
                let status = deployment.status.unwrap_or_default();
                if status.observed_generation == generation
                    && status.updated_replicas == status.replicas
                {
                    ready += status.available_replicas.unwrap_or_default();
                }
            }
            if usize::try_from(ready)? == self.pods() {
                break;
            }
            ensure!(begun.elapsed() < GROWN_WITHIN, "{ready} of {} pods are ready", self.pods());
            // A list of everything is work for the API server.
            sleep(Duration::from_secs(3)).await;
        }
        let now = vitals_runtime::clock::SystemClock.unix_ms();
        self.fleet.wait_verified_after(NAME, now).await
    }
}

/// A Deployment with what a Helm chart of a web service usually sets.
fn application(name: &str) -> Result<serde_json::Value> {
    let manifest = include_str!("application.yaml").replace("NAME", name);
    let mut application: serde_json::Value = serde_saphyr::from_str(&manifest)?;
    application["spec"]["replicas"] = json!(PODS_EACH);
    Ok(application)
}

fn service(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "labels": { "app.kubernetes.io/instance": name } },
        "spec": {
            "selector": { "app.kubernetes.io/name": "checkout", "app.kubernetes.io/instance": name },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        },
    })
}
