//! What operators say of clusters, and what becomes of one that is forgotten: alike at every replica, in whatever order it reads
//! the record and the messages.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vitals_proto::{rule::Rules, v1::FreshnessState, v1::object_change::State};

use super::{rig::*, *};
use crate::Forgotten;
use crate::picture::{Outcome, testing};

fn record(labels: &str, forgotten: Option<Forgotten>) -> ClusterRecord {
    ClusterRecord { labels: testing::labels(labels), forgotten }
}

fn describe(rig: &mut Rig, record: ClusterRecord, revision: u64) {
    let records = BTreeMap::from([(cluster(), record)]);
    rig.apply(Input::Clusters { records, revision });
    rig.settle();
}

fn forgetting(rig: &Rig) -> Forgetting {
    rig.hub.forgetting(&cluster(), rig.now).unwrap()
}

/// A Deployment with an entity of its own.
fn shop(agent: &mut Agent) -> Sent {
    let shop = testing::deployment("eu-1", "pay/shop", "");
    let sent = agent.change(&shop.key, Some(State::Facts(shop.facts)));
    agent.sent.insert(shop.key, sent.payload.clone());
    sent
}

/// A cluster that is verified, and then falls silent.
fn silent() -> (Rig, Agent) {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(shop(&mut agent));
    rig.send(agent.put(&pod("a"), "1"));
    rig.beat(&mut agent);
    rig.pass(25);
    assert_eq!(rig.state(), FreshnessState::AgentLost);
    (rig, agent)
}

fn entities(rig: &Rig) -> Vec<String> {
    rig.hub.picture().entities().map(|(entity, _)| entity.to_string()).collect()
}

#[test]
fn labels_are_shown_on_the_cluster_and_its_entities_and_touch_them() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(shop(&mut agent));
    rig.beat(&mut agent);
    let token = rig.hub.token_position(rig.now);
    rig.effects.clear();
    describe(&mut rig, record("environment=prod,title=EU", None), 4);
    let cluster = rig.cluster();
    assert_eq!((cluster.title.as_str(), cluster.labels.len()), ("EU", 2));
    let [Effect::Cluster(said), Effect::Entity(change)] = rig.effects.as_slice() else {
        panic!("{:?}", rig.effects)
    };
    assert_eq!(said.labels, testing::labels("environment=prod,title=EU"));
    let Outcome::Changed { state, .. } = &change.outcome else { panic!("{change:?}") };
    assert_eq!(state.clusters[0].labels["environment"], "prod");
    assert!(change.touched.is_touched_since(&token));
    assert_eq!(rig.hub.token_position(rig.now).clusters_revision, 4);
    // The same again is no change; none is one.
    rig.effects.clear();
    describe(&mut rig, record("environment=prod,title=EU", None), 5);
    assert_eq!(rig.effects, []);
    describe(&mut rig, ClusterRecord::default(), 6);
    assert_eq!(rig.effects.len(), 2);
    assert!(rig.cluster().labels.is_empty());
}

#[test]
fn a_cluster_that_may_be_alive_is_told_from_one_that_is_silent() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    let unknown = NotForgettable::Unknown(cluster());
    assert_eq!(rig.hub.forgetting(&cluster(), rig.now), Err(unknown));
    rig.send(agent.put(&pod("a"), "1"));
    rig.beat(&mut agent);
    rig.pass(20);
    assert_eq!(forgetting(&rig).alive, Some(std::time::Duration::from_secs(20)));
    rig.pass(1);
    let Forgetting { forgotten, objects, alive } = forgetting(&rig);
    assert_eq!((objects, alive, forgotten.at), (1, None, rig.now));
    assert_eq!(forgotten.position, *rig.hub.position());
    // Silence that nobody listens to proves nothing.
    rig.apply(Input::Lost { stream: &name(), reason: "cut".into() });
    let unseen = NotForgettable::Unseen("cut".into());
    assert_eq!(rig.hub.forgetting(&cluster(), rig.now), Err(unseen));
    rig.pass(60);
    let incarnation_unix_ns = rig.incarnation;
    rig.apply(Input::Resumed { stream: &name(), incarnation_unix_ns, sequence: rig.stream.last });
    rig.apply(Input::Idle { stream: &name() });
    assert!(forgetting(&rig).alive.is_some(), "it listens again, and not for long");
    rig.pass(21);
    assert_eq!(forgetting(&rig).alive, None);
    // One scope that lives is enough.
    let mut beside = Agent::new("beside", 1);
    rig.send(beside.heartbeat());
    assert!(forgetting(&rig).alive.is_some());
}

