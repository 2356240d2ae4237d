//! The port, with real clients over real sockets, and a view that is fed by hand.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tonic::Code;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Serving;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use vitals_hub_core::{Position, StreamPoint, Time};
use vitals_proto::identity::EntityRef;
use vitals_proto::v1;
use vitals_proto::v1::catalog_service_client::CatalogServiceClient;
use vitals_proto::v1::entity_service_client::EntityServiceClient;
use vitals_proto::v1::object_service_client::ObjectServiceClient;
use vitals_proto::v1::watch_entities_response::Event;
use vitals_runtime::nats::{Connection, Identity, NatsArgs};
use vitals_runtime::tasks::{Lost, Supervisor};

use super::*;
use crate::definitions::{Definition, Listed, StoreError};
use crate::history;
use crate::metrics::ServeMetrics;
use crate::query::{Desk, MayResume, Query};
use crate::view::{Change, Moment, Outcome, View};

pub(super) const TOKEN: &str = "0123456789abcdef";
const DEADLINE: Duration = Duration::from_secs(20);

/// Keeps definitions in memory.
#[derive(Debug, Default)]
struct Memory(std::sync::Mutex<Listed>);

#[tonic::async_trait]
impl Store for Memory {
    async fn put(&self, definitions: Vec<Definition>) -> Result<u64, StoreError> {
        let mut listed = self.0.lock().unwrap();
        listed.definitions.extend(definitions.into_iter().map(|it| it.wire));
        listed.definitions.sort_by(|one, other| one.r#ref.cmp(&other.r#ref));
        listed.revision += 1;
        Ok(listed.revision)
    }

    async fn delete(&self, entities: Vec<EntityRef>) -> Result<u64, StoreError> {
        let mut listed = self.0.lock().unwrap();
        let is_meant =
            |it: &v1::EntityDefinition| entities.iter().any(|entity| entity.as_str() == it.r#ref);
        listed.definitions.retain(|definition| !is_meant(definition));
        Ok(listed.revision)
    }

    async fn list(&self) -> Result<Listed, StoreError> {
        Ok(self.0.lock().unwrap().clone())
    }
}

/// Of `component:default/past` one transition was told, of all others none.
#[derive(Debug)]
struct Told;

#[tonic::async_trait]
impl History for Told {
    async fn transitions(&self, asked: &history::Asked) -> Result<history::Page, history::Error> {
        let ever = asked.entity.name() == "past";
        let told = v1::HealthTransition { generation: asked.count as u64, ..Default::default() };
        let transitions = if ever { vec![told] } else { Vec::new() };
        Ok(history::Page { transitions, next: asked.before.map(|before| before - 1), ever })
    }
}

/// A hub that is served, and fed by hand.
pub(super) struct Hub {
    pub(super) address: SocketAddr,
    view: Arc<View>,
    readiness: watch::Sender<Readiness>,
    clusters: watch::Sender<Clusters>,
    pub(super) stopping: CancellationToken,
    pub(super) ended: tokio::task::JoinHandle<Result<(), Lost>>,
    _answers: tokio::task::JoinHandle<()>,
}

impl Hub {
    #[expect(
        clippy::disallowed_methods,
        reason = "in a test, a task that is lost fails what waits for it"
    )]
    pub(super) async fn start(security: Security, limits: Limits) -> Self {
        let (desk, queries) = Desk::new();
        let (readiness, ready) = watch::channel(Readiness::Ready);
        let (clusters, reader) = watch::channel(Clusters::default());
        let reader_of_records = reader.clone();
        let view = Arc::new(View::default());
        let metrics = ServeMetrics::default();
        let shared = Shared { view: Arc::clone(&view), desk, readiness: ready, metrics };
        let server = Server::listen(security, limits).await.unwrap();
        let address = server.address();
        let supervisor = Supervisor::new();
        let sources = Sources {
            shared: Arc::new(shared),
            clusters: reader.clone(),
            definitions: Arc::new(Memory::default()),
            drill: drill(reader, &supervisor.tasks()).await,
            records: operators::Operators::for_tests(reader_of_records).records,
            history: Arc::new(Told),
        };
        server.serve(sources, &supervisor.tasks());
        let stopping = CancellationToken::new();
        let stop = stopping.clone().cancelled_owned();
        let ended = tokio::spawn(async move { supervisor.run(stop, DEADLINE).await });
        let answers = tokio::spawn(answer(queries));
        Self { address, view, readiness, clusters, stopping, ended, _answers: answers }
    }

