//! Drill-down: answers what hubs ask of this cluster beyond what is watched: an object as its API server has it (`raw`), the
//! events of one (`events`), the log of a container (`log`).
//!
//! Beside the path: nothing here touches the core or the stream. Requests come on `vitals.v1.request.<cluster>.<verb>`; each goes
//! to the API server at most once, with the rights of this agent, and nothing is kept.
//!
//! # Invariants
//! - Only the holder of the Lease answers, and only what names its scope.
//! - Logs and raw objects are answered where somebody allowed it ([`Allowed`]); Secrets and ConfigMaps never.
//! - What is asked beyond the limits is answered at once, with BUSY: nothing queues.

mod limits;
mod ask;
mod kind;
mod strip;
mod raw;
mod events;
mod window;
mod log;

use std::{sync::Arc, time::Duration};

use async_nats::{Client, Message, Subject, SubscribeError};
use bytes::Bytes;
use futures::{
    StreamExt as _,
    future::BoxFuture,
    stream::{FuturesUnordered, select_all},
};
use prost::Message as _;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use vitals_proto::{
    identity::{ClusterName, Scope},
    subject::{self, Verb},
    v1::{self, RequestError, RequestRefusal},
};
use vitals_runtime::bucket::Bucket;

use crate::metrics::{Metrics, RequestAnswer, RequestVerb};
use limits::{ASKS_MAX, LOGS_MAX, RATE};

/// How long an answer may take. A hub waits for 10 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// What may be asked of a cluster beyond what is watched. Nothing, unless somebody says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Logs of containers.
    pub logs: bool,
    /// Objects as the API server has them.
    pub raw_objects: bool,
}

/// What an agent needs to answer.
pub(crate) struct Setup {
    pub(crate) kubernetes: kube::Client,
    pub(crate) nats: Client,
    pub(crate) cluster: ClusterName,
    pub(crate) scope: Scope,
    pub(crate) allowed: Allowed,
    /// Why this agent does not publish now; empty where it does, hence answers.
    pub(crate) waiting: watch::Receiver<String>,
    pub(crate) metrics: Metrics,
}

/// Why requests cannot be received. The connection was closed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No subscription.
    #[error("cannot subscribe to requests")]
    Subscribe(#[source] SubscribeError),
}

/// What all answers share.
struct Desk {
    kubernetes: kube::Client,
    nats: Client,
    cluster: ClusterName,
    allowed: Allowed,
    metrics: Metrics,
}

/// A request that is ours.
enum Asked {
    Get(v1::RawObjectRequest),
    Events(v1::EventsRequest),
    Log(v1::LogsRequest),
}

/// Answers until the connection is closed, or the agent stops; then open logs end where they are.
pub(crate) async fn run(setup: Setup, stopping: CancellationToken) -> Result<(), Error> {
    let Setup { kubernetes, nats, cluster, scope, allowed, waiting, metrics } = setup;
    let mut requests = Vec::new();
    for (verb, of_request) in [
        (Verb::Get, RequestVerb::Get),
        (Verb::Events, RequestVerb::Events),
        (Verb::Logs, RequestVerb::Logs),
    ] {
        let messages = nats.subscribe(subject::request(&cluster, verb)).await;
        let messages = messages.map_err(Error::Subscribe)?;
        requests.push(messages.map(move |message| (of_request, message)));
    }
    let mut requests = select_all(requests);
    let desk = Arc::new(Desk { kubernetes, nats, cluster, allowed, metrics });
    let mut answering = Answering {
        desk,
        scope,
        waiting,
        rate: Bucket::full(RATE, Instant::now()),
        asks: FuturesUnordered::new(),
        logs: FuturesUnordered::new(),
    };
    loop {
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            Some(()) = answering.asks.next() => {}
            Some(()) = answering.logs.next() => {}
            request = requests.next() => match request {
                Some((verb, message)) => answering.take(verb, message),
                None => return Ok(()),
            },
        }
    }
}

