//! The keeper against an API server that holds one Lease and can fall silent, in paused time.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Mutex,
    task,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;

/// Most that a moment of this process takes: time is paused, and moves only while everybody waits.
const MOMENT: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// It takes what is asked, and never answers.
    Silent,
    /// It answers everything with 500.
    Failing,
    /// As well, but each answer takes so long.
    Slow(Duration),
}

struct Server {
    mood: Mood,
    lease: Option<Value>,
    version: u64,
    /// When a write was done last.
    written_at: Instant,
}

#[derive(Clone)]
struct Api(Arc<Mutex<Server>>);

impl Api {
    fn new() -> Self {
        let (mood, lease, version, written_at) = (Mood::Well, None, 0, Instant::now());
        Self(Arc::new(Mutex::new(Server { mood, lease, version, written_at })))
    }

    fn set(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    fn written_at(&self) -> Instant {
        self.0.lock().unwrap().written_at
    }

    /// Another agent takes the Lease, or renews it.
    fn taken_by_another(&self) {
        let spec = json!({"holderIdentity": "another", "leaseDurationSeconds": 10});
        self.0.lock().unwrap().write(json!({"spec": spec}));
    }

    /// A keeper, what it tells, and what keeps it running.
    fn keeper(&self) -> (mpsc::Receiver<Input>, JoinSet<()>) {
        let client = kube::Client::new(self.clone(), "vitals");
        let (inputs, told) = mpsc::channel(4);
        let (keeper, _waiting) = Keeper::new(Setup {
            cluster: Cluster::of_test(client),
            scope: Scope::default(),
            lease: LeaseUse::On { namespace: None },
            inputs,
            retake: Arc::new(Notify::new()),
            silenced: CancellationToken::new(),
        });
        let mut running = JoinSet::new();
        running.spawn(keeper.run(CancellationToken::new()));
        (told, running)
    }
}

impl Server {
    fn write(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        self.written_at = Instant::now();
        lease["metadata"]["name"] = "vitals-agent-main".into();
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease.clone());
        lease
    }

    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        if self.mood == Mood::Failing {
            return (StatusCode::INTERNAL_SERVER_ERROR, status(500, "InternalError"));
        }
        if path.ends_with("/kube-system") {
            return (StatusCode::OK, json!({"metadata": {"uid": "u"}}));
        }
        if method == Method::GET {
            return match &self.lease {
                Some(lease) => (StatusCode::OK, lease.clone()),
                None => (StatusCode::NOT_FOUND, status(404, "NotFound")),
            };
        }
        let wanted: Value = serde_json::from_slice(body).unwrap();
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        if self.lease.as_ref().is_some_and(|lease| version(lease) != version(&wanted)) {
            return (StatusCode::CONFLICT, status(409, "Conflict"));
        }
        (StatusCode::OK, self.write(wanted))
    }
}

impl tower::Service<Request<Body>> for Api {
    type Response = Response<Full<Bytes>>;
    type Error = tower::BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Self::Error>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = Arc::clone(&self.0);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (mood, (status, answer)) = {
                let mut server = server.lock().unwrap();
                (server.mood, server.answer(&head.method, head.uri.path(), &body))
            };
            match mood {
                Mood::Silent => pending().await,
                Mood::Slow(answer_time) => sleep(answer_time).await,
                Mood::Well | Mood::Failing => {}
            }
            let answer = Full::new(Bytes::from(answer.to_string()));
            Ok(Response::builder().status(status).body(answer)?)
        })
    }
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "message": "no", "reason": reason, "code": code})
}

fn is_begun(input: &Input, as_what: Standing) -> bool {
    matches!(input, Input::EpochBegun { standing, .. } if *standing == as_what)
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_stops_before_the_lease_can_be_anothers() {
    let slow = Mood::Slow(Duration::from_millis(2_900));
    for mood in [Mood::Silent, Mood::Failing, slow] {
        let api = Api::new();
        let (mut told, _running) = api.keeper();
        assert!(is_begun(&told.recv().await.unwrap(), Standing::Held), "{mood:?}");
        sleep(RENEW_INTERVAL * 3 + MOMENT).await;
        assert!(told.try_recv().is_err(), "renewed in time");
        let renewed_at = api.written_at();
        api.set(mood);
        if mood == slow {
            // Each answer comes in time for the next: it holds.
            sleep(DURATION * 5).await;
            assert!(told.try_recv().is_err(), "{mood:?}");
            continue;
        }
        assert!(matches!(told.recv().await.unwrap(), Input::LeaseDoubted), "{mood:?}");
        let after = renewed_at.elapsed();
        assert!(after <= RENEW_DEADLINE + MOMENT, "{mood:?}: {after:?}");
        api.set(Mood::Well);
        assert!(matches!(told.recv().await.unwrap(), Input::LeaseKept), "{mood:?}");
        assert!(api.written_at().elapsed() <= MOMENT, "{mood:?}: by a write of its own");
    }
}

#[tokio::test(start_paused = true)]
async fn who_stands_by_speaks_once_the_holder_may_have_gone_with_the_api_server() {
    let api = Api::new();
    api.taken_by_another();
    let (mut told, _running) = api.keeper();
    assert!(matches!(told.recv().await.unwrap(), Input::LeaseLost));
    for _ in 0..20 {
        sleep(RENEW_INTERVAL).await;
        api.taken_by_another();
    }
    assert!(told.try_recv().is_err(), "a standby is silent");
    let silent_at = Instant::now();
    api.set(Mood::Silent);
    assert!(is_begun(&told.recv().await.unwrap(), Standing::Provisional));
    let after = silent_at.elapsed();
    assert!((SILENCE_MAX - LOOK_INTERVAL..SILENCE_MAX + DURATION).contains(&after), "{after:?}");
    api.set(Mood::Well);
    api.taken_by_another();
    assert!(matches!(told.recv().await.unwrap(), Input::LeaseLost), "the holder lives");
}
