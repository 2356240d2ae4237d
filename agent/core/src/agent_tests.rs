//! The whole core in a small world: a cluster, its watches, a stream that loses and goes back, and a hub that compares.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use prost::Message as _;
use vitals_proto::{
    identity::{Epoch, Scope, Uid},
    rule::Rules,
};

use super::*;
use crate::input::{Deletion, History, Object, ObjectName, Probe, WatchItem, WatchState};

const KINDS: [Kind; 2] = [Kind::Deployment, Kind::Pod];

/// Index of a kind, and a number for a name.
type Name = (usize, u8);

pub(crate) struct World {
    pub(crate) agent: Agent,
    pub(crate) now: Now,
    /// Versions of what exists. The facts of an object are its version, halved: every second change changes no fact.
    cluster: BTreeMap<Name, u64>,
    version: u64,
    watches: [Option<VecDeque<WatchItem>>; 2],
    /// What was handed over and is not settled.
    pub(crate) flying: Vec<Publication>,
    /// The newest that was handed over, of each subject, if it is facts.
    handed: BTreeMap<String, Bytes>,
    pub(crate) stream: BTreeMap<String, Publication>,
    history: Vec<Publication>,
    counter: u64,
    epochs: i64,
    /// What did not exist at some time of this epoch.
    missed: BTreeSet<Name>,
    listed_kinds: BTreeSet<usize>,
    pub(crate) heartbeats: Vec<v1::Heartbeat>,
    pub(crate) commands: Vec<Command>,
}

pub(crate) fn object_name((_, name): Name) -> ObjectName {
    ObjectName { namespace: "shop".into(), name: format!("o{name}") }
}

fn facts_of(version: u64) -> Bytes {
    v1::Facts { truncated: vec![(version / 2).to_string()], ..Default::default() }
        .encode_to_vec()
        .into()
}

fn subject_of(name: Name) -> String {
    let ObjectName { namespace, name: text } = object_name(name);
    let cluster = "eu".parse().unwrap();
    let kind = KINDS[name.0].clone();
    let key = KeyParts { cluster, kind, namespace: &namespace, name: &text };
    subject::object(&ObjectKey::new(key).unwrap())
}

fn object(name: Name, version: u64) -> Object {
    Object {
        name: object_name(name),
        resource_version: version.to_string(),
        facts: facts_of(version),
    }
}

/// 0 is no version, and not compared.
fn list_started(version: u64) -> WatchItem {
    WatchItem::ListStarted { resource_version: version.to_string(), history: History::Goes }
}

