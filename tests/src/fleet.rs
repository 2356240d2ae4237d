//! A fleet: our own programs around real clusters, as somebody would run them: nats-server, a hub, an agent for each cluster.
//!
//! Each of them is a process, to be killed, frozen and started again. A [`Subscriber`] keeps all that the hub tells it.
//! Every test of the whole path ends with [`Fleet::assert_true`]: the oracle finds no difference.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
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

use crate::{Binary, Folder, Nats, Process, Watched, port::Port, process::Output, wait_for};

/// Starting, verifying and repairing all end far below this on a loaded machine.
pub const SOON: Duration = Duration::from_secs(90);

/// nats-server, hub and agents.
pub struct Fleet {
    /// The broker.
    pub nats: Nats,
    hub: RunningHub,
    agents: BTreeMap<String, (Process, Port)>,
    folder: Folder,
}

/// One replica of the hub.
pub struct RunningHub {
    /// To kill, freeze and restart it.
    pub process: Process,
    grpc: Port,
    http: Port,
}

impl RunningHub {
    async fn start(name: &str, nats: &Nats, folder: &Folder, flags: &[&str]) -> Result<Self> {
        let (grpc, http) = (Port::claim()?, Port::claim()?);
        let process = Binary::VitalsHub
            .program_named(name)?
            .args(unless_said(flags, &[("--nats", nats.url())]))
            .args(["--listen", &grpc.address().to_string()])
            .args(["--http", &http.address().to_string()])
            .args(flags)
            .start(folder.path())
            .await?;
        Ok(Self { process, grpc, http })
    }

    /// URL of its gRPC.
    pub fn url(&self) -> String {
        format!("http://{}", self.grpc.address())
    }

    /// Where it serves metrics.
    pub fn http(&self) -> std::net::SocketAddr {
        self.http.address()
    }

    /// A client of it.
    pub fn client(&self) -> Result<Hub> {
        let args = HubArgs {
            hub: self.url(),
            token_file: None,
            token: None,
            tls_ca: None,
            insecure_token: false,
        };
        Ok(Hub::new(&args)?)
    }
}

impl Fleet {
    /// All of them, with an agent for each of `clusters`, waiting until all are verified.
    pub async fn start<C: Watched>(clusters: &[&C]) -> Result<Self> {
        let mut fleet = Self::start_hub(Nats::start().await?, &[]).await?;
        for cluster in clusters {
            fleet.start_agent(cluster.name(), *cluster, &[]).await?;
        }
        for cluster in clusters {
            fleet.wait_fresh(cluster.name()).await?;
        }
        Ok(fleet)
    }

    /// A hub without agents. `flags` may name another `--nats`, such as a proxy before it.
    pub async fn start_hub(nats: Nats, flags: &[&str]) -> Result<Self> {
        let folder = Folder::new("fleet")?;
        let hub = RunningHub::start("vitals-hub", &nats, &folder, flags).await?;
        Ok(Self { nats, hub, agents: BTreeMap::new(), folder })
    }

    /// Another replica of the hub, which is gone before the fleet is.
    pub async fn start_replica(&self, name: &str) -> Result<RunningHub> {
        RunningHub::start(name, &self.nats, &self.folder, &[]).await
    }

    /// An agent under a name of its own, for a cluster that is called as the testbed calls it. `flags` may name another
    /// `--cluster-name`, `--kubeconfig` or `--nats`.
    pub async fn start_agent(
        &mut self,
        name: &str,
        cluster: &impl Watched,
        flags: &[&str],
    ) -> Result<()> {
        let port = Port::claim()?;
        let defaults = [
            ("--nats", self.nats.url()),
            ("--kubeconfig", cluster.kubeconfig().display().to_string()),
            ("--cluster-name", cluster.name().to_owned()),
        ];
        let program = Binary::VitalsAgent
            .program_named(&format!("agent-{name}"))?
            .args(unless_said(flags, &defaults))
            .args(["--listen", &port.address().to_string()])
            .args(flags);
        let agent = program.start(self.folder.path()).await?;
        self.agents.insert(name.to_owned(), (agent, port));
        Ok(())
    }

    /// The hub's process.
    pub fn hub_process(&self) -> &Process {
        &self.hub.process
    }

    /// An agent's process.
    pub fn agent(&self, name: &str) -> Result<&Process> {
        Ok(&self.running_agent(name)?.0)
    }

    /// Runs `vitals` against the hub, with the words of a line.
    pub async fn vitals(&self, line: &str) -> Result<Output> {
        // Each run has logs of its own, and so what it prints.
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let name = format!("vitals-{}", RUNS.fetch_add(1, Ordering::Relaxed));
        let program = Binary::Vitals.program_named(&name)?.args(["--hub", &self.hub_url()]);
        program.args(line.split(' ')).run(self.folder.path(), SOON).await
    }

