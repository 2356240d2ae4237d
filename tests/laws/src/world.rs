//! The simulated world: one cluster in two scopes, the second of them with a standby, one stream, two hubs; and all that can
//! happen to them.
//!
//! What happens is a list of [`Step`]s, so that a failing case shrinks; how the processes interleave between the steps comes
//! from a seed.

use std::collections::{BTreeMap, VecDeque};

use prost::Message as _;
use vitals_agent_core::Leadership;
use vitals_proto::{identity::Uid, kind::Kind, rule::Rules, subject::Published, v1};

use crate::{
    api::{Api, KINDS, Name, version_of},
    broker::Broker,
    chance::Chance,
    process::{Answers, Process, Spoken, Start},
    replica::{Described, Left, Replica, Resumed, Seen, Violation},
};

/// Namespaces, each a scope of its own.
pub const NAMESPACES: [&str; 2] = ["a", "b"];
/// The namespace of each agent process: that of the first scope is alone and knows it, the second scope has a standby.
pub const PROCESSES: [&str; 3] = ["a", "b", "b"];
/// Number of hubs.
pub const REPLICAS: usize = 2;
/// Names in each namespace and kind.
pub const NAMES: usize = 3;
/// Time passes in steps of so many milliseconds.
const SLICE_MS: i64 = 500;

/// An object that a step is about. Indices into [`NAMESPACES`] and [`KINDS`], and a name below [`NAMES`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Which {
    /// Namespace.
    pub namespace: usize,
    /// Kind.
    pub kind: usize,
    /// Name.
    pub name: usize,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Time passes, and everybody does something. Slices of half a second.
    Pass(u8),
    /// An object is created or changed.
    Write(Which, u32),
    /// An object is deleted.
    Delete(Which),
    /// A process is killed and started again.
    Restart(usize),
    /// A process is stopped.
    Freeze(usize),
    /// It goes on.
    Thaw(usize),
    /// The connection of a process breaks, with all that is on its way.
    Disconnect(usize),
    /// It is there again.
    Connect(usize),
    /// The clock of a process is set. Seconds off.
    SetClock(usize, i16),
    /// Another cluster's agent begins to use the name, or ends.
    Rival(bool),
    /// An object of that cluster is created or changed.
    WriteRival(Which, u32),
    /// The broker's clock is set. Seconds from where it is.
    SetBrokerClock(i16),
    /// The broker gets an old message once more.
    Duplicate(usize),
    /// The API server stops or starts.
    ApiServer(bool),
    /// The broker stops or starts.
    Broker(bool),
    /// A copy of the stream is made.
    BackUp,
    /// The stream falls back to the copy.
    RollBack,
    /// The stream is deleted and created again.
    Recreate,
    /// The stream loses some messages.
    Lose(u8),
    /// A hub is killed and started again.
    RestartHub(usize),
    /// A hub lags: it reads nothing.
    Lag(usize),
    /// It reads again.
    CatchUp(usize),
    /// An operator asks a hub to forget the cluster, by force where it lives.
    Forget(usize),
    /// A hub reads what operators said.
    Describe(usize),
    /// A subscriber of a hub leaves with its token.
    Leave(usize),
    /// It resumes at a hub.
    Resume(usize),
}

/// Identity of the cluster, and of the one that uses its name at times.
pub const CLUSTER: &str = "cluster";
const RIVAL: &str = "rival";

/// Everything.
pub struct World {
    rules: Rules,
    chance: Chance,
    now: i64,
    api: Api,
    broker: Broker,
    processes: Vec<Process>,
    /// Another cluster under the same name.
    rival: Option<Process>,
    rival_api: Api,
    replicas: Vec<Replica>,
    requests: VecDeque<v1::RepairRequest>,
    spoken: Vec<Spoken>,
    left: Option<Left>,
    /// What operators said of the cluster.
    described: Described,
    calm: bool,
    /// When the broker last lost something that nobody can have noticed, by its clock.
    lost_at: Option<i64>,
    /// How often a token was taken.
    pub resumes_served: usize,
}

