//! One scope of one cluster: takes every [`Input`], and gives publications, commands and answers to repair requests.
//!
//! Invariants: counters follow the order of hand-over; at most one message of a subject is in flight; the sums of a heartbeat
//! are over exactly what was handed over before it; nothing is handed over without an epoch, and no object under a
//! provisional one.

use bytes::Bytes;
use vitals_proto::{
    FORMAT,
    digest::{Digest, Place, Sums},
    identity::{ClusterName, Epoch, KeyParts, ObjectKey},
    kind::Kind,
    limits::FREEZE_MIN,
    subject, v1,
};

use crate::{
    config::{Command, Config, Leadership},
    heartbeat::{ApiServer, Gist, Pulse},
    input::{Input, Now, Outcome, Standing},
    jitter::Jitter,
    lists::Relist,
    message::{self, Content, Head, Publication},
    mirror::Entry,
    outbox::{Fate, ObjectId, Outbox, SlotId, Ticket, Value},
    watched::{Desk, Handing, Watched},
};

/// How often [`Input::Tick`] is due. Milliseconds.
pub const TICK_INTERVAL_MS: u64 = 500;

/// Least time between two lists of one kind that are asked for by repair or to retry. Milliseconds.
const RELIST_INTERVAL_MS: u64 = 5_000;

/// How long the first repair request of a burst waits for the others, so that one list serves all. Milliseconds.
const RELIST_GATHER_MS: u64 = 250;

/// When what the stream refused is tried again, though nothing changed. Milliseconds, before jitter.
const REFUSED_RETRY_MS: u64 = 60_000;

/// The publisher of one scope of one cluster.
pub struct Agent {
    pub(crate) config: Config,
    pub(crate) current: Option<Current>,
    /// As on the wire.
    cluster_uid: Bytes,
    pub(crate) kinds: Vec<Watched>,
    pub(crate) outbox: Outbox,
    pulse: Pulse,
    pub(crate) api_server: ApiServer,
    jitter: Jitter,
    retake_lease: bool,
    last_tick: Option<Now>,
}

/// The current life as publisher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Current {
    pub(crate) epoch: Epoch,
    pub(crate) standing: Standing,
    pub(crate) counter: u64,
}

