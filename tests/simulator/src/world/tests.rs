//! Controllers on a clock that is moved by hand.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::write::{Deletion, Part};
use super::{Options, World, later, seconds_later};
use crate::behaviour::ANNOTATION;
use crate::patch::PatchKind;
use crate::resource::{
    CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, NODES, PODS, ResourceId, SERVICES, SLICES,
    STATEFUL_SETS,
};
use crate::store::Key;
use crate::value::{condition, is_true, items, number, text};

/// A world and its time.
struct Scene {
    world: World,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let options = Options {
            start_delay: Duration::from_secs(1),
            stop_delay: Duration::from_secs(1),
            ..Options::default()
        };
        Self { world: World::new(options, now), now }
    }

    fn run(&mut self, seconds: i64) {
        let end = seconds_later(self.now, seconds);
        while let Some(at) = self.world.step(self.now).filter(|at| *at <= end) {
            self.now = self.now.max(at);
        }
        self.now = end;
    }

    fn create(&mut self, resource: ResourceId, object: Value) -> Key {
        let resource = self.world.registry.get(resource).cloned().unwrap();
        let namespace = if resource.namespaced { "default" } else { "" };
        let entry = self.world.create(&resource, namespace, object, self.now).unwrap();
        entry.key().clone()
    }

    fn patch(&mut self, resource: ResourceId, key: &Key, patch: Value) {
        let resource = self.world.registry.get(resource).cloned().unwrap();
        let patch = (PatchKind::Merge, &patch);
        self.world.patch(&resource, key, patch, Part::Main, self.now).unwrap();
    }

    fn delete(&mut self, resource: ResourceId, key: &Key) {
        let resource = self.world.registry.get(resource).cloned().unwrap();
        self.world.delete(&resource, key, &Deletion::default(), self.now).unwrap();
    }

    fn read(&self, resource: ResourceId, key: &Key) -> Value {
        self.world.store.read(resource, key).unwrap()
    }

    fn pods(&self) -> Vec<Value> {
        self.world.store.scan(PODS, Some("default")).map(|it| it.value()).collect()
    }

    fn names(&self) -> Vec<String> {
        self.pods().iter().map(|pod| text(pod, "/metadata/name").to_owned()).collect()
    }
}

fn workload(name: &str, replicas: i64, told: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name }, "annotations": { ANNOTATION: told } },
                "spec": { "containers": [{ "name": "main", "image": "registry.test/app:1" }] },
            },
        },
    })
}

fn told(told: &str) -> Value {
    json!({ "spec": { "template": { "metadata": { "annotations": { ANNOTATION: told } } } } })
}

fn count(object: &Value, field: &str) -> i64 {
    number(object, &format!("/status/{field}")).unwrap_or_default()
}

#[test]
fn a_rollout_ends_or_is_late() {
    let mut scene = Scene::new();
    let key = scene.create(DEPLOYMENTS, workload("web", 4, "run"));
    scene.run(10);
    let web = scene.read(DEPLOYMENTS, &key);
    assert_eq!((count(&web, "availableReplicas"), count(&web, "updatedReplicas")), (4, 4));
    assert_eq!(text(condition(&web, "Progressing").unwrap(), "/reason"), "NewReplicaSetAvailable");
    assert!(is_true(&web, "Available"));

    scene.patch(DEPLOYMENTS, &key, told("image-pull-error"));
    scene.run(30);
    let web = scene.read(DEPLOYMENTS, &key);
    assert_eq!(
        (count(&web, "updatedReplicas"), count(&web, "availableReplicas")),
        (2, 3),
        "it stops"
    );
    assert_eq!(text(condition(&web, "Progressing").unwrap(), "/reason"), "ReplicaSetUpdated");
    scene.run(600);
    let web = scene.read(DEPLOYMENTS, &key);
    assert_eq!(
        text(condition(&web, "Progressing").unwrap(), "/reason"),
        "ProgressDeadlineExceeded"
    );
    assert!(is_true(&web, "Available"), "the old pods serve");

    scene.patch(DEPLOYMENTS, &key, told("run"));
    scene.run(30);
    let web = scene.read(DEPLOYMENTS, &key);
    assert_eq!((count(&web, "availableReplicas"), count(&web, "replicas")), (4, 4));
    assert_eq!(text(condition(&web, "Progressing").unwrap(), "/reason"), "NewReplicaSetAvailable");
    assert_eq!(scene.pods().len(), 4);
    assert_eq!(count(&web, "observedGeneration"), 3);
}

