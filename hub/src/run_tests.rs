//! The loop, fed by hand: what the readers say becomes what clients see.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use vitals_hub_core::{ClusterRecord, Settings};
use vitals_proto::digest::{Digest, Place, Sums};
use vitals_proto::identity::{ClusterName, KeyParts, ObjectKey};
use vitals_proto::kind::Kind;
use vitals_proto::rule::Rules;
use vitals_proto::{FORMAT, limits, subject, v1};

use super::*;
use crate::cluster_records::{Kept, Records};
use crate::query::{Desk, HeldObjects, MayResume, ObjectFilter, ObjectPage, TreeRoot};
use crate::read::{LostReason, Operation, SnapshotReason};
use crate::tell::Word;

const STREAM: &str = "VITALS_OBJECTS";

/// The broker's clock when the test begins; ours is an hour ahead.
const BROKER_AT: Time = Time::from_unix_s(1_764_000_000);

struct Fixture {
    batches: mpsc::Sender<Batch>,
    definitions: mpsc::Sender<DefinitionsRead>,
    records: watch::Sender<kv_clusters::Read>,
    desk: Desk,
    asks: mpsc::Receiver<Ask>,
    words: mpsc::Receiver<Word>,
    answers: mpsc::Sender<Asked>,
    view: Arc<View>,
    clusters: watch::Receiver<Clusters>,
    readiness: watch::Receiver<Readiness>,
    stopping: CancellationToken,
    began: Instant,
    sequence: u64,
    /// What each cluster's agent said exists.
    sums: BTreeMap<&'static str, Sums>,
    held: BTreeMap<String, Digest>,
}

impl Fixture {
    fn new() -> (Self, impl Future<Output = Result<(), Unfed>>) {
        let (batches, batches_in) = mpsc::channel(8);
        let (definitions, definitions_in) = mpsc::channel(8);
        let (answers, repaired) = mpsc::channel(8);
        let (asks_out, asks) = mpsc::channel(1);
        let (desk, queries) = Desk::new();
        let (clusters_out, clusters) = watch::channel(Clusters::default());
        let (readiness_out, readiness) = watch::channel(Readiness::NotReady(String::new()));
        let view = Arc::new(View::default());
        let (verdicts, words) = Verdicts::new();
        let outputs = Outputs {
            view: Arc::clone(&view),
            clusters: clusters_out,
            readiness: readiness_out,
            asks: asks_out,
            verdicts,
            metrics: CoreMetrics::default(),
        };
        let hub = Hub::new(Settings { rules: Rules::ALL, streams: vec![STREAM.into()] });
        let began = Instant::now();
        let ours = BROKER_AT.after(Duration::from_secs(3_600));
        let mut clock = BrokerClock::new(began, ours);
        clock.observe(began, BROKER_AT);
        let core = Loop::new(hub, clock, outputs);
        let (records, records_in) = watch::channel(None);
        let inputs = Inputs {
            batches: batches_in,
            definitions: definitions_in,
            records: records_in,
            repaired,
            queries,
        };
        let stopping = CancellationToken::new();
        let running = core.run(inputs, stopping.clone());
        let fixture = Self {
            batches,
            definitions,
            records,
            desk,
            asks,
            words,
            answers,
            view,
            clusters,
            readiness,
            stopping,
            began,
            sequence: 0,
            sums: BTreeMap::from([("eu-1", Sums::default())]),
            held: BTreeMap::new(),
        };
        (fixture, running)
    }

    async fn read(&self, items: Vec<ReadItem>) {
        let batch = Batch { stream: STREAM.into(), items };
        self.batches.send(batch).await.unwrap();
    }

    async fn begin(&self) {
        let reason = SnapshotReason::First;
        let begin = ReadItem::SnapshotBegin { incarnation_unix_ns: 1, last_sequence: 0, reason };
        self.read(vec![begin, ReadItem::SnapshotEnd { sequence: 0 }]).await;
        let definitions = BTreeMap::new();
        let all = DefinitionsRead::All { revision: 1, definitions };
        self.definitions.send(all).await.unwrap();
    }

    fn message(&mut self, subject: String, payload: Vec<u8>) -> ReadItem {
        self.sequence += 1;
        ReadItem::Message(Message {
            sequence: self.sequence,
            subject: subject.into(),
            payload: payload.into(),
            published_at: BROKER_AT.after(self.began.elapsed()),
            pending: 0,
            operation: Operation::Put,
        })
    }

    /// An agent says that a Deployment with so many of three replicas is there.
    async fn deployment(&mut self, name: &str, available: i32) {
        self.deployment_in("eu-1", name, available).await;
    }