impl Agent {
    /// Silent until its first epoch begins.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let kinds =
            (0_u16..).zip(&config.kinds).map(|(index, kind)| Watched::new(kind.clone(), index));
        Self {
            current: None,
            cluster_uid: Bytes::new(),
            kinds: kinds.collect(),
            outbox: Outbox::new(config.outbox_bytes_max),
            pulse: Pulse::default(),
            api_server: ApiServer::default(),
            jitter: Jitter::new(config.seed),
            retake_lease: false,
            last_tick: None,
            config,
        }
    }

    /// Takes what happened.
    pub fn apply(&mut self, input: Input, now: Now) {
        match input {
            Input::EpochBegun { epoch, standing, cluster_uid } => {
                self.cluster_uid = cluster_uid.to_wire().into();
                self.current = Some(Current { epoch, standing, counter: 0 });
                self.retake_lease = false;
                if standing == Standing::Held {
                    // There the identity was read, and the epoch written.
                    self.api_server.answered(now);
                }
                self.renew();
            }
            Input::LeaseLost => {
                self.current = None;
                self.renew();
            }
            Input::LeaseDoubted => self.doubt(Standing::Held, Standing::Doubted),
            Input::LeaseKept => self.doubt(Standing::Doubted, Standing::Held),
            Input::Watch { kind, item } => {
                let watched = self.kinds.iter_mut().find(|watched| watched.kind == kind);
                let standing = self.current.map(|current| current.standing);
                if let (Some(Standing::Held | Standing::Doubted), Some(watched)) =
                    (standing, watched)
                {
                    watched.take(item, &mut Desk { outbox: &mut self.outbox, now });
                }
            }
            Input::Probed(probe) => self.api_server.take(probe, now),
            Input::Connected => self.reconnect(now),
            Input::Settled { ticket, outcome } => self.settle(ticket, outcome, now),
            Input::Tick => self.tick(now),
        }
    }

    fn doubt(&mut self, from: Standing, to: Standing) {
        if let Some(current) = &mut self.current
            && current.standing == from
        {
            current.standing = to;
        }
    }

    /// What was said before is to be said again, once a list confirms it.
    fn renew(&mut self) {
        for ObjectId { kind, index } in self.outbox.forget_pending() {
            let objects = self.kinds.get_mut(usize::from(kind)).map(|watched| &mut watched.objects);
            if let Some(entry) = objects.and_then(|objects| objects.get_mut(index)) {
                entry.slot = None;
            }
        }
        for watched in &mut self.kinds {
            watched.renew();
        }
        self.pulse.renew();
    }

    fn reconnect(&mut self, now: Now) {
        self.outbox.retry_now();
        for watched in &mut self.kinds {
            if watched.tally.permission > 0 {
                // Other credentials may have come with it.
                watched.refused_retry_at_ms = Some(now.monotonic_ms);
            }
        }
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome, now: Now) {
        if let Some(serial) = ticket.heartbeat_serial() {
            return self.pulse.settle(serial);
        }
        let fate = match outcome {
            Outcome::Transient => Fate::Again,
            Outcome::Acked | Outcome::TooLarge | Outcome::StreamFull | Outcome::Permission => {
                Fate::Final
            }
        };
        let Some(settled) = self.outbox.settle(ticket, fate, now, &mut self.jitter) else { return };
        let Some(watched) = self.kinds.get_mut(usize::from(settled.object.kind)) else { return };
        watched.settle(&settled, outcome);
        let may_pass = watched.tally.stream_full + watched.tally.permission > 0;
        if may_pass && watched.refused_retry_at_ms.is_none() {
            let delay = self.jitter.around(REFUSED_RETRY_MS);
            watched.refused_retry_at_ms = Some(now.monotonic_ms.saturating_add(delay));
        }
    }

    fn tick(&mut self, now: Now) {
        let last = self.last_tick.replace(now).unwrap_or(now);
        let interval = i64::try_from(TICK_INTERVAL_MS).unwrap_or_default();
        let late_ms = |passed: i64| passed.saturating_sub(interval);
        // A suspended machine may stop the one clock, a stopped process neither.
        let wall = late_ms(now.unix_ms.saturating_sub(last.unix_ms));
        let monotonic = late_ms(
            i64::try_from(now.monotonic_ms.saturating_sub(last.monotonic_ms)).unwrap_or(i64::MAX),
        );
        if u128::try_from(wall.max(monotonic)).is_ok_and(|late| late > FREEZE_MIN.as_millis()) {
            self.thaw();
        }
        for watched in &mut self.kinds {
            if watched.refused_retry_at_ms.is_some_and(|at| at <= now.monotonic_ms) {
                let mut desk = Desk { outbox: &mut self.outbox, now };
                if watched.retry_refused(&mut desk) {
                    ask_for_list(watched, now, 0);
                }
            }
        }
    }

    /// The process was frozen: what it knows may be old, and its Lease another's.
    fn thaw(&mut self) {
        for watched in &mut self.kinds {
            watched.await_list();
        }
        self.retake_lease = self.config.leadership == Leadership::Lease;
    }

    /// What the shell is to do next, if anything.
    pub fn command(&mut self, now: Now) -> Option<Command> {
        if std::mem::take(&mut self.retake_lease) {
            return Some(Command::RetakeLease);
        }
        if !self.holds_epoch() {
            return None;
        }
        self.kinds.iter_mut().find_map(|watched| {
            let kind = watched.kind.clone();
            let command = match watched.relist {
                Relist::Anew => Command::Watch(kind),
                Relist::At(at) if at <= now.monotonic_ms => Command::Relist(kind),
                Relist::At(_) | Relist::No | Relist::Asked => return None,
            };
            watched.relist = Relist::Asked;
            watched.relisted_at_ms = Some(now.monotonic_ms);
            Some(command)
        })
    }

    /// Objects may be published.
    pub(crate) fn holds_epoch(&self) -> bool {
        self.current.is_some_and(|current| current.standing == Standing::Held)
    }

    /// The next message to hand over, if one is due and the window has room. It counts as handed over from now on: the shell
    /// passes it to the connection before it asks again, and settles its ticket in any case.
    pub fn next(&mut self, now: Now) -> Option<Publication> {
        self.current?;
        if self.pulse.is_due(now, || gist(&self.kinds, &self.api_server)) {
            return self.next_heartbeat(now);
        }
        if !self.holds_epoch() {
            return None;
        }
        let (slot, object, value) = self.outbox.take(now)?;
        self.hand_over(slot, object, value)
    }

    fn hand_over(&mut self, slot: SlotId, object: ObjectId, value: Value) -> Option<Publication> {
        let watched = self.kinds.get_mut(usize::from(object.kind))?;
        let entry = watched.objects.get(object.index)?;
        let current = self.current.as_mut()?;
        current.counter += 1;
        let Value { state, resource_version, seen_at_unix_ms, waits_since_unix_ms } = value;
        let (namespace, name) = (entry.namespace(), entry.name());
        let head = Head {
            epoch: current.epoch,
            counter: current.counter,
            cluster_uid: &self.cluster_uid,
            scope: self.config.scope.as_str(),
            kind: watched.kind.resource(),
            namespace,
            name,
            resource_version: &resource_version,
            observed_at_unix_ms: seen_at_unix_ms,
        };
        let content = state.content();
        let (payload, state) = message::write(&head, state);
        // Names were checked when the mirror took them.
        let subject = subject::object_named(&self.config.cluster, &watched.kind, namespace, name);
        let bucket = Place::of(&subject).bucket();
        let digest = Digest::of(&subject, &payload);
        watched.hand_over(object.index, Handing { content, bucket, digest });
        let value = Value { state, resource_version, seen_at_unix_ms, waits_since_unix_ms };
        let ticket = self.outbox.hand_over(slot, value);
        Some(Publication { ticket, subject, payload, content })
    }

    fn next_heartbeat(&mut self, now: Now) -> Option<Publication> {
        let current = self.current.as_mut()?;
        current.counter += 1;
        let Current { epoch, standing, counter } = *current;
        let mut sums = Sums::default();
        for watched in &self.kinds {
            if watched.state() == v1::KindState::Complete {
                sums.merge(&watched.sums);
            }
        }
        let heartbeat = v1::Heartbeat {
            format: FORMAT,
            epoch: Some(epoch.into()),
            counter,
            cluster_uid: self.cluster_uid.clone(),
            scope: self.config.scope.to_string(),
            agent_version: self.config.agent_version.clone(),
            cluster_title: self.config.cluster_title.clone(),
            sent_at_unix_ms: now.unix_ms,
            kinds: self.kinds.iter().map(Watched::report).collect(),
            bucket_sums: sums.to_wire().into(),
            api_server: Some(self.api_server.report()),
            clock_offset_ms: self.api_server.clock_offset_ms,
            behind_since_unix_ms: self.outbox.behind_since_unix_ms(),
            refused: self.refusals(),
            provisional: standing == Standing::Provisional,
        };
        let gist = gist(&self.kinds, &self.api_server);
        Some(Publication {
            ticket: Ticket::heartbeat(self.pulse.hand_over(now, gist)),
            subject: subject::heartbeat(&self.config.cluster, &self.config.scope),
            payload: message::write_heartbeat(&heartbeat),
            content: Content::Heartbeat,
        })
    }

    /// When to call [`Agent::next`] and [`Agent::command`] again, if nothing happens before. Milliseconds, monotonic.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        self.current?;
        let pulse = self.pulse.due_at(|| gist(&self.kinds, &self.api_server));
        if !self.holds_epoch() {
            return pulse;
        }
        let lists = self.kinds.iter().filter_map(|watched| match watched.relist {
            Relist::Anew => Some(0),
            Relist::At(at) => Some(at),
            Relist::No | Relist::Asked => None,
        });
        pulse.into_iter().chain(self.outbox.due_at()).chain(lists).min()
    }

    /// Whether the watches may be read on. If not, the shell waits until something is settled.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// The current epoch, where it publishes.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.current.map(|current| current.epoch)
    }
}

