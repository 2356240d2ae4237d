//! What the picture keeps of one object: what links it, what claims it, what was judged of it, and the numbers that are
//! summed. The facts themselves stay encoded in the store.

use std::sync::Arc;

use vitals_proto::{
    identity::{ObjectKey, Uid},
    kind::Kind,
    v1::{self, facts::Kind as Facts},
};

use super::{
    ids::IdSet,
    labels::{LabelPool, Labels},
    names,
    nodes::NodeId,
    owners::OwnerId,
};
use crate::{
    assess::{self, Assessment, Reason, Trouble, endpoint_slice::Count},
    entity::{rule::ANNOTATIONS_READ, selector::Selector},
    time::Time,
};

/// One object as the picture knows it. A pure function of its key and its last facts, but for its ties.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: ObjectKey,
    /// Empty where it is not known.
    pub(crate) uid: Uid,
    pub(crate) labels: Labels,
    /// The annotations that claim.
    pub(crate) annotations: Labels,
    /// The labels of its pod template; empty where it has none.
    pub(crate) template: Labels,
    /// The selector of a Service; empty where it has none.
    pub(crate) selector: Labels,
    pub(crate) created_at: Time,
    pub(crate) assessment: Assessment,
    pub(crate) vital: Vital,
    pub(super) ties: Ties,
}

/// An object, and what of its links is not held with it.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) object: Object,
    pub(super) owners: Vec<OwnerRead>,
    pub(super) names: Box<[ObjectKey]>,
}

/// Where an object is tied into the graph: the graph's to keep.
#[derive(Debug, Default)]
pub(super) struct Ties {
    /// Its own UID, where it is named as an owner.
    pub(super) owning: Option<OwnerId>,
    pub(super) owners: Box<[Owner]>,
    /// The Services and budgets that select it.
    pub(super) selecting: IdSet,
    /// Of a pod.
    pub(super) node: Option<NodeId>,
}

/// One of its `ownerReferences`, as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnerRead {
    pub(super) uid: Uid,
    pub(super) role: Role,
    pub(super) kind: KnownKind,
}

/// One of its `ownerReferences`, as it is held: nearly every object has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(super) id: OwnerId,
    pub(super) role: Role,
    pub(super) kind: KnownKind,
}

/// A kind, where it is one that has a rule: its place in [`Kind::KNOWN`], which takes less than the kind itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownKind(Option<u8>);

impl Owner {
    /// The kind, where it is one that has a rule.
    pub(crate) fn kind(self) -> Option<&'static Kind> {
        static KNOWN: [Kind; Kind::KNOWN.len()] = Kind::KNOWN;
        KNOWN.get(usize::from(self.kind.0?))
    }
}

/// What an owner is to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `controller: true`: the one that makes and replaces it.
    Controller,
    /// It goes when the owner goes.
    Holder,
}

/// The numbers of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vital {
    Workload(Box<Workload>),
    Pod(Pod),
    /// When a run of a CronJob succeeded last; [`Time::MIN`] where none did.
    Schedule(Time),
    Budget(Box<Budget>),
    /// Of an autoscaler.
    Trouble(Box<Trouble>),
    /// Of an EndpointSlice.
    Endpoints(Count),
    None,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// `None` selects nothing, an empty one everything.
    pub(crate) selector: Option<Selector>,
    pub(crate) trouble: Option<Trouble>,
}

/// A workload in kubectl's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) desired: i32,
    /// Replicas that exist, of any template; for a DaemonSet the nodes that have one.
    pub(crate) replicas: i32,
    pub(crate) updated: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    pub(crate) images: Vec<Arc<str>>,
}

/// A pod in kubectl's numbers, and its plain trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) restarts: i32,
    pub(crate) life: Life,
    pub(crate) readiness: Readiness,
    pub(crate) trouble: Option<Box<Trouble>>,
}

/// How long a pod is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It is to run for ever.
    Lasting,
    /// It is to run until its work is done.
    Passing,
    /// `Succeeded` or `Failed`: it does not come back.
    Over,
    /// Its deletion was asked for.
    Leaving,
}

/// Whether a pod takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    NotReady,
}

