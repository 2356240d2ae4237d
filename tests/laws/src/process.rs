//! A simulated agent process: the real core, its watches of the simulated API server, and its connection to the broker.
//!
//! A process can be frozen (its packets still arrive), lose its connection, have a clock of its own, and be started again.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use prost::Message as _;
use vitals_agent_core::{
    Agent, Command, Config, Content, Input, Leadership, Now, OUTBOX_BYTES_MAX, Publication, Ticket,
    epoch,
    input::{
        Deletion, History, Object as Listed, ObjectName, Outcome, Probe, Standing, WatchItem,
        WatchState,
    },
};
use vitals_proto::{
    identity::{Epoch, Scope, Uid},
    kind::Kind,
    rule::Rules,
    v1,
};

use crate::{
    api::{self, Api, Lease, Name, Object},
    broker::Broker,
    chance::Chance,
};

/// A Lease that was not renewed for so long can be taken. Milliseconds.
const LEASE_MS: i64 = 15_000;
/// The shell gives up waiting for an answer of the broker after so long. Milliseconds.
const ANSWER_MS: i64 = 5_000;
/// Most publications that are under way.
const WINDOW: usize = 8;

/// Versions of all that an agent had handed to its connection, and not buried, when it made a heartbeat.
pub type Truth = BTreeMap<(Kind, Name), u64>;

/// A heartbeat as it was handed over: what its sums speak of.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// Scope.
    pub scope: String,
    /// Its payload, by which the hub's side finds it again.
    pub payload: Bytes,
    /// What exists, by what was handed over before.
    pub truth: Truth,
}

struct Packet(Publication);

#[derive(Default)]
struct Watch {
    /// Up to which version it has seen all; `None` before its list.
    seen: Option<u64>,
}

/// One process.
pub struct Process {
    /// Which of them.
    pub number: usize,
    /// The scope that it publishes for.
    pub scope: String,
    /// The namespace that the scope is.
    pub namespace: String,
    /// Its clock minus the true time. Milliseconds.
    pub clock_offset: i64,
    /// Frozen: none of its code runs.
    pub frozen: bool,
    /// It reaches the broker.
    pub connected: bool,
    core: Agent,
    rules: Rules,
    /// Of the cluster that it watches.
    uid: &'static str,
    leadership: Leadership,
    started_at: i64,
    epoch: Option<Epoch>,
    leads: bool,
    watches: BTreeMap<Kind, Watch>,
    handed: Truth,
    network: VecDeque<Packet>,
    unanswered: BTreeMap<Ticket, i64>,
    /// Messages that arrived, for late duplicates.
    pub arrived: VecDeque<(String, Bytes)>,
}

impl Process {
    /// A process that has just started.
    pub fn start(number: usize, namespace: &str, start: &Start) -> Self {
        let Start { rules, uid, now, seed, clock_offset, leadership } = *start;
        let scope = format!("scope-{namespace}");
        let mut process = Self {
            number,
            namespace: namespace.to_owned(),
            clock_offset,
            frozen: false,
            connected: true,
            core: new_core(&scope, start),
            scope,
            rules,
            uid,
            leadership,
            started_at: now,
            epoch: None,
            leads: false,
            watches: BTreeMap::new(),
            handed: Truth::new(),
            network: VecDeque::new(),
            unanswered: BTreeMap::new(),
            arrived: VecDeque::new(),
        };
        let epoch = epoch::provisional(seed);
        process.begin(epoch, Standing::Provisional, now);
        process.hear(Input::Connected, now);
        process
    }

    fn now(&self, now: i64) -> Now {
        let monotonic_ms = u64::try_from(now - self.started_at).unwrap();
        Now { unix_ms: now + self.clock_offset, monotonic_ms }
    }

    fn hear(&mut self, input: Input, now: i64) {
        self.core.apply(input, self.now(now));
        self.obey(now);
    }

    fn obey(&mut self, now: i64) {
        while let Some(command) = self.core.command(self.now(now)) {
            match command {
                Command::Watch(kind) | Command::Relist(kind) => {
                    self.watches.insert(kind, Watch::default());
                }
                Command::RetakeLease => self.leads = false,
            }
        }
    }

    fn begin(&mut self, epoch: Epoch, standing: Standing, now: i64) {
        self.epoch = Some(epoch);
        self.handed.clear();
        let cluster_uid = match standing {
            Standing::Held | Standing::Doubted => Uid::from_text(self.uid),
            Standing::Provisional => Uid::from_text(""),
        };
        self.hear(Input::EpochBegun { epoch, standing, cluster_uid }, now);
    }

