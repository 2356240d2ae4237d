//! Entities: every workload has one, its numbers are kubectl's, and nothing is green that is not seen. Pure.
//!
//! The numbers are read from the API server's JSON as kubectl's printers read them, and the restarts are summed over pods by
//! their chain of controllers: neither projection nor graph of ours has a part in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vitals_proto::identity::ObjectKey;
use vitals_proto::kind::Kind;
use vitals_proto::v1::{
    ClusterVerdict, Entity, EntityOrigin, FreshnessState, HealthStatus, WorkloadSummary,
};

use super::held::Held;
use super::live::{Live, LiveObject};
use super::report::{Difference, Found};
use crate::text;

/// Labels and annotations by which an object says where it belongs.
const CLAIMS: [&str; 9] = [
    "vitals.dev/entity",
    "backstage.io/kubernetes-id",
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
];

pub(super) fn compare(live: &Live, held: &Held) -> Vec<Found> {
    let mut found = Vec::new();
    let index = Index::new(live);
    let mut members: BTreeMap<ObjectKey, BTreeSet<&str>> = BTreeMap::new();
    for entity in &held.entities {
        for verdict in entity.clusters.iter().filter(|it| it.cluster == held.seen.name) {
            compare_freshness(entity, verdict, held, &mut found);
            for workload in &verdict.workloads {
                let key = workload.object.as_ref().and_then(|it| ObjectKey::try_from(it).ok());
                let Some(key) = key else { continue };
                members.entry(key.clone()).or_default().insert(&entity.r#ref);
                let held = held.objects.get(&key).and_then(|it| it.facts.as_ref());
                let is_cut = held.is_some_and(|facts| !facts.truncated.is_empty());
                compare_workload(&key, (workload, is_cut), &index, &mut found);
            }
        }
    }
    let nothing = BTreeSet::new();
    for (key, object) in live.objects.iter().filter(|(key, _)| is_workload(key)) {
        let entities = members.get(key).unwrap_or(&nothing);
        compare_membership(key, object, entities, held, &mut found);
    }
    // They have no numbers, or are none that a workload of another kind made, and so may stand among no entity's workloads.
    let others = live
        .objects
        .iter()
        .filter(|(key, _)| matches!(key.kind(), Kind::CronJob | Kind::ReplicationController));
    for (key, object) in others {
        compare_membership(key, object, &said(key, held), held, &mut found);
    }
    found
}

/// The entities that the hub says an object belongs to.
fn said<'a>(key: &ObjectKey, held: &'a Held) -> BTreeSet<&'a str> {
    let held = held.objects.get(key);
    held.map(|held| held.entities.iter().map(String::as_str).collect()).unwrap_or_default()
}

