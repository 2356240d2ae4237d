//! One watch, without a network: its frames, its timers, its ends.

use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Code;
use vitals_hub_core::{Position, StreamPoint, Time};

use super::*;
use crate::serve::limits::{Gate, Limits};
use crate::view::{Change, Outcome};

struct Hub {
    shared: Arc<Shared>,
    gate: Arc<Gate>,
    queries: mpsc::Receiver<Query>,
    readiness: watch::Sender<Readiness>,
}

impl Hub {
    fn new() -> Self {
        let (desk, queries) = Desk::new();
        let (readiness, ready) = watch::channel(Readiness::Ready);
        let metrics = ServeMetrics::default();
        let gate = Gate::new(Limits::default(), metrics.clone());
        let shared = Shared { view: Arc::default(), desk, readiness: ready, metrics };
        Self { shared: Arc::new(shared), gate, queries, readiness }
    }

    fn watch(&self, filter: v1::EntityFilter, resume_token: &Bytes) -> Watch {
        let asked =
            Asked { filter: Filter::parse(filter).unwrap(), resume_token: resume_token.clone() };
        Watch::new(Arc::clone(&self.shared), asked, self.gate.open(None).unwrap())
    }

    fn all(&self, resume_token: &Bytes) -> Watch {
        self.watch(v1::EntityFilter::default(), resume_token)
    }

