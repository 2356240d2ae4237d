//! The services of the demo: a shop, by systems and teams, as a catalog and as Kubernetes has them.

use serde_json::{Value, json};
use vitals_simulator::Named;
use vitals_simulator::behaviour::ANNOTATION;

/// Services that belong together. Its name is also that of the namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct System {
    pub(super) name: &'static str,
    pub(super) owner: &'static str,
}

/// What runs a service.
#[derive(Clone, Copy, Debug)]
pub(super) enum Workload {
    Deployment(u32),
    StatefulSet(u32),
    DaemonSet,
    /// Every minute.
    CronJob,
}

/// A service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) system: &'static str,
    pub(super) workload: Workload,
}

pub(super) const SYSTEMS: [System; 4] = [
    System { name: "storefront", owner: "team-web" },
    System { name: "payments", owner: "team-money" },
    System { name: "logistics", owner: "team-goods" },
    System { name: "platform", owner: "team-platform" },
];

const fn service(name: &'static str, system: &'static str, workload: Workload) -> Service {
    Service { name, system, workload }
}

pub(super) const SERVICES: [Service; 13] = [
    service("website", "storefront", Workload::Deployment(4)),
    service("search", "storefront", Workload::Deployment(3)),
    service("recommendations", "storefront", Workload::Deployment(2)),
    service("cart", "storefront", Workload::Deployment(3)),
    service("checkout", "payments", Workload::Deployment(3)),
    service("payment-gateway", "payments", Workload::Deployment(3)),
    service("fraud-check", "payments", Workload::Deployment(2)),
    service("ledger", "payments", Workload::StatefulSet(3)),
    service("orders", "logistics", Workload::Deployment(3)),
    service("inventory", "logistics", Workload::Deployment(2)),
    service("shipping", "logistics", Workload::Deployment(2)),
    service("log-shipper", "platform", Workload::DaemonSet),
    service("daily-report", "platform", Workload::CronJob),
];

impl Service {
    /// Its workload.
    pub(super) fn named(&self) -> Named<'static> {
        let (api_version, kind) = match self.workload {
            Workload::Deployment(_) => ("apps/v1", "Deployment"),
            Workload::StatefulSet(_) => ("apps/v1", "StatefulSet"),
            Workload::DaemonSet => ("apps/v1", "DaemonSet"),
            Workload::CronJob => ("batch/v1", "CronJob"),
        };
        Named { api_version, kind, namespace: self.system, name: self.name }
    }
}

/// The catalog's definitions, as `catalog-info.yaml`.
pub(super) fn definitions() -> String {
    let mut text = String::new();
    for System { name, owner } in SYSTEMS {
        text += &format!(
            "apiVersion: backstage.io/v1alpha1\nkind: System\nmetadata:\n  name: {name}\n\
             spec:\n  owner: group:default/{owner}\n---\n"
        );
    }
    for Service { name, system, .. } in SERVICES {
        let owner = SYSTEMS.iter().find(|it| it.name == system).map_or("nobody", |it| it.owner);
        text += &format!(
            "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\n\
             \x20 annotations:\n    backstage.io/kubernetes-id: {name}\n\
             spec:\n  type: service\n  lifecycle: production\n  owner: group:default/{owner}\n\
             \x20 system: {system}\n---\n"
        );
    }
    text
}

/// What Kubernetes has of a service: its workload, and what is around it.
pub(super) fn objects(service: &Service) -> Vec<Value> {
    let Service { name, system, workload } = service;
    let Named { api_version, kind, .. } = service.named();
    let metadata =
        |name: &str| json!({ "name": name, "namespace": system, "labels": labels(service) });
    let selector = json!({ "matchLabels": { "app": name } });
    let template = template(service, "1.0", "run ready-after=1s");
    let spec = match workload {
        Workload::Deployment(replicas) => {
            json!({ "replicas": replicas, "selector": selector, "template": template })
        }
        Workload::StatefulSet(replicas) => json!({
            "replicas": replicas, "selector": selector, "template": template, "serviceName": name,
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": "10Gi" } },
                },
            }],
        }),
        Workload::DaemonSet => json!({ "selector": selector, "template": template }),
        Workload::CronJob => json!({
            "schedule": "* * * * *",
            "jobTemplate": { "spec": { "template": run_once(service) } },
        }),
    };
    let mut objects = vec![json!({
        "apiVersion": api_version, "kind": kind, "metadata": metadata(name), "spec": spec,
    })];
    if matches!(workload, Workload::Deployment(_) | Workload::StatefulSet(_)) {
        objects.push(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata(name),
            "spec": { "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": 8080 }] },
        }));
        objects.push(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(name),
            "spec": { "maxUnavailable": 1, "selector": selector },
        }));
    }
    objects
}

fn labels(service: &Service) -> Value {
    json!({ "app": service.name, "backstage.io/kubernetes-id": service.name })
}

/// The template of a release: its version, and how its pods behave.
pub(super) fn template(service: &Service, version: &str, told: &str) -> Value {
    json!({
        "metadata": { "labels": labels(service), "annotations": { ANNOTATION: told } },
        "spec": { "containers": [container(service, version)] },
    })
}

fn container(service: &Service, version: &str) -> Value {
    json!({
        "name": "main",
        "image": format!("registry.demo/{}:{version}", service.name),
        "ports": [{ "containerPort": 8080 }],
        "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
    })
}

fn run_once(service: &Service) -> Value {
    json!({
        "metadata": { "labels": labels(service), "annotations": { ANNOTATION: "complete after=5s" } },
        "spec": { "restartPolicy": "Never", "containers": [container(service, "1.0")] },
    })
}
