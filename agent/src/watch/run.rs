//! Performs what `plan` decides: asks, reads, sends the items, waits.

use std::{cmp, ops::ControlFlow, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, info};
use vitals_proto::{kind::Kind, limits::FACTS_BYTES_MAX};

use super::{
    Relist, ResourceVersion, Settings, WatchItem, WatchState, Watched, Watcher,
    answer::{self, Failure},
    discovery,
    event::{Event, Line, Lines},
    fold::Fold,
    plan::{End, Next, Plan, Step},
    resource::Resource,
};
use crate::project::{self, Projected, Unreadable, fit::fit};

/// Beyond the proof's own time, what the server may take to end it.
const PROOF_GRACE: Duration = Duration::from_secs(2);

/// So much sooner than asked for the server may end a watch: its timers count whole seconds.
const PROOF_SLACK: Duration = Duration::from_secs(1);

/// Why a step stops short: it ended, or nobody listens any more.
pub(super) enum Stop {
    /// The step ended so.
    Ended(End),
    /// The receiver of the items is gone.
    Unheard,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Ended(End::Failed(failure))
    }
}

/// A running watch.
pub(super) struct Run {
    pub(super) client: kube::Client,
    pub(super) resource: Resource,
    pub(super) settings: Settings,
    pub(super) plan: Plan,
    kind: Kind,
    relist: Relist,
    items: mpsc::Sender<Watched>,
    /// A list was begun, and not ended.
    pub(super) listing: bool,
    /// Of Events.
    fold: Option<Fold>,
}

/// Watches until nobody listens any more.
pub(super) async fn run(watcher: Watcher, items: mpsc::Sender<Watched>) {
    let Watcher { client, resource, kind, settings, relist } = watcher;
    let plan = Plan::new(settings.clone(), Instant::now());
    let items_of_run = items.clone();
    let mut run = Run {
        client,
        resource,
        settings,
        plan,
        fold: matches!(kind, Kind::Event).then(Fold::default),
        kind,
        relist,
        items: items_of_run,
        listing: false,
    };
    tokio::select! {
        () = items.closed() => {}
        _ = run.run() => {}
    }
}

impl Run {
    async fn run(&mut self) -> Option<()> {
        self.tell(WatchState::Listing, String::new()).await?;
        let mut step = Step::List;
        loop {
            let stop = match step {
                Step::List => self.list().await,
                Step::Resume { from } => self.resume(from).await,
                Step::Prove { from } => self.prove(from).await,
            };
            let end = match stop {
                Stop::Unheard => return None,
                Stop::Ended(End::Failed(Failure::NotFound(detail))) => {
                    End::Failed(discovery::absent(&self.client, &self.resource, detail).await)
                }
                Stop::Ended(end) => end,
            };
            if std::mem::take(&mut self.listing) {
                self.send(WatchItem::ListDiscarded).await?;
            }
            debug!(kind = %self.kind, ?step, ?end, "step of a watch ended");
            let Next { pause, step: next, told } =
                self.plan.next(end, Instant::now(), fastrand::f64());
            if let Some((state, detail)) = told {
                self.tell(state, detail).await?;
            }
            sleep(pause).await;
            step = next;
        }
    }

    /// Watches what is newer than `from`, for about [`Settings::watch_timeout`].
    async fn resume(&mut self, from: ResourceVersion) -> Stop {
        let timeout = self.settings.watch_timeout.mul_f64(1.0 - fastrand::f64() / 6.0);
        match self.open(&self.resource.watch(from, timeout), self.settings.answer_timeout).await {
            Ok(lines) => self.follow(lines, None).await,
            Err(failure) => failure.into(),
        }
    }