    /// Where an agent serves metrics.
    pub fn agent_http(&self, name: &str) -> Result<std::net::SocketAddr> {
        Ok(self.running_agent(name)?.1.address())
    }

    fn running_agent(&self, name: &str) -> Result<&(Process, Port)> {
        self.agents.get(name).with_context(|| format!("no agent {name}"))
    }

    /// Where the hub serves metrics.
    pub fn hub_http(&self) -> std::net::SocketAddr {
        self.hub.http.address()
    }

    /// Where the hub serves gRPC.
    pub fn hub_address(&self) -> std::net::SocketAddr {
        self.hub.grpc.address()
    }

    /// URL of the hub's gRPC, without TLS.
    pub fn hub_url(&self) -> String {
        self.hub.url()
    }

    /// A client of the hub.
    pub fn hub(&self) -> Result<Hub> {
        self.hub.client()
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

    /// Waits until the hub has proven, later than `unix_ms`, that it holds what the cluster has.
    pub async fn wait_verified_after(&self, name: &str, unix_ms: i64) -> Result<()> {
        wait_for(&format!("the hub to verify {name} anew"), SOON, async || {
            let cluster = self.cluster(name).await?.context("it is unknown")?;
            let freshness = cluster.freshness.clone().unwrap_or_default();
            let verified_at = cluster.verified_at.map_or(0, |at| at.seconds * 1_000);
            let is_fresh = freshness.state() == v1::FreshnessState::Fresh;
            if is_fresh && verified_at > unix_ms {
                return Ok(Some(()));
            }
            Err(anyhow!("it is {:?}, verified at {verified_at}", freshness.state()))
        })
        .await
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
    pub async fn assert_true(&self, cluster: &impl Watched) -> Result<()> {
        self.assert_true_in(cluster, &[]).await
    }

    /// The oracle for some namespaces of a cluster in which others keep changing things.
    pub async fn assert_true_in(&self, cluster: &impl Watched, namespaces: &[&str]) -> Result<()> {
        let name: ClusterName = cluster.name().parse()?;
        self.wait_fresh(cluster.name()).await?;
        let client = cluster.client().await?;
        let namespaces = namespaces.iter().map(|&it| it.to_owned()).collect();
        let options = oracle::Options { patience: SOON, namespaces };
        oracle::assert_no_differences(&client, &name, &self.hub()?, &options).await?;
        Ok(())
    }

    /// Somebody who watches the entities that pass `filter`.
    pub fn subscribe(&self, filter: v1::EntityFilter) -> Result<Subscriber> {
        Ok(Subscriber::start(Follower::new(self.hub()?, filter)))
    }
}

/// The defaults that `flags` do not name.
fn unless_said(flags: &[&str], defaults: &[(&str, String)]) -> Vec<String> {
    let unsaid = defaults.iter().filter(|(flag, _)| !flags.contains(flag));
    unsaid.flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]).collect()
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
    /// An entity was in sight, and is not in a new snapshot.
    Vanished(String),
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
                        vec![Told::Interrupted]
                    }
                    Err(_) => {
                        vitals::follow::rest(Duration::from_millis(200)).await;
                        Vec::new()
                    }
                };
                if matches!(said.last(), Some(Told::Differs)) {
                    follower.restart();
                }
                let count = said.len();
                log.lock().unwrap().extend(said);
                sender.send_modify(|told| *told += count);
            }
        });
        Self { told, count, task }
    }

    /// All that was told so far.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// How much was told so far.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until something that was told is as wanted.
    pub async fn wait(&self, what: &str, wanted: impl Fn(&Told) -> bool) -> Result<()> {
        self.wait_behind(0, what, wanted).await
    }

    /// Waits until something is as wanted of what was told after the first `count`.
    pub async fn wait_behind(
        &self,
        count: usize,
        what: &str,
        wanted: impl Fn(&Told) -> bool,
    ) -> Result<()> {
        let mut changes = self.count.clone();
        let told = async {
            while !self.told().iter().skip(count).any(&wanted) {
                changes.changed().await?;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(SOON, told).await {
            Ok(result) => result,
            Err(_) => Err(anyhow!("not told: {what}; told: {:#?}", self.told().get(count..))),
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

fn said_of(applied: Applied) -> Vec<Told> {
    let told = match applied {
        Applied::SnapshotBegun(reason) => Told::Snapshot(reason),
        Applied::Resumed => Told::Resumed,
        Applied::Changed { after, .. } => Told::Entity(after),
        Applied::Removed(entity) => {
            Told::Removed(entity.map(|entity| entity.r#ref).unwrap_or_default())
        }
        Applied::Synced { vanished } => {
            let vanished = vanished.into_iter().map(|entity| Told::Vanished(entity.r#ref));
            return vanished.chain([Told::Synced]).collect();
        }
        Applied::Differs(_) => Told::Differs,
        Applied::Progress(_) => Told::Progress,
        Applied::Unknown => return Vec::new(),
    };
    vec![told]
}
