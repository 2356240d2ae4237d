//! One entity as readers see it, and one change of it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::time::Instant;
use vitals_hub_core::{Position, Time};
use vitals_proto::identity::EntityRef;
use vitals_proto::v1::{self, watch_entities_response::Event};

use super::filter::{Attributes, Filter};
use super::frame;

/// What the core says of one entity.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub entity: EntityRef,
    /// The position of the last input that could have changed anything of it.
    pub touched: Position,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an entity.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is so now.
    Changed(Arc<v1::Entity>),
    /// Nothing of it differs but the revision.
    Touched,
    /// It is gone, or was never here.
    Removed,
}

/// One entity, or what is known of one that is gone. Immutable: a change makes another.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) entity: EntityRef,
    /// The local serial of its last change.
    pub(crate) serial: u64,
    pub(crate) touched: Position,
    pub(crate) state: State,
    /// `removed` as it stands on the wire, made when the first reader needs it.
    removed: OnceLock<Bytes>,
}

/// What there is to say of it.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Present(Present),
    Gone {
        /// Up to when all was read when it was found gone, by the broker's clock.
        at: Time,
    },
}

/// An entity that is there.
#[derive(Clone, Debug)]
pub(crate) struct Present {
    pub(crate) attributes: Arc<Attributes>,
    /// `Entity.digest`.
    pub(crate) digest: u64,
    /// `upsert` as it stands on the wire.
    pub(crate) upsert: Bytes,
}

/// One change, as the journal keeps it.
#[derive(Debug)]
pub(crate) struct Delta {
    pub(crate) record: Arc<Record>,
    pub(crate) before: Before,
    /// When readers could first see it.
    pub(crate) published_at: Instant,
}

/// What the core said of one entity, encoded.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) entity: EntityRef,
    pub(crate) touched: Position,
    /// `None`: as it was.
    pub(crate) state: Option<State>,
}

/// What an entity was before a change: enough to tell whether a reader had it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    /// The serial of the change before; 0 where there was none.
    pub(crate) serial: u64,
    /// `None` where it was not there.
    pub(crate) attributes: Option<Arc<Attributes>>,
}

impl Seen {
    /// What the core said when it had read up to `as_of`. Without a state where that is as it was.
    pub(crate) fn new(change: Change, as_of: Time) -> Self {
        let Change { entity, touched, outcome } = change;
        let state = match outcome {
            Outcome::Changed(entity) => Some(State::Present(Present::new(&entity))),
            Outcome::Touched => None,
            Outcome::Removed => Some(State::Gone { at: as_of }),
        };
        Self { entity, touched, state }
    }

    /// A record of this state, with the serial of the last change; 0 where no reader can hold it.
    pub(crate) fn record(self, state: State, serial: u64) -> Arc<Record> {
        let Self { entity, touched, state: _ } = self;
        Arc::new(Record { entity, serial, touched, state, removed: OnceLock::new() })
    }
}

impl Delta {
    /// The frame for a reader that has followed up to the change before this one; `None` where it need not
    /// hear of it.
    pub(crate) fn frame(&self, filter: &Filter) -> Option<Bytes> {
        let Self { record, before, published_at: _ } = self;
        let held = |held: &Arc<Attributes>| filter.passes(&record.entity, held);
        let is_held = before.attributes.as_ref().is_some_and(held);
        (is_held || record.passes(filter)).then(|| record.frame(filter))
    }

    /// The frame for a reader of which it is not known whether it holds the entity.
    pub(crate) fn frame_in_doubt(&self, filter: &Filter) -> Option<Bytes> {
        self.record.frame_in_doubt(filter)
    }
}

impl Record {
    pub(crate) fn present(&self) -> Option<&Present> {
        match &self.state {
            State::Present(present) => Some(present),
            State::Gone { .. } => None,
        }
    }

    /// Whether it is there and passes.
    pub(crate) fn passes(&self, filter: &Filter) -> bool {
        self.present().is_some_and(|present| filter.passes(&self.entity, &present.attributes))
    }

    /// `upsert` where it passes, else `removed`.
    pub(crate) fn frame(&self, filter: &Filter) -> Bytes {
        match &self.state {
            State::Present(present) if filter.passes(&self.entity, &present.attributes) => {
                present.upsert.clone()
            }
            State::Present(_) | State::Gone { .. } => self.removed_frame(),
        }
    }

    /// As [`Record::frame`]; `None` where it cannot be in the reader's view, whatever it was before.
    pub(crate) fn frame_in_doubt(&self, filter: &Filter) -> Option<Bytes> {
        filter.could_pass(&self.entity).then(|| self.frame(filter))
    }

    /// What a change after this one has before it.
    pub(crate) fn as_before(&self) -> Before {
        let attributes = self.present().map(|present| Arc::clone(&present.attributes));
        Before { serial: self.serial, attributes }
    }

    fn removed_frame(&self) -> Bytes {
        let removed = || v1::EntityRemoved {
            r#ref: self.entity.to_string(),
            revision: Some(self.touched.to_wire()),
        };
        self.removed.get_or_init(|| frame::encode(Event::Removed(removed()))).clone()
    }

    /// As the API says it; `None` where it is gone. The frame may hold an older revision: an entity that was
    /// only touched is not encoded again.
    pub(crate) fn to_wire(&self) -> Option<v1::Entity> {
        let entity = frame::entity(&self.present()?.upsert)?;
        Some(v1::Entity { revision: Some(self.touched.to_wire()), ..entity })
    }

    /// Bytes on the heap, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.present().map_or(0, |present| present.upsert.len())
    }
}

impl Present {
    fn new(entity: &v1::Entity) -> Self {
        let attributes = Arc::new(Attributes::of(entity));
        let upsert = frame::encode(Event::Upsert(entity.clone()));
        Self { attributes, digest: entity.digest, upsert }
    }
}
