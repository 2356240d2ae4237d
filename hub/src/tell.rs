//! Tells changes of health: publishes each transition of an entity to `VITALS_HEALTH`, once, and keeps in `vitals_state` what
//! was told.
//!
//! Behind the loop. What is told, and what an answer means, the core decides ([`vitals_hub_core::telling`]); here it is
//! performed: several entities at once, one transition of each at a time. Nothing is told before `vitals_state` was read, and
//! by one replica at a time: the one that holds the [`lease`]. The others keep what that one has not told yet.

mod lease;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::stream::{FuturesUnordered, StreamExt as _};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use vitals_hub_core::telling::{Answer, Judged, Last, Teller, Telling};
use vitals_proto::identity::EntityRef;
use vitals_proto::{subject, token, v1};
use vitals_runtime::tasks::Tasks;

use crate::metrics::TellMetrics;
use crate::read::{self, Batch, ReadItem};
use crate::streams::STATE_BUCKET;
use lease::{Ends, Role};

/// Most verdicts that wait for the teller. Beyond, the loop keeps the latest of each entity.
pub const VERDICTS_WAITING_MAX: usize = 4_096;

/// Most transitions under way.
const UNDER_WAY_MAX: usize = 64;

/// Between attempts to tell.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// Name of the stream of transitions.
pub(crate) const HEALTH_STREAM: &str = "VITALS_HEALTH";

/// What the loop says to the teller, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// A verdict, and where the hub stood.
    Judged(EntityRef, Box<Judged>),
    /// What holds of an entity now is not to be told.
    Withdrawn(EntityRef),
    /// The hub stands there, and all that it said before holds there.
    Stands(v1::Position),
}

/// Where the loop puts verdicts. Never makes it wait: what the teller cannot take yet is kept, the latest of each entity.
#[derive(Debug)]
pub struct Verdicts {
    sender: mpsc::Sender<Word>,
    /// `None`: it is not to be told.
    waiting: BTreeMap<EntityRef, Option<Box<Judged>>>,
}

impl Verdicts {
    /// With the queue that [`run`] reads.
    pub fn new() -> (Self, mpsc::Receiver<Word>) {
        let (sender, receiver) = mpsc::channel(VERDICTS_WAITING_MAX);
        (Self { sender, waiting: BTreeMap::new() }, receiver)
    }

    /// Hands over as much as there is room for, in order for each entity. `None`: its verdict is not to be told.
    pub fn hand(&mut self, verdicts: impl IntoIterator<Item = (EntityRef, Option<Box<Judged>>)>) {
        while let Some((entity, judged)) = self.waiting.pop_first() {
            if let Err(entity) = self.try_send(entity, judged) {
                tracing::debug!(%entity, "verdicts wait to be told");
                break;
            }
        }
        for (entity, judged) in verdicts {
            if self.waiting.is_empty() {
                // What has no room is kept by `try_send`.
                self.try_send(entity, judged).ok();
            } else {
                self.waiting.insert(entity, judged);
            }
        }
    }

    /// Says where the hub stands, once all verdicts are handed over. Where there is no room it is said the next time.
    pub fn stand(&self, position: v1::Position) {
        if self.waiting.is_empty() {
            self.sender.try_send(Word::Stands(position)).ok();
        }
    }

    fn try_send(
        &mut self,
        entity: EntityRef,
        judged: Option<Box<Judged>>,
    ) -> Result<(), EntityRef> {
        let word = match judged {
            Some(judged) => Word::Judged(entity, judged),
            None => Word::Withdrawn(entity),
        };
        self.sender.try_send(word).or_else(|error| {
            let (mpsc::error::TrySendError::Full(word) | mpsc::error::TrySendError::Closed(word)) =
                error;
            let (entity, judged) = match word {
                Word::Judged(entity, judged) => (entity, Some(judged)),
                Word::Withdrawn(entity) => (entity, None),
                Word::Stands(_) => return Ok(()),
            };
            self.waiting.insert(entity.clone(), judged);
            Err(entity)
        })
    }
}

