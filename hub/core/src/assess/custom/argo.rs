//! Argo's own kinds, by what they say of themselves: Workflow, Rollout, Application (Argo CD `resource_customizations/argoproj.io`).

use serde_json::Value;
use vitals_proto::v1::HealthStatus;

use super::super::{Assessment, Reason, stale_generation};
use super::read;

pub(super) fn workflow(object: &Value) -> Assessment {
    let phase = read::text(object, &["status", "phase"]).unwrap_or_default();
    let words = || said(object, phase);
    match phase {
        "" | "Pending" | "Running" => Assessment::progressing(Reason::WorkflowRunning, words()),
        "Succeeded" => Assessment::healthy("it succeeded"),
        "Failed" | "Error" => Assessment::degraded(Reason::WorkflowFailed, words()),
        _ => Assessment::unknown(Reason::StatusWordUnknown, words()),
    }
}

pub(super) fn application(object: &Value) -> Assessment {
    let Some(word) = read::text(object, &["status", "health", "status"]) else {
        return Assessment::progressing(
            Reason::ResourceNotReady,
            "Argo CD has not assessed it yet",
        );
    };
    let message = read::text(object, &["status", "health", "message"]).unwrap_or_default();
    of_word(word, message)
}

/// Versions from 1.0 on say how they are in `status.phase`; those before are judged by conditions and replica counts.
pub(super) fn rollout(object: &Value) -> Assessment {
    if let Some(stale) = unobserved(object) {
        return stale;
    }
    let phase = read::text(object, &["status", "phase"]).unwrap_or_default();
    if !phase.is_empty() {
        let message = read::text(object, &["status", "message"]).unwrap_or_default();
        return of_word(if phase == "Paused" { "Suspended" } else { phase }, message);
    }
    let failed = read::conditions(object).find(|it| {
        it.is("InvalidSpec", "True")
            || it.r#type == "Progressing"
                && ["RolloutAborted", "ProgressDeadlineExceeded"].contains(&it.reason)
    });
    if let Some(failed) = failed {
        return Assessment::degraded(Reason::RolloutFailed, failed.words());
    }
    let is_paused = read::is_true(object, &["spec", "paused"])
        || !read::list(object, &["status", "pauseConditions"]).is_empty();
    if is_paused {
        return Assessment::new(HealthStatus::Suspended, Reason::Paused, "the rollout is paused");
    }
    by_replicas(object)
}

/// `status.observedGeneration` is a text here; of the oldest versions it is a hash, which says nothing.
fn unobserved(object: &Value) -> Option<Assessment> {
    if read::at(object, &["status"])
        .is_none_or(|status| status.as_object().is_none_or(|it| it.is_empty()))
    {
        return stale_generation(0, read::generation(object).max(1));
    }
    let observed: i64 = read::text(object, &["status", "observedGeneration"])?.parse().ok()?;
    stale_generation(observed, read::generation(object))
}

fn by_replicas(object: &Value) -> Assessment {
    let count = |name| read::number(object, &["status", name]).unwrap_or_default();
    let desired = read::number(object, &["spec", "replicas"]).unwrap_or(1);
    let (replicas, updated) = (count("replicas"), count("updatedReplicas"));
    let available = count("availableReplicas");
    if updated < desired {
        let message = format!("{updated} of {desired} replicas are updated");
        return Assessment::progressing(Reason::RolloutInProgress, message);
    }
    if available < updated {
        let message = format!("{available} of {updated} updated replicas are available");
        return Assessment::progressing(Reason::ReplicasUnavailable, message);
    }
    // The old replicas of a blue-green rollout may stay for long, and take no traffic.
    let is_blue_green = read::at(object, &["spec", "strategy", "blueGreen"]).is_some();
    if replicas > updated && !is_blue_green {
        let message = format!("{} old replicas are still there", replicas - updated);
        return Assessment::progressing(Reason::OldReplicasPending, message);
    }
    let serving = if is_blue_green {
        read::text(object, &["status", "blueGreen", "activeSelector"])
    } else {
        let stable = read::text(object, &["status", "stableRS"]);
        stable.or_else(|| read::text(object, &["status", "canary", "stableRS"]))
    };
    if serving.is_some() && serving != read::text(object, &["status", "currentPodHash"]) {
        return Assessment::progressing(
            Reason::RolloutInProgress,
            "the newest replicas do not take all traffic yet",
        );
    }
    Assessment::healthy(format!("{available} of {desired} replicas are available"))
}

/// What Argo itself says, in its words.
fn of_word(word: &str, message: &str) -> Assessment {
    let message = message.trim().trim_end_matches('.');
    let message = if message.is_empty() { format!("Argo says {word}") } else { message.to_owned() };
    match word {
        "Healthy" => Assessment::healthy(message),
        "Progressing" => Assessment::progressing(Reason::ResourceNotReady, message),
        "Degraded" => Assessment::degraded(Reason::ResourceDegraded, message),
        "Suspended" => Assessment::new(HealthStatus::Suspended, Reason::Paused, message),
        "Missing" => Assessment::new(HealthStatus::Missing, Reason::ResourceMissing, message),
        _ => Assessment::unknown(Reason::StatusWordUnknown, message),
    }
}

