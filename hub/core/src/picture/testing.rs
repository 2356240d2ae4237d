//! Builds objects for tests, and keeps a picture and a store of them as a hub does.

use std::{collections::BTreeMap, fmt};

use prost::Message as _;
use vitals_proto::{
    digest::{Digest, Place},
    identity::{Epoch, KeyParts, ObjectKey, Scope, Uid},
    kind::Kind,
    rule::Rules,
    subject,
    v1::{self, FreshnessState, facts::Kind as Facts},
};

use super::{EntityChange, Outcome, Picture, PictureConfig};
use crate::{
    freshness::ClusterFreshness,
    position::{Position, StreamPoint},
    store::{Content, NewHeld, Store},
    time::Time,
};

pub(crate) const NOW: Time = Time::from_unix_ms(1_800_000_000_000);

/// An object of a test.
#[derive(Clone, PartialEq)]
pub(crate) struct TestObject {
    pub(crate) key: ObjectKey,
    pub(crate) facts: v1::Facts,
}

/// Short, since a law that fails shows many of them.
impl fmt::Debug for TestObject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meta = self.facts.meta.clone().unwrap_or_default();
        let text = |uid: &[u8]| Uid::from_wire(uid).map(|uid| uid.to_string()).unwrap_or_default();
        let owners: Vec<_> = meta.owners.iter().map(|owner| text(&owner.uid)).collect();
        let assessment = crate::assess::assess(&self.facts, NOW);
        write!(
            formatter,
            "{} uid {} under {owners:?} {:?} {:?}: {:?} {:?}",
            self.key,
            text(&meta.uid),
            meta.labels,
            links(&self.facts),
            assessment.reason,
            assessment.message
        )
    }
}

/// The labels of its template, or its selector.
fn links(facts: &v1::Facts) -> BTreeMap<String, String> {
    match facts.kind.clone().unwrap() {
        Facts::Deployment(it) => it.template.unwrap().labels,
        Facts::ReplicaSet(it) => it.template.unwrap().labels,
        Facts::StatefulSet(it) => it.template.unwrap().labels,
        Facts::Service(it) => it.selector,
        Facts::PodDisruptionBudget(it) => it.selector.unwrap_or_default().match_labels,
        Facts::DaemonSet(_)
        | Facts::Pod(_)
        | Facts::Node(_)
        | Facts::Namespace(_)
        | Facts::Job(_)
        | Facts::CronJob(_)
        | Facts::HorizontalPodAutoscaler(_)
        | Facts::PersistentVolumeClaim(_)
        | Facts::Ingress(_)
        | Facts::Event(_)
        | Facts::ReplicationController(_)
        | Facts::ResourceQuota(_)
        | Facts::PersistentVolume(_)
        | Facts::EndpointSlice(_) => BTreeMap::new(),
    }
}

pub(crate) fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

fn object(cluster: &str, name: &str, facts: Facts) -> TestObject {
    let kind = match facts {
        Facts::Deployment(_) => Kind::Deployment,
        Facts::ReplicaSet(_) => Kind::ReplicaSet,
        Facts::StatefulSet(_) => Kind::StatefulSet,
        Facts::DaemonSet(_) => Kind::DaemonSet,
        Facts::Pod(_) => Kind::Pod,
        Facts::Service(_) => Kind::Service,
        Facts::Node(_) => Kind::Node,
        Facts::Namespace(_) => Kind::Namespace,
        Facts::Job(_) => Kind::Job,
        Facts::CronJob(_) => Kind::CronJob,
        Facts::HorizontalPodAutoscaler(_) => Kind::HorizontalPodAutoscaler,
        Facts::PersistentVolumeClaim(_) => Kind::PersistentVolumeClaim,
        Facts::PodDisruptionBudget(_) => Kind::PodDisruptionBudget,
        Facts::Ingress(_) => Kind::Ingress,
        Facts::EndpointSlice(_) => Kind::EndpointSlice,
        Facts::PersistentVolume(_) => Kind::PersistentVolume,
        Facts::ResourceQuota(_) => Kind::ResourceQuota,
        Facts::Event(_) => Kind::Event,
        Facts::ReplicationController(_) => Kind::ReplicationController,
    };
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let cluster = cluster.parse().unwrap();
    let uid = Uid::from_text(&format!("{}/{namespace}/{name}", kind.title())).to_wire().into();
    let key = ObjectKey::new(KeyParts { cluster, kind, namespace, name }).unwrap();
    let meta = v1::Meta { uid, created_at_unix_s: NOW.unix_ms() / 1_000, ..v1::Meta::default() };
    TestObject { key, facts: v1::Facts { meta: Some(meta), truncated: vec![], kind: Some(facts) } }
}