    /// Puts silence to proof.
    async fn prove(&mut self, from: ResourceVersion) -> Stop {
        let begun = Instant::now();
        let newest = match self.newest(self.settings.answer_timeout).await {
            Ok(newest) => newest,
            Err(failure) => return failure.into(),
        };
        match self.plan.newest(newest, Instant::now()) {
            Err(failure) => return failure.into(),
            Ok(Some(state)) => {
                return match self.alive(Some(newest), state).await {
                    Some(()) => Stop::Ended(End::Done),
                    None => Stop::Unheard,
                };
            }
            Ok(None) => {}
        }
        let proof = self.settings.proof_timeout;
        let until = begun + self.settings.answer_timeout + proof + PROOF_GRACE;
        let opened_at = Instant::now();
        let opened =
            self.open(&self.resource.watch(from, proof), self.settings.answer_timeout).await;
        let stop = match opened {
            Ok(lines) => self.follow(lines, Some(until)).await,
            Err(failure) => failure.into(),
        };
        let Stop::Ended(End::Silent) = stop else { return stop };
        if opened_at.elapsed() + PROOF_SLACK < proof {
            // It was cut short: it may not have had the time to tell.
            return Stop::Ended(End::Unproven);
        }
        let Some(state) = self.plan.silent(newest, Instant::now()) else {
            return Stop::Ended(End::Asked);
        };
        match self.alive(Some(newest), state).await {
            Some(()) => Stop::Ended(End::Done),
            None => Stop::Unheard,
        }
    }

    /// Reads a watch to its end. As a proof (`until`), it ends well only after a sign of life.
    pub(super) async fn follow(&mut self, mut lines: Lines, until: Option<Instant>) -> Stop {
        let mut proven = until.is_none();
        loop {
            // What is there to be read is a sign of life, however late we come to it.
            let deadline = until.unwrap_or_else(|| cmp::max(self.plan.idle_at(), Instant::now()));
            let line = tokio::select! {
                // First, or a watch with always a line to read would never be listed anew. The list has what is not read.
                biased;
                () = self.relist.asked() => return Stop::Ended(End::Asked),
                line = timeout_at(deadline, lines.next()) => line,
            };
            let line = match line {
                Err(_elapsed) if proven && until.is_some() => return Stop::Ended(End::Done),
                Err(_elapsed) if until.is_some() => return Stop::Ended(End::Unproven),
                Err(_elapsed) => return Stop::Ended(End::Idle),
                Ok(Err(error)) => return answer::broken(&error).into(),
                Ok(Ok(None)) if proven => return Stop::Ended(End::Done),
                Ok(Ok(None)) if self.resource.has_bookmarks => return Stop::Ended(End::Unproven),
                Ok(Ok(None)) => return Stop::Ended(End::Silent),
                Ok(Ok(Some(line))) => line,
            };
            if let ControlFlow::Break(stop) = self.follow_line(line).await {
                return stop;
            }
            proven = true;
        }
    }

    async fn follow_line(&mut self, line: Line) -> ControlFlow<Stop> {
        let bytes = match line {
            Line::Read(bytes) => bytes,
            Line::TooLong => return self.follow_item(self.too_long(), None).await,
        };
        match Event::read(&bytes) {
            Event::Applied(object) => {
                let (item, version) = self.project(object, WatchItem::Applied);
                self.follow_item(item, version).await
            }
            Event::Deleted(object) => {
                let (item, version) = self.deleted(object);
                self.follow_item(item, version).await
            }
            Event::Bookmark { resource_version, .. } => {
                let version = ResourceVersion::parse(&resource_version);
                let state = self.plan.bookmark(version, Instant::now());
                heard(self.alive(version, state).await)
            }
            Event::Error(status) => ControlFlow::Break(answer::classify(&status, None).into()),
            Event::Foreign => ControlFlow::Break(foreign(&bytes).into()),
        }
    }

    async fn follow_item(
        &mut self,
        item: WatchItem,
        version: Option<ResourceVersion>,
    ) -> ControlFlow<Stop> {
        match self.plan.event(version, Instant::now()) {
            Err(failure) => ControlFlow::Break(failure.into()),
            Ok(state) => {
                heard(self.send(item).await)?;
                heard(self.recovered(state).await)
            }
        }
    }

