//! Counts what the members of an entity in one cluster say, and keeps what counts against it.

pub(crate) mod beside;
mod runs;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use vitals_proto::{
    identity::ObjectKey,
    kind::Kind,
    v1::{self, HealthStatus},
};

use super::{Scene, dimension};
use crate::{
    assess::Reason,
    graph::{
        Graph, ObjectId,
        ids::IdSet,
        object::{Life, Object, Pod, Readiness},
    },
    time::Time,
};

/// One thing that is not as it should be.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) status: HealthStatus,
    pub(crate) reason: Reason,
    pub(crate) message: Cow<'static, str>,
    /// The root of it.
    pub(crate) object: ObjectId,
    /// The top workload that it is of, where there is one.
    pub(crate) workload: Option<ObjectId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) findings: Vec<Finding>,
    /// Workloads to show, ordered by kind, namespace and name.
    pub(crate) workloads: Vec<ObjectId>,
    /// CronJobs, which have no numbers.
    pub(crate) schedules: Vec<ObjectId>,
    /// Pods that live, by the top workload that they are of.
    pub(crate) pods: BTreeMap<ObjectId, usize>,
    /// Available replicas, and pods without a workload that are ready.
    pub(crate) available: i64,
    /// Objects that could be judged.
    pub(crate) judged: usize,
    pub(crate) kinds_that_matter: BTreeSet<Kind>,
    pub(crate) recheck_at: Option<Time>,
    workload: Aspect,
    rollout: Aspect,
    traffic: Aspect,
}

/// The worst of one dimension; `None` where nothing speaks of it.
#[derive(Clone, Copy, Debug, Default)]
struct Aspect(Option<(HealthStatus, Reason)>);

impl Aspect {
    fn add(&mut self, status: HealthStatus, reason: Reason) {
        let worse = |(held, of): (HealthStatus, Reason)| {
            (status, std::cmp::Reverse(reason)) > (held, std::cmp::Reverse(of))
        };
        if self.0.is_none_or(worse) {
            self.0 = Some((status, reason));
        }
    }
}

impl Tally {
    pub(crate) fn of(scene: Scene<'_>, members: &IdSet) -> Self {
        let mut tally = Self::default();
        for id in members {
            if let Some(object) = scene.graph.get(id) {
                tally.add(scene, id, object);
            }
        }
        if tally.judged == 0
            && let Some(first) = scene.graph.in_order(members.iter()).first()
        {
            tally.find(
                HealthStatus::Unknown,
                Reason::KindNotJudged,
                *first,
                None,
                "this hub has no rule for what there is".into(),
            );
        }
        tally.note_kinds_below();
        let place = |id: &ObjectId| scene.graph.key(*id).map(place);
        tally.workloads.sort_by(|a, b| place(a).cmp(&place(b)));
        tally
    }

    /// The finding that stands for all: the worst status, then what says most of the cause, then the first by key.
    pub(crate) fn worst(&self, graph: &Graph) -> Option<&Finding> {
        let order = |it: &Finding| {
            let key = |id| graph.key(id);
            (
                std::cmp::Reverse(it.status),
                it.reason.generality(),
                it.workload.and_then(key),
                key(it.object),
            )
        };
        self.findings.iter().min_by(|a, b| order(a).cmp(&order(b)))
    }

    pub(crate) fn dimensions(&self) -> Vec<v1::Dimension> {
        [("workload", self.workload), ("rollout", self.rollout), ("traffic", self.traffic)]
            .into_iter()
            .filter_map(|(name, Aspect(worst))| {
                worst.map(|(status, of)| dimension(name, status, of))
            })
            .collect()
    }

    fn add(&mut self, scene: Scene<'_>, id: ObjectId, object: &Object) {
        self.note_kinds(scene.graph, id, object);
        match object.key.kind() {
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => self.add_workload(id, object),
            Kind::ReplicaSet | Kind::ReplicationController => {
                self.add_replica_set(scene.graph, id, object)
            }
            Kind::Pod => self.add_pod(scene, id, object),
            Kind::CronJob => self.add_cron_job(id, object),
            Kind::Job => self.add_job(scene.graph, id, object),
            Kind::Service => self.add_service(scene.now, id, object),
            Kind::Ingress => self.add_ingress(scene, id, object),
            Kind::PersistentVolume => self.add_volume(id, object),
            Kind::PersistentVolumeClaim => self.add_claim(scene.now, id, object),
            Kind::HorizontalPodAutoscaler | Kind::PodDisruptionBudget => {
                self.add_guard(scene, id, object);
            }
            // They say what happened, and not how something does.
            Kind::Event => {}
            Kind::EndpointSlice | Kind::ResourceQuota => self.add_silent(id, object),
            Kind::Node | Kind::Namespace => {
                self.judged += 1;
                self.add_assessment(id, None, object);
            }
            // Not judged, so it speaks neither for nor against.
            Kind::Other(_) => {}
        }
    }