#[test]
fn a_cluster_that_is_forgotten_leaves_nothing_and_may_come_back() {
    let (mut rig, mut agent) = silent();
    let token = rig.hub.token_position(rig.now);
    let forgotten = forgetting(&rig).forgotten;
    rig.effects.clear();
    describe(&mut rig, record("environment=prod", Some(forgotten)), 2);
    assert!(rig.hub.clusters(rig.now).is_empty() && rig.hub.store().is_empty());
    assert_eq!(entities(&rig), [""; 0]);
    assert!(rig.effects.contains(&Effect::ClusterForgotten { cluster: cluster(), objects: 2 }));
    let mut changes = rig
        .effects
        .iter()
        .filter_map(|effect| if let Effect::Entity(change) = effect { Some(change) } else { None });
    let removed = changes.rfind(|it| it.outcome == Outcome::Removed).unwrap();
    assert_eq!(removed.entity.to_string(), "workload:pay/shop");
    assert!(removed.touched.is_touched_since(&token), "who resumes hears of it");
    // A hub that starts while the stream still has all of it holds nothing either.
    let forgotten = rig.hub.records[&cluster()].forgotten.clone();
    let mut fresh = Rig::unread(Rules::ALL, rig.stream.clone(), rig.now);
    describe(&mut fresh, record("", forgotten), 2);
    fresh.snapshot();
    assert!(fresh.hub.clusters(fresh.now).is_empty() && fresh.hub.store().is_empty());
    assert_eq!(fresh.hub.counters().refused(Refusal::Forgotten), rig.stream.messages.len() as u64);
    let may = fresh.hub.may_resume(&token, rig.now, rig.now);
    assert_eq!(
        may,
        MayResume::Snapshot("this replica has not seen what was forgotten since".into())
    );
    // The agent was only cut off: it goes on, and what it had said is repaired; its labels are there again.
    for rig in [&mut rig, &mut fresh] {
        let mut agent = agent.clone();
        for _ in 0..4 {
            rig.beat(&mut agent);
        }
        assert_eq!((rig.state(), rig.held()), (FreshnessState::Fresh, Rig::exists(&agent)));
        assert_eq!(entities(rig), ["workload:pay/shop"]);
        rig.assert_sums_are_true();
    }
    assert_eq!(rig.cluster().labels, testing::labels("environment=prod"));
    agent = agent.restarted(2);
    rig.send(agent.put(&pod("b"), "1"));
    assert!(rig.held().contains_key(&pod("b")));
}

#[test]
fn what_was_said_since_stays_and_is_proven_anew() {
    let (mut rig, mut agent) = silent();
    let forgotten = forgetting(&rig).forgotten;
    // The record is late: the agent speaks before this hub reads it.
    rig.send(agent.heartbeat());
    rig.send(agent.put(&pod("b"), "1"));
    rig.send(agent.heartbeat());
    assert_eq!(rig.state(), FreshnessState::Fresh);
    describe(&mut rig, record("", Some(forgotten)), 2);
    assert_eq!(rig.held().into_keys().collect::<Vec<_>>(), [pod("b")]);
    assert_eq!(rig.state(), FreshnessState::Unverified, "nothing is shown as verified that is not");
    rig.assert_sums_are_true();
    for _ in 0..4 {
        rig.beat(&mut agent);
    }
    assert_eq!((rig.state(), rig.held()), (FreshnessState::Fresh, Rig::exists(&agent)));
}

