//! Fills one log from the agent that has it: asks, takes the pieces, gives credits, until it ends or nobody reads it.
//!
//! Every credit names another subject below our inbox for what comes next. A NATS server lets an agent answer on a subject for a
//! time and a number of messages only, and does not begin anew when the same subject is named again (nats-server,
//! `client.go`, `deliverMsg`: only what is not allowed yet is noted). So a log can be followed for as long as somebody wants.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use futures::StreamExt as _;
use prost::Message as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use vitals_proto::limits::{LOG_CREDIT_INTERVAL, LOG_SILENCE_MAX, LOG_WINDOW};
use vitals_proto::{subject, v1};

use super::ask::{ANSWER_TIMEOUT, Agents};
use super::log::{Log, Logs};
use super::{Error, SHARED_FOR};

/// How long the server's word that the agent is gone is doubted: it may have lost its connection for a moment.
const GONE_AFTER: Duration = Duration::from_secs(3);

/// One log that is filled.
pub(super) struct Session {
    pub(super) agents: Agents,
    pub(super) log: Arc<Log>,
    pub(super) logs: Arc<Logs>,
}

/// How the answer of one scope ended.
enum End {
    /// The log did, or broke off.
    Of(Result<(), Error>),
    /// This agent gives nothing: another may.
    Elsewhere(Error),
    /// Nobody reads it any more.
    Unread,
}

impl Session {
    /// Fills it to its end.
    pub(super) async fn run(self, stopping: CancellationToken) {
        let ended = tokio::select! {
            ended = self.fill() => ended,
            () = stopping.cancelled() => Some(Err(Error::Stopping)),
        };
        let Some(how) = ended else { return };
        let may_be_shared = how.is_ok() && !self.log.key.follow;
        self.log.end(how);
        if may_be_shared {
            tokio::select! {
                () = tokio::time::sleep(SHARED_FOR) => {}
                () = stopping.cancelled() => {}
            }
        }
        self.logs.close(&self.log);
    }

    /// Asks scope after scope; `None` where nobody reads it any more.
    async fn fill(&self) -> Option<Result<(), Error>> {
        let mut first = None;
        for scope in &self.agents.scopes {
            match self.ask(scope).await {
                Ok(End::Of(how)) => return Some(how),
                Ok(End::Unread) => return None,
                Ok(End::Elsewhere(error)) => drop(first.get_or_insert(error)),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Err(first.unwrap_or_else(|| self.agents.absent())))
    }

    async fn ask(&self, scope: &str) -> Result<End, Error> {
        let Agents { client, cluster, .. } = &self.agents;
        let inbox = client.new_inbox();
        let id = inbox.rsplit('.').next().unwrap_or_default().to_owned();
        let credits = subject::credit(cluster, &id);
        let credits = credits.ok_or_else(|| self.agents.not_sent(&NoId))?;
        let answers = client.subscribe(format!("{inbox}.*")).await;
        let answers = answers.map_err(|error| self.agents.not_sent(&error))?;
        let request = self.request(scope, id).encode_to_vec().into();
        let asking = client.publish_with_reply(self.agents.subject(), first(&inbox), request);
        asking.await.map_err(|error| self.agents.not_sent(&error))?;
        let now = Instant::now();
        let filling = Filling {
            session: self,
            inbox,
            credits,
            is_open: false,
            received: 0,
            credited: 0,
            room: LOG_WINDOW,
            count: 0,
            gone_at: now + ANSWER_TIMEOUT,
        };
        filling.run(answers).await
    }

    fn request(&self, scope: &str, id: String) -> v1::LogsRequest {
        let key = self.log.key.clone();
        v1::LogsRequest {
            scope: scope.to_owned(),
            id,
            namespace: key.pod.namespace().to_owned(),
            pod: key.pod.name().to_owned(),
            container: key.container,
            follow: key.follow,
            previous: key.previous,
            tail_lines: key.tail_lines,
            since_seconds: key.since_seconds,
            timestamps: key.timestamps,
        }
    }
}

/// Ids of async-nats are letters and digits.
#[derive(Debug, thiserror::Error)]
#[error("the client's inbox is none that a subject of credits can be made of")]
struct NoId;

/// Where the first answer comes.
fn first(inbox: &str) -> String {
    format!("{inbox}.0")
}

/// The answer of one scope.
struct Filling<'a> {
    session: &'a Session,
    inbox: String,
    credits: String,
    is_open: bool,
    /// `sequence` of the last chunk that came, and of that which was credited last.
    received: u64,
    credited: u64,
    /// What was given last.
    room: u32,
    /// Credits that were given: the last token of the subject that the next answers come on.
    count: u64,
    /// When the agent counts as gone, unless something comes.
    gone_at: Instant,
}

