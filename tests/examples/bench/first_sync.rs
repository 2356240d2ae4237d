//! How fast an agent that starts publishes all that there is, beside a bare publisher of messages of the same sizes.
//!
//! Both rates are read from the broker's own times of the first and the last message. What the API server takes to list is
//! in ours; the agent's own CPU is told beside it.

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, consumer::pull};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use vitals_runtime::clock::SystemClock;
use vitals_tests::Process;

use crate::{
    landscape::{Landscape, NAME},
    table::{Budget, Row, Table},
};

/// Publications of the bare publisher that wait for their acknowledgement.
const IN_FLIGHT_MAX: usize = 4_000;

/// Messages of a stream.
struct Published {
    /// Subject and payload of each.
    messages: Vec<(String, Bytes)>,
    /// Between the first and the last.
    seconds: f64,
}

impl Published {
    fn per_second(&self) -> f64 {
        self.messages.len() as f64 / self.seconds
    }
}

/// Restarts the agent.
pub(crate) async fn measure(table: &mut Table, landscape: &Landscape) -> Result<()> {
    let context = jetstream::new(async_nats::connect(landscape.fleet.nats.url()).await?);
    let agent = landscape.agent()?;
    agent.kill().await?;
    let since = SystemClock.now();
    agent.restart().await?;
    landscape.fleet.wait_verified_after(NAME, SystemClock.unix_ms() + 1_000).await?;
    let cpu = cpu_seconds(agent)?;
    let ours =
        read(&context, "VITALS_OBJECTS", "vitals.v1.object.>", since.as_nanosecond()).await?;
    ensure!(ours.messages.len() >= landscape.pods(), "{} messages", ours.messages.len());

    let bare = publish_bare(&context, &ours.messages).await?;
    let count = ours.messages.len();
    let bytes = ours.messages.iter().map(|(_, payload)| payload.len()).sum::<usize>() / count;
    let cpu_each = cpu * 1e6 / count as f64;
    table.add(Row {
        what: format!("first sync, {count} objects of {bytes} B, from the real API server"),
        baseline: format!("{:.0}/s bare publisher", bare.per_second()),
        ours: format!(
            "{:.0}/s; the agent's CPU {cpu_each:.0} µs each, start to verified",
            ours.per_second()
        ),
        ratio: ours.per_second() / bare.per_second(),
        budget: Budget::Least(0.8),
    });
    Ok(())
}

/// The same messages, as fast as they are acknowledged.
async fn publish_bare(
    context: &jetstream::Context,
    messages: &[(String, Bytes)],
) -> Result<Published> {
    let ours = context.get_stream("VITALS_OBJECTS").await?.cached_info().config.clone();
    let (name, subjects) = ("BENCH".to_owned(), vec!["vbench.>".to_owned()]);
    context.create_stream(jetstream::stream::Config { name, subjects, ..ours }).await?;
    stream::iter(messages)
        .map(async |(subject, payload)| {
            // As long as the other.
            let subject = format!("vbench{}", &subject["vitals".len()..]);
            anyhow::Ok(context.publish(subject, payload.clone()).await?.await?)
        })
        .buffer_unordered(IN_FLIGHT_MAX)
        .try_for_each(async |_| Ok(()))
        .await?;
    let published = read(context, "BENCH", "vbench.>", 0).await?;
    context.delete_stream("BENCH").await?;
    ensure!(published.messages.len() == messages.len(), "messages are missing");
    Ok(published)
}

async fn read(
    context: &jetstream::Context,
    stream: &str,
    subjects: &str,
    since_unix_ns: i128,
) -> Result<Published> {
    let config = pull::Config {
        ack_policy: jetstream::consumer::AckPolicy::None,
        memory_storage: true,
        filter_subject: subjects.to_owned(),
        ..pull::Config::default()
    };
    let mut consumer = context.create_consumer_on_stream(config, stream).await?;
    let pending = usize::try_from(consumer.info().await?.num_pending)?;
    let mut all = consumer.messages().await?.take(pending);
    let (mut messages, mut first, mut last) = (Vec::new(), i128::MAX, 0);
    while let Some(message) = all.next().await {
        let message = message?;
        let published = message.info().ok().context("a message without its position")?.published;
        let at = published.unix_timestamp_nanos();
        if at >= since_unix_ns {
            (first, last) = (first.min(at), last.max(at));
            messages.push((message.subject.to_string(), message.payload.clone()));
        }
    }
    Ok(Published { messages, seconds: (last - first) as f64 / 1e9 })
}

/// User and system time of a process.
pub(crate) fn cpu_seconds(process: &Process) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid()))?;
    let fields: Vec<&str> =
        stat.rsplit(')').next().context("an empty stat")?.split_whitespace().collect();
    // In hundredths of a second.
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}
