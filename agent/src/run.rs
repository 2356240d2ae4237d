//! Puts an agent together: one scope of one cluster, as tasks of the caller's supervisor. Several can share a process.

use std::{convert::Infallible, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use vitals_agent_core::{Agent, Config, Leadership};
use vitals_proto::{
    identity::{ClusterName, Scope},
    kind::Kind,
    rule::Rules,
    v1,
};
use vitals_runtime::{
    http::Readiness,
    nats::{self, Connection, Identity, NatsArgs},
    tasks::Tasks,
};

use crate::{
    drill::{self, Allowed},
    engine::{AgentStatus, Engine, Parts, Watches},
    kubernetes::Cluster,
    lease::{Keeper, LeaseUse, Setup},
    metrics::Families,
    probe, publish,
    requests::{self, REQUESTS_MAX},
    watch::Settings,
};

/// Inputs that wait for the engine: a few per second at most. Full: their source waits.
const INPUTS_MAX: usize = 16;

/// At the end, how long the connection may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What an agent is to do.
pub struct AgentConfig {
    /// The cluster to watch. It need not be reachable yet.
    pub kubernetes: Cluster,
    /// What it is called in subjects.
    pub cluster: ClusterName,
    /// What of it is watched.
    pub scope: Scope,
    /// Which kinds, owners before what they own.
    pub kinds: Vec<Kind>,
    /// How it knows that it is the only one.
    pub lease: LeaseUse,
    /// Where it publishes. NATS need not be reachable yet.
    pub nats: NatsArgs,
    /// Times and limits of its watches.
    pub watch: Settings,
    /// Most bytes of state that wait for NATS.
    pub outbox_bytes_max: usize,
    /// What hubs may ask of it beyond what is watched.
    pub allowed: Allowed,
}

/// Why an agent does not start. Final: the configuration has to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection to NATS cannot be set up.
    #[error("cannot set up the connection to NATS")]
    Nats(#[from] nats::Error),
    /// The connection cannot be used.
    #[error("cannot publish")]
    Publish(#[from] publish::Error),
}

/// A running agent, as its starter sees it. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct AgentHandle {
    cluster: ClusterName,
    status: watch::Receiver<AgentStatus>,
    waiting: watch::Receiver<String>,
}

/// Starts the only agent of a process. It runs until the supervisor of `tasks` stops.
///
/// # Errors
/// As [`start_beside`].
pub async fn start(
    config: AgentConfig,
    tasks: &Tasks,
    registry: &mut Registry,
) -> Result<AgentHandle, Error> {
    let families = Families::default();
    families.register(registry);
    start_beside(config, tasks, &families).await
}

/// Starts an agent, of which there can be several: `families` are theirs together, and registered once.
///
/// # Errors
/// When the options of the connection to NATS cannot be used. That NATS or the API server is not reachable is no error:
/// both are retried for ever.
pub async fn start_beside(
    config: AgentConfig,
    tasks: &Tasks,
    families: &Families,
) -> Result<AgentHandle, Error> {
    let agent = core_of(&config);
    let AgentConfig { kubernetes, cluster, scope, kinds, lease, nats, watch: settings, .. } =
        config;
    let allowed = config.allowed;
    let name = cluster.as_str();
    let connection = connect(&cluster, &scope, &nats).await?;
    let metrics = families.of(&cluster, &scope, &kinds);
    families.show(&connection, &cluster, &scope);
    let (input_sender, inputs) = mpsc::channel(INPUTS_MAX);
    let (request_sender, requests) = mpsc::channel(REQUESTS_MAX);
    let (retake, silenced) = (Arc::new(Notify::new()), CancellationToken::new());
    let (keeper, waiting) = Keeper::new(Setup {
        cluster: kubernetes.clone(),
        scope: scope.clone(),
        lease,
        inputs: input_sender.clone(),
        retake: Arc::clone(&retake),
        silenced: silenced.clone(),
    });
    let span = tracing::info_span!("agent", %cluster, %scope);
    let watches = Watches::new(kubernetes.client().clone(), settings, tasks.clone(), span.clone());
    let (engine, status) = Engine::new(Parts {
        agent,
        connection: connection.clone(),
        watches,
        inputs,
        requests,
        retake,
        silenced,
        metrics: metrics.clone(),
    })
    .await?;

    let suffix = format!("{name}/{scope}");
    let task = |what: &str| format!("{what} of {suffix}");
    let stopping = tasks.stopping();
    let publishing = run_engine(engine, connection.clone(), stopping.clone());
    tasks.spawn(task("publisher"), publishing.instrument(span.clone()));
    let keeping = never_fails(keeper.run(stopping.clone()));
    tasks.spawn(task("lease"), keeping.instrument(span.clone()));
    let drilling = drill::Setup {
        kubernetes: kubernetes.client().clone(),
        nats: connection.client().clone(),
        cluster: cluster.clone(),
        scope,
        allowed,
        waiting: waiting.clone(),
        metrics: metrics.clone(),
    };
    tasks.spawn(task("drill-down"), drill::run(drilling, stopping).instrument(span.clone()));
    let probing = never_fails(probe::probe(kubernetes, input_sender));
    tasks.spawn(task("probe"), probing.instrument(span.clone()));
    let client = connection.client().clone();
    let receiving = requests::receive(client, cluster.clone(), request_sender, metrics);
    tasks.spawn(task("repair requests"), receiving.instrument(span));
    Ok(AgentHandle { cluster, status, waiting })
}

fn core_of(config: &AgentConfig) -> Agent {
    let alone = config.lease == LeaseUse::Off;
    Agent::new(Config {
        cluster: config.cluster.clone(),
        scope: config.scope.clone(),
        cluster_title: config.kubernetes.title().to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        kinds: config.kinds.clone(),
        leadership: if alone { Leadership::Alone } else { Leadership::Lease },
        outbox_bytes_max: config.outbox_bytes_max,
        seed: fastrand::u64(..),
        rules: Rules::ALL,
    })
}

async fn connect(
    cluster: &ClusterName,
    scope: &Scope,
    nats: &NatsArgs,
) -> Result<Connection, nats::Error> {
    let identity = Identity {
        name: format!("vitals-agent {cluster}/{scope}"),
        inbox_prefix: format!("_INBOX_{cluster}"),
    };
    Connection::open(nats, identity).await
}

async fn run_engine(
    engine: Engine,
    connection: Connection,
    stopping: CancellationToken,
) -> Result<(), publish::Error> {
    engine.run(stopping).await?;
    if let Err(error) = connection.close(CLOSE_TIMEOUT).await {
        tracing::warn!(%error, "what was published last may be lost");
    }
    Ok(())
}

async fn never_fails(task: impl Future<Output = ()>) -> Result<(), Infallible> {
    task.await;
    Ok(())
}

impl AgentHandle {
    /// Of the cluster it watches.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// How it does, twice a second.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<AgentStatus> {
        self.status.clone()
    }

    /// Connected, and every kind that can be seen is listed and published; else why not. An agent that stands by is ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let AgentStatus { core, connection } = &*self.status.borrow();
        let not_ready = |reason: &str| Readiness::NotReady(format!("{}: {reason}", self.cluster));
        if let Err(reason) = connection {
            return not_ready(reason);
        }
        let waiting = self.waiting.borrow();
        if waiting.starts_with("standing by") {
            return Readiness::Ready;
        }
        if !waiting.is_empty() {
            return not_ready(&waiting);
        }
        let listing = |report: &&v1::KindReport| match report.state() {
            v1::KindState::Listing | v1::KindState::Unspecified => true,
            v1::KindState::Complete
            | v1::KindState::Forbidden
            | v1::KindState::Absent
            | v1::KindState::Stalled => false,
        };
        match core.kinds.iter().find(listing) {
            Some(report) => not_ready(&format!("{}: {}", report.kind, report.detail)),
            None => Readiness::Ready,
        }
    }
}
