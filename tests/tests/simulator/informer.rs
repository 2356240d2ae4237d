//! A client-go informer holds what the API server has, by streaming lists and by pages, through cut watches and expired ones.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde::Deserialize;
use serde_json::json;
use vitals_simulator::{Fault, Matching, Verb};
use vitals_tests::objects::{self, Many};
use vitals_tests::port::Port;
use vitals_tests::tools::{self, Tool};
use vitals_tests::{
    Folder, Process, Program, SimulatedCluster, Watched as _, cluster_test, http, wait_for,
};

use crate::SOON;

#[derive(Debug, Deserialize)]
struct Held {
    synced: bool,
    events: u64,
    objects: BTreeMap<String, String>,
}

struct Informer {
    process: Process,
    port: Port,
    _folder: Folder,
}

impl Informer {
    async fn start(cluster: &SimulatedCluster, streams: bool) -> Result<Self> {
        let (folder, port) = (Folder::new("informer")?, Port::claim()?);
        let process = Program::new("informer", tools::ensure(Tool::Informer).await?)
            .env("KUBE_FEATURE_WatchListClient", streams.to_string())
            .arg(cluster.kubeconfig())
            .arg(port.address().to_string())
            .start(folder.path())
            .await?;
        Ok(Self { process, port, _folder: folder })
    }

    async fn held(&self) -> Result<Held> {
        let answer = http::get(self.port.address(), "/held").await?;
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Until it holds exactly what is listed, by version.
    async fn wait_true(&self, client: &Client) -> Result<()> {
        let equal = wait_for("the informer to hold what there is", SOON, async || {
            let (held, listed) = (self.held().await?, listed(client).await?);
            ensure!(held.synced, "it has not synced");
            let differs = || format!("{} held, {} listed", held.objects.len(), listed.len());
            ensure!(held.objects == listed, "{}: {:?}", differs(), held.objects);
            Ok(Some(()))
        });
        self.process.while_running(equal).await
    }
}

async fn listed(client: &Client) -> Result<BTreeMap<String, String>> {
    let mut listed = BTreeMap::new();
    let pods: Api<Pod> = Api::all(client.clone());
    for pod in pods.list(&ListParams::default()).await? {
        let (namespace, version) = (pod.namespace(), pod.resource_version());
        let name = format!("Pod {}/{}", namespace.unwrap_or_default(), pod.name_any());
        listed.insert(name, version.unwrap_or_default());
    }
    let deployments: Api<Deployment> = Api::all(client.clone());
    for deployment in deployments.list(&ListParams::default()).await? {
        let (namespace, version) = (deployment.namespace(), deployment.resource_version());
        let name =
            format!("Deployment {}/{}", namespace.unwrap_or_default(), deployment.name_any());
        listed.insert(name, version.unwrap_or_default());
    }
    Ok(listed)
}

async fn scale(client: &Client, replicas: usize) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    api.patch("app-0", &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn follows(streams: bool) -> Result<()> {
    let cluster = SimulatedCluster::start("informer").await?;
    let client = cluster.client().await?;
    let many = Many { deployments: 5, pods_each: 4 };
    objects::create_deployments(&client, "default", many).await?;
    objects::wait_available(&client, "default", "app-0", SOON).await?;
    let informer = Informer::start(&cluster, streams).await?;
    informer.wait_true(&client).await?;
    ensure!(informer.held().await?.events >= 25);

    scale(&client, 7).await?;
    objects::wait_available(&client, "default", "app-0", SOON).await?;
    informer.wait_true(&client).await?;

    // Cut in the middle of an event, with changes meanwhile.
    let watches = || Matching { verb: Some(Verb::Watch), ..Matching::default() };
    let simulator = cluster.simulator();
    simulator.faults().add(watches(), Fault::Cut { after: 3 }, Some(6));
    simulator.cut_connections();
    scale(&client, 2).await?;
    objects::wait_available(&client, "default", "app-0", SOON).await?;
    informer.wait_true(&client).await?;

    // Where it would resume is not known any more.
    let refused =
        simulator.faults().add(watches(), Fault::Answer { code: 503, retry_after: None }, None);
    simulator.cut_connections();
    scale(&client, 4).await?;
    objects::wait_available(&client, "default", "app-0", SOON).await?;
    simulator.compact();
    simulator.faults().remove(refused);
    informer.wait_true(&client).await
}

#[test]
fn it_follows_by_streaming_lists() {
    cluster_test(follows(true));
}

#[test]
fn it_follows_by_pages() {
    cluster_test(follows(false));
}