impl World {
    /// A world in which nothing happened yet.
    pub fn new(rules: Rules, seed: u64) -> Self {
        let mut world = Self {
            rules,
            chance: Chance::new(seed),
            now: 1_000_000_000,
            api: Api::running(),
            broker: Broker::default(),
            processes: Vec::new(),
            rival: None,
            rival_api: Api::of_a_rival(),
            replicas: Vec::new(),
            requests: VecDeque::new(),
            spoken: Vec::new(),
            left: None,
            described: Described::default(),
            calm: false,
            lost_at: None,
            resumes_served: 0,
        };
        for (number, namespace) in PROCESSES.iter().enumerate() {
            let start = world.start(number, 0);
            world.processes.push(Process::start(number, namespace, &start));
        }
        for _ in 0..REPLICAS {
            world.replicas.push(Replica::start(rules, &Described::default()));
        }
        world
    }

    fn start(&mut self, number: usize, clock_offset: i64) -> Start {
        let leadership = if number == 0 { Leadership::Alone } else { Leadership::Lease };
        let (rules, now, seed) = (self.rules, self.now, self.chance.draw());
        Start { rules, uid: CLUSTER, now, seed, clock_offset, leadership }
    }

    /// Lets one thing happen.
    pub fn take(&mut self, step: &Step) -> Result<(), Violation> {
        match step {
            Step::Pass(slices) => {
                for _ in 0..*slices {
                    self.pass()?;
                }
            }
            Step::Write(which, content) => self.write(*which, *content),
            Step::Delete(which) => self.api.delete(KINDS[which.kind].clone(), object(*which)),
            Step::Restart(number) => {
                let clock_offset = self.processes[*number].clock_offset;
                let start = self.start(*number, clock_offset);
                self.processes[*number] = Process::start(*number, PROCESSES[*number], &start);
            }
            Step::Freeze(number) => self.processes[*number].frozen = true,
            Step::Thaw(number) => self.processes[*number].frozen = false,
            Step::Disconnect(number) => self.processes[*number].disconnect(),
            Step::Connect(number) => self.processes[*number].connect(self.now),
            Step::SetClock(number, seconds) => {
                self.processes[*number].clock_offset = i64::from(*seconds) * 1_000;
            }
            Step::Rival(true) if self.rival.is_none() => {
                let start = Start { uid: RIVAL, ..self.start(0, 0) };
                self.rival = Some(Process::start(0, PROCESSES[0], &start));
            }
            Step::Rival(true) => {}
            Step::Rival(false) => self.rival = None,
            Step::WriteRival(which, content) => {
                self.rival_api.write(KINDS[which.kind].clone(), object(*which), *content, None);
            }
            Step::SetBrokerClock(seconds) => {
                self.broker.clock_offset += i64::from(*seconds) * 1_000;
                // If the store goes back too, nothing but the digest tells that a token is of another history: it says a time
                // after that at which the hubs attached again.
                if let Some(left) = self.left.as_mut().filter(|_| *seconds < 0) {
                    left.unproven = true;
                }
            }
            Step::Duplicate(number) => {
                let arrived = &self.processes[*number].arrived;
                if self.broker.up && !arrived.is_empty() {
                    let index = self.chance.below(arrived.len() as u64);
                    let (subject, payload) = arrived[usize::try_from(index).unwrap()].clone();
                    self.broker.publish(&subject, payload, self.now);
                }
            }
            Step::ApiServer(up) => self.api.up = *up,
            Step::Broker(up) => self.broker.up = *up,
            Step::BackUp => self.broker.back_up(),
            Step::RollBack => self.broker.roll_back(),
            Step::Recreate => self.broker.recreate(),
            Step::Lose(percent) => {
                self.lost_at = Some(self.broker_now());
                let chance = &mut self.chance;
                self.broker.lose(|_| chance.percent(u64::from(*percent)));
            }
            Step::RestartHub(number) => {
                self.replicas[*number] = self.start_hub();
            }
            Step::Lag(number) => self.replicas[*number].lags = true,
            Step::CatchUp(number) => self.replicas[*number].lags = false,
            Step::Forget(number) => self.forget(*number),
            Step::Describe(number) => self.describe(*number),
            Step::Leave(number) => self.leave(*number),
            Step::Resume(number) => self.resume(*number)?,
        }
        Ok(())
    }