    fn find(
        &mut self,
        status: HealthStatus,
        reason: Reason,
        object: ObjectId,
        workload: Option<ObjectId>,
        message: Cow<'static, str>,
    ) {
        self.findings.push(Finding { status, reason, message, object, workload });
    }

    fn add_assessment(&mut self, id: ObjectId, workload: Option<ObjectId>, object: &Object) {
        let assessment = &object.assessment;
        if assessment.status != HealthStatus::Healthy {
            let message = assessment.message.clone();
            self.find(assessment.status, assessment.reason, id, workload, message);
        }
    }

    fn add_workload(&mut self, id: ObjectId, object: &Object) {
        self.judged += 1;
        self.workloads.push(id);
        self.available += object.workload().map_or(0, |it| i64::from(it.available));
        self.add_assessment(id, Some(id), object);
        let assessment = &object.assessment;
        self.workload.add(assessment.status, assessment.reason);
        let of_the_rollout = matches!(
            assessment.reason,
            Reason::Paused
                | Reason::ProgressDeadlineExceeded
                | Reason::RolloutInProgress
                | Reason::OldReplicasPending
                | Reason::GenerationNotObserved
        );
        if of_the_rollout {
            self.rollout.add(assessment.status, assessment.reason);
        } else {
            self.rollout.add(HealthStatus::Healthy, Reason::None);
        }
    }

    fn add_replica_set(&mut self, graph: &Graph, id: ObjectId, object: &Object) {
        self.judged += 1;
        let desired = object.workload().map(|it| it.desired);
        if let Some(top) = top_workload(graph, id) {
            // Its Deployment tells the numbers; that pods are refused it tells only after its deadline.
            let assessment = &object.assessment;
            let tells_more =
                matches!(assessment.status, HealthStatus::Degraded | HealthStatus::Unknown);
            if tells_more && desired != Some(0) {
                self.workload.add(assessment.status, assessment.reason);
                self.add_assessment(id, Some(top), object);
            }
        } else if object.controller().is_none() || desired != Some(0) {
            self.add_workload(id, object);
        }
    }

    fn add_pod(&mut self, scene: Scene<'_>, id: ObjectId, object: &Object) {
        self.judged += 1;
        let graph = scene.graph;
        let top = top_workload(graph, id);
        let assessment = &object.assessment;
        let Some(pod) = object.pod() else {
            self.find_of_pod(
                assessment.status,
                assessment.reason,
                id,
                top,
                assessment.message.clone(),
            );
            return;
        };
        if matches!(pod.life, Life::Lasting | Life::Passing) {
            if let Some(top) = top {
                *self.pods.entry(top).or_default() += 1;
            } else if pod.readiness == Readiness::Ready {
                self.available += 1;
            }
        }
        if let Some(trouble) = pod.trouble.as_deref().filter(|_| pod.life != Life::Leaving) {
            if trouble.from <= scene.now {
                let message = Cow::Owned(trouble.message.clone());
                self.find_of_pod(HealthStatus::Degraded, trouble.reason, id, top, message);
                return;
            }
            self.recheck(trouble.from);
        }
        if counts(graph, id, object, pod) {
            self.find_of_pod(
                assessment.status,
                assessment.reason,
                id,
                top,
                assessment.message.clone(),
            );
        } else {
            self.workload.add(HealthStatus::Healthy, Reason::None);
        }
    }

    fn find_of_pod(
        &mut self,
        status: HealthStatus,
        reason: Reason,
        id: ObjectId,
        top: Option<ObjectId>,
        message: Cow<'static, str>,
    ) {
        self.workload.add(status, reason);
        self.find(status, reason, id, top, message);
    }