#[test]
fn a_paused_rollout_waits_and_goes_on() {
    let mut scene = Scene::new();
    let key = scene.create(DEPLOYMENTS, workload("web", 3, "run"));
    scene.run(10);
    scene.patch(DEPLOYMENTS, &key, json!({ "spec": { "paused": true } }));
    scene.patch(DEPLOYMENTS, &key, told("run ready-after=1s"));
    scene.run(10);
    let reason = |scene: &Scene| {
        let web = scene.read(DEPLOYMENTS, &key);
        text(condition(&web, "Progressing").unwrap(), "/reason").to_owned()
    };
    let web = scene.read(DEPLOYMENTS, &key);
    assert_eq!((count(&web, "updatedReplicas"), count(&web, "availableReplicas")), (0, 3));
    assert_eq!(reason(&scene), "DeploymentPaused");
    scene.patch(DEPLOYMENTS, &key, json!({ "spec": { "replicas": 5 } }));
    scene.run(10);
    assert_eq!(scene.pods().len(), 5, "it is scaled all the same");
    scene.patch(DEPLOYMENTS, &key, json!({ "spec": { "paused": false } }));
    scene.run(30);
    assert_eq!(count(&scene.read(DEPLOYMENTS, &key), "updatedReplicas"), 5);
    assert_eq!(reason(&scene), "NewReplicaSetAvailable");
}

#[test]
fn a_rollout_never_leaves_its_limits() {
    let mut scene = Scene::new();
    let key = scene.create(DEPLOYMENTS, workload("web", 8, "run ready-after=2s"));
    scene.run(20);
    scene.patch(DEPLOYMENTS, &key, told("run ready-after=3s"));
    let end = later(scene.now, Duration::from_secs(60));
    while let Some(at) = scene.world.step(scene.now).filter(|at| *at <= end) {
        scene.now = scene.now.max(at);
        let pods = scene.pods();
        let active = pods.iter().filter(|it| text(it, "/metadata/deletionTimestamp").is_empty());
        let ready = pods.iter().filter(|it| is_true(it, "Ready")).count();
        assert!(active.count() <= 10 && ready >= 6, "{ready} ready of {}", pods.len());
    }
    assert_eq!(count(&scene.read(DEPLOYMENTS, &key), "updatedReplicas"), 8);
}

#[test]
fn equal_calls_lead_to_equal_bytes() {
    let live = || {
        let mut scene = Scene::new();
        let key = scene.create(DEPLOYMENTS, workload("web", 3, "crash after=2s"));
        scene.create(STATEFUL_SETS, workload("db", 2, "run"));
        scene.run(45);
        scene.patch(DEPLOYMENTS, &key, told("run"));
        scene.run(45);
        let resources: Vec<_> = scene.world.registry.all().map(|it| it.id).collect();
        let all = resources.into_iter().flat_map(|id| scene.world.store.scan(id, None));
        all.flat_map(|it| it.body().to_vec()).collect::<Vec<u8>>()
    };
    let first = live();
    assert!(first.len() > 10_000);
    assert_eq!(first, live());
}