    /// Time passes: the Lease, the probe, answers that do not come.
    pub fn tick(&mut self, api: &mut Api, chance: &mut Chance, now: i64) {
        if self.frozen {
            return;
        }
        self.hear(Input::Tick, now);
        let outcome = if api.up { Ok(()) } else { Err("connection refused".to_owned()) };
        let probe = Probe { outcome, clock_offset_ms: Some(self.clock_offset), version: None };
        self.hear(Input::Probed(probe), now);
        if api.up {
            self.lead(api, chance, now);
        }
        let late: Vec<Ticket> = self
            .unanswered
            .iter()
            .filter(|(_, sent_at)| now - **sent_at > ANSWER_MS)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in late {
            self.settle(ticket, Outcome::Transient, now);
        }
    }

    /// Renews the Lease, takes it, or learns that it is lost.
    fn lead(&mut self, api: &mut Api, chance: &mut Chance, now: i64) {
        if self.leadership == Leadership::Alone {
            if !self.leads {
                // Nothing but its clock tells it from the process before it; and that can be set back.
                let now_unix_ms = now + self.clock_offset;
                let origin = epoch::Origin { now_unix_ms, last: None, random: chance.draw() };
                self.take_over(epoch::next(origin, self.rules), now);
            }
            return;
        }
        let lease = api.leases.entry(self.scope.clone()).or_default();
        let ours = lease.holder == Some(self.number);
        if self.leads && !ours {
            self.leads = false;
            self.hear(Input::LeaseLost, now);
            return;
        }
        if ours && self.leads {
            lease.renewed_at = now;
            return;
        }
        if ours || lease.holder.is_none() || now - lease.renewed_at > LEASE_MS {
            let last = Some(lease.epoch).max(self.epoch);
            let origin =
                epoch::Origin { now_unix_ms: now + self.clock_offset, last, random: chance.draw() };
            let epoch = epoch::next(origin, self.rules);
            *lease = Lease { holder: Some(self.number), renewed_at: now, epoch };
            self.take_over(epoch, now);
        } else if self.epoch.take().is_some() {
            // A standby says nothing, not even that it lives.
            self.hear(Input::LeaseLost, now);
        }
    }

    fn take_over(&mut self, epoch: Epoch, now: i64) {
        self.leads = true;
        self.begin(epoch, Standing::Held, now);
        self.watches.clear();
    }

    /// Takes at most `most` steps of its watches: whole lists, single events.
    pub fn watch(&mut self, api: &Api, most: usize, now: i64) {
        if self.frozen || !api.up || !self.leads {
            return;
        }
        for kind in Kind::KNOWN {
            for _ in 0..most {
                let seen = self.watches.entry(kind.clone()).or_default().seen;
                let moved = match seen {
                    None => self.list(&kind, api, now),
                    Some(seen) => self.event(&kind, api, seen, now),
                };
                if !moved {
                    break;
                }
            }
        }
    }

    fn list(&mut self, kind: &Kind, api: &Api, now: i64) -> bool {
        let (objects, version) = api.list(kind, &self.namespace);
        let (resource_version, history) = (version.to_string(), History::Goes);
        self.hear_watch(kind, WatchItem::ListStarted { resource_version, history }, now);
        for (name, object) in objects {
            self.hear_watch(kind, WatchItem::Listed(listed(kind, &name, &object)), now);
        }
        self.watches.insert(kind.clone(), Watch { seen: Some(version) });
        let resource_version = version.to_string();
        self.hear_watch(kind, WatchItem::ListEnded { resource_version, unnamed: 0 }, now);
        self.hear_watch(kind, WatchItem::State(WatchState::Live), now);
        true
    }

    fn event(&mut self, kind: &Kind, api: &Api, seen: u64, now: i64) -> bool {
        let Some(event) = api.event_after(kind, &self.namespace, seen) else { return false };
        let version = event.object.resource_version;
        self.watches.insert(kind.clone(), Watch { seen: Some(version) });
        let item = if event.deleted {
            WatchItem::Deleted(Deletion {
                name: object_name(&event.name),
                resource_version: version.to_string(),
                labels: BTreeMap::new(),
                uid: Bytes::new(),
            })
        } else {
            WatchItem::Applied(listed(kind, &event.name, &event.object))
        };
        self.hear_watch(kind, item, now);
        true
    }

    fn hear_watch(&mut self, kind: &Kind, item: WatchItem, now: i64) {
        self.hear(Input::Watch { kind: kind.clone(), item }, now);
    }

