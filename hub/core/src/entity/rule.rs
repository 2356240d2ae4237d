//! The rules by which an object itself says to which entities it belongs.
//!
//! Explicit claims, of which there may be several: a definition's label selector, the label `backstage.io/kubernetes-id`,
//! the label or annotation `vitals.dev/entity`. Without any, one implicit claim: Argo CD's tracking, Flux' labels,
//! `app.kubernetes.io/instance`, `app.kubernetes.io/name`, the first that is there.
//!
//! A workload that carries nothing itself is taken by the labels of its pod template: what claims the pods claims what makes
//! them. A label `backstage.io/kubernetes-id: shop` that no definition knows names `component:default/shop`. Implicit claims
//! name `component:<namespace of the object>/<value>`, so that teams that use one name stay apart.
//!
//! What is inherited from owners and through Services is [`super::membership`].

use vitals_proto::{
    identity::{EntityRef, ObjectKey},
    kind::Kind,
};

use crate::{
    catalog::Catalog,
    graph::{labels::Labels, object::Object},
};

/// Backstage's label, and annotation of definitions.
pub(crate) const KUBERNETES_ID: &str = "backstage.io/kubernetes-id";
const VITALS_ENTITY: &str = "vitals.dev/entity";
const ARGO_TRACKING: &str = "argocd.argoproj.io/tracking-id";
const ARGO_INSTANCE: &str = "argocd.argoproj.io/instance";
const FLUX: [&str; 2] = ["kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"];
const RECOMMENDED: [&str; 2] = ["app.kubernetes.io/instance", "app.kubernetes.io/name"];
const PART_OF: &str = "app.kubernetes.io/part-of";

/// The annotations of objects that claim.
pub(crate) const ANNOTATIONS_READ: [&str; 2] = [VITALS_ENTITY, ARGO_TRACKING];

/// Why an object belongs to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    LabelSelector,
    KubernetesId,
    VitalsEntity,
    ArgoCd,
    Flux,
    Recommended,
    Owner,
    Selector,
    ScaleTarget,
    Backend,
    Endpoints,
    Event,
    Volume,
    Derived,
}

impl Rule {
    /// By which an object of a kind that stands beside workloads belongs where something else does.
    pub(crate) const fn of_taker(kind: &Kind) -> Self {
        match kind {
            Kind::HorizontalPodAutoscaler => Self::ScaleTarget,
            Kind::Ingress => Self::Backend,
            Kind::EndpointSlice => Self::Endpoints,
            Kind::Event => Self::Event,
            Kind::PersistentVolumeClaim | Kind::PersistentVolume => Self::Volume,
            Kind::Service
            | Kind::PodDisruptionBudget
            | Kind::Namespace
            | Kind::Node
            | Kind::ReplicationController
            | Kind::ResourceQuota
            | Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::CronJob
            | Kind::ReplicaSet
            | Kind::Job
            | Kind::Pod
            | Kind::Other(_) => Self::Selector,
        }
    }

    /// As in `Claim.rule`.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::LabelSelector => "label-selector",
            Self::KubernetesId => "kubernetes-id",
            Self::VitalsEntity => "vitals.dev/entity",
            Self::ArgoCd => "argocd",
            Self::Flux => "flux",
            Self::Recommended => "app.kubernetes.io",
            Self::Owner => "owner",
            Self::Selector => "selector",
            Self::ScaleTarget => "scale-target",
            Self::Backend => "backend",
            Self::Endpoints => "endpoints",
            Self::Event => "event",
            Self::Volume => "volume",
            Self::Derived => "derived",
        }
    }
}

/// A claim that an object makes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnClaim<'a> {
    pub(crate) entity: EntityRef,
    pub(crate) rule: Rule,
    pub(crate) bearer: Bearer,
    pub(crate) why: Why<'a>,
}

/// What the bearer of a claim does. Put into words when somebody asks: claims are made anew at most changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why<'a> {
    /// It matches this selector of the entity.
    Selector(&'a str),
    /// It carries this id, which a definition knows, or none does.
    Id(&'a str),
    UnknownId(&'a str),
    /// It names the entity, in a label or an annotation.
    Entity {
        what: &'static str,
        text: &'a str,
    },
    /// It carries the name of an application.
    Name {
        what: &'static str,
        name: &'static str,
        value: &'a str,
    },
    /// It is a top-level object of this kind.
    TopLevel(&'a str),
}

impl OwnClaim<'_> {
    /// What the bearer does, as in `carries the label …`.
    pub(crate) fn why(&self) -> String {
        let entity = &self.entity;
        match self.why {
            Why::Selector(selector) => {
                format!("carries labels that match `{selector}` of {entity}")
            }
            Why::Id(id) => format!("carries the label {KUBERNETES_ID}: {id}"),
            Why::UnknownId(id) => {
                format!("carries the label {KUBERNETES_ID}: {id}, which no definition knows")
            }
            Why::Entity { what, text } => format!("carries the {what} {VITALS_ENTITY}: {text}"),
            Why::Name { what, name, value } => format!("carries the {what} {name} for {value}"),
            Why::TopLevel(kind) => format!(
                "is a top-level {kind} that nothing claims, so that the entity is named after it"
            ),
        }
    }
}

/// What carries the labels that claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// The object.
    Itself,
    /// Its pod template.
    Template,
}

/// What an object is marked with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks<'a> {
    pub(crate) key: &'a ObjectKey,
    pub(crate) labels: &'a Labels,
    pub(crate) annotations: Option<&'a Labels>,
    pub(crate) bearer: Bearer,
}

