//! Reads the streams: the first step of the path in the hub, from JetStream to the core's loop.
//!
//! One [`Reader`] per stream; all write to one bounded channel of [`Batch`]es. A reader says all that its
//! stream holds, in order, then all that comes, and goes on through everything that can happen to the
//! connection, the server, the consumer and the stream. It always says what it can and cannot see: within
//! [`SILENCE_MAX`] it notices that it is blind.
//!
//! **Invariants**: between `SnapshotBegin` or `Resumed` and `Lost` no message of the stream is left out, except
//! those that were replaced or removed before they were sent; nothing is dropped for want of room: a full
//! channel stops the asking.
//! Deliberately not here: what a message means. Foreign and undecodable ones are passed on as they are.

mod attach;
mod delivery;
mod history;
mod item;
mod metrics;
mod once;
mod pull;

use std::time::Duration;

use async_nats::jetstream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vitals_hub_core::{StreamName, Time};
use vitals_runtime::backoff::Backoff;
use vitals_runtime::clock::SystemClock;
use vitals_runtime::nats::{Connection, ConnectionState};
use vitals_runtime::tasks::Tasks;

pub use item::{Batch, LostReason, Message, Operation, ReadItem, SnapshotReason};
pub use metrics::{Metrics, ReasonLabels};
pub use once::{Contents, read_all, read_each};

use attach::{Attached, Begin};
use history::{Found, Mark};
use metrics::ReasonLabels as Reason;
use pull::{Arrived, Pull};

/// Batches that wait for the core's loop. When they are this many, the readers wait.
pub const BATCHES_WAITING_MAX: usize = 8;

/// Without a message and without one of the server's idle heartbeats (one a second) for this long, we are blind.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);

/// One attempt to attach may take this long.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);

/// Between attempts to attach.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);

/// Removing a consumer may take this long; the server removes it anyway, a minute after its last use.
const DETACH_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a stream is read on behind what was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Where its history is the same: for OBJECTS, where digests find what a resume may miss.
    WherePossible,
    /// A snapshot after every loss of sight: for small streams that have no digests.
    Never,
}

/// Reads one stream.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    context: jetstream::Context,
    /// As the stream should be: it is made again should it go missing.
    config: jetstream::stream::Config,
    stream: StreamName,
    resume: Resume,
    output: mpsc::Sender<Batch>,
    metrics: Metrics,
    /// How far the stream was read; `None` before the first time.
    mark: Option<Mark>,
    /// The last sequence of a snapshot that has not ended.
    snapshot: Option<u64>,
    sight: Sight,
    /// Our consumer at the server, to be removed at the end.
    consumer: Option<String>,
}

/// What was last said of our sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// Nothing yet.
    Unsaid,
    Seeing,
    Blind,
}

/// The core's loop takes no more, although nobody asked the reader to stop.
#[derive(Debug, thiserror::Error)]
#[error("nobody takes what is read of {stream}")]
pub struct Unheard {
    stream: StreamName,
}

/// Starts a reader per stream. Ends them when `tasks` is stopped.
pub fn start(
    tasks: &Tasks,
    connection: &Connection,
    streams: Vec<jetstream::stream::Config>,
    metrics: &Metrics,
) -> mpsc::Receiver<Batch> {
    let (output, batches) = mpsc::channel(BATCHES_WAITING_MAX);
    for config in streams {
        let name = format!("reader {}", config.name);
        let resume = Resume::WherePossible;
        let reader =
            Reader::new(connection.clone(), config, resume, output.clone(), metrics.clone());
        tasks.spawn(name, reader.run(tasks.stopping()));
    }
    batches
}

impl Reader {
    /// Of the stream with that configuration.
    pub fn new(
        connection: Connection,
        config: jetstream::stream::Config,
        resume: Resume,
        output: mpsc::Sender<Batch>,
        metrics: Metrics,
    ) -> Self {
        let context = jetstream::new(connection.client().clone());
        let stream = StreamName::from(config.name.as_str());
        let (mark, snapshot, sight, consumer) = (None, None, Sight::Unsaid, None);
        Self {
            connection,
            context,
            config,
            stream,
            resume,
            output,
            metrics,
            mark,
            snapshot,
            sight,
            consumer,
        }
    }

