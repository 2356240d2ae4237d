//! Starts a hub: listens, connects, makes the streams, reads, serves. Used by `vitals-hub`, and by `vitals up` for
//! a hub within its own process.
//!
//! Ports are open before NATS answers, so that probes and clients are told what is missing instead of nothing.

mod load;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use vitals_hub_core::picture::PictureConfig;
use vitals_hub_core::{Hub, Settings, StreamName, Time};
use vitals_proto::identity::ClusterName;
use vitals_proto::rule::Rules;
use vitals_runtime::backoff::Backoff;
use vitals_runtime::clock::SystemClock;
use vitals_runtime::http::{self, Endpoints, Readiness, Readiness::NotReady};
use vitals_runtime::nats::{self, Connection, Connections, Identity};
use vitals_runtime::tasks::Tasks;

use crate::args::Args;
use crate::clock::BrokerClock;
use crate::cluster_records::{LabelPatch, file};
use crate::drill::{self, DrillDown};
use crate::history::NatsHistory;
use crate::kv_clusters::KvClusters;
use crate::kv_definitions::KvDefinitions;
use crate::metrics::{CoreMetrics, ServeMetrics, TellMetrics};
use crate::query::Desk;
use crate::read;
use crate::repair;
use crate::run::{Inputs, Loop, Outputs};
use crate::serve::{self, Clusters, Security, SecurityError, Server, Sources};
use crate::streams::{self, Streams, check_strict};
use crate::tell::{self, Verdicts, Word};
use crate::view::View;
use crate::watch::Shared;

/// Between two looks whether NATS is there.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Between attempts to make the streams, or to write definitions.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(200);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);

/// Answers to repairs that wait for the loop.
const ANSWERS_WAITING_MAX: usize = 256;