    pub(super) async fn plain() -> Self {
        Self::start(Security::loopback(0), Limits::default()).await
    }

    fn say(&self, name: &str, sequence: u64) {
        let point = StreamPoint { stream: "S".into(), incarnation_unix_ns: 1, sequence };
        let touched = Position::at(&point);
        let state = v1::Entity {
            r#ref: format!("component:default/{name}"),
            revision: Some(touched.to_wire()),
            digest: sequence,
            ..Default::default()
        };
        let entity = name.parse().unwrap();
        let outcome = Outcome::Changed(Arc::new(state));
        let change = Change { entity, touched: touched.clone(), outcome };
        self.view
            .publish(vec![change], Moment { position: touched, as_of: Time::from_unix_s(1_000) });
    }

    pub(super) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }
}

/// Over a connection that never stands: nobody listens at the port.
async fn drill(clusters: watch::Receiver<Clusters>, tasks: &Tasks) -> Arc<DrillDown> {
    let nowhere = NatsArgs::plain("nats://127.0.0.1:1".parse().unwrap());
    let identity = Identity { name: "test".into(), inbox_prefix: "_INBOX_test".into() };
    let connection = Connection::open(&nowhere, identity).await.unwrap();
    let client = connection.client().clone();
    DrillDown::new(client, clusters, tasks.clone(), Default::default())
}

