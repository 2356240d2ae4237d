//! How fast the core applies what is read, and how much memory it takes: `cargo run --release -p vitals-hub-core --example
//! apply [objects]`. One core; a fleet of ten clusters in which each application has a Deployment, a ReplicaSet, a Service and
//! seven Pods. Times are of the CPU, so that what else runs on the machine counts little. Budgets: DESIGN.md section 6.

#![expect(clippy::expect_used, reason = "the names of the fleet are ours")]

use std::time::Duration;

use prost::Message as _;
use vitals_hub_core::{Hub, Input, Message, Settings, StreamName, Time};
use vitals_proto::{
    FORMAT,
    identity::{KeyParts, ObjectKey, Uid},
    kind::Kind,
    rule::Rules,
    subject,
    v1::{self, container_state, facts, object_change::State},
};

/// That of the hub's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLUSTERS: usize = 10;
const OBJECTS_PER_APPLICATION: usize = 10;
const APPLICATIONS_PER_NAMESPACE: usize = 20;
/// What is made at once, outside the measured time.
const BATCH: usize = 10_000;
/// Messages between two times that the core settles, when they come one by one.
const SETTLE_EVERY: usize = 256;

struct Sent {
    subject: String,
    payload: Vec<u8>,
}

fn main() {
    let objects = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let stream = &StreamName::from("VITALS_OBJECTS");
    let mut hub = Hub::new(Settings { rules: Rules::ALL, streams: vec![stream.clone()] });
    let now = Time::from_unix_s(1_764_000_000);
    let before = resident_bytes();

    hub.apply(Input::SnapshotBegin { stream, incarnation_unix_ns: 1 }, now);
    let mut sequence = 0;
    let mut applying = Duration::ZERO;
    let mut wire_bytes = 0;
    for start in (0..objects).step_by(BATCH) {
        let batch: Vec<Sent> =
            (start..objects.min(start + BATCH)).map(|index| sent(index, 1)).collect();
        wire_bytes += batch.iter().map(|sent| sent.payload.len()).sum::<usize>();
        let began = cpu_time();
        for sent in &batch {
            sequence += 1;
            apply(&mut hub, stream, sent, sequence, now);
        }
        applying += cpu_time() - began;
    }
    let began = cpu_time();
    hub.apply(Input::SnapshotEnd { stream, sequence }, now);
    let entities = hub.settle(now).len();
    let settling = cpu_time() - began;
    report("snapshot, applied", objects, applying);
    report("snapshot, applied and settled", objects, applying + settling);
    println!("entities: {entities}, settled in {settling:?}");

    let held = resident_bytes().saturating_sub(before);
    let store = hub.store().bytes();
    let each = |bytes: usize| bytes / objects.max(1);
    println!("bytes per object: {} on the wire, {} of facts", each(wire_bytes), each(store.facts));
    println!("  store {}, all resident {}", each(store.memory), each(held));
    println!("  budget 1.5 x facts + 200 = {}", each(store.facts) * 3 / 2 + 200);

    let updates = objects.min(500_000);
    let mut live = Duration::ZERO;
    for start in (0..updates).step_by(BATCH) {
        // Far apart, as changes come.
        let index = |at: usize| (at * 7_919) % objects;
        let batch: Vec<Sent> =
            (start..updates.min(start + BATCH)).map(|at| sent(index(at), 2 + at as u64)).collect();
        let began = cpu_time();
        for chunk in batch.chunks(SETTLE_EVERY) {
            for sent in chunk {
                sequence += 1;
                apply(&mut hub, stream, sent, sequence, now);
            }
            std::hint::black_box(hub.settle(now));
        }
        live += cpu_time() - began;
    }
    report("live, applied and settled", updates, live);
    assert_eq!(hub.counters().applied, (objects + updates) as u64);
}

fn apply(hub: &mut Hub, stream: &StreamName, sent: &Sent, sequence: u64, now: Time) {
    let Sent { subject, payload } = sent;
    let message = Message { sequence, subject, payload, pending: 0 };
    hub.apply(Input::Message { stream, message }, now);
}

fn report(what: &str, messages: usize, took: Duration) {
    println!("{what}: {:.0}/s", messages as f64 / took.as_secs_f64());
}

/// Of this thread. From Linux: the first field of `schedstat`, in nanoseconds.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4_096_usize
}

