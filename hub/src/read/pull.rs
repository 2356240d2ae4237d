//! One ephemeral pull consumer without acknowledgements, and what it delivers.
//!
//! It is asked for batches; a batch is asked for before the last one is used up, so that the server never
//! waits for us, and only when there is room for it, so that nothing is dropped on the way. That nothing was
//! is proven by the consumer's own sequence: without holes from message to message, and equal to what each
//! idle heartbeat says was sent.
//!
//! A consumer is used for one connection. After that, or after any doubt, there is a new one: it costs under a
//! millisecond. async-nats' ordered consumers are not used: NATS.md, sections 3 and 9.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::{self, stream::ConsumerError};
use async_nats::{Client, HeaderMap, StatusCode, Subject, Subscriber};
use futures::StreamExt as _;

use super::delivery::Delivery;
use super::item::{LostReason, Message, Operation};
use vitals_hub_core::Time;

/// Messages asked for at once. Larger batches were not faster (NATS.md, section 1).
const BATCH_MESSAGES: u64 = 5_000;

/// The next batch is asked for when this few are still to come. With it at most 7,500 messages are under way,
/// far below the 65,536 beyond which async-nats drops.
const BATCH_MESSAGES_LOW: u64 = BATCH_MESSAGES / 2;

/// While a request for a batch is open and there is nothing to send, the server says so this often.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a request for a batch stays open.
const BATCH_EXPIRES: Duration = Duration::from_secs(30);

/// The server removes a consumer that was not asked for this long: one left behind by a hub that was killed.
/// A loop that does not take messages for longer costs a new consumer.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(60);

/// At most so many messages are taken up at once.
const CHUNK_MESSAGES_MAX: usize = 1_024;

/// A consumer, and the subscription to what it sends.
#[derive(Debug)]
pub(super) struct Pull {
    client: Client,
    consumer: String,
    subscriber: Subscriber,
    next_subject: Subject,
    inbox: Subject,
    /// The last one that arrived.
    consumer_sequence: u64,
    /// Messages asked for that have not arrived.
    open: u64,
    /// Messages that were in the stream to be sent when it was made.
    pending_at_first: u64,
}

/// What arrived.
#[derive(Debug)]
pub(super) enum Arrived {
    Message {
        message: Message,
        published_unix_ns: i64,
    },
    /// Nothing is to be sent. The last sequence of the stream that the server looked at.
    Idle {
        last_sequence: u64,
    },
    /// A request ended, as they do.
    Expired,
    /// Not from our consumer.
    Foreign,
}