fn template(text: &str) -> Option<v1::PodTemplate> {
    let container =
        v1::Container { name: "app".into(), image: "shop:1".into(), ..Default::default() };
    Some(v1::PodTemplate {
        labels: labels(text),
        containers: vec![container],
        ..v1::PodTemplate::default()
    })
}

/// A Deployment of three replicas that is rolled out.
pub(crate) fn deployment(cluster: &str, name: &str, pods: &str) -> TestObject {
    let facts = v1::DeploymentFacts {
        desired: 3,
        replicas: 3,
        updated: 3,
        ready: 3,
        available: 3,
        template: template(pods),
        ..Default::default()
    };
    object(cluster, name, Facts::Deployment(facts))
}

/// A ReplicaSet of three replicas that are there.
pub(crate) fn replica_set(cluster: &str, name: &str, pods: &str) -> TestObject {
    let facts = v1::ReplicaSetFacts {
        desired: 3,
        replicas: 3,
        fully_labeled: 3,
        ready: 3,
        available: 3,
        template: template(pods),
        ..Default::default()
    };
    object(cluster, name, Facts::ReplicaSet(facts))
}

/// A ReplicationController of two replicas, of which so many are available.
pub(crate) fn replication_controller(
    cluster: &str,
    name: &str,
    pods: &str,
    available: i32,
) -> TestObject {
    let facts = v1::ReplicationControllerFacts {
        desired: 2,
        replicas: 2,
        fully_labeled: 2,
        ready: available,
        available,
        template: template(pods),
        ..Default::default()
    };
    object(cluster, name, Facts::ReplicationController(facts))
}

/// A StatefulSet of one replica that is there.
pub(crate) fn stateful_set(cluster: &str, name: &str, pods: &str) -> TestObject {
    let facts = v1::StatefulSetFacts {
        desired: 1,
        replicas: 1,
        ready: 1,
        available: 1,
        updated: 1,
        current: 1,
        observed_generation: 1,
        template: template(pods),
        ..Default::default()
    };
    object(cluster, name, Facts::StatefulSet(facts))
}

