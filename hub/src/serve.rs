//! gRPC, on one port: the services of `vitals.v1`, reflection, health, and gRPC-Web.
//!
//! On the path behind the view. [`Security`] says who may connect, [`limits`] how many streams there are, and
//! `error` is the one place where errors become gRPC codes.
//!
//! **Invariant:** an address that others can reach is never served without TLS and a token, unless somebody
//! said `--insecure`.

mod accept;
mod alert;
pub mod auth;
mod catalog;
mod cluster;
mod connections;
mod entity;
mod error;
pub mod limits;
mod object;
mod operators;
mod raw_watch;
mod security;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response};
use tonic_health::server::{HealthReporter, HealthService};
use tonic_web::GrpcWebLayer;
use tower::Layer as _;
use vitals_proto::DESCRIPTORS;
use vitals_proto::v1::alert_service_server::AlertServiceServer;
use vitals_proto::v1::catalog_service_server::CatalogServiceServer;
use vitals_proto::v1::cluster_service_server::ClusterServiceServer;
use vitals_proto::v1::entity_service_server::EntityServiceServer;
use vitals_proto::v1::object_service_server::ObjectServiceServer;
use vitals_runtime::http::Readiness;
use vitals_runtime::tasks::Tasks;

pub use cluster::{Clusters, Said};
pub use security::{Error as SecurityError, Security, SecurityArgs};

use crate::cluster_records;
use crate::definitions::Store;
use crate::drill::DrillDown;
use crate::history::History;
use crate::watch::Shared;
use accept::Acceptor;
use connections::Deadlines;
use error::Error as Refusal;
use limits::{Gate, Limits, PlaceLimits, Places};
use raw_watch::{Watches, WithWatches};

/// Most entries of a page, and how many there are where the client does not say.
const PAGE_MAX: u32 = 1_000;

/// Most bytes of a page, about: gRPC clients take 4 MiB at most unless told otherwise.
pub(crate) const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most trees that are watched: each is looked at again and again.
const TREES_MAX: usize = 256;

/// Whose health is said; the empty name is the hub as a whole.
const HEALTH_OF: [&str; 4] =
    ["", "vitals.v1.EntityService", "vitals.v1.ClusterService", "vitals.v1.ObjectService"];

/// Largest question for health, which anybody may ask: the name of a service. Bytes.
const HEALTH_BYTES_MAX: usize = 4 * 1024;

/// Room for other calls beside the streams of a connection.
const CALLS_PER_CONNECTION: usize = 100;

/// Why the port is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on. Final.
    #[error("cannot listen on {address} for gRPC")]
    Listen {
        /// As asked for.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Our own description of the services cannot be read: a bug.
    #[error("cannot serve reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// What is served.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Entities, and questions to the core.
    pub shared: Arc<Shared>,
    /// Clusters.
    pub clusters: watch::Receiver<Clusters>,
    /// Definitions.
    pub definitions: Arc<dyn Store>,
    /// What agents are asked.
    pub drill: Arc<DrillDown>,
    /// What operators say of clusters.
    pub records: Arc<dyn cluster_records::Store>,
    /// What was told.
    pub history: Arc<dyn History>,
}

/// A server that listens, and does not yet serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    security: Security,
    limits: Limits,
}

