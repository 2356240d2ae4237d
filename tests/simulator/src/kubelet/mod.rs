//! The kubelet of the simulation: pods start, become ready, fail and end as they are told ([`crate::behaviour`]).
//!
//! What a pod does next follows from its status and the time alone ([`life`], pure). All containers of a pod do the same.

pub(crate) mod life;
pub(crate) mod status;

use jiff::Timestamp;
use serde_json::Value;

use crate::behaviour::{Behaviour, What};
use crate::resource::{CONFIG_MAPS, PODS, SECRETS};
use crate::store::Key;
use crate::value::{at, flag, items, number, text, time};
use crate::world::queue::Controller;
use crate::world::{World, later, seconds_later};
use life::{Life, Surroundings};

impl World {
    pub(crate) fn sync_kubelet(&mut self, key: &Key, now: Timestamp) {
        let Some(pod) = self.store.read(PODS, key) else { return };
        if text(&pod, "/spec/nodeName").is_empty() {
            return;
        }
        let behaviour = Behaviour::of(&pod);
        if let Some(deadline) = time(&pod, "/metadata/deletionTimestamp") {
            self.end_pod(key, &pod, deadline, now);
            return;
        }
        let has_ended = ["Succeeded", "Failed"].contains(&text(&pod, "/status/phase"));
        if behaviour.is_manual() || has_ended {
            return;
        }
        let surroundings = Surroundings {
            missing: self.missing_reference(key, &pod),
            node_ready: self.is_node_ready(text(&pod, "/spec/nodeName")),
            address: if text(&pod, "/status/podIP").is_empty() {
                self.new_address(172)
            } else {
                String::new()
            },
            start_delay: self.options.start_delay,
            crash_backoff: self.options.crash_backoff,
        };
        let behaviour = usual(behaviour, &pod);
        let Life { pod: lived, wake, happened } =
            life::advance(&pod, &behaviour, &surroundings, now);
        if let Some(at) = wake {
            self.wake_at(at, Controller::Kubelet, PODS, key);
        }
        if lived != pod {
            self.write_status(PODS, key, lived, now);
        }
        for happened in happened {
            self.tell(PODS, &pod, happened, now);
        }
    }

    /// A pod that is deleted goes when its containers have had time to end.
    fn end_pod(&mut self, key: &Key, pod: &Value, deadline: Timestamp, now: Timestamp) {
        let grace = number(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or_default();
        let begun = seconds_later(deadline, -grace);
        let ends = later(begun, self.options.stop_delay).min(deadline);
        if ends > now {
            self.wake_at(ends, Controller::Kubelet, PODS, key);
        } else {
            self.store.remove(PODS, key);
        }
    }

    /// What a pod takes its environment from and is not there.
    fn missing_reference(&self, key: &Key, pod: &Value) -> Option<String> {
        let containers = items(pod, "/spec/containers").iter();
        let references = containers.flat_map(|container| {
            let env = items(container, "/env").iter().filter_map(|it| it.get("valueFrom"));
            let env = env.flat_map(|it| {
                [("secret", at(it, "/secretKeyRef")), ("configmap", at(it, "/configMapKeyRef"))]
            });
            let from = items(container, "/envFrom").iter();
            let from = from.flat_map(|it| {
                [("secret", at(it, "/secretRef")), ("configmap", at(it, "/configMapRef"))]
            });
            env.chain(from)
        });
        let mut named = references.filter(|(_, it)| it.is_object() && !flag(it, "/optional"));
        named.find_map(|(kind, reference)| {
            let resource = if kind == "secret" { SECRETS } else { CONFIG_MAPS };
            let name = text(reference, "/name");
            let found = self.store.entry(resource, &Key::new(&key.namespace, name));
            found.is_none().then(|| format!("{kind} \"{name}\" not found"))
        })
    }
}

/// Pods of Jobs end by themselves, unless something else is said.
fn usual(behaviour: Behaviour, pod: &Value) -> Behaviour {
    let ends = text(pod, "/spec/restartPolicy") != "Always"
        && items(pod, "/metadata/ownerReferences").iter().any(|it| text(it, "/kind") == "Job");
    if ends && !behaviour.is_told {
        Behaviour { what: What::Complete, ..behaviour }
    } else {
        behaviour
    }
}
