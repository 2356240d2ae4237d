//! Jobs, CronJobs, autoscalers, claims, volumes, budgets, quotas, ReplicationControllers, Events, Ingresses and EndpointSlices on a real API server: they hang where they belong, count for what
//! they are, change and go; and where an agent may not read them, those entities say so that have some, and no others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::{Api, Client};
use serde_json::{Value, json};
use vitals_proto::{
    kind::Kind,
    v1::{
        Entity, FreshnessState, GetEntityTreeRequest, HealthStatus, HeldObjectState, ObjectFilter,
        ObjectRef, Severity, TreeNode, facts, get_entity_tree_request::Root,
    },
};
use vitals_tests::{
    Cluster, Nats,
    cluster::{Options, may_read},
    cluster_test,
    fleet::{Fleet, SOON},
    objects, pod_status, wait_for,
};

/// Those that this is about, but for Events, which matter to no verdict.
const KINDS: [Kind; 10] = [
    Kind::CronJob,
    Kind::Job,
    Kind::PersistentVolumeClaim,
    Kind::Ingress,
    Kind::HorizontalPodAutoscaler,
    Kind::PodDisruptionBudget,
    Kind::EndpointSlice,
    Kind::PersistentVolume,
    Kind::ResourceQuota,
    Kind::ReplicationController,
];

/// One entity with a route, a scale and a budget, one with a volume, one with a schedule; and one with none of them.
const MANIFESTS: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: main, image: 'registry.test/app:1'}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: plain}
spec:
  replicas: 1
  selector: {matchLabels: {app: plain}}
  template:
    metadata: {labels: {app: plain}}
    spec: {containers: [{name: main, image: 'registry.test/app:1'}]}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: legacy}
spec:
  replicas: 1
  template:
    metadata: {labels: {app: legacy}}
    spec: {containers: [{name: main, image: 'registry.test/app:1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: shop}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
  - host: shop.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  minReplicas: 2
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: shop}
spec: {maxUnavailable: 1, selector: {matchExpressions: [{key: app, operator: In, values: [shop]}]}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: compute, annotations: {vitals.dev/entity: 'component:default/platform'}}
spec: {hard: {pods: 20, services: 10}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAMESPACE}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ''
  hostPath: {path: /nowhere}
  claimRef: {namespace: NAMESPACE, name: data-db-0}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: main, image: 'registry.test/db:1', volumeMounts: [{name: data, mountPath: /data}]}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1Gi}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: 0 0 29 2 *
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        metadata: {labels: {app: nightly}, annotations: {testbed.vitals.dev/pinned: ''}}
        spec: {restartPolicy: Never, containers: [{name: main, image: 'registry.test/report:1'}]}
";

/// Nobody measures anything here: two minutes later the controller's view of that would count.
const NO_AUTOSCALING: &str = "--controllers=*,-horizontal-pod-autoscaler-controller";

/// A cluster with a namespace with all of it.
struct Home {
    cluster: Cluster,
    client: Client,
    namespace: String,
}

impl Home {
    async fn build(name: &str) -> Result<Self> {
        let controller_manager_flags = vec![NO_AUTOSCALING.to_owned()];
        let options = Options { nodes: 1, controller_manager_flags, ..Options::default() };
        let cluster = Box::pin(Cluster::start_with(name, options)).await?;
        let client = cluster.client().await?;
        let namespace = objects::namespace(&client, name).await?;
        let home = Self { cluster, client, namespace };
        let manifests = MANIFESTS.replace("NAMESPACE", &home.namespace);
        objects::apply(&home.client, &home.namespace, &manifests).await?;
        let able = json!({ "type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale" });
        let scaled = json!({ "currentReplicas": 2, "desiredReplicas": 2, "conditions": [able] });
        home.status("hpa", "shop", scaled).await?;
        let address = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
        home.status("ingress", "shop", address).await?;
        Ok(home)
    }

    /// The entity derived from a workload.
    fn entity(&self, name: &str) -> String {
        format!("workload:{}/{name}", self.namespace)
    }

    async fn kubectl(&self, args: &[&str]) -> Result<()> {
        let ran = self.cluster.kubectl(&[&["-n", &self.namespace][..], args].concat()).await?;
        ensure!(ran.status.success(), "kubectl {args:?}: {}", ran.stderr);
        Ok(())
    }

    async fn status(&self, kind: &str, name: &str, status: Value) -> Result<()> {
        let patch = json!({ "status": status }).to_string();
        let of_status = ["--type=merge", "--subresource=status", "-p", &patch];
        self.kubectl(&[&["patch", kind, name][..], &of_status].concat()).await
    }