impl Server {
    /// Listens on the address of `security`, which was checked with it. Port 0 takes a free one.
    pub async fn listen(security: Security, limits: Limits) -> Result<Self, Error> {
        let address = security.listen;
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, security, limits })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown begins: then takes no more connections, ends the streams with UNAVAILABLE, answers
    /// what was asked, and ends.
    pub fn serve(self, sources: Sources, tasks: &Tasks) {
        let stopping = tasks.stopping();
        let Sources { shared, clusters, definitions, records, history, drill } = sources;
        let reporter = HealthReporter::new();
        let states = HealthService::from_health_reporter(reporter.clone());
        let readiness = shared.readiness.clone();
        tasks.spawn("gRPC health", report_health(reporter, readiness, stopping.clone()));
        let Self { listener, address: _, security, limits } = self;
        let tls = security.tls(tasks);
        let gate = Gate::new(limits, shared.metrics.clone());
        let trees = Arc::new(Semaphore::new(TREES_MAX));
        let entities = entity::Entities { shared: Arc::clone(&shared), trees, history };
        let watches = Watches { shared: Arc::clone(&shared), gate: Arc::clone(&gate) };
        let entities = WithWatches { inner: EntityServiceServer::new(entities), watches };
        let health = HealthReader { states, gate: Arc::clone(&gate), stopping: stopping.clone() };
        let health = HealthServer::new(health).max_decoding_message_size(HEALTH_BYTES_MAX);
        let objects =
            object::Objects { shared: Arc::clone(&shared), drill, gate: Arc::clone(&gate) };
        let objects = ObjectServiceServer::new(objects);
        let operators = operators::Operators {
            shared: Arc::clone(&shared),
            clusters: clusters.clone(),
            records,
        };
        let clusters = cluster::ClusterReader { clusters, gate, operators };
        let clusters = ClusterServiceServer::new(clusters);
        let catalog = CatalogServiceServer::new(catalog::Catalog { store: definitions });
        let auth = auth::AuthLayer { tokens: security.tokens, metrics: shared.metrics.clone() };
        let streams = limits.streams_per_connection.saturating_add(CALLS_PER_CONNECTION);
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        let serving = async move {
            let routes = Routes::new(entities)
                .add_service(clusters)
                .add_service(objects)
                .add_service(catalog)
                .add_service(AlertServiceServer::new(alert::Alerts))
                .add_service(health)
                .add_service(describe().build_v1().map_err(Error::Reflection)?)
                .add_service(describe().build_v1alpha().map_err(Error::Reflection)?)
                .prepare();
            let service = GrpcWebLayer::new().layer(Deadlines { inner: auth.layer(routes) });
            let places = Places::new(PlaceLimits::default());
            let connections = Acceptor::new(listener, tls, places).connections();
            connections::serve(connections, service, streams, stopping).await;
            Ok::<(), Error>(())
        };
        let stopping = tasks.stopping();
        let view = Arc::clone(&shared.view);
        tasks.spawn("end of streams", async move {
            stopping.cancelled().await;
            view.stop();
            Ok::<(), Error>(())
        });
        tasks.spawn("gRPC", serving);
    }
}

async fn report_health(
    reporter: HealthReporter,
    mut readiness: watch::Receiver<Readiness>,
    stopping: CancellationToken,
) -> Result<(), Error> {
    while !stopping.is_cancelled() {
        let status = match &*readiness.borrow_and_update() {
            Readiness::Ready => ServingStatus::Serving,
            Readiness::NotReady(_) => ServingStatus::NotServing,
        };
        say_health(&reporter, status).await;
        tokio::select! {
            () = stopping.cancelled() => {}
            changed = readiness.changed() => if changed.is_err() {
                stopping.cancelled().await;
            }
        }
    }
    say_health(&reporter, ServingStatus::NotServing).await;
    Ok(())
}

async fn say_health(reporter: &HealthReporter, status: ServingStatus) {
    for service in HEALTH_OF {
        reporter.set_service_status(service, status).await;
    }
}

/// Serves health: tonic's, but that its streams are counted, and end with the hub.
struct HealthReader {
    states: HealthService,
    gate: Arc<Gate>,
    stopping: CancellationToken,
}

#[tonic::async_trait]
impl Health for HealthReader {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.states.check(request).await
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let permit = self.gate.open(request.remote_addr()).map_err(Refusal::from)?;
        let states = self.states.watch(request).await?.into_inner();
        let status = health_check_response::ServingStatus::NotServing.into();
        let last = [
            Ok(HealthCheckResponse { status }),
            Err(Status::unavailable("the hub is stopping: watch again")),
        ];
        let states = states.take_until(self.stopping.clone().cancelled_owned());
        let states = states.chain(futures::stream::iter(last)).boxed();
        let counted = futures::stream::unfold((states, permit), async |(mut states, permit)| {
            let state = states.next().await?;
            Some((state, (states, permit)))
        });
        Ok(Response::new(counted.boxed()))
    }
}

/// What reflection says: our services, and health. (Old clients ask for it by its name of alpha times.)
fn describe() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn page_size(asked: u32) -> usize {
    let count = if asked == 0 { PAGE_MAX } else { asked.min(PAGE_MAX) };
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn unimplemented_stream<T>(
    method: &'static str,
) -> Result<Response<BoxStream<'static, Result<T, Status>>>, Status> {
    Err(Refusal::Unimplemented(method).into())
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "serve_bounds_tests.rs"]
mod bounds_tests;
