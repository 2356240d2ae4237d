//! StatefulSets: pods with numbers, made from the first and replaced from the last, each with its own claims.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{NewPod, PodView, min_ready_s, observe_generation, set_counts, template_hash};
use super::replica_set::as_number;
use crate::resource::{CLAIMS, STATEFUL_SETS};
use crate::store::Key;
use crate::value::{at, items, number, set, text};
use crate::world::World;
use crate::world::queue::Controller;
use crate::world::write::is_deleted;

const REVISION: &str = "controller-revision-hash";

/// Its pods by number, each with its revision.
type Numbered = BTreeMap<i64, (PodView, String)>;

impl World {
    pub(crate) fn sync_stateful_set(&mut self, key: &Key, now: Timestamp) {
        let Some(stateful_set) = self.store.read(STATEFUL_SETS, key) else { return };
        let update = format!("{}-{}", key.name, template_hash(at(&stateful_set, "/spec/template")));
        if !is_deleted(&stateful_set) {
            self.act_on_stateful_set(key, &stateful_set, &update, now);
        }
        self.write_stateful_status(key, update, now);
    }

    fn numbered(&self, stateful_set: &Value) -> Numbered {
        let mut numbered = Numbered::new();
        for pod in self.pods_of(stateful_set) {
            let number = pod.key.name.rsplit('-').next().and_then(|it| it.parse().ok());
            let entry = self.store.entry(crate::resource::PODS, &pod.key);
            let revision =
                entry.and_then(|it| it.labels().get(REVISION)).unwrap_or_default().to_owned();
            if let Some(number) = number {
                numbered.insert(number, (pod, revision));
            }
        }
        numbered
    }

    fn act_on_stateful_set(
        &mut self,
        key: &Key,
        stateful_set: &Value,
        update: &str,
        now: Timestamp,
    ) {
        let wanted = number(stateful_set, "/spec/replicas").unwrap_or(1).max(0);
        let parallel = text(stateful_set, "/spec/podManagementPolicy") == "Parallel";
        let partition = number(stateful_set, "/spec/updateStrategy/rollingUpdate/partition")
            .unwrap_or_default();
        let current = text(stateful_set, "/status/currentRevision").to_owned();
        let min_ready_s = min_ready_s(stateful_set);
        let pods = self.numbered(stateful_set);
        for (pod, _) in pods.values().filter(|(pod, _)| pod.has_ended() && !pod.deleted) {
            self.delete_pod(&pod.key, now);
        }
        for ordinal in 0..wanted {
            match pods.get(&ordinal) {
                None => {
                    let keeps_old = ordinal < partition && !current.is_empty() && current != update;
                    let revision = if keeps_old { &current } else { update };
                    self.make_numbered(key, stateful_set, ordinal, revision, now);
                    if !parallel {
                        return;
                    }
                }
                Some((pod, _)) if !parallel && !pod.is_available(min_ready_s, now) => {
                    if let Some(at) = pod.available_at(min_ready_s) {
                        self.wake_at(at, Controller::StatefulSet, STATEFUL_SETS, key);
                    }
                    // As in Kubernetes, a pod that never becomes ready also stops its own replacement.
                    return;
                }
                Some(_) => {}
            }
        }
        let surplus: Vec<_> = pods.range(wanted..).rev().map(|(_, (pod, _))| pod.clone()).collect();
        for pod in surplus.into_iter().filter(|pod| !pod.deleted) {
            self.delete_pod(&pod.key, now);
            if !parallel {
                return;
            }
        }
        if text(stateful_set, "/spec/updateStrategy/type") == "OnDelete" {
            return;
        }
        for (_, (pod, revision)) in pods.range(partition..wanted).rev() {
            if revision != update && !pod.deleted {
                self.delete_pod(&pod.key, now);
                return;
            }
            if pod.deleted || !pod.is_available(min_ready_s, now) {
                return;
            }
        }
    }

