//! The one task that owns the core: everything that happens comes in here, and everything that is said goes out here.
//!
//! On the path: the watches' items in, publications out. When the outbox has no room the watches are not read: their queues
//! fill, and the API server waits (backpressure). While NATS is away nothing is handed over.
//!
//! Invariant: publications are handed to the connection in the order in which the core gives them.

mod watches;

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use prost::Message as _;
use tokio::{
    sync::{Notify, broadcast, mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use vitals_agent_core::{
    Agent, Command, Input, Now, Status, agent::TICK_INTERVAL_MS, input::Outcome,
};
use vitals_proto::{kind::Kind, limits::FREEZE_MIN};
use vitals_runtime::{
    clock::SystemClock,
    nats::{self, Connection, ConnectionState},
};

use crate::{
    items::to_core,
    metrics::{Metrics, RepairAnswer},
    publish::{self, Publisher, Settled},
    requests::Request,
    watch::WatchItem,
};
pub(crate) use watches::Watches;

/// Publications handed over, and answers taken, before anything else has its turn.
const BATCH: usize = 64;

/// At the end, how long what is in flight may take to be answered.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the client may take to accept an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two lines in the log on the same trouble.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// How an agent does, for its own readiness.
#[derive(Clone, Debug)]
pub struct AgentStatus {
    /// As its core sees it.
    pub core: Status,
    /// The connection to NATS stands, and its server will do; else why not.
    pub connection: Result<(), String>,
}

/// What the engine is made of.
pub(crate) struct Parts {
    pub(crate) agent: Agent,
    pub(crate) connection: Connection,
    pub(crate) watches: Watches,
    /// From the Lease and the probe.
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) retake: Arc<Notify>,
    pub(crate) silenced: CancellationToken,
    pub(crate) metrics: Metrics,
}

pub(crate) struct Engine {
    agent: Agent,
    connection: Connection,
    publisher: Publisher,
    watches: Watches,
    inputs: mpsc::Receiver<Input>,
    requests: mpsc::Receiver<Request>,
    retake: Arc<Notify>,
    silenced: CancellationToken,
    metrics: Metrics,
    status: watch::Sender<AgentStatus>,
    connected: Result<(), String>,
    started_at: Instant,
    ticked_at: Instant,
    complained_at: Option<Instant>,
}

/// All that can wake the engine.
enum Event {
    Input(Input),
    Connection(ConnectionState),
    Answered(Settled),
    Denied(String),
    Overdue,
    Repair(Request),
    Item(Kind, WatchItem),
    Tick,
    /// It is time for a heartbeat, a retry or a list.
    Woken,
    Stopping,
}

impl Engine {
    pub(crate) async fn new(
        parts: Parts,
    ) -> Result<(Self, watch::Receiver<AgentStatus>), publish::Error> {
        let Parts { agent, connection, watches, inputs, requests, retake, silenced, metrics } =
            parts;
        let publisher = Publisher::new(connection.client().clone()).await?;
        let connected = Err("not connected to NATS yet".to_owned());
        let (status, receiver) =
            watch::channel(AgentStatus { core: agent.status(), connection: connected.clone() });
        let engine = Self {
            agent,
            connection,
            publisher,
            watches,
            inputs,
            requests,
            retake,
            silenced,
            metrics,
            status,
            connected,
            started_at: Instant::now(),
            ticked_at: Instant::now(),
            complained_at: None,
        };
        Ok((engine, receiver))
    }

    /// Runs until stopped; then waits for what is in flight.
    pub(crate) async fn run(mut self, stopping: CancellationToken) -> Result<(), publish::Error> {
        let mut states = self.connection.state();
        states.mark_changed();
        let mut denied = self.connection.denied();
        let mut ticks = interval(Duration::from_millis(TICK_INTERVAL_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = self.event(&stopping, &mut states, &mut denied, &mut ticks).await;
            if matches!(event, Event::Stopping) {
                break;
            }
            // Who was frozen must know it before anything else: what it has read is old, and its Lease another's.
            if self.is_late() && !matches!(event, Event::Tick) {
                self.tick();
                self.perform();
            }
            self.take(event).await;
            self.perform();
            self.hand_over().await;
        }
        self.drain().await;
        Ok(())
    }

    async fn event(
        &mut self,
        stopping: &CancellationToken,
        states: &mut watch::Receiver<ConnectionState>,
        denied: &mut broadcast::Receiver<String>,
        ticks: &mut tokio::time::Interval,
    ) -> Event {
        let far = Instant::now() + Duration::from_secs(3_600);
        let wake_at = self.agent.wake_at().filter(|_| self.connected.is_ok());
        let wake_at = wake_at.map_or(far, |at| self.started_at + Duration::from_millis(at));
        let overdue_at = self.publisher.deadline().unwrap_or(far);
        let may_read = self.agent.has_room();
        // In this order: what ends, then what frees, then what brings more.
        tokio::select! {
            biased;
            () = stopping.cancelled() => Event::Stopping,
            Ok(()) = states.changed() => Event::Connection(*states.borrow_and_update()),
            Some(input) = self.inputs.recv() => Event::Input(input),
            _ = ticks.tick() => Event::Tick,
            Ok(subject) = denied.recv() => Event::Denied(subject),
            Some(settled) = self.publisher.answered() => Event::Answered(settled),
            () = sleep_until(overdue_at) => Event::Overdue,
            () = sleep_until(wake_at) => Event::Woken,
            Some(request) = self.requests.recv() => Event::Repair(request),
            (kind, item) = self.watches.next(), if may_read => Event::Item(kind, item),
        }
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Input(input) => self.apply(input),
            Event::Connection(state) => self.take_connection(state),
            Event::Answered(settled) => {
                self.settle(settled);
                for _ in 1..BATCH {
                    match self.publisher.answered().now_or_never() {
                        Some(Some(settled)) => self.settle(settled),
                        Some(None) | None => break,
                    }
                }
            }
            Event::Denied(subject) => {
                if let Some(settled) = self.publisher.denied(&subject) {
                    self.settle(settled);
                }
            }
            Event::Overdue => {
                while let Some(settled) = self.publisher.overdue() {
                    self.settle(settled);
                }
            }
            Event::Repair(request) => self.repair(request).await,
            Event::Item(kind, item) => {
                self.take_item(kind, item);
                for _ in 1..BATCH {
                    if !self.agent.has_room() {
                        break;
                    }
                    let Some((kind, item)) = self.watches.next().now_or_never() else { break };
                    self.take_item(kind, item);
                }
            }
            Event::Tick => self.tick(),
            Event::Woken | Event::Stopping => {}
        }
    }

    fn now(&self) -> Now {
        let monotonic_ms = u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { unix_ms: SystemClock.unix_ms(), monotonic_ms }
    }

    fn apply(&mut self, input: Input) {
        if matches!(input, Input::LeaseLost) {
            self.watches.stop_all();
        }
        self.agent.apply(input, self.now());
    }

    fn take_item(&mut self, kind: Kind, item: WatchItem) {
        self.metrics.item(&kind);
        if let WatchItem::Unreadable(unreadable) = &item {
            let error: &dyn std::error::Error = &**unreadable;
            warn!(error = crate::watch::one_line(error), "object cannot be read");
        }
        if let WatchItem::EventLost(loss) = &item {
            self.metrics.event_lost(*loss);
        }
        self.apply(Input::Watch { kind, item: to_core(item) });
    }

    fn take_connection(&mut self, state: ConnectionState) {
        self.connected = match state {
            ConnectionState::Connected { .. } => {
                self.publisher.reconnected();
                self.apply(Input::Connected);
                self.check_server()
            }
            ConnectionState::Connecting => Err("not connected to NATS yet".into()),
            ConnectionState::Disconnected => Err("the connection to NATS is lost".into()),
            ConnectionState::Closed => Err("the connection to NATS is closed".into()),
        };
    }

    fn check_server(&self) -> Result<(), String> {
        match self.connection.check_server() {
            // A leaf node has no JetStream of its own: publishing through it works.
            Ok(_) | Err(nats::Error::NoJetStream) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "nothing is published");
                Err(error.to_string())
            }
        }
    }

    fn settle(&mut self, settled: Settled) {
        let Settled { ticket, outcome, reason } = settled;
        self.metrics.settled(outcome);
        if let Some(reason) = reason {
            self.complain(outcome, &reason);
        }
        self.apply(Input::Settled { ticket, outcome });
    }

    /// Thousands of messages can fail at once, for one reason.
    fn complain(&mut self, outcome: Outcome, reason: &str) {
        let now = Instant::now();
        let recently = |at: Instant| now.saturating_duration_since(at) < COMPLAINT_INTERVAL;
        if self.complained_at.is_some_and(recently) {
            debug!(?outcome, reason, "message not stored");
        } else {
            self.complained_at = Some(now);
            warn!(?outcome, reason, "messages are not stored");
        }
    }

    async fn repair(&mut self, Request { request, reply }: Request) {
        let answer = self.agent.repair(&request, self.now());
        let Some(answer) = answer else { return self.metrics.repair(RepairAnswer::NotOurs) };
        let done = answer.refused.is_empty();
        self.metrics.repair(if done { RepairAnswer::Repairing } else { RepairAnswer::Refused });
        info!(
            bucket = request.bucket,
            held = request.held.len(),
            resent = answer.resent,
            buried = answer.buried,
            refused = answer.refused,
            "repair"
        );
        let answering = self.connection.client().publish(reply, answer.encode_to_vec().into());
        match tokio::time::timeout(ANSWER_TIMEOUT, answering).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "repair not answered"),
            Err(_) => debug!("repair not answered: the connection stands still"),
        }
    }

    /// It stood still since the last tick.
    fn is_late(&self) -> bool {
        self.ticked_at.elapsed() > FREEZE_MIN
    }

    fn tick(&mut self) {
        self.ticked_at = Instant::now();
        self.apply(Input::Tick);
        let core = self.agent.status();
        self.metrics.show(&core);
        self.status.send_replace(AgentStatus { core, connection: self.connected.clone() });
    }

    /// Does what the core asks for.
    fn perform(&mut self) {
        while let Some(command) = self.agent.command(self.now()) {
            match command {
                Command::Watch(kind) => self.watches.start(kind),
                Command::Relist(kind) => self.watches.relist(&kind),
                Command::RetakeLease => {
                    warn!("this process was frozen: its Lease may be another's");
                    self.metrics.frozen();
                    self.apply(Input::LeaseDoubted);
                    self.retake.notify_one();
                }
            }
        }
    }

    async fn hand_over(&mut self) {
        for _ in 0..BATCH {
            if self.connected.is_err() || self.is_late() {
                return;
            }
            let Some(publication) = self.agent.next(self.now()) else { return };
            self.metrics.published(publication.content);
            if let Some(settled) = self.publisher.publish(publication).await {
                // The connection may stand still: what else happens must be heard.
                return self.settle(settled);
            }
        }
    }

    /// Takes nothing more in, and waits for what is in flight.
    async fn drain(&mut self) {
        self.watches.stop_all();
        let by = Instant::now() + DRAIN_TIMEOUT;
        while self.publisher.is_waiting() {
            match tokio::time::timeout_at(by, self.publisher.answered()).await {
                Ok(Some(settled)) => self.settle(settled),
                Ok(None) | Err(_) => break,
            }
        }
        self.silenced.cancel();
    }
}
