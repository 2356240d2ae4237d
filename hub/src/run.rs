//! The loop that owns the core: one task, one writer.
//!
//! All that can wake it is an [`Event`]. It takes what is there, up to a bound, applies it, settles once, and
//! performs what the core says: changes go to the [`View`], requests for repair to `repair`, clusters to those
//! who watch them. Questions are answered after that, from what was settled.
//!
//! Time: a message counts at the broker's time of it; everything else at the [`BrokerClock`]'s.

mod known;
mod said;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use vitals_hub_core::hub::{self, Effect, Hub, Input};
use vitals_hub_core::{StreamName, Time};
use vitals_proto::v1;
use vitals_runtime::http::Readiness;

use crate::answer;
use crate::clock::BrokerClock;
use crate::kv_clusters;
use crate::kv_definitions::DefinitionsRead;
use crate::metrics::CoreMetrics;
use crate::query::Query;
use crate::read::{Batch, Message, ReadItem};
use crate::repair::{Ask, Asked};
use crate::serve::{Clusters, Said};
use crate::tell::Verdicts;
use crate::view::{Moment, View};
use known::Known;

/// Between two ticks: so much later, at most, is a silence noticed.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// Most things of the reader between two times that the core settles: bounds how long a change waits in a storm.
const ITEMS_PER_SETTLE_MAX: usize = 8_192;

/// Most questions taken between two batches, and the time that is spent on them.
const QUERIES_PER_SETTLE_MAX: usize = 64;
const ANSWERING_MAX: Duration = Duration::from_millis(20);

/// What wakes the loop.
#[derive(Debug)]
enum Event {
    /// A stream was read.
    Read(Batch),
    /// The definitions are other ones now.
    Defined(DefinitionsRead),
    /// Operators say something else of clusters.
    Described,
    /// An agent was asked for repair.
    Repaired(Asked),
    /// Somebody asks.
    Query(Query),
    /// Time passed.
    Tick,
    /// Questions wait for which there was no time.
    Again,
}

/// Where events come from.
#[derive(Debug)]
pub struct Inputs {
    /// What the readers of the OBJECTS streams say.
    pub batches: mpsc::Receiver<Batch>,
    /// What is read of the definitions.
    pub definitions: mpsc::Receiver<DefinitionsRead>,
    /// What operators say of clusters. The first of it is applied before any message of the streams.
    pub records: watch::Receiver<kv_clusters::Read>,
    /// What became of requests for repair.
    pub repaired: mpsc::Receiver<Asked>,
    /// Questions.
    pub queries: mpsc::Receiver<Query>,
}

/// Where effects go.
#[derive(Debug)]
pub struct Outputs {
    /// Entities.
    pub view: Arc<View>,
    /// All clusters, whenever one changes.
    pub clusters: watch::Sender<Clusters>,
    /// Whether the first snapshot was read.
    pub readiness: watch::Sender<Readiness>,
    /// Requests for repair.
    pub asks: mpsc::Sender<Ask>,
    /// Verdicts to be told.
    pub verdicts: Verdicts,
    /// Figures.
    pub metrics: CoreMetrics,
}

/// The core, and what it is told and says.
#[derive(Debug)]
pub struct Loop {
    hub: Hub,
    clock: BrokerClock,
    outputs: Outputs,
    definitions: Known,
    /// Operators said something of clusters since it was last settled.
    is_described: bool,
    /// Questions to be answered when all is settled.
    queries: VecDeque<Query>,
}

/// The loop's inputs ended although the hub is not stopping. Final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads for the core any more")]
pub struct Unfed;

impl Loop {
    /// Around a core that has read nothing.
    pub fn new(hub: Hub, clock: BrokerClock, outputs: Outputs) -> Self {
        let (definitions, queries) = (Known::default(), VecDeque::new());
        Self { hub, clock, outputs, definitions, is_described: false, queries }
    }

