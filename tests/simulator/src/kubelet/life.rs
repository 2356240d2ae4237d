//! What a pod does next. Pure: from its status, what it is told, and the time, to its next status and when to look again.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::status::{self, Containers};
use crate::behaviour::{Behaviour, What};
use crate::value::{at, number, rfc3339, text, time};
use crate::world::events::{Happened, Tone};
use crate::world::later;

/// How long after its start something happens to a container, where it is not said.
const USUAL_AFTER: Duration = Duration::from_secs(2);

/// Between two looks for something that is missing.
const MISSING_INTERVAL: Duration = Duration::from_secs(5);

/// How often the pause of a crash loop doubles, at most.
const DOUBLINGS_MAX: u32 = 5;

/// What is around a pod.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// What its configuration comes from and is not there.
    pub(crate) missing: Option<String>,
    pub(crate) node_ready: bool,
    /// Its address, if it has none yet.
    pub(crate) address: String,
    pub(crate) start_delay: Duration,
    pub(crate) crash_backoff: Duration,
}

/// How a pod goes on.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) pod: Value,
    pub(crate) wake: Option<Timestamp>,
    pub(crate) happened: Vec<Happened>,
}

/// How a container ended.
struct Ended {
    exit_code: i64,
    reason: &'static str,
}

/// What becomes of a pod now.
pub(crate) fn advance(
    pod: &Value,
    behaviour: &Behaviour,
    around: &Surroundings,
    now: Timestamp,
) -> Life {
    let mut life = Life { pod: pod.clone(), wake: None, happened: Vec::new() };
    let state = at(pod, "/status/containerStatuses/0/state").clone();
    let running = time(&state, "/running/startedAt");
    match (running, text(&state, "/waiting/reason")) {
        (Some(started), _) => run(&mut life, behaviour, around, started, now),
        (None, "") => create(&mut life, around, now),
        (None, "CrashLoopBackOff") => back_off(&mut life, behaviour, around, now),
        (None, _) => start(&mut life, behaviour, around, now),
    }
    life
}

fn create(life: &mut Life, around: &Surroundings, now: Timestamp) {
    status::begin(&mut life.pod, now);
    life.wake = Some(later(now, around.start_delay));
}

/// The first start, or another try of what failed.
fn start(life: &mut Life, behaviour: &Behaviour, around: &Surroundings, now: Timestamp) {
    let due = time(&life.pod, "/status/startTime").map(|it| later(it, around.start_delay));
    if let Some(due) = due.filter(|due| *due > now) {
        life.wake = Some(due);
        return;
    }
    let told = (behaviour.what == What::NoConfig).then(|| {
        let missing = behaviour.missing.as_deref().unwrap_or("secret/missing");
        let (kind, name) = missing.split_once('/').unwrap_or(("secret", missing));
        format!("{kind} \"{name}\" not found")
    });
    if let Some(missing) = told.or_else(|| around.missing.clone()) {
        life.wake = Some(later(now, MISSING_INTERVAL));
        fail_to_start(
            life,
            "CreateContainerConfigError",
            &missing,
            &format!("Error: {missing}"),
            now,
        );
        return;
    }
    if behaviour.what == What::NoImage {
        let image = text(&life.pod, "/spec/containers/0/image").to_owned();
        let cause = format!(
            "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
        );
        let backs_off = !text(&life.pod, "/status/containerStatuses/0/state/waiting/reason")
            .starts_with("Container");
        let (reason, message) = match backs_off {
            true => (
                "ImagePullBackOff",
                format!("Back-off pulling image \"{image}\": ErrImagePull: {cause}"),
            ),
            false => ("ErrImagePull", cause.clone()),
        };
        fail_to_start(
            life,
            reason,
            &message,
            &format!("Failed to pull image \"{image}\": {cause}"),
            now,
        );
        return;
    }
    let restarts =
        number(&life.pod, "/status/containerStatuses/0/restartCount").unwrap_or_default();
    begin_run(life, behaviour, around, restarts, now);
}

fn fail_to_start(life: &mut Life, reason: &str, message: &str, event: &str, now: Timestamp) {
    let known = text(&life.pod, "/status/containerStatuses/0/state/waiting/reason") == reason;
    let containers = Containers {
        state: json!({ "waiting": { "reason": reason, "message": message } }),
        ..Containers::of(&life.pod)
    };
    status::write(&mut life.pod, "Pending", &containers, now);
    if !known {
        let (reason, message) = ("Failed", event.to_owned());
        life.happened.push(Happened { tone: Tone::Warning, reason, message, source: "kubelet" });
    }
}