fn said(object: &Value, phase: &str) -> String {
    let message = read::text(object, &["status", "message"]).unwrap_or_default();
    let message = message.trim().trim_end_matches('.');
    match (phase, message) {
        ("", "") => "it has not begun".to_owned(),
        (phase, "") => format!("its phase is {phase}"),
        ("", message) => message.to_owned(),
        (phase, message) => format!("its phase is {phase}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vitals_proto::v1::HealthStatus::{
        Degraded, Healthy, Missing, Progressing, Suspended, Unknown,
    };

    use super::*;

    #[test]
    fn workflows() {
        for (phase, status) in [
            ("", Progressing),
            ("Pending", Progressing),
            ("Running", Progressing),
            ("Succeeded", Healthy),
            ("Failed", Degraded),
            ("Error", Degraded),
            ("Dreaming", Unknown),
        ] {
            let got = workflow(&json!({ "status": { "phase": phase, "message": "so." } }));
            assert_eq!(got.status, status, "{phase}");
        }
        assert_eq!(workflow(&json!({})).message, "it has not begun");
    }

    #[test]
    fn applications_are_as_argo_says() {
        let of =
            |word: &str| application(&json!({ "status": { "health": { "status": word } } })).status;
        let words = ["Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown", "?"];
        let want = [Healthy, Progressing, Degraded, Suspended, Missing, Unknown, Unknown];
        assert_eq!(words.map(of), want);
        assert_eq!(application(&json!({ "status": {} })).status, Progressing);
    }

    #[expect(clippy::too_many_lines, reason = "a table, some lines a case")]
    #[test]
    fn rollouts() {
        let of = |spec: Value, status: Value| {
            let got = rollout(
                &json!({ "metadata": { "generation": 3 }, "spec": spec, "status": status }),
            );
            (got.status, got.reason)
        };
        let none = json!({});
        let counts = |replicas: i64, updated: i64, available: i64| {
            json!({
                "observedGeneration": "3", "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available,
            })
        };
        let with = |mut status: Value, more: &Value| {
            for (key, value) in more.as_object().unwrap() {
                status[key] = value.clone();
            }
            status
        };
        let two = json!({ "replicas": 2 });
        let canary = json!({ "replicas": 2, "strategy": { "canary": {} } });
        let blue_green = json!({ "replicas": 2, "strategy": { "blueGreen": {} } });
        let condition = |kind: &str, reason: &str| json!({ "conditions": [{ "type": kind, "status": "True", "reason": reason }], "observedGeneration": "3" });
        for (case, spec, status, want) in [
            ("no status", none.clone(), json!({}), (Progressing, Reason::GenerationNotObserved)),
            (
                "stale",
                none.clone(),
                json!({ "observedGeneration": "2", "phase": "Healthy" }),
                (Progressing, Reason::GenerationNotObserved),
            ),
            (
                "an old hash",
                none.clone(),
                json!({ "observedGeneration": "6b8d", "phase": "Healthy" }),
                (Healthy, Reason::None),
            ),
            (
                "by phase",
                none.clone(),
                json!({ "observedGeneration": "3", "phase": "Degraded", "message": "m" }),
                (Degraded, Reason::ResourceDegraded),
            ),
            (
                "paused by phase",
                none.clone(),
                json!({ "observedGeneration": "3", "phase": "Paused" }),
                (Suspended, Reason::Paused),
            ),
            ("paused", json!({ "paused": true }), counts(0, 0, 0), (Suspended, Reason::Paused)),
            (
                "paused by a step",
                two.clone(),
                with(
                    counts(2, 2, 2),
                    &json!({ "pauseConditions": [{ "reason": "CanaryPauseStep" }] }),
                ),
                (Suspended, Reason::Paused),
            ),
            (
                "invalid",
                two.clone(),
                condition("InvalidSpec", ""),
                (Degraded, Reason::RolloutFailed),
            ),
            (
                "aborted",
                two.clone(),
                condition("Progressing", "RolloutAborted"),
                (Degraded, Reason::RolloutFailed),
            ),
            (
                "too late",
                two.clone(),
                condition("Progressing", "ProgressDeadlineExceeded"),
                (Degraded, Reason::RolloutFailed),
            ),
            ("not updated", two.clone(), counts(2, 1, 1), (Progressing, Reason::RolloutInProgress)),
            (
                "not available",
                two.clone(),
                counts(2, 2, 1),
                (Progressing, Reason::ReplicasUnavailable),
            ),
            ("old ones", two.clone(), counts(3, 2, 2), (Progressing, Reason::OldReplicasPending)),
            (
                "canary does not serve all",
                canary.clone(),
                with(counts(2, 2, 2), &json!({ "stableRS": "a", "currentPodHash": "b" })),
                (Progressing, Reason::RolloutInProgress),
            ),
            (
                "old ones of blue may stay",
                blue_green.clone(),
                with(
                    counts(4, 2, 2),
                    &json!({ "blueGreen": { "activeSelector": "b" }, "currentPodHash": "b" }),
                ),
                (Healthy, Reason::None),
            ),
            (
                "blue is active",
                blue_green.clone(),
                with(
                    counts(2, 2, 2),
                    &json!({ "blueGreen": { "activeSelector": "a" }, "currentPodHash": "b" }),
                ),
                (Progressing, Reason::RolloutInProgress),
            ),
            (
                "done",
                canary,
                with(
                    counts(2, 2, 2),
                    &json!({ "canary": { "stableRS": "b" }, "currentPodHash": "b" }),
                ),
                (Healthy, Reason::None),
            ),
        ] {
            assert_eq!(of(spec, status), want, "{case}");
        }
    }
}
