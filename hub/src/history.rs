//! What was told of an entity: read from `VITALS_HEALTH`, the newest first.
//!
//! JetStream reads forwards only: all that the stream has of the entity is read, and the page kept. That is 30 days of one
//! subject of a stream of 64 MiB; a page holds little of it at a time, and few are read at once.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use prost::Message as _;
use tokio::sync::Semaphore;
use vitals_hub_core::Time;
use vitals_proto::identity::EntityRef;
use vitals_proto::{subject, v1};

use crate::read;
use crate::serve::PAGE_BYTES_MAX;
use crate::streams::STATE_BUCKET;
use crate::tell::{HEALTH_STREAM, state_subject};

/// Most histories that are read at once. More wait, up to [`READ_TIMEOUT`].
const READS_MAX: usize = 8;

/// How long reading one may take, waiting included.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Which transitions.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Of which entity.
    pub entity: EntityRef,
    /// Only those at or after this.
    pub since: Option<Time>,
    /// Only those before this.
    pub until: Option<Time>,
    /// Only those that stand before this sequence.
    pub before: Option<u64>,
    /// At most so many; fewer where they are large.
    pub count: usize,
}

/// A page of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The newest first.
    pub transitions: Vec<v1::HealthTransition>,
    /// The next page stands before this sequence; `None` at the last.
    pub next: Option<u64>,
    /// Something was told of the entity at some time, be it forgotten by now.
    pub ever: bool,
}

/// Where history is read.
#[tonic::async_trait]
pub trait History: Debug + Send + Sync {
    /// A page of what was told.
    async fn transitions(&self, asked: &Asked) -> Result<Page, Error>;
}

/// Why it cannot be read. May be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// NATS does not answer, or refuses.
    #[error("cannot read the history in NATS: {0}")]
    Unavailable(String),
    /// Too many are read, or it takes too long.
    #[error("the history was not read within {} s: ask for less, or later", READ_TIMEOUT.as_secs())]
    Slow,
}

/// History in NATS.
#[derive(Debug)]
pub struct NatsHistory {
    context: Context,
    reads: Semaphore,
}

impl NatsHistory {
    /// Over that connection.
    pub fn new(context: Context) -> Self {
        Self { context, reads: Semaphore::new(READS_MAX) }
    }

    async fn read(&self, asked: &Asked) -> Result<Page, Error> {
        // It is never closed.
        let _permit = self.reads.acquire().await.map_err(|_| Error::Slow)?;
        let subject = subject::health(&asked.entity);
        let mut newest = Newest::new(asked.count);
        let take = |message: read::Message| {
            if let Some(told) = passing(asked, &message) {
                newest.push(message.sequence, told);
            }
        };
        let mut ever = false;
        let reading = read::read_each(&self.context, HEALTH_STREAM, &subject, {
            let mut take = take;
            let ever = &mut ever;
            move |message| {
                *ever = true;
                take(message);
            }
        });
        reading.await.map_err(|reason| Error::Unavailable(reason.to_string()))?;
        let ever = ever || self.is_remembered(&asked.entity).await?;
        let (transitions, next) = newest.page();
        Ok(Page { transitions, next, ever })
    }

    /// `vitals_state` knows of it: what was told is older than the stream.
    async fn is_remembered(&self, entity: &EntityRef) -> Result<bool, Error> {
        let unavailable = |reason: String| Error::Unavailable(reason);
        let stream = self.context.get_stream_no_info(format!("KV_{STATE_BUCKET}")).await;
        let stream = stream.map_err(|error| unavailable(error.to_string()))?;
        match stream.get_last_raw_message_by_subject(&state_subject(entity)).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }
}

#[tonic::async_trait]
impl History for NatsHistory {
    async fn transitions(&self, asked: &Asked) -> Result<Page, Error> {
        let reading = tokio::time::timeout(READ_TIMEOUT, self.read(asked));
        reading.await.unwrap_or(Err(Error::Slow))
    }
}

