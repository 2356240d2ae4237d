//! What a heartbeat says of one kind: its state, its counts, and why it is not complete.

use vitals_proto::v1;

use crate::{
    input::WatchState,
    lists::List,
    mirror::{Entry, Existence, Reading, Refused},
    watched::Watched,
};

/// Counts that entries make up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) exists: u64,
    pub(crate) list_pending: u64,
    pub(crate) too_large: u64,
    pub(crate) stream_full: u64,
    pub(crate) permission: u64,
    pub(crate) unreadable: u64,
}

impl Watched {
    /// As the heartbeat says it.
    pub(crate) fn state(&self) -> v1::KindState {
        match (&self.watch, self.list) {
            (WatchState::Forbidden(_), _) => v1::KindState::Forbidden,
            (WatchState::Absent(_), _) => v1::KindState::Absent,
            (WatchState::Stalled(_), _) => v1::KindState::Stalled,
            (WatchState::Live, List::Whole) if self.tally.list_pending == 0 => {
                v1::KindState::Complete
            }
            (
                WatchState::Live | WatchState::Listing(_),
                List::Awaited | List::Running { .. } | List::Whole,
            ) => v1::KindState::Listing,
        }
    }

    /// For the heartbeat.
    pub(crate) fn report(&self) -> v1::KindReport {
        v1::KindReport {
            kind: self.kind.to_string(),
            state: self.state().into(),
            count: self.tally.exists,
            last_event_at_unix_ms: self.last_event_at_unix_ms,
            list_resource_version: self.list_resource_version.clone(),
            detail: self.detail(),
        }
    }

    fn detail(&self) -> String {
        match (&self.watch, self.list) {
            (
                WatchState::Forbidden(why) | WatchState::Absent(why) | WatchState::Stalled(why),
                _,
            ) => why.clone(),
            (WatchState::Listing(why), _) if !why.is_empty() => why.clone(),
            (_, List::Awaited) => "waits for its list".into(),
            (_, List::Running { .. }) => "is being listed".into(),
            (_, List::Whole) => match self.tally.list_pending {
                0 => String::new(),
                pending => format!("{pending} listed objects are still to be published"),
            },
        }
    }

    /// Objects that exist, and whose state as the API server sent it cannot be read.
    pub(crate) fn unreadable(&self) -> u64 {
        self.tally.unreadable + self.nameless
    }
}

impl Tally {
    pub(crate) fn count(&mut self, entry: &Entry, count: impl Fn(&mut u64)) {
        if entry.existence == Existence::Exists {
            count(&mut self.exists);
        }
        if entry.list_pending {
            count(&mut self.list_pending);
        }
        match entry.refused {
            Some(Refused::TooLarge) => count(&mut self.too_large),
            Some(Refused::StreamFull) => count(&mut self.stream_full),
            Some(Refused::Permission) => count(&mut self.permission),
            None => {}
        }
        if entry.reading == Reading::Unreadable {
            count(&mut self.unreadable);
        }
    }
}