/// Whether a verdict is told. What a hub does not see itself is no news of the entity: it was never verified here, or the hub
/// is cut from NATS. An entity without objects has no cluster that says so: its own verdict does.
pub fn is_told(entity: &v1::Entity) -> bool {
    let clusters = entity.clusters.iter().map(|cluster| cluster.verdict.as_ref());
    clusters.chain([entity.verdict.as_ref()]).all(|verdict| {
        let freshness = verdict.and_then(|verdict| verdict.freshness.as_ref());
        match freshness.map(v1::Freshness::state).unwrap_or_default() {
            v1::FreshnessState::Unspecified
            | v1::FreshnessState::Unverified
            | v1::FreshnessState::HubBlind => false,
            v1::FreshnessState::Fresh
            | v1::FreshnessState::BlindSpot
            | v1::FreshnessState::ApiServerUnreachable
            | v1::FreshnessState::AgentLost
            | v1::FreshnessState::Conflict => true,
        }
    })
}

/// What telling needs.
#[derive(Debug)]
pub struct Inputs {
    /// What the loop says.
    pub words: mpsc::Receiver<Word>,
    /// What is read of `vitals_state`.
    pub state: mpsc::Receiver<Batch>,
}

/// Tells until shutdown, whenever this replica holds the lease.
pub async fn run(
    context: Context,
    mut inputs: Inputs,
    metrics: TellMetrics,
    tasks: Tasks,
) -> Result<(), std::convert::Infallible> {
    let stopping = tasks.stopping();
    let (role_said, mut role) = watch::channel(Role::Unknown);
    let (told_up_to, told_read) = watch::channel(None);
    let ends = Ends { role: role_said, told_up_to: told_read };
    let mut shell = Shell {
        context: context.clone(),
        teller: Teller::default(),
        under_way: FuturesUnordered::new(),
        until: None,
        told_up_to,
        metrics,
    };
    shell.teller.follow();
    // Nothing is told before it is known what was told before.
    let mut lease_ends = Some(ends);
    loop {
        tokio::select! {
            biased;
            () = stopping.cancelled() => return Ok(()),
            () = sleep_until(shell.until) => shell.follow(),
            Some(batch) = inputs.state.recv() => {
                let is_read = shell.remember(batch);
                if let Some(ends) = is_read.then(|| lease_ends.take()).flatten() {
                    let keeping = lease::run(context.clone(), ends, stopping.clone());
                    tasks.spawn("lease of telling", keeping);
                }
            }
            Ok(()) = role.changed() => {
                let role = role.borrow_and_update().clone();
                shell.take(role);
            }
            Some((entity, answer)) = shell.under_way.next() => shell.answer(&entity, answer),
            Some(word) = inputs.words.recv(), if shell.under_way.len() < UNDER_WAY_MAX => {
                shell.hear(word);
            }
        }
    }
}

type UnderWay = Pin<Box<dyn Future<Output = (EntityRef, Answer)> + Send>>;

struct Shell {
    context: Context,
    teller: Teller,
    under_way: FuturesUnordered<UnderWay>,
    /// Until when this replica tells; `None` while it does not.
    until: Option<Instant>,
    /// For the lease: up to where all was told, which once true stays so.
    told_up_to: watch::Sender<Option<v1::Position>>,
    metrics: TellMetrics,
}

impl Shell {
    fn hear(&mut self, word: Word) {
        match word {
            Word::Judged(entity, judged) => {
                let next = self.teller.judge(&entity, *judged);
                self.tell(next);
            }
            Word::Withdrawn(entity) => self.teller.withdraw(&entity),
            Word::Stands(position) => {
                for telling in self.teller.stand(&position) {
                    self.tell(Some(telling));
                }
                let is_idle = self.until.is_some() && self.under_way.is_empty();
                if is_idle && self.teller.has_told_all() {
                    self.told_up_to.send_replace(Some(position));
                }
            }
        }
    }

