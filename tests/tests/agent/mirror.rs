//! What is on the stream, what is in the cluster, and whether the last heartbeat proves them equal.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull},
};
use futures::StreamExt as _;
use kube::Client;
use prost::Message as _;
use vitals_agent::project::{fit::fit, folds, project};
use vitals_hub::streams::{StreamArgs, Streams};
use vitals_proto::digest::{Digest, Place, Sums};
use vitals_proto::identity::{ClusterName, KeyParts, ObjectKey};
use vitals_proto::kind::Kind;
use vitals_proto::{limits, subject, v1};
use vitals_tests::{Nats, wait_for};

/// How long anything may take to become true.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The stream, as a hub sees it, and the cluster, as its API server does.
pub(crate) struct Mirror {
    pub(crate) nats: async_nats::Client,
    pub(crate) context: jetstream::Context,
    kubernetes: Client,
    cluster: ClusterName,
}

/// All messages on the stream.
pub(crate) struct Snapshot {
    pub(crate) changes: BTreeMap<String, (v1::ObjectChange, Vec<u8>)>,
    pub(crate) heartbeat: Option<v1::Heartbeat>,
}

/// The flags of the streams, as they are by default.
pub(crate) fn stream_args() -> StreamArgs {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        streams: StreamArgs,
    }
    <Command as clap::Parser>::parse_from(["hub"]).streams
}

impl Mirror {
    pub(crate) async fn new(nats: &Nats, kubernetes: Client, cluster: &str) -> Result<Self> {
        let nats = async_nats::connect(nats.url()).await?;
        let context = jetstream::new(nats.clone());
        Ok(Self { nats, context, kubernetes, cluster: cluster.parse()? })
    }

    /// Makes the streams as a hub would.
    pub(crate) async fn make_streams(&self) -> Result<()> {
        wait_for("the streams to be made", SOON, async || {
            Streams::new(&stream_args()).ensure(&self.context).await?;
            Ok(Some(()))
        })
        .await
    }

    pub(crate) async fn snapshot(&self) -> Result<Snapshot> {
        let stream = self.context.get_stream("VITALS_OBJECTS").await?;
        let pending = stream.cached_info().state.messages;
        let mut snapshot = Snapshot { changes: BTreeMap::new(), heartbeat: None };
        if pending == 0 {
            return Ok(snapshot);
        }
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: jetstream::consumer::AckPolicy::None,
            inactive_threshold: Duration::from_secs(10),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await?;
        let mut messages = consumer.fetch().max_messages(100_000).messages().await?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| anyhow::anyhow!("{error}"))?;
            let text = message.subject.to_string();
            match subject::Published::parse(&text)? {
                subject::Published::Heartbeat(..) => {
                    snapshot.heartbeat = Some(v1::Heartbeat::decode(message.payload.clone())?);
                }
                subject::Published::Object(_) => {
                    let mut change = v1::ObjectChange::decode(message.payload.clone())?;
                    if let Some(v1::object_change::State::Facts(facts)) = &mut change.state {
                        vitals_proto::facts::lengthen_all(facts);
                    }
                    snapshot.changes.insert(text, (change, message.payload.to_vec()));
                }
            }
            if message.info().map_err(|error| anyhow::anyhow!("{error}"))?.pending == 0 {
                break;
            }
        }
        Ok(snapshot)
    }

    /// The facts of everything that exists, by subject, straight from the API server.
    pub(crate) async fn truth(&self, kinds: &[Kind]) -> Result<BTreeMap<String, v1::Facts>> {
        let mut truth = BTreeMap::new();
        for kind in kinds {
            let resource = kind.plural();
            let api = match kind.api_version() {
                Some("v1") => "/api/v1".to_owned(),
                Some(version) => format!("/apis/{version}"),
                None => continue,
            };
            let selector = kind.field_selector().unwrap_or_default();
            let path = format!("{api}/{resource}?fieldSelector={}", selector.replace('=', "%3D"));
            let request = http::Request::get(path).body(Vec::new())?;
            let list: serde_json::Value = self.kubernetes.request(request).await?;
            let objects = list["items"].as_array().context("a list has items")?.iter();
            let objects = objects.map(|object| project(kind, object.to_string().as_bytes()));
            let mut objects = objects.collect::<Result<Vec<_>, _>>()?;
            if *kind == Kind::Event {
                objects = folds(objects);
            }
            for projected in objects {
                let (namespace, name) = (&*projected.namespace, &*projected.name);
                let (cluster, kind) = (self.cluster.clone(), kind.clone());
                let key = ObjectKey::new(KeyParts { cluster, kind, namespace, name })?;
                let mut facts = projected.facts;
                fit(&mut facts, limits::FACTS_BYTES_MAX);
                truth.insert(subject::object(&key), facts);
            }
        }
        Ok(truth)
    }

    /// The stream holds the facts of all that exists and nothing else, and the last heartbeat proves it.
    pub(crate) async fn wait_true(&self) -> Result<Snapshot> {
        self.wait_true_of(&Kind::KNOWN).await
    }

    pub(crate) async fn wait_true_of(&self, kinds: &[Kind]) -> Result<Snapshot> {
        wait_for("the stream to be the cluster", SOON * 2, async || self.compare(kinds).await).await
    }

    /// As [`Mirror::wait_true`], with repairs: what was deleted while no agent ran is buried when a hub asks, and not before.
    pub(crate) async fn wait_repaired(&self) -> Result<Snapshot> {
        wait_for("the stream to be repaired", SOON * 2, async || {
            self.repair().await?;
            self.compare(&Kind::KNOWN).await
        })
        .await
    }

    async fn compare(&self, kinds: &[Kind]) -> Result<Option<Snapshot>> {
        let truth = self.truth(kinds).await?;
        let snapshot = self.snapshot().await?;
        let facts = snapshot.facts();
        for (subject, want) in &truth {
            let found =
                facts.get(subject.as_str()).with_context(|| format!("{subject} is not there"))?;
            ensure!(*found == want, "{subject} differs: {found:?}\nshould be {want:?}");
        }
        let stranger = facts.keys().find(|subject| !truth.contains_key(**subject));
        if let Some(stranger) = stranger {
            let said = snapshot.changes.get(*stranger).map(|(change, _)| change);
            let said_by = said.map(|change| (change.epoch, change.counter));
            bail!("{stranger} does not exist, and is said to by {said_by:?}");
        }
        snapshot.check_sums(kinds)?;
        Ok(Some(snapshot))
    }

    /// What a hub does: asks to repair every bucket in which the stream is not what the heartbeat says.
    pub(crate) async fn repair(&self) -> Result<u64> {
        let snapshot = self.snapshot().await?;
        let heartbeat = snapshot.heartbeat.clone().context("no heartbeat")?;
        let theirs = Sums::from_wire(&heartbeat.bucket_sums).context("sums")?;
        let mut repairing = 0;
        for bucket in snapshot.sums(&heartbeat).differing(&theirs) {
            let held = snapshot
                .facts_messages()
                .filter(|(subject, _)| Place::of(subject).bucket() == bucket);
            let held = held.map(|(subject, payload)| v1::HeldObject {
                subject: subject.to_owned(),
                digest: Digest::of(subject, payload).to_wire().to_vec().into(),
            });
            let request = v1::RepairRequest {
                scope: heartbeat.scope.clone(),
                epoch: heartbeat.epoch,
                bucket: bucket.into(),
                held: held.collect(),
                part_bits: 0,
                part: 0,
            };
            let subject = subject::request(&self.cluster, subject::Verb::Repair);
            let answer = self.nats.request(subject, request.encode_to_vec().into()).await?;
            let answer = v1::RepairResponse::decode(answer.payload)?;
            repairing += answer.resent + answer.buried;
        }
        Ok(repairing)
    }

    /// Waits for a heartbeat of which `condition` holds.
    pub(crate) async fn wait_heartbeat(
        &self,
        what: &str,
        condition: impl Fn(&v1::Heartbeat) -> bool,
    ) -> Result<v1::Heartbeat> {
        wait_for(what, SOON, async || {
            let heartbeat = self.snapshot().await?.heartbeat.context("no heartbeat yet")?;
            ensure!(condition(&heartbeat), "the last one is {heartbeat:?}");
            Ok(Some(heartbeat))
        })
        .await
    }
}

