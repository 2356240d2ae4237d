//! One scope of one cluster: takes every [`Input`], and gives publications, commands and answers to repair requests.
//!
//! Invariants: counters follow the order of hand-over; at most one message of a subject is in flight; the sums of a heartbeat
//! are over exactly what was handed over before it; nothing is handed over without an epoch, and no object under a
//! provisional one.

use bytes::Bytes;
use prost::Message as _;
use vitals_proto::{
    FORMAT,
    digest::{Digest, Place, Sums},
    identity::{ClusterName, Epoch, KeyParts, ObjectKey, Scope},
    kind::Kind,
    limits::FREEZE_MIN,
    rule::Rules,
    subject, v1,
};

use crate::{
    heartbeat::{ApiServer, Gist, Pulse},
    input::{Input, Now, Outcome, Standing},
    jitter::Jitter,
    message::{self, Content, Publication},
    mirror::{Entry, Refused},
    outbox::{Fate, ObjectId, Outbox, SlotId, Ticket, Value},
    watched::{Desk, Handing, Relist, Watched},
};

/// How often [`Input::Tick`] is due. Milliseconds.
pub const TICK_INTERVAL_MS: u64 = 500;

/// Least time between two lists of one kind that are asked for by repair or to retry. Milliseconds.
const RELIST_INTERVAL_MS: u64 = 5_000;

/// How long the first repair request of a burst waits for the others, so that one list serves all. Milliseconds.
const RELIST_GATHER_MS: u64 = 250;

/// When what the stream refused is tried again, though nothing changed. Milliseconds, before jitter.
const REFUSED_RETRY_MS: u64 = 60_000;

/// What an agent is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which cluster.
    pub cluster: ClusterName,
    /// What it watches of it.
    pub scope: Scope,
    /// What the cluster is called where the credentials are from.
    pub cluster_title: String,
    /// Version of the agent.
    pub agent_version: String,
    /// What it watches, owners before what they own.
    pub kinds: Vec<Kind>,
    /// How it knows that it is the only one.
    pub leadership: Leadership,
    /// Spreads retries.
    pub seed: u64,
    /// [`Rules::ALL`], but in law tests.
    pub rules: Rules,
}

/// How an agent knows that it is the only one of its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It holds the Lease.
    Lease,
    /// Whoever started it sees to it.
    Alone,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// List this kind again, consistently, through its own watch.
    Relist(Kind),
    /// The process was frozen: another may hold the Lease. Take it again, and begin an epoch.
    RetakeLease,
}

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

/// The publisher of one scope of one cluster.
pub struct Agent {
    pub(crate) config: Config,
    pub(crate) current: Option<Current>,
    /// As on the wire.
    cluster_uid: Bytes,
    pub(crate) kinds: Vec<Watched>,
    pub(crate) outbox: Outbox,
    pulse: Pulse,
    api_server: ApiServer,
    jitter: Jitter,
    retake_lease: bool,
    last_tick: Option<Now>,
}

/// The current life as publisher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Current {
    pub(crate) epoch: Epoch,
    pub(crate) standing: Standing,
    counter: u64,
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
            outbox: Outbox::default(),
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
                self.renew();
            }
            Input::LeaseLost => {
                self.current = None;
                self.renew();
            }
            Input::Watch { kind, item } => {
                let current = self.current.map(|current| current.standing);
                let watched = self.kinds.iter_mut().find(|watched| watched.kind == kind);
                if let (Some(Standing::Held), Some(watched)) = (current, watched) {
                    watched.take(item, &mut Desk { outbox: &mut self.outbox, now });
                }
            }
            Input::Probed(probe) => self.api_server.take(probe, now),
            Input::Connected => self.reconnect(now),
            Input::Settled { ticket, outcome } => self.settle(ticket, outcome, now),
            Input::Tick => self.tick(now),
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
        let due = |watched: &&mut Watched| matches!(watched.relist, Relist::At(at) if at <= now.monotonic_ms);
        let watched = self.kinds.iter_mut().find(due)?;
        watched.relist = Relist::Asked;
        watched.relisted_at_ms = Some(now.monotonic_ms);
        Some(Command::Relist(watched.kind.clone()))
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
        let key = key_of(&self.config.cluster, &watched.kind, entry)?;
        let current = self.current.as_mut()?;
        current.counter += 1;
        let Value { state, resource_version, seen_at_unix_ms, waits_since_unix_ms } = value;
        let envelope = v1::ObjectChange {
            format: FORMAT,
            epoch: Some(current.epoch.into()),
            counter: current.counter,
            cluster_uid: self.cluster_uid.clone(),
            scope: self.config.scope.to_string(),
            kind: watched.kind.to_string(),
            namespace: entry.namespace().to_owned(),
            name: entry.name().to_owned(),
            resource_version: resource_version.to_string(),
            observed_at_unix_ms: seen_at_unix_ms,
            state: None,
        };
        let content = state.content();
        let (payload, state) = message::write(envelope, state, seen_at_unix_ms);
        let subject = subject::object(&key);
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
            payload: heartbeat.encode_to_vec().into(),
            content: Content::Heartbeat,
        })
    }

    fn refusals(&self) -> Vec<v1::Refusal> {
        type Test = fn(&Entry) -> bool;
        let unreadable: Test = |entry| entry.reading == crate::mirror::Reading::Unreadable;
        let reasons: [(v1::RefusalReason, fn(&Watched) -> u64, Test); 4] = [
            (
                v1::RefusalReason::TooLarge,
                |of| of.tally.too_large,
                |of| of.refused == Some(Refused::TooLarge),
            ),
            (
                v1::RefusalReason::StreamFull,
                |of| of.tally.stream_full,
                |of| of.refused == Some(Refused::StreamFull),
            ),
            (
                v1::RefusalReason::Permission,
                |of| of.tally.permission,
                |of| of.refused == Some(Refused::Permission),
            ),
            (v1::RefusalReason::Unreadable, Watched::unreadable, unreadable),
        ];
        let mut refusals = Vec::new();
        for (reason, count_of, is_one) in reasons {
            let count: u64 = self.kinds.iter().map(count_of).sum();
            if count > 0 {
                let example = self.example(is_one).unwrap_or_default();
                refusals.push(v1::Refusal { reason: reason.into(), count, example });
            }
        }
        refusals
    }

    fn example(&self, is_one: fn(&Entry) -> bool) -> Option<String> {
        self.kinds.iter().find_map(|watched| {
            let (_, entry) = watched.objects.iter().find(|(_, entry)| is_one(entry))?;
            key_of(&self.config.cluster, &watched.kind, entry).map(|key| subject::object(&key))
        })
    }

    /// When to call [`Agent::next`] or [`Agent::command`] again, if nothing happens before. Milliseconds, monotonic.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        self.current?;
        let pulse = self.pulse.due_at(|| gist(&self.kinds, &self.api_server));
        let lists = self.kinds.iter().filter_map(|watched| match watched.relist {
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

/// Another list of the kind is needed, `delay_ms` from now at the earliest, and not too often.
pub(crate) fn ask_for_list(watched: &mut Watched, now: Now, delay_ms: u64) {
    let last = watched.relisted_at_ms.map_or(0, |at| at.saturating_add(RELIST_INTERVAL_MS));
    let due = now.monotonic_ms.saturating_add(delay_ms).max(last);
    watched.relist = match watched.relist {
        Relist::No => Relist::At(due),
        Relist::At(at) => Relist::At(at.min(due)),
        Relist::Asked => Relist::Asked,
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
mod tests;