#[test]
fn numbered_pods_come_and_go_in_order() {
    let mut scene = Scene::new();
    let mut db = workload("db", 3, "run ready-after=5s");
    db["spec"]["volumeClaimTemplates"] = json!([{
        "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    }]);
    let key = scene.create(STATEFUL_SETS, db);
    scene.run(3);
    assert_eq!(scene.names(), ["db-0"]);
    scene.run(30);
    assert_eq!(scene.names(), ["db-0", "db-1", "db-2"]);
    let claims = scene.world.store.scan(crate::resource::CLAIMS, None).map(|it| it.value());
    assert!(claims.map(|it| text(&it, "/status/phase").to_owned()).all(|it| it == "Bound"));
    let before = scene.read(STATEFUL_SETS, &key);
    scene.patch(STATEFUL_SETS, &key, told("run"));
    scene.run(4);
    let during = scene.read(STATEFUL_SETS, &key);
    assert_ne!(text(&during, "/status/currentRevision"), text(&during, "/status/updateRevision"));
    scene.run(40);
    let after = scene.read(STATEFUL_SETS, &key);
    assert_eq!(text(&after, "/status/currentRevision"), text(&during, "/status/updateRevision"));
    assert_ne!(text(&after, "/status/currentRevision"), text(&before, "/status/currentRevision"));
    scene.patch(STATEFUL_SETS, &key, json!({ "spec": { "replicas": 1 } }));
    scene.run(20);
    assert_eq!(scene.names(), ["db-0"]);
}

#[test]
fn each_node_has_its_daemon() {
    let mut scene = Scene::new();
    let mut shipper = workload("shipper", 0, "run");
    shipper["spec"].as_object_mut().unwrap().remove("replicas");
    let key = scene.create(DAEMON_SETS, shipper);
    scene.run(10);
    scene.create(NODES, json!({ "metadata": { "name": "node-9" } }));
    scene.run(10);
    let nodes: BTreeSet<_> =
        scene.pods().iter().map(|it| text(it, "/spec/nodeName").to_owned()).collect();
    assert_eq!(nodes.len(), 4);
    assert_eq!(count(&scene.read(DAEMON_SETS, &key), "numberAvailable"), 4);
    scene.patch(DAEMON_SETS, &key, told("crash after=1s ready-after=9s"));
    scene.run(60);
    let shipper = scene.read(DAEMON_SETS, &key);
    assert_eq!(count(&shipper, "desiredNumberScheduled"), 4);
    assert!(count(&shipper, "updatedNumberScheduled") < 4, "one after the other");
    scene.delete(NODES, &Key::new("", "node-9"));
    scene.run(10);
    assert_eq!(count(&scene.read(DAEMON_SETS, &key), "desiredNumberScheduled"), 3);
}

#[test]
fn jobs_end_well_or_give_up() {
    let mut scene = Scene::new();
    let job = |name: &str, told: Option<&str>| {
        let mut template = json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "main", "image": "x:1" }] } });
        if let Some(told) = told {
            template["metadata"] = json!({ "annotations": { ANNOTATION: told } });
        }
        json!({ "metadata": { "name": name }, "spec": { "completions": 2, "backoffLimit": 1, "template": template } })
    };
    let good = scene.create(JOBS, job("good", None));
    let bad = scene.create(JOBS, job("bad", Some("crash after=1s exit-code=7")));
    scene.run(60);
    let good = scene.read(JOBS, &good);
    assert!(is_true(&good, "Complete") && count(&good, "succeeded") == 2, "{good}");
    let bad = scene.read(JOBS, &bad);
    assert_eq!(text(condition(&bad, "Failed").unwrap(), "/reason"), "BackoffLimitExceeded");

    let template = json!({ "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "main", "image": "x:1" }] } } } });
    let nightly = json!({ "metadata": { "name": "often" }, "spec": { "schedule": "* * * * *", "jobTemplate": template } });
    let key = scene.create(CRON_JOBS, nightly);
    scene.run(310);
    let often = scene.read(CRON_JOBS, &key);
    assert!(!text(&often, "/status/lastSuccessfulTime").is_empty());
    let kept = scene.world.store.scan(JOBS, None).filter(|it| it.key().name.starts_with("often-"));
    assert_eq!(kept.count(), 3, "old ones are forgotten");
}

#[test]
fn services_know_who_is_ready() {
    let mut scene = Scene::new();
    scene.create(SERVICES, json!({ "metadata": { "name": "web" }, "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] } }));
    let key = scene.create(DEPLOYMENTS, workload("web", 3, "run"));
    scene.run(10);
    let endpoints = |scene: &Scene| {
        let slice = scene.world.store.scan(SLICES, Some("default")).next().unwrap().value();
        let all = items(&slice, "/endpoints").to_vec();
        let ready = all.iter().filter(|it| crate::value::flag(it, "/conditions/ready")).count();
        (all.len(), ready)
    };
    assert_eq!(endpoints(&scene), (3, 3));
    let pod = scene.world.store.scan(PODS, Some("default")).next().unwrap().key().clone();
    scene.patch(
        PODS,
        &pod,
        json!({ "metadata": { "annotations": { ANNOTATION: "never-ready" } } }),
    );
    scene.run(5);
    assert_eq!(endpoints(&scene), (3, 2));
    scene.delete(DEPLOYMENTS, &key);
    scene.run(10);
    assert_eq!((endpoints(&scene), scene.pods().len()), ((0, 0), 0), "what it owned is gone");
}

#[test]
fn what_cannot_run_says_why_and_runs_when_it_can() {
    let mut scene = Scene::new();
    let mut large = workload("large", 1, "run");
    large["spec"]["template"]["spec"]["nodeSelector"] = json!({ "disk": "fast" });
    scene.create(DEPLOYMENTS, large);
    let mut keyed = workload("keyed", 1, "run");
    keyed["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
        json!([{ "secretRef": { "name": "key" } }]);
    scene.create(DEPLOYMENTS, keyed);
    scene.run(10);
    let pods = scene.pods();
    let by = |app: &str| pods.iter().find(|it| text(it, "/metadata/labels/app") == app).unwrap();
    assert_eq!(text(condition(by("large"), "PodScheduled").unwrap(), "/reason"), "Unschedulable");
    let waiting = "/status/containerStatuses/0/state/waiting";
    assert_eq!(text(by("keyed"), &format!("{waiting}/reason")), "CreateContainerConfigError");
    assert_eq!(text(by("keyed"), &format!("{waiting}/message")), "secret \"key\" not found");
    scene.patch(
        NODES,
        &Key::new("", "node-1"),
        json!({ "metadata": { "labels": { "disk": "fast" } } }),
    );
    scene.create(crate::resource::SECRETS, json!({ "metadata": { "name": "key" } }));
    scene.run(20);
    assert!(scene.pods().iter().all(|it| is_true(it, "Ready")));
}
