//! Takes a hub's repair requests from NATS, and answers them with what the core says.
//!
//! Deliberately not here: what is repaired (`vitals-agent-core`), and the other verbs (`drill`).

use async_nats::{Client, Message, Subject};
use futures::StreamExt as _;
use prost::Message as _;
use tokio::sync::mpsc;
use tracing::debug;
use vitals_proto::{
    identity::ClusterName,
    subject::{self, Verb},
    v1,
};

use crate::metrics::{Metrics, RepairAnswer};

/// Requests that wait for the engine, each at most about 1 MB. Full: further ones are dropped, and the hub asks again.
pub(crate) const REQUESTS_MAX: usize = 8;

/// A repair request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) request: v1::RepairRequest,
    /// Where the answer goes.
    pub(crate) reply: Subject,
}

/// Why requests cannot be received. The connection was closed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No subscription.
    #[error("cannot subscribe to repair requests")]
    Subscribe(#[source] async_nats::SubscribeError),
}

/// Receives until the connection is closed, or nobody listens any more.
pub(crate) async fn receive(
    client: Client,
    cluster: ClusterName,
    requests: mpsc::Sender<Request>,
    metrics: Metrics,
) -> Result<(), Error> {
    let subject = subject::request(&cluster, Verb::Repair);
    let mut messages = client.subscribe(subject).await.map_err(Error::Subscribe)?;
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = requests.closed() => None,
        };
        let Some(Message { payload, reply, .. }) = message else { return Ok(()) };
        let Some(reply) = reply else {
            metrics.repair(RepairAnswer::Unreadable);
            continue;
        };
        match v1::RepairRequest::decode(payload) {
            Ok(request) => {
                if requests.try_send(Request { request, reply }).is_err() {
                    metrics.repair(RepairAnswer::Dropped);
                    debug!("repair request dropped");
                }
            }
            Err(error) => {
                // No answer: whose it is cannot be told, and the hub's request times out.
                metrics.repair(RepairAnswer::Unreadable);
                debug!(%error, "unreadable repair request");
            }
        }
    }
}