/// Why a hub does not start, or ends. Final until somebody changes what it names.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port would be open to all the world, or its files cannot be used.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The port cannot be served.
    #[error(transparent)]
    Serve(#[from] serve::Error),
    /// The port of metrics and health cannot be served.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// The file of cluster labels cannot be used.
    #[error(transparent)]
    Labels(#[from] file::Error),
    /// NATS cannot be used.
    #[error(transparent)]
    Nats(#[from] nats::Error),
    /// The streams are not as they should be.
    #[error(transparent)]
    Streams(#[from] streams::Error),
}

/// A hub that runs.
#[derive(Debug)]
pub struct Started {
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where metrics and health are served.
    pub http: SocketAddr,
    /// Whether it has read its first snapshot.
    pub readiness: watch::Receiver<Readiness>,
    connection: Connection,
}

impl Started {
    /// Closes the connection to NATS, once all tasks have ended.
    pub async fn close(self, deadline: Duration) -> Result<(), nats::Error> {
        self.connection.close(deadline).await
    }
}

/// Why a hub that has just started is not ready.
const CONNECTING: &str = "it is connecting to NATS";

/// Starts a hub in `tasks`, and returns when its ports are open. What goes wrong later ends the tasks with the error.
pub async fn start(args: Args, tasks: &Tasks) -> Result<Started, Error> {
    let (picture, labels) = (args.picture(), args.labels()?);
    let Args {
        nats,
        streams,
        security,
        limits,
        http,
        definitions,
        clusters_apart: _,
        cluster_labels: _,
        log: _,
    } = args;
    let server = Server::listen(Security::new(security)?, limits.into()).await?;
    let http = http::Server::listen(http).await?;
    let (grpc, http_address) = (server.address(), http.address());
    let identity = Identity { name: "vitals-hub".into(), inbox_prefix: "_INBOX_hub".into() };
    let connection = Connection::open(&nats, identity).await?;

    let metrics = Metrics::default();
    let (desk, queries) = Desk::new();
    let (readiness, ready) = watch::channel(Readiness::NotReady(CONNECTING.into()));
    let (clusters, clusters_reader) = watch::channel(Clusters::default());
    let view = Arc::new(View::default());
    let streams = Streams::new(&streams);
    let store = Arc::new(KvDefinitions::new(&connection, streams.entities.clone()));
    let records = Arc::new(KvClusters::new(&connection, streams.clusters.clone()));
    let history = Arc::new(NatsHistory::new(jetstream::new(connection.client().clone())));
    let shared = Arc::new(Shared {
        view: Arc::clone(&view),
        desk,
        readiness: ready.clone(),
        metrics: metrics.serve.clone(),
    });
    let (client, seen) = (connection.client().clone(), clusters_reader.clone());
    let drill = DrillDown::new(client, seen, tasks.clone(), metrics.drill.clone());
    let sources = Sources {
        shared,
        clusters: clusters_reader,
        definitions: store.clone(),
        records: records.clone(),
        history,
        drill,
    };
    server.serve(sources, tasks);
    let endpoints = endpoints(metrics.registry(&connection), ready.clone());
    tasks.spawn("HTTP", http.serve(endpoints, tasks.stopping()));
    tracing::info!(%grpc, http = %http_address, "listening");

    let (asks, asked) = mpsc::channel(repair::REQUESTS_WAITING_MAX);
    let (verdicts, judged) = Verdicts::new();
    let core = metrics.core.clone();
    let outputs = Outputs { view, clusters, readiness, asks, verdicts, metrics: core };
    let boot = Boot {
        tasks: tasks.clone(),
        connection: connection.clone(),
        streams,
        store,
        files: definitions,
        records,
        labels,
        picture,
        metrics,
        asked,
        judged,
    };
    tasks.spawn("core", boot.run(outputs, queries));
    Ok(Started { grpc, http: http_address, readiness: ready, connection })
}

fn endpoints(registry: Registry, ready: watch::Receiver<Readiness>) -> Endpoints {
    let readiness = Arc::new(move || ready.borrow().clone());
    Endpoints { registry: Arc::new(registry), readiness }
}

/// All figures of a hub.
#[derive(Debug, Default)]
struct Metrics {
    serve: ServeMetrics,
    core: CoreMetrics,
    tell: TellMetrics,
    read: read::Metrics,
    drill: drill::Metrics,
}

impl Metrics {
    fn registry(&self, connection: &Connection) -> Registry {
        let mut registry = Registry::default();
        self.serve.register(&mut registry);
        self.core.register(&mut registry);
        self.tell.register(&mut registry);
        self.read.register(&mut registry);
        self.drill.register(&mut registry);
        let connections = Connections::default();
        connections.register(&mut registry);
        connections.add(Vec::new(), connection.metrics());
        registry
    }
}

/// What waits for NATS, and then becomes the loop.
struct Boot {
    tasks: Tasks,
    connection: Connection,
    streams: Streams,
    store: Arc<KvDefinitions>,
    files: Vec<PathBuf>,
    records: Arc<KvClusters>,
    labels: BTreeMap<ClusterName, LabelPatch>,
    picture: PictureConfig,
    metrics: Metrics,
    asked: mpsc::Receiver<repair::Ask>,
    judged: mpsc::Receiver<Word>,
}

impl Boot {
    async fn run(
        self,
        outputs: Outputs,
        queries: mpsc::Receiver<crate::query::Query>,
    ) -> Result<(), BootError> {
        let stopping = self.tasks.stopping();
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            found = self.until_streams(&outputs.readiness) => found?,
        }
        let Self {
            tasks,
            connection,
            streams,
            store,
            files,
            records,
            labels,
            picture,
            metrics,
            asked,
            judged,
        } = self;
        let mut described = records.watch(&tasks, &connection, &metrics.read);
        if !labels.is_empty() {
            tasks.spawn_finite(
                "labels of clusters",
                load::labels(labels, records, stopping.clone()),
            );
        }
        // What is forgotten must be known before a message is read that it concerns.
        let first = NotReady("it is reading what operators say of clusters".to_owned());
        outputs.readiness.send_replace(first);
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            read = described.wait_for(Option::is_some) => if read.is_err() {
                return Ok(());
            }
        }
        let names = streams.objects.iter().map(|stream| StreamName::from(stream.name.as_str()));
        let settings = Settings { rules: Rules::ALL, streams: names.collect() };
        let hub = Hub::with(settings, picture);
        let batches = read::start(&tasks, &connection, streams.objects.clone(), &metrics.read);
        let definitions = store.watch(&tasks, &connection, &metrics.read);
        let (answers, repaired) = mpsc::channel(ANSWERS_WAITING_MAX);
        let client = connection.client().clone();
        tasks.spawn("repair", repair::run(client.clone(), asked, answers, stopping.clone()));
        let state = read::start(&tasks, &connection, vec![streams.state.clone()], &metrics.read);
        let telling = tell::Inputs { words: judged, state };
        let telling = tell::run(jetstream::new(client), telling, metrics.tell, tasks.clone());
        tasks.spawn("telling", telling);
        if !files.is_empty() {
            tasks.spawn_finite(
                "loading of definitions",
                load::definitions(files, store, stopping.clone()),
            );
        }
        let clock = clock(&connection, &streams).await;
        let inputs = Inputs { batches, definitions, records: described, repaired, queries };
        Loop::new(hub, clock, outputs).run(inputs, stopping).await?;
        Ok(())
    }

    /// Waits until NATS is there, of a version that will do, and with the streams that we need.
    async fn until_streams(&self, readiness: &watch::Sender<Readiness>) -> Result<(), Error> {
        let context = jetstream::new(self.connection.client().clone());
        let mut backoff = Backoff::new(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        loop {
            while let Err(error) = self.connection.connected(CONNECT_WAIT).await {
                tracing::warn!(%error, "waiting for NATS");
                readiness.send_replace(Readiness::NotReady(error.to_string()));
            }
            let version = self.connection.check_server()?;
            let ensured = match check_strict(&context).await {
                Ok(()) => self.streams.ensure(&context).await,
                Err(error) => Err(error),
            };
            match ensured {
                Ok(()) => {
                    tracing::info!(%version, "connected to NATS; its streams are as they should be");
                    return Ok(());
                }
                Err(error @ (streams::Error::Differs { .. } | streams::Error::NotStrict)) => {
                    return Err(error.into());
                }
                Err(
                    error @ (streams::Error::Find { .. }
                    | streams::Error::Create { .. }
                    | streams::Error::Probe(_)),
                ) => {
                    let because = with_causes(&error);
                    tracing::warn!(error = because, "streams not made yet; trying again");
                    readiness.send_replace(Readiness::NotReady(because));
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

/// A clock that shows the broker's time before the first message: the stream's leader says what time it is.
async fn clock(connection: &Connection, streams: &Streams) -> BrokerClock {
    #[derive(serde::Deserialize)]
    struct Info {
        ts: Option<String>,
    }
    let wall = Time::from_unix_ms(SystemClock.unix_ms());
    let mut clock = BrokerClock::new(Instant::now(), wall);
    let Some(stream) = streams.objects.first() else { return clock };
    let context = jetstream::new(connection.client().clone());
    let subject = format!("STREAM.INFO.{}", stream.name);
    let info = context.request::<_, _, Info>(subject, &()).await;
    match info.map(|Info { ts }| ts.and_then(|at| at.parse::<jiff::Timestamp>().ok())) {
        Ok(Some(at)) => {
            clock.observe(Instant::now(), Time::from_unix_ms(at.as_millisecond()));
            tracing::info!(offset_ms = clock.offset_ms(), "our clock compared with the broker's");
        }
        Ok(None) => tracing::warn!("the broker does not say its time: ours is taken"),
        Err(error) => tracing::warn!(%error, "the broker's time not read: ours is taken at first"),
    }
    clock
}

/// Why the loop did not begin, or ended.
#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error(transparent)]
    Start(#[from] Error),
    #[error(transparent)]
    Unfed(#[from] crate::run::Unfed),
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