    /// Runs until shutdown.
    pub async fn run(
        mut self,
        mut inputs: Inputs,
        stopping: CancellationToken,
    ) -> Result<(), Unfed> {
        let mut ticks = tokio::time::interval(TICK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.describe(&mut inputs);
        loop {
            let recheck_at = self.recheck_at();
            let event = tokio::select! {
                biased;
                () = stopping.cancelled() => return Ok(()),
                _ = ticks.tick() => Event::Tick,
                () = sleep_until(recheck_at) => Event::Tick,
                Some(asked) = inputs.repaired.recv() => Event::Repaired(asked),
                Some(definitions) = inputs.definitions.recv() => Event::Defined(definitions),
                Ok(()) = inputs.records.changed() => Event::Described,
                batch = inputs.batches.recv() => Event::Read(batch.ok_or(Unfed)?),
                () = std::future::ready(()), if !self.queries.is_empty() => Event::Again,
                Some(query) = inputs.queries.recv() => Event::Query(query),
            };
            let is_tick = matches!(event, Event::Tick);
            self.take_all(event, &mut inputs);
            self.settle(is_tick);
            // Other tasks of this thread have waited for as long as that took.
            tokio::task::yield_now().await;
        }
    }

    /// Takes an event, and those that wait behind it.
    fn take_all(&mut self, first: Event, inputs: &mut Inputs) {
        if matches!(first, Event::Described) {
            self.describe(inputs);
        }
        let mut items = self.take(first);
        while items < ITEMS_PER_SETTLE_MAX
            && let Ok(batch) = inputs.batches.try_recv()
        {
            items += self.take(Event::Read(batch));
        }
        while let Ok(read) = inputs.definitions.try_recv() {
            self.take(Event::Defined(read));
        }
        self.define();
        while self.queries.len() < QUERIES_PER_SETTLE_MAX
            && let Ok(query) = inputs.queries.try_recv()
        {
            self.take(Event::Query(query));
        }
    }

    /// Takes one event. Gives how much there was in it.
    fn take(&mut self, event: Event) -> usize {
        match event {
            Event::Read(Batch { stream, items }) => {
                let count = items.len();
                for item in items {
                    self.read(&stream, item);
                }
                count
            }
            Event::Defined(read) => {
                self.definitions.read(read);
                1
            }
            Event::Repaired(asked) => {
                self.repaired(&asked);
                1
            }
            Event::Query(query) => {
                self.queries.push_back(query);
                1
            }
            Event::Tick | Event::Again | Event::Described => 1,
        }
    }

    fn read(&mut self, stream: &StreamName, item: ReadItem) {
        let now = self.now();
        match item {
            ReadItem::SnapshotBegin { incarnation_unix_ns, .. } => {
                self.hub.apply(Input::SnapshotBegin { stream, incarnation_unix_ns }, now);
            }
            ReadItem::Resumed { incarnation_unix_ns, sequence } => {
                self.hub.apply(Input::Resumed { stream, incarnation_unix_ns, sequence }, now);
            }
            ReadItem::Message(message) => self.read_message(stream, &message),
            ReadItem::SnapshotEnd { sequence } => {
                self.hub.apply(Input::SnapshotEnd { stream, sequence }, now);
            }
            ReadItem::Idle { as_of: _ } => self.hub.apply(Input::Idle { stream }, now),
            ReadItem::Lost { reason } => {
                self.hub.apply(Input::Lost { stream, reason: reason.to_string() }, now);
            }
        }
    }

    fn read_message(&mut self, stream: &StreamName, message: &Message) {
        let Message { sequence, subject, payload, published_at, pending, operation: _ } = message;
        if *pending == 0 {
            self.clock.observe(Instant::now(), *published_at);
        }
        let (sequence, pending) = (*sequence, *pending);
        let message = hub::Message { sequence, subject, payload, pending };
        self.hub.apply(Input::Message { stream, message }, *published_at);
    }

    /// Tells the core what was read of definitions since the last time.
    fn define(&mut self) {
        if let Some((definitions, revision)) = self.definitions.take() {
            let now = self.now();
            self.hub.apply(Input::Definitions { definitions, revision }, now);
        }
    }

    /// Tells the core what operators say of clusters now.
    fn describe(&mut self, inputs: &mut Inputs) {
        let read = inputs.records.borrow_and_update().clone();
        if let Some(records) = read {
            let now = self.now();
            let revision = records.revision;
            self.hub.apply(Input::Clusters { records: records.for_core(), revision }, now);
            self.is_described = true;
        }
    }

    fn repaired(&mut self, asked: &Asked) {
        let Asked { cluster, scope, bucket, answer } = asked;
        let bucket = *bucket;
        let input = match answer.clone() {
            Some(answer) => Input::RepairAnswer { cluster, scope, bucket, answer },
            None => Input::NoAgent { cluster, scope, bucket },
        };
        let now = self.now();
        self.hub.apply(input, now);
    }

    /// Lets the core judge what it was told, and performs what it says.
    fn settle(&mut self, is_tick: bool) {
        let now = self.now();
        let effects = if is_tick { self.hub.tick(now) } else { self.hub.settle(now) };
        let position = self.position();
        let mut changes = Vec::new();
        let mut verdicts = Vec::new();
        let mut clusters_changed = is_tick || std::mem::take(&mut self.is_described);
        for effect in effects {
            match effect {
                Effect::Entity(change) => {
                    verdicts.extend(said::verdict(&change, &position, now));
                    changes.push(said::seen(change));
                }
                Effect::Cluster(_) => clusters_changed = true,
                Effect::ClusterForgotten { cluster, objects } => {
                    tracing::info!(%cluster, objects, "cluster forgotten, as an operator said");
                    clusters_changed = true;
                }
                Effect::AskRepair { cluster, request } => self.ask_repair(Ask { cluster, request }),
                Effect::ScopesOverlap { cluster, scopes: [one, other], object } => {
                    tracing::warn!(
                        %cluster, %one, %other, %object,
                        "two scopes say one object: unless it has just moved, let each watch namespaces of its own"
                    );
                }
                Effect::HubBlind { stream, since, reason } => {
                    let since = since.unix_ms();
                    tracing::warn!(%stream, since_unix_ms = since, reason, "blind");
                    clusters_changed = true;
                }
                Effect::HubSees { stream } => {
                    tracing::info!(%stream, "sees again");
                    clusters_changed = true;
                }
            }
        }
        let moment = Moment { position: self.hub.token_position(now), as_of: self.hub.as_of() };
        self.outputs.view.publish(changes, moment);
        self.outputs.verdicts.hand(verdicts);
        if is_tick {
            self.outputs.verdicts.stand(position);
        }
        if clusters_changed {
            self.say_clusters(now);
        }
        self.say_readiness();
        self.answer(now);
        if is_tick {
            let statuses = self.outputs.view.statuses();
            let clock_offset_ms = self.clock.offset_ms();
            self.outputs.metrics.take(&self.hub, &statuses, now, clock_offset_ms);
        }
    }

    /// Answers who asked first, for as long as there is time.
    fn answer(&mut self, now: Time) {
        let until = Instant::now() + ANSWERING_MAX;
        while Instant::now() < until
            && let Some(query) = self.queries.pop_front()
        {
            answer::answer(&self.hub, query, now);
        }
    }

    /// Where the core stands.
    fn position(&self) -> v1::Position {
        let as_of = Some(self.hub.as_of().to_wire());
        v1::Position { as_of, ..self.hub.position().to_wire() }
    }

    fn ask_repair(&mut self, ask: Ask) {
        if let Err(error) = self.outputs.asks.try_send(ask) {
            let (mpsc::error::TrySendError::Full(ask) | mpsc::error::TrySendError::Closed(ask)) =
                error;
            self.outputs.metrics.repairs_not_sent.inc();
            self.repaired(&ask.unanswered());
        }
    }

    /// A part is not said as the whole.
    fn say_clusters(&self, now: Time) {
        if !self.hub.is_ready() {
            return;
        }
        let clusters = self.hub.clusters(now);
        let revision = self.hub.position().clusters_revision;
        let clusters = Clusters::Read(Arc::new(Said { clusters, revision }));
        self.outputs.clusters.send_if_modified(|said| {
            let is_new = *said != clusters;
            if is_new {
                *said = clusters;
            }
            is_new
        });
    }

    fn say_readiness(&self) {
        let not_ready = |reason: &str| Readiness::NotReady(reason.to_owned());
        let readiness = match (self.hub.is_ready(), self.definitions.is_read()) {
            (false, _) => not_ready("it is reading the objects for the first time"),
            (true, false) => not_ready("it is reading the definitions of entities"),
            (true, true) => Readiness::Ready,
        };
        self.outputs.readiness.send_if_modified(|said| {
            let is_new = *said != readiness;
            *said = readiness;
            is_new
        });
    }

    fn now(&self) -> Time {
        self.clock.now(Instant::now())
    }

    /// When the core wants to look again.
    fn recheck_at(&self) -> Option<Instant> {
        let at = self.hub.recheck_at()?;
        Some(Instant::now() + at.since(self.now()))
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
