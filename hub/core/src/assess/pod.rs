//! Pods, as Argo CD's `health_pod.go`; the number that `kubectl get pods` shows; and the plain troubles on which that rule
//! is silent, for [`crate::rollup`].

use std::{borrow::Cow, time::Duration};

use vitals_proto::v1::{
    Condition, ContainerStatus, ContainerTerminated, ContainerWaiting, PodFacts,
    container_state::State,
};

use super::{Assessment, Reason, Trouble, condition};
use crate::time::Time;

/// What may be cut from the facts, by [`v1::Facts::truncated`](vitals_proto::v1::Facts), that this rule reads.
pub(super) const READS: [&str; 1] = ["container_statuses"];

/// A pod without a node counts as in trouble after so long: the scheduler itself needs some moments.
pub(crate) const UNSCHEDULABLE_AFTER: Duration = Duration::from_secs(15);

/// No part of this rule depends on the time; [`trouble`] does.
pub(super) fn assess(facts: &PodFacts, _now: Time) -> Assessment {
    let crashed = (facts.restart_policy == "Always")
        .then(|| facts.container_statuses.iter().find_map(failing_wait))
        .flatten();
    if let Some((status, waiting)) = crashed {
        let (reason, message) = stuck("container", status, waiting);
        return Assessment::degraded(reason, message);
    }
    match facts.phase.as_str() {
        "Pending" => Assessment::progressing(Reason::PodPending, pending(facts)),
        "Succeeded" => Assessment::healthy("the pod has done its work"),
        "Failed" => failed(facts),
        "Running" if facts.restart_policy == "Always" => running(facts),
        "Running" => {
            let ready = condition::is_true(&facts.conditions, "Ready");
            let verdict =
                Assessment::progressing(Reason::PodRunning, "the pod runs until its work is done");
            verdict.settled_if(ready)
        }
        "" => Assessment::unknown(Reason::PodPhaseUnknown, "the pod has no phase yet"),
        phase => {
            Assessment::unknown(Reason::PodPhaseUnknown, format!("the phase of the pod is {phase}"))
        }
    }
}

fn running(facts: &PodFacts) -> Assessment {
    if condition::is_true(&facts.conditions, "Ready") {
        return Assessment::healthy("the pod is ready");
    }
    match facts.container_statuses.iter().find_map(|status| Some((status, last_end(status)?))) {
        Some((status, end)) => Assessment::degraded(
            Reason::PodNotReadyAfterRestart,
            format!("the pod is not ready since container {} {}", status.name, ending(end)),
        ),
        None => Assessment::progressing(Reason::PodNotReady, not_ready(facts)),
    }
}

fn not_ready(facts: &PodFacts) -> Cow<'static, str> {
    match facts.container_statuses.iter().find(|status| !status.ready) {
        Some(status) => format!("container {} is not ready yet", status.name).into(),
        None => "the pod is not ready yet".into(),
    }
}

fn failed(facts: &PodFacts) -> Assessment {
    let words = facts.message.trim().trim_end_matches('.');
    if facts.reason == "Evicted" {
        let why = if words.is_empty() { "no reason given" } else { words };
        return Assessment::degraded(Reason::PodEvicted, format!("the pod was evicted: {why}"));
    }
    if !words.is_empty() {
        return Assessment::degraded(Reason::PodFailed, format!("the pod failed: {words}"));
    }
    let all = facts.container_statuses.iter().chain(&facts.init_container_statuses);
    let bad = all.filter_map(|status| Some((status, end(status)?)));
    match bad.filter(|(_, end)| end.exit_code != 0).min_by_key(|(_, end)| end.finished_at_unix_s) {
        Some((status, end)) => Assessment::degraded(
            Reason::PodFailed,
            format!("the pod failed: container {} {}", status.name, ending(end)),
        ),
        None if !facts.reason.is_empty() => {
            Assessment::degraded(Reason::PodFailed, format!("the pod failed: {}", facts.reason))
        }
        None => Assessment::degraded(Reason::PodFailed, "the pod failed"),
    }
}