    /// The same, in that cluster. One without replicas has failed its rollout.
    async fn deployment_in(&mut self, of: &'static str, name: &str, available: i32) {
        let cluster = of.parse().unwrap();
        let parts = KeyParts { cluster, kind: Kind::Deployment, namespace: "shop", name };
        let subject = subject::object(&ObjectKey::new(parts).unwrap());
        let meta = v1::Meta { uid: vec![7; 16].into(), generation: 1, ..Default::default() };
        let failed = v1::Condition {
            r#type: "Progressing".into(),
            status: "False".into(),
            reason: "ProgressDeadlineExceeded".into(),
            ..Default::default()
        };
        let deployment = v1::DeploymentFacts {
            conditions: if available == 0 { vec![failed] } else { vec![] },
            observed_generation: 1,
            desired: 3,
            replicas: 3,
            updated: 3,
            ready: available,
            available,
            ..Default::default()
        };
        let facts = v1::Facts {
            meta: Some(meta),
            kind: Some(v1::facts::Kind::Deployment(deployment)),
            ..Default::default()
        };
        let change = v1::ObjectChange {
            format: FORMAT,
            epoch: Some(v1::Epoch { started_at_unix_ms: 1, random: 1 }),
            counter: self.sequence + 1,
            cluster_uid: vec![1; 16].into(),
            scope: "main".into(),
            kind: "deployments.apps".into(),
            namespace: "shop".into(),
            name: name.into(),
            resource_version: self.sequence.to_string(),
            state: Some(v1::object_change::State::Facts(facts)),
            ..Default::default()
        };
        let payload = change.encode_to_vec();
        let (bucket, digest) = (Place::of(&subject).bucket(), Digest::of(&subject, &payload));
        let sums = self.sums.entry(of).or_default();
        if let Some(before) = self.held.insert(subject.clone(), digest) {
            sums.remove(bucket, before);
        }
        sums.add(bucket, digest);
        let message = self.message(subject, payload);
        self.read(vec![message]).await;
    }

    /// A heartbeat with these sums.
    async fn heartbeat(&mut self, of: &str, sums: Sums) {
        let subject = subject::heartbeat(&of.parse().unwrap(), &"main".parse().unwrap());
        let kinds = Kind::KNOWN.iter().map(|kind| v1::KindReport {
            kind: kind.resource().into(),
            state: v1::KindState::Complete.into(),
            count: u64::from(*kind == Kind::Deployment),
            ..Default::default()
        });
        let heartbeat = v1::Heartbeat {
            format: FORMAT,
            epoch: Some(v1::Epoch { started_at_unix_ms: 1, random: 1 }),
            counter: self.sequence + 1,
            cluster_uid: vec![1; 16].into(),
            scope: "main".into(),
            kinds: kinds.collect(),
            bucket_sums: Bytes::from(sums.to_wire()),
            api_server: Some(v1::ApiServerReport { reachable: true, ..Default::default() }),
            ..Default::default()
        };
        let message = self.message(subject, heartbeat.encode_to_vec());
        self.read(vec![message]).await;
    }

    fn status(&self, name: &str) -> Option<v1::HealthStatus> {
        let entity = format!("workload:shop/{name}").parse().unwrap();
        Some(self.view.entity(&entity)?.verdict?.status())
    }

    fn freshness(&self) -> v1::FreshnessState {
        let Clusters::Read(said) = &*self.clusters.borrow() else {
            return v1::FreshnessState::Unspecified;
        };
        let cluster = said.clusters.first().and_then(|cluster| cluster.freshness.as_ref());
        cluster.map_or(v1::FreshnessState::Unspecified, v1::Freshness::state)
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        waited.unwrap_or_else(|_| panic!("{what}: never"));
    }

    /// Heartbeats of all clusters as they should be, for so long.
    async fn beat_for(&mut self, time: Duration) {
        let sums = self.sums.clone();
        self.beat_with(sums, time).await;
    }

    async fn beat_with(&mut self, sums: BTreeMap<&str, Sums>, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            for (cluster, sums) in &sums {
                self.heartbeat(cluster, sums.clone()).await;
            }
            tokio::time::sleep(limits::HEARTBEAT_INTERVAL).await;
        }
    }

    /// What the teller was handed of an entity, each status once.
    fn handed(&mut self, name: &str) -> Vec<v1::HealthStatus> {
        let entity = format!("workload:shop/{name}").parse().unwrap();
        let mut handed = Vec::new();
        while let Ok(word) = self.words.try_recv() {
            match word {
                Word::Judged(of, judged) if of == entity => handed.push(judged.verdict.status()),
                Word::Judged(..) | Word::Withdrawn(_) | Word::Stands(_) => {}
            }
        }
        handed.dedup();
        handed
    }
}

