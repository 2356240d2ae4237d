//! The defaults of the API types, as far as controllers, our projections and kubectl read them, and the first status of new objects.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::World;
use crate::resource::{
    BUDGETS, CLAIMS, CRON_JOBS, DAEMON_SETS, DEFINITIONS, DEPLOYMENTS, JOBS, NAMESPACES, NODES,
    PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, Resource, SCALERS, SERVICES, STATEFUL_SETS,
    VOLUMES,
};
use crate::value::{at, object_mut, rfc3339, set, set_default, text};

/// Fills in what a client left out.
pub(crate) fn defaults(world: &mut World, resource: &Resource, object: &mut Value) {
    let template: Option<&[&str]> = match resource.id {
        DEPLOYMENTS => {
            deployment(object);
            Some(&["spec", "template"])
        }
        REPLICA_SETS | REPLICATION_CONTROLLERS => {
            set_default(object, &["spec", "replicas"], 1);
            Some(&["spec", "template"])
        }
        STATEFUL_SETS => {
            stateful_set(object);
            Some(&["spec", "template"])
        }
        DAEMON_SETS => {
            set_default(object, &["spec", "revisionHistoryLimit"], 10);
            set_default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
            if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
                let path = ["spec", "updateStrategy", "rollingUpdate"];
                set_default(object, &[&path[..], &["maxUnavailable"]].concat(), 1);
                set_default(object, &[&path[..], &["maxSurge"]].concat(), 0);
            }
            Some(&["spec", "template"])
        }
        JOBS => {
            job(object);
            Some(&["spec", "template"])
        }
        CRON_JOBS => {
            set_default(object, &["spec", "concurrencyPolicy"], "Allow");
            set_default(object, &["spec", "suspend"], false);
            set_default(object, &["spec", "successfulJobsHistoryLimit"], 3);
            set_default(object, &["spec", "failedJobsHistoryLimit"], 1);
            Some(&["spec", "jobTemplate", "spec", "template"])
        }
        PODS => {
            pod(object_value(object, "spec"));
            None
        }
        SERVICES => {
            service(world, object);
            None
        }
        SCALERS => {
            set_default(object, &["spec", "minReplicas"], 1);
            None
        }
        BUDGETS => None,
        NAMESPACES => {
            set_default(object, &["spec", "finalizers"], json!(["kubernetes"]));
            let name = text(object, "/metadata/name").to_owned();
            set_default(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
            None
        }
        CLAIMS => {
            set_default(object, &["spec", "volumeMode"], "Filesystem");
            set_default(object, &["spec", "storageClassName"], "standard");
            None
        }
        _ => None,
    };
    if let Some(path) = template {
        let template = object_mut(object, path);
        let spec = template.entry("spec").or_insert(Value::Null);
        pod(spec);
    }
}

fn object_value<'a>(object: &'a mut Value, field: &str) -> &'a mut Value {
    object_mut(object, &[]).entry(field.to_owned()).or_insert(Value::Null)
}

fn deployment(object: &mut Value) {
    set_default(object, &["spec", "replicas"], 1);
    set_default(object, &["spec", "revisionHistoryLimit"], 10);
    set_default(object, &["spec", "progressDeadlineSeconds"], 600);
    set_default(object, &["spec", "strategy", "type"], "RollingUpdate");
    if text(object, "/spec/strategy/type") == "RollingUpdate" {
        let path = ["spec", "strategy", "rollingUpdate"];
        set_default(object, &[&path[..], &["maxUnavailable"]].concat(), "25%");
        set_default(object, &[&path[..], &["maxSurge"]].concat(), "25%");
    }
}

fn stateful_set(object: &mut Value) {
    set_default(object, &["spec", "replicas"], 1);
    set_default(object, &["spec", "revisionHistoryLimit"], 10);
    set_default(object, &["spec", "podManagementPolicy"], "OrderedReady");
    set_default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        set_default(object, &["spec", "updateStrategy", "rollingUpdate", "partition"], 0);
    }
    let retention = ["spec", "persistentVolumeClaimRetentionPolicy"];
    set_default(object, &[&retention[..], &["whenDeleted"]].concat(), "Retain");
    set_default(object, &[&retention[..], &["whenScaled"]].concat(), "Retain");
}

fn job(object: &mut Value) {
    set_default(object, &["spec", "backoffLimit"], 6);
    set_default(object, &["spec", "parallelism"], 1);
    if at(object, "/spec/completions").is_null() {
        set(object, &["spec", "completions"], 1);
    }
    set_default(object, &["spec", "completionMode"], "NonIndexed");
    set_default(object, &["spec", "suspend"], false);
    let uid = text(object, "/metadata/uid").to_owned();
    let name = text(object, "/metadata/name").to_owned();
    if !uid.is_empty() && at(object, "/spec/selector").is_null() {
        let label = "batch.kubernetes.io/controller-uid";
        set(object, &["spec", "selector", "matchLabels", label], uid.as_str());
        for (label, value) in [
            (label, &uid),
            ("controller-uid", &uid),
            ("batch.kubernetes.io/job-name", &name),
            ("job-name", &name),
        ] {
            set(object, &["spec", "template", "metadata", "labels", label], value.as_str());
        }
    }
}