    async fn patch(&self, kind: &str, name: &str, patch: Value) -> Result<()> {
        self.kubectl(&["patch", kind, name, "--type=merge", "-p", &patch.to_string()]).await
    }

    /// Runs the schedule once by hand, and lets its pod end so.
    async fn run(&self, name: &str, phase: &str) -> Result<()> {
        self.kubectl(&["create", "job", name, "--from=cronjob/nightly"]).await?;
        let selector = format!("batch.kubernetes.io/job-name={name}");
        let pod = wait_for(&format!("a pod of {name}"), SOON, async || {
            let mut pods = objects::pods(&self.client, &self.namespace, &selector).await?;
            pods.retain(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
            Ok(pods.pop().and_then(|pod| pod.metadata.name))
        })
        .await?;
        let status = json!({ "phase": phase });
        objects::write_pod_status(&self.client, &self.namespace, &pod, status).await?;
        Ok(())
    }

    async fn wait_edges(&self, fleet: &Fleet, entity: &str, wanted: &[&str]) -> Result<()> {
        let hub = fleet.hub()?;
        wait_for(&format!("the tree of {entity}"), SOON, async || {
            let request = GetEntityTreeRequest { root: Some(Root::Ref(self.entity(entity))) };
            let tree = hub.entities().get_entity_tree(request).await?.into_inner();
            let mut edges = BTreeSet::new();
            tree.roots.iter().for_each(|root| collect(root, &mut edges));
            let missing: Vec<_> = wanted.iter().filter(|it| !edges.contains(**it)).collect();
            ensure!(missing.is_empty(), "{missing:?} are not among {edges:#?}");
            Ok(Some(()))
        })
        .await
    }

    /// Somebody warns of an object.
    async fn warn(&self, event: &str, about: [&str; 3], count: u32) -> Result<()> {
        let [api_version, kind, name] = about;
        let namespace = &self.namespace;
        let at = "2026-01-02T03:04:05Z";
        let event = json!({
            "metadata": { "name": event },
            "type": if count == 0 { "Normal" } else { "Warning" },
            "involvedObject": { "apiVersion": api_version, "kind": kind, "namespace": namespace, "name": name },
            "reason": "FailedCreate", "message": "Error creating: no", "count": count,
            "firstTimestamp": at, "lastTimestamp": at,
        });
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        objects::create(&events, event).await?;
        Ok(())
    }

    /// Waits until so much is told of an object; nothing, where it is 0. Gives whose it is.
    async fn wait_told(&self, fleet: &Fleet, fold: &str, count: u32) -> Result<Vec<String>> {
        let hub = fleet.hub()?;
        wait_for(&format!("{fold} to be told {count} times"), SOON, async || {
            let filter = ObjectFilter {
                kinds: vec![Kind::Event.to_string()],
                namespaces: vec![self.namespace.clone()],
                ..ObjectFilter::default()
            };
            let held = hub.list_objects(filter).await?;
            let named = |it: &HeldObjectState| it.object.as_ref().is_some_and(|it| it.name == fold);
            let held = held.into_iter().find(named).unwrap_or_default();
            let told = match held.facts.and_then(|facts| facts.kind) {
                Some(facts::Kind::Event(facts)) => facts.reasons.iter().map(|it| it.count).sum(),
                _ => 0,
            };
            ensure!(told == count, "{told} times");
            Ok(Some(held.entities))
        })
        .await
    }

    async fn objects_of_the_cluster_lead_to_theirs(&self, fleet: &Fleet) -> Result<()> {
        let hub = fleet.hub()?;
        let object = |kind: Kind, namespace: &str, name: &str| ObjectRef {
            cluster: self.cluster.name().to_owned(),
            kind: kind.to_string(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let namespace = &self.namespace;
        let quota = object(Kind::ResourceQuota, namespace, "compute");
        let runs = "nodes node-0 runs pods";
        for (of, edge) in [
            (object(Kind::Node, "", "node-0"), runs),
            (object(Kind::Namespace, "", namespace), "is limited by resourcequotas compute"),
            (quota, &*format!("limits namespaces {namespace}")),
        ] {
            let request = GetEntityTreeRequest { root: Some(Root::Object(of)) };
            let tree = hub.entities().get_entity_tree(request).await?.into_inner();
            let mut edges = BTreeSet::new();
            tree.roots.iter().for_each(|root| collect(root, &mut edges));
            ensure!(edges.iter().any(|it| it.ends_with(edge)), "{edge} is not in {edges:?}");
        }
        Ok(())
    }

    async fn wait_status(
        &self,
        fleet: &Fleet,
        name: &str,
        status: HealthStatus,
        reason: &str,
    ) -> Result<Entity> {
        let is_so = |entity: &Entity| {
            let verdict = entity.verdict.clone().unwrap_or_default();
            (verdict.status(), verdict.reason.as_str()) == (status, reason)
        };
        fleet.wait_entity(&self.entity(name), is_so).await
    }

    async fn all_healthy(&self, fleet: &Fleet) -> Result<()> {
        for name in ["shop", "plain", "legacy", "db", "nightly"] {
            self.wait_status(fleet, name, HealthStatus::Healthy, "").await?;
        }
        Ok(())
    }
}

/// `kind name edge kind name`, names that controllers make up left out.
fn collect(node: &TreeNode, edges: &mut BTreeSet<String>) {
    let name = |node: &TreeNode| {
        let object = node.object.clone().unwrap_or_default();
        let is_made_up = [Kind::Pod, Kind::EndpointSlice].map(|kind| kind.resource().to_owned());
        if is_made_up.contains(&object.kind) {
            object.kind
        } else {
            format!("{} {}", object.kind, object.name)
        }
    };
    for child in &node.children {
        edges.insert(format!("{} {} {}", name(node), child.edge, name(child)));
        collect(child, edges);
    }
}

#[test]
fn each_kind_hangs_where_it_belongs_changes_and_goes() {
    cluster_test(Box::pin(async {
        let home = Home::build("kinds").await?;
        let fleet = Fleet::start(&[&home.cluster]).await?;
        home.all_healthy(&fleet).await?;
        let shop = [
            "horizontalpodautoscalers.autoscaling shop scales deployments.apps shop",
            "poddisruptionbudgets.policy shop selects deployments.apps shop",
            "ingresses.networking.k8s.io shop routes to services web",
            "services web selects deployments.apps shop",
            "services web owns endpointslices.discovery.k8s.io",
            "endpointslices.discovery.k8s.io routes to pods",
            "pods runs on nodes node-0",
        ];
        home.wait_edges(&fleet, "shop", &shop).await?;
        let bound = format!(
            "persistentvolumeclaims data-db-0 is bound to persistentvolumes {}",
            home.namespace
        );
        let db = ["pods mounts persistentvolumeclaims data-db-0", &bound];
        home.wait_edges(&fleet, "db", &db).await?;
        home.wait_edges(&fleet, "legacy", &["replicationcontrollers legacy owns pods"]).await?;
        home.objects_of_the_cluster_lead_to_theirs(&fleet).await?;
        fleet.assert_true_in(&home.cluster, &[&home.namespace]).await?;

        runs_count(&home, &fleet).await?;
        routes_count(&home, &fleet).await?;
        warnings_are_told(&home, &fleet).await?;
        changes(&home).await?;
        fleet.assert_true(&home.cluster).await?;
        let is_said = |entity: &Entity| {
            let verdict = entity.verdict.clone().unwrap_or_default();
            verdict.message.ends_with(": suspended")
        };
        let suspended = fleet.wait_entity(&home.entity("nightly"), is_said).await?;
        ensure!(suspended.verdict.unwrap_or_default().status() == HealthStatus::Healthy);

        // Else its controller would make them anew.
        home.kubectl(&["delete", "service", "--all", "--wait"]).await?;
        for kind in KINDS {
            if !matches!(kind, Kind::PersistentVolumeClaim | Kind::PersistentVolume) {
                home.kubectl(&["delete", kind.resource(), "--all", "--wait"]).await?;
            }
        }
        home.kubectl(&["delete", "statefulset", "db", "--wait"]).await?;
        home.kubectl(&["delete", "pvc", "--all", "--wait"]).await?;
        home.kubectl(&["delete", "pv", "--all", "--wait"]).await?;
        wait_for("none of the kinds to be held", SOON, async || {
            let namespaces = vec![home.namespace.clone(), String::new()];
            let filter = ObjectFilter { namespaces, ..ObjectFilter::default() };
            let mut held = fleet.hub()?.list_objects(filter).await?;
            held.retain(|it| {
                let kind = it.object.as_ref().map(|it| Kind::from_resource(&it.kind));
                kind.is_some_and(|kind| KINDS.contains(&kind))
            });
            ensure!(held.is_empty(), "{} are held, as {:?}", held.len(), held[0].object);
            Ok(Some(()))
        })
        .await?;
        fleet.assert_true(&home.cluster).await
    }));
}

/// A run that failed counts until a later one succeeded.
async fn runs_count(home: &Home, fleet: &Fleet) -> Result<()> {
    home.run("nightly-1", "Failed").await?;
    let (degraded, gave_up) = (HealthStatus::Degraded, "BackoffLimitExceeded");
    let entity = home.wait_status(fleet, "nightly", degraded, gave_up).await?;
    let verdict = entity.verdict.unwrap_or_default();
    ensure!(verdict.severity() == Severity::Warning, "{verdict:?}");
    ensure!(verdict.cause.last().is_some_and(|it| it.name == "nightly-1"), "{verdict:?}");
    let edges =
        ["cronjobs.batch nightly owns jobs.batch nightly-1", "jobs.batch nightly-1 owns pods"];
    home.wait_edges(fleet, "nightly", &edges).await?;
    fleet.assert_true_in(&home.cluster, &[&home.namespace]).await?;
    home.run("nightly-2", "Succeeded").await?;
    home.wait_status(fleet, "nightly", HealthStatus::Healthy, "").await?;
    Ok(())
}

/// An Ingress to a Service that goes is a warning until the Service is back.
async fn routes_count(home: &Home, fleet: &Fleet) -> Result<()> {
    // So that it does not go with what it routes to.
    home.kubectl(&["annotate", "ingress", "shop", "vitals.dev/entity=component:default/front"])
        .await?;
    home.kubectl(&["delete", "service", "web"]).await?;
    let is_missing = |entity: &Entity| {
        let verdict = entity.verdict.clone().unwrap_or_default();
        verdict.reason == "BackendMissing" && verdict.severity() == Severity::Warning
    };
    fleet.wait_entity("component:default/front", is_missing).await?;
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: shop}, ports: [{port: 80}]}}";
    objects::apply(&home.client, &home.namespace, service).await?;
    home.kubectl(&["annotate", "ingress", "shop", "vitals.dev/entity-"]).await?;
    home.wait_status(fleet, "shop", HealthStatus::Healthy, "").await?;
    home.wait_edges(fleet, "shop", &["ingresses.networking.k8s.io shop routes to services web"])
        .await
}

