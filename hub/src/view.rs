//! What readers see: every entity as it stands on the wire, in one place, written by the core's loop alone.
//!
//! On the path between the core and the streams. Each change is encoded once, whatever the number of readers.
//! No reader has a queue: one that keeps up takes each change from a bounded [journal](Bounds::journal_deltas), in
//! order; one that does not takes the latest state of each entity, in the order of their last changes
//! ([`read`]). All are woken by one [`Pulse`].
//!
//! Invariants: entities, totals and position change together, under one lock, so that a position read with a
//! count and a digest belongs to them; serials are local, start at 1 and never repeat; per entity a reader
//! never goes back.
//! What is gone is kept for [`TOMBSTONE_TTL`], so that a resume can say it; what was forgotten after that is
//! known by its time, so that a token from before it is refused instead of served wrongly.
//! Deliberately not here: judging, tokens, gRPC.

pub mod filter;
mod frame;
mod record;
mod read;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;
use tokio::time::Instant;
use vitals_hub_core::{Position, Time};
use vitals_proto::identity::EntityRef;
use vitals_proto::limits::TOMBSTONE_TTL;
use vitals_proto::v1;

use record::{Delta, Seen, State as RecordState};

pub(crate) use frame::encode;
pub(crate) use read::{Advance, Cursor, Selection};
pub(crate) use record::Record;
pub use record::{Change, Outcome};

/// What a view keeps beside the entities themselves, and how much of it a reader takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most changes in the journal. A reader further behind gets the latest state per entity.
    pub journal_deltas: usize,
    /// Most bytes that the journal keeps alive.
    pub journal_bytes: usize,
    /// Most entities that are gone and still known. Beyond, the oldest are forgotten, and older tokens refused.
    pub gone: usize,
    /// Most frames that a reader takes at once: bounds the time under the lock and what a slow reader holds.
    pub frames: usize,
    /// Most entities looked at at once by a reader that fell behind.
    pub looked_at: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            journal_deltas: 8_192,
            journal_bytes: 32 * 1024 * 1024,
            gone: 100_000,
            frames: 64,
            looked_at: 1_024,
        }
    }
}

/// Bounds of a page.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Entities.
    pub count: usize,
    /// Bytes of them, about: a page holds one more than fits, and one at least.
    pub bytes: usize,
}

/// Up to where the core had read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// In each stream.
    pub position: Position,
    /// The broker's time up to which all was read. It stands still while the hub is cut from NATS.
    pub as_of: Time,
}

/// What wakes readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// The serial of the last change.
    pub(crate) serial: u64,
    /// The hub is stopping: streams end.
    pub(crate) stopping: bool,
}

/// All entities, as readers see them. Shared by `Arc`.
#[derive(Debug)]
pub struct View {
    state: RwLock<State>,
    pulse: watch::Sender<Pulse>,
}

#[derive(Debug, Default)]
struct State {
    bounds: Bounds,
    entities: BTreeMap<EntityRef, Arc<Record>>,
    /// Every entity that changed since this hub began, by its last change.
    by_serial: BTreeMap<u64, Arc<Record>>,
    journal: VecDeque<Delta>,
    journal_bytes: usize,
    /// What is gone, by the broker's time of that; an entity that came back is in here in vain.
    gone: VecDeque<Gone>,
    forgotten: Forgot,
    /// Of the last change.
    serial: u64,
    moment: Moment,
    totals: Totals,
    /// Of what is there.
    statuses: BTreeMap<v1::HealthStatus, u64>,
}

/// An entity that is gone.
#[derive(Clone, Debug)]
struct Gone {
    /// By the broker's clock.
    at: Time,
    entity: EntityRef,
}

/// Up to where what is gone is not known any more.
#[derive(Clone, Copy, Debug, Default)]
struct Forgot {
    /// When the newest that was forgotten had gone, by the broker's clock.
    at: Option<Time>,
    /// The highest serial of what was forgotten.
    serial: u64,
}

/// Of what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Entities.
    pub count: u64,
    /// Wrapping sum of their digests.
    pub digest: u64,
}

impl Default for View {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl View {
    /// Empty.
    pub fn new(bounds: Bounds) -> Self {
        let state = State { bounds, ..State::default() };
        Self { state: RwLock::new(state), pulse: watch::Sender::new(Pulse::default()) }
    }

    /// Takes what the core said, all at once as readers see it, and where it stood after that.
    pub fn publish(&self, changes: Vec<Change>, moment: Moment) {
        // Encoding is the expensive part: it is done before the lock is taken.
        let seen = |change| Seen::new(change, moment.as_of);
        let seen: Vec<Seen> = changes.into_iter().map(seen).collect();
        let published_at = Instant::now();
        let serial = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.moment = moment;
            for seen in seen {
                state.take(seen, published_at);
            }
            state.forget();
            state.serial
        };
        self.pulse.send_if_modified(|pulse| {
            let changed = pulse.serial != serial;
            pulse.serial = serial;
            changed
        });
    }

    /// Tells all readers to end.
    pub fn stop(&self) {
        self.pulse.send_modify(|pulse| pulse.stopping = true);
    }

    /// One entity; `None` where it is not there.
    pub fn entity(&self, entity: &EntityRef) -> Option<v1::Entity> {
        let record = self.read().entities.get(entity).cloned()?;
        record.to_wire()
    }