/// Of a pod's specification, alone or in a template.
fn pod(spec: &mut Value) {
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ] {
        set_default(spec, &[field], value);
    }
    for list in ["containers", "initContainers"] {
        let Some(Value::Array(containers)) = spec.get_mut(list) else { continue };
        for container in containers {
            let image = text(container, "/image");
            let has_tag = image.rsplit('/').next().is_some_and(|it| it.contains(':'));
            let policy =
                if has_tag && !image.ends_with(":latest") { "IfNotPresent" } else { "Always" };
            set_default(container, &["imagePullPolicy"], policy);
            set_default(container, &["resources"], json!({}));
            set_default(container, &["terminationMessagePath"], "/dev/termination-log");
            set_default(container, &["terminationMessagePolicy"], "File");
            if let Some(Value::Array(ports)) = container.get_mut("ports") {
                ports.iter_mut().for_each(|port| set_default(port, &["protocol"], "TCP"));
            }
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                if let Some(probe) = container.get_mut(probe) {
                    for (field, value) in [
                        ("timeoutSeconds", 1),
                        ("periodSeconds", 10),
                        ("successThreshold", 1),
                        ("failureThreshold", 3),
                    ] {
                        set_default(probe, &[field], value);
                    }
                }
            }
        }
    }
}

fn service(world: &mut World, object: &mut Value) {
    set_default(object, &["spec", "type"], "ClusterIP");
    set_default(object, &["spec", "sessionAffinity"], "None");
    let r#type = text(object, "/spec/type").to_owned();
    if r#type != "ExternalName" {
        set_default(object, &["spec", "internalTrafficPolicy"], "Cluster");
        set_default(object, &["spec", "ipFamilyPolicy"], "SingleStack");
        set_default(object, &["spec", "ipFamilies"], json!(["IPv4"]));
        if at(object, "/spec/clusterIP").is_null() {
            set(object, &["spec", "clusterIP"], world.new_address(10));
        }
        let address = at(object, "/spec/clusterIP").clone();
        set_default(object, &["spec", "clusterIPs"], json!([address]));
    }
    let exposes = r#type == "LoadBalancer" || r#type == "NodePort";
    if let Some(Value::Array(ports)) = object.pointer_mut("/spec/ports") {
        for (number, port) in (30_000..).zip(ports) {
            set_default(port, &["protocol"], "TCP");
            let same = at(port, "/port").clone();
            set_default(port, &["targetPort"], same);
            if exposes {
                set_default(port, &["nodePort"], number);
            }
        }
    }
}

/// The first status of a new object.
pub(crate) fn status(world: &World, resource: &Resource, object: &mut Value, now: Timestamp) {
    let status = match resource.id {
        NAMESPACES => json!({ "phase": "Active" }),
        PODS => json!({ "phase": "Pending", "qosClass": quality_of_service(object) }),
        CLAIMS | VOLUMES => json!({ "phase": "Pending" }),
        NODES => {
            node_status(object, now);
            return;
        }
        DEFINITIONS => established(object, now),
        SERVICES => json!({ "loadBalancer": {} }),
        id if world
            .registry
            .get(id)
            .is_some_and(|it| it.has_status && it.group.contains("k8s.io")) =>
        {
            json!({})
        }
        _ => return,
    };
    set(object, &["status"], status);
}

fn quality_of_service(pod: &Value) -> &'static str {
    let containers = crate::value::items(pod, "/spec/containers");
    let has = |what: &str| {
        let some = |it: &Value| {
            at(it, "/resources")
                .get(what)
                .is_some_and(|it| it.as_object().is_some_and(|it| !it.is_empty()))
        };
        containers.iter().any(some)
    };
    let all_equal = containers.iter().all(|it| {
        let limits = at(it, "/resources/limits");
        let both = limits.get("cpu").is_some() && limits.get("memory").is_some();
        let requests = at(it, "/resources/requests");
        both && (requests.is_null() || requests == limits)
    });
    match (has("limits") || has("requests"), all_equal) {
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, _) => "BestEffort",
    }
}

fn node_status(object: &mut Value, now: Timestamp) {
    let capacity =
        json!({ "cpu": "32", "memory": "128Gi", "pods": "500", "ephemeral-storage": "500Gi" });
    let at = rfc3339(now);
    let condition = |r#type: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": r#type, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": at, "lastTransitionTime": at,
        })
    };
    for (field, value) in [
        ("capacity", capacity.clone()),
        ("allocatable", capacity),
        (
            "conditions",
            json!([
                condition(
                    "MemoryPressure",
                    "False",
                    "KubeletHasSufficientMemory",
                    "kubelet has sufficient memory available"
                ),
                condition(
                    "DiskPressure",
                    "False",
                    "KubeletHasNoDiskPressure",
                    "kubelet has no disk pressure"
                ),
                condition(
                    "PIDPressure",
                    "False",
                    "KubeletHasSufficientPID",
                    "kubelet has sufficient PID available"
                ),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ]),
        ),
        ("addresses", json!([{ "type": "Hostname", "address": text(object, "/metadata/name") }])),
        (
            "nodeInfo",
            json!({
                "kubeletVersion": crate::VERSION, "osImage": "simulated", "kernelVersion": "simulated",
                "containerRuntimeVersion": "simulated://1", "operatingSystem": "linux", "architecture": "amd64",
                "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": "",
            }),
        ),
    ] {
        set_default(object, &["status", field], value);
    }
}

fn established(definition: &Value, now: Timestamp) -> Value {
    let condition = |r#type: &str, reason: &str, message: &str| {
        json!({
            "type": r#type, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": rfc3339(now),
        })
    };
    let versions = crate::value::items(definition, "/spec/versions").iter();
    let stored: Vec<_> = versions
        .filter(|it| crate::value::flag(it, "/storage"))
        .map(|it| at(it, "/name"))
        .collect();
    json!({
        "acceptedNames": at(definition, "/spec/names"),
        "storedVersions": stored,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    })
}
