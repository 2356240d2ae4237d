//! Asks agents for repair, as the core decides, and brings back what they answer.
//!
//! The repair itself comes in the stream. Who is not answered is asked again by the core, later: so what does
//! not fit into the queue is simply not answered.

use std::time::Duration;

use async_nats::RequestErrorKind;
use async_nats::client::RequestError;
use futures::stream::{FuturesUnordered, StreamExt as _};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vitals_proto::identity::{ClusterName, Scope};
use vitals_proto::subject::{self, Verb};
use vitals_proto::v1;

/// Most requests that wait to be sent. Beyond, they count as not answered.
pub const REQUESTS_WAITING_MAX: usize = 1_024;

/// Most requests under way.
const UNDER_WAY_MAX: usize = 8;

/// How long an agent may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A request for repair.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of which cluster.
    pub cluster: ClusterName,
    /// What is asked.
    pub request: v1::RepairRequest,
}

/// What became of one.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Of which cluster.
    pub cluster: ClusterName,
    /// Of which scope.
    pub scope: Scope,
    /// For which bucket.
    pub bucket: u8,
    /// What the agent says; `None` where none did.
    pub answer: Option<v1::RepairResponse>,
}

impl Ask {
    /// What is said of it when nobody answers.
    pub fn unanswered(&self) -> Asked {
        self.answered(None)
    }

    fn answered(&self, answer: Option<v1::RepairResponse>) -> Asked {
        let v1::RepairRequest { scope, bucket, .. } = &self.request;
        Asked {
            cluster: self.cluster.clone(),
            // The core wrote both: they are a scope and a bucket.
            scope: scope.parse().unwrap_or_default(),
            bucket: u8::try_from(*bucket).unwrap_or(u8::MAX),
            answer,
        }
    }
}

/// Sends what is asked until shutdown, a few at once.
pub async fn run(
    client: async_nats::Client,
    mut asks: mpsc::Receiver<Ask>,
    answers: mpsc::Sender<Asked>,
    stopping: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            Some(ask) = asks.recv(), if under_way.len() < UNDER_WAY_MAX => {
                under_way.push(send(&client, ask));
            }
            Some(asked) = under_way.next() => {
                if answers.send(asked).await.is_err() {
                    // The loop that would hear it has ended: so do we, with it.
                    stopping.cancelled().await;
                    return Ok(());
                }
            }
        }
    }
}

async fn send(client: &async_nats::Client, ask: Ask) -> Asked {
    let Ask { cluster, request } = &ask;
    let subject = subject::request(cluster, Verb::Repair);
    let (scope, bucket) = (&request.scope, request.bucket);
    let payload = request.encode_to_vec().into();
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, client.request(subject, payload)).await;
    let answer = match answered {
        Ok(Ok(message)) => match v1::RepairResponse::decode(message.payload) {
            Ok(answer) => {
                let v1::RepairResponse { resent, buried, refused } = &answer;
                tracing::info!(%cluster, scope, bucket, resent, buried, refused, "repair asked");
                Some(answer)
            }
            Err(error) => {
                tracing::warn!(%cluster, scope, bucket, %error, "answer to a repair cannot be read");
                None
            }
        },
        Ok(Err(error)) => {
            tracing::info!(%cluster, scope, bucket, reason = reason(&error), "repair not answered");
            None
        }
        Err(_) => {
            tracing::info!(%cluster, scope, bucket, reason = "timed out", "repair not answered");
            None
        }
    };
    ask.answered(answer)
}

fn reason(error: &RequestError) -> &'static str {
    match error.kind() {
        RequestErrorKind::TimedOut => "timed out",
        RequestErrorKind::NoResponders => "no agent listens",
        RequestErrorKind::InvalidSubject
        | RequestErrorKind::MaxPayloadExceeded
        | RequestErrorKind::Other => "cannot be sent",
    }
}