/// The transition, where it is one of this entity and asked for. What is foreign in the stream is left out.
fn passing(asked: &Asked, message: &read::Message) -> Option<v1::HealthTransition> {
    let Asked { entity, since, until, before, count: _ } = asked;
    if before.is_some_and(|before| message.sequence >= before) {
        return None;
    }
    let told = v1::HealthTransition::decode(message.payload.clone()).ok()?;
    let at = told.at.as_ref().map(Time::from_wire)?;
    let is_meant = told.entity == entity.as_str()
        && since.is_none_or(|since| at >= since)
        && until.is_none_or(|until| at < until);
    is_meant.then_some(told)
}

/// The newest of what is pushed in order, as many and as large as fit on a page, and one more that tells of another page.
struct Newest {
    count: usize,
    held: VecDeque<(u64, v1::HealthTransition)>,
}

impl Newest {
    fn new(count: usize) -> Self {
        Self { count, held: VecDeque::new() }
    }

    fn push(&mut self, sequence: u64, told: v1::HealthTransition) {
        if self.held.len() > self.count {
            self.held.pop_front();
        }
        self.held.push_back((sequence, told));
    }

    /// The page, the newest first, and before which sequence the next one stands.
    fn page(self) -> (Vec<v1::HealthTransition>, Option<u64>) {
        let found = self.held.len();
        let (mut transitions, mut last, mut bytes) = (Vec::new(), None, 0);
        for (sequence, told) in self.held.into_iter().rev().take(self.count) {
            if !transitions.is_empty() && bytes + told.encoded_len() > PAGE_BYTES_MAX {
                break;
            }
            bytes += told.encoded_len();
            last = Some(sequence);
            transitions.push(told);
        }
        let next = last.filter(|_| transitions.len() < found);
        (transitions, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &str) -> v1::HealthTransition {
        let verdict = v1::Verdict { message: message.into(), ..Default::default() };
        v1::HealthTransition { after: Some(verdict), ..Default::default() }
    }

    fn page(count: usize, messages: &[&str]) -> (Vec<String>, Option<u64>) {
        let mut newest = Newest::new(count);
        for (sequence, message) in (10..).zip(messages) {
            newest.push(sequence, told(message));
        }
        let (transitions, next) = newest.page();
        (transitions.into_iter().map(|it| it.after.unwrap().message).collect(), next)
    }

    #[test]
    fn the_newest_are_kept_and_more_is_told() {
        let large = "x".repeat(PAGE_BYTES_MAX);
        for (case, count, messages, want, next) in [
            ("none", 2, &[][..], &[][..], None),
            ("fewer", 2, &["a"], &["a"], None),
            ("as many", 2, &["a", "b"], &["b", "a"], None),
            ("more", 2, &["a", "b", "c", "d"], &["d", "c"], Some(12)),
            ("large", 3, &["a", &large, "c"], &["c"], Some(12)),
            ("one that is larger than a page", 3, &["a", &large], &[&*large], Some(11)),
        ] {
            let want = want.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
            assert_eq!(page(count, messages), (want, next), "{case}");
        }
    }

    #[test]
    fn only_what_is_asked_for_passes() {
        let entity: EntityRef = "component:default/shop".parse().unwrap();
        let asked = Asked {
            entity: entity.clone(),
            since: Some(Time::from_unix_s(10)),
            until: Some(Time::from_unix_s(20)),
            before: Some(7),
            count: 5,
        };
        let message = |sequence, of: &str, at| {
            let at = Some(Time::from_unix_s(at).to_wire());
            let told = v1::HealthTransition { entity: of.to_owned(), at, ..Default::default() };
            read::Message {
                sequence,
                subject: "s".into(),
                payload: told.encode_to_vec().into(),
                published_at: Time::from_unix_s(100),
                pending: 0,
                operation: read::Operation::Put,
            }
        };
        for (case, sequence, of, at, want) in [
            ("the first time", 1, "component:default/shop", 10, true),
            ("before it", 1, "component:default/shop", 9, false),
            ("the end", 1, "component:default/shop", 20, false),
            ("of the page before", 7, "component:default/shop", 15, false),
            ("of another", 1, "component:default/other", 15, false),
        ] {
            assert_eq!(passing(&asked, &message(sequence, of, at)).is_some(), want, "{case}");
        }
        let foreign = read::Message { payload: "\u{1}x".into(), ..message(1, "", 15) };
        assert_eq!(passing(&asked, &foreign), None);
    }
}