    /// What was told by whoever tells. Whether a snapshot of it ended.
    fn remember(&mut self, batch: Batch) -> bool {
        let mut ended = false;
        for item in batch.items {
            match item {
                ReadItem::Message(message) => {
                    if let Some((entity, told)) = told(&message) {
                        // Where its last message stands is found out when the next one is told.
                        self.teller.load(entity, told, 0);
                    }
                }
                ReadItem::SnapshotEnd { .. } => ended = true,
                ReadItem::Lost { reason } => {
                    tracing::warn!(%reason, "cannot see what other replicas told");
                }
                ReadItem::SnapshotBegin { .. }
                | ReadItem::Resumed { .. }
                | ReadItem::Idle { .. } => {}
            }
        }
        ended
    }

    fn take(&mut self, role: Role) {
        match role {
            Role::Unknown => {}
            Role::Leads { until } => {
                let begins = self.until.replace(until).is_none();
                if begins {
                    tracing::info!("this replica tells");
                    self.metrics.leads.set(1);
                    for telling in self.teller.lead() {
                        self.tell(Some(telling));
                    }
                }
            }
            Role::Follows { told_up_to } => {
                self.follow();
                if let Some(told_up_to) = told_up_to {
                    self.teller.prune(&told_up_to);
                }
            }
        }
    }

    fn follow(&mut self) {
        if self.until.take().is_some() {
            tracing::warn!("this replica tells no more: its lease has ended");
            self.metrics.leads.set(0);
        }
        self.teller.follow();
    }

    fn answer(&mut self, entity: &EntityRef, answer: Answer) {
        if matches!(answer, Answer::Stored(_)) {
            self.metrics.told.inc();
        }
        let next = self.teller.answer(entity, answer);
        self.tell(next);
    }

