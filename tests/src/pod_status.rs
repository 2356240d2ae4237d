//! Statuses that kubelets write, for [`write_pod_status`](crate::objects::write_pod_status). Of pods with
//! one container, `main`. The words are those of kubelet 1.36.

use serde_json::{Value, json};

/// The container keeps ending, and the kubelet waits before it starts it again.
pub fn crash_loop_back_off(restarts: u32) -> Value {
    let waiting = json!({
        "reason": "CrashLoopBackOff",
        "message": "back-off 5m0s restarting failed container=main",
    });
    let ended = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
    not_ready(&Container { state: json!({ "waiting": waiting }), last: ended, restarts })
}

/// The container used more memory than its limit, and waits before it is started again.
pub fn oom_killed(restarts: u32) -> Value {
    let waiting = json!({
        "reason": "CrashLoopBackOff",
        "message": "back-off 5m0s restarting failed container=main",
    });
    let ended = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    not_ready(&Container { state: json!({ "waiting": waiting }), last: ended, restarts })
}

/// The image cannot be had.
pub fn image_pull_back_off() -> Value {
    let waiting = json!({
        "reason": "ImagePullBackOff",
        "message": "Back-off pulling image \"registry.test/app:1\"",
    });
    let state = json!({ "waiting": waiting });
    let mut status = not_ready(&Container { state, last: json!({}), restarts: 0 });
    status["phase"] = json!("Pending");
    status
}

/// The container runs, but its readiness probe fails.
pub fn probe_fails() -> Value {
    not_ready(&Container { state: json!({ "running": {} }), last: json!({}), restarts: 0 })
}

/// The container runs and is ready, after so many restarts.
pub fn ready(restarts: u32) -> Value {
    status("True", &Container { state: json!({ "running": {} }), last: json!({}), restarts })
}

struct Container {
    state: Value,
    last: Value,
    restarts: u32,
}

fn not_ready(container: &Container) -> Value {
    status("False", container)
}

fn status(ready: &str, Container { state, last, restarts }: &Container) -> Value {
    let reason = if ready == "True" { Value::Null } else { json!("ContainersNotReady") };
    json!({
        "phase": "Running",
        "conditions": [
            { "type": "Initialized", "status": "True" },
            { "type": "PodScheduled", "status": "True" },
            { "type": "ContainersReady", "status": ready, "reason": reason },
            { "type": "Ready", "status": ready, "reason": reason },
        ],
        "containerStatuses": [{
            "name": "main",
            "image": "registry.test/app:1",
            "imageID": "",
            "ready": ready == "True",
            "started": ready == "True",
            "restartCount": restarts,
            "state": state,
            "lastState": last,
        }],
    })
}