impl<'a> Marks<'a> {
    /// Its own, then those of its template.
    fn of(object: &'a Object) -> impl Iterator<Item = Self> {
        let Object { key, labels, annotations, template, .. } = object;
        let own = Self { key, labels, annotations: Some(annotations), bearer: Bearer::Itself };
        let template = (!template.is_empty()).then_some(Self {
            key,
            labels: template,
            annotations: None,
            bearer: Bearer::Template,
        });
        std::iter::once(own).chain(template)
    }

    fn annotation(&self, key: &str) -> Option<&'a str> {
        self.annotations.and_then(|annotations| annotations.name(key))
    }
}

/// The explicit claims of an object, ordered by entity, each entity once.
pub(crate) fn explicit<'a>(object: &'a Object, catalog: &'a Catalog) -> Vec<OwnClaim<'a>> {
    let mut all = Marks::of(object).map(|marks| explicit_by(marks, catalog));
    all.find(|claims| !claims.is_empty()).unwrap_or_default()
}

/// The explicit claims by some marks.
pub(crate) fn explicit_by<'a>(marks: Marks<'a>, catalog: &'a Catalog) -> Vec<OwnClaim<'a>> {
    let Marks { key, labels, bearer, .. } = marks;
    let mut claims: Vec<OwnClaim<'a>> = Vec::new();
    let id = labels.name(KUBERNETES_ID);
    for definition in catalog.claiming(key, labels) {
        let entity = definition.entity.clone();
        let (rule, why) = if definition.selects() {
            (Rule::LabelSelector, Why::Selector(&definition.wire.kubernetes_label_selector))
        } else {
            (Rule::KubernetesId, Why::Id(id.unwrap_or_default()))
        };
        claims.push(OwnClaim { entity, rule, bearer, why });
    }
    let known = claims.iter().any(|claim| claim.rule == Rule::KubernetesId);
    if let Some(id) = id.filter(|_| !known)
        && let Ok(entity) = EntityRef::new("component", "default", id)
        && catalog.get(&entity).is_none()
    {
        let why = Why::UnknownId(id);
        claims.push(OwnClaim { entity, rule: Rule::KubernetesId, bearer, why });
    }
    let label = labels.name(VITALS_ENTITY).map(|text| ("label", text));
    let annotation = marks.annotation(VITALS_ENTITY).map(|text| ("annotation", text));
    for (what, text) in label.into_iter().chain(annotation) {
        if let Ok(entity) = text.parse() {
            let why = Why::Entity { what, text };
            claims.push(OwnClaim { entity, rule: Rule::VitalsEntity, bearer, why });
        }
    }
    claims.sort_by(|a, b| (&a.entity, a.rule).cmp(&(&b.entity, b.rule)));
    claims.dedup_by(|a, b| a.entity == b.entity);
    claims
}

/// The one implicit claim of an object.
pub(crate) fn implicit<'a>(object: &'a Object, catalog: &Catalog) -> Option<OwnClaim<'a>> {
    Marks::of(object).find_map(|marks| implicit_by(marks, catalog))
}

/// The one implicit claim by some marks. Objects without a namespace make none: nothing would keep teams apart.
pub(crate) fn implicit_by<'a>(marks: Marks<'a>, catalog: &Catalog) -> Option<OwnClaim<'a>> {
    let Marks { key, labels, bearer, .. } = marks;
    let tracking = marks.annotation(ARGO_TRACKING);
    let argo = tracking.and_then(tracked_application).map(|app| (Rule::ArgoCd, ARGO_TRACKING, app));
    let label = |rule: Rule, name: &'static str| labels.name(name).map(|value| (rule, name, value));
    let labelled = std::iter::once((Rule::ArgoCd, ARGO_INSTANCE))
        .chain(FLUX.map(|name| (Rule::Flux, name)))
        .chain(RECOMMENDED.map(|name| (Rule::Recommended, name)));
    argo.into_iter().chain(labelled.filter_map(|(rule, name)| label(rule, name))).find_map(
        |(rule, name, value)| {
            let entity = EntityRef::new("component", key.namespace(), value).ok()?;
            let what = if name == ARGO_TRACKING { "annotation" } else { "label" };
            let why = Why::Name { what, name, value };
            catalog.admits(&entity, key).then_some(OwnClaim { entity, rule, bearer, why })
        },
    )
}

/// `[<namespace>_]<application>:<group>/<kind>:<namespace>/<name>`.
fn tracked_application(tracking: &str) -> Option<&str> {
    let (application, _) = tracking.split_once(':')?;
    let name = application.split_once('_').map_or(application, |(_, name)| name);
    (!name.is_empty()).then_some(name)
}

/// The system that an object names: `system:<namespace>/<value of app.kubernetes.io/part-of>`.
pub(crate) fn system(object: &Object) -> Option<EntityRef> {
    let value = object.labels.name(PART_OF).or_else(|| object.template.name(PART_OF))?;
    EntityRef::new("system", object.key.namespace(), value).ok()
}
