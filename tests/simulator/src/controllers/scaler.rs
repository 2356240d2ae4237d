//! HorizontalPodAutoscalers: nobody measures here, so they keep their target within bounds, and say that they could.

use jiff::Timestamp;
use serde_json::Value;

use crate::behaviour::{Behaviour, What};
use crate::resource::SCALERS;
use crate::store::Key;
use crate::value::{Condition, items, number, set, set_condition, text};
use crate::world::World;
use crate::world::write::is_deleted;

impl World {
    pub(crate) fn sync_scaler(&mut self, key: &Key, now: Timestamp) {
        let Some(mut scaler) = self.store.read(SCALERS, key) else { return };
        let behaviour = Behaviour::of(&scaler);
        if is_deleted(&scaler) || behaviour.is_manual() {
            return;
        }
        let target = self.scale_target(key, &scaler);
        let Some((resource, target_key, target)) = target else {
            let message = format!(
                "the HPA controller was unable to get the target's current scale: \"{}\" not found",
                text(&scaler, "/spec/scaleTargetRef/name")
            );
            say(&mut scaler, "AbleToScale", false, ("FailedGetScale", &message), now);
            self.write_status(SCALERS, key, scaler, now);
            return;
        };
        let current = number(&target, "/spec/replicas").unwrap_or(1);
        let least = number(&scaler, "/spec/minReplicas").unwrap_or(1);
        let most = number(&scaler, "/spec/maxReplicas").unwrap_or(current);
        let wanted = current.clamp(least.min(most), most);
        say(
            &mut scaler,
            "AbleToScale",
            true,
            ("ReadyForNewScale", "recommended size matches current size"),
            now,
        );
        let has_metrics =
            behaviour.what != What::NoMetrics && !items(&scaler, "/spec/metrics").is_empty();
        let (reason, message) = match has_metrics {
            true => {
                ("ValidMetricFound", "the HPA was able to successfully calculate a replica count")
            }
            false => (
                "FailedGetResourceMetric",
                "the HPA was unable to compute the replica count: no metrics returned from resource metrics API",
            ),
        };
        say(&mut scaler, "ScalingActive", has_metrics, (reason, message), now);
        let limited = ("DesiredWithinRange", "the desired count is within the acceptable range");
        say(&mut scaler, "ScalingLimited", false, limited, now);
        set(
            &mut scaler,
            &["status", "currentReplicas"],
            number(&target, "/status/replicas").unwrap_or_default(),
        );
        set(&mut scaler, &["status", "desiredReplicas"], wanted);
        self.write_status(SCALERS, key, scaler, now);
        if wanted != current {
            let mut target = target;
            set(&mut target, &["spec", "replicas"], wanted);
            self.write_spec(resource, &target_key, target, now);
        }
    }

    fn scale_target(
        &self,
        key: &Key,
        scaler: &Value,
    ) -> Option<(crate::resource::ResourceId, Key, Value)> {
        let reference = scaler.pointer("/spec/scaleTargetRef")?;
        let resource =
            self.registry.find_kind(text(reference, "/apiVersion"), text(reference, "/kind"))?.id;
        let target_key = Key::new(&key.namespace, text(reference, "/name"));
        let target = self.store.read(resource, &target_key)?;
        Some((resource, target_key, target))
    }
}

fn say(
    scaler: &mut Value,
    r#type: &str,
    status: bool,
    (reason, message): (&str, &str),
    now: Timestamp,
) {
    set_condition(scaler, &Condition { r#type, status, reason, message }, now);
}
