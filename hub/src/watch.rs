//! One `WatchEntities`: a snapshot or a resume, `synced`, changes, `progress` in between.
//!
//! Gives frames as they stand on the wire. Holds no queue: what it takes next, it takes from the [`View`] when
//! HTTP/2 has room for it. While it has nothing to say it holds a place, a filter and a timer.
//!
//! A token that cannot be used is followed by a new snapshot with the reason, never by a gap.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;
use vitals_proto::limits::PROGRESS_INTERVAL;
use vitals_proto::v1::{self, watch_entities_response::Event};
use vitals_runtime::http::Readiness;

use crate::metrics::{Begun, ServeMetrics};
use crate::query::{Desk, MayResume, Query};
use crate::serve::limits::Permit;
use crate::token;
use crate::view::filter::Filter;
use crate::view::{Advance, Cursor, Moment, Pulse, Record, Selection, View, encode};

/// How long a watch waits for the hub to be able to resume it, or to have read its first snapshot.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// Between two questions whether a resume may be served.
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// What all watches share.
#[derive(Debug)]
pub struct Shared {
    /// What they see.
    pub view: Arc<View>,
    /// Where they ask the core.
    pub desk: Desk,
    /// Whether the hub has read its first snapshot.
    pub readiness: watch::Receiver<Readiness>,
    /// Their figures.
    pub metrics: ServeMetrics,
}

/// What a client asked for, checked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Which entities.
    pub filter: Filter,
    /// Token to resume from; empty for a snapshot.
    pub resume_token: Bytes,
}

/// One watch.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    filter: Filter,
    filter_hash: u64,
    pulse: watch::Receiver<Pulse>,
    phase: Phase,
    /// When `progress` is due.
    progress_at: Instant,
    _permit: Permit,
}

#[derive(Debug)]
enum Phase {
    /// Nothing was said yet.
    Opening { resume_token: Bytes },
    /// The first frame, the entities, and `synced`.
    Sending(Box<Sending>),
    /// Changes as they come.
    Live { cursor: Cursor, frames: std::vec::IntoIter<Bytes> },
    /// The end was said.
    Ended,
}

#[derive(Debug)]
struct Sending {
    begin: Option<Bytes>,
    records: std::vec::IntoIter<Arc<Record>>,
    synced: Bytes,
    cursor: Cursor,
}

impl Watch {
    /// Begins with the first [`Watch::next`].
    pub fn new(shared: Arc<Shared>, asked: Asked, permit: Permit) -> Self {
        let Asked { filter, resume_token } = asked;
        let filter_hash = filter.hash();
        let pulse = shared.view.pulse();
        let phase = Phase::Opening { resume_token };
        let progress_at = Instant::now();
        Self { shared, filter, filter_hash, pulse, phase, progress_at, _permit: permit }
    }

