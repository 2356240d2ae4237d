//! Nodes: ready or not. Cordoned and pressed nodes still run what they run, and are said in the message only.

use vitals_proto::v1::NodeFacts;

use super::{Assessment, Reason, condition};

const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "low on memory"),
    ("DiskPressure", "low on disk"),
    ("PIDPressure", "low on process ids"),
    ("NetworkUnavailable", "without network"),
];

pub(super) fn assess(facts: &NodeFacts) -> Assessment {
    let mut notes: Vec<&str> = Vec::new();
    if facts.unschedulable {
        notes.push("cordoned");
    }
    let pressed = PRESSURES.iter().filter(|(it, _)| condition::is_true(&facts.conditions, it));
    notes.extend(pressed.map(|(_, words)| *words));
    let notes = if notes.is_empty() { String::new() } else { format!(", {}", notes.join(", ")) };
    match condition::find(&facts.conditions, "Ready") {
        Some(ready) if ready.status == "True" => Assessment::healthy(format!("ready{notes}")),
        Some(ready) => Assessment::degraded(
            Reason::NodeNotReady,
            format!("not ready{notes}: {}", condition::words(ready)),
        ),
        // The kubelet has not reported once.
        None => Assessment::unknown(
            Reason::NodeNotReady,
            format!("the node has not said yet whether it is ready{notes}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::{
        Condition,
        HealthStatus::{Degraded, Healthy, Unknown},
    };

    fn condition(r#type: &str, status: &str, message: &str) -> Condition {
        let [r#type, status, message] = [r#type, status, message].map(str::to_owned);
        Condition { r#type, status, message, ..Condition::default() }
    }

    #[test]
    fn rule() {
        let ready = condition("Ready", "True", "kubelet is posting ready status");
        let lost = condition("Ready", "Unknown", "Kubelet stopped posting node status.");
        for (case, unschedulable, conditions, status, reason, message) in [
            (
                "ready",
                false,
                vec![ready.clone(), condition("MemoryPressure", "False", "")],
                Healthy,
                Reason::None,
                "ready",
            ),
            ("cordoned", true, vec![ready.clone()], Healthy, Reason::None, "ready, cordoned"),
            (
                "pressed",
                false,
                vec![ready, condition("DiskPressure", "True", "")],
                Healthy,
                Reason::None,
                "ready, low on disk",
            ),
            (
                "lost",
                false,
                vec![lost],
                Degraded,
                Reason::NodeNotReady,
                "not ready: Kubelet stopped posting node status",
            ),
            (
                "not ready",
                true,
                vec![condition("Ready", "False", "")],
                Degraded,
                Reason::NodeNotReady,
                "not ready, cordoned: no reason given",
            ),
            (
                "new",
                false,
                vec![],
                Unknown,
                Reason::NodeNotReady,
                "the node has not said yet whether it is ready",
            ),
        ] {
            let got = assess(&NodeFacts { unschedulable, conditions, ..NodeFacts::default() });
            assert_eq!(
                (got.status, got.reason, got.message.as_ref()),
                (status, reason, message),
                "{case}"
            );
        }
    }
}
