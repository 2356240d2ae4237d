//! A hub of set answers, on a free port, for the tests of the commands.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt as _, stream};
use prost::bytes::Bytes;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, async_trait};
use vitals_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use vitals_proto::v1::entity_service_server::{EntityService, EntityServiceServer};
use vitals_proto::v1::object_service_server::{ObjectService, ObjectServiceServer};
use vitals_proto::v1::*;

use crate::args::HubArgs;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the hub answers.
#[derive(Clone, Default)]
pub(super) struct FakeHub {
    pub(super) entities: Vec<Entity>,
    pub(super) tree: GetEntityTreeResponse,
    pub(super) explanation: ExplainObjectResponse,
    pub(super) clusters: Vec<Cluster>,
    /// What each log has, by the name of its pod.
    pub(super) logs: BTreeMap<String, Vec<StreamLogsResponse>>,
    /// What was asked of logs.
    pub(super) log_requests: Arc<Mutex<Vec<StreamLogsRequest>>>,
    /// The events of each object, by its name.
    pub(super) events: BTreeMap<String, ListEventsResponse>,
    /// The object as its API server has it.
    pub(super) raw: GetObjectResponse,
    /// What was told, of one entity, the newest first.
    pub(super) history: Vec<HealthTransition>,
    /// The filters with which entities were listed.
    pub(super) filters: Arc<Mutex<Vec<EntityFilter>>>,
    /// The steps of each watch, in the order in which they are opened. After its steps a watch breaks.
    pub(super) watches: Arc<Mutex<VecDeque<Vec<watch_entities_response::Event>>>>,
    /// The tokens with which watches were opened.
    pub(super) tokens: Arc<Mutex<Vec<Bytes>>>,
    /// What a caller must say in `authorization`.
    pub(super) authorization: Option<&'static str>,
    /// With which certificate it speaks TLS, and with which key; without TLS where there is none.
    pub(super) identity: Option<(String, String)>,
}

/// Entities on a page, to see that all pages are asked for.
const PAGE: usize = 2;

impl FakeHub {
    /// Serves until the test ends.
    pub(super) async fn serve(self) -> HubArgs {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if self.identity.is_some() { "https" } else { "http" };
        let hub = format!("{scheme}://{}", listener.local_addr().unwrap());
        let wanted = self.authorization;
        let check = move |request: Request<()>| {
            let said = request.metadata().get("authorization").and_then(|it| it.to_str().ok());
            match wanted {
                Some(wanted) if said != Some(wanted) => Err(Status::unauthenticated("no token")),
                _ => Ok(request),
            }
        };
        let mut server = tonic::transport::Server::builder();
        if let Some((certificate, key)) = &self.identity {
            let identity = Identity::from_pem(certificate, key);
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        let server = server
            .add_service(EntityServiceServer::with_interceptor(self.clone(), check))
            .add_service(ObjectServiceServer::with_interceptor(self.clone(), check))
            .add_service(ClusterServiceServer::with_interceptor(self, check))
            .serve_with_incoming(TcpListenerStream::new(listener));
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(server);
        HubArgs { hub, ..HubArgs::default() }
    }
}

fn none<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not by the fake"))
}

