//! Any kind: what kstatus reads of an object whose kind it does not know (cli-utils `pkg/kstatus/status/generic.go`).

use serde_json::Value;

use super::super::{Assessment, Reason, stale_generation};
use super::read;

pub(super) fn assess(object: &Value) -> Assessment {
    // A controller that says nothing of generations is believed to have seen the latest.
    let observed = read::number(object, &["status", "observedGeneration"]);
    let stale = observed.and_then(|it| stale_generation(it, read::generation(object)));
    if let Some(stale) = stale {
        return stale;
    }
    for condition in read::conditions(object) {
        if condition.is("Reconciling", "True") {
            return Assessment::progressing(Reason::ResourceReconciling, condition.words());
        }
        if condition.is("Stalled", "True") {
            return Assessment::degraded(Reason::ResourceStalled, condition.words());
        }
    }
    match read::condition(object, "Ready") {
        Some(ready) if ready.status == "True" => Assessment::healthy("it is ready"),
        Some(ready) if ["False", "Unknown"].contains(&ready.status) => {
            Assessment::progressing(Reason::ResourceNotReady, ready.words())
        }
        Some(_) | None => Assessment::healthy("it exists, and says nothing of its health"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vitals_proto::v1::HealthStatus::{self, Degraded, Healthy, Progressing};

    use super::*;

    #[test]
    fn rule() {
        let conditions = |conditions: &[(&str, &str)]| {
            let conditions: Vec<Value> = conditions
                .iter()
                .map(|(kind, status)| json!({ "type": kind, "status": status, "message": "because." }))
                .collect();
            json!({ "metadata": { "generation": 2 }, "status": { "observedGeneration": 2, "conditions": conditions } })
        };
        let stale = json!({
            "metadata": { "generation": 2 },
            "status": { "observedGeneration": 1, "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let cases: [(&str, Value, HealthStatus, Reason); 9] = [
            ("stale generation", stale, Progressing, Reason::GenerationNotObserved),
            (
                "reconciling first",
                conditions(&[("Reconciling", "True"), ("Stalled", "True"), ("Ready", "True")]),
                Progressing,
                Reason::ResourceReconciling,
            ),
            (
                "stalled first",
                conditions(&[("Stalled", "True"), ("Reconciling", "True"), ("Ready", "True")]),
                Degraded,
                Reason::ResourceStalled,
            ),
            (
                "neither",
                conditions(&[("Stalled", "False"), ("Reconciling", "False"), ("Ready", "True")]),
                Healthy,
                Reason::None,
            ),
            ("not ready", conditions(&[("Ready", "False")]), Progressing, Reason::ResourceNotReady),
            (
                "not known",
                conditions(&[("Ready", "Unknown")]),
                Progressing,
                Reason::ResourceNotReady,
            ),
            ("other conditions", conditions(&[("Synced", "False")]), Healthy, Reason::None),
            ("no status", json!({ "metadata": { "generation": 2 } }), Healthy, Reason::None),
            (
                "says nothing of generations",
                json!({ "metadata": { "generation": 2 }, "status": {} }),
                Healthy,
                Reason::None,
            ),
        ];
        for (case, object, status, reason) in cases {
            let got = assess(&object);
            assert_eq!((got.status, got.reason), (status, reason), "{case}");
            assert_eq!(got.settled, status == Healthy, "{case}");
        }
        let got = assess(&conditions(&[("Stalled", "True")]));
        assert_eq!(got.message, "Stalled is True: because");
    }
}
