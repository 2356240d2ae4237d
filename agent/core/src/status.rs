//! How the agent does: for its heartbeat, its metrics and its readiness.

use vitals_proto::{identity::Epoch, subject, v1};

use crate::{
    agent::{Agent, key_of},
    input::Standing,
    mirror::{Entry, Reading, Refused},
    watched::Watched,
};

/// How an agent does, for metrics and readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The current epoch, where it publishes.
    pub epoch: Option<Epoch>,
    /// It is provisional.
    pub provisional: bool,
    /// Messages of this epoch.
    pub counter: u64,
    /// Every kind, as the next heartbeat would report it.
    pub kinds: Vec<v1::KindReport>,
    /// What was refused or unreadable, as the next heartbeat would report it.
    pub refused: Vec<v1::Refusal>,
    /// The API server answered its last probe.
    pub reachable: bool,
    /// Objects with something to say or in flight.
    pub outbox_objects: usize,
    /// What they take. Bytes.
    pub outbox_bytes: usize,
    /// Messages in flight.
    pub in_flight: usize,
    /// Since when something waits. Milliseconds since the Unix epoch.
    pub behind_since_unix_ms: Option<i64>,
    /// Items of the watches that were not used because something newer had been seen.
    pub outdated: u64,
}

impl Agent {
    pub(crate) fn refusals(&self) -> Vec<v1::Refusal> {
        let refused = |reason| move |entry: &Entry| entry.refused == Some(reason);
        let unreadable = |entry: &Entry| entry.reading == Reading::Unreadable;
        use v1::RefusalReason as Reason;
        [
            self.refusal(Reason::TooLarge, |of| of.tally.too_large, refused(Refused::TooLarge)),
            self.refusal(
                Reason::StreamFull,
                |of| of.tally.stream_full,
                refused(Refused::StreamFull),
            ),
            self.refusal(
                Reason::Permission,
                |of| of.tally.permission,
                refused(Refused::Permission),
            ),
            self.refusal(Reason::Unreadable, Watched::unreadable, unreadable),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn refusal(
        &self,
        reason: v1::RefusalReason,
        count: fn(&Watched) -> u64,
        is_one: impl Fn(&Entry) -> bool,
    ) -> Option<v1::Refusal> {
        let total = self.kinds.iter().map(count).sum();
        if total == 0 {
            return None;
        }
        let example = self.kinds.iter().filter(|watched| count(watched) > 0).find_map(|watched| {
            let (_, entry) = watched.objects.iter().find(|(_, entry)| is_one(entry))?;
            key_of(&self.config.cluster, &watched.kind, entry).map(|key| subject::object(&key))
        });
        let example = example.unwrap_or_default();
        Some(v1::Refusal { reason: reason.into(), count: total, example })
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            epoch: self.epoch(),
            provisional: self
                .current
                .is_some_and(|current| current.standing == Standing::Provisional),
            counter: self.current.map_or(0, |current| current.counter),
            kinds: self.kinds.iter().map(Watched::report).collect(),
            refused: self.refusals(),
            reachable: self.api_server.is_reachable(),
            outbox_objects: self.outbox.len(),
            outbox_bytes: self.outbox.held_bytes(),
            in_flight: self.outbox.in_flight(),
            behind_since_unix_ms: self.outbox.behind_since_unix_ms(),
            outdated: self.kinds.iter().map(|watched| watched.outdated).sum(),
        }
    }
}