/// A pod that is ready.
pub(crate) fn pod(cluster: &str, name: &str) -> TestObject {
    let ready =
        v1::Condition { r#type: "Ready".into(), status: "True".into(), ..Default::default() };
    let facts = v1::PodFacts {
        phase: "Running".into(),
        restart_policy: "Always".into(),
        conditions: vec![ready],
        container_statuses: vec![v1::ContainerStatus {
            name: "app".into(),
            ready: true,
            ..Default::default()
        }],
        ..Default::default()
    };
    object(cluster, name, Facts::Pod(facts))
}

/// A Service without a load balancer.
pub(crate) fn service(cluster: &str, name: &str, selector: &str) -> TestObject {
    let facts = v1::ServiceFacts {
        r#type: "ClusterIP".into(),
        selector: labels(selector),
        ..Default::default()
    };
    object(cluster, name, Facts::Service(facts))
}

fn condition(r#type: &str, status: &str, reason: &str) -> v1::Condition {
    let [r#type, status, reason] = [r#type, status, reason].map(str::to_owned);
    let last_transition_at_unix_s = NOW.unix_ms() / 1_000;
    v1::Condition { r#type, status, reason, last_transition_at_unix_s, ..Default::default() }
}

/// A CronJob of which no run has succeeded yet.
pub(crate) fn cron_job(cluster: &str, name: &str, pods: &str) -> TestObject {
    let facts =
        v1::CronJobFacts { has_status: true, template: template(pods), ..Default::default() };
    object(cluster, name, Facts::CronJob(facts))
}

/// A Job that runs, or of which a condition holds.
pub(crate) fn job(cluster: &str, name: &str, holds: &str) -> TestObject {
    let conditions = match holds {
        "" => vec![],
        "Failed" => vec![condition(holds, "True", "BackoffLimitExceeded")],
        holds => vec![condition(holds, "True", "")],
    };
    let facts = v1::JobFacts { failed: 1, conditions, ..Default::default() };
    object(cluster, name, Facts::Job(facts))
}

/// An autoscaler from 1 to 10 that does its work.
pub(crate) fn autoscaler(cluster: &str, name: &str, kind: &str, target: &str) -> TestObject {
    let target =
        v1::ScaleTarget { api_version: "apps/v1".into(), kind: kind.into(), name: target.into() };
    let facts = v1::HorizontalPodAutoscalerFacts {
        target: Some(target),
        min: 1,
        max: 10,
        conditions: vec![condition("AbleToScale", "True", "")],
        ..Default::default()
    };
    object(cluster, name, Facts::HorizontalPodAutoscaler(facts))
}

/// A claim in a phase, of a volume that is called after it.
pub(crate) fn claim(cluster: &str, name: &str, phase: &str) -> TestObject {
    let volume_name = format!("pv-{}", name.rsplit('/').next().unwrap_or_default());
    let facts =
        v1::PersistentVolumeClaimFacts { phase: phase.into(), volume_name, ..Default::default() };
    object(cluster, name, Facts::PersistentVolumeClaim(facts))
}

/// A volume in a phase.
pub(crate) fn volume(cluster: &str, name: &str, phase: &str) -> TestObject {
    let facts = v1::PersistentVolumeFacts { phase: phase.into(), ..Default::default() };
    object(cluster, name, Facts::PersistentVolume(facts))
}

/// A quota of ten pods.
pub(crate) fn quota(cluster: &str, name: &str) -> TestObject {
    let pods = |number: &str| [("pods".to_owned(), number.to_owned())].into();
    let facts = v1::ResourceQuotaFacts { hard: pods("10"), used: pods("3"), ..Default::default() };
    object(cluster, name, Facts::ResourceQuota(facts))
}

/// What was told in a namespace about an object: of this API version, kind, namespace and name.
pub(crate) fn events(cluster: &str, namespace: &str, about: [&str; 4]) -> TestObject {
    let [api_version, kind, of, name] = about.map(str::to_owned);
    let fold = format!("{namespace}/{}_{name}", kind.to_lowercase());
    let involved = v1::InvolvedObject { api_version, kind, namespace: of, name };
    let reason = v1::EventReason { reason: "BackOff".into(), count: 3, ..Default::default() };
    let facts = v1::EventFacts { involved: Some(involved), reasons: vec![reason] };
    object(cluster, &fold, Facts::Event(facts))
}

/// A node that is ready.
pub(crate) fn node(cluster: &str, name: &str) -> TestObject {
    let facts =
        v1::NodeFacts { conditions: vec![condition("Ready", "True", "")], ..Default::default() };
    object(cluster, name, Facts::Node(facts))
}

/// A namespace that is there.
pub(crate) fn namespace(cluster: &str, name: &str) -> TestObject {
    let facts = v1::NamespaceFacts { phase: "Active".into(), ..Default::default() };
    object(cluster, name, Facts::Namespace(facts))
}

/// A budget that lets one of three pods go, or none since one of them is not healthy.
pub(crate) fn budget(cluster: &str, name: &str, selector: &str, allowed: i32) -> TestObject {
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let selector = v1::LabelSelector { match_labels: labels(selector), match_expressions: vec![] };
    let facts = v1::PodDisruptionBudgetFacts {
        selector: Some(selector),
        disruptions_allowed: allowed,
        current_healthy: 2 + allowed,
        desired_healthy: 2,
        expected: 3,
        conditions: vec![condition("DisruptionAllowed", status, reason)],
        ..Default::default()
    };
    object(cluster, name, Facts::PodDisruptionBudget(facts))
}

/// An Ingress with an address.
pub(crate) fn ingress(cluster: &str, name: &str, services: &[&str]) -> TestObject {
    let paths = services.iter().map(|service| v1::IngressPath {
        backend: Some(v1::IngressBackend { service: (*service).into(), port: "80".into() }),
        ..Default::default()
    });
    let facts = v1::IngressFacts {
        rules: vec![v1::IngressRule { host: String::new(), paths: paths.collect() }],
        load_balancer_ingress: vec!["192.0.2.1".into()],
        ..Default::default()
    };
    object(cluster, name, Facts::Ingress(facts))
}

/// The endpoints of a Service: pods that take traffic.
pub(crate) fn endpoint_slice(
    cluster: &str,
    name: &str,
    service: &str,
    pods: &[&str],
) -> TestObject {
    let endpoint =
        |pod: &&str| v1::Endpoint { pod: (*pod).into(), ready: true, ..Default::default() };
    let endpoints = pods.iter().map(endpoint).collect();
    let facts = v1::EndpointSliceFacts { endpoints, ..Default::default() };
    object(cluster, name, Facts::EndpointSlice(facts))
        .labelled(&format!("kubernetes.io/service-name={service}"))
}

impl TestObject {
    fn meta(mut self, change: impl FnOnce(&mut v1::Meta)) -> Self {
        change(self.facts.meta.as_mut().unwrap());
        self
    }

    pub(crate) fn labelled(self, text: &str) -> Self {
        self.meta(|meta| meta.labels = labels(text))
    }

    pub(crate) fn annotated(self, key: &str, value: &str) -> Self {
        self.meta(|meta| {
            meta.annotations.insert(key.into(), value.into());
        })
    }

    pub(crate) fn uid(self, text: &str) -> Self {
        self.meta(|meta| meta.uid = Uid::from_text(text).to_wire().into())
    }

    /// Controlled by another.
    pub(crate) fn under(self, owner: &Self) -> Self {
        let uid = owner.facts.meta.as_ref().unwrap().uid.clone();
        self.under_uid(uid, owner.key.kind().title())
    }

    pub(crate) fn under_uid(self, uid: prost::bytes::Bytes, kind: &str) -> Self {
        let kind = kind.to_owned();
        self.meta(|meta| {
            meta.owners.push(v1::OwnerReference {
                uid,
                kind,
                controller: true,
                ..Default::default()
            });
        })
    }

    pub(crate) fn deleting(self) -> Self {
        self.meta(|meta| meta.deleted_at_unix_s = Some(1))
    }

    pub(crate) fn of_deployment(mut self, change: impl FnOnce(&mut v1::DeploymentFacts)) -> Self {
        let Some(Facts::Deployment(facts)) = &mut self.facts.kind else { panic!("no Deployment") };
        change(facts);
        self
    }

    /// A pod with volumes of these claims.
    pub(crate) fn mounting(self, claims: &[&str]) -> Self {
        let claims = claims.iter().map(|&claim| claim.to_owned()).collect();
        self.of_pod(|pod| pod.claims = claims)
    }

    /// A pod on a node.
    pub(crate) fn on(self, node: &str) -> Self {
        self.of_pod(|pod| pod.node_name = node.to_owned())
    }

    /// Made so many seconds before [`NOW`], or after.
    pub(crate) fn made(self, seconds: i64) -> Self {
        self.meta(|meta| meta.created_at_unix_s = NOW.unix_ms() / 1_000 + seconds)
    }

    pub(crate) fn of_cron_job(mut self, change: impl FnOnce(&mut v1::CronJobFacts)) -> Self {
        let Some(Facts::CronJob(facts)) = &mut self.facts.kind else { panic!("no CronJob") };
        change(facts);
        self
    }

    pub(crate) fn of_autoscaler(
        mut self,
        change: impl FnOnce(&mut v1::HorizontalPodAutoscalerFacts),
    ) -> Self {
        let Some(Facts::HorizontalPodAutoscaler(facts)) = &mut self.facts.kind else {
            panic!("no autoscaler")
        };
        change(facts);
        self
    }

    pub(crate) fn of_replica_set(mut self, change: impl FnOnce(&mut v1::ReplicaSetFacts)) -> Self {
        let Some(Facts::ReplicaSet(facts)) = &mut self.facts.kind else { panic!("no ReplicaSet") };
        change(facts);
        self
    }

    pub(crate) fn of_pod(mut self, change: impl FnOnce(&mut v1::PodFacts)) -> Self {
        let Some(Facts::Pod(facts)) = &mut self.facts.kind else { panic!("no Pod") };
        change(facts);
        self
    }

    /// Its container crash-loops with exit code 1, after six restarts.
    pub(crate) fn crashing(self) -> Self {
        use v1::container_state::State;
        let state = |state| Some(v1::ContainerState { state: Some(state) });
        self.of_pod(|pod| {
            pod.conditions.clear();
            pod.container_statuses = vec![v1::ContainerStatus {
                name: "app".into(),
                restarts: 6,
                state: state(State::Waiting(v1::ContainerWaiting {
                    reason: "CrashLoopBackOff".into(),
                    message: String::new(),
                })),
                last_state: state(State::Terminated(v1::ContainerTerminated {
                    exit_code: 1,
                    reason: "Error".into(),
                    ..Default::default()
                })),
                ..Default::default()
            }];
        })
    }

    pub(crate) fn phase(self, phase: &str) -> Self {
        self.of_pod(|pod| {
            pod.phase = phase.into();
            pod.conditions.clear();
        })
    }
}

/// A picture and its store, fed as a hub feeds them: every input at the next sequence of one stream.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) picture: Picture,
    pub(crate) store: Store,
    pub(crate) sequence: u64,
    pub(crate) now: Time,
    /// Of all clusters.
    pub(crate) clock_ahead_ms: i64,
}

impl Default for Bench {
    fn default() -> Self {
        Self::with(Rules::ALL, PictureConfig::default())
    }
}

impl Bench {
    pub(crate) fn with(rules: Rules, config: PictureConfig) -> Self {
        Self {
            picture: Picture::with(rules, config),
            store: Store::default(),
            sequence: 0,
            now: NOW,
            clock_ahead_ms: 0,
        }
    }

    /// Of these objects, with their clusters fresh.
    pub(crate) fn of(objects: &[TestObject]) -> Self {
        let mut bench = Self::default();
        for object in objects {
            bench.freshen(object.key.cluster().as_str());
            bench.put(object);
        }
        bench.settle();
        bench
    }

    pub(crate) fn put(&mut self, object: &TestObject) {
        let TestObject { key, facts } = object;
        self.sequence += 1;
        let at = point(self.sequence);
        let bytes = facts.encode_to_vec();
        let subject = subject::object(key);
        let held = NewHeld {
            scope: &Scope::default(),
            epoch: Epoch::default(),
            counter: 1,
            digest: Digest::of(&subject, &bytes),
            bucket: Place::of(&subject).bucket(),
            at: &at,
            observed_at_unix_ms: 0,
            resource_version: "1",
            message_bytes: bytes.len(),
            content: Content::Facts(&bytes),
        };
        self.store.put(key, held);
        self.picture.upsert(key, Some(facts), &at, self.now);
    }

    pub(crate) fn put_not_understood(&mut self, key: &ObjectKey) {
        self.sequence += 1;
        let at = point(self.sequence);
        self.store.remove(key);
        self.picture.upsert(key, None, &at, self.now);
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey, labels: Option<&str>) {
        self.sequence += 1;
        let at = point(self.sequence);
        self.store.remove(key);
        let tombstone =
            labels.map(|text| v1::Tombstone { labels: self::labels(text), ..Default::default() });
        self.picture.remove(key, tombstone.as_ref(), &at);
    }

    pub(crate) fn freshen(&mut self, cluster: &str) {
        self.set_freshness(cluster, FreshnessState::Fresh, &[]);
    }

    pub(crate) fn set_freshness(&mut self, cluster: &str, state: FreshnessState, unseen: &[Kind]) {
        let message = if state == FreshnessState::Fresh { "" } else { "no heartbeat for 20 s" };
        let freshness = ClusterFreshness {
            state,
            since: NOW,
            message: message.into(),
            unseen: unseen.iter().cloned().collect(),
            clock_ahead_ms: self.clock_ahead_ms,
        };
        let at = self.position();
        self.picture.set_freshness(&cluster.parse().unwrap(), freshness, &at, self.now);
    }

    pub(crate) fn define(&mut self, definitions: &[v1::EntityDefinition], revision: u64) {
        let at = self.position();
        let problems = self.picture.set_definitions(definitions.to_vec(), revision, &at);
        assert_eq!(problems, []);
    }

    pub(crate) fn position(&self) -> Position {
        if self.sequence == 0 { Position::default() } else { Position::at(&point(self.sequence)) }
    }

    pub(crate) fn settle(&mut self) -> Vec<EntityChange> {
        let position = self.position();
        self.picture.settle(&self.store, &position, self.now)
    }

    pub(crate) fn entity(&self, entity: &str) -> v1::Entity {
        self.picture.entity(&entity.parse().unwrap()).unwrap_or_else(|| panic!("no {entity}"))
    }

    pub(crate) fn refs(&self) -> Vec<String> {
        self.picture.entities().map(|(entity, _)| entity.to_string()).collect()
    }

    pub(crate) fn verdict(&self, entity: &str) -> v1::Verdict {
        self.entity(entity).verdict.unwrap()
    }

    /// Entities of an object.
    pub(crate) fn of_object(&self, object: &TestObject) -> Vec<String> {
        self.picture.entities_of(&object.key).iter().map(ToString::to_string).collect()
    }
}

pub(crate) fn point(sequence: u64) -> StreamPoint {
    StreamPoint { stream: "A".into(), incarnation_unix_ns: 1, sequence }
}

/// What came of each entity, in short.
pub(crate) fn outcomes(changes: &[EntityChange]) -> Vec<(String, &'static str)> {
    let outcome = |change: &EntityChange| match change.outcome {
        Outcome::Changed { .. } => "changed",
        Outcome::Touched => "touched",
        Outcome::Removed => "removed",
    };
    changes.iter().map(|change| (change.entity.to_string(), outcome(change))).collect()
}
