//! Law 6: a transition is told once: by one replica over lost answers, crashes and rollbacks of the stream, and by two that
//! tell at the same time (a lease that was lost and not noticed) as long as the stream keeps what it stored.

use proptest::prelude::*;

use super::*;

const STATUSES: [v1::HealthStatus; 3] =
    [v1::HealthStatus::Healthy, v1::HealthStatus::Degraded, v1::HealthStatus::Unknown];

fn judged(status: v1::HealthStatus, at: i64) -> Judged {
    Judged {
        verdict: v1::Verdict { status: status.into(), ..v1::Verdict::default() },
        clusters: vec!["eu-1".into()],
        at: Time::from_unix_s(at),
        position: v1::Position {
            as_of: Some(Time::from_unix_s(at).to_wire()),
            ..v1::Position::default()
        },
    }
}

fn shop() -> EntityRef {
    "component:default/shop".parse().unwrap()
}

#[test]
fn only_what_differs_is_told() {
    let mut teller = Teller::default();
    let first = teller.judge(&shop(), judged(STATUSES[0], 1)).unwrap();
    assert_eq!((first.transition.generation, first.expected_sequence), (1, 0));
    assert_eq!(teller.judge(&shop(), judged(STATUSES[0], 2)), None, "under way");
    assert_eq!(teller.answer(&shop(), Answer::Stored(9)), None, "the same again");
    let second = teller.judge(&shop(), judged(STATUSES[1], 3)).unwrap();
    assert_eq!((second.transition.generation, second.expected_sequence), (2, 9));
    assert_eq!(second.transition.before, first.transition.after);
}

#[test]
fn a_replica_that_lags_does_not_override() {
    let mut ahead = Teller::default();
    let told = ahead.judge(&shop(), judged(STATUSES[1], 10)).unwrap().transition;
    let mut behind = Teller::default();
    behind.load(shop(), told, 4);
    assert_eq!(behind.judge(&shop(), judged(STATUSES[0], 9)), None);
    assert!(behind.judge(&shop(), judged(STATUSES[0], 10)).is_some());
}

/// A verdict reached at that sequence and time.
fn judged_at(status: v1::HealthStatus, sequence: u64, as_of: i64) -> Judged {
    let read = v1::StreamPosition { stream: "A".into(), incarnation_unix_ns: 1, sequence };
    let mut judged = judged(status, as_of);
    judged.position.streams = vec![read];
    judged
}

#[test]
fn a_clock_that_was_set_back_stops_no_telling() {
    for (case, sequence, as_of, is_told) in [
        ("later", 11, 101, true),
        ("by time alone", 10, 101, true),
        ("after the clock was set back", 11, 40, true),
        ("after a rollback of the stream", 3, 101, true),
        ("a hub that lags", 9, 99, false),
        ("a hub that has read as much, and knows less of the time", 10, 99, false),
    ] {
        let mut teller = Teller::default();
        let told = teller.judge(&shop(), judged_at(STATUSES[0], 10, 100)).unwrap().transition;
        let mut teller = Teller::default();
        teller.load(shop(), told, 4);
        let next = teller.judge(&shop(), judged_at(STATUSES[1], sequence, as_of));
        assert_eq!(next.is_some(), is_told, "{case}");
    }
}

#[test]
fn what_is_refused_is_told_when_the_hub_has_caught_up_unless_it_holds_no_more() {
    let told = {
        let mut ahead = Teller::default();
        ahead.judge(&shop(), judged_at(STATUSES[0], 10, 100)).unwrap().transition
    };
    let behind = |teller: &mut Teller| {
        *teller = Teller::default();
        teller.load(shop(), told.clone(), 4);
        assert_eq!(teller.judge(&shop(), judged_at(STATUSES[1], 9, 99)), None);
    };
    let mut teller = Teller::default();
    let stand = |teller: &mut Teller, sequence, as_of| {
        teller.stand(&judged_at(STATUSES[0], sequence, as_of).position)
    };
    behind(&mut teller);
    assert_eq!(stand(&mut teller, 9, 99), []);
    let tellings = stand(&mut teller, 12, 102);
    assert_eq!(tellings.len(), 1);
    assert_eq!(tellings[0].transition.after, Some(judged(STATUSES[1], 0).verdict));
    assert_eq!(tellings[0].transition.position, Some(judged_at(STATUSES[1], 12, 102).position));
    assert_eq!(stand(&mut teller, 13, 103), [], "it is under way");
    behind(&mut teller);
    teller.withdraw(&shop());
    assert_eq!(stand(&mut teller, 12, 102), [], "withdrawn");
    behind(&mut teller);
    assert_eq!(teller.judge(&shop(), judged_at(STATUSES[0], 12, 102)), None);
    assert_eq!(stand(&mut teller, 13, 103), [], "superseded");
}