/// What is told of one object is one, of whatever kind that is, as long as anything is.
async fn warnings_are_told(home: &Home, fleet: &Fleet) -> Result<()> {
    let (plain, widget) = (["apps/v1", "Deployment", "plain"], ["example.org/v1", "Widget", "x"]);
    for (event, about, count) in
        [("one", plain, 3), ("two", plain, 4), ("usual", plain, 0), ("other", widget, 1)]
    {
        home.warn(event, about, count).await?;
    }
    let entities = home.wait_told(fleet, "deployment.apps_plain", 7).await?;
    ensure!(entities == [home.entity("plain")], "{entities:?}");
    let entities = home.wait_told(fleet, "widget.example.org_x", 1).await?;
    ensure!(entities.is_empty(), "{entities:?}");
    let edge = "deployments.apps plain warned by events deployment.apps_plain";
    home.wait_edges(fleet, "plain", &[edge]).await?;
    home.wait_status(fleet, "plain", HealthStatus::Healthy, "").await?;
    fleet.assert_true(&home.cluster).await?;
    home.patch("event", "one", json!({ "count": 10 })).await?;
    home.wait_told(fleet, "deployment.apps_plain", 14).await?;
    home.kubectl(&["delete", "event", "one", "other"]).await?;
    home.wait_told(fleet, "deployment.apps_plain", 4).await?;
    home.wait_told(fleet, "widget.example.org_x", 0).await?;
    fleet.assert_true(&home.cluster).await?;
    home.kubectl(&["delete", "event", "two"]).await?;
    home.wait_told(fleet, "deployment.apps_plain", 0).await?;
    fleet.assert_true(&home.cluster).await
}