#[test]
fn what_the_stream_had_before_it_was_put_back_is_forgotten_too() {
    let (mut rig, _) = silent();
    rig.stream = Stream { last: rig.stream.last, ..Stream::default() };
    rig.apply(Input::Lost { stream: &name(), reason: "cut".into() });
    rig.incarnation = 2;
    rig.stream.last = 0;
    rig.snapshot();
    rig.pass(25);
    assert_eq!(rig.hub.store().len(), 2, "a snapshot merges");
    let forgotten = forgetting(&rig).forgotten;
    describe(&mut rig, record("", Some(forgotten)), 2);
    assert!(rig.hub.store().is_empty() && rig.hub.clusters(rig.now).is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8),
    Beat,
    Restart,
    Forget,
    /// The replica that lags reads so much, or the record.
    Read(usize),
    Describe,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8).prop_map(Step::Put),
        2 => (0..4_u8).prop_map(Step::Delete),
        3 => Just(Step::Beat),
        1 => Just(Step::Restart),
        2 => Just(Step::Forget),
        4 => (1..9_usize).prop_map(Step::Read),
        3 => Just(Step::Describe),
    ];
    proptest::collection::vec(step, 0..60)
}

/// Replays to a second hub what the first one read, each in its own time.
struct Lagging {
    rig: Rig,
    log: Vec<(u64, Sent, Time)>,
    read: usize,
    described: u64,
}

impl Lagging {
    fn read(&mut self, count: usize) {
        for (sequence, sent, at) in self.log.iter().skip(self.read).take(count) {
            self.rig.now = self.rig.now.max(*at);
            self.rig.read(*sequence, sent, 0, *at);
        }
        self.read = self.log.len().min(self.read + count);
        self.rig.settle();
    }

    fn describe(&mut self, record: &ClusterRecord, revision: u64) {
        if self.described < revision {
            self.described = revision;
            describe(&mut self.rig, record.clone(), revision);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Also where a cluster is forgotten while it lives: it comes back at all of them.
    #[test]
    fn replicas_forget_alike_and_what_lives_comes_back(steps in steps()) {
        let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
        let mut lagging = Lagging { rig: Rig::new(), log: vec![], read: 0, described: 0 };
        let (mut said, mut revision, mut epoch) = (ClusterRecord::default(), 0, 1);
        let mut seen = 0;
        for step in steps {
            match step {
                Step::Put(name) => rig.send(agent.put(&pod(&name.to_string()), "1")),
                Step::Delete(name) => {
                    let sent = agent.delete(&pod(&name.to_string()));
                    rig.send(sent);
                }
                Step::Beat => rig.beat(&mut agent),
                Step::Restart => {
                    epoch += 1;
                    agent = agent.restarted(epoch);
                    for (key, _) in agent.sent.clone() {
                        let sent = agent.put(&key, "1");
                        rig.send(sent);
                    }
                }
                Step::Forget => {
                    if let Ok(Forgetting { forgotten, .. }) = rig.hub.forgetting(&cluster(), rig.now) {
                        revision += 1;
                        said.forgotten = Some(forgotten);
                        describe(&mut rig, said.clone(), revision);
                    }
                }
                Step::Read(count) => lagging.read(count),
                Step::Describe => lagging.describe(&said, revision),
            }
            let news = rig.stream.messages.iter().filter(|(sequence, _)| **sequence > seen);
            lagging.log.extend(news.map(|(sequence, (sent, at))| (*sequence, sent.clone(), *at)));
            seen = rig.stream.last;
        }
        lagging.read(usize::MAX / 2);
        lagging.describe(&said, revision);
        let mut fresh = Rig::unread(Rules::ALL, rig.stream.clone(), rig.now);
        describe(&mut fresh, said, revision.max(1));
        fresh.snapshot();
        lagging.rig.stream = rig.stream.clone();
        for mut rig in [rig, lagging.rig, fresh] {
            rig.assert_sums_are_true();
            let mut agent = agent.clone();
            for _ in 0..6 {
                rig.beat(&mut agent);
            }
            prop_assert_eq!(rig.held(), Rig::exists(&agent));
            prop_assert_eq!(rig.state(), FreshnessState::Fresh);
        }
    }
}