/// The message of one object of the fleet.
fn sent(index: usize, counter: u64) -> Sent {
    let application = index / OBJECTS_PER_APPLICATION;
    let cluster = application % CLUSTERS;
    let namespace = format!("team-{}", application / CLUSTERS / APPLICATIONS_PER_NAMESPACE);
    let name = format!("service-{application}");
    let set = format!("{name}-7d9c5b8f6d");
    let (kind, object, owner, facts) = match index % OBJECTS_PER_APPLICATION {
        0 => (Kind::Deployment, name.clone(), None, deployment(&name)),
        1 => (
            Kind::ReplicaSet,
            set,
            Some(("apps/v1", "Deployment", name.clone(), 0)),
            replica_set(&name),
        ),
        2 => (Kind::Service, name.clone(), None, service(&name)),
        pod => (
            Kind::Pod,
            format!("{set}-x7k{pod}z"),
            Some(("apps/v1", "ReplicaSet", set, 1)),
            pod_facts(&name, counter),
        ),
    };
    let uid = |index: usize| [&[7; 8][..], &(index as u64).to_be_bytes()].concat().into();
    let owners = owner.map(|(api_version, kind, name, offset)| v1::OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name,
        uid: uid(application * OBJECTS_PER_APPLICATION + offset),
        controller: true,
    });
    let facts = v1::Facts {
        meta: Some(v1::Meta {
            uid: uid(index),
            generation: 1,
            created_at_unix_s: 1_763_000_000,
            labels: labels(&name),
            owners: owners.into_iter().collect(),
            ..Default::default()
        }),
        truncated: Vec::new(),
        kind: Some(facts),
    };
    let cluster = format!("cluster-{cluster}");
    let parts = KeyParts {
        cluster: cluster.parse().expect("a label"),
        kind,
        namespace: &namespace,
        name: &object,
    };
    let key = ObjectKey::new(parts).expect("a key");
    let change = v1::ObjectChange {
        format: FORMAT,
        epoch: Some(v1::Epoch {
            started_at_unix_ms: 1_764_000_000_000,
            random: 0x1234_5678_9abc_def0,
        }),
        counter: counter * 10_000_000 + index as u64,
        cluster_uid: Uid::from_text("1b4e28ba-2fa1-11d2-883f-0016d3cca427").to_wire().into(),
        scope: "main".into(),
        kind: key.kind().to_string(),
        namespace: namespace.clone(),
        name: object.clone(),
        resource_version: (100_000_000 + index).to_string(),
        observed_at_unix_ms: 1_764_000_000_000,
        state: Some(State::Facts(facts)),
    };
    Sent { subject: subject::object(&key), payload: change.encode_to_vec() }
}

fn labels(name: &str) -> std::collections::BTreeMap<String, String> {
    [("app.kubernetes.io/name", name), ("pod-template-hash", "7d9c5b8f6d")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn selector(name: &str) -> v1::LabelSelector {
    v1::LabelSelector { match_labels: labels(name), match_expressions: Vec::new() }
}

fn container(name: &str) -> v1::Container {
    let quantity = |cpu: &str, memory: &str| {
        [("cpu", cpu), ("memory", memory)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    };
    v1::Container {
        name: "app".into(),
        image: format!("registry.example.org/team/{name}:1.4.8"),
        requests: quantity("100m", "128Mi"),
        limits: quantity("1", "256Mi"),
        ..Default::default()
    }
}

fn template(name: &str) -> v1::PodTemplate {
    v1::PodTemplate {
        labels: labels(name),
        containers: vec![container(name)],
        ..Default::default()
    }
}

fn condition(what: &str) -> v1::Condition {
    v1::Condition {
        r#type: what.into(),
        status: "True".into(),
        last_transition_at_unix_s: 1_763_000_000,
        ..Default::default()
    }
}

fn deployment(name: &str) -> facts::Kind {
    facts::Kind::Deployment(v1::DeploymentFacts {
        desired: 7,
        selector: Some(selector(name)),
        template: Some(template(name)),
        observed_generation: 1,
        replicas: 7,
        updated: 7,
        ready: 7,
        available: 7,
        conditions: vec![condition("Available"), condition("Progressing")],
        ..Default::default()
    })
}

fn replica_set(name: &str) -> facts::Kind {
    facts::Kind::ReplicaSet(v1::ReplicaSetFacts {
        desired: 7,
        selector: Some(selector(name)),
        template: Some(template(name)),
        observed_generation: 1,
        replicas: 7,
        fully_labeled: 7,
        ready: 7,
        available: 7,
        ..Default::default()
    })
}

fn service(name: &str) -> facts::Kind {
    facts::Kind::Service(v1::ServiceFacts {
        r#type: "ClusterIP".into(),
        cluster_ip: "10.0.12.7".into(),
        selector: [("app.kubernetes.io/name".to_owned(), name.to_owned())].into(),
        ..Default::default()
    })
}

fn pod_facts(name: &str, version: u64) -> facts::Kind {
    let running =
        container_state::State::Running(v1::ContainerRunning { started_at_unix_s: 1_763_000_000 });
    let status = v1::ContainerStatus {
        name: "app".into(),
        image: format!("registry.example.org/team/{name}:1.4.8"),
        ready: true,
        started: Some(true),
        restarts: i32::try_from(version % 100).unwrap_or_default(),
        state: Some(v1::ContainerState { state: Some(running) }),
        last_state: None,
    };
    facts::Kind::Pod(v1::PodFacts {
        phase: "Running".into(),
        node_name: "ip-10-0-12-7.ec2.internal".into(),
        pod_ip: "10.1.12.7".into(),
        started_at_unix_s: 1_763_000_000,
        restart_policy: "Always".into(),
        conditions: ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .map(condition)
            .into(),
        containers: vec![container(name)],
        container_statuses: vec![status],
        service_account: "default".into(),
        ..Default::default()
    })
}