/// What is being answered. Dropped, it all ends: a log's connection to the API server too.
struct Answering {
    desk: Arc<Desk>,
    scope: Scope,
    waiting: watch::Receiver<String>,
    rate: Bucket,
    asks: FuturesUnordered<BoxFuture<'static, ()>>,
    logs: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Answering {
    fn take(&mut self, verb: RequestVerb, message: Message) {
        let metrics = self.desk.metrics.clone();
        let count = |answer| metrics.request(verb, answer);
        let Message { payload, reply: Some(reply), .. } = message else {
            return count(RequestAnswer::Unreadable);
        };
        let (scope, asked) = match decode(verb, payload) {
            Ok(asked) => asked,
            Err(error) => {
                // No answer: whose it is cannot be told, and the hub's request times out.
                debug!(%error, "unreadable request");
                return count(RequestAnswer::Unreadable);
            }
        };
        if scope != self.scope.as_str() || !self.waiting.borrow().is_empty() {
            return count(RequestAnswer::NotOurs);
        }
        let desk = Arc::clone(&self.desk);
        if let Err(error) = self.admit(&asked) {
            count(RequestAnswer::of(error.reason()));
            if self.asks.len() < 2 * ASKS_MAX {
                self.asks.push(Box::pin(async move { desk.refuse(&asked, reply, error).await }));
            }
            return;
        }
        match asked {
            Asked::Get(request) => {
                self.asks.push(Box::pin(async move { desk.get(request, reply).await }));
            }
            Asked::Events(request) => {
                self.asks.push(Box::pin(async move { desk.events(request, reply).await }));
            }
            Asked::Log(request) => {
                self.logs.push(Box::pin(async move { desk.log(request, reply).await }));
            }
        }
    }

    /// Whether it may be answered at all, and now.
    fn admit(&mut self, asked: &Asked) -> Result<(), RequestError> {
        let Allowed { logs, raw_objects } = self.desk.allowed;
        let (is_allowed, what, flag) = match asked {
            Asked::Get(_) => (raw_objects, "objects as the API server has them", "raw-objects"),
            Asked::Log(_) => (logs, "logs", "logs"),
            Asked::Events(_) => (true, "events", ""),
        };
        let cluster = &self.desk.cluster;
        if !is_allowed {
            let variable = flag.to_uppercase().replace('-', "_");
            return Err(ask::error(
                RequestRefusal::Off,
                format!(
                    "the agent of cluster {cluster} does not give {what}: start it with --allow-{flag} \
                     (VITALS_ALLOW_{variable}=true) to let hubs ask for them"
                ),
            ));
        }
        let busy = |why: String| Err(ask::error(RequestRefusal::Busy, why));
        let (open, most) = match asked {
            Asked::Get(_) | Asked::Events(_) => (self.asks.len(), ASKS_MAX),
            Asked::Log(_) => (self.logs.len(), LOGS_MAX),
        };
        if open >= most {
            return busy(format!(
                "the agent of cluster {cluster} answers {open} such requests already, which is the most: try again"
            ));
        }
        if !self.rate.take(Instant::now()) {
            return busy(format!(
                "the agent of cluster {cluster} is asked too often: try again in a second"
            ));
        }
        Ok(())
    }
}

fn decode(verb: RequestVerb, payload: Bytes) -> Result<(String, Asked), prost::DecodeError> {
    Ok(match verb {
        RequestVerb::Get => {
            let mut request = v1::RawObjectRequest::decode(payload)?;
            (std::mem::take(&mut request.scope), Asked::Get(request))
        }
        RequestVerb::Events => {
            let mut request = v1::EventsRequest::decode(payload)?;
            (std::mem::take(&mut request.scope), Asked::Events(request))
        }
        RequestVerb::Logs => {
            let mut request = v1::LogsRequest::decode(payload)?;
            (std::mem::take(&mut request.scope), Asked::Log(request))
        }
    })
}

/// A kind that is not known takes several questions to the API server: all of them within what a hub waits for.
async fn in_time<T>(
    answering: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    tokio::time::timeout(ANSWER_TIMEOUT, answering).await.unwrap_or_else(|_| {
        let why = format!("the API server took longer than {} s", ANSWER_TIMEOUT.as_secs());
        Err(ask::error(RequestRefusal::Unreachable, why))
    })
}

impl Desk {
    async fn get(&self, request: v1::RawObjectRequest, reply: Subject) {
        use v1::raw_object_response::Outcome;
        let bytes_max = self.nats.max_payload().saturating_sub(raw::ENVELOPE_BYTES_MAX);
        let answered = in_time(raw::get(&self.kubernetes, &request, bytes_max)).await;
        self.note(RequestVerb::Get, answered.as_ref().err());
        let v1::RawObjectRequest { kind, namespace, name, .. } = &request;
        info!(kind, namespace, name, given = answered.is_ok(), "raw object asked for");
        let outcome = Some(match answered {
            Ok(object) => Outcome::Object(object),
            Err(error) => Outcome::Error(error),
        });
        self.answer(reply, &v1::RawObjectResponse { outcome }).await;
    }

    async fn events(&self, request: v1::EventsRequest, reply: Subject) {
        use v1::events_response::Outcome;
        let answered = in_time(events::list(&self.kubernetes, &request)).await;
        self.note(RequestVerb::Events, answered.as_ref().err());
        let outcome = Some(match answered {
            Ok(list) => Outcome::List(list),
            Err(error) => Outcome::Error(error),
        });
        self.answer(reply, &v1::EventsResponse { outcome }).await;
    }

    async fn log(&self, request: v1::LogsRequest, reply: Subject) {
        let v1::LogsRequest { namespace, pod, container, follow, .. } = &request;
        info!(namespace, pod, container, follow, "log asked for");
        self.metrics.log_opened();
        let (verb, sent) = (RequestVerb::Logs, log::Sender::new(self, reply));
        match sent.send(&request).await {
            Ok(ended) => self.metrics.request(verb, ended),
            Err(error) => {
                debug!(%error, "log not answered");
                self.metrics.request(verb, RequestAnswer::Unreadable);
            }
        }
        self.metrics.log_closed();
    }

    async fn refuse(&self, asked: &Asked, reply: Subject, error: RequestError) {
        match asked {
            Asked::Get(_) => {
                let outcome = Some(v1::raw_object_response::Outcome::Error(error));
                self.answer(reply, &v1::RawObjectResponse { outcome }).await;
            }
            Asked::Events(_) => {
                let outcome = Some(v1::events_response::Outcome::Error(error));
                self.answer(reply, &v1::EventsResponse { outcome }).await;
            }
            Asked::Log(_) => {
                let chunk =
                    v1::LogChunk { end: true, error: Some(error), ..v1::LogChunk::default() };
                self.answer(reply, &chunk).await;
            }
        }
    }

    fn note(&self, verb: RequestVerb, error: Option<&RequestError>) {
        let answer = error.map_or(RequestAnswer::Given, |it| RequestAnswer::of(it.reason()));
        self.metrics.request(verb, answer);
    }

    async fn answer(&self, reply: Subject, answer: &impl prost::Message) {
        if let Err(error) = self.nats.publish(reply, answer.encode_to_vec().into()).await {
            debug!(%error, "request not answered");
        }
    }
}