/// Another list of the kind is needed, `delay_ms` from now at the earliest, and not too often.
pub(crate) fn ask_for_list(watched: &mut Watched, now: Now, delay_ms: u64) {
    let last = watched.relisted_at_ms.map_or(0, |at| at.saturating_add(RELIST_INTERVAL_MS));
    let due = now.monotonic_ms.saturating_add(delay_ms).max(last);
    watched.relist = match watched.relist {
        Relist::No => Relist::At(due),
        Relist::At(at) => Relist::At(at.min(due)),
        asked @ (Relist::Anew | Relist::Asked) => asked,
    };
}

/// As [`ask_for_list`], for a repair: waits for the rest of the burst.
pub(crate) fn ask_for_repair(watched: &mut Watched, now: Now) {
    ask_for_list(watched, now, RELIST_GATHER_MS);
}

pub(crate) fn key_of(cluster: &ClusterName, kind: &Kind, entry: &Entry) -> Option<ObjectKey> {
    let (namespace, name) = (entry.namespace(), entry.name());
    ObjectKey::new(KeyParts { cluster: cluster.clone(), kind: kind.clone(), namespace, name }).ok()
}

fn gist(kinds: &[Watched], api_server: &ApiServer) -> Gist {
    Gist::of(kinds.iter().map(Watched::state), api_server.is_reachable())
}

#[cfg(test)]
#[path = "agent_tests.rs"]
pub(crate) mod tests;
