//! The scheduler: a node for each pod, in turn among those that fit.
//!
//! It looks at node selectors, the one node that a daemon's pod is bound to, taints only as cordons, and whether a pod is larger
//! than a node. It does not add up what the pods of a node request.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::behaviour::{Behaviour, What};
use crate::resource::{CLAIMS, PODS};
use crate::store::Key;
use crate::value::{
    Condition, at, flag, items, put_condition, rfc3339, set, set_condition, text, texts,
};
use crate::world::World;
use crate::world::events::{Happened, Tone};
use crate::world::write::is_deleted;

impl World {
    pub(crate) fn sync_scheduler(&mut self, key: &Key, now: Timestamp) {
        let Some(mut pod) = self.store.read(PODS, key) else {
            self.queue.unschedulable.remove(key);
            return;
        };
        if !text(&pod, "/spec/nodeName").is_empty() || is_deleted(&pod) {
            self.queue.unschedulable.remove(key);
            return;
        }
        match self.choose_node(key, &pod) {
            Ok(node) => {
                self.queue.unschedulable.remove(key);
                set(&mut pod, &["spec", "nodeName"], node.as_str());
                let scheduled =
                    Condition { r#type: "PodScheduled", status: true, reason: "", message: "" };
                set_condition(&mut pod, &scheduled, now);
                // Both at once, as the binding does.
                crate::value::remove(&mut pod, &["metadata", "resourceVersion"]);
                self.store.put(PODS, key, pod.clone());
                let message =
                    format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
                let happened = Happened {
                    tone: Tone::Normal,
                    reason: "Scheduled",
                    message,
                    source: "default-scheduler",
                };
                self.tell(PODS, &pod, happened, now);
            }
            Err(message) => {
                self.queue.unschedulable.insert(key.clone());
                let known = crate::value::condition(&pod, "PodScheduled");
                if known.is_some_and(|it| text(it, "/message") == message) {
                    return;
                }
                let since = known.map(|it| text(it, "/lastTransitionTime").to_owned());
                put_condition(
                    &mut pod,
                    json!({
                        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                        "lastTransitionTime": since.unwrap_or_else(|| rfc3339(now)),
                    }),
                );
                self.write_status(PODS, key, pod.clone(), now);
                let happened = Happened {
                    tone: Tone::Warning,
                    reason: "FailedScheduling",
                    message,
                    source: "default-scheduler",
                };
                self.tell(PODS, &pod, happened, now);
            }
        }
    }

    fn choose_node(&mut self, key: &Key, pod: &Value) -> Result<String, String> {
        let nodes = self.nodes();
        let count = nodes.all.len();
        if Behaviour::of(pod).what == What::Unschedulable {
            return Err(format!(
                "0/{count} nodes are available: {count} Insufficient memory. preemption: 0/{count} nodes are available: {count} No preemption victims found for incoming pod."
            ));
        }
        for volume in items(pod, "/spec/volumes") {
            let claim = text(volume, "/persistentVolumeClaim/claimName");
            let found = self.store.read(CLAIMS, &Key::new(&key.namespace, claim));
            if !claim.is_empty() && found.is_none() {
                return Err(format!(
                    "0/{count} nodes are available: persistentvolumeclaim \"{claim}\" not found."
                ));
            }
            if found.is_some_and(|it| text(&it, "/status/phase") != "Bound") {
                return Err(format!(
                    "0/{count} nodes are available: pod has unbound immediate PersistentVolumeClaims."
                ));
            }
        }
        let only = only_node(pod);
        let fits = |node: &Value| {
            let name = super::name(node);
            let open =
                only.is_some() || !flag(node, "/spec/unschedulable") && nodes.ready.contains(name);
            only.is_none_or(|it| it == name)
                && open
                && selects(pod, node)
                && is_large_enough(pod, node)
        };
        // The next one in turn that fits.
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn.checked_rem(count).unwrap_or_default();
        let mut in_turn = nodes.all.iter().skip(first).chain(nodes.all.iter().take(first));
        if let Some(node) = in_turn.find(|node| fits(node)) {
            return Ok(super::name(node).to_owned());
        }
        let selector = texts(pod, "/spec/nodeSelector").next().is_some();
        let why = if selector {
            "node(s) didn't match Pod's node affinity/selector"
        } else {
            "Insufficient cpu"
        };
        Err(format!("0/{count} nodes are available: {count} {why}."))
    }
}

/// Whether a node has the labels that a pod (or its template) wants.
pub(crate) fn selects(pod: &Value, node: &Value) -> bool {
    let mut wanted = texts(pod, "/spec/nodeSelector");
    let labels = at(node, "/metadata/labels");
    wanted.all(|(key, value)| labels.get(key).is_some_and(|it| it == value))
}

/// The node that a daemon's pod is made for.
pub(crate) fn only_node(pod: &Value) -> Option<&str> {
    let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let field = items(pod, terms).first()?.pointer("/matchFields/0")?;
    (text(field, "/key") == "metadata.name").then(|| text(field, "/values/0"))
}

fn is_large_enough(pod: &Value, node: &Value) -> bool {
    ["cpu", "memory"].iter().all(|what| {
        let requests = items(pod, "/spec/containers").iter();
        let requests =
            requests.map(|it| quantity(text(it, &format!("/resources/requests/{what}"))));
        let has = quantity(text(node, &format!("/status/allocatable/{what}")));
        requests.sum::<f64>() <= has
    })
}

/// A Kubernetes quantity: `100m`, `1.5`, `2Gi`.
fn quantity(text: &str) -> f64 {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => 1.0,
    };
    number.parse::<f64>().unwrap_or_default() * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read() {
        for (text, want) in [("100m", 0.1), ("2", 2.0), ("1Ki", 1024.0), ("", 0.0)] {
            assert!((quantity(text) - want).abs() < 1e-9, "{text}");
        }
    }
}
