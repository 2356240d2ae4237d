//! kwok plays the kubelets of nodes that do not exist.
//!
//! It makes each node ready and renews its lease, runs each pod that is scheduled to such a node (phase
//! `Running`, all containers ready), completes the pods of Jobs, and removes pods that are being deleted. All containers have
//! one log of a few lines, to which nothing is added ([`Kubelet`](crate::Kubelet) has one that a test writes).
//!
//! **A test that writes a status itself** must keep kwok from writing over it. A pod or node with the
//! annotation [`PINNED`] is left as it is, except that a pod's deletion is still carried out and a node's
//! lease still renewed. [`write_pod_status`](crate::objects::write_pod_status) adds the annotation; a pod
//! that kwok shall never make ready has it in its template from the start.
//!
//! **To lose a node**, freeze kwok ([`Component::Kwok`](crate::Component::Kwok)), which renews leases every
//! 10 s: after the controller-manager's grace period the node's conditions become `Unknown`. The flags
//! `--node-monitor-grace-period=15s --node-monitor-period=1s` make that 15 s instead of 50.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::folder::Folder;

/// The annotation that keeps kwok from writing a pod's or node's status. Its value does not matter.
pub const PINNED: &str = "testbed.vitals.dev/pinned";

/// The annotation by which kwok knows its nodes.
const FAKE_NODE: &str = "kwok.x-k8s.io/node";

/// What kwok plays, as paths below `kustomize/stage` of its module.
pub(crate) const STAGES: [&str; 5] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
];

/// The stage, not played on what is [`PINNED`]. Deleting is: a pinned pod must be able to go.
pub(crate) fn without_pinned(stage: &str) -> Result<String> {
    const SELECTOR: &str = "    matchExpressions:\n";
    if stage.contains("\n  name: pod-delete\n") {
        return Ok(stage.to_owned());
    }
    ensure!(stage.matches(SELECTOR).count() == 1, "a stage with another selector than known");
    let key = format!("'.metadata.annotations[\"{PINNED}\"]'");
    let unless = format!("{SELECTOR}    - key: {key}\n      operator: 'DoesNotExist'\n");
    Ok(stage.replace(SELECTOR, &unless))
}

/// What every container wrote, in the format of CRI.
const LOG: &str = "\
2026-01-01T00:00:00.000000000Z stdout F starting
2026-01-01T00:00:01.000000000Z stdout F listening on :8080
2026-01-01T00:00:02.000000000Z stderr F nothing runs here: kwok plays this pod, and says so in the log of each
";

/// Writes the log, and what tells kwok of it, to files of the cluster.
pub(crate) fn write_logs(folder: &Folder) -> Result<PathBuf> {
    let log = folder.write("container.log", LOG)?;
    let config = json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": { "name": "testbed" },
        "spec": { "logs": [{ "logsFile": log }] },
    });
    folder.write("kwok-logs.yaml", config.to_string())
}

/// Creates nodes `node-0`, `node-1`, … that kwok will play.
pub(crate) async fn create_nodes(client: &Client, count: usize) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for number in 0..count {
        let name = format!("node-{number}");
        let node = serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": { FAKE_NODE: "fake" },
                "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "topology.kubernetes.io/zone": format!("zone-{}", number % 2),
                },
            },
        }))?;
        nodes.create(&PostParams::default(), &node).await?;
    }
    Ok(())
}

/// kwok's flags that do not depend on the cluster.
pub(crate) fn flags() -> [String; 2] {
    [
        format!("--manage-nodes-with-annotation-selector={FAKE_NODE}=fake"),
        "--node-lease-duration-seconds=40".to_owned(),
    ]
}
