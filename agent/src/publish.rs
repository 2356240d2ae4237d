//! Hands messages to NATS, in the core's order, and tells what became of each.
//!
//! On the path: watch → project → *publish*. A publication goes out with a reply subject of our own inbox that holds its
//! ticket, so that one subscription takes all acknowledgements: async-nats' JetStream context keeps an entry per unanswered
//! message for good (#1617), and allocates one for each of the others.
//!
//! Invariant: each ticket is settled by an answer, by a denial, or by [`ACK_TIMEOUT`]; after the last an acknowledgement may
//! still come, and is told too: the core knows whether it came too late.
//! Deliberately not here: what is published, in which order, and what is sent again (`vitals-agent-core`).

mod answer;
mod unanswered;

use std::time::Duration;

use async_nats::{
    Client, Subscriber,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use futures::StreamExt as _;
use tokio::time::Instant;
use tracing::debug;
use vitals_agent_core::{Content, Publication, Ticket, input::Outcome};

use unanswered::Unanswered;

/// How long a message may go without an answer. Then it may have arrived or not, and the newest state is sent again.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// What was in flight on a connection that broke rarely gets an answer: so long after the next one stands.
const ACK_TIMEOUT_RECONNECTED: Duration = Duration::from_secs(1);

/// How long the client may take to accept a message. Its queue holds 2,048, and is full when the connection stands still.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(1);

/// A ticket that is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) ticket: Ticket,
    pub(crate) outcome: Outcome,
    /// In words, where it did not arrive.
    pub(crate) reason: Option<String>,
}

/// Why acknowledgements cannot be received. The connection was closed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No subscription.
    #[error("cannot subscribe to acknowledgements")]
    Subscribe(#[source] async_nats::SubscribeError),
}

/// The publishing end of a connection.
#[derive(Debug)]
pub(crate) struct Publisher {
    client: Client,
    /// Prefix of the reply subjects, with its dot.
    inbox: String,
    acks: Subscriber,
    unanswered: Unanswered,
}

impl Publisher {
    pub(crate) async fn new(client: Client) -> Result<Self, Error> {
        let inbox = format!("{}.", client.new_inbox());
        let acks = client.subscribe(format!("{inbox}*")).await.map_err(Error::Subscribe)?;
        Ok(Self { client, inbox, acks, unanswered: Unanswered::default() })
    }

    /// Hands one over. Gives its fate where that is known at once.
    pub(crate) async fn publish(&mut self, publication: Publication) -> Option<Settled> {
        let Publication { ticket, subject, payload, content } = publication;
        let number = ticket.to_number();
        let reply = format!("{}{number:x}", self.inbox);
        self.unanswered.add(number, &subject, Instant::now() + ACK_TIMEOUT);
        let accepting = async {
            match headers(content) {
                None => self.client.publish_with_reply(subject, reply, payload).await,
                Some(headers) => {
                    let client = &self.client;
                    client.publish_with_reply_and_headers(subject, reply, headers, payload).await
                }
            }
        };
        match tokio::time::timeout(ACCEPT_TIMEOUT, accepting).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                let outcome = answer::of_error(error.kind());
                self.settle(number, outcome, Some(error.to_string()))
            }
            Err(_) => {
                self.settle(number, Outcome::Transient, Some("the connection stands still".into()))
            }
        }
    }

    /// The next that is settled by an answer of the server's. Ends with the connection. Loses nothing when dropped.
    pub(crate) async fn answered(&mut self) -> Option<Settled> {
        loop {
            let message = self.acks.next().await?;
            let number = message.subject.strip_prefix(self.inbox.as_str());
            let number = number.and_then(|hex| u64::from_str_radix(hex, 16).ok());
            let answer = answer::of_message(&message);
            let settled = number.and_then(|number| match answer {
                Ok(()) => Some(self.acked(number)),
                Err((outcome, reason)) => self.settle(number, outcome, Some(reason)),
            });
            match settled {
                Some(settled) => return Some(settled),
                // It counted as unanswered: the newest is sent again anyway.
                None => debug!(subject = %message.subject, "late refusal"),
            }
        }
    }

    /// The server does not let us publish there.
    pub(crate) fn denied(&mut self, subject: &str) -> Option<Settled> {
        let number = self.unanswered.on(subject)?;
        self.settle(number, Outcome::Permission, Some(format!("not allowed: {subject}")))
    }

    /// A connection stands again: what is in flight was most likely lost with the one before.
    pub(crate) fn reconnected(&mut self) {
        self.unanswered.hasten(Instant::now() + ACK_TIMEOUT_RECONNECTED);
    }

    /// Whether something was handed over and not settled.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// When [`Publisher::overdue`] has something to say, unless it is answered before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.unanswered.deadline()
    }

    /// The next that went unanswered for too long.
    pub(crate) fn overdue(&mut self) -> Option<Settled> {
        let number = self.unanswered.overdue(Instant::now())?;
        self.settle(number, Outcome::Transient, Some("no answer".into()))
    }

    /// In time or late.
    fn acked(&mut self, number: u64) -> Settled {
        self.unanswered.remove(number);
        Settled { ticket: Ticket::from_number(number), outcome: Outcome::Acked, reason: None }
    }

    fn settle(&mut self, number: u64, outcome: Outcome, reason: Option<String>) -> Option<Settled> {
        let ticket = Ticket::from_number(number);
        self.unanswered.remove(number).then_some(Settled { ticket, outcome, reason })
    }
}

/// What goes with a message (ADR-43).
fn headers(content: Content) -> Option<HeaderMap> {
    let ttl = content.ttl()?;
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("Nats-TTL"), format!("{}s", ttl.as_secs()));
    headers.insert(HeaderName::from_static("KV-Operation"), HeaderValue::from("PURGE"));
    Some(headers)
}
