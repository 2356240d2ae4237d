//! Nodes.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    lenient::{List, Strings},
    meta::Metadata,
};

/// Slim `corev1.NodeSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    unschedulable: Option<bool>,
    taints: List<Taint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Taint {
    key: Option<String>,
    value: Option<String>,
    effect: Option<String>,
}

/// Slim `corev1.NodeStatus`: without images, addresses and volumes, which change often and are many.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    conditions: List<Condition>,
    allocatable: Strings,
    node_info: Option<NodeInfo>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeInfo {
    kubelet_version: Option<String>,
    architecture: Option<String>,
    operating_system: Option<String>,
}

/// The facts of a Node.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    let info = status.node_info.unwrap_or_default();
    Some(v1::facts::Kind::Node(v1::NodeFacts {
        unschedulable: spec.unschedulable.unwrap_or_default(),
        taints: spec.taints.map(|taint| v1::Taint {
            key: taint.key.unwrap_or_default(),
            value: taint.value.unwrap_or_default(),
            effect: taint.effect.unwrap_or_default(),
        }),
        conditions: condition::facts(status.conditions),
        allocatable: status.allocatable.0,
        kubelet_version: info.kubelet_version.unwrap_or_default(),
        architecture: info.architecture.unwrap_or_default(),
        operating_system: info.operating_system.unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    const NODE: &str = "metadata: {name: worker-1, uid: 0d9f3f0e-1111-4222-8333-444455556666}
spec:
  unschedulable: true
  taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule, timeAdded: '2026-01-02T03:04:05Z'}]
status:
  allocatable: {cpu: '4', memory: 16Gi, pods: 110}
  nodeInfo: {kubeletVersion: v1.36.3, architecture: arm64, operatingSystem: linux, bootID: x}
  images: [{names: [a, b], sizeBytes: 1}]
  conditions:
  - {type: Ready, status: 'True', reason: KubeletReady, lastHeartbeatTime: '2026-01-02T03:04:05Z', lastTransitionTime: '2026-01-01T00:00:00Z'}";

    fn facts(yaml: &str) -> v1::NodeFacts {
        match project_yaml(&Kind::Node, yaml).facts.kind {
            Some(v1::facts::Kind::Node(facts)) => facts,
            other => panic!("not a Node: {other:?}"),
        }
    }

    #[test]
    fn reads_what_scheduling_and_health_need() {
        let facts = facts(NODE);
        assert!(facts.unschedulable);
        assert_eq!(facts.taints[0].effect, "NoSchedule");
        assert_eq!(facts.allocatable["pods"], "110");
        assert_eq!(facts.kubelet_version, "v1.36.3");
        assert_eq!(facts.architecture, "arm64");
        assert_eq!(facts.conditions[0].last_transition_at_unix_s, 1_767_225_600);
    }

    #[test]
    fn a_heartbeat_of_the_kubelet_is_no_change() {
        let later = NODE.replace(
            "lastHeartbeatTime: '2026-01-02T03:04:05Z'",
            "lastHeartbeatTime: '2026-01-02T03:09:05Z'",
        );
        assert_ne!(NODE, later);
        assert_eq!(facts(NODE), facts(&later));
    }
}