    fn make_numbered(
        &mut self,
        key: &Key,
        stateful_set: &Value,
        ordinal: i64,
        revision: &str,
        now: Timestamp,
    ) {
        let name = format!("{}-{ordinal}", key.name);
        let mut volumes = Vec::new();
        for template in items(stateful_set, "/spec/volumeClaimTemplates") {
            let volume = text(template, "/metadata/name");
            let claim = format!("{volume}-{name}");
            let mut object = template.clone();
            set(&mut object, &["metadata", "name"], claim.as_str());
            set(
                &mut object,
                &["metadata", "labels"],
                at(stateful_set, "/spec/selector/matchLabels").clone(),
            );
            self.make(CLAIMS, &key.namespace, object, now);
            volumes
                .push(json!({ "name": volume, "persistentVolumeClaim": { "claimName": claim } }));
        }
        let Some(described) = self.registry.get(STATEFUL_SETS).cloned() else { return };
        let service = text(stateful_set, "/spec/serviceName").to_owned();
        let change = |pod: &mut Value| {
            let labels = ["metadata", "labels"];
            set(pod, &[&labels[..], &[REVISION]].concat(), revision);
            set(
                pod,
                &[&labels[..], &["statefulset.kubernetes.io/pod-name"]].concat(),
                name.as_str(),
            );
            set(
                pod,
                &[&labels[..], &["apps.kubernetes.io/pod-index"]].concat(),
                ordinal.to_string(),
            );
            set(pod, &["spec", "hostname"], name.as_str());
            if !service.is_empty() {
                set(pod, &["spec", "subdomain"], service);
            }
            if !volumes.is_empty() {
                let all = crate::value::object_mut(pod, &["spec"])
                    .entry("volumes")
                    .or_insert_with(|| json!([]));
                if let Value::Array(all) = all {
                    all.extend(volumes);
                }
            }
        };
        let template = at(stateful_set, "/spec/template");
        let new = NewPod {
            owner: stateful_set,
            owner_resource: &described,
            template,
            name: Some(name.clone()),
        };
        self.make_pod(new, change, now);
    }

    fn write_stateful_status(&mut self, key: &Key, update: String, now: Timestamp) {
        let Some(mut object) = self.store.read(STATEFUL_SETS, key) else { return };
        let pods = self.numbered(&object);
        let wanted = number(&object, "/spec/replicas").unwrap_or(1);
        let min_ready_s = min_ready_s(&object);
        let count = |test: &dyn Fn(&PodView, &str) -> bool| {
            let counted =
                pods.values().filter(|(pod, revision)| pod.is_active() && test(pod, revision));
            as_number(counted.count())
        };
        let known = text(&object, "/status/currentRevision").to_owned();
        let (all, updated) = (count(&|_, _| true), count(&|_, revision| revision == update));
        let ready = count(&|pod, _| pod.ready);
        let partition =
            number(&object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or_default();
        let on_delete = text(&object, "/spec/updateStrategy/type") == "OnDelete";
        let is_complete =
            !on_delete && partition == 0 && updated == wanted && all == wanted && ready == wanted;
        let current = if known.is_empty() || is_complete { update.clone() } else { known };
        let of_current =
            if is_complete { updated } else { count(&|_, revision| revision == current) };
        set(&mut object, &["status", "replicas"], all);
        set(
            &mut object,
            &["status", "availableReplicas"],
            count(&|pod, _| pod.is_available(min_ready_s, now)),
        );
        set(&mut object, &["status", "collisionCount"], 0);
        set_counts(
            &mut object,
            [
                ("readyReplicas", ready),
                ("currentReplicas", of_current),
                ("updatedReplicas", updated),
            ],
        );
        set(&mut object, &["status", "currentRevision"], current);
        set(&mut object, &["status", "updateRevision"], update);
        observe_generation(&mut object);
        self.write_status(STATEFUL_SETS, key, object, now);
    }
}