    fn tell(&self, telling: Option<Telling>) {
        if let Some(telling) = telling {
            self.under_way.push(Box::pin(tell(self.context.clone(), telling)));
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Publishes one transition, finds out what became of it, and keeps what was told.
async fn tell(context: Context, telling: Telling) -> (EntityRef, Answer) {
    let answer = publish(&context, &telling).await;
    let kept = match &answer {
        Answer::Stored(_) => keep(&context, &telling.entity, &telling.transition).await,
        Answer::Lost(Some(last)) => keep(&context, &telling.entity, &last.told).await,
        Answer::Lost(None) | Answer::Unknown => Ok(()),
    };
    let entity = telling.entity;
    if let Err(reason) = kept {
        // The stream has it: whoever reads the bucket later finds out when it tells the next one.
        tracing::warn!(%entity, reason, "what was told is not kept");
    }
    if answer == Answer::Unknown {
        tokio::time::sleep(RETRY_DELAY).await;
    }
    (entity, answer)
}

async fn publish(context: &Context, telling: &Telling) -> Answer {
    let Telling { entity, transition, expected_sequence } = telling;
    let subject = subject::health(entity);
    let message = PublishMessage::build()
        .payload(transition.encode_to_vec().into())
        .expected_last_subject_sequence(*expected_sequence);
    let sent = match context.send_publish(subject.clone(), message).await {
        Ok(sent) => sent.await,
        Err(error) => Err(error),
    };
    match sent {
        Ok(ack) => {
            tracing::debug!(%entity, generation = transition.generation, "told");
            Answer::Stored(ack.sequence)
        }
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
            match last(context, &subject).await {
                Ok(last) => Answer::Lost(last.map(Box::new)),
                Err(()) => Answer::Unknown,
            }
        }
        Err(error) => {
            tracing::warn!(%entity, %error, "transition not told yet; trying again");
            Answer::Unknown
        }
    }
}

/// The last transition on a subject. `Err` where it cannot be found out.
async fn last(context: &Context, subject: &str) -> Result<Option<Last>, ()> {
    let stream = context.get_stream_no_info(HEALTH_STREAM).await.map_err(|_| ())?;
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => {
            // What is no transition counts as the first: generations go on from what we know.
            let told = v1::HealthTransition::decode(message.payload).unwrap_or_default();
            Ok(Some(Last { told, sequence: message.sequence }))
        }
        Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
        Err(_) => Err(()),
    }
}

async fn keep(
    context: &Context,
    entity: &EntityRef,
    told: &v1::HealthTransition,
) -> Result<(), String> {
    let sent = context.publish(state_subject(entity), told.encode_to_vec().into()).await;
    let stored = match sent {
        Ok(sent) => sent.await,
        Err(error) => Err(error),
    };
    stored.map(|_| ()).map_err(|error| error.to_string())
}

/// Where what was told of an entity is kept.
pub(crate) fn state_subject(entity: &EntityRef) -> String {
    let [kind, namespace, name] =
        [entity.kind(), entity.namespace(), entity.name()].map(token::escape);
    format!("$KV.{STATE_BUCKET}.health.{kind}.{namespace}.{name}")
}

/// What was told, as a message of `vitals_state` says; `None` for what is something else.
fn told(message: &read::Message) -> Option<(EntityRef, v1::HealthTransition)> {
    let told = v1::HealthTransition::decode(message.payload.clone()).ok()?;
    let entity: EntityRef = told.entity.parse().ok()?;
    (*message.subject == *state_subject(&entity)).then_some((entity, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str, at: i64) -> (EntityRef, Option<Box<Judged>>) {
        let judged = Judged {
            verdict: v1::Verdict::default(),
            clusters: Vec::new(),
            at: vitals_hub_core::Time::from_unix_ms(at),
            position: v1::Position::default(),
        };
        (name.parse().unwrap(), Some(Box::new(judged)))
    }

    #[test]
    fn a_full_queue_keeps_the_latest_of_each_entity_and_makes_nobody_wait() {
        let (mut verdicts, mut queue) = Verdicts::new();
        verdicts.hand((0..VERDICTS_WAITING_MAX).map(|_| verdict("a", 0)));
        let withdrawn = ("c".parse().unwrap(), None);
        verdicts.hand([
            verdict("a", 1),
            verdict("b", 2),
            verdict("a", 3),
            verdict("c", 4),
            withdrawn.clone(),
        ]);
        assert_eq!(verdicts.waiting.len(), 3);
        while queue.try_recv().is_ok() {}
        verdicts.stand(v1::Position::default());
        assert!(queue.try_recv().is_err(), "not all that was said before is handed over");
        verdicts.hand([]);
        verdicts.stand(v1::Position::default());
        let mut handed = Vec::new();
        while let Ok(word) = queue.try_recv() {
            handed.push(match word {
                Word::Judged(entity, judged) => format!("{} {}", entity.name(), judged.at),
                Word::Withdrawn(entity) => format!("not {}", entity.name()),
                Word::Stands(_) => "stands".to_owned(),
            });
        }
        assert_eq!(handed, ["a 3ms", "b 2ms", "not c", "stands"]);
    }

    #[test]
    fn what_this_hub_does_not_see_is_not_told() {
        use v1::FreshnessState::{AgentLost, Fresh, HubBlind, Unspecified, Unverified};
        let verdict = |state: v1::FreshnessState| {
            let freshness = v1::Freshness { state: state.into(), ..Default::default() };
            Some(v1::Verdict { freshness: Some(freshness), ..Default::default() })
        };
        for (case, own, clusters, want) in [
            ("seen", Fresh, vec![Fresh, Fresh], true),
            ("lost, as others see too", AgentLost, vec![Fresh, AgentLost], true),
            ("one not verified", AgentLost, vec![AgentLost, Unverified], false),
            ("missing", Fresh, vec![], true),
            ("without objects, at the start", Unverified, vec![], false),
            ("without objects, and blind", HubBlind, vec![], false),
            ("not said", Unspecified, vec![], false),
        ] {
            let cluster =
                |state| v1::ClusterVerdict { verdict: verdict(state), ..Default::default() };
            let clusters = clusters.into_iter().map(cluster).collect();
            let entity = v1::Entity { verdict: verdict(own), clusters, ..Default::default() };
            assert_eq!(is_told(&entity), want, "{case}");
        }
    }
}
