//! DaemonSets: one pod on each node that fits, replaced one after the other.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{NewPod, PodView, min_ready_s, observe_generation, set_counts, template_hash};
use super::replica_set::as_number;
use super::scheduler;
use crate::resource::{DAEMON_SETS, NODES, PODS};
use crate::store::Key;
use crate::value::{at, number, scaled, set, text};
use crate::world::World;
use crate::world::queue::Controller;
use crate::world::write::is_deleted;

const REVISION: &str = "controller-revision-hash";

impl World {
    pub(crate) fn sync_daemon_set(&mut self, key: &Key, now: Timestamp) {
        let Some(daemon_set) = self.store.read(DAEMON_SETS, key) else { return };
        let hash = template_hash(at(&daemon_set, "/spec/template"));
        let nodes = self.nodes_for(&daemon_set);
        if !is_deleted(&daemon_set) {
            self.act_on_daemon_set(&daemon_set, &hash, &nodes, now);
        }
        self.write_daemon_status(key, &hash, &nodes, now);
    }

    /// Nodes that its pods fit: also those that are cordoned, as daemons tolerate that.
    fn nodes_for(&self, daemon_set: &Value) -> Vec<String> {
        let pod = at(daemon_set, "/spec/template");
        let nodes = self.store.scan(NODES, None).map(|it| it.value());
        let fitting = nodes.filter(|node| scheduler::selects(pod, node) && !is_deleted(node));
        fitting.map(|node| super::name(&node).to_owned()).collect()
    }

    fn revision_of(&self, pod: &PodView) -> String {
        let entry = self.store.entry(PODS, &pod.key);
        entry.and_then(|it| it.labels().get(REVISION)).unwrap_or_default().to_owned()
    }

    fn act_on_daemon_set(
        &mut self,
        daemon_set: &Value,
        hash: &str,
        nodes: &[String],
        now: Timestamp,
    ) {
        let pods = self.pods_of(daemon_set);
        let node_of = |pod: &PodView| self.node_wanted(pod);
        let placed: Vec<(String, PodView)> =
            pods.into_iter().map(|pod| (node_of(&pod), pod)).collect();
        let Some(described) = self.registry.get(DAEMON_SETS).cloned() else { return };
        for node in nodes {
            let has = placed.iter().any(|(it, pod)| it == node && !pod.has_ended());
            if has {
                continue;
            }
            let change = |pod: &mut Value| {
                set(pod, &["metadata", "labels", REVISION], hash);
                let terms = json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] }]);
                let path = [
                    "spec",
                    "affinity",
                    "nodeAffinity",
                    "requiredDuringSchedulingIgnoredDuringExecution",
                    "nodeSelectorTerms",
                ];
                set(pod, &path, terms);
            };
            let template = at(daemon_set, "/spec/template");
            self.make_pod(
                NewPod { owner: daemon_set, owner_resource: &described, template, name: None },
                change,
                now,
            );
        }
        for (node, pod) in &placed {
            if (!nodes.contains(node) || pod.has_ended()) && !pod.deleted {
                self.delete_pod(&pod.key, now);
            }
        }
        if text(daemon_set, "/spec/updateStrategy/type") == "OnDelete" {
            return;
        }
        let most = at(daemon_set, "/spec/updateStrategy/rollingUpdate/maxUnavailable");
        let most = scaled(most, as_number(nodes.len()), true).unwrap_or(1).max(1);
        let min_ready_s = min_ready_s(daemon_set);
        let counts = |pod: &PodView| !pod.deleted && pod.is_available(min_ready_s, now);
        let unavailable = placed.iter().filter(|(_, pod)| !counts(pod)).count();
        let missing = nodes.len().saturating_sub(placed.len());
        let mut room = most - as_number(unavailable + missing);
        for (_, pod) in &placed {
            let is_old = !pod.deleted && self.revision_of(pod) != hash;
            let is_broken = !pod.is_available(min_ready_s, now);
            if is_old && (is_broken || room > 0) {
                room -= i64::from(!is_broken);
                self.delete_pod(&pod.key, now);
            }
        }
    }

    /// Where it is, or else where it is to go.
    fn node_wanted(&self, pod: &PodView) -> String {
        if !pod.node.is_empty() {
            return pod.node.clone();
        }
        let pod = self.store.read(PODS, &pod.key).unwrap_or_default();
        scheduler::only_node(&pod).unwrap_or_default().to_owned()
    }

    fn write_daemon_status(&mut self, key: &Key, hash: &str, nodes: &[String], now: Timestamp) {
        let Some(mut object) = self.store.read(DAEMON_SETS, key) else { return };
        let mut pods = self.pods_of(&object);
        pods.retain(PodView::is_active);
        let min_ready_s = min_ready_s(&object);
        if let Some(at) =
            pods.iter().filter_map(|pod| pod.available_at(min_ready_s)).filter(|at| *at > now).min()
        {
            self.wake_at(at, Controller::DaemonSet, DAEMON_SETS, key);
        }
        let count = |test: &dyn Fn(&PodView) -> bool| {
            as_number(pods.iter().filter(|pod| test(pod)).count())
        };
        let desired = as_number(nodes.len());
        let placed = count(&|pod| nodes.contains(&self.node_wanted(pod)));
        let available = count(&|pod| pod.is_available(min_ready_s, now));
        for (field, count) in [
            ("currentNumberScheduled", placed),
            ("desiredNumberScheduled", desired),
            ("numberMisscheduled", as_number(pods.len()) - placed),
            ("numberReady", count(&|pod| pod.ready)),
        ] {
            set(&mut object, &["status", field], count);
        }
        let updated = count(&|pod| self.revision_of(pod) == hash);
        set_counts(
            &mut object,
            [
                ("updatedNumberScheduled", updated),
                ("numberAvailable", available),
                ("numberUnavailable", (desired - available).max(0)),
            ],
        );
        observe_generation(&mut object);
        let seen = number(&object, "/status/observedGeneration").unwrap_or_default();
        set(&mut object, &["status", "observedGeneration"], seen);
        self.write_status(DAEMON_SETS, key, object, now);
    }
}