    fn write(&mut self, which: Which, content: u32) {
        let kind = KINDS[which.kind].clone();
        let name = object(which);
        // A pod belongs to the Deployment of its name, where there is one when it is created.
        let owner = (kind == Kind::Pod)
            .then(|| self.api.get(&Kind::Deployment, &name).map(|owner| owner.uid))
            .flatten();
        self.api.write(kind, name, content, owner);
    }

    /// Half a second: everybody does something, or nothing, in an order of chance.
    fn pass(&mut self) -> Result<(), Violation> {
        self.now += SLICE_MS;
        for process in &mut self.processes {
            process.tick(&mut self.api, &mut self.chance, self.now);
        }
        if let Some(rival) = &mut self.rival {
            rival.tick(&mut self.rival_api, &mut self.chance, self.now);
        }
        let rounds = if self.calm { 6 } else { 1 + self.chance.below(4) };
        for _ in 0..rounds {
            for number in 0..self.processes.len() {
                self.act(number);
            }
            self.act_rival();
            self.answer_requests();
            for number in 0..self.replicas.len() {
                self.read(number)?;
            }
        }
        let now = self.broker_now();
        for replica in &mut self.replicas {
            self.requests.extend(replica.tick(now)?);
        }
        Ok(())
    }

    /// The time that hubs live by: each knows the broker's clock.
    fn broker_now(&self) -> i64 {
        self.now + self.broker.clock_offset
    }

    /// How much somebody does before it is the next one's turn.
    fn turn(&mut self) -> usize {
        let most = if self.calm { 64 } else { self.chance.below(6) };
        usize::try_from(most).unwrap()
    }

    fn act(&mut self, number: usize) {
        let turns = [self.turn(), self.turn(), self.turn()];
        let process = &mut self.processes[number];
        process.watch(&self.api, turns[0], self.now);
        self.spoken.extend(process.publish(turns[1], self.now));
        let lost_percent = if self.calm { 0 } else { 5 };
        let mut answers = Answers { chance: &mut self.chance, lost_percent };
        process.arrive(&mut self.broker, turns[2], &mut answers, self.now);
    }

    fn act_rival(&mut self) {
        let turns = [self.turn(), self.turn(), self.turn()];
        let Some(rival) = &mut self.rival else { return };
        rival.watch(&self.rival_api, turns[0], self.now);
        rival.publish(turns[1], self.now);
        let mut answers = Answers { chance: &mut self.chance, lost_percent: 0 };
        rival.arrive(&mut self.broker, turns[2], &mut answers, self.now);
    }

    fn read(&mut self, number: usize) -> Result<(), Violation> {
        let most = self.turn();
        if self.broker.up && !self.replicas[number].lags {
            let now = self.broker_now();
            let Self { broker, api, spoken, .. } = self;
            let seen = Seen { broker, api, spoken, now };
            self.requests.extend(self.replicas[number].read(most, &seen)?);
        }
        Ok(())
    }

    /// Requests reach every agent of the cluster, and only the right one answers.
    fn answer_requests(&mut self) {
        while let Some(request) = self.requests.pop_front() {
            if !self.broker.up || (!self.calm && self.chance.percent(20)) {
                continue;
            }
            for process in self.processes.iter_mut().chain(&mut self.rival) {
                process.repair(&request, self.now);
            }
        }
    }

    /// A hub reads what operators said before it reads anything else.
    fn start_hub(&self) -> Replica {
        Replica::start(self.rules, &self.described)
    }