/// Law 7: what is stale is never shown as Healthy.
fn compare_freshness(
    entity: &Entity,
    verdict: &ClusterVerdict,
    held: &Held,
    found: &mut Vec<Found>,
) {
    let (seen, _) = text::freshness(held.seen.freshness.as_ref());
    let is_lost = held.seen.freshness.as_ref().is_some_and(|freshness| match freshness.state() {
        FreshnessState::Fresh | FreshnessState::BlindSpot | FreshnessState::Unspecified => false,
        FreshnessState::Unverified
        | FreshnessState::ApiServerUnreachable
        | FreshnessState::AgentLost
        | FreshnessState::Conflict
        | FreshnessState::HubBlind => true,
    });
    let status = text::status_of(verdict.verdict.as_ref());
    if is_lost && status == HealthStatus::Healthy {
        let difference = Difference {
            subject: format!("{} in {}", entity.r#ref, verdict.cluster),
            aspect: "freshness".to_owned(),
            cluster: format!("not been seen: {seen}"),
            hub: "Healthy".to_owned(),
        };
        found.push(Found::new(difference, seen));
    }
}

/// The numbers of a workload, as kubectl shows them; and its images, unless they may be what was cut to keep it small.
fn compare_workload(
    key: &ObjectKey,
    (said, is_cut): (&WorkloadSummary, bool),
    index: &Index<'_>,
    found: &mut Vec<Found>,
) {
    let Some((object, pods)) = index.workload(key) else {
        let difference = Difference {
            subject: key.to_string(),
            aspect: "presence as a workload".to_owned(),
            cluster: "nothing".to_owned(),
            hub: "it".to_owned(),
        };
        found.push(Found::new(difference, "absent"));
        return;
    };
    let numbers = Numbers::of(key.kind(), object);
    let restarts: i64 = pods.iter().map(|pod| restarts(pod)).sum();
    let images: Vec<&str> = object
        .items("/spec/template/spec/containers")
        .map(|container| container.get("image").and_then(Value::as_str).unwrap_or_default())
        .collect();
    let fingerprint = index.fingerprint(object, &pods);
    for (aspect, cluster, hub) in [
        ("DESIRED", numbers.desired.to_string(), said.desired.to_string()),
        ("READY", numbers.ready.to_string(), said.ready.to_string()),
        ("UP-TO-DATE", numbers.updated.to_string(), said.updated.to_string()),
        ("AVAILABLE", numbers.available.to_string(), said.available.to_string()),
        ("RESTARTS", restarts.to_string(), said.restarts.to_string()),
        ("IMAGES", images.join(","), said.images.join(",")),
    ] {
        if cluster != hub && !(is_cut && aspect == "IMAGES") {
            let (subject, aspect) = (key.to_string(), aspect.to_owned());
            let difference = Difference { subject, aspect, cluster, hub };
            found.push(Found::new(difference, &fingerprint));
        }
    }
}

/// Every workload belongs to an entity; one that claims nothing, where no definition could, to the one derived from it.
fn compare_membership(
    key: &ObjectKey,
    object: &LiveObject,
    entities: &BTreeSet<&str>,
    held: &Held,
    found: &mut Vec<Found>,
) {
    let mut differs = |aspect: &str, cluster: String, hub: String| {
        let (subject, aspect) = (key.to_string(), aspect.to_owned());
        let difference = Difference { subject, aspect, cluster, hub };
        found.push(Found::new(difference, object.resource_version()));
    };
    let said = said(key, held);
    let list = |entities: &BTreeSet<&str>| entities.iter().copied().collect::<Vec<_>>().join(", ");
    if &said != entities {
        differs("entities", format!("(by the entities) {}", list(entities)), list(&said));
    }
    let id = object.text("/metadata/labels/backstage.io~1kubernetes-id");
    if held.is_catalog_empty
        && !id.is_empty()
        && object.text("/metadata/labels/vitals.dev~1entity").is_empty()
    {
        let has_name = |entity: &&str| entity.rsplit('/').next() == Some(&id.to_lowercase());
        if !entities.iter().any(has_name) {
            differs("entity", format!("the label backstage.io/kubernetes-id={id}"), list(entities));
        }
    }
    let is_controlled = object.controller().is_some();
    if entities.is_empty() && !is_controlled {
        return differs(
            "entity",
            "a workload without owner".to_owned(),
            "no entity for it".to_owned(),
        );
    }
    let claims = |pointer: &str| CLAIMS.into_iter().any(|key| object.has_key(pointer, key));
    let is_claimed = claims("/metadata/labels") || claims("/metadata/annotations");
    if held.is_catalog_empty && !is_controlled && !is_claimed {
        let derived = format!("workload:{}/{}", key.namespace(), key.name());
        let is_derived =
            |entity: &Entity| entity.r#ref == derived && entity.origin() == EntityOrigin::Derived;
        if !entities.contains(derived.as_str()) || !held.entities.iter().any(is_derived) {
            differs("entity", format!("nothing that claims it, hence {derived}"), list(entities));
        }
    }
}

fn is_workload(key: &ObjectKey) -> bool {
    matches!(key.kind(), Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet)
}

/// What kubectl shows of a workload.
struct Numbers {
    desired: i64,
    ready: i64,
    updated: i64,
    available: i64,
}

impl Numbers {
    /// As `printDeployment`, `printStatefulSet`, `printDaemonSet`, `printReplicaSet` and `printReplicationController` of `k8s.io/kubernetes/pkg/printers` read them.
    fn of(kind: &Kind, object: &LiveObject) -> Self {
        let status = |field: &str| object.number(&format!("/status/{field}")).unwrap_or_default();
        let replicas = object.number("/spec/replicas").unwrap_or(1);
        match kind {
            Kind::DaemonSet => Self {
                desired: status("desiredNumberScheduled"),
                ready: status("numberReady"),
                updated: status("updatedNumberScheduled"),
                available: status("numberAvailable"),
            },
            // kubectl has no UP-TO-DATE for it: all its replicas are of its one template.
            Kind::ReplicaSet | Kind::ReplicationController => Self {
                desired: replicas,
                ready: status("readyReplicas"),
                updated: status("replicas"),
                available: status("availableReplicas"),
            },
            Kind::Namespace
            | Kind::Node
            | Kind::Deployment
            | Kind::StatefulSet
            | Kind::CronJob
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
            | Kind::Other(_) => Self {
                desired: replicas,
                ready: status("readyReplicas"),
                updated: status("updatedReplicas"),
                available: status("availableReplicas"),
            },
        }
    }
}

/// RESTARTS of a pod, as `printPod` counts them: while it initialises those of the init containers so far, then those of
/// its containers and sidecars.
fn restarts(pod: &LiveObject) -> i64 {
    let count = |status: &Value| status["restartCount"].as_i64().unwrap_or_default();
    let is_sidecar = |status: &Value| {
        let mut containers = pod.items("/spec/initContainers");
        let container = containers.find(|it| it["name"] == status["name"]);
        container.is_some_and(|it| it["restartPolicy"] == "Always")
    };
    let is_past = |status: &Value| {
        let code = status.pointer("/state/terminated/exitCode").and_then(Value::as_i64);
        let has_ended = code == Some(0);
        has_ended || (is_sidecar(status) && status["started"] == true)
    };
    let init: Vec<&Value> = pod.items("/status/initContainerStatuses").collect();
    let current = init.iter().position(|status| !is_past(status));
    let is_initialized = pod
        .items("/status/conditions")
        .any(|it| it["type"] == "Initialized" && it["status"] == "True");
    // The one that runs counts, those behind it do not yet.
    let begun = init.iter().take(current.map_or(init.len(), |current| current + 1));
    if current.is_some() && !is_initialized {
        return begun.map(|status| count(status)).sum();
    }
    let sidecars: i64 = begun.filter(|status| is_sidecar(status)).map(|status| count(status)).sum();
    sidecars + pod.items("/status/containerStatuses").map(count).sum::<i64>()
}

/// Who controls whom.
struct Index<'a> {
    live: &'a Live,
    by_controller: BTreeMap<&'a str, Vec<(&'a ObjectKey, &'a LiveObject)>>,
}

