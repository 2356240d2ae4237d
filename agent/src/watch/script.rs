//! An API server for tests whose every answer the test writes. It lives in the process, below the client, so that time can
//! be paused: nothing depends on a machine's speed.

use std::{convert::Infallible, future::Future, pin::Pin, task};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use vitals_proto::kind::Kind;

use super::{Relist, Settings, WatchItem, Watched, Watcher};

type AnyError = Box<dyn std::error::Error + Send + Sync>;
type AnyBody = UnsyncBoxBody<Bytes, AnyError>;

/// A watch of Pods against a scripted server.
pub(super) struct Bench {
    pub(super) asked: mpsc::Receiver<Asked>,
    pub(super) items: mpsc::Receiver<Watched>,
    pub(super) relist: Relist,
    /// Ends the watch when dropped.
    _watch: JoinSet<()>,
}

/// A request that waits for its answer.
pub(super) struct Asked {
    /// Path and query.
    pub(super) path: String,
    answer: oneshot::Sender<Response<AnyBody>>,
}

/// An answer that goes on; dropped, it ends well.
pub(super) struct Stream(mpsc::Sender<Result<Frame<Bytes>, AnyError>>);

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Settings::default(), 64)
    }

    pub(super) fn with(settings: Settings, queue: usize) -> Self {
        Self::of(Kind::Pod, settings, queue)
    }

    /// Of another kind.
    pub(super) fn of(kind: Kind, settings: Settings, queue: usize) -> Self {
        let (asks, asked) = mpsc::channel(8);
        let client = kube::Client::new(Service(asks), "default");
        let watcher = Watcher::new(client, kind, settings).expect("a kind that is known");
        let relist = watcher.relist();
        let (send, items) = mpsc::channel(queue);
        let mut watch = JoinSet::new();
        watch.spawn(watcher.run(send));
        Self { asked, items, relist, _watch: watch }
    }

    /// The next request, which must contain `part`.
    pub(super) async fn asked(&mut self, part: &str) -> Asked {
        let asked = self.asked.recv().await.expect("the watch runs");
        assert!(asked.path.contains(part), "asked {}, expected {part}", asked.path);
        asked
    }

    /// No request waits.
    pub(super) fn asks_nothing(&mut self) -> bool {
        self.asked.try_recv().is_err()
    }

    /// The next item, as text.
    pub(super) async fn item(&mut self) -> String {
        text(self.items.recv().await.expect("the watch runs").item)
    }

    /// The next items, as text.
    pub(super) async fn expect(&mut self, items: &[&str]) {
        for (index, expected) in items.iter().enumerate() {
            assert_eq!(self.item().await, *expected, "item {index} of {items:?}");
        }
    }

    /// Answers the first, streaming list with `pods` and the version `version`, and gives the stream.
    pub(super) async fn listed(&mut self, version: u64, pods: &[(&str, u64)]) -> Stream {
        self.asked("?limit=1").await.page(version, &[], None);
        let mut stream = self.asked("sendInitialEvents=true").await.stream();
        for (name, version) in pods {
            stream.event("ADDED", name, *version).await;
        }
        stream.end_of_list(version).await;
        let started = format!("list {version}");
        let mut items = vec!["Listing".to_owned(), started];
        items.extend(pods.iter().map(|(name, version)| format!("listed {name}@{version}")));
        items.extend([format!("end {version}"), "Live".to_owned()]);
        self.expect(&items.iter().map(String::as_str).collect::<Vec<_>>()).await;
        stream
    }
}

