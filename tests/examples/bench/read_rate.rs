//! How fast the hub's reader reads a stream, beside a bare consumer that only counts the same stream.
//!
//! `VITALS_BENCH_MESSAGES`: how many, 500,000 by default.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::{self, consumer::pull, stream::Config};
use futures::StreamExt as _;
use tokio::time::Instant;
use vitals_hub::read::{self, ReadItem};
use vitals_hub::streams::{self, StreamArgs, Streams};
use vitals_runtime::nats::{Connection, Identity, NatsArgs};
use vitals_runtime::tasks::Supervisor;
use vitals_tests::Nats;

use crate::table::{Budget, Row, Table, setting};

const ROUNDS: usize = 5;
const MESSAGES: usize = 500_000;
const PAYLOAD_BYTES: usize = 300;

/// Reads a stream in turns. Gives the bare consumer's messages per second.
pub(crate) async fn measure(table: &mut Table) -> Result<f64> {
    let messages = u64::try_from(setting("VITALS_BENCH_MESSAGES", MESSAGES))?;
    let nats = Nats::start().await?;
    let context = jetstream::new(async_nats::connect(nats.url()).await?);
    let config = config();
    streams::ensure(&context, &config).await?;
    fill(&context, messages).await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let bare = bare(&nats, &config, messages).await?;
        rounds.push((bare, ours(&nats, &config, messages).await?));
    }
    rounds.sort_by(|(bare, ours), (other_bare, other_ours)| {
        (ours / bare).total_cmp(&(other_ours / other_bare))
    });
    let (bare, ours) = rounds[ROUNDS / 2];
    table.add(Row {
        what: format!("hub's reader, {messages} messages of {PAYLOAD_BYTES} B, median of {ROUNDS}"),
        baseline: format!("{bare:.0}/s bare consumer"),
        ours: format!("{ours:.0}/s"),
        ratio: ours / bare,
        budget: Budget::Least(0.5),
    });
    Ok(bare)
}

fn config() -> Config {
    let objects = "VITALS_OBJECTS=vitals.v1.object.>,vitals.v1.heartbeat.>".parse().unwrap();
    let (objects_max_mib, history_max_mib, replicas) = (1_024, 16, 1);
    let args =
        StreamArgs { objects_streams: vec![objects], objects_max_mib, history_max_mib, replicas };
    Streams::new(&args).objects.remove(0)
}

async fn fill(context: &jetstream::Context, messages: u64) -> Result<()> {
    let payload = bytes::Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let publish = |number| {
        let payload = payload.clone();
        async move {
            let subject =
                format!("vitals.v1.object.bench.pods.namespace-{}.pod-{number:09}", number % 100);
            anyhow::Ok(context.publish(subject, payload).await?.await?)
        }
    };
    let mut acks = futures::stream::iter((0..messages).map(publish)).buffer_unordered(4_000);
    while let Some(ack) = acks.next().await {
        ack?;
    }
    Ok(())
}

/// Messages per second of a consumer that only counts.
async fn bare(nats: &Nats, config: &Config, messages: u64) -> Result<f64> {
    let context = jetstream::new(async_nats::connect(nats.url()).await?);
    let begin = Instant::now();
    let consumer = pull::Config {
        ack_policy: jetstream::consumer::AckPolicy::None,
        memory_storage: true,
        ..pull::Config::default()
    };
    let consumer = context.create_consumer_on_stream(consumer, &config.name).await?;
    let mut read = consumer
        .stream()
        .max_messages_per_batch(5_000)
        .heartbeat(Duration::from_secs(1))
        .expires(Duration::from_secs(30))
        .messages()
        .await?;
    for _ in 0..messages {
        read.next().await.context("the stream ended")??;
    }
    Ok(messages as f64 / begin.elapsed().as_secs_f64())
}

/// Messages per second of the reader, until it says that the snapshot is read.
async fn ours(nats: &Nats, config: &Config, messages: u64) -> Result<f64> {
    let identity = Identity { name: "bench".into(), inbox_prefix: "_INBOX_bench".into() };
    let connection = Connection::open(&NatsArgs::plain(nats.url().parse()?), identity).await?;
    connection.connected(Duration::from_secs(10)).await?;
    let supervisor = Supervisor::new();
    let begin = Instant::now();
    let metrics = read::Metrics::default();
    let mut batches = read::start(&supervisor.tasks(), &connection, vec![config.clone()], &metrics);
    let (mut count, mut bytes) = (0, 0);
    loop {
        for item in batches.recv().await.context("the reader ended")?.items {
            match item {
                ReadItem::Message(message) => {
                    (count, bytes) = (count + 1, bytes + message.payload.len())
                }
                ReadItem::SnapshotEnd { .. } => {
                    assert_eq!((count, bytes), (messages, messages as usize * PAYLOAD_BYTES));
                    return Ok(messages as f64 / begin.elapsed().as_secs_f64());
                }
                ReadItem::Lost { reason } => anyhow::bail!("lost: {reason}"),
                ReadItem::SnapshotBegin { .. }
                | ReadItem::Resumed { .. }
                | ReadItem::Idle { .. } => {}
            }
        }
    }
}