    /// Hands at most `most` messages to the connection. Gives the heartbeats among them.
    pub fn publish(&mut self, most: usize, now: i64) -> Vec<Spoken> {
        let mut spoken = Vec::new();
        if self.frozen {
            return spoken;
        }
        for _ in 0..most {
            if self.network.len() >= WINDOW {
                break;
            }
            let Some(publication) = self.core.next(self.now(now)) else { break };
            spoken.extend(self.note(&publication));
            self.unanswered.insert(publication.ticket, now);
            self.network.push_back(Packet(publication));
        }
        spoken
    }

    /// Keeps in mind what was handed over; for a heartbeat, gives what it speaks of.
    fn note(&mut self, publication: &Publication) -> Option<Spoken> {
        let payload = publication.payload.clone();
        match publication.content {
            Content::Heartbeat => {
                let (scope, truth) = (self.scope.clone(), self.handed.clone());
                return Some(Spoken { scope, payload, truth });
            }
            Content::Facts | Content::Tombstone => {}
        }
        let v1::ObjectChange { kind, namespace, name, state, .. } =
            v1::ObjectChange::decode(payload).unwrap();
        let key = (Kind::from_resource(&kind), (namespace, name));
        match state.unwrap() {
            v1::object_change::State::Facts(facts) => {
                self.handed.insert(key, api::version_of(&facts));
            }
            v1::object_change::State::Tombstone(_) => {
                self.handed.remove(&key);
            }
        }
        None
    }

    /// Lets at most `most` messages arrive at the broker, in order. Answers get lost `lost` times in 100.
    pub fn arrive(&mut self, broker: &mut Broker, most: usize, answers: &mut Answers, now: i64) {
        for _ in 0..most {
            if !broker.up || !self.connected {
                break;
            }
            let Some(Packet(publication)) = self.network.pop_front() else { break };
            let Publication { ticket, subject, payload, .. } = publication;
            broker.publish(&subject, payload.clone(), now);
            self.arrived.push_back((subject, payload));
            if self.arrived.len() > 64 {
                self.arrived.pop_front();
            }
            if !answers.chance.percent(answers.lost_percent) && !self.frozen {
                // It may come late: the core knows whether it still waits for it.
                self.unanswered.remove(&ticket);
                self.hear(Input::Settled { ticket, outcome: Outcome::Acked }, now);
            }
        }
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome, now: i64) {
        if self.unanswered.remove(&ticket).is_some() {
            self.hear(Input::Settled { ticket, outcome }, now);
        }
    }

    /// The connection breaks: what has not arrived never will.
    pub fn disconnect(&mut self) {
        self.connected = false;
        self.network.clear();
    }

    /// The connection is there again.
    pub fn connect(&mut self, now: i64) {
        if !self.connected && !self.frozen {
            self.connected = true;
            self.hear(Input::Connected, now);
        }
    }

    /// A hub asks for a repair.
    pub fn repair(&mut self, request: &v1::RepairRequest, now: i64) -> Option<v1::RepairResponse> {
        if self.frozen || !self.connected {
            return None;
        }
        let response = self.core.repair(request, self.now(now));
        self.obey(now);
        response
    }
}

/// What a process starts with.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The rules that hold.
    pub rules: Rules,
    /// Identity of the cluster that it watches.
    pub uid: &'static str,
    /// The true time. Milliseconds.
    pub now: i64,
    /// Seed of its own chance.
    pub seed: u64,
    /// Its clock minus the true time. Milliseconds.
    pub clock_offset: i64,
    /// How it knows that it is the only one.
    pub leadership: Leadership,
}

/// How answers of the broker get lost.
pub struct Answers<'a> {
    /// Decides.
    pub chance: &'a mut Chance,
    /// So many of 100 are lost.
    pub lost_percent: u64,
}

fn new_core(scope: &str, start: &Start) -> Agent {
    Agent::new(Config {
        cluster: "c".parse().unwrap(),
        scope: scope.parse::<Scope>().unwrap(),
        cluster_title: "c".into(),
        agent_version: "0".into(),
        // A kind that is not watched is a blind spot; most of them have no objects here.
        kinds: Kind::KNOWN.to_vec(),
        leadership: start.leadership,
        outbox_bytes_max: OUTBOX_BYTES_MAX,
        seed: start.seed,
        rules: start.rules,
    })
}

fn object_name(name: &Name) -> ObjectName {
    ObjectName { namespace: name.0.clone(), name: name.1.clone() }
}

fn listed(kind: &Kind, name: &Name, object: &Object) -> Listed {
    Listed {
        name: object_name(name),
        resource_version: object.resource_version.to_string(),
        facts: api::facts(kind, object).encode_to_vec().into(),
    }
}
