//! A stream as another client sees it, and a reader as the core sees it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream::{self, stream::Config};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use vitals_hub::read::{self, Batch, LostReason, ReadItem, SnapshotReason};
use vitals_hub::streams::{self, StreamArgs, Streams};
use vitals_runtime::nats::{Connection, Identity, NatsArgs};
use vitals_runtime::tasks::Supervisor;
use vitals_tests::Nats;

/// Deadline of what should come about.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) fn args() -> StreamArgs {
    let objects = "VITALS_OBJECTS=vitals.v1.object.>,vitals.v1.heartbeat.>".parse().unwrap();
    let (objects_max_mib, history_max_mib, replicas) = (512, 16, 1);
    StreamArgs { objects_streams: vec![objects], objects_max_mib, history_max_mib, replicas }
}

pub(crate) fn subject(number: u64) -> String {
    format!("vitals.v1.object.test.pods.default.pod-{number:06}")
}

/// The stream, as another client sees it.
pub(crate) struct Stream {
    pub(crate) context: jetstream::Context,
    pub(crate) config: Config,
}

impl Stream {
    pub(crate) async fn make(nats: &Nats) -> Result<Self> {
        let client = async_nats::ConnectOptions::new()
            .reconnect_delay_callback(|_| Duration::from_millis(20))
            .connect(nats.url())
            .await?;
        let config = Streams::new(&args()).objects.remove(0);
        let context = jetstream::new(client);
        streams::ensure(&context, &config).await?;
        Ok(Self { context, config })
    }

    /// Publishes one message to each of these subjects, in order.
    pub(crate) async fn publish(&self, numbers: std::ops::Range<u64>, payload: &str) -> Result<()> {
        let publish = |number| async move {
            let payload = payload.to_owned().into();
            anyhow::Ok(self.context.publish(subject(number), payload).await?.await?)
        };
        // In order at the server too: they are written to one connection as they are polled.
        let mut acks = futures::stream::iter(numbers.map(publish)).buffered(256);
        while let Some(ack) = acks.next().await {
            ack?;
        }
        Ok(())
    }

    pub(crate) async fn delete(&self) -> Result<()> {
        self.context.delete_stream(&self.config.name).await?;
        Ok(())
    }

    pub(crate) async fn delete_consumers(&self) -> Result<()> {
        let stream = self.context.get_stream(&self.config.name).await?;
        let names: Vec<_> = stream.consumer_names().collect().await;
        ensure!(!names.is_empty(), "no consumer");
        for name in names {
            stream.delete_consumer(&name?).await?;
        }
        Ok(())
    }

    /// Asks for messages in the name of the one consumer, until dropped.
    pub(crate) async fn steal(&self) -> Result<async_nats::Subscriber> {
        let stream = self.context.get_stream(&self.config.name).await?;
        let infos: Vec<_> = stream.consumers().collect().await;
        let [Ok(info)] = infos.as_slice() else { bail!("{} consumers", infos.len()) };
        let client = self.context.client();
        let inbox = client.new_inbox();
        let loot = client.subscribe(inbox.clone()).await?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.config.name, info.name);
        let request = r#"{"batch":1000,"expires":60000000000}"#;
        client.publish_with_reply(subject, inbox, request.into()).await?;
        vitals_tests::wait_for("the thief to be waiting", SOON, async || {
            let info = stream.consumer_info(&info.name).await?;
            Ok((info.num_waiting == 2).then_some(()))
        })
        .await?;
        Ok(loot)
    }

    /// How much the one consumer was sent, once that does not change any more.
    pub(crate) async fn delivered_when_still(&self) -> Result<u64> {
        let stream = self.context.get_stream(&self.config.name).await?;
        let (mut last, mut still) = (0, 0);
        vitals_tests::wait_for("the reader to stop asking", SOON, async || {
            let infos: Vec<_> = stream.consumers().collect().await;
            let [Ok(info)] = infos.as_slice() else { bail!("{} consumers", infos.len()) };
            let delivered = info.delivered.consumer_sequence;
            still = if delivered > 0 && delivered == last { still + 1 } else { 0 };
            last = delivered;
            Ok((still >= 10).then_some(delivered))
        })
        .await
    }

    /// Which sequence each subject is at.
    pub(crate) async fn held(&self) -> Result<BTreeMap<String, u64>> {
        let stream = self.context.get_stream(&self.config.name).await?;
        let mut held = BTreeMap::new();
        let last = stream.cached_info().state.last_sequence;
        let mut sequence = 1;
        while sequence <= last {
            let next =
                stream.direct_get_builder().sequence(sequence).next_by_subject(">").send().await?;
            held.insert(next.subject.to_string(), next.sequence);
            sequence = next.sequence + 1;
        }
        Ok(held)
    }
}

/// A reader, and what a core that merges would hold after what it said.
pub(crate) struct Reader {
    pub(crate) connection: Connection,
    batches: mpsc::Receiver<Batch>,
    waiting: VecDeque<ReadItem>,
    pub(crate) held: BTreeMap<String, read::Message>,
    pub(crate) messages: u64,
    pub(crate) sequence: u64,
    _supervisor: Supervisor,
}