#[test]
fn repeats_push_nothing_out() {
    let mut teller = Teller::default();
    teller.judge(&shop(), judged(STATUSES[0], 0));
    for at in 1..100 {
        teller.judge(&shop(), judged(STATUSES[if at == 1 { 1 } else { 2 }], at));
    }
    let second = teller.answer(&shop(), Answer::Stored(1)).unwrap();
    assert_eq!(second.transition.after, Some(judged(STATUSES[1], 0).verdict));
    assert_eq!(teller.left_out(), 0);
}

#[test]
fn too_many_waiting_verdicts_leave_the_latest() {
    let mut teller = Teller::default();
    for at in 0..100 {
        teller.judge(&shop(), judged(STATUSES[usize::try_from(at % 2).unwrap()], at));
    }
    assert_eq!(teller.left_out(), 99 - u64::try_from(WAITING_MAX).unwrap());
    let mut last = None;
    let mut next = teller.answer(&shop(), Answer::Stored(1));
    for sequence in 2.. {
        let Some(telling) = next else { break };
        last = telling.transition.after;
        next = teller.answer(&shop(), Answer::Stored(sequence));
    }
    assert_eq!(last, Some(judged(STATUSES[1], 99).verdict));
}

/// One subject of HEALTH, and its entry in `vitals_state`.
#[derive(Default)]
struct Broker {
    stored: Vec<(u64, v1::HealthTransition)>,
    sequence: u64,
    state: Option<v1::HealthTransition>,
    copy: Vec<(u64, v1::HealthTransition)>,
}

impl Broker {
    fn publish(&mut self, telling: &Telling) -> Answer {
        let last = self.stored.last();
        if last.map_or(0, |(sequence, _)| *sequence) != telling.expected_sequence {
            let last =
                last.map(|(sequence, told)| Last { told: told.clone(), sequence: *sequence });
            return Answer::Lost(last.map(Box::new));
        }
        self.sequence += 1;
        self.stored.push((self.sequence, telling.transition.clone()));
        Answer::Stored(self.sequence)
    }

    fn keep(&mut self, told: &v1::HealthTransition) {
        if self.state.as_ref().is_none_or(|state| state.generation < told.generation) {
            self.state = Some(told.clone());
        }
    }

    /// Whoever begins to tell reads both: a crash may have come between the two, and the stream may have been rolled back.
    fn restart(&self) -> Teller {
        let mut teller = Teller::default();
        let last = self.stored.last();
        let sequence = last.map_or(0, |(sequence, _)| *sequence);
        let told = last.map(|(_, told)| told).into_iter().chain(&self.state);
        for told in told {
            teller.load(shop(), told.clone(), sequence);
        }
        teller
    }
}

#[derive(Clone, Debug)]
enum Step {
    Verdict(usize),
    Judge(usize),
    Publish(usize),
    LoseAnswer(usize),
    /// Stored, and then it crashes before it wrote `vitals_state`, and another one begins.
    Crash(usize),
    Restart(usize),
    BackUp,
    RollBack,
}

fn step(replicas: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Verdict),
        6 => (0..replicas).prop_map(Step::Judge),
        6 => (0..replicas).prop_map(Step::Publish),
        2 => (0..replicas).prop_map(Step::LoseAnswer),
        1 => (0..replicas).prop_map(Step::Crash),
        1 => (0..replicas).prop_map(Step::Restart),
    ]
}

fn steps_of_one() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => step(1),
        1 => Just(Step::BackUp),
        1 => Just(Step::RollBack),
    ];
    proptest::collection::vec(step, 0..80)
}

/// Two replicas that see the same verdicts, at their own pace, and both tell.
struct World {
    broker: Broker,
    replicas: [(Teller, Option<Telling>); 2],
    truth: (usize, i64),
    told: BTreeMap<u64, Vec<v1::HealthTransition>>,
}

