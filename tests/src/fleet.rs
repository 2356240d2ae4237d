//! A fleet: our own programs around real clusters, as somebody would run them: nats-server, a hub, an agent for each cluster.
//!
//! Each of them is a process, to be killed, frozen and started again. A [`Subscriber`] keeps all that the hub tells it.
//! Every test of the whole path ends with [`Fleet::assert_true`]: the oracle finds no difference.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::sync::watch;
use vitals::{
    args::HubArgs,
    follow::{Applied, Follower, Said, View},
    hub::Hub,
    oracle,
};
use vitals_proto::{identity::ClusterName, v1};

use crate::{Binary, Cluster, Folder, Nats, Process, port::Port, wait_for};

/// Starting, verifying and repairing all end far below this on a loaded machine.
pub const SOON: Duration = Duration::from_secs(90);

/// nats-server, hub and agents.
pub struct Fleet {
    /// The broker.
    pub nats: Nats,
    hub: Process,
    agents: BTreeMap<String, Process>,
    grpc: Port,
    http: Port,
    _agent_ports: Vec<Port>,
    folder: Folder,
}

impl Fleet {
    /// All of them, with an agent for each of `clusters`, waiting until all are verified.
    pub async fn start(clusters: &[&Cluster]) -> Result<Self> {
        let mut fleet = Self::start_hub(Nats::start().await?, &[]).await?;
        for cluster in clusters {
            fleet.start_agent(cluster.name(), cluster, &[]).await?;
        }
        for cluster in clusters {
            fleet.wait_fresh(cluster.name()).await?;
        }
        Ok(fleet)
    }

    /// A hub without agents.
    pub async fn start_hub(nats: Nats, flags: &[&str]) -> Result<Self> {
        let folder = Folder::new("fleet")?;
        let (grpc, http) = (Port::claim()?, Port::claim()?);
        let hub = Binary::VitalsHub
            .program()?
            .args(["--nats", &nats.url()])
            .args(["--listen", &grpc.address().to_string()])
            .args(["--http", &http.address().to_string()])
            .args(flags)
            .start(folder.path())
            .await?;
        let agents = BTreeMap::new();
        Ok(Self { nats, hub, agents, grpc, http, _agent_ports: Vec::new(), folder })
    }

    /// An agent under a name of its own, for a cluster that is called as the testbed calls it, unless `flags` say otherwise.
    pub async fn start_agent(
        &mut self,
        name: &str,
        cluster: &Cluster,
        flags: &[&str],
    ) -> Result<()> {
        let kubeconfig = cluster.kubeconfig();
        let port = Port::claim()?;
        let named = flags.contains(&"--cluster-name");
        let program = Binary::VitalsAgent
            .program_named(&format!("agent-{name}"))?
            .args(["--nats", &self.nats.url()])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--listen", &port.address().to_string()])
            .args(if named { vec![] } else { vec!["--cluster-name", cluster.name()] })
            .args(flags);
        let agent = program.start(self.folder.path()).await?;
        self.agents.insert(name.to_owned(), agent);
        self._agent_ports.push(port);
        Ok(())
    }

    /// The hub's process.
    pub fn hub_process(&self) -> &Process {
        &self.hub
    }

    /// An agent's process.
    pub fn agent(&self, name: &str) -> Result<&Process> {
        self.agents.get(name).with_context(|| format!("no agent {name}"))
    }

    /// Where the hub serves metrics.
    pub fn hub_http(&self) -> std::net::SocketAddr {
        self.http.address()
    }

    /// URL of the hub's gRPC.
    pub fn hub_url(&self) -> String {
        format!("http://{}", self.grpc.address())
    }

    /// A client of the hub.
    pub fn hub(&self) -> Result<Hub> {
        let args = HubArgs {
            hub: self.hub_url(),
            token_file: None,
            token: None,
            tls_ca: None,
            insecure_token: false,
        };
        Ok(Hub::new(&args)?)
    }

    /// A cluster as the hub sees it.
    pub async fn cluster(&self, name: &str) -> Result<Option<v1::Cluster>> {
        let clusters = self.hub()?.list_clusters().await?;
        Ok(clusters.into_iter().find(|cluster| cluster.name == name))
    }

    /// Waits until the hub sees a cluster as `state`.
    pub async fn wait_seen(&self, name: &str, state: v1::FreshnessState) -> Result<v1::Cluster> {
        let what = format!("the hub to see {name} as {state:?}");
        wait_for(&what, SOON, async || {
            let cluster =
                self.cluster(name).await?.with_context(|| format!("{name} is unknown"))?;
            let freshness = cluster.freshness.clone().unwrap_or_default();
            if freshness.state() == state {
                return Ok(Some(cluster));
            }
            Err(anyhow!("it is {:?}: {}", freshness.state(), freshness.message))
        })
        .await
    }

