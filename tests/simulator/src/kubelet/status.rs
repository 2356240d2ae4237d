//! The status of a pod as a kubelet writes it. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::value::{
    Condition, at, flag, items, number, remove, rfc3339, set, set_condition, set_default, text,
};

/// What the containers of a pod have in common: all of them, as they do the same.
#[derive(Clone, Debug)]
pub(crate) struct Containers {
    pub(crate) state: Value,
    pub(crate) last: Value,
    pub(crate) ready: bool,
    pub(crate) restarts: i64,
}

impl Containers {
    /// As they are now.
    pub(crate) fn of(pod: &Value) -> Self {
        let container = at(pod, "/status/containerStatuses/0");
        let object = |pointer| Some(at(container, pointer)).filter(|it| it.is_object()).cloned();
        Self {
            state: object("/state").unwrap_or_else(|| json!({})),
            last: object("/lastState").unwrap_or_else(|| json!({})),
            ready: flag(container, "/ready"),
            restarts: number(container, "/restartCount").unwrap_or_default(),
        }
    }
}

/// The first status on a node.
pub(crate) fn begin(pod: &mut Value, now: Timestamp) {
    set_default(pod, &["status", "startTime"], rfc3339(now));
    set(pod, &["status", "hostIP"], "192.0.2.1");
    let initialized = Condition { r#type: "Initialized", status: true, reason: "", message: "" };
    set_condition(pod, &initialized, now);
    let containers = Containers {
        state: json!({ "waiting": { "reason": "ContainerCreating" } }),
        last: json!({}),
        ready: false,
        restarts: 0,
    };
    write(pod, "Pending", &containers, now);
}

/// Gives an address to a pod that has none.
pub(crate) fn give_address(pod: &mut Value, address: &str) {
    set_default(pod, &["status", "podIP"], address);
    let address = at(pod, "/status/podIP").clone();
    set(pod, &["status", "podIPs"], json!([{ "ip": address }]));
}

/// Writes phase, containers and conditions.
pub(crate) fn write(pod: &mut Value, phase: &str, containers: &Containers, now: Timestamp) {
    let Containers { state, last, ready, restarts } = containers;
    let started = state.get("running").is_some();
    let uid = text(pod, "/metadata/uid").to_owned();
    let status = |container: &Value, number: usize, ready: bool| {
        let image = text(container, "/image");
        let mut status = json!({
            "name": text(container, "/name"), "image": image, "imageID": "",
            "ready": ready, "started": started, "restartCount": restarts,
            "state": state, "lastState": last,
        });
        if phase != "Pending" {
            let digest = xxhash_rust::xxh3::xxh3_128(format!("{uid}{number}{restarts}").as_bytes());
            set(&mut status, &["containerID"], format!("simulated://{digest:032x}"));
            set(
                &mut status,
                &["imageID"],
                format!("{image}@sha256:{:064x}", xxhash_rust::xxh3::xxh3_128(image.as_bytes())),
            );
        }
        status
    };
    let specified = items(pod, "/spec/containers").iter().enumerate();
    let statuses: Vec<Value> = specified.map(|(number, it)| status(it, number, *ready)).collect();
    let names: Vec<&str> =
        items(pod, "/spec/containers").iter().map(|it| text(it, "/name")).collect();
    let message = format!("containers with unready status: [{}]", names.join(" "));
    write_init(pod, now);
    set(pod, &["status", "phase"], phase);
    set(pod, &["status", "containerStatuses"], statuses);
    let ended = phase == "Succeeded" || phase == "Failed";
    let (reason, message) = match (*ready, ended) {
        (true, _) => ("", ""),
        (false, true) => ("PodCompleted", ""),
        (false, false) => ("ContainersNotReady", message.as_str()),
    };
    for r#type in ["Ready", "ContainersReady"] {
        set_condition(pod, &Condition { r#type, status: *ready, reason, message }, now);
    }
    let has_sandbox = Condition {
        r#type: "PodReadyToStartContainers",
        status: !ended && phase == "Running",
        reason: "",
        message: "",
    };
    set_condition(pod, &has_sandbox, now);
}

/// Init containers have always done their work already.
fn write_init(pod: &mut Value, now: Timestamp) {
    let specified = items(pod, "/spec/initContainers").iter();
    let done: Vec<Value> = specified
        .map(|container| {
            json!({
                "name": text(container, "/name"), "image": text(container, "/image"), "imageID": "",
                "ready": true, "started": false, "restartCount": 0, "lastState": {},
                "state": { "terminated": {
                    "exitCode": 0, "reason": "Completed",
                    "startedAt": rfc3339(now), "finishedAt": rfc3339(now),
                } },
            })
        })
        .collect();
    if done.is_empty() {
        remove(pod, &["status", "initContainerStatuses"]);
    } else if at(pod, "/status/initContainerStatuses").is_null() {
        set(pod, &["status", "initContainerStatuses"], done);
    }
}