    /// Reads until it is stopped.
    pub async fn run(mut self, stopping: CancellationToken) -> Result<(), Unheard> {
        let unheard = tokio::select! {
            biased;
            () = stopping.cancelled() => None,
            unheard = self.read() => Some(unheard),
        };
        self.detach().await;
        unheard.map_or(Ok(()), Err)
    }

    async fn read(&mut self) -> Unheard {
        let mut backoff = Backoff::new(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        loop {
            let lost = match self.attach().await {
                Ok((attached, connects)) => {
                    backoff.reset();
                    self.follow(attached, connects).await
                }
                Err(reason) => Ok(reason),
            };
            let told = match lost {
                Ok(reason) => self.tell_lost(reason).await,
                Err(unheard) => Err(unheard),
            };
            if let Err(unheard) = told {
                return unheard;
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Removes our last consumer, in case the server still has it.
    async fn detach(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        let deleting = self.context.delete_consumer_from_stream(&consumer, self.stream.as_str());
        if !matches!(tokio::time::timeout(DETACH_TIMEOUT, deleting).await, Ok(Ok(_))) {
            tracing::debug!(stream = %self.stream, consumer, "consumer left to the server");
        }
    }

    /// Waits for the connection and attaches. Also says over the how-manieth connection.
    async fn attach(&mut self) -> Result<(Attached, u64), LostReason> {
        let mut state = self.connection.state();
        let connects = connects(&mut state).await?;
        self.detach().await;
        let (context, stream) = (&self.context, self.stream.as_str());
        let attaching = attach::attach(context, stream, self.resume, self.mark);
        let attached = tokio::time::timeout(ATTACH_TIMEOUT, attaching).await;
        let attached = attached.unwrap_or(Err(LostReason::Silent));
        if let Err(LostReason::StreamMissing) = &attached {
            self.make_stream().await?;
        }
        let attached = attached?;
        if *state.borrow() != (ConnectionState::Connected { connects }) {
            return Err(LostReason::Disconnected);
        }
        Ok((attached, connects))
    }

    /// The stream is gone, with all that agents will publish: made again, it is filled by their repair.
    async fn make_stream(&self) -> Result<(), LostReason> {
        tracing::warn!(stream = %self.stream, "stream is missing; making it");
        match self.context.create_stream(self.config.clone()).await {
            Ok(_) => Err(LostReason::StreamMissing),
            Err(error) => {
                Err(LostReason::Refused(format!("cannot make the stream again: {error}")))
            }
        }
    }

    /// Says what the consumer delivers, until that ends.
    async fn follow(&mut self, attached: Attached, connects: u64) -> Result<LostReason, Unheard> {
        let Attached { mut pull, found, begin } = attached;
        self.consumer = Some(pull.consumer().to_owned());
        let items = self.begin(&pull, found, begin);
        self.say(items).await?;
        let mut state = self.connection.state();
        loop {
            if let Err(reason) = pull.top_up().await {
                return Ok(reason);
            }
            let chunk = tokio::select! {
                biased;
                chunk = pull.receive() => chunk,
                () = disconnected(&mut state, connects) => return Ok(LostReason::Disconnected),
                () = tokio::time::sleep(SILENCE_MAX) => return Ok(LostReason::Silent),
            };
            let Some(chunk) = chunk else { return Ok(LostReason::Disconnected) };
            let mut items = Vec::with_capacity(chunk.len() + 1);
            let lost = self.take(&mut pull, chunk, &mut items);
            self.say(items).await?;
            if let Err(reason) = lost {
                return Ok(reason);
            }
        }
    }

    /// What is said first over a new consumer.
    fn begin(&mut self, pull: &Pull, found: Found, begin: Begin) -> Vec<ReadItem> {
        let Found { incarnation_unix_ns, last_sequence, last_published_unix_ns } = found;
        self.sight = Sight::Seeing;
        let seen_at = Instant::now();
        let first = match begin {
            Begin::Snapshot(reason) => {
                tracing::info!(stream = %self.stream, reason = reason.as_str(), last_sequence, "snapshot");
                self.metrics.snapshots.get_or_create(&Reason { reason: reason.as_str() }).inc();
                self.snapshot = Some(last_sequence);
                let (sequence, published_unix_ns) = (0, 0);
                self.mark =
                    Some(Mark { incarnation_unix_ns, sequence, published_unix_ns, seen_at });
                ReadItem::SnapshotBegin { incarnation_unix_ns, last_sequence, reason }
            }
            Begin::Resume(mark) => {
                let Mark { sequence, .. } = mark;
                tracing::info!(stream = %self.stream, sequence, "resumed");
                self.metrics.resumes.inc();
                self.mark = Some(Mark { seen_at, ..mark });
                ReadItem::Resumed { incarnation_unix_ns, sequence }
            }
        };
        let mut items = vec![first];
        if pull.pending_at_first() == 0 {
            self.read_up_to(last_sequence, last_published_unix_ns);
            items.extend(self.end_snapshot());
        }
        items
    }

    fn take(
        &mut self,
        pull: &mut Pull,
        chunk: Vec<async_nats::Message>,
        items: &mut Vec<ReadItem>,
    ) -> Result<(), LostReason> {
        for message in chunk {
            match pull.take(message)? {
                Arrived::Message { message, published_unix_ns } => {
                    let (sequence, pending) = (message.sequence, message.pending);
                    self.metrics.messages.inc();
                    self.metrics
                        .bytes
                        .inc_by(u64::try_from(message.payload.len()).unwrap_or(u64::MAX));
                    self.read_up_to(sequence, published_unix_ns);
                    items.push(ReadItem::Message(message));
                    if self.snapshot.is_some_and(|last| sequence >= last || pending == 0) {
                        items.extend(self.end_snapshot());
                    }
                }
                Arrived::Idle { last_sequence } => {
                    if self.snapshot.is_some_and(|last| last_sequence >= last) {
                        items.extend(self.end_snapshot());
                    }
                    items.push(ReadItem::Idle { as_of: Time::from_unix_ms(SystemClock.unix_ms()) });
                }
                Arrived::Expired => {}
                Arrived::Foreign => {
                    self.metrics.foreign.inc();
                }
            }
        }
        if let Some(mark) = &mut self.mark {
            mark.seen_at = Instant::now();
        }
        Ok(())
    }

    fn read_up_to(&mut self, sequence: u64, published_unix_ns: i64) {
        if let Some(mark) = &mut self.mark
            && sequence > mark.sequence
        {
            (mark.sequence, mark.published_unix_ns) = (sequence, published_unix_ns);
        }
    }

    fn end_snapshot(&mut self) -> Option<ReadItem> {
        let last = self.snapshot.take()?;
        let sequence = last.max(self.mark.map_or(0, |mark| mark.sequence));
        tracing::info!(stream = %self.stream, sequence, "snapshot read");
        Some(ReadItem::SnapshotEnd { sequence })
    }

    /// Says once that it is blind, however many attempts fail.
    async fn tell_lost(&mut self, reason: LostReason) -> Result<(), Unheard> {
        match self.sight {
            Sight::Blind => {
                tracing::debug!(stream = %self.stream, %reason, "still cannot see the stream");
                Ok(())
            }
            Sight::Seeing | Sight::Unsaid => {
                tracing::warn!(stream = %self.stream, %reason, "cannot see the stream");
                self.metrics.losses.get_or_create(&Reason { reason: reason.as_str() }).inc();
                self.sight = Sight::Blind;
                self.say(vec![ReadItem::Lost { reason }]).await
            }
        }
    }

    /// Waits while the channel is full.
    async fn say(&self, items: Vec<ReadItem>) -> Result<(), Unheard> {
        if items.is_empty() {
            return Ok(());
        }
        let batch = Batch { stream: self.stream.clone(), items };
        self.output.send(batch).await.map_err(|_| Unheard { stream: self.stream.clone() })
    }
}

/// Waits for a connection, and says the how-manieth it is. While there is none, we are blind.
async fn connects(state: &mut watch::Receiver<ConnectionState>) -> Result<u64, LostReason> {
    let connected = |state: &ConnectionState| matches!(state, ConnectionState::Connected { .. });
    let state = tokio::time::timeout(SILENCE_MAX, state.wait_for(connected)).await;
    match state.map(|state| state.map(|state| *state)) {
        Ok(Ok(ConnectionState::Connected { connects })) => Ok(connects),
        Ok(_) | Err(_) => Err(LostReason::Disconnected),
    }
}

/// Ends when that connection does.
async fn disconnected(state: &mut watch::Receiver<ConnectionState>, connects: u64) {
    let other = |state: &ConnectionState| *state != ConnectionState::Connected { connects };
    if state.wait_for(other).await.is_err() {
        tracing::debug!("the connection's state is not told any more");
    }
}