    /// Waits until the hub has verified a cluster.
    pub async fn wait_fresh(&self, name: &str) -> Result<()> {
        self.wait_seen(name, v1::FreshnessState::Fresh).await.map(|_| ())
    }

    /// An entity as the hub sees it.
    pub async fn entity(&self, reference: &str) -> Result<Option<v1::Entity>> {
        let filter =
            v1::EntityFilter { refs: vec![reference.to_owned()], ..v1::EntityFilter::default() };
        Ok(self.hub()?.list_entities(filter).await?.pop())
    }

    /// Waits until `wanted` holds of an entity.
    pub async fn wait_entity(
        &self,
        reference: &str,
        wanted: impl Fn(&v1::Entity) -> bool,
    ) -> Result<v1::Entity> {
        wait_for(&format!("{reference} to be as wanted"), SOON, async || {
            let entity = self.entity(reference).await?.context("it is unknown")?;
            let seen = anyhow!("it is {:?}", entity.verdict);
            if wanted(&entity) { Ok(Some(entity)) } else { Err(seen) }
        })
        .await
    }

    /// The oracle: what the hub holds and says is what the cluster has.
    pub async fn assert_true(&self, cluster: &Cluster) -> Result<()> {
        let name: ClusterName = cluster.name().parse()?;
        self.wait_fresh(cluster.name()).await?;
        let client = cluster.client().await?;
        oracle::assert_no_differences(&client, &name, &self.hub()?, SOON).await?;
        Ok(())
    }

    /// Somebody who watches the entities that pass `filter`.
    pub fn subscribe(&self, filter: v1::EntityFilter) -> Result<Subscriber> {
        Ok(Subscriber::start(Follower::new(self.hub()?, filter)))
    }
}

/// What a subscriber was told, in order.
#[derive(Clone, Debug)]
pub enum Told {
    /// A snapshot begins; why a token was not taken.
    Snapshot(String),
    /// A token was taken.
    Resumed,
    /// An entity, as it is now.
    Entity(Box<v1::Entity>),
    /// An entity is gone.
    Removed(String),
    /// The view is whole, and equals what the hub says that it should be.
    Synced,
    /// The view is not what the hub says that it should be.
    Differs,
    /// Silence.
    Progress,
    /// The connection broke.
    Interrupted,
}

/// Watches in the background, over broken connections, and keeps all that it is told.
pub struct Subscriber {
    told: Arc<Mutex<Vec<Told>>>,
    count: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Subscriber {
    #[expect(clippy::disallowed_methods, reason = "a task of a test ends with the test")]
    fn start(mut follower: Follower) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (sender, count) = watch::channel(0);
        let log = Arc::clone(&told);
        let task = tokio::spawn(async move {
            let mut view = View::default();
            loop {
                let said = match follower.next().await {
                    Ok(Said::Step(step)) => said_of(view.apply(*step)),
                    Ok(Said::Interrupted { pause, .. }) => {
                        vitals::follow::rest(pause).await;
                        Some(Told::Interrupted)
                    }
                    Err(_) => {
                        vitals::follow::rest(Duration::from_millis(200)).await;
                        None
                    }
                };
                if matches!(said, Some(Told::Differs)) {
                    follower.restart();
                }
                if let Some(said) = said {
                    log.lock().unwrap().push(said);
                    sender.send_modify(|count| *count += 1);
                }
            }
        });
        Self { told, count, task }
    }

    /// All that was told so far.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// Waits until something that was told is as wanted.
    pub async fn wait(&self, what: &str, wanted: impl Fn(&Told) -> bool) -> Result<()> {
        let mut count = self.count.clone();
        let told = async {
            while !self.told().iter().any(&wanted) {
                count.changed().await?;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(SOON, told).await {
            Ok(result) => result,
            Err(_) => Err(anyhow!("not told: {what}; told: {:#?}", self.told())),
        }
    }

    /// Statuses and reasons over all clusters of an entity, in the order in which they were told, each once in a row.
    pub fn verdicts(&self, reference: &str) -> Vec<(v1::HealthStatus, String)> {
        let mut verdicts = Vec::new();
        for told in self.told() {
            let Told::Entity(entity) = told else { continue };
            if entity.r#ref != reference {
                continue;
            }
            let verdict = entity.verdict.unwrap_or_default();
            verdicts.push((verdict.status(), verdict.reason));
        }
        verdicts.dedup();
        verdicts
    }
}

fn said_of(applied: Applied) -> Option<Told> {
    Some(match applied {
        Applied::SnapshotBegun(reason) => Told::Snapshot(reason),
        Applied::Resumed => Told::Resumed,
        Applied::Changed { after, .. } => Told::Entity(after),
        Applied::Removed(entity) => {
            Told::Removed(entity.map(|entity| entity.r#ref).unwrap_or_default())
        }
        Applied::Synced { .. } => Told::Synced,
        Applied::Differs(_) => Told::Differs,
        Applied::Progress(_) => Told::Progress,
        Applied::Unknown => return None,
    })
}