impl Object {
    /// Reads what the picture needs, and its links. `None`: the content of the message is not understood.
    pub(super) fn read(
        key: &ObjectKey,
        facts: Option<&v1::Facts>,
        pool: &mut LabelPool,
        now: Time,
    ) -> Read {
        let empty = v1::Meta::default();
        let facts = facts.filter(|facts| is_of_kind(facts, key.kind()));
        let meta = facts.and_then(|facts| facts.meta.as_ref()).unwrap_or(&empty);
        let assessment =
            facts.map_or_else(Assessment::not_understood, |facts| assess::assess(facts, now));
        let kind = facts.and_then(|facts| facts.kind.as_ref());
        let template = kind.and_then(template).map(|it| pool.share(&it.labels)).unwrap_or_default();
        let selector = if let Some(Facts::Service(it)) = kind {
            pool.share(&it.selector)
        } else {
            Labels::default()
        };
        let mut annotations = meta.annotations.clone();
        annotations.retain(|key, _| ANNOTATIONS_READ.contains(&key.as_str()));
        let owners = meta.owners.iter().filter_map(owner).collect();
        let names = kind.map(|kind| names::read(key, meta, kind)).unwrap_or_default();
        let object = Self {
            key: key.clone(),
            uid: Uid::from_wire(&meta.uid).unwrap_or(Uid::Text("".into())),
            labels: pool.share(&meta.labels),
            annotations: pool.share(&annotations),
            template,
            selector,
            created_at: Time::from_unix_s(meta.created_at_unix_s),
            vital: vital(kind, &assessment),
            assessment,
            ties: Ties::default(),
        };
        Read { object, owners, names }
    }

    /// Gives back what it shares.
    pub(crate) fn release(self, pool: &mut LabelPool) {
        let Self { labels, annotations, template, selector, .. } = self;
        for labels in [labels, annotations, template, selector] {
            pool.release(labels);
        }
    }

    pub(crate) fn controller(&self) -> Option<&Owner> {
        self.ties.owners.iter().find(|owner| owner.role == Role::Controller)
    }

    pub(crate) fn workload(&self) -> Option<&Workload> {
        if let Vital::Workload(workload) = &self.vital { Some(workload) } else { None }
    }

    pub(crate) fn pod(&self) -> Option<&Pod> {
        if let Vital::Pod(pod) = &self.vital { Some(pod) } else { None }
    }

    /// What is trouble once it lasts, of an autoscaler or a budget.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        match &self.vital {
            Vital::Trouble(trouble) => Some(trouble),
            Vital::Budget(budget) => budget.trouble.as_ref(),
            Vital::Workload(_)
            | Vital::Pod(_)
            | Vital::Schedule(_)
            | Vital::Endpoints(_)
            | Vital::None => None,
        }
    }

    /// What a budget selects by.
    pub(super) fn requirements(&self) -> Option<&Selector> {
        if let Vital::Budget(budget) = &self.vital { budget.selector.as_ref() } else { None }
    }

    /// A Service or a budget selects pods of these labels.
    pub(super) fn selects(&self, labels: &Labels) -> bool {
        match self.requirements() {
            Some(requirements) => requirements.matches(labels),
            None => labels.are_selected_by(&self.selector),
        }
    }

    /// The labels by which Services find it, or its pods: those of a pod, or of a template.
    pub(crate) fn selectable(&self) -> &Labels {
        if matches!(self.key.kind(), Kind::Pod) { &self.labels } else { &self.template }
    }
}

/// Facts under a subject of another kind say nothing of it.
fn is_of_kind(facts: &v1::Facts, kind: &Kind) -> bool {
    match (&facts.kind, kind) {
        (None, _)
        | (Some(Facts::Deployment(_)), Kind::Deployment)
        | (Some(Facts::ReplicaSet(_)), Kind::ReplicaSet)
        | (Some(Facts::StatefulSet(_)), Kind::StatefulSet)
        | (Some(Facts::DaemonSet(_)), Kind::DaemonSet)
        | (Some(Facts::Pod(_)), Kind::Pod)
        | (Some(Facts::Service(_)), Kind::Service)
        | (Some(Facts::Node(_)), Kind::Node)
        | (Some(Facts::Namespace(_)), Kind::Namespace)
        | (Some(Facts::Job(_)), Kind::Job)
        | (Some(Facts::CronJob(_)), Kind::CronJob)
        | (Some(Facts::HorizontalPodAutoscaler(_)), Kind::HorizontalPodAutoscaler)
        | (Some(Facts::PersistentVolumeClaim(_)), Kind::PersistentVolumeClaim)
        | (Some(Facts::PodDisruptionBudget(_)), Kind::PodDisruptionBudget)
        | (Some(Facts::Ingress(_)), Kind::Ingress)
        | (Some(Facts::EndpointSlice(_)), Kind::EndpointSlice)
        | (Some(Facts::PersistentVolume(_)), Kind::PersistentVolume)
        | (Some(Facts::ResourceQuota(_)), Kind::ResourceQuota)
        | (Some(Facts::ReplicationController(_)), Kind::ReplicationController)
        | (Some(Facts::Event(_)), Kind::Event) => true,
        (Some(_), _) => false,
    }
}

