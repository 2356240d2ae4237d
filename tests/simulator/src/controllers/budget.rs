//! PodDisruptionBudgets: how many of the pods that they select may be disrupted now. And what ResourceQuotas count.

use jiff::Timestamp;
use serde_json::json;

use super::pods::PodView;
use super::replica_set::as_number;
use crate::resource::{BUDGETS, PODS, QUOTAS, SERVICES};
use crate::store::Key;
use crate::value::{Condition, at, scaled, set, set_condition, texts};
use crate::world::World;
use crate::world::write::is_deleted;

impl World {
    pub(crate) fn sync_budget(&mut self, key: &Key, now: Timestamp) {
        let Some(mut budget) = self.store.read(BUDGETS, key) else { return };
        let Some(selector) = self.selectors.get(&(BUDGETS, key.clone())) else { return };
        let pods = self.store.scan(PODS, Some(&key.namespace));
        let selected = pods.filter(|it| selector.matches(it.labels()));
        let mut pods: Vec<PodView> = selected.map(|it| PodView::of(it)).collect();
        pods.retain(PodView::is_active);
        let expected = as_number(pods.len());
        let healthy = as_number(pods.iter().filter(|pod| pod.ready).count());
        let least = scaled(at(&budget, "/spec/minAvailable"), expected, true);
        let most = scaled(at(&budget, "/spec/maxUnavailable"), expected, true);
        let desired = least.unwrap_or_else(|| (expected - most.unwrap_or(1)).max(0));
        let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
        for (field, value) in [
            ("currentHealthy", healthy),
            ("desiredHealthy", desired),
            ("disruptionsAllowed", allowed),
            ("expectedPods", expected),
        ] {
            set(&mut budget, &["status", field], value);
        }
        super::pods::observe_generation(&mut budget);
        let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
        let condition =
            Condition { r#type: "DisruptionAllowed", status: allowed > 0, reason, message: "" };
        set_condition(&mut budget, &condition, now);
        if let Some(mut said) = crate::value::condition(&budget, "DisruptionAllowed").cloned() {
            set(&mut said, &["message"], "");
            set(&mut said, &["observedGeneration"], at(&budget, "/metadata/generation").clone());
            crate::value::put_condition(&mut budget, said);
        }
        self.write_status(BUDGETS, key, budget, now);
    }

    /// Counts objects; what is requested of CPU and memory is not summed.
    pub(crate) fn sync_quota(&mut self, key: &Key, now: Timestamp) {
        let Some(mut quota) = self.store.read(QUOTAS, key) else { return };
        if is_deleted(&quota) {
            return;
        }
        let mut used = json!({});
        for (what, _) in texts(&quota, "/spec/hard") {
            let resource = match what {
                "pods" | "count/pods" => Some(PODS),
                "services" | "count/services" => Some(SERVICES),
                _ => None,
            };
            let count = resource.map_or(0, |it| self.store.scan(it, Some(&key.namespace)).count());
            set(&mut used, &[what], count.to_string());
        }
        let hard = at(&quota, "/spec/hard").clone();
        set(&mut quota, &["status", "hard"], hard);
        set(&mut quota, &["status", "used"], used);
        self.write_status(QUOTAS, key, quota, now);
    }
}