/// Runs a test against a loop that runs, and then ends it.
async fn with_loop(test: impl AsyncFnOnce(&mut Fixture)) {
    let (mut fixture, running) = Fixture::new();
    let stopping = fixture.stopping.clone();
    let testing = async {
        test(&mut fixture).await;
        stopping.cancel();
    };
    let (ended, ()) = tokio::join!(running, testing);
    ended.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_read_becomes_what_is_seen() {
    with_loop(async |fixture| {
        fixture.until("not ready", |it| matches!(&*it.readiness.borrow(), Readiness::NotReady(reason) if reason.contains("objects"))).await;
        fixture.begin().await;
        fixture.until("ready", |it| *it.readiness.borrow() == Readiness::Ready).await;
        fixture.deployment("web", 3).await;
        fixture.until("unverified is unknown", |it| it.status("web") == Some(v1::HealthStatus::Unknown)).await;
        fixture.beat_for(Duration::from_secs(12)).await;
        assert_eq!(fixture.freshness(), v1::FreshnessState::Fresh);
        assert_eq!(fixture.status("web"), Some(v1::HealthStatus::Healthy));
        fixture.deployment("web", 1).await;
        fixture.until("changed", |it| it.status("web") != Some(v1::HealthStatus::Healthy)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_clusters_is_not_said_as_the_whole() {
    with_loop(async |fixture| {
        let reason = SnapshotReason::First;
        let begin = ReadItem::SnapshotBegin { incarnation_unix_ns: 1, last_sequence: 9, reason };
        fixture.read(vec![begin]).await;
        fixture.deployment("web", 3).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(*fixture.clusters.borrow(), Clusters::Unread);
        fixture.read(vec![ReadItem::SnapshotEnd { sequence: 9 }]).await;
        fixture.until("said", |it| *it.clusters.borrow() != Clusters::Unread).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hub_whose_clock_is_wrong_marks_nobody_lost_and_a_silent_agent_is() {
    with_loop(async |fixture| {
        fixture.begin().await;
        fixture.deployment("web", 3).await;
        fixture.beat_for(Duration::from_secs(60)).await;
        assert_eq!(
            fixture.freshness(),
            v1::FreshnessState::Fresh,
            "though our clock is an hour ahead"
        );
        let began = Instant::now();
        fixture.until("lost", |it| it.freshness() == v1::FreshnessState::AgentLost).await;
        assert!(began.elapsed() <= limits::SILENCE_MAX, "{:?}", began.elapsed());
        assert_eq!(fixture.status("web"), Some(v1::HealthStatus::Unknown));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_operators_say_of_clusters_is_shown_and_what_they_forget_is_gone() {
    with_loop(async |fixture| {
        fixture.begin().await;
        fixture.deployment("web", 3).await;
        fixture.beat_for(Duration::from_secs(12)).await;
        let cluster = "eu-1".parse().unwrap();
        let labels = BTreeMap::from([("environment".to_owned(), "prod".to_owned())]);
        let record = ClusterRecord { labels: labels.clone(), forgotten: None };
        let describe = |revision, record| {
            let kept = [(ClusterName::clone(&cluster), Kept { record, purged: false })].into();
            fixture.records.send_replace(Some(Arc::new(Records { revision, kept })));
        };
        let said = || match &*fixture.clusters.borrow() {
            Clusters::Read(said) => (**said).clone(),
            Clusters::Unread => panic!("not read"),
        };
        describe(3, record.clone());
        fixture.until("shown", |_| said().revision == 3).await;
        assert_eq!(said().clusters[0].labels, labels);
        let web = "workload:shop/web".parse().unwrap();
        assert_eq!(fixture.view.entity(&web).unwrap().clusters[0].labels, labels);
        let forgetting = async || {
            let cluster = cluster.clone();
            let ask = |answer| Query::Forgetting { cluster, answer };
            fixture.desk.ask(ask).await.unwrap().unwrap()
        };
        assert!(forgetting().await.alive.is_some());
        tokio::time::sleep(Duration::from_secs(25)).await;
        fixture.read(vec![ReadItem::Idle { as_of: BROKER_AT }]).await;
        let forgetting = forgetting().await;
        assert_eq!((forgetting.alive, forgetting.objects), (None, 1));
        describe(4, ClusterRecord { forgotten: Some(forgetting.forgotten), ..record });
        fixture.until("gone", |_| said().revision == 4).await;
        assert!(said().clusters.is_empty() && fixture.view.entity(&web).is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_blind_hub_says_unknown_and_its_time_stands_still() {
    with_loop(async |fixture| {
        fixture.begin().await;
        fixture.deployment("web", 3).await;
        fixture.beat_for(Duration::from_secs(12)).await;
        fixture.read(vec![ReadItem::Lost { reason: LostReason::Disconnected }]).await;
        fixture.until("blind", |it| it.freshness() == v1::FreshnessState::HubBlind).await;
        assert_eq!(fixture.status("web"), Some(v1::HealthStatus::Unknown));
        let as_of = fixture.view.moment().as_of;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(fixture.view.moment().as_of, as_of);
        let sequence = fixture.sequence;
        let resumed = ReadItem::Resumed { incarnation_unix_ns: 1, sequence };
        fixture.read(vec![resumed, ReadItem::Idle { as_of: Time::MIN }]).await;
        fixture.beat_for(Duration::from_secs(12)).await;
        assert_eq!(fixture.status("web"), Some(v1::HealthStatus::Healthy));
        assert!(fixture.view.moment().as_of > as_of);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn repairs_are_asked_for_and_what_finds_no_room_counts_as_unanswered() {
    with_loop(async |fixture| {
        fixture.begin().await;
        fixture.deployment("web", 3).await;
        // The agent has two objects of which we know nothing, in different buckets; there is room for one request.
        let mut sums = fixture.sums["eu-1"].clone();
        for (bucket, digest) in [(3, Digest::of("a", b"")), (200, Digest::of("b", b""))] {
            sums.add(bucket, digest);
        }
        for _ in 0..3 {
            fixture.heartbeat("eu-1", sums.clone()).await;
            tokio::time::sleep(limits::HEARTBEAT_INTERVAL).await;
        }
        let ask = fixture.asks.recv().await.unwrap();
        assert_eq!((ask.cluster.as_str(), ask.request.scope.as_str()), ("eu-1", "main"));
        fixture.answers.send(ask.unanswered()).await.unwrap();
        let asked = async {
            loop {
                fixture.heartbeat("eu-1", sums.clone()).await;
                match tokio::time::timeout(limits::HEARTBEAT_INTERVAL, fixture.asks.recv()).await {
                    Ok(Some(again)) if again.request.bucket != ask.request.bucket => return,
                    Ok(Some(_)) | Err(_) => {}
                    Ok(None) => panic!("the loop ended"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(300), asked)
            .await
            .expect("the other is asked for later");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn questions_are_answered_from_what_was_settled() {
    with_loop(async |fixture| {
        fixture.begin().await;
        for name in ["c", "a", "b"] {
            fixture.deployment(name, 3).await;
        }
        fixture.beat_for(Duration::from_secs(12)).await;
        let mut names = Vec::new();
        let mut after = None;
        loop {
            let filter = ObjectFilter { namespaces: vec!["shop".into()], ..Default::default() };
            let page = ObjectPage { filter, after, count: 2 };
            let HeldObjects { objects, next } =
                fixture.desk.ask(|answer| Query::Objects { page, answer }).await.unwrap();
            let last = objects.last().unwrap();
            assert_eq!(
                last.entities,
                [format!("workload:shop/{}", last.object.as_ref().unwrap().name)]
            );
            assert!(last.facts.is_some() && last.health.is_some());
            names.extend(objects.into_iter().map(|it| it.object.unwrap().name));
            if next.is_none() {
                break;
            }
            after = next;
        }
        assert_eq!(names, ["a", "b", "c"]);
        let root = TreeRoot::Entity("workload:shop/a".parse().unwrap());
        let tree = fixture.desk.ask(|answer| Query::Tree { root, answer }).await.unwrap().unwrap();
        assert_eq!(tree.roots.len(), 1);
        let from = fixture.view.moment();
        let may = fixture.desk.ask(|answer| Query::MayResume { from, answer }).await;
        assert_eq!(may, Ok(MayResume::Serve));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_began_while_another_cluster_was_not_verified_is_handed_over() {
    use v1::HealthStatus::{Degraded, Healthy, Unknown};
    with_loop(async |fixture| {
        fixture.begin().await;
        for cluster in ["eu-1", "us-1"] {
            fixture.deployment_in(cluster, "web", 3).await;
        }
        fixture.beat_for(Duration::from_secs(12)).await;
        // What the agent of us-1 says exists is not what is held: after 30 s it counts as unverified.
        let mut sums = fixture.sums.clone();
        sums.entry("us-1").or_default().add(3, Digest::of("lost", b""));
        fixture.beat_with(sums, Duration::from_secs(40)).await;
        assert_eq!(fixture.status("web"), Some(Unknown));
        fixture.deployment("web", 0).await;
        fixture.until("broken", |it| it.status("web") == Some(Degraded)).await;
        assert_eq!(fixture.handed("web"), [Healthy]);
        fixture.beat_for(Duration::from_secs(12)).await;
        fixture.deployment("web", 3).await;
        fixture.until("well", |it| it.status("web") == Some(Healthy)).await;
        assert_eq!(fixture.handed("web"), [Degraded, Healthy]);
    })
    .await;
}