    fn recheck(&mut self, at: Time) {
        self.recheck_at = Some(self.recheck_at.map_or(at, |held| held.min(at)));
    }

    /// The kind itself, and what would be above it.
    fn note_kinds(&mut self, graph: &Graph, id: ObjectId, object: &Object) {
        let kind = object.key.kind();
        // Whether Events are seen changes no verdict.
        if !matches!(kind, Kind::Event) && !self.kinds_that_matter.contains(kind) {
            self.kinds_that_matter.insert(kind.clone());
        }
        if let Some(above) = object.controller().and_then(|owner| owner.kind())
            && !self.kinds_that_matter.contains(above)
            && graph.controller(id).is_none()
        {
            self.kinds_that_matter.insert(above.clone());
        }
    }

    /// What would be below the kinds that there are: without it the numbers are not whole. Below a Service are its pods, and
    /// where no workload is seen, whatever makes them: a Service alone says nothing of how what it serves does.
    fn note_kinds_below(&mut self) {
        let kinds = &mut self.kinds_that_matter;
        // That nothing is there to route to can be said only where it would be seen.
        if kinds.contains(&Kind::Ingress) {
            kinds.insert(Kind::Service);
        }
        if kinds.contains(&Kind::Service) {
            kinds.insert(Kind::Pod);
            if !kinds.iter().any(is_workload) {
                kinds.extend(Kind::KNOWN.into_iter().filter(is_workload));
            }
        }
        if kinds.contains(&Kind::Deployment) {
            kinds.insert(Kind::ReplicaSet);
        }
        // Whether a run failed that no later one made good.
        if kinds.contains(&Kind::CronJob) {
            kinds.insert(Kind::Job);
        }
        if kinds.contains(&Kind::Job) || kinds.iter().any(is_workload) {
            kinds.insert(Kind::Pod);
        }
    }
}

/// Kind, namespace, name: the order of workloads.
fn place(key: &ObjectKey) -> (&str, &str, &str) {
    (key.kind().resource(), key.namespace(), key.name())
}

/// The highest of the workloads that control it, Jobs and CronJobs among them.
pub(crate) fn top_workload(graph: &Graph, id: ObjectId) -> Option<ObjectId> {
    let makes_pods = |id: &ObjectId| {
        let kind = graph.key(*id).map(ObjectKey::kind);
        kind.is_some_and(|kind| is_workload(kind) || matches!(kind, Kind::CronJob | Kind::Job))
    };
    graph.controllers(id).take_while(makes_pods).last()
}

/// It keeps replicas running.
fn is_workload(kind: &Kind) -> bool {
    match kind {
        Kind::Deployment
        | Kind::ReplicaSet
        | Kind::ReplicationController
        | Kind::StatefulSet
        | Kind::DaemonSet => true,
        Kind::CronJob
        | Kind::Job
        | Kind::PersistentVolumeClaim
        | Kind::Pod
        | Kind::Service
        | Kind::Ingress
        | Kind::Event
        | Kind::ResourceQuota
        | Kind::PersistentVolume
        | Kind::EndpointSlice
        | Kind::HorizontalPodAutoscaler
        | Kind::PodDisruptionBudget
        | Kind::Node
        | Kind::Namespace
        | Kind::Other(_) => false,
    }
}

/// Whether what layer 1 says of a pod counts against its entity.
fn counts(graph: &Graph, id: ObjectId, object: &Object, pod: &Pod) -> bool {
    let controller = graph.controller(id).and_then(|id| graph.get(id));
    let controller = controller.filter(|it| is_workload(it.key.kind()));
    match (object.assessment.status, pod.life) {
        (HealthStatus::Healthy, _) | (_, Life::Leaving) => false,
        (_, Life::Over) => match controller {
            // It does not come back: it counts until its controller has made another.
            Some(controller) => {
                let short = controller.workload().is_some_and(|it| it.replicas < it.desired);
                controller.assessment.status != HealthStatus::Healthy && short
            }
            // A Job tells itself how its tries went; of a controller that is not seen nobody can say.
            None => object.controller().is_none(),
        },
        (HealthStatus::Progressing, Life::Lasting) => object.controller().is_none(),
        (HealthStatus::Progressing, Life::Passing) => {
            object.controller().is_none() && object.assessment.reason != Reason::PodRunning
        }
        (_, Life::Lasting | Life::Passing) => true,
    }
}