/// Something of each.
async fn changes(home: &Home) -> Result<()> {
    // Its Service gets another endpoint.
    home.patch("deployment", "shop", json!({ "spec": { "replicas": 3 } })).await?;
    home.patch("rc", "legacy", json!({ "spec": { "replicas": 2 } })).await?;
    home.patch("quota", "compute", json!({ "spec": { "hard": { "pods": "15" } } })).await?;
    home.patch("hpa", "shop", json!({ "spec": { "maxReplicas": 7 } })).await?;
    home.patch("pdb", "shop", json!({ "spec": { "maxUnavailable": "50%" } })).await?;
    home.patch("ingress", "shop", json!({ "spec": { "ingressClassName": "other" } })).await?;
    home.patch("cronjob", "nightly", json!({ "spec": { "suspend": true } })).await?;
    let labelled = json!({ "metadata": { "labels": { "tier": "data" } } });
    home.patch("pv", &home.namespace, labelled).await?;
    home.patch("pvc", "data-db-0", json!({ "metadata": { "labels": { "tier": "data" } } })).await?;
    home.patch("job", "nightly-1", json!({ "metadata": { "labels": { "seen": "yes" } } })).await
}

#[test]
fn what_an_agent_may_not_read_is_a_blind_spot_where_it_matters() {
    cluster_test(Box::pin(async {
        let home = Home::build("unread").await?;
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        fleet.start_agent("all", &home.cluster, &["--lease", "off"]).await?;
        fleet.wait_fresh(home.cluster.name()).await?;
        home.all_healthy(&fleet).await?;
        fleet.agent("all")?.kill().await?;

        let mut may = Kind::KNOWN.to_vec();
        may.retain(|kind| !KINDS.contains(kind) && *kind != Kind::Event);
        let name = format!("{}-few", home.namespace);
        let user = home.cluster.user(&name, &may_read(&may)).await?;
        let kubeconfig = user.kubeconfig().to_str().context("a path in UTF-8")?.to_owned();
        let flags = ["--kubeconfig", &kubeconfig, "--lease", "off"];
        fleet.start_agent("few", &home.cluster, &flags).await?;
        fleet.wait_seen(home.cluster.name(), FreshnessState::BlindSpot).await?;
        let (unknown, blind) = (HealthStatus::Unknown, "BlindSpot");
        // Of all the entities that could be refused by it only the one that claims it.
        let is_blind = |entity: &Entity| {
            let verdict = entity.verdict.clone().unwrap_or_default();
            verdict.reason == "BlindSpot"
        };
        fleet.wait_entity("component:default/platform", is_blind).await?;
        let mut blind_spots = vec!["shop", "legacy", "db", "nightly"];
        let mut seen = vec!["plain"];
        for (granted, now_seen) in [
            (vec![], None),
            (vec![Kind::HorizontalPodAutoscaler, Kind::PodDisruptionBudget], None),
            (vec![Kind::Ingress], None),
            (vec![Kind::EndpointSlice], Some("shop")),
            (vec![Kind::ReplicationController], Some("legacy")),
            (vec![Kind::PersistentVolumeClaim], None),
            (vec![Kind::PersistentVolume], Some("db")),
            (vec![Kind::ResourceQuota], None),
            (vec![Kind::CronJob], None),
            (vec![Kind::Job], Some("nightly")),
        ] {
            blind_spots.retain(|it| Some(*it) != now_seen);
            seen.extend(now_seen);
            may.extend(granted);
            home.cluster.set_rules(&name, &may_read(&may)).await?;
            for name in &seen {
                home.wait_status(&fleet, name, HealthStatus::Healthy, "").await?;
            }
            for name in &blind_spots {
                home.wait_status(&fleet, name, unknown, blind).await?;
            }
        }
        fleet.wait_entity("component:default/platform", |entity| !is_blind(entity)).await?;

        // What Events could tell is missed where something is bad, and changes no verdict.
        let pods = objects::pods(&home.client, &home.namespace, "app=plain").await?;
        let pod = pods.first().and_then(|pod| pod.metadata.name.clone()).context("a pod")?;
        let status = pod_status::crash_loop_back_off(3);
        objects::write_pod_status(&home.client, &home.namespace, &pod, status).await?;
        let misses = |entity: &Entity| {
            let verdict = entity.verdict.clone().unwrap_or_default();
            let is_missed = verdict.evidence.iter().any(|it| it.starts_with("events are not seen"));
            (verdict.status() == HealthStatus::Degraded).then_some(is_missed)
        };
        let plain = home.entity("plain");
        fleet.wait_entity(&plain, |entity| misses(entity) == Some(true)).await?;
        fleet.wait_seen(home.cluster.name(), FreshnessState::BlindSpot).await?;
        may.push(Kind::Event);
        home.cluster.set_rules(&name, &may_read(&may)).await?;
        fleet.wait_entity(&plain, |entity| misses(entity) == Some(false)).await?;
        fleet.wait_fresh(home.cluster.name()).await?;
        fleet.assert_true_in(&home.cluster, &[&home.namespace]).await
    }));
}
