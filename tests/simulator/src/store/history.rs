//! The last events of a resource, for watches that resume and for lists of an earlier version.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Entry;
use crate::refusal::Refusal;

/// A write.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) before: Option<Arc<Entry>>,
    /// None of a removal.
    pub(crate) after: Option<Arc<Entry>>,
    /// What watches are told: the new state, or the last one at the version of the removal.
    pub(crate) shown: Arc<Entry>,
}

/// Bounded: the oldest is forgotten first, and who asks for it is told so.
#[derive(Debug)]
pub(crate) struct History {
    events: VecDeque<Event>,
    max: usize,
    /// What happened up to this version is not known any more.
    floor: u64,
}

impl History {
    pub(super) fn new(max: usize) -> Self {
        Self { events: VecDeque::new(), max, floor: 0 }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.events.push_back(event);
        while self.events.len() > self.max {
            if let Some(oldest) = self.events.pop_front() {
                self.floor = oldest.version;
            }
        }
    }

    pub(super) fn forget(&mut self, version: u64) {
        self.events.clear();
        self.floor = version;
    }

    /// What happened after a version, oldest first.
    ///
    /// # Errors
    /// Where that is not known any more.
    pub(crate) fn after(
        &self,
        version: u64,
    ) -> Result<impl DoubleEndedIterator<Item = &Event>, Refusal> {
        if version < self.floor {
            let floor = self.floor;
            return Err(Refusal::expired(format!("too old resource version: {version} ({floor})")));
        }
        let from = self.events.partition_point(|event| event.version <= version);
        Ok(self.events.range(from..))
    }
}
