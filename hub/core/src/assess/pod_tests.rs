//! Tables of the rule of Pods.

use vitals_proto::v1::{Container, ContainerRunning, ContainerState};

use super::*;
use vitals_proto::v1::HealthStatus::{Degraded, Healthy, Progressing, Unknown};

const NOW: Time = Time::from_unix_ms(1_800_000_000_000);

fn pod(phase: &str) -> PodFacts {
    PodFacts { phase: phase.to_owned(), restart_policy: "Always".to_owned(), ..PodFacts::default() }
}

fn ready(status: &str) -> Vec<Condition> {
    vec![Condition { r#type: "Ready".into(), status: status.into(), ..Condition::default() }]
}

fn state(state: State) -> Option<ContainerState> {
    Some(ContainerState { state: Some(state) })
}

fn waiting(reason: &str, message: &str) -> ContainerStatus {
    let [reason, message] = [reason, message].map(str::to_owned);
    ContainerStatus {
        name: "app".to_owned(),
        image: "shop:2".to_owned(),
        state: state(State::Waiting(ContainerWaiting { reason, message })),
        ..ContainerStatus::default()
    }
}

fn ended(exit_code: i32, reason: &str) -> Option<ContainerState> {
    let reason = reason.to_owned();
    state(State::Terminated(ContainerTerminated { exit_code, reason, ..Default::default() }))
}

fn statuses(status: ContainerStatus) -> Vec<ContainerStatus> {
    vec![status]
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, some lines a case")]
fn rule() {
    let crash = ContainerStatus {
        last_state: ended(1, "Error"),
        restarts: 6,
        ..waiting("CrashLoopBackOff", "back-off 5m0s")
    };
    let running = ContainerStatus {
        name: "app".into(),
        state: state(State::Running(ContainerRunning::default())),
        ..Default::default()
    };
    let restarted = ContainerStatus { last_state: ended(137, "OOMKilled"), ..running.clone() };
    let never = |it: PodFacts| PodFacts { restart_policy: "Never".to_owned(), ..it };
    let with = |phase: &str, status: ContainerStatus| PodFacts {
        container_statuses: statuses(status),
        ..pod(phase)
    };
    for (case, facts, status, reason, message) in [
        (
            "crash loop before Running and Ready",
            PodFacts { conditions: ready("True"), ..with("Running", crash.clone()) },
            Degraded,
            Reason::ContainerCrashLooping,
            "container app ended with exit code 1 again and again",
        ),
        (
            "crash loop, OnFailure",
            PodFacts { restart_policy: "OnFailure".into(), ..with("Running", crash.clone()) },
            Progressing,
            Reason::PodRunning,
            "the pod runs until its work is done",
        ),
        (
            "pull before Pending",
            with("Pending", waiting("ErrImagePull", "manifest unknown.")),
            Degraded,
            Reason::ImagePullFailed,
            "container app cannot pull image shop:2: manifest unknown",
        ),
        (
            "pull again",
            with("Pending", waiting("ImagePullBackOff", "")),
            Degraded,
            Reason::ImagePullFailed,
            "container app cannot pull image shop:2: ImagePullBackOff",
        ),
        (
            "config",
            with("Pending", waiting("CreateContainerConfigError", "configmap \"x\" not found")),
            Degraded,
            Reason::ContainerConfigError,
            "container app cannot be configured: configmap \"x\" not found",
        ),
        (
            "start",
            with("Running", waiting("RunContainerError", "")),
            Degraded,
            Reason::ContainerStartFailed,
            "container app cannot be started: RunContainerError",
        ),
        (
            "ordinary wait",
            with("Pending", waiting("ContainerCreating", "")),
            Progressing,
            Reason::PodPending,
            "the pod is being started",
        ),
        (
            "another wait",
            with("Pending", waiting("InvalidImageName", "")),
            Progressing,
            Reason::PodPending,
            "container app waits: InvalidImageName",
        ),
        (
            "init containers are not read",
            PodFacts { init_container_statuses: statuses(crash), ..pod("Pending") },
            Progressing,
            Reason::PodPending,
            "container app waits: CrashLoopBackOff",
        ),
        (
            "gated",
            PodFacts { scheduling_gates: 1, ..pod("Pending") },
            Progressing,
            Reason::PodPending,
            "the pod waits for its scheduling gates",
        ),
        ("succeeded", pod("Succeeded"), Healthy, Reason::None, "the pod has done its work"),
        ("failed", pod("Failed"), Degraded, Reason::PodFailed, "the pod failed"),
        (
            "failed with a message",
            PodFacts { message: "Pod was active too long.".into(), ..pod("Failed") },
            Degraded,
            Reason::PodFailed,
            "the pod failed: Pod was active too long",
        ),
        (
            "failed by a container",
            never(with(
                "Failed",
                ContainerStatus { state: ended(3, "Error"), ..restarted.clone() },
            )),
            Degraded,
            Reason::PodFailed,
            "the pod failed: container app ended with exit code 3",
        ),
        (
            "evicted",
            PodFacts {
                reason: "Evicted".into(),
                message: "The node was low on memory.".into(),
                ..pod("Failed")
            },
            Degraded,
            Reason::PodEvicted,
            "the pod was evicted: The node was low on memory",
        ),
        (
            "ready",
            PodFacts { conditions: ready("True"), ..with("Running", restarted.clone()) },
            Healthy,
            Reason::None,
            "the pod is ready",
        ),
        (
            "not ready after an end",
            PodFacts { conditions: ready("False"), ..with("Running", restarted) },
            Degraded,
            Reason::PodNotReadyAfterRestart,
            "the pod is not ready since container app was killed for memory (OOMKilled)",
        ),
        (
            "not ready",
            PodFacts { conditions: ready("False"), ..with("Running", running.clone()) },
            Progressing,
            Reason::PodNotReady,
            "container app is not ready yet",
        ),
        (
            "runs once",
            never(PodFacts { conditions: ready("True"), ..with("Running", running) }),
            Progressing,
            Reason::PodRunning,
            "the pod runs until its work is done",
        ),
        ("no phase", pod(""), Unknown, Reason::PodPhaseUnknown, "the pod has no phase yet"),
        (
            "lost",
            pod("Unknown"),
            Unknown,
            Reason::PodPhaseUnknown,
            "the phase of the pod is Unknown",
        ),
    ] {
        let got = assess(&facts, NOW);
        assert_eq!(
            (got.status, got.reason, got.message.as_ref(), got.recheck_at),
            (status, reason, message, None),
            "{case}"
        );
    }
}

#[test]
fn plain_troubles_on_which_the_rule_is_silent() {
    let unschedulable = Condition {
        r#type: "PodScheduled".into(),
        status: "False".into(),
        reason: "Unschedulable".into(),
        message: "0/5 nodes are available: 5 Insufficient cpu.".into(),
        last_transition_at_unix_s: 1_000,
        observed_generation: None,
    };
    let unscheduled = PodFacts { conditions: vec![unschedulable], ..pod("Pending") };
    let init = |status| PodFacts { init_container_statuses: statuses(status), ..pod("Pending") };
    for (case, facts, want) in [
        ("fine", pod("Pending"), None),
        (
            "unschedulable",
            unscheduled.clone(),
            Some((
                Reason::Unschedulable,
                "no node takes the pod: 0/5 nodes are available: 5 Insufficient cpu",
                Time::from_unix_s(1_015),
            )),
        ),
        ("gated", PodFacts { scheduling_gates: 1, ..unscheduled }, None),
        (
            "init crash loop",
            init(waiting("CrashLoopBackOff", "")),
            Some((
                Reason::InitContainerFailing,
                "init container app ends again and again",
                Time::MIN,
            )),
        ),
        (
            "init pull",
            init(waiting("ErrImagePull", "denied")),
            Some((
                Reason::ImagePullFailed,
                "init container app cannot pull image shop:2: denied",
                Time::MIN,
            )),
        ),
        (
            "bad image name",
            PodFacts {
                container_statuses: statuses(waiting("InvalidImageName", "bad")),
                ..pod("Pending")
            },
            Some((
                Reason::ImagePullFailed,
                "container app cannot pull image shop:2: bad",
                Time::MIN,
            )),
        ),
    ] {
        let got = trouble(&facts);
        assert_eq!(
            got.as_ref().map(|it| (it.reason, it.message.as_str(), it.from)),
            want,
            "{case}"
        );
    }
}

#[test]
fn restarts_are_those_of_kubectl() {
    let status = |name: &str, restarts, state| ContainerStatus {
        name: name.into(),
        restarts,
        state,
        ..Default::default()
    };
    let app = |restarts| status("app", restarts, None);
    let sidecar = vec![Container {
        name: "proxy".into(),
        restart_policy: "Always".into(),
        ..Default::default()
    }];
    let started =
        |restarts| ContainerStatus { started: Some(true), ..status("proxy", restarts, None) };
    for (case, facts, want) in [
        ("containers", PodFacts { container_statuses: vec![app(2), app(3)], ..pod("Running") }, 5),
        (
            "init done",
            PodFacts {
                init_container_statuses: vec![status("init", 4, ended(0, "Completed"))],
                container_statuses: vec![app(1)],
                ..pod("Running")
            },
            1,
        ),
        (
            "init under way",
            PodFacts {
                init_container_statuses: vec![status("init", 4, None)],
                container_statuses: vec![app(1)],
                ..pod("Pending")
            },
            4,
        ),
        (
            "init fails",
            PodFacts {
                init_container_statuses: vec![
                    status("init", 4, ended(1, "Error")),
                    status("next", 9, None),
                ],
                ..pod("Pending")
            },
            4,
        ),
        (
            "sidecar",
            PodFacts {
                init_containers: sidecar,
                init_container_statuses: vec![started(7)],
                container_statuses: vec![app(1)],
                ..pod("Running")
            },
            8,
        ),
    ] {
        assert_eq!(restarts(&facts), want, "{case}");
    }
}

#[test]
fn evidence_names_what_is_wrong() {
    let crash = ContainerStatus {
        last_state: ended(1, "Error"),
        restarts: 6,
        ..waiting("CrashLoopBackOff", "")
    };
    let facts = PodFacts { container_statuses: statuses(crash), ..pod("Running") };
    assert_eq!(
        evidence(&facts),
        [
            "container app waits with CrashLoopBackOff, 6 restarts",
            "container app ended with exit code 1"
        ]
    );
    assert_eq!(failing_container(&facts), Some("app"));
    assert_eq!(failing_container(&pod("Running")), None);
}