    /// The entities after `after` that pass, in order: at most `count`, and fewer where they have more than
    /// `bytes`; and the last of them where there are more.
    pub fn page(
        &self,
        filter: &filter::Filter,
        after: Option<&EntityRef>,
        most: Most,
    ) -> (Vec<v1::Entity>, Option<EntityRef>) {
        let Most { count, bytes } = most;
        let mut records = self.passing_after(filter, after, count.saturating_add(1));
        let found = records.len();
        records.truncate(count);
        let mut total = 0;
        let fitting = records.iter().take_while(|record| {
            let fits = total < bytes;
            total += record.bytes();
            fits
        });
        records.truncate(fitting.count());
        let more = records.len() < found;
        let next = more.then(|| records.last().map(|record| record.entity.clone())).flatten();
        (records.iter().filter_map(|record| record.to_wire()).collect(), next)
    }

    /// Of all entities that are there.
    pub fn totals(&self) -> Totals {
        self.read().totals
    }

    /// How many entities have each status.
    pub fn statuses(&self) -> BTreeMap<v1::HealthStatus, u64> {
        self.read().statuses.clone()
    }

    /// Up to where all that it shows was read.
    pub fn moment(&self) -> Moment {
        self.read().moment.clone()
    }

    /// Wakes when something changed.
    pub(crate) fn pulse(&self) -> watch::Receiver<Pulse> {
        self.pulse.subscribe()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, mut seen: Seen, published_at: Instant) {
        let before = self.entities.get(&seen.entity).cloned();
        match (before, seen.state.take()) {
            (Some(before), None) => self.touch(seen.record(before.state.clone(), before.serial)),
            (Some(before), Some(state)) if is_same(&before.state, &state) => {
                self.touch(seen.record(state, before.serial));
            }
            // Gone before this hub ever held it: no live reader has it, but one that resumes may.
            (None, Some(state @ RecordState::Gone { .. })) => self.touch(seen.record(state, 0)),
            (before, Some(state)) => {
                self.serial += 1;
                self.change(before.as_deref(), seen.record(state, self.serial), published_at);
            }
            (None, None) => {
                tracing::error!(entity = %seen.entity, "touched before it was ever said")
            }
        }
    }

    /// There is nothing to see: a resume says it, live readers need not hear of it.
    fn touch(&mut self, record: Arc<Record>) {
        if let Some(last) = self.by_serial.get_mut(&record.serial) {
            *last = Arc::clone(&record);
        }
        self.remember_gone(&record);
        self.entities.insert(record.entity.clone(), record);
    }

    fn change(&mut self, before: Option<&Record>, record: Arc<Record>, published_at: Instant) {
        self.count(before, &record);
        self.remember_gone(&record);
        let before = before.map(Record::as_before).unwrap_or_default();
        self.by_serial.remove(&before.serial);
        self.by_serial.insert(record.serial, Arc::clone(&record));
        self.entities.insert(record.entity.clone(), Arc::clone(&record));
        self.write_journal(Delta { record, before, published_at });
    }

    fn count(&mut self, before: Option<&Record>, after: &Record) {
        let Totals { count, digest } = &mut self.totals;
        if let Some(before) = before.and_then(Record::present) {
            *count -= 1;
            *digest = digest.wrapping_sub(before.digest);
            *self.statuses.entry(before.attributes.status).or_default() -= 1;
        }
        if let Some(after) = after.present() {
            *count += 1;
            *digest = digest.wrapping_add(after.digest);
            *self.statuses.entry(after.attributes.status).or_default() += 1;
        }
    }

    fn write_journal(&mut self, delta: Delta) {
        self.journal_bytes += delta.record.bytes();
        self.journal.push_back(delta);
        let Bounds { journal_deltas, journal_bytes, .. } = self.bounds;
        while self.journal.len() > journal_deltas || self.journal_bytes > journal_bytes {
            let Some(oldest) = self.journal.pop_front() else { return };
            self.journal_bytes -= oldest.record.bytes();
        }
    }

    fn remember_gone(&mut self, record: &Record) {
        match record.state {
            RecordState::Present(_) => {}
            RecordState::Gone { at } => {
                self.gone.push_back(Gone { at, entity: record.entity.clone() });
            }
        }
    }

    /// Forgets what has been gone for longer than anybody may resume from, or is too much.
    fn forget(&mut self) {
        while let Some(oldest) = self.gone.front()
            && (self.moment.as_of.since(oldest.at) > TOMBSTONE_TTL
                || self.gone.len() > self.bounds.gone)
        {
            let Some(oldest) = self.gone.pop_front() else { return };
            // It may have come back, or been touched again, since.
            let Gone { at, entity } = oldest;
            let record = self.entities.get(&entity).map(|record| (record.serial, &record.state));
            let serial = match record {
                Some((serial, RecordState::Gone { at: newest })) if *newest == at => serial,
                Some(_) | None => continue,
            };
            self.entities.remove(&entity);
            self.by_serial.remove(&serial);
            let Forgot { at: _, serial: forgotten } = self.forgotten;
            self.forgotten = Forgot { at: Some(at), serial: forgotten.max(serial) };
        }
    }
}

/// Whether no reader can tell them apart.
fn is_same(before: &RecordState, after: &RecordState) -> bool {
    match (before, after) {
        (RecordState::Present(before), RecordState::Present(after)) => {
            before.digest == after.digest && before.attributes == after.attributes
        }
        (RecordState::Gone { .. }, RecordState::Gone { .. }) => true,
        (RecordState::Present(_), RecordState::Gone { .. })
        | (RecordState::Gone { .. }, RecordState::Present(_)) => false,
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
