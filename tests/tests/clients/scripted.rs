//! A hub that says what it is told to, and notes what it is asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};
use vitals_proto::v1::entity_service_server::{EntityService, EntityServiceServer};
use vitals_proto::v1::watch_entities_response::Event;
use vitals_proto::v1::*;
use vitals_tests::port::Port;

/// What is said in one watch, and how that ends.
pub(crate) struct Watch {
    pub(crate) events: Vec<Event>,
    pub(crate) end: Status,
}

/// It runs until it is dropped.
pub(crate) struct ScriptedHub {
    port: Port,
    asked: Arc<Mutex<Vec<WatchEntitiesRequest>>>,
    task: JoinHandle<()>,
}

impl ScriptedHub {
    #[expect(clippy::disallowed_methods, reason = "a task of a test ends with the test")]
    pub(crate) fn start(script: Vec<Watch>) -> Result<Self> {
        let port = Port::claim()?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let service = Service { script: Mutex::new(script.into()), asked: Arc::clone(&asked) };
        let server = tonic::transport::Server::builder()
            .add_service(EntityServiceServer::new(service))
            .serve(port.address());
        let task = tokio::spawn(async move { server.await.expect("the port is ours") });
        Ok(Self { port, asked, task })
    }

    pub(crate) fn address(&self) -> String {
        self.port.address().to_string()
    }

    /// What was asked, in order.
    pub(crate) fn asked(&self) -> Vec<WatchEntitiesRequest> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for ScriptedHub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Service {
    script: Mutex<VecDeque<Watch>>,
    asked: Arc<Mutex<Vec<WatchEntitiesRequest>>>,
}

type Answer<T> = Result<Response<T>, Status>;

fn unscripted<T>() -> Answer<T> {
    Err(Status::unimplemented("not in the script"))
}

#[tonic::async_trait]
impl EntityService for Service {
    type WatchEntitiesStream = BoxStream<'static, Result<WatchEntitiesResponse, Status>>;

    async fn watch_entities(
        &self,
        request: Request<WatchEntitiesRequest>,
    ) -> Answer<Self::WatchEntitiesStream> {
        self.asked.lock().unwrap().push(request.into_inner());
        let next = self.script.lock().unwrap().pop_front();
        let Some(Watch { events, end }) = next else { return unscripted() };
        let steps =
            events.into_iter().map(|event| Ok(WatchEntitiesResponse { event: Some(event) }));
        Ok(Response::new(stream::iter(steps).chain(stream::iter([Err(end)])).boxed()))
    }

    type WatchEntityTreeStream = BoxStream<'static, Result<WatchEntityTreeResponse, Status>>;
    type WatchRolloutStream = BoxStream<'static, Result<WatchRolloutResponse, Status>>;

    async fn get_entity(&self, _: Request<GetEntityRequest>) -> Answer<GetEntityResponse> {
        unscripted()
    }

    async fn list_entities(&self, _: Request<ListEntitiesRequest>) -> Answer<ListEntitiesResponse> {
        unscripted()
    }

    async fn get_entity_tree(
        &self,
        _: Request<GetEntityTreeRequest>,
    ) -> Answer<GetEntityTreeResponse> {
        unscripted()
    }

    async fn watch_entity_tree(
        &self,
        _: Request<WatchEntityTreeRequest>,
    ) -> Answer<Self::WatchEntityTreeStream> {
        unscripted()
    }

    async fn watch_rollout(
        &self,
        _: Request<WatchRolloutRequest>,
    ) -> Answer<Self::WatchRolloutStream> {
        unscripted()
    }

    async fn list_transitions(
        &self,
        _: Request<ListTransitionsRequest>,
    ) -> Answer<ListTransitionsResponse> {
        unscripted()
    }

    async fn list_changes(&self, _: Request<ListChangesRequest>) -> Answer<ListChangesResponse> {
        unscripted()
    }

    async fn get_availability(
        &self,
        _: Request<GetAvailabilityRequest>,
    ) -> Answer<GetAvailabilityResponse> {
        unscripted()
    }

    async fn explain_object(
        &self,
        _: Request<ExplainObjectRequest>,
    ) -> Answer<ExplainObjectResponse> {
        unscripted()
    }
}

/// A snapshot begins.
pub(crate) fn snapshot(reason: &str) -> Event {
    Event::Snapshot(SnapshotBegin { reason: reason.to_owned() })
}

/// An entity with this digest.
pub(crate) fn upsert(name: &str, status: HealthStatus, digest: u64) -> Event {
    let verdict = Verdict { status: status.into(), ..Verdict::default() };
    let r#ref = format!("component:default/{name}");
    Event::Upsert(Entity { r#ref, verdict: Some(verdict), digest, ..Entity::default() })
}

/// An entity is gone.
pub(crate) fn removed(name: &str) -> Event {
    Event::Removed(EntityRemoved { r#ref: format!("component:default/{name}"), revision: None })
}

/// The view should have this count and digest.
pub(crate) fn synced(token: &'static str, count: u64, digest: u64) -> Event {
    Event::Synced(Synced { token: Bytes::from_static(token.as_bytes()), count, digest })
}

/// Silence.
pub(crate) fn progress(token: &'static str) -> Event {
    let as_of = Some(prost_types::Timestamp { seconds: 1_795_000_000, nanos: 0 });
    Event::Progress(Progress { token: Bytes::from_static(token.as_bytes()), as_of })
}