    /// What is forgotten is written, and then purged.
    fn forget(&mut self, number: usize) {
        let now = self.broker_now();
        if let Some(forgotten) = self.replicas[number].forgetting(now).filter(|_| self.broker.up) {
            self.broker.purge(&forgotten.position.to_wire());
            self.described.revision += 1;
            self.described.forgotten = Some(forgotten);
        }
    }

    fn describe(&mut self, number: usize) {
        let now = self.broker_now();
        if self.broker.up && !self.replicas[number].lags {
            self.replicas[number].describe(&self.described, now);
        }
    }

    fn leave(&mut self, number: usize) {
        self.left = self.replicas[number].leave(self.broker_now(), self.lost_at);
    }

    fn resume(&mut self, number: usize) -> Result<(), Violation> {
        let Some(left) = &self.left else { return Ok(()) };
        match self.replicas[number].resume(left, self.broker_now(), self.lost_at)? {
            Resumed::Served => self.resumes_served += 1,
            Resumed::Waits | Resumed::Anew => {}
        }
        Ok(())
    }

    /// All faults end; so much later everybody must agree.
    pub fn heal(&mut self) -> Result<(), Violation> {
        self.calm = true;
        self.api.up = true;
        self.broker.up = true;
        self.rival = None;
        for process in &mut self.processes {
            process.frozen = false;
            process.connect(self.now);
        }
        for number in 0..self.replicas.len() {
            self.replicas[number].lags = false;
            self.describe(number);
        }
        for _ in 0..HEALED_AFTER_MS / SLICE_MS {
            self.pass()?;
        }
        let is_deceived = self.replicas.iter().any(|replica| replica.deceived_at.is_some());
        if self.lost_at.is_none() && !is_deceived {
            self.check_stream()?;
        }
        // A hub that has just read it all is the measure of what the others say.
        let fresh = self.start_hub();
        self.replicas.push(fresh);
        for _ in 0..FRESH_AFTER_MS / SLICE_MS {
            self.pass()?;
        }
        let Some(fresh) = self.replicas.pop() else { return Ok(()) };
        for replica in &self.replicas {
            replica.equals(&self.api, &fresh, self.broker_now())?;
        }
        Ok(())
    }
}

impl World {
    /// Law 1, for the stream itself: it has what exists and nothing else, so that who reads it anew needs no repair.
    fn check_stream(&self) -> Result<(), Violation> {
        let mut streamed = BTreeMap::new();
        for stored in self.broker.stored() {
            let Published::Object(key) = Published::parse(&stored.subject).unwrap() else {
                continue;
            };
            let change = v1::ObjectChange::decode(stored.payload.clone()).unwrap();
            // What another cluster left is refused by whoever reads it, as long as it stands in nobody's place.
            let is_ours = change.cluster_uid == Uid::from_text(CLUSTER).to_wire();
            if let Some(v1::object_change::State::Facts(facts)) = change.state {
                let name = (key.namespace().to_owned(), key.name().to_owned());
                let key = (key.kind().clone(), name);
                if is_ours || self.api.objects().contains_key(&key) {
                    streamed.insert(key, version_of(&facts));
                }
            }
        }
        let exists: BTreeMap<_, _> = self
            .api
            .objects()
            .iter()
            .map(|(key, object)| (key.clone(), object.resource_version))
            .collect();
        if streamed == exists {
            return Ok(());
        }
        Err(Violation { law: 1, seen: format!("the stream has {streamed:?}, exists {exists:?}") })
    }
}

/// A hub that begins to read is given as much: what another cluster left under the name may look as if it lived.
const FRESH_AFTER_MS: i64 = HEALED_AFTER_MS;
/// Law 1: 20 s and six heartbeats.
const HEALED_AFTER_MS: i64 = 20_000 + 6 * 5_000;

fn object(which: Which) -> Name {
    (NAMESPACES[which.namespace].to_owned(), format!("n{}", which.name))
}