fn owner(reference: &v1::OwnerReference) -> Option<OwnerRead> {
    let uid = Uid::from_wire(&reference.uid).ok().filter(|uid| !uid.is_empty())?;
    let role = if reference.controller { Role::Controller } else { Role::Holder };
    let kind = Kind::KNOWN.iter().position(|kind| kind.title() == reference.kind);
    let kind = KnownKind(kind.and_then(|place| u8::try_from(place).ok()));
    Some(OwnerRead { uid, role, kind })
}

fn template(facts: &Facts) -> Option<&v1::PodTemplate> {
    match facts {
        Facts::Deployment(it) => it.template.as_ref(),
        Facts::ReplicaSet(it) => it.template.as_ref(),
        Facts::ReplicationController(it) => it.template.as_ref(),
        Facts::StatefulSet(it) => it.template.as_ref(),
        Facts::DaemonSet(it) => it.template.as_ref(),
        Facts::CronJob(it) => it.template.as_ref(),
        Facts::Job(it) => it.template.as_ref(),
        Facts::Pod(_)
        | Facts::Service(_)
        | Facts::Node(_)
        | Facts::Namespace(_)
        | Facts::HorizontalPodAutoscaler(_)
        | Facts::PersistentVolumeClaim(_)
        | Facts::PodDisruptionBudget(_)
        | Facts::Ingress(_)
        | Facts::Event(_)
        | Facts::ResourceQuota(_)
        | Facts::PersistentVolume(_)
        | Facts::EndpointSlice(_) => None,
    }
}

fn vital(facts: Option<&Facts>, assessment: &Assessment) -> Vital {
    let Some(facts) = facts else { return Vital::None };
    let images = || {
        let containers = template(facts).map(|it| it.containers.as_slice()).unwrap_or_default();
        containers.iter().map(|container| container.image.as_str().into()).collect()
    };
    let [desired, replicas, updated, ready, available] = match facts {
        Facts::Deployment(it) => [it.desired, it.replicas, it.updated, it.ready, it.available],
        Facts::ReplicaSet(it) => [it.desired, it.replicas, it.replicas, it.ready, it.available],
        Facts::ReplicationController(it) => {
            [it.desired, it.replicas, it.replicas, it.ready, it.available]
        }
        Facts::StatefulSet(it) => [it.desired, it.replicas, it.updated, it.ready, it.available],
        Facts::DaemonSet(it) => [it.desired, it.current, it.updated, it.ready, it.available],
        Facts::Pod(it) => return Vital::Pod(pod(it, assessment)),
        Facts::CronJob(it) => return Vital::Schedule(succeeded_at(it)),
        Facts::EndpointSlice(it) => {
            return Vital::Endpoints(assess::endpoint_slice::count(it));
        }
        Facts::PodDisruptionBudget(it) => {
            let selector = it.selector.as_ref().map(Selector::of);
            let trouble = assess::pod_disruption_budget::trouble(it);
            return Vital::Budget(Box::new(Budget { selector, trouble }));
        }
        Facts::HorizontalPodAutoscaler(it) => {
            let trouble = assess::horizontal_pod_autoscaler::trouble(it);
            return trouble.map_or(Vital::None, |trouble| Vital::Trouble(Box::new(trouble)));
        }
        Facts::Service(_)
        | Facts::Node(_)
        | Facts::Namespace(_)
        | Facts::Job(_)
        | Facts::PersistentVolumeClaim(_)
        | Facts::Ingress(_)
        | Facts::Event(_)
        | Facts::ResourceQuota(_)
        | Facts::PersistentVolume(_) => return Vital::None,
    };
    Vital::Workload(Box::new(Workload {
        desired,
        replicas,
        updated,
        ready,
        available,
        images: images(),
    }))
}

fn succeeded_at(facts: &v1::CronJobFacts) -> Time {
    match facts.last_succeeded_at_unix_s {
        0 => Time::MIN,
        at => Time::from_unix_s(at),
    }
}

fn pod(facts: &v1::PodFacts, assessment: &Assessment) -> Pod {
    let life = if assessment.reason == Reason::PendingDeletion {
        Life::Leaving
    } else if assess::pod::is_over(facts) {
        Life::Over
    } else if facts.restart_policy == "Always" {
        Life::Lasting
    } else {
        Life::Passing
    };
    let readiness =
        if assess::pod::is_ready(facts) { Readiness::Ready } else { Readiness::NotReady };
    let trouble = assess::pod::trouble(facts).map(Box::new);
    Pod { restarts: assess::pod::restarts(facts), life, readiness, trouble }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small() {
        assert_eq!(size_of::<Vital>(), 16);
        assert_eq!(size_of::<Ties>(), 40);
    }
}