impl World {
    fn new() -> Self {
        Self {
            broker: Broker::default(),
            replicas: Default::default(),
            truth: (0, 0),
            told: BTreeMap::new(),
        }
    }

    fn take(&mut self, replica: usize, step: &Step) {
        let Self { broker, replicas, truth, told } = self;
        let (teller, under_way) = &mut replicas[replica];
        match step {
            Step::Verdict(status) => *truth = (*status, truth.1 + 1),
            Step::Judge(_) => {
                let next = teller.judge(&shop(), judged(STATUSES[truth.0], truth.1));
                *under_way = under_way.take().or(next);
            }
            Step::Publish(_) | Step::LoseAnswer(_) | Step::Crash(_) => {
                let Some(telling) = under_way.take() else { return };
                let answer = broker.publish(&telling);
                if matches!(answer, Answer::Stored(_)) {
                    let generation = telling.transition.generation;
                    told.entry(generation).or_default().push(telling.transition);
                }
                *under_way = if matches!(step, Step::Crash(_)) {
                    *teller = broker.restart();
                    None
                } else {
                    let is_lost = matches!(step, Step::LoseAnswer(_));
                    teller.answer(&shop(), if is_lost { Answer::Unknown } else { answer })
                };
                if let Some(told) = teller.told(&shop()) {
                    broker.keep(told);
                }
            }
            Step::Restart(_) => {
                (*teller, *under_way) = (broker.restart(), None);
                if let Some(told) = teller.told(&shop()) {
                    broker.keep(told);
                }
            }
            Step::BackUp => broker.copy.clone_from(&broker.stored),
            Step::RollBack => {
                broker.stored.clone_from(&broker.copy);
                // What is stored no more, and nobody remembers, was not told: it is told again, with its generation.
                let remembered = broker.state.as_ref().map_or(0, |told| told.generation);
                let stored = |generation| {
                    broker.stored.iter().any(|(_, told)| told.generation == generation)
                };
                told.retain(|generation, _| *generation <= remembered || stored(*generation));
            }
        }
    }
}

fn replica_of(step: &Step) -> usize {
    match step {
        Step::Judge(replica)
        | Step::Publish(replica)
        | Step::LoseAnswer(replica)
        | Step::Crash(replica)
        | Step::Restart(replica) => *replica,
        Step::Verdict(_) | Step::BackUp | Step::RollBack => 0,
    }
}

/// After the steps everybody tells what is left; then no generation was told twice, none repeats the one before, and the
/// last verdict was told.
fn check(steps: &[Step], replicas: usize) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for step in steps {
        world.take(replica_of(step), step);
    }
    for _ in 0..WAITING_MAX * 4 {
        for replica in 0..replicas {
            world.take(replica, &Step::Judge(replica));
            world.take(replica, &Step::Publish(replica));
        }
    }
    for (generation, transitions) in &world.told {
        prop_assert_eq!(transitions.len(), 1, "generation {} was told again", generation);
        let status = |verdict: &Option<v1::Verdict>| verdict.as_ref().map(|verdict| verdict.status);
        prop_assert_ne!(status(&transitions[0].before), status(&transitions[0].after));
    }
    let last = world.told.values().last().and_then(|told| told[0].after.clone());
    prop_assert_eq!(last.map(|verdict| verdict.status), Some(STATUSES[world.truth.0].into()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn one_replica_tells_once_over_crashes_and_rollbacks(steps in steps_of_one()) {
        check(&steps, 1)?;
    }

    #[test]
    fn two_replicas_tell_once(steps in proptest::collection::vec(step(2), 0..80)) {
        check(&steps, 2)?;
    }
}

/// A lease that moves between two replicas: they see the same verdicts, each at its own pace, and one of them tells.
#[derive(Clone, Debug)]
enum Turn {
    Verdict(usize),
    /// It hears of all verdicts up to now.
    Judge(usize),
    /// What the one that tells has under way arrives.
    Publish,
    /// The others read what was told, and up to where all is.
    Hear,
    /// The one that tells falls silent: what it has under way is lost, or stored and not answered. The other begins.
    Fail {
        stored: bool,
    },
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Turn::Verdict),
        4 => (0..2_usize).prop_map(Turn::Judge),
        6 => Just(Turn::Publish),
        3 => Just(Turn::Hear),
        1 => any::<bool>().prop_map(|stored| Turn::Fail { stored }),
    ]
}