impl Reader {
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let identity = Identity { name: "hub".into(), inbox_prefix: "_INBOX_hub".into() };
        let connection = Connection::open(&NatsArgs::plain(url.parse()?), identity).await?;
        let supervisor = Supervisor::new();
        let streams = Streams::new(&args()).objects;
        let metrics = read::Metrics::default();
        let batches = read::start(&supervisor.tasks(), &connection, streams, &metrics);
        Ok(Self {
            connection,
            batches,
            waiting: VecDeque::new(),
            held: BTreeMap::new(),
            messages: 0,
            sequence: 0,
            _supervisor: supervisor,
        })
    }

    /// The subject on which the server delivers to it.
    pub(crate) async fn inbox(&self, nats: &Nats) -> Result<String> {
        let page = nats.monitor("/connz?subs=1").await?;
        let connections = page["connections"].as_array().into_iter().flatten();
        let subjects =
            connections.flat_map(|it| it["subscriptions_list"].as_array().into_iter().flatten());
        let inboxes =
            subjects.filter_map(|it| it.as_str()).filter(|it| it.starts_with("_INBOX_hub."));
        // The other one, with a wildcard, is for the answers to requests.
        let mut inboxes: Vec<_> = inboxes.filter(|it| !it.ends_with('*')).collect();
        let inbox = inboxes.pop().context("no inbox")?.to_owned();
        ensure!(inboxes.is_empty(), "{inboxes:?}");
        Ok(inbox)
    }

    /// The next thing that is said, by then.
    pub(crate) async fn next(&mut self, by: Instant) -> Result<ReadItem> {
        while self.waiting.is_empty() {
            let batch =
                timeout_at(by, self.batches.recv()).await.context("nothing was said in time")?;
            self.waiting.extend(batch.context("the reader ended")?.items);
        }
        let item = self.waiting.pop_front().context("no item")?;
        if let ReadItem::Message(message) = &item {
            ensure!(
                message.sequence > self.sequence,
                "{} after {}",
                message.sequence,
                self.sequence
            );
            self.sequence = message.sequence;
            self.messages += 1;
            self.held.insert(message.subject.to_string(), message.clone());
        }
        Ok(item)
    }

    /// Waits for what `pick` looks for. What else is said must be messages or idleness, or `allowed`.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut pick: impl FnMut(&ReadItem) -> Option<T>,
    ) -> Result<T> {
        let by = Instant::now() + deadline;
        loop {
            let item = self.next(by).await.with_context(|| format!("waiting for {what}"))?;
            if let Some(picked) = pick(&item) {
                return Ok(picked);
            }
            ensure!(
                matches!(item, ReadItem::Message(_) | ReadItem::Idle { .. }),
                "waiting for {what}, it said {item:?}"
            );
        }
    }

    pub(crate) async fn begins(&mut self, want: SnapshotReason, last: u64) -> Result<()> {
        let begin = |item: &ReadItem| {
            if let ReadItem::SnapshotBegin { last_sequence, reason, .. } = item {
                Some((*last_sequence, *reason))
            } else {
                None
            }
        };
        let got = self.until("the begin of a snapshot", SOON, begin).await?;
        assert_eq!(got, (last, want));
        self.sequence = 0;
        Ok(())
    }

    pub(crate) async fn snapshot_ends(&mut self) -> Result<u64> {
        let end = |item: &ReadItem| {
            if let ReadItem::SnapshotEnd { sequence } = item { Some(*sequence) } else { None }
        };
        self.until("the end of a snapshot", SOON, end).await
    }

    pub(crate) async fn resumes(&mut self, want: u64) -> Result<()> {
        let resumed = |item: &ReadItem| {
            if let ReadItem::Resumed { sequence, .. } = item { Some(*sequence) } else { None }
        };
        assert_eq!(self.until("a resume", SOON, resumed).await?, want);
        Ok(())
    }

    pub(crate) async fn lost_by(&mut self, deadline: Duration) -> Result<LostReason> {
        let lost = |item: &ReadItem| {
            if let ReadItem::Lost { reason } = item { Some(reason.clone()) } else { None }
        };
        self.until("the loss of sight", deadline, lost).await
    }

    pub(crate) async fn idles(&mut self) -> Result<()> {
        let idle = |item: &ReadItem| matches!(item, ReadItem::Idle { .. }).then_some(());
        self.until("a sign of life", SOON, idle).await
    }

    pub(crate) async fn reads_up_to(&mut self, want: u64) -> Result<()> {
        let by = Instant::now() + SOON;
        while self.sequence < want {
            let item = self.next(by).await.with_context(|| format!("at {}", self.sequence))?;
            ensure!(
                matches!(item, ReadItem::Message(_) | ReadItem::Idle { .. }),
                "it said {item:?}"
            );
        }
        assert_eq!(self.sequence, want);
        Ok(())
    }

    /// It holds what the stream holds, and nothing else.
    pub(crate) async fn agrees_with(&self, stream: &Stream) -> Result<()> {
        self.holds(stream).await?;
        assert_eq!(self.held.len(), stream.held().await?.len());
        Ok(())
    }

    /// It holds what the stream holds: each subject at its sequence.
    pub(crate) async fn holds(&self, stream: &Stream) -> Result<()> {
        let wrong: Vec<_> = stream
            .held()
            .await?
            .into_iter()
            .map(|(subject, want)| {
                (self.held.get(&subject).map(|held| held.sequence), subject, want)
            })
            .filter(|(got, _, want)| *got != Some(*want))
            .collect();
        ensure!(wrong.is_empty(), "{} wrong, such as {:?}", wrong.len(), wrong.first());
        Ok(())
    }
}
