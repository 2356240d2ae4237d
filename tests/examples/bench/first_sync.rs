//! How fast an agent that starts publishes all that there is.
//!
//! Once with the broker frozen until the agent has listed all, into an outbox that takes it: then it publishes as fast as it
//! can, and that is set beside a bare publisher of the same messages. The hub is frozen both times: it would take its share of
//! the cores. And once as it is in life, from its start until everything is stored, beside a bare client that lists the same
//! kinds.
//!
//! Rates are read from the broker's own times of the first and the last message.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, consumer::pull};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;
use vitals_proto::kind::Kind;
use vitals_runtime::clock::SystemClock;
use vitals_tests::{Process, http, wait_for};

use crate::{
    kube_watch,
    landscape::{Landscape, NAME, STOPPED_WITHIN},
    table::{Budget, Row, Table},
};

/// Publications of the bare publisher that wait for their acknowledgement.
const IN_FLIGHT_MAX: usize = 4_000;

/// A round is over in half a second, and what else the machine does shows in it.
const ROUNDS: usize = 7;

/// Enough for all that there is.
const OUTBOX_BYTES: &str = "200000000";

/// The outbox is as full as it gets when it has not grown for so long.
const FULL_AFTER: Duration = Duration::from_secs(3);

/// Listing everything takes seconds.
const LISTED_WITHIN: Duration = Duration::from_secs(120);

/// A message of a stream.
struct Stored {
    subject: String,
    payload: Bytes,
    /// When the broker stored it. Nanoseconds since the Unix epoch.
    at: i128,
}

/// Between the first and the last. Seconds.
fn span(messages: &[Stored]) -> f64 {
    let at = |message: Option<&Stored>| message.map_or(0, |message| message.at);
    (at(messages.last()) - at(messages.first())) as f64 / 1e9
}

fn per_second(messages: &[Stored]) -> f64 {
    messages.len() as f64 / span(messages)
}

/// What was listed, as fast as it is published. Restarts the agent, again and again, the last time as it was.
pub(crate) async fn publishing(table: &mut Table, landscape: &mut Landscape) -> Result<()> {
    let context = jetstream::new(async_nats::connect(landscape.fleet.nats.url()).await?);
    landscape.replace_agent(&["--outbox-bytes", OUTBOX_BYTES]).await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let round = held_back(landscape, &context).await?;
        let Round { ours, bare, .. } = round;
        eprintln!("ours {ours:.0}/s, bare {bare:.0}/s, ratio {:.2}", ours / bare);
        rounds.push(round);
    }
    rounds.sort_unstable_by(|a, b| (a.ours / a.bare).total_cmp(&(b.ours / b.bare)));
    let Round { held, bytes, ours, bare, cpu } = &rounds[ROUNDS / 2];
    table.add(Row {
        what: format!(
            "first sync: publishing {held} objects of {bytes} B that were listed, median of {ROUNDS}"
        ),
        baseline: format!("{bare:.0}/s bare publisher"),
        ours: format!("{ours:.0}/s; {:.0} µs of the agent's CPU each", cpu * 1e6),
        ratio: ours / bare,
        budget: Budget::Least(0.8),
    });
    landscape.replace_agent(&[]).await
}

/// What was published, and at which rates.
struct Round {
    held: usize,
    bytes: usize,
    ours: f64,
    bare: f64,
    /// Of the agent for each. Seconds.
    cpu: f64,
}

/// All is listed, and waits for the broker.
async fn held_back(landscape: &Landscape, context: &jetstream::Context) -> Result<Round> {
    let (agent, nats) = (landscape.agent()?, landscape.fleet.nats.process());
    let hub = landscape.fleet.hub_process();
    // So that the next one need not wait for its Lease.
    agent.terminate(STOPPED_WITHIN).await?;
    let since = SystemClock.now();
    hub.freeze().await?;
    nats.freeze().await?;
    agent.restart().await?;
    let held = full_outbox(landscape).await?;
    let cpu = cpu_seconds(agent)?;
    nats.thaw().await?;
    drained(landscape).await?;
    let cpu = cpu_seconds(agent)? - cpu;
    let mut all =
        read(context, "VITALS_OBJECTS", "vitals.v1.object.>", since.as_nanosecond()).await?;
    let count = all.len();
    ensure!(count >= landscape.pods() && count >= held, "{count} messages, {held} held");
    // What changed meanwhile came later.
    all.truncate(held);
    let bare = publish_bare(context, &all).await?;
    hub.thaw().await?;
    landscape.fleet.wait_verified_after(NAME, SystemClock.unix_ms()).await?;
    Ok(Round {
        held,
        bytes: all.iter().map(|message| message.payload.len()).sum::<usize>() / held,
        ours: per_second(&all),
        bare: per_second(&bare),
        cpu: cpu / count as f64,
    })
}

/// How many objects wait, when no more come.
async fn full_outbox(landscape: &Landscape) -> Result<usize> {
    let mut held = (0, Instant::now());
    wait_for("the agent to list all", LISTED_WITHIN, async || {
        let now = waiting(landscape).await?;
        if now != held.0 {
            held = (now, Instant::now());
        }
        Ok((now > 0 && held.1.elapsed() > FULL_AFTER).then_some(now))
    })
    .await
}

async fn drained(landscape: &Landscape) -> Result<()> {
    let published = async || {
        let objects = landscape.pods();
        Ok((number(landscape, "published_messages_total", "content=\"Facts\"").await? >= objects
            && waiting(landscape).await? == 0)
            .then_some(()))
    };
    wait_for("the agent to publish all", LISTED_WITHIN, published).await
}