impl Filling<'_> {
    async fn run(mut self, mut answers: Subscriber) -> Result<End, Error> {
        let session = self.session;
        let mut credits = interval(LOG_CREDIT_INTERVAL);
        credits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                answer = answers.next() => {
                    let Some(answer) = answer else { return Err(Error::Stopping) };
                    if let Some(end) = self.take(answer) {
                        return Ok(end);
                    }
                    if self.received - self.credited >= u64::from(LOG_WINDOW / 4) {
                        self.credit(false).await?;
                    }
                }
                _ = credits.tick() => self.credit(false).await?,
                () = session.log.taken.notified() => {
                    if session.logs.close_unread(&session.log) {
                        self.credit(true).await?;
                        return Ok(End::Unread);
                    }
                    let (few, room) = (LOG_WINDOW / 2, session.log.room());
                    if self.room < few && room >= few {
                        self.credit(false).await?;
                    }
                }
                () = sleep_until(self.gone_at) => return Ok(self.gone()),
            }
        }
    }

    /// Takes what came. How it ends the answer, if it does.
    fn take(&mut self, answer: Message) -> Option<End> {
        let agents = &self.session.agents;
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            if answer.subject.as_str() == first(&self.inbox) {
                return Some(End::Of(Err(agents.absent())));
            }
            // Of a credit. Before the log is open, the agent may not listen to them yet.
            if self.is_open {
                self.gone_at = self.gone_at.min(Instant::now() + GONE_AFTER);
            }
            return None;
        }
        let Ok(chunk) = v1::LogChunk::decode(answer.payload) else {
            return Some(End::Of(Err(Error::Unreadable(agents.cluster.clone()))));
        };
        let v1::LogChunk { sequence, offset, data, end, error, open: _ } = chunk;
        self.gone_at = Instant::now() + LOG_SILENCE_MAX;
        self.received = self.received.max(sequence);
        let log = &self.session.log;
        if let Some(error) = error.map(Error::refused) {
            let elsewhere = !self.is_open && error.may_differ_elsewhere();
            return Some(if elsewhere { End::Elsewhere(error) } else { End::Of(Err(error)) });
        }
        self.is_open = true;
        log.open();
        log.push(offset, data);
        end.then_some(End::Of(Ok(())))
    }

    fn gone(&self) -> End {
        if !self.is_open {
            return End::Elsewhere(self.session.agents.silent());
        }
        let pod = self.session.log.key.pod.to_string();
        End::Of(Err(Error::Broken { pod, reason: "its agent is gone" }))
    }

    async fn credit(&mut self, stop: bool) -> Result<(), Error> {
        self.count += 1;
        self.credited = self.received;
        self.room = self.session.log.room();
        let credit = v1::LogCredit { received: self.received, room: self.room, stop };
        let (agents, reply) = (&self.session.agents, format!("{}.{}", self.inbox, self.count));
        let payload = credit.encode_to_vec().into();
        let giving = agents.client.publish_with_reply(self.credits.clone(), reply, payload);
        giving.await.map_err(|error| agents.not_sent(&error))
    }
}