fn pending(facts: &PodFacts) -> Cow<'static, str> {
    if facts.scheduling_gates > 0 {
        return "the pod waits for its scheduling gates".into();
    }
    if let Some(unscheduled) = unscheduled(facts) {
        return format!("no node takes the pod: {}", condition::words(unscheduled)).into();
    }
    let all = facts.init_container_statuses.iter().chain(&facts.container_statuses);
    let waiting = all.filter_map(|status| Some((status, wait(status)?)));
    match waiting.into_iter().find(|(_, waiting)| !is_start(&waiting.reason)) {
        Some((status, waiting)) => {
            format!("container {} waits: {}", status.name, waiting.reason).into()
        }
        None => "the pod is being started".into(),
    }
}

/// Reasons to wait that are the ordinary start of a pod.
fn is_start(reason: &str) -> bool {
    matches!(reason, "" | "ContainerCreating" | "PodInitializing")
}

fn unscheduled(facts: &PodFacts) -> Option<&Condition> {
    condition::find(&facts.conditions, "PodScheduled")
        .filter(|it| it.status == "False" && it.reason == "Unschedulable")
}

fn wait(status: &ContainerStatus) -> Option<&ContainerWaiting> {
    match status.state.as_ref()?.state.as_ref()? {
        State::Waiting(waiting) => Some(waiting),
        State::Running(_) | State::Terminated(_) => None,
    }
}

fn end(status: &ContainerStatus) -> Option<&ContainerTerminated> {
    match status.state.as_ref()?.state.as_ref()? {
        State::Terminated(end) => Some(end),
        State::Running(_) | State::Waiting(_) => None,
    }
}

fn last_end(status: &ContainerStatus) -> Option<&ContainerTerminated> {
    match status.last_state.as_ref()?.state.as_ref()? {
        State::Terminated(end) => Some(end),
        State::Running(_) | State::Waiting(_) => None,
    }
}

/// It waits with a reason that Argo CD takes for a failure.
fn failing_wait(status: &ContainerStatus) -> Option<(&ContainerStatus, &ContainerWaiting)> {
    let waiting = wait(status)?;
    let reason = waiting.reason.as_str();
    let failing =
        reason.starts_with("Err") || reason.ends_with("Error") || reason.ends_with("BackOff");
    failing.then_some((status, waiting))
}

/// Reason and sentence for a container that cannot go on.
fn stuck(what: &str, status: &ContainerStatus, waiting: &ContainerWaiting) -> (Reason, String) {
    let name = &status.name;
    match waiting.reason.as_str() {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "ImageInspectError"
        | "RegistryUnavailable" => (
            Reason::ImagePullFailed,
            format!("{what} {name} cannot pull image {}: {}", status.image, words(waiting)),
        ),
        "CreateContainerConfigError" => (
            Reason::ContainerConfigError,
            format!("{what} {name} cannot be configured: {}", words(waiting)),
        ),
        "CrashLoopBackOff" => (
            Reason::ContainerCrashLooping,
            match last_end(status) {
                Some(end) => format!("{what} {name} {} again and again", ending(end)),
                None => format!("{what} {name} ends again and again"),
            },
        ),
        _ => (
            Reason::ContainerStartFailed,
            format!("{what} {name} cannot be started: {}", words(waiting)),
        ),
    }
}

fn words(waiting: &ContainerWaiting) -> &str {
    let message = waiting.message.trim().trim_end_matches('.');
    if message.is_empty() { &waiting.reason } else { message }
}

/// How a container ended, after its name.
fn ending(end: &ContainerTerminated) -> String {
    match end.reason.as_str() {
        "OOMKilled" => "was killed for memory (OOMKilled)".to_owned(),
        "" | "Error" | "Completed" if end.signal == 0 => {
            format!("ended with exit code {}", end.exit_code)
        }
        "" | "Error" | "Completed" => format!("was ended by signal {}", end.signal),
        reason => format!("ended with exit code {} ({reason})", end.exit_code),
    }
}

