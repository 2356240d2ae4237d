//! A real Kubernetes control plane: etcd, API server, controller-manager and scheduler, each a process of
//! its own that a test can kill, freeze and restart; with kwok, nodes on which pods run.
//!
//! Start takes about 7 s and 500 MB, so tests of one binary share [`Cluster::shared`] where they only need
//! a namespace ([`objects::namespace`](crate::objects::namespace)), and start their own where they disturb
//! a component. Nothing is installed on the cluster; the ServiceAccount admission is off, so that pods can
//! be created without accounts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::{Api, ListParams};
use kube::{Client, Config};
use tokio::sync::OnceCell;

mod components;
mod kubeconfig;
mod users;

pub use kubeconfig::merged_kubeconfig;
pub use users::{User, may_read, rule};

use crate::folder::Folder;
use crate::port::retry_if_taken;
use crate::process::{Output, Process};
use crate::{http, kwok, simulated, wait_for};
use components::Parts;

/// A control plane is up within 10 s when nothing else runs, and within this on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How many nodes a [`Cluster::shared`] has.
const SHARED_NODES: usize = 2;

/// A running control plane. It and all its files go when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    parts: Parts,
    /// Last, so that it is removed after the processes ended.
    folder: Folder,
}

/// One of the processes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The store of the API server.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// The kubelets that are played, if there are nodes.
    Kwok,
}

/// What kind of cluster to start.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many nodes kwok plays; 0 starts no kwok, and pods stay pending.
    pub nodes: usize,
    /// Flags added to those of the API server, for instance `--feature-gates=WatchList=false`.
    pub api_server_flags: Vec<String>,
    /// Flags added to those of the controller-manager, for instance `--node-monitor-grace-period=15s`.
    pub controller_manager_flags: Vec<String>,
}

impl Cluster {
    /// Starts a cluster without nodes and waits until it answers. `name` is its kubeconfig context.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, Options::default()).await
    }

    /// Starts a cluster with nodes on which pods run, and waits until they are ready.
    pub async fn start_with_nodes(name: &str, nodes: usize) -> Result<Self> {
        Self::start_with(name, Options { nodes, ..Options::default() }).await
    }

    /// Starts a cluster and waits until it answers and its nodes are ready.
    pub async fn start_with(name: &str, options: Options) -> Result<Self> {
        let starting = retry_if_taken(async || Box::pin(Self::start_once(name, &options)).await);
        starting.await.with_context(|| format!("start the cluster {name}"))
    }

    /// The cluster of this name which the tests of this process share: with two nodes, started when first
    /// asked for, ended with the process. Use a namespace of your own, and disturb no component.
    pub async fn shared(name: &str) -> Result<Arc<Self>> {
        static SHARED: Mutex<BTreeMap<String, Arc<OnceCell<Arc<Cluster>>>>> =
            Mutex::new(BTreeMap::new());
        let cell = {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(shared.entry(name.to_owned()).or_default())
        };
        let start = async || Self::start_with_nodes(name, SHARED_NODES).await.map(Arc::new);
        cell.get_or_try_init(start).await.cloned()
    }

    async fn start_once(name: &str, options: &Options) -> Result<Self> {
        let folder = Folder::new(&format!("cluster-{name}"))?;
        let parts = Parts::start(name, options, &folder).await?;
        let cluster = Self { name: name.to_owned(), parts, folder };
        cluster.api_server_ready().await?;
        cluster.start_clients_of_the_api_server(options).await?;
        Ok(cluster)
    }

    /// These end at once if there is no API server to talk to.
    async fn start_clients_of_the_api_server(&self, options: &Options) -> Result<()> {
        self.parts.start_controllers(options, &self.folder).await?;
        let client = self.client().await?;
        if options.nodes > 0 {
            kwok::create_nodes(&client, options.nodes).await?;
            self.parts.start_kwok(&self.folder).await?;
            let kwok = self.component(Component::Kwok)?;
            kwok.while_running(nodes_ready(&client, options.nodes)).await?;
        }
        let ready = controllers_ready(&client);
        let ready = self.component(Component::Scheduler)?.while_running(ready);
        self.component(Component::ControllerManager)?.while_running(ready).await
    }

    /// The name, which is also the kubeconfig context.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Logs, certificates, etcd's data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The administrator's kubeconfig, with one context of the cluster's name.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join(kubeconfig::FILE)
    }

    /// How the administrator connects.
    pub async fn config(&self) -> Result<Config> {
        kubeconfig::load(&self.kubeconfig()).await
    }

    /// A new client of the administrator, which lives on the caller's runtime.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// One of the processes. Kwok only if there are nodes.
    pub fn component(&self, component: Component) -> Result<&Process> {
        self.parts.component(component)
    }

    /// All its processes with their names.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.parts.all()
    }

    /// Kills the component if it still runs, starts it again on the same port and data, and waits until it
    /// is ready (of the API server and etcd) or running (of the others).
    pub async fn restart(&self, component: Component) -> Result<()> {
        self.component(component)?.restart().await?;
        match component {
            Component::Etcd | Component::ApiServer => self.api_server_ready().await,
            Component::ControllerManager | Component::Scheduler | Component::Kwok => Ok(()),
        }
    }

    /// Waits until the API server says that it is ready.
    pub async fn api_server_ready(&self) -> Result<()> {
        let client = self.client().await?;
        let ready = wait_for("the API server to be ready", START_TIMEOUT, async || {
            let request = ::http::Request::get("/readyz").body(Vec::new())?;
            Ok((client.request_text(request).await? == "ok").then_some(()))
        });
        let (etcd, api_server) = (Component::Etcd, Component::ApiServer);
        let ready = self.component(api_server)?.while_running(ready);
        self.component(etcd)?.while_running(ready).await
    }

    /// Makes etcd forget all revisions but the present: with [`restart`](Self::restart) of the API server,
    /// which forgets its own window, a watch from an older resource version is answered with 410 Gone.
    pub async fn compact(&self) -> Result<()> {
        let etcd = self.parts.etcd_address();
        let status = http::post(etcd, "/v3/maintenance/status", "{}").await?;
        let status: serde_json::Value = serde_json::from_str(&status.body)?;
        let revision = status["header"]["revision"].as_str().context("etcd's revision")?;
        let compaction = format!("{{\"revision\":\"{revision}\",\"physical\":true}}");
        let answer = http::post(etcd, "/v3/kv/compaction", &compaction).await?;
        ensure!(answer.status == 200, "etcd refuses to compact: {}", answer.body);
        Ok(())
    }

    /// Runs kubectl of the same version as the cluster, as administrator.
    pub async fn kubectl(&self, args: &[&str]) -> Result<Output> {
        simulated::kubectl(&self.kubeconfig(), args).await
    }
}

async fn nodes_ready(client: &Client, count: usize) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    wait_for("all nodes to be ready", START_TIMEOUT, async || {
        let nodes = nodes.list(&ListParams::default()).await?;
        let ready = nodes.iter().filter(|node| {
            let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions
                .is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
        });
        Ok((ready.count() == count).then_some(()))
    })
    .await
}

/// The account that a controller makes in every namespace shows that the controllers work.
async fn controllers_ready(client: &Client) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    wait_for("the controllers to work", START_TIMEOUT, async || {
        Ok(accounts.get_opt("default").await?.map(drop))
    })
    .await
}