impl<'a> Index<'a> {
    fn new(live: &'a Live) -> Self {
        let mut by_controller: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (key, object) in &live.objects {
            if let Some(controller) = object.controller() {
                by_controller.entry(controller).or_default().push((key, object));
            }
        }
        Self { live, by_controller }
    }

    /// A workload and the pods below it.
    fn workload(&self, key: &ObjectKey) -> Option<(&'a LiveObject, Vec<&'a LiveObject>)> {
        let object = self.live.objects.get(key)?;
        let (mut pods, mut open) = (Vec::new(), vec![object]);
        while let Some(owner) = open.pop() {
            for (key, owned) in self.by_controller.get(owner.uid()).into_iter().flatten() {
                if *key.kind() == Kind::Pod {
                    pods.push(*owned);
                } else {
                    open.push(owned);
                }
            }
        }
        Some((object, pods))
    }

    /// Changes with the workload and with each of its pods.
    fn fingerprint(&self, object: &LiveObject, pods: &[&LiveObject]) -> String {
        let versions = pods.iter().map(|pod| pod.resource_version());
        let mut versions: Vec<&str> = versions.collect();
        versions.sort_unstable();
        format!("{} {}", object.resource_version(), versions.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn restarts_are_those_that_kubectl_shows() {
        let status = |name: &str, restarts: i64, state: Value| json!({"name": name, "restartCount": restarts, "state": state, "started": true});
        let (done, runs) = (json!({"terminated": {"exitCode": 0}}), json!({"running": {}}));
        for (case, init, containers, want) in [
            (
                "containers",
                vec![],
                vec![status("a", 2, runs.clone()), status("b", 3, runs.clone())],
                5,
            ),
            (
                "init is past",
                vec![status("i", 4, done.clone())],
                vec![status("a", 2, runs.clone())],
                2,
            ),
            (
                "a sidecar counts",
                vec![status("i", 4, done.clone()), status("side", 1, runs.clone())],
                vec![status("a", 2, runs.clone())],
                3,
            ),
            (
                "initialising",
                vec![
                    status("side", 1, runs.clone()),
                    status("i", 4, runs.clone()),
                    status("j", 9, json!({})),
                ],
                vec![status("a", 2, json!({"waiting": {}}))],
                5,
            ),
        ] {
            let pod = LiveObject::new(json!({
                "spec": {"initContainers": [{"name": "i"}, {"name": "side", "restartPolicy": "Always"}, {"name": "j"}]},
                "status": {"initContainerStatuses": init, "containerStatuses": containers},
            }));
            assert_eq!(restarts(&pod), want, "{case}");
        }
    }
}
