//! What waits to be said: the newest state of each object, at most one message of each in flight.
//!
//! A slot per object that has something to say or something in flight, in one of three places: *ready* (in order of arrival),
//! *waiting* (backing off), or *in flight*. Newer state replaces what is pending, wherever the slot is, so a retry carries the
//! newest. Bounded by the number of objects, and by [`Outbox::has_room`], on which the shell stops reading the watches.
//!
//! Deliberately not here: epochs, counters and digests: messages are made when they are handed over.

mod slot;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use crate::{input::Now, jitter::Jitter, message::Content};
pub(crate) use slot::{ObjectId, SlotId, Value};
use slot::{Place, Slot, Unanswered, at, held};

/// Most messages in flight, heartbeats beside. Full: nothing more is handed over until one is settled.
pub(crate) const IN_FLIGHT_MAX: usize = 2_048;

/// The fewest that may be in flight, however slow the link is.
const IN_FLIGHT_MIN: usize = 16;

/// Most bytes of state held, unless [`Config`](crate::Config) says otherwise. Full: the shell stops reading the watches. (One
/// more item per kind may still come.)
pub const HELD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Names one publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Slot, or [`HEARTBEAT`].
    slot: u32,
    /// Of the hand-over, so that a late answer meets nothing.
    serial: u32,
}

/// `Ticket.slot` of heartbeats.
const HEARTBEAT: u32 = u32::MAX;

impl Ticket {
    pub(crate) fn heartbeat(serial: u32) -> Self {
        Self { slot: HEARTBEAT, serial }
    }

    pub(crate) fn heartbeat_serial(self) -> Option<u32> {
        (self.slot == HEARTBEAT).then_some(self.serial)
    }

    /// As one number, for a reply subject.
    #[must_use]
    pub fn to_number(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.serial)
    }

    /// From [`Ticket::to_number`].
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        Self { slot: half(number >> 32), serial: half(number) }
    }
}

/// What is to become of an object whose message was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrived, or never will: only what is newer is sent.
    Final,
    /// It may not have arrived: the newest is sent again, later.
    Again,
}

/// What became of what was in flight.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) object: ObjectId,
    pub(crate) content: Content,
    /// Something newer, or a retry, is still to be sent; else the slot is gone.
    pub(crate) more: bool,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// May hold slots that are elsewhere by now.
    ready: VecDeque<SlotId>,
    /// By when it is due. Milliseconds, monotonic. May hold slots that are elsewhere by now.
    waiting: BinaryHeap<Reverse<(u64, SlotId)>>,
    in_flight: usize,
    /// How many may be. On a slow link a full window takes longer than answers are waited for: then all of it would be sent
    /// again behind its own copies, for ever. So it is halved by each that is not answered, and grows with each that is.
    window: usize,
    held_bytes: usize,
    held_bytes_max: usize,
    serial: u32,
}