fn begin_run(
    life: &mut Life,
    behaviour: &Behaviour,
    around: &Surroundings,
    restarts: i64,
    now: Timestamp,
) {
    status::give_address(&mut life.pod, &around.address);
    let containers = Containers {
        state: json!({ "running": { "startedAt": rfc3339(now) } }),
        ready: false,
        restarts,
        ..Containers::of(&life.pod)
    };
    status::write(&mut life.pod, "Running", &containers, now);
    let message = "Container started".to_owned();
    life.happened.push(Happened {
        tone: Tone::Normal,
        reason: "Started",
        message,
        source: "kubelet",
    });
    run(life, behaviour, around, now, now);
}

fn run(
    life: &mut Life,
    behaviour: &Behaviour,
    around: &Surroundings,
    started: Timestamp,
    now: Timestamp,
) {
    let restarts =
        number(&life.pod, "/status/containerStatuses/0/restartCount").unwrap_or_default();
    let is_over = behaviour.restarts.is_some_and(|enough| restarts >= enough);
    let what = if is_over { What::Run } else { behaviour.what };
    let ending = match what {
        What::Crash => Some(Ended { exit_code: behaviour.exit_code.unwrap_or(1), reason: "Error" }),
        What::OutOfMemory => Some(Ended { exit_code: 137, reason: "OOMKilled" }),
        What::NotLive => Some(Ended { exit_code: 137, reason: "Error" }),
        What::Complete => {
            Some(Ended { exit_code: behaviour.exit_code.unwrap_or(0), reason: "Completed" })
        }
        What::Run
        | What::NoImage
        | What::NoConfig
        | What::Unschedulable
        | What::NeverReady
        | What::NotReady
        | What::NoMetrics
        | What::Manual => None,
    };
    if let Some(ended) = ending {
        let at = later(started, behaviour.after.unwrap_or(USUAL_AFTER));
        if at <= now {
            end(life, what, &ended, around, (started, restarts), now);
            return;
        }
        life.wake = Some(at);
    }
    let ready_at = later(started, behaviour.ready_after);
    let ready = what != What::NeverReady && ready_at <= now && around.node_ready;
    if ready_at > now {
        life.wake = Some(life.wake.map_or(ready_at, |at| at.min(ready_at)));
    }
    if what == What::NeverReady && started == now {
        let message = "Readiness probe failed: HTTP probe failed with statuscode: 503".to_owned();
        life.happened.push(Happened {
            tone: Tone::Warning,
            reason: "Unhealthy",
            message,
            source: "kubelet",
        });
    }
    let containers = Containers { ready, ..Containers::of(&life.pod) };
    status::write(&mut life.pod, "Running", &containers, now);
}

fn end(
    life: &mut Life,
    what: What,
    Ended { exit_code, reason }: &Ended,
    around: &Surroundings,
    (started, restarts): (Timestamp, i64),
    now: Timestamp,
) {
    let reason = if *exit_code == 0 {
        "Completed"
    } else if *reason == "Completed" {
        "Error"
    } else {
        reason
    };
    let terminated = json!({ "terminated": {
        "exitCode": exit_code, "reason": reason,
        "startedAt": rfc3339(started), "finishedAt": rfc3339(now),
        "containerID": text(&life.pod, "/status/containerStatuses/0/containerID"),
    } });
    if what == What::NotLive {
        let message = "Liveness probe failed: HTTP probe failed with statuscode: 500".to_owned();
        life.happened.push(Happened {
            tone: Tone::Warning,
            reason: "Unhealthy",
            message,
            source: "kubelet",
        });
    }
    let policy = text(&life.pod, "/spec/restartPolicy").to_owned();
    let before = Containers::of(&life.pod);
    if policy == "Never" || policy == "OnFailure" && *exit_code == 0 {
        let phase = if *exit_code == 0 { "Succeeded" } else { "Failed" };
        let containers = Containers { state: terminated, ready: false, ..before };
        status::write(&mut life.pod, phase, &containers, now);
        life.wake = None;
        return;
    }
    let pause = pause(around.crash_backoff, restarts);
    if pause.is_zero() {
        let state = json!({ "running": { "startedAt": rfc3339(now) } });
        let containers =
            Containers { state, last: terminated, ready: false, restarts: restarts + 1 };
        status::write(&mut life.pod, "Running", &containers, now);
        // The next look, at what was written, goes on from here.
        return;
    }
    let message = format!(
        "back-off {}s restarting failed container={} pod={}_{}({})",
        pause.as_secs(),
        text(&life.pod, "/spec/containers/0/name"),
        text(&life.pod, "/metadata/name"),
        text(&life.pod, "/metadata/namespace"),
        text(&life.pod, "/metadata/uid"),
    );
    let state = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": message } });
    let containers = Containers { state, last: terminated, ready: false, restarts };
    status::write(&mut life.pod, "Running", &containers, now);
    life.wake = Some(later(now, pause));
    let message = format!(
        "Back-off restarting failed container {}",
        text(&life.pod, "/spec/containers/0/name")
    );
    life.happened.push(Happened {
        tone: Tone::Warning,
        reason: "BackOff",
        message,
        source: "kubelet",
    });
}