async fn waiting(landscape: &Landscape) -> Result<usize> {
    number(landscape, "outbox_objects", "").await
}

/// A metric of the agent.
async fn number(landscape: &Landscape, name: &str, label: &str) -> Result<usize> {
    let metrics = http::get(landscape.fleet.agent_http(NAME)?, "/metrics").await?.body;
    let (name, brace) = (format!("vitals_agent_{name}"), '{');
    let line = metrics
        .lines()
        .find(|line| {
            line.strip_prefix(&name).is_some_and(|it| it.starts_with(brace)) && line.contains(label)
        })
        .with_context(|| format!("no {name} {label}"))?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()? as usize)
}

/// As agents start. Restarts the agent.
pub(crate) async fn in_life(table: &mut Table, landscape: &Landscape) -> Result<()> {
    let context = jetstream::new(async_nats::connect(landscape.fleet.nats.url()).await?);
    let agent = landscape.agent()?;
    agent.terminate(STOPPED_WITHIN).await?;
    let bare = list_bare(landscape).await?;
    let (since, begun) = (SystemClock.now(), SystemClock.unix_ms());
    agent.restart().await?;
    drained(landscape).await?;
    landscape.fleet.wait_verified_after(NAME, begun + 1_000).await?;
    let cpu = cpu_seconds(agent)?;
    let all = read(&context, "VITALS_OBJECTS", "vitals.v1.object.>", since.as_nanosecond()).await?;
    let last = all.last().context("no messages")?.at;
    let seconds = (last - since.as_nanosecond()) as f64 / 1e9;
    table.add(Row {
        what: format!(
            "first sync: {} objects, from the agent's start until all are stored",
            all.len()
        ),
        baseline: format!("{:.1} s to list them, nothing done", bare.as_secs_f64()),
        ours: format!(
            "{seconds:.1} s; {:.0} µs of the agent's CPU each, until verified",
            cpu * 1e6 / all.len() as f64
        ),
        ratio: seconds / bare.as_secs_f64(),
        budget: Budget::None,
    });
    Ok(())
}

/// Lists all kinds side by side, as an agent does, and does nothing with them.
async fn list_bare(landscape: &Landscape) -> Result<Duration> {
    let begun = Instant::now();
    let client = landscape.cluster.client().await?;
    stream::iter(Kind::KNOWN)
        .map(async |kind| kube_watch::list(&client, &kube_watch::path(&kind)).await)
        .buffer_unordered(Kind::KNOWN.len())
        .try_for_each(async |_| Ok(()))
        .await?;
    Ok(begun.elapsed())
}

/// The same messages, as fast as they are acknowledged, onto a stream that has them from before, as the other had.
async fn publish_bare(context: &jetstream::Context, messages: &[Stored]) -> Result<Vec<Stored>> {
    let ours = context.get_stream("VITALS_OBJECTS").await?.cached_info().config.clone();
    let (name, subjects) = ("BENCH".to_owned(), vec!["vbench.>".to_owned()]);
    context.create_stream(jetstream::stream::Config { name, subjects, ..ours }).await?;
    publish_all(context, messages).await?;
    let since = SystemClock.now();
    publish_all(context, messages).await?;
    let published = read(context, "BENCH", "vbench.>", since.as_nanosecond()).await?;
    context.delete_stream("BENCH").await?;
    ensure!(published.len() == messages.len(), "messages are missing");
    Ok(published)
}

async fn publish_all(context: &jetstream::Context, messages: &[Stored]) -> Result<()> {
    stream::iter(messages)
        .map(async |Stored { subject, payload, .. }| {
            // As long as the other.
            let subject = format!("vbench{}", &subject["vitals".len()..]);
            anyhow::Ok(context.publish(subject, payload.clone()).await?.await?)
        })
        .buffer_unordered(IN_FLIGHT_MAX)
        .try_for_each(async |_| Ok(()))
        .await
}

/// What was stored since then, in the order of the stream.
async fn read(
    context: &jetstream::Context,
    stream: &str,
    subjects: &str,
    since_unix_ns: i128,
) -> Result<Vec<Stored>> {
    let config = pull::Config {
        ack_policy: jetstream::consumer::AckPolicy::None,
        memory_storage: true,
        filter_subject: subjects.to_owned(),
        ..pull::Config::default()
    };
    let mut consumer = context.create_consumer_on_stream(config, stream).await?;
    let pending = usize::try_from(consumer.info().await?.num_pending)?;
    let mut all = consumer.messages().await?.take(pending);
    let mut messages = Vec::new();
    while let Some(message) = all.next().await {
        let message = message?;
        let published = message.info().ok().context("a message without its position")?.published;
        let at = published.unix_timestamp_nanos();
        if at >= since_unix_ns {
            let (subject, payload) = (message.subject.to_string(), message.payload.clone());
            messages.push(Stored { subject, payload, at });
        }
    }
    Ok(messages)
}

/// User and system time of the threads of a process.
pub(crate) fn cpu_seconds(process: &Process) -> Result<f64> {
    let mut ns = 0.0;
    for task in std::fs::read_dir(format!("/proc/{}/task", process.pid()))? {
        let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        ns += stat.split(' ').next().context("an empty schedstat")?.parse::<f64>()?;
    }
    Ok(ns / 1e9)
}