impl Asked {
    /// The watch has not given up on it.
    pub(super) fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }

    pub(super) fn json(self, status: u16, body: &Value) {
        self.respond(status, None, body.to_string());
    }

    /// A `metav1.Status`.
    pub(super) fn refuse(self, status: u16) {
        self.json(
            status,
            &json!({"kind": "Status", "code": status, "message": format!("no: {status}")}),
        );
    }

    pub(super) fn throttle(self, status: u16, retry_after_s: u64) {
        self.respond(status, Some(retry_after_s), String::new());
    }

    /// A page of a list.
    pub(super) fn page(self, version: u64, pods: &[(&str, u64)], token: Option<&str>) {
        let items: Vec<_> = pods.iter().map(|(name, version)| pod(name, *version)).collect();
        let metadata = json!({"resourceVersion": version.to_string(), "continue": token});
        self.json(200, &json!({"kind": "PodList", "metadata": metadata, "items": items}));
    }

    pub(super) fn stream(self) -> Stream {
        let (send, receive) = mpsc::channel(64);
        let frames = futures::stream::unfold(receive, |mut receive| async move {
            let frame = receive.recv().await?;
            Some((frame, receive))
        });
        let answer = Response::new(StreamBody::new(frames).boxed_unsync());
        assert!(self.answer.send(answer).is_ok(), "the watch waits for {}", self.path);
        Stream(send)
    }

    fn respond(self, status: u16, retry_after_s: Option<u64>, body: String) {
        let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {});
        let mut answer = Response::builder().status(status);
        if let Some(seconds) = retry_after_s {
            answer = answer.header("Retry-After", seconds);
        }
        let answer = answer.body(body.boxed_unsync()).expect("an answer of a test");
        assert!(self.answer.send(answer).is_ok(), "the watch waits for {}", self.path);
    }
}

impl Stream {
    pub(super) async fn event(&mut self, event: &str, name: &str, version: u64) {
        self.object(event, &pod(name, version)).await;
    }

    pub(super) async fn object(&mut self, event: &str, object: &Value) {
        self.bytes(&format!("{}\n", json!({"type": event, "object": object}))).await;
    }

    pub(super) async fn bookmark(&mut self, version: u64) {
        let metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        self.object("BOOKMARK", &json!({"kind": "Pod", "metadata": metadata})).await;
    }

    pub(super) async fn end_of_list(&mut self, version: u64) {
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
        self.object("BOOKMARK", &json!({"kind": "Pod", "metadata": metadata})).await;
    }

    pub(super) async fn error(&mut self, code: u16) {
        let status = json!({"kind": "Status", "code": code, "message": format!("no: {code}")});
        self.object("ERROR", &status).await;
    }

    pub(super) async fn bytes(&mut self, bytes: &str) {
        let frame = Frame::data(Bytes::copy_from_slice(bytes.as_bytes()));
        self.0.send(Ok(frame)).await.expect("the watch reads");
    }

    /// Ends in the middle.
    pub(super) async fn cut(self) {
        self.0.send(Err("connection reset by peer".into())).await.expect("the watch reads");
    }
}

pub(super) fn pod(name: &str, version: u64) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version.to_string(), "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    })
}

pub(super) fn text(item: WatchItem) -> String {
    match item {
        WatchItem::ListStarted { resource_version, rewound: false } => {
            format!("list {resource_version}")
        }
        WatchItem::ListStarted { resource_version, rewound: true } => {
            format!("rewound {resource_version}")
        }
        WatchItem::Listed(it) => format!("listed {}@{}", it.name, it.resource_version),
        WatchItem::Applied(it) => format!("applied {}@{}", it.name, it.resource_version),
        WatchItem::Unreadable(it) => format!("unreadable {}", it.name.as_deref().unwrap_or("?")),
        WatchItem::Deleted(it) => format!("deleted {} {:?}", it.name, it.labels),
        WatchItem::ListEnded { resource_version, unnamed: 0 } => format!("end {resource_version}"),
        WatchItem::ListEnded { resource_version, unnamed } => {
            format!("end {resource_version}, {unnamed} unnamed")
        }
        WatchItem::ListDiscarded => "discarded".to_owned(),
        WatchItem::EventLost(loss) => format!("lost {loss:?}"),
        WatchItem::Alive { resource_version: Some(version) } => format!("alive {version}"),
        WatchItem::Alive { resource_version: None } => "alive".to_owned(),
        WatchItem::State { state, detail } if detail.is_empty() => format!("{state:?}"),
        WatchItem::State { state, detail } => format!("{state:?}: {detail}"),
    }
}

/// Hands every request to the test.
#[derive(Clone)]
struct Service(mpsc::Sender<Asked>);

impl tower::Service<Request<Body>> for Service {
    type Response = Response<AnyBody>;
    type Error = AnyError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, AnyError>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), AnyError>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let asks = self.0.clone();
        let path = request.uri().to_string();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            asks.send(Asked { path, answer }).await?;
            // A request that the test drops is a connection refused.
            Ok(answered.await?)
        })
    }
}