fn back_off(life: &mut Life, behaviour: &Behaviour, around: &Surroundings, now: Timestamp) {
    let container = "/status/containerStatuses/0";
    let restarts = number(&life.pod, &format!("{container}/restartCount")).unwrap_or_default();
    let finished =
        time(&life.pod, &format!("{container}/lastState/terminated/finishedAt")).unwrap_or(now);
    let due = later(finished, pause(around.crash_backoff, restarts));
    if due > now {
        life.wake = Some(due);
        return;
    }
    begin_run(life, behaviour, around, restarts + 1, now);
}

/// The first restart comes at once, then after longer and longer pauses.
fn pause(first: Duration, restarts: i64) -> Duration {
    let Ok(restarts) = u32::try_from(restarts) else { return first };
    let Some(doublings) = restarts.checked_sub(1) else { return Duration::ZERO };
    first.saturating_mul(1 << doublings.min(DOUBLINGS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::is_true;

    const START: i64 = 1_767_225_600;

    fn at_second(second: i64) -> Timestamp {
        Timestamp::from_second(START + second).unwrap()
    }

    fn new_pod(told: &str) -> (Value, Behaviour) {
        let pod = json!({
            "metadata": { "name": "p", "namespace": "n", "annotations": { crate::behaviour::ANNOTATION: told } },
            "spec": { "restartPolicy": "Always", "nodeName": "node-0", "containers": [{ "name": "main", "image": "x:1" }] },
            "status": { "phase": "Pending" },
        });
        let behaviour = Behaviour::of(&pod);
        (pod, behaviour)
    }

    /// Phase, why it waits or how it last ended, restarts, readiness, at each second.
    fn live(told: &str, seconds: i64) -> Vec<String> {
        let (mut pod, behaviour) = new_pod(told);
        let around = Surroundings {
            missing: None,
            node_ready: true,
            address: "172.0.0.1".to_owned(),
            start_delay: Duration::from_secs(1),
            crash_backoff: Duration::from_secs(10),
        };
        let mut said = Vec::new();
        for second in 0..=seconds {
            for _ in 0..3 {
                pod = advance(&pod, &behaviour, &around, at_second(second)).pod;
            }
            let container = at(&pod, "/status/containerStatuses/0");
            let waiting = text(container, "/state/waiting/reason");
            let ended = text(container, "/lastState/terminated/reason");
            let ready = if is_true(&pod, "Ready") { "ready" } else { "not ready" };
            let restarts = number(container, "/restartCount").unwrap_or_default();
            let line =
                format!("{} {waiting}/{ended} {restarts} {ready}", text(&pod, "/status/phase"));
            if said.last() != Some(&line) {
                said.push(line);
            }
        }
        said
    }

    #[test]
    fn pods_live_as_they_are_told() {
        for (told, seconds, want) in [
            (
                "run ready-after=2s",
                9,
                vec![
                    "Pending ContainerCreating/ 0 not ready",
                    "Running / 0 not ready",
                    "Running / 0 ready",
                ],
            ),
            (
                "crash after=2s restarts=3",
                60,
                vec![
                    "Pending ContainerCreating/ 0 not ready",
                    "Running / 0 ready",
                    "Running /Error 1 ready",
                    "Running CrashLoopBackOff/Error 1 not ready",
                    "Running /Error 2 ready",
                    "Running CrashLoopBackOff/Error 2 not ready",
                    "Running /Error 3 ready",
                ],
            ),
            (
                "image-pull-error",
                5,
                vec![
                    "Pending ContainerCreating/ 0 not ready",
                    "Pending ImagePullBackOff/ 0 not ready",
                ],
            ),
            (
                "config-error",
                5,
                vec![
                    "Pending ContainerCreating/ 0 not ready",
                    "Pending CreateContainerConfigError/ 0 not ready",
                ],
            ),
            (
                "never-ready",
                5,
                vec!["Pending ContainerCreating/ 0 not ready", "Running / 0 not ready"],
            ),
        ] {
            assert_eq!(live(told, seconds), want, "{told}");
        }
        assert!(
            live("oom after=1s", 9)
                .contains(&"Running CrashLoopBackOff/OOMKilled 1 not ready".to_owned())
        );
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let pauses: Vec<u64> =
            (0..9).map(|it| pause(Duration::from_secs(10), it).as_secs()).collect();
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 320, 320, 320]);
    }
}