    /// The next frame, when there is one. `None` after the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            if self.pulse.borrow_and_update().stopping && !matches!(self.phase, Phase::Ended) {
                return Some(self.end(stopping()));
            }
            match &mut self.phase {
                Phase::Opening { resume_token } => {
                    let resume_token = std::mem::take(resume_token);
                    match self.open(resume_token).await {
                        Ok(sending) => self.phase = Phase::Sending(Box::new(sending)),
                        Err(status) => return Some(self.end(status)),
                    }
                }
                Phase::Sending(sending) => {
                    let frame = sending.next(&self.filter);
                    if let Some(frame) = frame {
                        return Some(Ok(self.counted(frame)));
                    }
                    let Sending { synced, cursor, .. } = &mut **sending;
                    let (synced, cursor) = (std::mem::take(synced), *cursor);
                    self.phase = Phase::Live { cursor, frames: Vec::new().into_iter() };
                    self.progress_at = Instant::now() + PROGRESS_INTERVAL;
                    return Some(Ok(self.counted(synced)));
                }
                Phase::Live { frames, .. } => {
                    if let Some(frame) = frames.next() {
                        return Some(Ok(self.counted(frame)));
                    }
                    if let Some(frame) = self.go_on().await {
                        return Some(Ok(self.counted(frame)));
                    }
                }
                Phase::Ended => return None,
            }
        }
    }

    /// The first part of a watch: what it begins with, and all that follows up to `synced`.
    async fn open(&mut self, resume_token: Bytes) -> Result<Sending, Status> {
        self.until_ready().await?;
        if resume_token.is_empty() {
            return Ok(self.snapshot(Begun::Fresh, String::new()));
        }
        let from = match token::read(&resume_token, &self.filter) {
            Ok(from) => from,
            Err(refused) => return Ok(self.snapshot(Begun::Refused, refused.to_string())),
        };
        if let Err(reason) = self.until_may_resume(&from).await? {
            return Ok(self.snapshot(Begun::Refused, reason));
        }
        let Ok(selection) = self.shared.view.select_since(&self.filter, &from) else {
            let reason = "what was removed since the resume token is not known any more".to_owned();
            return Ok(self.snapshot(Begun::Refused, reason));
        };
        self.shared.metrics.begin(Begun::Resumed);
        Ok(self.send(Event::Resumed(v1::Resumed {}), selection))
    }

    fn snapshot(&self, begun: Begun, reason: String) -> Sending {
        self.shared.metrics.begin(begun);
        let selection = self.shared.view.select_all(&self.filter);
        self.send(Event::Snapshot(v1::SnapshotBegin { reason }), selection)
    }

    fn send(&self, begin: Event, selection: Selection) -> Sending {
        let Selection { cursor, moment, records, totals } = selection;
        let synced = v1::Synced {
            token: token::write(&moment, self.filter_hash),
            count: totals.count,
            digest: totals.digest,
        };
        Sending {
            begin: Some(encode(begin)),
            records: records.into_iter(),
            synced: encode(Event::Synced(synced)),
            cursor,
        }
    }

    /// Takes what changed, or waits for a change, the time of `progress`, or the end. Gives the frame of `progress`.
    async fn go_on(&mut self) -> Option<Bytes> {
        let Phase::Live { cursor, frames } = &mut self.phase else { return None };
        match self.shared.view.advance(cursor, &self.filter) {
            Advance::Frames(taken) => {
                let metrics = &self.shared.metrics;
                if let Some(waited) = taken.waited {
                    metrics.fan_out.observe(waited.as_secs_f64());
                }
                if taken.fell_behind {
                    metrics.behind.inc();
                }
                *frames = taken.frames.into_iter();
                None
            }
            Advance::CaughtUp(moment) if Instant::now() >= self.progress_at => {
                self.progress_at = Instant::now() + PROGRESS_INTERVAL;
                let as_of = Some(moment.as_of.to_wire());
                let token = token::write(&moment, self.filter_hash);
                Some(encode(Event::Progress(v1::Progress { token, as_of })))
            }
            Advance::CaughtUp(_) => {
                // A closed pulse is a view that was dropped: the loop is gone, and nothing comes any more.
                tokio::select! {
                    changed = self.pulse.changed() => if changed.is_err() { self.phase = Phase::Ended },
                    () = tokio::time::sleep_until(self.progress_at) => {}
                }
                None
            }
            Advance::Lost => {
                let reason = "this watch was read too slowly: removals are not known any more";
                let sending = self.snapshot(Begun::Lost, reason.to_owned());
                self.phase = Phase::Sending(Box::new(sending));
                None
            }
        }
    }

    /// Waits until the hub has read its first snapshot: before, it would show a part as the whole.
    async fn until_ready(&mut self) -> Result<(), Status> {
        let mut readiness = self.shared.readiness.clone();
        let ready =
            async { readiness.wait_for(|readiness| *readiness == Readiness::Ready).await.is_ok() };
        let is_ready = tokio::select! {
            is_ready = tokio::time::timeout(WAIT_MAX, ready) => is_ready,
            () = is_stopping(&mut self.pulse) => return Err(stopping()),
        };
        match (is_ready, self.shared.readiness.borrow().clone()) {
            (Ok(true), _) | (_, Readiness::Ready) => Ok(()),
            (_, Readiness::NotReady(reason)) => {
                Err(Status::unavailable(format!("the hub is not ready yet: {reason}; watch again")))
            }
        }
    }

    /// Waits until the core says that it can resume from `from`; the reason where it cannot.
    async fn until_may_resume(&mut self, from: &Moment) -> Result<Result<(), String>, Status> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let ask = |answer| Query::MayResume { from: from.clone(), answer };
            let reason = match self.shared.desk.ask(ask).await {
                Ok(MayResume::Serve) => return Ok(Ok(())),
                Ok(MayResume::Snapshot(reason)) => return Ok(Err(reason)),
                Ok(MayResume::Wait(reason)) => reason,
                Err(error) => return Err(Status::unavailable(error.to_string())),
            };
            if Instant::now() >= deadline {
                return Ok(Err(format!("{reason}, for {} s", WAIT_MAX.as_secs())));
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_INTERVAL) => {}
                () = is_stopping(&mut self.pulse) => return Err(stopping()),
            }
        }
    }

    fn counted(&self, frame: Bytes) -> Bytes {
        self.shared.metrics.frames.inc();
        frame
    }

    fn end(&mut self, status: Status) -> Result<Bytes, Status> {
        self.phase = Phase::Ended;
        Err(status)
    }
}

impl Sending {
    /// The next frame before `synced`.
    fn next(&mut self, filter: &Filter) -> Option<Bytes> {
        let Self { begin, records, synced: _, cursor: _ } = self;
        begin.take().or_else(|| records.next().map(|record| record.frame(filter)))
    }
}

fn stopping() -> Status {
    Status::unavailable(
        "the hub is stopping: watch again with your last token, and any replica will go on from there",
    )
}

async fn is_stopping(pulse: &mut watch::Receiver<Pulse>) {
    // An error is the end of the view itself.
    drop(pulse.wait_for(|pulse| pulse.stopping).await);
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