impl Outbox {
    /// Empty.
    pub(crate) fn new(held_bytes_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            waiting: BinaryHeap::new(),
            in_flight: 0,
            window: IN_FLIGHT_MAX,
            held_bytes: 0,
            held_bytes_max,
            serial: 0,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.held_bytes < self.held_bytes_max
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Objects with something to say or in flight.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes the newest state of an object; `slot` is the one it has, if it has one.
    pub(crate) fn put(
        &mut self,
        object: ObjectId,
        slot: Option<SlotId>,
        mut value: Value,
    ) -> SlotId {
        self.held_bytes += held(&value);
        if let Some((id, slot)) =
            slot.and_then(|id| Some((id, self.slots.get_mut(at(id))?.as_mut()?)))
        {
            if let Some(replaced) = slot.pending.take() {
                self.held_bytes = self.held_bytes.saturating_sub(held(&replaced));
                value.waits_since_unix_ms =
                    value.waits_since_unix_ms.min(replaced.waits_since_unix_ms);
            }
            slot.pending = Some(value);
            if let Some(unanswered) = &mut slot.unanswered {
                unanswered.is_replaced = true;
            }
            return id;
        }
        let (pending, place) = (Some(value), Place::Ready);
        let slot = Slot { object, pending, place, attempts: 0, unanswered: None };
        let id = self.insert(slot);
        self.ready.push_back(id);
        id
    }

    fn insert(&mut self, slot: Slot) -> SlotId {
        if let Some(index) = self.free.pop() {
            let id = SlotId::of(index);
            if let Some(place) = self.slots.get_mut(at(id)) {
                *place = Some(slot);
            }
            return id;
        }
        self.slots.push(Some(slot));
        SlotId::of(u32::try_from(self.slots.len() - 1).unwrap_or(HEARTBEAT))
    }

    fn remove(&mut self, id: SlotId) {
        if self.slots.get_mut(at(id)).and_then(Option::take).is_some() {
            self.free.push(id.index());
        }
    }

    /// Forgets what is pending of an object that was never handed over. It has nothing in flight.
    pub(crate) fn withdraw(&mut self, id: SlotId) {
        if let Some(value) =
            self.slots.get_mut(at(id)).and_then(Option::as_mut).and_then(|slot| slot.pending.take())
        {
            self.held_bytes = self.held_bytes.saturating_sub(held(&value));
        }
        self.ready.retain(|ready| *ready != id);
        self.remove(id);
    }

    /// Forgets all that is pending, since its epoch is over. What is in flight stays in flight, and is not sent again. Gives
    /// the objects that have no slot any more.
    pub(crate) fn forget_pending(&mut self) -> Vec<ObjectId> {
        let mut freed = Vec::new();
        self.held_bytes = 0;
        self.ready.clear();
        self.waiting.clear();
        for (index, place) in self.slots.iter_mut().enumerate() {
            let Some(slot) = place else { continue };
            slot.pending = None;
            if let Place::InFlight { value, .. } = &mut slot.place {
                *value = None;
            } else {
                freed.push(slot.object);
                *place = None;
                self.free.extend(u32::try_from(index));
            }
        }
        freed
    }

    /// Whether the newest that is known of this slot's object is a tombstone.
    pub(crate) fn says_tombstone(&self, id: SlotId) -> bool {
        let Some(Some(slot)) = self.slots.get(at(id)) else { return false };
        let in_flight = match &slot.place {
            Place::InFlight { value, .. } => value.as_ref(),
            Place::Ready | Place::Waiting { .. } => None,
        };
        let newest = slot.pending.as_ref().or(in_flight);
        newest.is_some_and(|value| value.state.content() == Content::Tombstone)
    }

    /// The next to hand over, if the window has room. It must be handed over: see [`Outbox::hand_over`].
    pub(crate) fn take(&mut self, now: Now) -> Option<(SlotId, ObjectId, Value)> {
        if self.in_flight >= self.window {
            return None;
        }
        self.wake(now.monotonic_ms);
        while let Some(id) = self.ready.pop_front() {
            let Some(Some(slot)) = self.slots.get_mut(at(id)) else { continue };
            if matches!(slot.place, Place::Ready)
                && let Some(value) = slot.pending.take()
            {
                self.held_bytes = self.held_bytes.saturating_sub(held(&value));
                return Some((id, slot.object, value));
            }
        }
        None
    }

    /// What was taken is in flight from now on.
    pub(crate) fn hand_over(&mut self, id: SlotId, value: Value) -> Ticket {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        if let Some(slot) = self.slots.get_mut(at(id)).and_then(Option::as_mut) {
            self.held_bytes += held(&value);
            self.in_flight += 1;
            let content = value.state.content();
            slot.place = Place::InFlight { serial, content, value: Some(value) };
            slot.unanswered = None;
        }
        Ticket { slot: id.index(), serial }
    }

    fn wake(&mut self, now_ms: u64) {
        while let Some(Reverse((due, id))) = self.waiting.peek().copied()
            && due <= now_ms
        {
            self.waiting.pop();
            if let Some(Some(slot)) = self.slots.get_mut(at(id))
                && matches!(slot.place, Place::Waiting { due_ms } if due_ms == due)
            {
                slot.place = Place::Ready;
                self.ready.push_back(id);
            }
        }
    }

    /// When there is something to take, as far as is known now. Milliseconds, monotonic.
    pub(crate) fn due_at(&self) -> Option<u64> {
        if self.in_flight >= self.window {
            return None;
        }
        if !self.ready.is_empty() {
            return Some(0);
        }
        self.waiting.peek().map(|Reverse((due, _))| *due)
    }

    /// NATS is there again: what waited for a retry waits no longer.
    pub(crate) fn retry_now(&mut self) {
        self.wake(u64::MAX);
    }

    /// What was in flight is settled. `None` for a ticket that was settled before, unless it comes as an answer after all to
    /// what went unanswered, and before that was sent again.
    pub(crate) fn settle(
        &mut self,
        ticket: Ticket,
        fate: Fate,
        now: Now,
        jitter: &mut Jitter,
    ) -> Option<Settled> {
        let id = SlotId::of(ticket.slot);
        let slot = self.slots.get_mut(at(id))?.as_mut()?;
        let Place::InFlight { serial, content, value } = &mut slot.place else {
            return if fate == Fate::Final { self.answered_late(id, ticket.serial) } else { None };
        };
        if *serial != ticket.serial {
            return None;
        }
        let (content, value, object) = (*content, value.take(), slot.object);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.held_bytes = self.held_bytes.saturating_sub(value.as_ref().map_or(0, held));
        match fate {
            Fate::Final => {
                self.window = IN_FLIGHT_MAX.min(self.window + 1);
                slot.attempts = 0;
            }
            Fate::Again => {
                self.window = IN_FLIGHT_MIN.max(self.window / 2);
                let is_replaced = slot.pending.is_some();
                slot.unanswered = Some(Unanswered { serial: ticket.serial, content, is_replaced });
                self.held_bytes += slot.take_back(value);
            }
        }
        let more = slot.pending.is_some();
        match fate {
            _ if !more => self.remove(id),
            Fate::Final => {
                slot.place = Place::Ready;
                self.ready.push_back(id);
            }
            Fate::Again => {
                let due_ms = now.monotonic_ms.saturating_add(jitter.around(slot.delay_ms()));
                slot.place = Place::Waiting { due_ms };
                slot.attempts += 1;
                self.waiting.push(Reverse((due_ms, id)));
            }
        }
        Some(Settled { object, content, more })
    }

    /// What went unanswered arrived all the same: it is not sent again. What is newer is, at once.
    fn answered_late(&mut self, id: SlotId, serial: u32) -> Option<Settled> {
        let slot = self.slots.get_mut(at(id))?.as_mut()?;
        let Unanswered { content, is_replaced: more, .. } =
            slot.unanswered.take_if(|unanswered| unanswered.serial == serial)?;
        let object = slot.object;
        slot.attempts = 0;
        if !more {
            let arrived = slot.pending.take();
            self.held_bytes = self.held_bytes.saturating_sub(arrived.as_ref().map_or(0, held));
            self.remove(id);
        } else if matches!(slot.place, Place::Waiting { .. }) {
            slot.place = Place::Ready;
            self.ready.push_back(id);
        }
        Some(Settled { object, content, more })
    }

    /// Since when the oldest waits to be published or acknowledged. Milliseconds since the Unix epoch.
    pub(crate) fn behind_since_unix_ms(&self) -> Option<i64> {
        let of_slot = |slot: &Slot| {
            let in_flight = match &slot.place {
                Place::InFlight { value, .. } => value.as_ref(),
                Place::Ready | Place::Waiting { .. } => None,
            };
            slot.pending.iter().chain(in_flight).map(|value| value.waits_since_unix_ms).min()
        };
        self.slots.iter().flatten().filter_map(of_slot).min()
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