    /// Projects an object that exists. Gives its version too, where it can be read.
    pub(super) fn project(
        &self,
        object: &[u8],
        item: fn(Box<Projected>) -> WatchItem,
    ) -> (WatchItem, Option<ResourceVersion>) {
        match project::project(&self.kind, object) {
            Ok(mut projected) => {
                let version = ResourceVersion::parse(&projected.resource_version);
                fit(&mut projected.facts, FACTS_BYTES_MAX);
                (item(Box::new(projected)), version)
            }
            Err(unreadable) => unreadable_item(unreadable),
        }
    }

    /// Reads an object that does not exist any more.
    pub(super) fn deleted(&self, object: &[u8]) -> (WatchItem, Option<ResourceVersion>) {
        match project::project_deleted(&self.kind, object) {
            Ok(deleted) => {
                let version = ResourceVersion::parse(&deleted.resource_version);
                (WatchItem::Deleted(Box::new(deleted)), version)
            }
            Err(unreadable) => unreadable_item(unreadable),
        }
    }

    pub(super) fn too_long(&self) -> WatchItem {
        let source = project::Error::TooLong;
        let kind = self.kind.clone();
        let unreadable =
            Unreadable { kind, namespace: None, name: None, resource_version: None, source };
        WatchItem::Unreadable(Box::new(unreadable))
    }

    /// Asks for a path whose answer has lines.
    pub(super) async fn open(
        &self,
        path: &str,
        answer_timeout: Duration,
    ) -> Result<Lines, Failure> {
        let answer = answer::get(&self.client, path, answer_timeout).await?;
        Ok(Lines::new(answer.into_body()))
    }

    /// Tells a sign of life, and the state that it brings back.
    async fn alive(
        &mut self,
        resource_version: Option<ResourceVersion>,
        state: Option<WatchState>,
    ) -> Option<()> {
        self.send(WatchItem::Alive { resource_version }).await?;
        self.recovered(state).await
    }

    pub(super) async fn recovered(&mut self, state: Option<WatchState>) -> Option<()> {
        match state {
            Some(state) => self.tell(state, String::new()).await,
            None => Some(()),
        }
    }

    async fn tell(&mut self, state: WatchState, detail: String) -> Option<()> {
        info!(kind = %self.kind, ?state, detail, "watch");
        self.send(WatchItem::State { state, detail }).await
    }

    /// Sends an item, or what it makes of folds; waits while the queue is full. `None` when nobody listens any more.
    pub(super) async fn send(&mut self, item: WatchItem) -> Option<()> {
        let Some(fold) = &mut self.fold else { return self.pass(item).await };
        if let WatchItem::ListEnded { resource_version, .. } = &item {
            let version = resource_version.to_string();
            for name in fold.end_list() {
                let projected = self.fold.as_ref().and_then(|fold| fold.projected(&name, &version));
                if let Some(projected) = projected {
                    self.pass(WatchItem::Listed(Box::new(projected))).await?;
                }
            }
            return self.pass(item).await;
        }
        for item in fold.take(item) {
            self.pass(item).await?;
        }
        Some(())
    }

    async fn pass(&self, item: WatchItem) -> Option<()> {
        self.items.send(Watched { kind: self.kind.clone(), item }).await.ok()
    }
}

pub(super) fn heard(sent: Option<()>) -> ControlFlow<Stop> {
    match sent {
        Some(()) => ControlFlow::Continue(()),
        None => ControlFlow::Break(Stop::Unheard),
    }
}

/// A line that is no event.
pub(super) fn foreign(line: &Bytes) -> Failure {
    let text = String::from_utf8_lossy(line.get(..100).unwrap_or(line));
    Failure::Broken(answer::one_line(&format!("not an event: {text}")))
}

fn unreadable_item(unreadable: Unreadable) -> (WatchItem, Option<ResourceVersion>) {
    let version = unreadable.resource_version.as_deref().and_then(ResourceVersion::parse);
    (WatchItem::Unreadable(Box::new(unreadable)), version)
}