/// What layer 1 is silent on: a container that cannot be, an init container that fails, a pod that no node takes.
pub(crate) fn trouble(facts: &PodFacts) -> Option<Trouble> {
    if facts.phase != "Pending" {
        return None;
    }
    let init = facts.init_container_statuses.iter().find_map(failing_wait);
    if let Some((status, waiting)) = init {
        let (reason, message) = stuck("init container", status, waiting);
        let reason =
            if reason == Reason::ImagePullFailed { reason } else { Reason::InitContainerFailing };
        return Some(Trouble { reason, message, from: Time::MIN });
    }
    let all = facts.container_statuses.iter().chain(&facts.init_container_statuses);
    let invalid = all.filter_map(|status| Some((status, wait(status)?)));
    if let Some((status, waiting)) =
        invalid.into_iter().find(|(_, it)| it.reason == "InvalidImageName")
    {
        let (reason, message) = stuck("container", status, waiting);
        return Some(Trouble { reason, message, from: Time::MIN });
    }
    let unscheduled = unscheduled(facts).filter(|_| facts.scheduling_gates == 0)?;
    Some(Trouble {
        reason: Reason::Unschedulable,
        message: pending(facts).into_owned(),
        from: Time::from_unix_s(unscheduled.last_transition_at_unix_s).after(UNSCHEDULABLE_AFTER),
    })
}

/// Restarts as `kubectl get pods` shows them: of init containers while they run, then of containers and sidecars
/// (`printPod` in kubectl's `printers.go`).
pub(crate) fn restarts(facts: &PodFacts) -> i32 {
    let is_sidecar = |name: &str| {
        facts.init_containers.iter().any(|it| it.name == name && it.restart_policy == "Always")
    };
    let (mut of_init, mut of_sidecars, mut initializing) = (0_i32, 0_i32, false);
    for status in &facts.init_container_statuses {
        let sidecar = is_sidecar(&status.name);
        of_init = of_init.saturating_add(status.restarts);
        if sidecar {
            of_sidecars = of_sidecars.saturating_add(status.restarts);
        }
        let done = end(status).is_some_and(|end| end.exit_code == 0);
        let serves = sidecar && status.started == Some(true);
        if !done && !serves {
            initializing = true;
            break;
        }
    }
    if initializing && !condition::is_true(&facts.conditions, "Initialized") {
        return of_init;
    }
    facts
        .container_statuses
        .iter()
        .fold(of_sidecars, |sum, status| sum.saturating_add(status.restarts))
}

/// What one sees of a pod's containers, for the evidence of a verdict: each that is not as it should be.
pub(crate) fn evidence(facts: &PodFacts) -> Vec<String> {
    let mut evidence = Vec::new();
    for status in facts.init_container_statuses.iter().chain(&facts.container_statuses) {
        let name = &status.name;
        if let Some(waiting) = wait(status).filter(|it| !is_start(&it.reason)) {
            let reason = &waiting.reason;
            let restarts = match status.restarts {
                0 => String::new(),
                1 => ", 1 restart".to_owned(),
                many => format!(", {many} restarts"),
            };
            evidence.push(format!("container {name} waits with {reason}{restarts}"));
        }
        if let Some(end) = last_end(status).or_else(|| end(status)).filter(|it| it.exit_code != 0) {
            evidence.push(format!("container {name} {}", ending(end)));
        }
    }
    if let Some(unscheduled) = unscheduled(facts) {
        evidence.push(format!("PodScheduled is False: {}", condition::words(unscheduled)));
    }
    evidence
}

/// The container whose log tells most: the first that waits after a failure, or failed.
pub(crate) fn failing_container(facts: &PodFacts) -> Option<&str> {
    let mut all = facts.container_statuses.iter().chain(&facts.init_container_statuses);
    let failing = |status: &&ContainerStatus| {
        failing_wait(status).is_some() || end(status).is_some_and(|end| end.exit_code != 0)
    };
    all.clone()
        .find(failing)
        .or_else(|| all.find(|status| last_end(status).is_some()))
        .map(|status| status.name.as_str())
}

/// Whether layer 1 calls it a failure of the pod's phase: the pod will not come back, its controller makes another.
pub(crate) fn is_over(facts: &PodFacts) -> bool {
    matches!(facts.phase.as_str(), "Succeeded" | "Failed")
}

/// Since when it takes no traffic; `None` while it does, or where it does not say.
pub(crate) fn not_ready_since(facts: &PodFacts) -> Option<Time> {
    let ready = condition::find(&facts.conditions, "Ready").filter(|it| it.status != "True")?;
    Some(Time::from_unix_s(ready.last_transition_at_unix_s))
}

/// It takes traffic.
pub(crate) fn is_ready(facts: &PodFacts) -> bool {
    condition::is_true(&facts.conditions, "Ready")
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