impl Snapshot {
    pub(crate) fn facts(&self) -> BTreeMap<&str, &v1::Facts> {
        let facts = self.changes.iter().filter_map(|(subject, (change, _))| match &change.state {
            Some(v1::object_change::State::Facts(facts)) => Some((subject.as_str(), facts)),
            Some(v1::object_change::State::Tombstone(_)) | None => None,
        });
        facts.collect()
    }

    fn facts_messages(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let is_facts = |change: &v1::ObjectChange| {
            matches!(change.state, Some(v1::object_change::State::Facts(_)))
        };
        let facts = self.changes.iter().filter(move |(_, (change, _))| is_facts(change));
        facts.map(|(subject, (_, payload))| (subject.as_str(), payload.as_slice()))
    }

    /// Over what the stream holds of the kinds that the heartbeat calls complete.
    fn sums(&self, heartbeat: &v1::Heartbeat) -> Sums {
        let complete = |subject: &str| {
            let Ok(subject::Published::Object(key)) = subject::Published::parse(subject) else {
                return false;
            };
            let report = heartbeat.kinds.iter().find(|report| report.kind == key.kind().resource());
            report.is_some_and(|report| report.state() == v1::KindState::Complete)
        };
        let mut sums = Sums::default();
        for (subject, payload) in self.facts_messages().filter(|(subject, _)| complete(subject)) {
            sums.add(Place::of(subject).bucket(), Digest::of(subject, payload));
        }
        sums
    }

    fn check_sums(&self, kinds: &[Kind]) -> Result<()> {
        let heartbeat = self.heartbeat.as_ref().context("no heartbeat yet")?;
        for kind in kinds {
            let report = heartbeat.kinds.iter().find(|report| report.kind == kind.resource());
            let state = report.with_context(|| format!("{kind} is not named"))?.state();
            ensure!(state == v1::KindState::Complete, "{kind} is {state:?}");
        }
        let theirs = Sums::from_wire(&heartbeat.bucket_sums).context("sums")?;
        let differing: Vec<u8> = self.sums(heartbeat).differing(&theirs).collect();
        ensure!(differing.is_empty(), "buckets {differing:?} differ");
        Ok(())
    }
}
