//! One object's place in the outbox: what is to be said of it, and what became of what was said.

use std::num::NonZeroU32;

use crate::message::{Content, State};

/// What a slot takes beside its state. Bytes.
pub(super) const SLOT_BYTES: usize = 192;

/// First delay of a retry, and the longest. Milliseconds, before jitter.
const RETRY_DELAY_MIN_MS: u64 = 100;
const RETRY_DELAY_MAX_MS: u64 = 5_000;

/// Which object, as the mirrors know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectId {
    /// Index of the kind.
    pub(crate) kind: u16,
    /// Index in the kind's mirror.
    pub(crate) index: u32,
}

/// Index of a slot, plus one: an `Option` of it takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotId(NonZeroU32);

impl SlotId {
    /// More than 2^32 - 2 objects do not fit a process.
    pub(super) fn of(index: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    pub(super) fn index(self) -> u32 {
        self.0.get() - 1
    }
}

/// A state to say.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) state: State,
    pub(crate) resource_version: Box<str>,
    /// When the agent learned of it. Milliseconds since the Unix epoch.
    pub(crate) seen_at_unix_ms: i64,
    /// Since when this object waits to be said. Milliseconds since the Unix epoch.
    pub(crate) waits_since_unix_ms: i64,
}

#[derive(Debug)]
pub(super) enum Place {
    Ready,
    Waiting {
        due_ms: u64,
    },
    /// The value is gone where it must not be sent again (its epoch is over).
    InFlight {
        serial: u32,
        content: Content,
        value: Option<Value>,
    },
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) object: ObjectId,
    pub(super) pending: Option<Value>,
    pub(super) place: Place,
    pub(super) attempts: u32,
    /// Until the next is handed over.
    pub(super) unanswered: Option<Unanswered>,
}

/// What was sent last and not answered in time. It may be queued behind others all the same, and be answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    pub(super) serial: u32,
    pub(super) content: Content,
    /// What is pending is newer, and not what was sent.
    pub(super) is_replaced: bool,
}

impl Slot {
    /// What failed is pending again, unless something newer is. Gives the bytes held more.
    pub(super) fn take_back(&mut self, value: Option<Value>) -> usize {
        let Some(value) = value else { return 0 };
        if let Some(newer) = &mut self.pending {
            newer.waits_since_unix_ms = newer.waits_since_unix_ms.min(value.waits_since_unix_ms);
            return 0;
        }
        let bytes = held(&value);
        self.pending = Some(value);
        bytes
    }

    pub(super) fn delay_ms(&self) -> u64 {
        let factor = 1_u64.checked_shl(self.attempts).unwrap_or(u64::MAX);
        RETRY_DELAY_MIN_MS.saturating_mul(factor).min(RETRY_DELAY_MAX_MS)
    }
}

pub(super) fn at(id: SlotId) -> usize {
    usize::try_from(id.index()).unwrap_or(usize::MAX)
}

pub(super) fn held(value: &Value) -> usize {
    SLOT_BYTES + value.state.bytes()
}
