//! Pods.

use std::mem::take;

use serde::{Deserialize, de::IgnoredAny};
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    lenient::{List, Strings, Time, seconds},
    meta::Metadata,
    references::{References, Volume},
    scheduling::{self, Affinity, Scheduling, Spread, Toleration},
    template::{self, Container},
};

/// Slim `corev1.PodSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    node_name: Option<String>,
    restart_policy: Option<String>,
    service_account_name: Option<String>,
    priority_class_name: Option<String>,
    containers: List<Container>,
    init_containers: List<Container>,
    volumes: List<Volume>,
    scheduling_gates: List<IgnoredAny>,
    node_selector: Strings,
    affinity: Option<Affinity>,
    tolerations: List<Toleration>,
    topology_spread_constraints: List<Spread>,
    image_pull_secrets: List<PullSecret>,
    readiness_gates: List<ReadinessGate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PullSecret {
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadinessGate {
    condition_type: Option<String>,
}

/// Slim `corev1.PodStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    phase: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    start_time: Option<Time>,
    conditions: List<Condition>,
    container_statuses: List<ContainerStatus>,
    init_container_statuses: List<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: Option<String>,
    image: Option<String>,
    ready: Option<bool>,
    started: Option<bool>,
    restart_count: Option<i32>,
    state: Option<State>,
    last_state: Option<State>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    running: Option<Running>,
    terminated: Option<Terminated>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Running {
    started_at: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: Option<i32>,
    signal: Option<i32>,
    reason: Option<String>,
    message: Option<String>,
    started_at: Option<Time>,
    finished_at: Option<Time>,
}

/// The facts of a Pod. Its restart policy is `Always` where absent, the API server's default.
pub(super) fn facts(meta: &Metadata, mut spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    let mut references = References::default();
    for container in spec.containers.0.iter_mut().chain(&mut spec.init_containers.0) {
        references.environment(take(&mut container.env), take(&mut container.env_from));
    }
    references.volumes(spec.volumes);
    let claims = take(&mut references.claims);
    let (config_maps, secrets) = references.facts();
    let node_name = spec.node_name.unwrap_or_default();
    let scheduling = Scheduling {
        node_selector: spec.node_selector,
        affinity: spec.affinity,
        tolerations: spec.tolerations,
        topology_spread_constraints: spec.topology_spread_constraints,
    };
    let pod =
        scheduling::Pod { node_name: &node_name, is_of_daemon_set: meta.is_owned_by("DaemonSet") };
    Some(v1::facts::Kind::Pod(v1::PodFacts {
        phase: status.phase.unwrap_or_default(),
        reason: status.reason.unwrap_or_default(),
        message: status.message.unwrap_or_default(),
        scheduling: scheduling::facts(scheduling, pod),
        node_name,
        pod_ip: status.pod_ip.unwrap_or_default(),
        started_at_unix_s: seconds(status.start_time),
        restart_policy: spec
            .restart_policy
            .filter(|policy| !policy.is_empty())
            .unwrap_or_else(|| "Always".to_owned()),
        conditions: condition::facts(status.conditions),
        containers: template::containers(spec.containers),
        init_containers: template::containers(spec.init_containers),
        container_statuses: status.container_statuses.map(container_status),
        init_container_statuses: status.init_container_statuses.map(container_status),
        claims,
        service_account: template::service_account(spec.service_account_name),
        scheduling_gates: spec.scheduling_gates.0.len().try_into().unwrap_or(u32::MAX),
        deletion_grace_s: meta.deletion_grace_period_seconds,
        priority_class: spec.priority_class_name.unwrap_or_default(),
        config_maps,
        secrets,
        image_pull_secrets: spec
            .image_pull_secrets
            .0
            .into_iter()
            .filter_map(|secret| secret.name)
            .collect(),
        readiness_gates: spec.readiness_gates.map(|it| it.condition_type.unwrap_or_default()),
    }))
}

fn container_status(status: ContainerStatus) -> v1::ContainerStatus {
    v1::ContainerStatus {
        name: status.name.unwrap_or_default(),
        image: status.image.unwrap_or_default(),
        ready: status.ready.unwrap_or_default(),
        started: status.started,
        restarts: status.restart_count.unwrap_or_default(),
        state: state(status.state),
        last_state: state(status.last_state),
    }
}

/// None where the kubelet has not said: `{}` and absent are the same, so that they give the same bytes.
fn state(state: Option<State>) -> Option<v1::ContainerState> {
    use v1::container_state::State as Facts;
    let State { waiting, running, terminated } = state?;
    let state = if let Some(waiting) = waiting {
        Facts::Waiting(v1::ContainerWaiting {
            reason: waiting.reason.unwrap_or_default(),
            message: waiting.message.unwrap_or_default(),
        })
    } else if let Some(running) = running {
        Facts::Running(v1::ContainerRunning { started_at_unix_s: seconds(running.started_at) })
    } else {
        let terminated = terminated?;
        Facts::Terminated(v1::ContainerTerminated {
            exit_code: terminated.exit_code.unwrap_or_default(),
            signal: terminated.signal.unwrap_or_default(),
            reason: terminated.reason.unwrap_or_default(),
            message: terminated.message.unwrap_or_default(),
            started_at_unix_s: seconds(terminated.started_at),
            finished_at_unix_s: seconds(terminated.finished_at),
        })
    };
    Some(v1::ContainerState { state: Some(state) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{POD, project_yaml};
    use vitals_proto::{kind::Kind, v1, v1::container_state::State};

    fn facts(yaml: &str) -> v1::PodFacts {
        match project_yaml(&Kind::Pod, yaml).facts.kind {
            Some(v1::facts::Kind::Pod(facts)) => facts,
            other => panic!("not a Pod: {other:?}"),
        }
    }

    #[test]
    fn reads_what_a_crash_loop_shows() {
        let facts = facts(POD);
        assert_eq!((facts.phase.as_str(), facts.restart_policy.as_str()), ("Running", "Always"));
        assert_eq!(facts.claims, ["data"]);
        assert_eq!((facts.scheduling_gates, facts.deletion_grace_s), (1, Some(30)));
        let status = &facts.container_statuses[0];
        assert_eq!((status.restarts, status.started), (7, Some(false)));
        let Some(State::Waiting(waiting)) = status.state.clone().unwrap().state else {
            panic!("not waiting: {status:?}")
        };
        assert_eq!(waiting.reason, "CrashLoopBackOff");
        let Some(State::Terminated(terminated)) = status.last_state.clone().unwrap().state else {
            panic!("not terminated: {status:?}")
        };
        assert_eq!((terminated.exit_code, terminated.reason.as_str()), (137, "OOMKilled"));
        let container = &facts.containers[0];
        assert_eq!(
            (container.requests["cpu"].as_str(), container.limits["memory"].as_str()),
            ("1", "64Mi")
        );
        assert_eq!(container.readiness_probe.clone().unwrap().action, "httpGet :web/ready");
        assert_eq!(container.liveness_probe.clone().unwrap().action, "exec");
        assert_eq!(facts.init_containers[0].restart_policy, "Always");
    }

    #[test]
    fn nulls_are_absent() {
        let facts = facts(
            "metadata: {name: p, labels: null, annotations: null, ownerReferences: null, finalizers: null, creationTimestamp: null}
spec: {containers: null, initContainers: null, volumes: [null, {name: x, emptyDir: {}}, {persistentVolumeClaim: null}], schedulingGates: null}
status: {conditions: null, containerStatuses: [{name: a, state: {}, lastState: {}, started: null}], startTime: null}",
        );
        assert!(
            facts.containers.is_empty() && facts.claims.is_empty() && facts.conditions.is_empty()
        );
        let status = &facts.container_statuses[0];
        assert_eq!((&status.state, &status.last_state, status.started), (&None, &None, None));
    }
}