/// Resumes are served; no object is known.
async fn answer(mut queries: mpsc::Receiver<Query>) {
    while let Some(query) = queries.recv().await {
        match query {
            Query::MayResume { answer, .. } => drop(answer.send(MayResume::Serve)),
            Query::Tree { answer, .. } => drop(answer.send(None)),
            Query::Explain { answer, .. } => drop(answer.send(None)),
            Query::Objects { answer, .. } => drop(answer.send(Default::default())),
            Query::Forgetting { cluster, answer } => {
                drop(answer.send(Err(vitals_hub_core::NotForgettable::Unknown(cluster))));
            }
        }
    }
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

async fn next(steps: &mut tonic::Streaming<v1::WatchEntitiesResponse>) -> Result<Event, Status> {
    let step = within(steps.message()).await?;
    Ok(step.expect("a step").event.expect("an event"))
}

#[tokio::test]
async fn a_client_watches_is_cut_and_resumes() {
    let hub = Hub::plain().await;
    hub.say("a", 1);
    let mut client = EntityServiceClient::new(hub.channel().await);
    let request = v1::WatchEntitiesRequest::default();
    let mut steps = client.watch_entities(request.clone()).await.unwrap().into_inner();
    assert!(matches!(next(&mut steps).await, Ok(Event::Snapshot(it)) if it.reason.is_empty()));
    assert!(
        matches!(next(&mut steps).await, Ok(Event::Upsert(it)) if it.r#ref == "component:default/a")
    );
    let Ok(Event::Synced(synced)) = next(&mut steps).await else { panic!("not synced") };
    assert_eq!((synced.count, synced.digest), (1, 1));
    hub.say("b", 2);
    assert!(matches!(next(&mut steps).await, Ok(Event::Upsert(it)) if it.digest == 2));
    drop(steps);
    let resume = v1::WatchEntitiesRequest { resume_token: synced.token, ..request };
    let mut steps = client.watch_entities(resume).await.unwrap().into_inner();
    assert!(matches!(next(&mut steps).await, Ok(Event::Resumed(_))));
    // What was touched at the token is said again, what was touched before is not.
    assert!(matches!(next(&mut steps).await, Ok(Event::Upsert(it)) if it.digest == 1));
    assert!(matches!(next(&mut steps).await, Ok(Event::Upsert(it)) if it.digest == 2));
    assert!(
        matches!(next(&mut steps).await, Ok(Event::Synced(it)) if (it.count, it.digest) == (2, 3))
    );
}

#[tokio::test]
async fn pages_hold_all_entities_in_order_and_none_twice() {
    let hub = Hub::plain().await;
    for (sequence, name) in (1..).zip(["d", "a", "c", "b", "e"]) {
        hub.say(name, sequence);
    }
    let mut client = EntityServiceClient::new(hub.channel().await);
    let (mut refs, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListEntitiesRequest { page_size: 2, page_token, ..Default::default() };
        let page = within(client.list_entities(request)).await.unwrap().into_inner();
        refs.extend(
            page.entities.into_iter().map(|it| it.r#ref.rsplit('/').next().unwrap().to_owned()),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(refs, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn an_entity_that_never_was_is_told_from_one_of_which_nothing_was_told() {
    let hub = Hub::plain().await;
    hub.say("present", 1);
    let mut client = EntityServiceClient::new(hub.channel().await);
    let at = |unix_s| Some(Time::from_unix_s(unix_s).to_wire());
    let ask = |name: &str| v1::ListTransitionsRequest { r#ref: name.into(), ..Default::default() };
    for (case, request, want) in [
        ("nothing told yet", ask("present"), Ok((0, 0))),
        ("gone, and told of", ask("past"), Ok((1, 100))),
        (
            "as many as asked",
            v1::ListTransitionsRequest { page_size: 7, ..ask("past") },
            Ok((1, 7)),
        ),
        (
            "more than a page",
            v1::ListTransitionsRequest { page_size: 9_999, ..ask("past") },
            Ok((1, 1_000)),
        ),
        ("never was", ask("never"), Err(Code::NotFound)),
        ("no reference", ask("a b"), Err(Code::InvalidArgument)),
        (
            "no token",
            v1::ListTransitionsRequest { page_token: "x".into(), ..ask("past") },
            Err(Code::InvalidArgument),
        ),
        (
            "no time between",
            v1::ListTransitionsRequest { since: at(2), until: at(2), ..ask("past") },
            Err(Code::InvalidArgument),
        ),
    ] {
        let answer = within(client.list_transitions(request)).await;
        let got = answer.map(|answer| {
            let transitions = answer.into_inner().transitions;
            (transitions.len(), transitions.first().map_or(0, |it| it.generation))
        });
        assert_eq!(got.map_err(|status| status.code()), want, "{case}");
    }
    let paged = v1::ListTransitionsRequest { page_token: "9".into(), ..ask("past") };
    let answer = within(client.list_transitions(paged)).await.unwrap().into_inner();
    assert_eq!(answer.next_page_token, "8");
}

#[tokio::test]
async fn errors_have_their_codes_and_say_what_to_do() {
    let hub = Hub::plain().await;
    let channel = hub.channel().await;
    let mut entities = EntityServiceClient::new(channel.clone());
    let get = |name: &str| v1::GetEntityRequest { r#ref: name.into() };
    let status = entities.get_entity(get("shop")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(
        status.message(),
        "there is no entity component:default/shop: it is neither registered nor seen in any cluster"
    );
    let status = entities.get_entity(get("a b")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = entities.list_changes(v1::ListChangesRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "ListChanges is not served by this version of the hub");
    let mut objects = ObjectServiceClient::new(channel.clone());
    let request = v1::ListObjectsRequest { page_token: "x".into(), ..Default::default() };
    assert_eq!(objects.list_objects(request).await.unwrap_err().code(), Code::InvalidArgument);
    let request = v1::GetObjectRequest::default();
    let status = objects.get_object(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "name the object"));
    let object = v1::ObjectRef {
        cluster: "nowhere".into(),
        kind: "deployments.apps".into(),
        namespace: "shop".into(),
        name: "web".into(),
    };
    let request = v1::StreamLogsRequest { pod: Some(object.clone()), ..Default::default() };
    let status = objects.stream_logs(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("name one of its pods"), "{status}");
    let request = v1::ListEventsRequest { object: Some(object.clone()) };
    let status = objects.list_events(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "it has not read which clusters there are");
    hub.clusters.send_replace(Clusters::Read(Arc::default()));
    let status = objects.list_events(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("knows no cluster nowhere"), "{status}");
    let mut catalog = CatalogServiceClient::new(channel);
    let define = |name: &str| v1::EntityDefinition { r#ref: name.into(), ..Default::default() };
    let definitions = vec![define("shop"), define("a b")];
    let status =
        catalog.put_definitions(v1::PutDefinitionsRequest { definitions }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("\"a b\""), "{status}");
    let listed = catalog.list_definitions(v1::ListDefinitionsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().definitions, [], "all are taken or none");
    hub.readiness.send_replace(Readiness::NotReady("reading VITALS_OBJECTS".into()));
    let status = entities.get_entity(get("shop")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("reading VITALS_OBJECTS"), "{status}");
    let status = objects.list_objects(v1::ListObjectsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "a part is not given as the whole");
}

#[tokio::test]
async fn definitions_are_put_listed_in_pages_and_deleted() {
    let hub = Hub::plain().await;
    let mut catalog = CatalogServiceClient::new(hub.channel().await);
    let define = |name: &str| v1::EntityDefinition { r#ref: name.into(), ..Default::default() };
    let definitions = vec![define("c"), define("a"), define("api:b")];
    let put = catalog.put_definitions(v1::PutDefinitionsRequest { definitions }).await.unwrap();
    assert_eq!(put.into_inner().revision, 1);
    let request = v1::ListDefinitionsRequest { page_size: 2, page_token: String::new() };
    let page = catalog.list_definitions(request).await.unwrap().into_inner();
    let refs = |page: &v1::ListDefinitionsResponse| {
        page.definitions.iter().map(|it| it.r#ref.clone()).collect::<Vec<_>>()
    };
    assert_eq!(refs(&page), ["api:default/b", "component:default/a"]);
    let delete = v1::DeleteDefinitionsRequest { refs: vec!["a".into(), "none".into()] };
    catalog.delete_definitions(delete).await.unwrap();
    let request = v1::ListDefinitionsRequest { page_size: 2, page_token: page.next_page_token };
    let page = catalog.list_definitions(request).await.unwrap().into_inner();
    assert_eq!(refs(&page), ["component:default/c"]);
}

/// TLS with a certificate of our own, made on the spot, and one token.
pub(super) fn secure(folder: &Path) -> (Security, Certificate) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let args = SecurityArgs {
        listen: ([127, 0, 0, 1], 0).into(),
        tls_cert: Some(certificate),
        tls_key: Some(key),
        tls_client_ca: None,
        token_file: None,
        token: Some(TOKEN.parse().unwrap()),
        insecure: false,
    };
    (Security::new(args).unwrap(), Certificate::from_pem(made.cert.pem()))
}

#[tokio::test]
async fn over_tls_a_token_is_needed_for_all_but_health() {
    let folder = tempfile::tempdir().unwrap();
    let (security, root) = secure(folder.path());
    let hub = Hub::start(security, Limits::default()).await;
    hub.say("shop", 1);
    let tls = ClientTlsConfig::new().ca_certificate(root).domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", hub.address)).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    for (token, want) in [
        (None, Code::Unauthenticated),
        (Some("Bearer 0123456789abcdeX"), Code::Unauthenticated),
        (Some("Bearer 0123456789abcdef"), Code::Ok),
    ] {
        let bearer = move |mut request: tonic::Request<()>| {
            if let Some(token) = token {
                let token = MetadataValue::try_from(token).unwrap();
                request.metadata_mut().insert("authorization", token);
            }
            Ok(request)
        };
        let mut entities = EntityServiceClient::with_interceptor(channel.clone(), bearer);
        let get = v1::GetEntityRequest { r#ref: "shop".into() };
        let code =
            |result: Result<(), Status>| result.map_or_else(|status| status.code(), |()| Code::Ok);
        assert_eq!(code(entities.get_entity(get).await.map(drop)), want, "{token:?}");
        let watch = entities.watch_entities(v1::WatchEntitiesRequest::default()).await;
        assert_eq!(code(watch.map(drop)), want, "{token:?}");
        let mut reflection = ServerReflectionClient::with_interceptor(channel.clone(), bearer);
        let listed = services(&mut reflection).await;
        assert_eq!(code(listed.as_ref().map(drop).map_err(Status::clone)), want, "{token:?}");
        if let Ok(services) = listed {
            for service in
                ["vitals.v1.EntityService", "vitals.v1.AlertService", "grpc.health.v1.Health"]
            {
                assert!(services.contains(&service.to_owned()), "{services:?}");
            }
        }
    }
    let mut health = HealthClient::new(channel);
    let check = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(check.into_inner().status(), Serving::Serving);
}

async fn services<T>(client: &mut ServerReflectionClient<T>) -> Result<Vec<String>, Status>
where
    T: tonic::client::GrpcService<tonic::body::Body>,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error:
        Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = client.server_reflection_info(futures::stream::iter([request])).await?;
    let answer = answers.into_inner().message().await?.expect("an answer");
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else {
        panic!("another answer");
    };
    Ok(listed.service.into_iter().map(|service| service.name).collect())
}

#[tokio::test]
async fn health_follows_readiness() {
    let hub = Hub::plain().await;
    let mut health = HealthClient::new(hub.channel().await);
    let request = HealthCheckRequest { service: "vitals.v1.EntityService".into() };
    let mut states = within(health.watch(request)).await.unwrap().into_inner();
    let mut wait_for = async |want: Serving| {
        while within(states.message()).await.unwrap().unwrap().status() != want {}
    };
    wait_for(Serving::Serving).await;
    hub.readiness.send_replace(Readiness::NotReady("cut".into()));
    wait_for(Serving::NotServing).await;
}

#[tokio::test]
async fn grpc_web_over_http_1_gets_frames_and_trailers_in_the_body() {
    let hub = Hub::plain().await;
    hub.say("shop", 7);
    use prost::Message as _;
    let message = v1::GetEntityRequest { r#ref: "shop".into() }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0][..], &length, &message].concat();
    let head = format!(
        "POST /vitals.v1.EntityService/GetEntity HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/grpc-web+proto\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(hub.address).await.unwrap();
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("component:default/shop"), "{answer}");
    assert!(answer.contains("grpc-status:0"), "{answer}");
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_others_go_on() {
    let limits = Limits { streams_per_connection: 1, streams: 2 };
    let hub = Hub::start(Security::loopback(0), limits).await;
    let mut first = EntityServiceClient::new(hub.channel().await);
    let mut second = EntityServiceClient::new(hub.channel().await);
    let mut third = EntityServiceClient::new(hub.channel().await);
    let watch = async |client: &mut EntityServiceClient<Channel>| {
        within(client.watch_entities(v1::WatchEntitiesRequest::default())).await
    };
    let mut steps = watch(&mut first).await.unwrap().into_inner();
    let status = watch(&mut first).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("this connection has 1 streams open"), "{status}");
    let second = watch(&mut second).await.unwrap();
    let status = watch(&mut third).await.unwrap_err();
    assert!(status.message().contains("this hub has 2 streams open"), "{status}");
    assert!(matches!(next(&mut steps).await, Ok(Event::Snapshot(_))));
    drop(second);
    let retried = async {
        loop {
            match watch(&mut third).await {
                Ok(steps) => return steps,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    within(retried).await;
}

#[tokio::test]
async fn shutdown_ends_streams_with_a_sentence_and_then_itself() {
    let hub = Hub::plain().await;
    let mut client = EntityServiceClient::new(hub.channel().await);
    let request = v1::WatchEntitiesRequest::default();
    let mut steps = client.watch_entities(request).await.unwrap().into_inner();
    assert!(matches!(next(&mut steps).await, Ok(Event::Snapshot(_))));
    assert!(matches!(next(&mut steps).await, Ok(Event::Synced(_))));
    hub.stopping.cancel();
    let status = next(&mut steps).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("the hub is stopping"), "{status}");
    within(hub.ended).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(hub.address).await.is_err(), "nobody listens any more");
}