struct Handover {
    broker: Broker,
    tellers: [Teller; 2],
    heard: [usize; 2],
    leader: usize,
    under_way: Option<Telling>,
    verdicts: Vec<usize>,
}

impl Handover {
    fn new() -> Self {
        let mut tellers = [Teller::default(), Teller::default()];
        tellers.iter_mut().for_each(Teller::follow);
        assert_eq!(tellers[0].lead(), []);
        Self {
            broker: Broker::default(),
            tellers,
            heard: [0, 0],
            leader: 0,
            under_way: None,
            verdicts: Vec::new(),
        }
    }

    fn judge(&mut self, replica: usize) {
        for at in self.heard[replica]..self.verdicts.len() {
            let judged = judged(STATUSES[self.verdicts[at]], at.try_into().unwrap());
            let next = self.tellers[replica].judge(&shop(), judged);
            assert!(next.is_none() || replica == self.leader, "only one tells");
            self.under_way = self.under_way.take().or(next);
        }
        self.heard[replica] = self.verdicts.len();
    }

    fn publish(&mut self) -> bool {
        let Some(telling) = self.under_way.take() else { return false };
        let answer = self.broker.publish(&telling);
        // It reads what it told itself, too, and that before the answer or behind it.
        if let Some((_, told)) =
            self.broker.stored.last().filter(|_| self.verdicts.len().is_multiple_of(2))
        {
            self.tellers[self.leader].load(shop(), told.clone(), 0);
        }
        self.under_way = self.tellers[self.leader].answer(&shop(), answer);
        true
    }

    fn hear(&mut self) {
        let other = 1 - self.leader;
        if let Some((_, told)) = self.broker.stored.last() {
            self.tellers[other].load(shop(), told.clone(), 0);
        }
        let at = i64::try_from(self.heard[self.leader]).unwrap() - 1;
        if self.tellers[self.leader].has_told_all() {
            self.tellers[other].prune(&judged(STATUSES[0], at).position);
        }
    }

    fn take(&mut self, turn: &Turn) {
        match turn {
            // Ever more follow than there is room for only where nobody reads.
            Turn::Verdict(_)
                if self.verdicts.len() >= self.heard.into_iter().min().unwrap() + 8 => {}
            Turn::Verdict(status) if self.verdicts.last() == Some(status) => {}
            Turn::Verdict(status) => self.verdicts.push(*status),
            Turn::Judge(replica) => self.judge(*replica),
            Turn::Publish => drop(self.publish()),
            Turn::Hear => self.hear(),
            Turn::Fail { stored } => {
                let lost = self.under_way.take().filter(|_| *stored);
                lost.map(|telling| self.broker.publish(&telling));
                let failed = self.leader;
                self.leader = 1 - failed;
                self.tellers[failed] = Teller::default();
                self.tellers[failed].follow();
                // It starts again, and knows what it reads: what was told, and what holds now.
                self.heard[failed] = self.verdicts.len().saturating_sub(1);
                self.judge(failed);
                if let Some((_, told)) = self.broker.stored.last() {
                    self.tellers[self.leader].load(shop(), told.clone(), 0);
                }
                self.under_way = self.tellers[self.leader].lead().pop();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// What waited when the one that told fell silent is told by the other, in order and once, unless both fell silent.
    #[test]
    fn the_next_teller_tells_what_the_last_one_did_not(turns in proptest::collection::vec(turn(), 0..80)) {
        let mut world = Handover::new();
        let mut failures = 0;
        for turn in &turns {
            let is_failure = matches!(turn, Turn::Fail { .. });
            if is_failure && failures == 1 {
                continue;
            }
            failures += usize::from(is_failure);
            world.take(turn);
        }
        world.judge(world.leader);
        while world.publish() {}
        let told: Vec<i32> = world
            .broker
            .stored
            .iter()
            .map(|(_, told)| told.after.as_ref().unwrap().status)
            .collect();
        let want: Vec<i32> = world.verdicts.iter().map(|it| STATUSES[*it].into()).collect();
        prop_assert_eq!(told, want);
        let generations: Vec<u64> = world.broker.stored.iter().map(|(_, told)| told.generation).collect();
        prop_assert_eq!(generations, (1..=world.verdicts.len() as u64).collect::<Vec<_>>());
    }
}