impl Pull {
    /// Makes the consumer, of all subjects where the filter is empty. Nothing is asked for yet.
    pub(super) async fn attach(
        context: &jetstream::Context,
        stream: &str,
        filter_subject: &str,
        deliver_policy: DeliverPolicy,
    ) -> Result<Self, AttachError> {
        let client = context.client();
        let inbox: Subject = client.new_inbox().into();
        // First, so that nothing is sent to nobody.
        let subscriber = client.subscribe(inbox.clone()).await?;
        let config = pull::Config {
            description: Some("Vitals hub: reads the stream".to_owned()),
            filter_subject: filter_subject.to_owned(),
            deliver_policy,
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            inactive_threshold: INACTIVE_THRESHOLD,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = context.create_consumer_on_stream(config, stream).await?;
        let info = consumer.cached_info();
        Ok(Self {
            client,
            next_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{}", info.name).into(),
            consumer: info.name.clone(),
            subscriber,
            inbox,
            consumer_sequence: 0,
            open: 0,
            pending_at_first: info.num_pending,
        })
    }

    /// Its name at the server.
    pub(super) fn consumer(&self) -> &str {
        &self.consumer
    }

    /// Messages that were to be sent when it was made.
    pub(super) fn pending_at_first(&self) -> u64 {
        self.pending_at_first
    }

    /// Asks for another batch where few are still to come. To be called only when there is room for it.
    pub(super) async fn top_up(&mut self) -> Result<(), LostReason> {
        if self.open > BATCH_MESSAGES_LOW {
            return Ok(());
        }
        let request = format!(
            r#"{{"batch":{BATCH_MESSAGES},"expires":{},"idle_heartbeat":{}}}"#,
            BATCH_EXPIRES.as_nanos(),
            IDLE_HEARTBEAT.as_nanos(),
        );
        let (subject, inbox) = (self.next_subject.clone(), self.inbox.clone());
        let asked = self.client.publish_with_reply(subject, inbox, request.into()).await;
        asked.map_err(|error| LostReason::Refused(error.to_string()))?;
        self.open += BATCH_MESSAGES;
        Ok(())
    }

    /// Waits for messages, and takes what else is there. `None` when the connection was closed.
    pub(super) async fn receive(&mut self) -> Option<Vec<async_nats::Message>> {
        let first = self.subscriber.next().await?;
        let mut chunk = Vec::with_capacity(CHUNK_MESSAGES_MAX.min(64));
        chunk.push(first);
        // Outside of tokio's budget, which would cut a chunk off at about 128 messages.
        let more = tokio::task::unconstrained(futures::future::poll_fn(|context| {
            while chunk.len() < CHUNK_MESSAGES_MAX {
                match self.subscriber.poll_next_unpin(context) {
                    std::task::Poll::Ready(Some(message)) => chunk.push(message),
                    std::task::Poll::Ready(None) | std::task::Poll::Pending => break,
                }
            }
            std::task::Poll::Ready(())
        }));
        more.await;
        Some(chunk)
    }

    /// Says what a message is. An error ends this consumer.
    pub(super) fn take(&mut self, message: async_nats::Message) -> Result<Arrived, LostReason> {
        let async_nats::Message { subject, reply, payload, headers, status, description, .. } =
            message;
        if let Some(status) = status {
            return self.take_status(status, headers.as_ref(), description);
        }
        let Some(delivery) = reply.and_then(|reply| Delivery::parse(&reply, &self.consumer)) else {
            return Ok(Arrived::Foreign);
        };
        let Delivery { stream_sequence, consumer_sequence, published_unix_ns, pending } = delivery;
        if consumer_sequence != self.consumer_sequence + 1 {
            return Err(LostReason::DeliveryGap);
        }
        self.consumer_sequence = consumer_sequence;
        self.open = self.open.saturating_sub(1);
        let message = Message {
            sequence: stream_sequence,
            subject,
            payload,
            published_at: Time::from_unix_ms(published_unix_ns / 1_000_000),
            pending,
            operation: headers.as_ref().map_or(Operation::Put, operation),
        };
        Ok(Arrived::Message { message, published_unix_ns })
    }

    fn take_status(
        &mut self,
        status: StatusCode,
        headers: Option<&HeaderMap>,
        description: Option<String>,
    ) -> Result<Arrived, LostReason> {
        match status {
            StatusCode::IDLE_HEARTBEAT => {
                // What was lost behind the last message that arrived shows only here.
                if number(headers, "Nats-Last-Consumer") > Some(self.consumer_sequence) {
                    return Err(LostReason::DeliveryGap);
                }
                let last_sequence = number(headers, "Nats-Last-Stream").unwrap_or(0);
                Ok(Arrived::Idle { last_sequence })
            }
            StatusCode::TIMEOUT => {
                let unsent = number(headers, "Nats-Pending-Messages").unwrap_or(BATCH_MESSAGES);
                self.open = self.open.saturating_sub(unsent);
                Ok(Arrived::Expired)
            }
            // 409 says that the consumer was deleted, or its leader changed, or the server shuts down; 503 that
            // nobody answers at its subject.
            StatusCode::REQUEST_TERMINATED | StatusCode::NO_RESPONDERS | StatusCode::NOT_FOUND => {
                Err(LostReason::ConsumerGone)
            }
            status => Err(LostReason::Refused(format!(
                "the server refuses messages: {status} {}",
                description.unwrap_or_default()
            ))),
        }
    }
}

/// Why there is no consumer. The caller tries again with backoff.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttachError {
    #[error("cannot subscribe to an inbox")]
    Subscribe(#[from] async_nats::SubscribeError),
    #[error("cannot make a consumer")]
    Consumer(#[from] ConsumerError),
}

fn operation(headers: &HeaderMap) -> Operation {
    match headers.get("KV-Operation").map(async_nats::HeaderValue::as_str) {
        Some("DEL") => Operation::Delete,
        Some("PURGE") => Operation::Purge,
        Some(_) | None => Operation::Put,
    }
}

fn number(headers: Option<&HeaderMap>, name: &'static str) -> Option<u64> {
    headers?.get(name)?.as_str().parse().ok()
}