impl World {
    pub(crate) fn new() -> Self {
        let config = Config {
            cluster: "eu".parse().unwrap(),
            scope: Scope::default(),
            cluster_title: "Europe".into(),
            agent_version: "0".into(),
            kinds: KINDS.to_vec(),
            leadership: Leadership::Lease,
            outbox_bytes_max: crate::outbox::HELD_BYTES_MAX,
            seed: 1,
            rules: Rules::ALL,
        };
        Self {
            agent: Agent::new(config),
            now: Now { unix_ms: 1_000_000, monotonic_ms: 0 },
            cluster: BTreeMap::new(),
            version: 0,
            watches: [None, None],
            flying: Vec::new(),
            handed: BTreeMap::new(),
            stream: BTreeMap::new(),
            history: Vec::new(),
            counter: 0,
            epochs: 0,
            missed: BTreeSet::new(),
            listed_kinds: BTreeSet::new(),
            heartbeats: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// With an epoch, and what it lists published.
    pub(crate) fn begun(names: &[Name]) -> Self {
        let mut world = Self::new();
        for name in names {
            world.change(*name);
        }
        world.begin_epoch();
        world.settle_down();
        world
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.agent.apply(input, self.now);
        self.perform();
    }

    pub(crate) fn item(&mut self, kind: usize, item: WatchItem) {
        if matches!(item, WatchItem::ListStarted { .. }) {
            self.listed_kinds.insert(kind);
        }
        self.input(Input::Watch { kind: KINDS[kind].clone(), item });
    }

    fn perform(&mut self) {
        while let Some(command) = self.agent.command(self.now) {
            self.commands.push(command.clone());
            match command {
                Command::Watch(kind) => self.list(kind, true),
                Command::Relist(kind) => self.list(kind, false),
                Command::RetakeLease => self.input(Input::LeaseLost),
            }
        }
    }

    fn list(&mut self, kind: Kind, anew: bool) {
        let index = KINDS.iter().position(|known| *known == kind).unwrap();
        let mut items = self.watches[index].take().filter(|_| !anew).unwrap_or_default();
        items.push_back(list_started(self.version));
        let objects = self.cluster.iter().filter(|((of, _), _)| *of == index);
        items.extend(objects.map(|(name, version)| WatchItem::Listed(object(*name, *version))));
        let resource_version = self.version.to_string();
        items.push_back(WatchItem::ListEnded { resource_version, unnamed: 0 });
        self.watches[index] = Some(items);
    }

    pub(crate) fn begin_epoch(&mut self) {
        self.epochs += 1;
        self.counter = 0;
        self.listed_kinds.clear();
        self.missed = (0..2).flat_map(|kind| (0..6).map(move |name| (kind, name))).collect();
        self.missed.retain(|name| !self.cluster.contains_key(name));
        self.input(Input::EpochBegun {
            epoch: Epoch { started_at_unix_ms: self.epochs, random: 0 },
            standing: Standing::Held,
            cluster_uid: Uid::from_text("uid"),
        });
    }

    pub(crate) fn change(&mut self, name: Name) {
        self.version += 1;
        self.cluster.insert(name, self.version);
        if let Some(items) = &mut self.watches[name.0] {
            items.push_back(WatchItem::Applied(object(name, self.version)));
        }
    }

    pub(crate) fn delete(&mut self, name: Name) {
        if self.cluster.remove(&name).is_none() {
            return;
        }
        self.version += 1;
        self.missed.insert(name);
        if let Some(items) = &mut self.watches[name.0] {
            items.push_back(WatchItem::Deleted(Deletion {
                name: object_name(name),
                resource_version: self.version.to_string(),
                labels: BTreeMap::new(),
                uid: Bytes::new(),
            }));
        }
    }

    pub(crate) fn watch_says_next(&mut self, kind: usize) -> bool {
        let item = self.watches[kind].as_mut().and_then(VecDeque::pop_front);
        let said = item.is_some();
        if let Some(item) = item {
            self.item(kind, item);
        }
        said
    }

    /// The connection to the API server breaks: events are lost, and a list follows.
    fn watch_breaks(&mut self, kind: usize) {
        if let Some(items) = self.watches[kind].take() {
            self.watches[kind] = Some(VecDeque::from([WatchItem::ListDiscarded]));
            drop(items);
            self.list(KINDS[kind].clone(), false);
        }
    }

    /// Hands the next over, and holds the agent to its word.
    pub(crate) fn hand_over(&mut self) -> bool {
        let Some(publication) = self.agent.next(self.now) else { return false };
        let Publication { subject, payload, content, .. } = &publication;
        assert!(
            self.flying.iter().all(|other| other.subject != *subject),
            "single flight: {subject}"
        );
        let counter = match content {
            Content::Heartbeat => self.hold_to(&v1::Heartbeat::decode(payload.clone()).unwrap()),
            Content::Facts | Content::Tombstone => {
                let change = v1::ObjectChange::decode(payload.clone()).unwrap();
                let kind = KINDS.iter().position(|kind| kind.resource() == change.kind).unwrap();
                assert!(self.listed_kinds.contains(&kind), "nothing before the first list");
                let number = change.name.trim_start_matches('o').parse().unwrap();
                if *content == Content::Tombstone {
                    self.handed.remove(subject);
                    assert!(self.missed.contains(&(kind, number)), "buried what exists: {subject}");
                } else {
                    self.handed.insert(subject.clone(), payload.clone());
                }
                change.counter
            }
        };
        self.counter += 1;
        assert_eq!(counter, self.counter, "counters follow the hand-over");
        self.flying.push(publication);
        true
    }

    /// The sums are over exactly what was handed over, of complete kinds.
    fn hold_to(&mut self, heartbeat: &v1::Heartbeat) -> u64 {
        let mut sums = Sums::default();
        for report in
            heartbeat.kinds.iter().filter(|report| report.state() == v1::KindState::Complete)
        {
            let kind = Kind::from_resource(&report.kind);
            for (subject, payload) in &self.handed {
                let Ok(subject::Published::Object(key)) = subject::Published::parse(subject) else {
                    panic!()
                };
                if *key.kind() == kind {
                    sums.add(Place::of(subject).bucket(), Digest::of(subject, payload));
                }
            }
        }
        assert_eq!(Sums::from_wire(&heartbeat.bucket_sums), Some(sums));
        self.heartbeats.push(heartbeat.clone());
        heartbeat.counter
    }

    pub(crate) fn settle(&mut self, which: usize, arrives: bool, outcome: Outcome) {
        if self.flying.is_empty() {
            return;
        }
        let publication = self.flying.remove(which % self.flying.len());
        if arrives {
            self.history.push(publication.clone());
            self.stream.insert(publication.subject.clone(), publication.clone());
        }
        self.input(Input::Settled { ticket: publication.ticket, outcome });
    }

    /// What a hub that read the whole stream asks for, in the bucket of an object.
    pub(crate) fn wish(&self, subject: &str) -> v1::RepairRequest {
        let place = Place::of(subject);
        let held = self.stream.values().filter(|publication| {
            publication.content == Content::Facts
                && Place::of(&publication.subject).bucket() == place.bucket()
        });
        let held = held.map(|Publication { subject, payload, .. }| v1::HeldObject {
            subject: subject.clone(),
            digest: Digest::of(subject, payload).to_wire().to_vec().into(),
        });
        v1::RepairRequest {
            scope: "main".into(),
            epoch: self.agent.epoch().map(Into::into),
            bucket: place.bucket().into(),
            held: held.collect(),
            part_bits: 0,
            part: 0,
        }
    }

    pub(crate) fn repair(&mut self, subject: &str) -> Option<v1::RepairResponse> {
        let answer = self.agent.repair(&self.wish(subject), self.now);
        self.perform();
        answer
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        for _ in 0..ms / TICK_INTERVAL_MS {
            self.now.monotonic_ms += TICK_INTERVAL_MS;
            self.now.unix_ms += i64::try_from(TICK_INTERVAL_MS).unwrap();
            self.input(Input::Tick);
        }
    }

    /// Everything that is underway arrives.
    pub(crate) fn settle_down(&mut self) {
        loop {
            let mut moved = false;
            while self.hand_over() || self.watch_says_next(0) || self.watch_says_next(1) {
                moved = true;
            }
            while !self.flying.is_empty() {
                self.settle(0, true, Outcome::Acked);
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    /// No more faults: the hub compares at each heartbeat.
    fn converge(&mut self) {
        if self.agent.epoch().is_none() {
            self.begin_epoch();
        }
        // What was refused is tried again after 90 s at most.
        for _ in 0..20 {
            self.pass(6_000);
            self.settle_down();
            for kind in 0..2 {
                for name in 0..6 {
                    self.repair(&subject_of((kind, name)));
                }
            }
        }
        self.pass(6_000);
        self.settle_down();
    }

    /// Facts on the stream, by subject.
    fn published(&self) -> BTreeMap<String, Vec<String>> {
        let facts =
            self.stream.values().filter(|publication| publication.content == Content::Facts);
        facts
            .map(|publication| {
                let change = v1::ObjectChange::decode(publication.payload.clone()).unwrap();
                let Some(v1::object_change::State::Facts(facts)) = change.state else { panic!() };
                (publication.subject.clone(), facts.truncated)
            })
            .collect()
    }

    pub(crate) fn assert_true(&self) {
        let truth: BTreeMap<String, Vec<String>> = self
            .cluster
            .iter()
            .map(|(name, version)| (subject_of(*name), vec![(version / 2).to_string()]))
            .collect();
        assert_eq!(self.published(), truth);
        let heartbeat = self.heartbeats.last().unwrap();
        for report in &heartbeat.kinds {
            assert_eq!(report.state(), v1::KindState::Complete, "{report:?}");
        }
        assert_eq!(heartbeat.behind_since_unix_ms, None);
    }

    pub(crate) fn last_states(&self) -> Vec<v1::KindState> {
        self.heartbeats.last().unwrap().kinds.iter().map(v1::KindReport::state).collect()
    }
}

#[test]
fn lists_publishes_and_says_so() {
    let mut world = World::begun(&[(0, 1), (1, 1), (1, 2)]);
    world.pass(1_000);
    world.settle_down();
    world.assert_true();
    let counts: Vec<u64> =
        world.heartbeats.last().unwrap().kinds.iter().map(|kind| kind.count).collect();
    assert_eq!(counts, [1, 2]);
    let before = world.history.len();
    world.change((1, 1));
    world.change((1, 1));
    world.settle_down();
    assert_eq!(
        world.history.len(),
        before + 1,
        "what changes no fact is not sent, what coalesces is sent once"
    );
    world.delete((1, 2));
    world.settle_down();
    assert_eq!(world.stream[&subject_of((1, 2))].content, Content::Tombstone);
    assert_eq!(world.agent.kinds[1].objects.iter().count(), 1, "forgotten once it is buried");
}

#[test]
fn what_was_never_handed_over_needs_no_tombstone() {
    let mut world = World::begun(&[]);
    world.change((1, 3));
    world.watch_says_next(1);
    world.delete((1, 3));
    world.watch_says_next(1);
    assert!(!world.hand_over());
    assert_eq!(world.agent.outbox.len(), 0);
}

#[test]
fn a_provisional_epoch_has_heartbeats_only() {
    let mut world = World::new();
    let epoch = crate::epoch::provisional(7);
    let cluster_uid = Uid::from_text("");
    world.input(Input::EpochBegun { epoch, standing: Standing::Provisional, cluster_uid });
    let outcome = Err("connection refused".to_owned());
    world.input(Input::Probed(Probe { outcome, clock_offset_ms: None, version: None }));
    world.item(0, list_started(0));
    world.item(0, WatchItem::Listed(object((0, 1), 1)));
    assert!(world.hand_over() && !world.hand_over());
    let heartbeat = &world.heartbeats[0];
    assert!(heartbeat.provisional && heartbeat.cluster_uid.is_empty());
    assert_eq!(heartbeat.api_server.as_ref().unwrap().error, "connection refused");
    assert_eq!(world.last_states(), [v1::KindState::Listing; 2]);
    assert_eq!(world.commands, []);
}

#[test]
fn the_first_heartbeat_of_an_epoch_says_that_the_api_server_answers() {
    let mut world = World::new();
    world.begin_epoch();
    world.settle_down();
    let report = world.heartbeats[0].api_server.clone().unwrap();
    assert_eq!((report.reachable, report.since_unix_ms), (true, 1_000_000));
}

#[test]
fn a_heartbeat_does_not_wait_behind_objects() {
    let mut world = World::begun(&[]);
    for name in 0..6 {
        world.change((1, name));
    }
    while world.watch_says_next(1) {}
    assert!(world.hand_over());
    world.pass(5_000);
    world.hand_over();
    assert_eq!(world.flying.last().unwrap().content, Content::Heartbeat);
    assert!(world.heartbeats.last().unwrap().behind_since_unix_ms.is_some());
}

#[test]
fn losing_the_lease_silences_and_an_epoch_says_everything_again() {
    let mut world = World::begun(&[(0, 1), (1, 1)]);
    world.input(Input::LeaseLost);
    world.change((1, 1));
    world.delete((0, 1));
    world.pass(6_000);
    assert!(!world.hand_over());
    let sent = world.history.len();
    world.begin_epoch();
    world.settle_down();
    assert!(world.history.len() > sent + 2);
    world.pass(1_000);
    world.settle_down();
    world.assert_true();
}

#[test]
fn a_doubted_lease_leaves_heartbeats_and_goes_on_where_it_was() {
    let mut world = World::begun(&[(1, 1)]);
    world.input(Input::LeaseDoubted);
    world.change((1, 2));
    while world.watch_says_next(1) {}
    world.pass(5_000);
    assert!(world.hand_over());
    assert_eq!(world.flying[0].content, Content::Heartbeat);
    assert!(!world.hand_over() && !world.heartbeats.last().unwrap().provisional);
    assert_eq!(world.repair(&subject_of((1, 1))), None, "another may answer");
    world.input(Input::LeaseKept);
    world.settle_down();
    world.pass(5_000);
    world.settle_down();
    world.assert_true();
}

#[test]
fn a_frozen_process_lists_again_and_retakes_the_lease() {
    for (case, freeze_ms, want) in [("late", 9_000, false), ("frozen", 11_000, true)] {
        let mut world = World::begun(&[(1, 1)]);
        world.pass(1_000);
        world.settle_down();
        world.commands.clear();
        world.now.monotonic_ms += freeze_ms;
        world.now.unix_ms += i64::try_from(freeze_ms).unwrap();
        world.input(Input::Tick);
        assert_eq!(world.commands.contains(&Command::RetakeLease), want, "{case}");
        if want {
            assert!(!world.hand_over(), "another may publish by now");
            world.begin_epoch();
            world.settle_down();
            world.pass(1_000);
            world.settle_down();
        }
        world.assert_true();
    }
}

#[test]
fn a_list_older_than_what_was_seen_is_not_used_but_the_second_is() {
    let mut world = World::begun(&[(1, 1), (1, 2)]);
    let list = |world: &mut World, version: u64| {
        world.item(1, list_started(version));
        world.item(1, WatchItem::Listed(object((1, 1), 0)));
        world.item(1, WatchItem::Listed(object((1, 3), 40)));
        world.item(1, WatchItem::ListEnded { resource_version: version.to_string(), unnamed: 0 });
    };
    world.item(1, WatchItem::Alive { resource_version: "100".into() });
    world.commands.clear();
    list(&mut world, 50);
    assert_eq!(world.commands, [Command::Relist(Kind::Pod)]);
    world.watches[1] = None;
    assert!(!world.hand_over(), "neither facts nor tombstones");
    world.missed.insert((1, 2));
    list(&mut world, 50);
    world.settle_down();
    assert_eq!(world.stream[&subject_of((1, 2))].content, Content::Tombstone);
    assert_eq!(world.stream[&subject_of((1, 3))].content, Content::Facts);
}

#[test]
fn a_new_watch_does_not_take_the_kind_back_in_time() {
    let mut world = World::begun(&[(1, 1)]);
    world.item(1, WatchItem::Alive { resource_version: "100".into() });
    world.input(Input::LeaseLost);
    world.begin_epoch();
    world.watches[1] = None;
    world.commands.clear();
    world.item(1, list_started(50));
    assert_eq!(world.commands, [Command::Relist(Kind::Pod)], "before anything of it is used");
    world.watches[1] = None;
    world.item(1, WatchItem::Listed(object((1, 3), 40)));
    assert_eq!(world.agent.outbox.len(), 0);
    world.item(1, list_started(101));
    world.item(1, WatchItem::Listed(object((1, 1), 1)));
    world.item(1, WatchItem::ListEnded { resource_version: "101".into(), unnamed: 0 });
    world.settle_down();
    assert!(!world.stream.contains_key(&subject_of((1, 3))));
}

#[test]
fn what_the_stream_refuses_is_counted_and_named_and_not_sent_again() {
    for (outcome, reason, retried) in [
        (Outcome::TooLarge, v1::RefusalReason::TooLarge, false),
        (Outcome::StreamFull, v1::RefusalReason::StreamFull, true),
        (Outcome::Permission, v1::RefusalReason::Permission, true),
    ] {
        let mut world = World::begun(&[(1, 1)]);
        world.change((1, 2));
        world.watch_says_next(1);
        assert!(world.hand_over());
        world.settle(0, false, outcome);
        world.pass(5_000);
        world.settle_down();
        let refused = v1::Refusal { reason: reason.into(), count: 1, example: subject_of((1, 2)) };
        assert_eq!(world.heartbeats.last().unwrap().refused, [refused], "{outcome:?}");
        assert_eq!(world.last_states()[1], v1::KindState::Complete, "{outcome:?}");
        let answer = world.repair(&subject_of((1, 2))).unwrap();
        let refused = "cannot be sent: 1 refused by the stream or unreadable";
        assert_eq!((answer.resent, &*answer.refused), (0, refused), "{outcome:?}");
        world.pass(120_000);
        world.settle_down();
        assert_eq!(world.stream.contains_key(&subject_of((1, 2))), retried, "{outcome:?}");
        world.change((1, 2));
        world.change((1, 2));
        world.settle_down();
        world.pass(5_000);
        world.settle_down();
        world.assert_true();
        assert_eq!(world.heartbeats.last().unwrap().refused, [], "{outcome:?}");
    }
}

#[test]
fn the_unreadable_is_named_and_never_buried() {
    let mut world = World::begun(&[(1, 1), (1, 2)]);
    world.item(1, list_started(0));
    world.item(1, WatchItem::Unreadable(Some(object_name((1, 1)))));
    world.item(1, WatchItem::Unreadable(None));
    world.item(1, WatchItem::ListEnded { resource_version: "9".into(), unnamed: 1 });
    world.pass(5_000);
    world.settle_down();
    let refused = world.heartbeats.last().unwrap().refused.clone();
    let want = v1::Refusal {
        reason: v1::RefusalReason::Unreadable.into(),
        count: 2,
        example: subject_of((1, 1)),
    };
    assert_eq!(refused, [want]);
    assert_eq!(
        world.stream[&subject_of((1, 2))].content,
        Content::Facts,
        "may be the nameless one"
    );
    world.delete((1, 1));
    world.settle_down();
    assert_eq!(world.stream[&subject_of((1, 1))].content, Content::Tombstone);
}

#[test]
fn the_states_of_a_kind() {
    let mut world = World::begun(&[(1, 1)]);
    for (state, want) in [
        (WatchState::Forbidden("403".into()), v1::KindState::Forbidden),
        (WatchState::Stalled("silent".into()), v1::KindState::Stalled),
        (WatchState::Listing("broken".into()), v1::KindState::Listing),
        (WatchState::Live, v1::KindState::Complete),
    ] {
        world.item(1, WatchItem::State(state));
        world.pass(1_000);
        world.settle_down();
        assert_eq!(world.last_states(), [v1::KindState::Complete, want], "told within a second");
    }
    world.missed.insert((1, 1));
    world.item(1, WatchItem::State(WatchState::Absent("404".into())));
    world.settle_down();
    assert_eq!(
        world.stream[&subject_of((1, 1))].content,
        Content::Tombstone,
        "nothing of it exists"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Change(Name),
    Delete(Name),
    WatchSays(usize, u8),
    WatchBreaks(usize),
    HandOver(u8),
    Settle(usize, bool, Outcome),
    Pass(u64),
    Freeze,
    BeginEpoch,
    LeaseLost,
    Reconnect,
    StreamLoses(usize),
    StreamGoesBack(usize),
    Repair(Name),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || (0..2_usize, 0..6_u8);
    let outcome = || {
        prop_oneof![
            6 => Just((true, Outcome::Acked)),
            2 => Just((true, Outcome::Transient)),
            2 => Just((false, Outcome::Transient)),
            1 => Just((false, Outcome::StreamFull)),
            1 => Just((false, Outcome::Permission)),
        ]
    };
    prop_oneof![
        6 => name().prop_map(Step::Change),
        3 => name().prop_map(Step::Delete),
        8 => (0..2_usize, 1..8_u8).prop_map(|(kind, items)| Step::WatchSays(kind, items)),
        1 => (0..2_usize).prop_map(Step::WatchBreaks),
        8 => (1..8_u8).prop_map(Step::HandOver),
        8 => (any::<usize>(), outcome()).prop_map(|(which, (arrives, outcome))| Step::Settle(which, arrives, outcome)),
        2 => (500..9_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Freeze),
        2 => Just(Step::BeginEpoch),
        1 => Just(Step::LeaseLost),
        1 => Just(Step::Reconnect),
        1 => any::<usize>().prop_map(Step::StreamLoses),
        1 => any::<usize>().prop_map(Step::StreamGoesBack),
        3 => name().prop_map(Step::Repair),
    ]
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Change(name) => self.change(name),
            Step::Delete(name) => self.delete(name),
            Step::WatchSays(kind, items) => {
                for _ in 0..items {
                    self.watch_says_next(kind);
                }
            }
            Step::WatchBreaks(kind) => self.watch_breaks(kind),
            Step::HandOver(messages) => {
                for _ in 0..messages {
                    self.hand_over();
                }
            }
            Step::Settle(which, arrives, outcome) => self.settle(which, arrives, outcome),
            Step::Pass(ms) => self.pass(ms),
            Step::Freeze => {
                self.now.unix_ms += 20_000;
                self.input(Input::Tick);
            }
            Step::BeginEpoch => self.begin_epoch(),
            Step::LeaseLost => self.input(Input::LeaseLost),
            Step::Reconnect => self.input(Input::Connected),
            Step::StreamLoses(which) => {
                let subject = self.stream.keys().nth(which % (self.stream.len() + 1)).cloned();
                subject.map(|subject| self.stream.remove(&subject));
            }
            Step::StreamGoesBack(which) => {
                let older = self.history.get(which % (self.history.len() + 1)).cloned();
                if let Some(older) = older.filter(|older| older.content != Content::Heartbeat) {
                    self.stream.insert(older.subject.clone(), older);
                }
            }
            Step::Repair(name) => {
                self.repair(&subject_of(name));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Single flight, counters, sums and lists hold at every hand-over; nothing that exists is buried; and when faults end,
    /// the stream is the cluster.
    #[test]
    fn laws(steps in proptest::collection::vec(step(), 0..150)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.converge();
        world.assert_true();
    }
}