    /// The core says that an entity has this digest now.
    fn say(&self, name: &str, sequence: u64, digest: u64) {
        let point = StreamPoint { stream: "S".into(), incarnation_unix_ns: 1, sequence };
        let entity: vitals_proto::identity::EntityRef = name.parse().unwrap();
        let state = v1::Entity { r#ref: entity.to_string(), digest, ..Default::default() };
        let touched = Position::at(&point);
        let outcome = Outcome::Changed(Arc::new(state));
        let change = Change { entity, touched: touched.clone(), outcome };
        let as_of = Time::from_unix_s(1_000 + i64::try_from(sequence).unwrap());
        self.shared.view.publish(vec![change], Moment { position: touched, as_of });
    }

    /// Answers all questions so.
    async fn answer(&mut self, with: MayResume) {
        while let Some(query) = self.queries.recv().await {
            let Query::MayResume { from: _, answer } = query else { panic!("{query:?}") };
            // The watch may have gone meanwhile.
            drop(answer.send(with.clone()));
        }
    }
}

/// In a word, and the token where there is one.
async fn next(watch: &mut Watch) -> (String, Bytes) {
    let frame = match watch.next().await {
        None => return ("end".into(), Bytes::new()),
        Some(Err(status)) => return (format!("{:?}", status.code()), Bytes::new()),
        Some(Ok(frame)) => frame,
    };
    let none = Bytes::new();
    match v1::WatchEntitiesResponse::decode(&frame[5..]).unwrap().event.unwrap() {
        Event::Snapshot(it) => (format!("snapshot[{}]", it.reason), none),
        Event::Resumed(_) => ("resumed".into(), none),
        Event::Upsert(it) => {
            (format!("{}={}", it.r#ref.rsplit('/').next().unwrap(), it.digest), none)
        }
        Event::Removed(it) => (format!("-{}", it.r#ref), none),
        Event::Synced(it) => (format!("synced {} {}", it.count, it.digest), it.token),
        Event::Progress(it) => (format!("progress {}", it.as_of.unwrap().seconds), it.token),
    }
}

async fn up_to_synced(watch: &mut Watch) -> (Vec<String>, Bytes) {
    let mut said = Vec::new();
    loop {
        let (word, token) = next(watch).await;
        let is_last = word.starts_with("synced") || word == "end";
        said.push(word);
        if is_last {
            return (said, token);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_then_changes_then_progress_in_silence() {
    let hub = Hub::new();
    hub.say("a", 1, 10);
    hub.say("b", 2, 20);
    let mut watch = hub.all(&Bytes::new());
    let (said, _) = up_to_synced(&mut watch).await;
    assert_eq!(said, ["snapshot[]", "a=10", "b=20", "synced 2 30"]);
    hub.say("a", 3, 11);
    assert_eq!(next(&mut watch).await.0, "a=11");
    let began = Instant::now();
    assert_eq!(next(&mut watch).await.0, "progress 1003");
    assert_eq!(began.elapsed(), PROGRESS_INTERVAL);
    assert_eq!(
        next(&mut watch).await.0,
        "progress 1003",
        "time stands still while nothing is read"
    );
    assert_eq!(hub.shared.metrics.watches.get(), 1);
    drop(watch);
    assert_eq!(hub.shared.metrics.watches.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_resume_says_what_was_touched_and_the_whole_count() {
    let mut hub = Hub::new();
    hub.say("a", 1, 10);
    hub.say("b", 2, 20);
    let (_, token) = up_to_synced(&mut hub.all(&Bytes::new())).await;
    hub.say("b", 3, 21);
    let mut resumed = hub.all(&token);
    let (said, later) = tokio::select! {
        said = up_to_synced(&mut resumed) => said,
        () = hub.answer(MayResume::Serve) => panic!("the watch goes on asking"),
    };
    assert_eq!(said, ["resumed", "b=21", "synced 2 31"]);
    assert_ne!(later, token);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_used_is_followed_by_a_snapshot_with_the_reason() {
    let mut hub = Hub::new();
    hub.say("a", 1, 10);
    let (_, token) = up_to_synced(&mut hub.all(&Bytes::new())).await;
    let mut damaged = token.to_vec();
    damaged[10] ^= 1;
    let mut newer = token.to_vec();
    newer[0] = 9;
    let all = v1::EntityFilter::default;
    let components = v1::EntityFilter { kinds: vec!["component".into()], ..all() };
    for (token, filter, reason) in [
        (Bytes::from(damaged), all(), "the resume token is damaged"),
        (Bytes::from_static(b"x"), all(), "the resume token is of another version (120)"),
        (Bytes::from(newer), all(), "the resume token is of another version (9)"),
        (token.slice(..5), all(), "the resume token is damaged"),
        (token.clone(), components, "the resume token belongs to another filter"),
    ] {
        let (said, _) = up_to_synced(&mut hub.watch(filter, &token)).await;
        assert_eq!(said, [&format!("snapshot[{reason}]"), "a=10", "synced 1 10"]);
    }
    let mut refused = hub.all(&token);
    let (said, _) = tokio::select! {
        said = up_to_synced(&mut refused) => said,
        () = hub.answer(MayResume::Snapshot("another incarnation".into())) => panic!(),
    };
    assert_eq!(said[0], "snapshot[another incarnation]");
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_may_not_be_served_yet_waits_and_becomes_a_snapshot() {
    let mut hub = Hub::new();
    hub.say("a", 1, 10);
    let (_, token) = up_to_synced(&mut hub.all(&Bytes::new())).await;
    let began = Instant::now();
    let mut waiting = hub.all(&token);
    let (said, _) = tokio::select! {
        said = up_to_synced(&mut waiting) => said,
        () = hub.answer(MayResume::Wait("eu-1 is not verified".into())) => panic!(),
    };
    assert_eq!(said[0], "snapshot[eu-1 is not verified, for 30 s]");
    assert!(began.elapsed() >= WAIT_MAX);
}

#[tokio::test(start_paused = true)]
async fn before_the_first_snapshot_was_read_nothing_is_shown_as_the_whole() {
    let hub = Hub::new();
    hub.readiness.send_replace(Readiness::NotReady("reading VITALS_OBJECTS".into()));
    let mut watch = hub.all(&Bytes::new());
    let began = Instant::now();
    assert_eq!(next(&mut watch).await.0, "Unavailable");
    assert_eq!(began.elapsed(), WAIT_MAX);
    assert_eq!(next(&mut watch).await.0, "end");
    let mut watch = hub.all(&Bytes::new());
    let ready = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        hub.readiness.send_replace(Readiness::Ready);
    };
    let ((said, _), ()) = tokio::join!(up_to_synced(&mut watch), ready);
    assert_eq!(said, ["snapshot[]", "synced 0 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_stops_says_so_to_each_watch() {
    let hub = Hub::new();
    let mut idle = hub.all(&Bytes::new());
    up_to_synced(&mut idle).await;
    let mut opening = hub.all(&Bytes::new());
    let stop = async {
        tokio::task::yield_now().await;
        hub.shared.view.stop();
    };
    let (status, ()) = tokio::join!(idle.next(), stop);
    let status = status.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("watch again with your last token"), "{status}");
    assert_eq!(next(&mut idle).await.0, "end");
    assert_eq!(next(&mut opening).await.0, "Unavailable");
}
