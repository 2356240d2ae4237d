//! Entity definitions in KV, against a real nats-server: what is written is what every hub hears.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "in a test a panic is a failed test")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use vitals_hub::definitions::{self, Definition, Store as _};
use vitals_hub::kv_definitions::{DefinitionsRead, KvDefinitions};
use vitals_hub::read;
use vitals_hub::streams::{StreamArgs, Streams};
use vitals_proto::v1::EntityDefinition;
use vitals_runtime::nats::{Connection, Identity, NatsArgs};
use vitals_runtime::tasks::Supervisor;
use vitals_tests::{Nats, test};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn what_is_put_and_deleted_is_listed_and_heard() {
    test(async {
        let nats = Nats::start().await?;
        let mut hub = Hub::start(&nats).await?;
        assert!(hub.hears_all().await?.is_empty());

        let first = hub.store.put(definitions(0..1_000, "team-a")?).await?;
        assert_eq!(first, 1_000);
        hub.hears_up_to(first).await?;
        assert_eq!(hub.known.len(), 1_000);
        // The same again writes nothing; one that differs is written alone.
        assert_eq!(hub.store.put(definitions(0..1_000, "team-a")?).await?, first);
        assert_eq!(hub.store.put(definitions(0..1, "team-b")?).await?, first + 1);
        let gone: Vec<_> = definitions(1..3, "")?.into_iter().map(|it| it.entity).collect();
        let last = hub.store.delete(gone.clone()).await?;
        assert_eq!(last, first + 3);
        assert_eq!(hub.store.delete(gone).await?, last);
        hub.hears_up_to(last).await?;
        assert_eq!(hub.known.len(), 998);
        assert_eq!(hub.known["component:default/service-000000"], "group:default/team-b");
        hub.agrees().await
    });
}

#[test]
fn writers_at_the_same_time_all_get_through() {
    test(async {
        let nats = Nats::start().await?;
        let mut hub = Hub::start(&nats).await?;
        hub.hears_all().await?;
        let store = hub.store.clone();
        let write = |owner: &'static str| {
            let store = store.clone();
            async move { anyhow::Ok(store.put(definitions(0..20, owner)?).await?) }
        };
        let (one, other) = tokio::try_join!(write("one"), write("other"))?;
        hub.hears_up_to(one.max(other)).await?;
        hub.agrees().await
    });
}

#[test]
fn a_bucket_made_anew_replaces_all_and_what_is_foreign_counts_as_none() {
    test(async {
        let nats = Nats::start().await?;
        let mut hub = Hub::start(&nats).await?;
        hub.hears_all().await?;
        let revision = hub.store.put(definitions(0..10, "team")?).await?;
        hub.hears_up_to(revision).await?;

        let context = jetstream::new(async_nats::connect(nats.url()).await?);
        context.delete_stream("KV_vitals_entities").await?;
        assert!(hub.hears_all().await?.is_empty());
        hub.store.put(definitions(5..7, "team")?).await?;
        // A value that is none, one under another's key, and a key that is none.
        let key = "$KV.vitals_entities.component=3Adefault=2F";
        for (subject, payload) in [
            (format!("{key}service-000005"), "\u{0}not protobuf".to_owned()),
            (format!("{key}other"), String::new()),
            ("$KV.vitals_entities.a.b".to_owned(), String::new()),
        ] {
            context.publish(subject, payload.into()).await?.await?;
        }
        hub.hears_up_to(4).await?;
        assert_eq!(hub.known.keys().collect::<Vec<_>>(), ["component:default/service-000006"]);
        hub.agrees().await?;

        nats.process().kill().await?;
        nats.restart().await?;
        assert_eq!(hub.hears_all().await?, ["component:default/service-000006"]);
        Ok(())
    });
}

fn definitions(numbers: std::ops::Range<u32>, owner: &str) -> Result<Vec<Definition>> {
    let define = |number| {
        let owner = owner.to_owned();
        let r#ref = format!("component:default/service-{number:06}");
        definitions::check(EntityDefinition { r#ref, owner, ..EntityDefinition::default() })
    };
    Ok(numbers.map(define).collect::<Result<_, _>>()?)
}

/// What a hub does with definitions.
struct Hub {
    store: KvDefinitions,
    reads: mpsc::Receiver<DefinitionsRead>,
    revision: u64,
    /// Reference to owner.
    known: BTreeMap<String, String>,
    _supervisor: Supervisor,
}

impl Hub {
    async fn start(nats: &Nats) -> Result<Self> {
        let identity = Identity { name: "hub".into(), inbox_prefix: "_INBOX_hub".into() };
        let connection = Connection::open(&NatsArgs::plain(nats.url().parse()?), identity).await?;
        connection.connected(SOON).await?;
        connection.check_server()?;
        let objects = "VITALS_OBJECTS=vitals.v1.object.>,vitals.v1.heartbeat.>".parse()?;
        let (objects_max_mib, history_max_mib, replicas) = (64, 64, 1);
        let args = StreamArgs {
            objects_streams: vec![objects],
            objects_max_mib,
            history_max_mib,
            replicas,
        };
        let streams = Streams::new(&args);
        streams.ensure(&jetstream::new(connection.client().clone())).await?;
        let supervisor = Supervisor::new();
        let store = KvDefinitions::new(&connection, streams.entities);
        let reads = store.watch(&supervisor.tasks(), &connection, &read::Metrics::default());
        Ok(Self { store, reads, revision: 0, known: BTreeMap::new(), _supervisor: supervisor })
    }

    async fn hear(&mut self, by: Instant) -> Result<DefinitionsRead> {
        let read = timeout_at(by, self.reads.recv()).await.context("nothing was heard in time")?;
        let read = read.context("the watch ended")?;
        match read.clone() {
            DefinitionsRead::All { revision, definitions } => {
                self.revision = revision;
                let owners = definitions.into_iter();
                let owners = owners.map(|(entity, it)| (entity.to_string(), it.wire.owner));
                self.known = owners.collect();
            }
            DefinitionsRead::Changed { revision, definitions } => {
                ensure!(revision > self.revision, "{revision} after {}", self.revision);
                self.revision = revision;
                for (entity, definition) in definitions {
                    match definition {
                        Some(it) => self.known.insert(entity.to_string(), it.wire.owner),
                        None => self.known.remove(&entity.to_string()),
                    };
                }
            }
            DefinitionsRead::Lost { .. } => {}
        }
        Ok(read)
    }

    /// Waits for all definitions anew; their references.
    async fn hears_all(&mut self) -> Result<Vec<String>> {
        let by = Instant::now() + SOON;
        while !matches!(self.hear(by).await?, DefinitionsRead::All { .. }) {}
        Ok(self.known.keys().cloned().collect())
    }

    async fn hears_up_to(&mut self, revision: u64) -> Result<()> {
        let by = Instant::now() + SOON;
        while self.revision < revision {
            self.hear(by).await.with_context(|| format!("at revision {}", self.revision))?;
        }
        Ok(())
    }

    /// What it heard is what is listed.
    async fn agrees(&self) -> Result<()> {
        let listed = self.store.list().await?;
        let owners = listed.definitions.into_iter().map(|it| (it.r#ref, it.owner));
        assert_eq!(self.known, owners.collect());
        Ok(())
    }
}