#[async_trait]
impl EntityService for FakeHub {
    async fn get_entity(
        &self,
        request: Request<GetEntityRequest>,
    ) -> Result<Response<GetEntityResponse>, Status> {
        let wanted = request.into_inner().r#ref;
        let found = self.entities.iter().find(|entity| entity.r#ref == wanted);
        let entity = found.cloned().ok_or_else(|| Status::not_found("no such entity"))?;
        Ok(Response::new(GetEntityResponse { entity: Some(entity) }))
    }

    async fn list_entities(
        &self,
        request: Request<ListEntitiesRequest>,
    ) -> Result<Response<ListEntitiesResponse>, Status> {
        let ListEntitiesRequest { filter, page_token, .. } = request.into_inner();
        let filter = filter.unwrap_or_default();
        self.filters.lock().unwrap_or_else(PoisonError::into_inner).push(filter.clone());
        let refs = filter.refs;
        let passes = |entity: &&Entity| refs.is_empty() || refs.contains(&entity.r#ref);
        let start: usize = page_token.parse().unwrap_or_default();
        let passing = self.entities.iter().filter(passes).skip(start);
        let mut entities: Vec<Entity> = passing.take(PAGE + 1).cloned().collect();
        let is_last = entities.len() <= PAGE;
        entities.truncate(PAGE);
        let next_page_token = if is_last { String::new() } else { (start + PAGE).to_string() };
        Ok(Response::new(ListEntitiesResponse { entities, next_page_token }))
    }

    type WatchEntitiesStream = Answers<WatchEntitiesResponse>;

    async fn watch_entities(
        &self,
        request: Request<WatchEntitiesRequest>,
    ) -> Result<Response<Self::WatchEntitiesStream>, Status> {
        let token = request.into_inner().resume_token;
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        let steps = self.watches.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let steps = steps.ok_or_else(|| Status::new(Code::PermissionDenied, "end of the test"))?;
        let steps = steps.into_iter().map(|event| Ok(WatchEntitiesResponse { event: Some(event) }));
        let broken = stream::once(async { Err(Status::unavailable("gone")) });
        Ok(Response::new(stream::iter(steps).chain(broken).boxed()))
    }

    async fn get_entity_tree(
        &self,
        _request: Request<GetEntityTreeRequest>,
    ) -> Result<Response<GetEntityTreeResponse>, Status> {
        if self.tree == GetEntityTreeResponse::default() {
            return Err(Status::not_found("no such entity"));
        }
        Ok(Response::new(self.tree.clone()))
    }

    type WatchEntityTreeStream = Answers<WatchEntityTreeResponse>;

    async fn watch_entity_tree(
        &self,
        _request: Request<WatchEntityTreeRequest>,
    ) -> Result<Response<Self::WatchEntityTreeStream>, Status> {
        none()
    }

    type WatchRolloutStream = Answers<WatchRolloutResponse>;

    async fn watch_rollout(
        &self,
        _request: Request<WatchRolloutRequest>,
    ) -> Result<Response<Self::WatchRolloutStream>, Status> {
        none()
    }

    async fn list_transitions(
        &self,
        request: Request<ListTransitionsRequest>,
    ) -> Result<Response<ListTransitionsResponse>, Status> {
        let ListTransitionsRequest { r#ref, page_token, since, page_size, .. } =
            request.into_inner();
        if self.history.iter().all(|told| told.entity != r#ref) {
            return Err(Status::not_found("no such entity"));
        }
        let seconds = |at: &prost_types::Timestamp| at.seconds;
        let is_meant =
            |told: &&HealthTransition| told.at.as_ref().map(seconds) >= since.as_ref().map(seconds);
        let start: usize = page_token.parse().unwrap_or_default();
        let count = PAGE.min(usize::try_from(page_size).unwrap_or(PAGE));
        let mut rest = self.history.iter().filter(is_meant).skip(start).peekable();
        let transitions: Vec<_> = rest.by_ref().take(count).cloned().collect();
        let next = rest.peek().map(|_| (start + count).to_string());
        let next_page_token = next.unwrap_or_default();
        Ok(Response::new(ListTransitionsResponse { transitions, next_page_token }))
    }

    async fn list_changes(
        &self,
        _request: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        none()
    }

    async fn get_availability(
        &self,
        _request: Request<GetAvailabilityRequest>,
    ) -> Result<Response<GetAvailabilityResponse>, Status> {
        none()
    }

    async fn explain_object(
        &self,
        request: Request<ExplainObjectRequest>,
    ) -> Result<Response<ExplainObjectResponse>, Status> {
        let object = request.into_inner().object.unwrap_or_default();
        if object.name == "nothing" {
            return Err(Status::not_found("no such object"));
        }
        Ok(Response::new(self.explanation.clone()))
    }
}

#[async_trait]
impl ClusterService for FakeHub {
    async fn list_clusters(
        &self,
        _request: Request<ListClustersRequest>,
    ) -> Result<Response<ListClustersResponse>, Status> {
        Ok(Response::new(ListClustersResponse { clusters: self.clusters.clone() }))
    }

    async fn set_cluster_labels(
        &self,
        request: Request<SetClusterLabelsRequest>,
    ) -> Result<Response<SetClusterLabelsResponse>, Status> {
        let SetClusterLabelsRequest { name, set, .. } = request.into_inner();
        if self.clusters.iter().all(|cluster| cluster.name != name) {
            return Err(Status::not_found("no such cluster"));
        }
        Ok(Response::new(SetClusterLabelsResponse { labels: set }))
    }

    /// All of them are alive.
    async fn forget_cluster(
        &self,
        request: Request<ForgetClusterRequest>,
    ) -> Result<Response<ForgetClusterResponse>, Status> {
        let ForgetClusterRequest { name, force } = request.into_inner();
        if self.clusters.iter().all(|cluster| cluster.name != name) {
            return Err(Status::not_found("no such cluster"));
        }
        if !force {
            return Err(Status::failed_precondition("it may be alive; by force it is forgotten"));
        }
        Ok(Response::new(ForgetClusterResponse { objects: 42 }))
    }

    type WatchClustersStream = Answers<WatchClustersResponse>;

    async fn watch_clusters(
        &self,
        _request: Request<WatchClustersRequest>,
    ) -> Result<Response<Self::WatchClustersStream>, Status> {
        none()
    }
}

#[async_trait]
impl ObjectService for FakeHub {
    async fn get_object(
        &self,
        _request: Request<GetObjectRequest>,
    ) -> Result<Response<GetObjectResponse>, Status> {
        if self.raw.json.is_empty() {
            return Err(Status::failed_precondition("start it with\x07 --allow-raw-objects"));
        }
        Ok(Response::new(self.raw.clone()))
    }

    async fn list_objects(
        &self,
        _request: Request<ListObjectsRequest>,
    ) -> Result<Response<ListObjectsResponse>, Status> {
        none()
    }

    type WatchObjectsStream = Answers<WatchObjectsResponse>;

    async fn watch_objects(
        &self,
        _request: Request<WatchObjectsRequest>,
    ) -> Result<Response<Self::WatchObjectsStream>, Status> {
        none()
    }

    type StreamLogsStream = Answers<StreamLogsResponse>;

    async fn stream_logs(
        &self,
        request: Request<StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let request = request.into_inner();
        let name = request.pod.clone().unwrap_or_default().name;
        self.log_requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let log = self.logs.get(&name).cloned();
        let log =
            log.ok_or_else(|| Status::unavailable("no agent of cluster eu-1 can be asked"))?;
        Ok(Response::new(stream::iter(log.into_iter().map(Ok)).boxed()))
    }

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let name = request.into_inner().object.unwrap_or_default().name;
        Ok(Response::new(self.events.get(&name).cloned().unwrap_or_default()))
    }
}
