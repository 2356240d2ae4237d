//! Deployments: a ReplicaSet for each template, rolled from the old to the new one.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{min_ready_s, observe_generation, set_counts, template_hash};
use super::progress::{Counts, Progress, counts, set_available};
use super::replica_set::set_replicas;
use super::rollout::{self, Limits, Replicas};
use crate::resource::{DEPLOYMENTS, REPLICA_SETS};
use crate::store::{Key, Uid, owner_reference};
use crate::value::{at, condition, flag, number, set, text, texts, time};
use crate::world::events::{Happened, Tone};
use crate::world::queue::Controller;
use crate::world::write::{Deletion, is_deleted};
use crate::world::{World, seconds_later};

const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// A ReplicaSet of a Deployment.
#[derive(Clone, Debug)]
struct Set {
    key: Key,
    object: Value,
}

impl Set {
    fn replicas(&self) -> Replicas {
        Replicas {
            wanted: number(&self.object, "/spec/replicas").unwrap_or_default(),
            available: self.count("availableReplicas"),
        }
    }

    fn count(&self, field: &str) -> i64 {
        number(&self.object, &format!("/status/{field}")).unwrap_or_default()
    }

    fn revision(&self) -> i64 {
        annotation(&self.object, REVISION).parse().unwrap_or_default()
    }
}

/// The ReplicaSets of a Deployment, the old ones oldest first.
struct Sets {
    new: Option<Set>,
    old: Vec<Set>,
}

impl Sets {
    fn sum(&self, field: &str) -> i64 {
        self.new.iter().chain(&self.old).map(|set| set.count(field)).sum()
    }
}

impl World {
    pub(crate) fn sync_deployment(&mut self, key: &Key, now: Timestamp) {
        let Some(deployment) = self.store.read(DEPLOYMENTS, key) else { return };
        if !is_deleted(&deployment) {
            self.act(key, &deployment, now);
        }
        self.write_deployment_status(key, now);
    }

    fn act(&mut self, key: &Key, deployment: &Value, now: Timestamp) {
        let sets = self.sets(deployment);
        let desired = number(deployment, "/spec/replicas").unwrap_or(1);
        let limits = Limits::of(deployment, desired);
        let is_rescaled = sets.new.iter().chain(&sets.old).any(|set| {
            let known: Option<i64> = annotation(&set.object, DESIRED).parse().ok();
            set.replicas().wanted > 0 && known.is_some_and(|known| known != desired)
        });
        if flag(deployment, "/spec/paused") || is_rescaled {
            self.rescale(deployment, limits, sets, now);
            return;
        }
        let recreates = text(deployment, "/spec/strategy/type") == "Recreate";
        if recreates {
            self.scale_all(deployment, limits, &sets.old, &vec![0; sets.old.len()], now);
            let has_pods = sets
                .old
                .iter()
                .any(|set| set.count("replicas") + set.count("terminatingReplicas") > 0);
            if has_pods {
                return;
            }
        }
        let Some(new) = self.new_set(key, deployment, &sets, limits, now) else { return };
        let sets = self.sets(deployment);
        let old: Vec<Replicas> = sets.old.iter().map(Set::replicas).collect();
        let wanted =
            if recreates { desired } else { rollout::new_wanted(limits, new.replicas(), &old) };
        let before = new.replicas();
        self.scale_all(deployment, limits, std::slice::from_ref(&new), &[wanted], now);
        let new = Replicas { wanted, available: before.available.min(wanted) };
        if !recreates && wanted == before.wanted {
            let wanted = rollout::old_wanted(limits, new, &old);
            self.scale_all(deployment, limits, &sets.old, &wanted, now);
        }
        self.forget_old_sets(deployment, &sets.old, now);
    }

    fn sets(&self, deployment: &Value) -> Sets {
        let uid = Uid::parse(text(deployment, "/metadata/uid"));
        let hash = template_hash(at(deployment, "/spec/template"));
        let owned = uid.map(|uid| self.store.dependents(uid, REPLICA_SETS)).unwrap_or_default();
        let all = owned.iter().map(|it| Set { key: it.key().clone(), object: it.value() });
        let (new, mut old): (Vec<_>, Vec<_>) = all
            .filter(|set| !is_deleted(&set.object))
            .partition(|set| template_hash(at(&set.object, "/spec/template")) == hash);
        old.sort_by_key(|set| (set.revision(), set.key.clone()));
        Sets { new: new.into_iter().next(), old }
    }

    /// The ReplicaSet of the present template, made or brought up to date.
    fn new_set(
        &mut self,
        key: &Key,
        deployment: &Value,
        sets: &Sets,
        limits: Limits,
        now: Timestamp,
    ) -> Option<Set> {
        let highest = sets.old.iter().map(Set::revision).max().unwrap_or_default();
        let revision = match &sets.new {
            Some(set) if set.revision() > highest => set.revision(),
            _ => highest + 1,
        };
        let set_key = match &sets.new {
            Some(set) => {
                if set.revision() != revision {
                    let mut object = set.object.clone();
                    annotate(&mut object, REVISION, &revision.to_string());
                    self.write_spec(REPLICA_SETS, &set.key, object, now);
                }
                set.key.clone()
            }
            None => self.make_set(key, deployment, revision, limits, now)?,
        };
        if annotation(deployment, REVISION) != revision.to_string()
            && let Some(mut object) = self.store.read(DEPLOYMENTS, key)
        {
            annotate(&mut object, REVISION, &revision.to_string());
            self.write_spec(DEPLOYMENTS, key, object, now);
        }
        let object = self.store.read(REPLICA_SETS, &set_key)?;
        Some(Set { key: set_key, object })
    }

    fn make_set(
        &mut self,
        key: &Key,
        deployment: &Value,
        revision: i64,
        limits: Limits,
        now: Timestamp,
    ) -> Option<Key> {
        let hash = template_hash(at(deployment, "/spec/template"));
        let name = format!("{}-{hash}", key.name);
        let mut template = at(deployment, "/spec/template").clone();
        set(&mut template, &["metadata", "labels", "pod-template-hash"], hash.as_str());
        let mut selector = at(deployment, "/spec/selector").clone();
        set(&mut selector, &["matchLabels", "pod-template-hash"], hash.as_str());
        let annotations = texts(deployment, "/metadata/annotations");
        let copied = annotations.filter(|(key, _)| !key.starts_with("kubectl.kubernetes.io/"));
        let copied: serde_json::Map<_, _> = copied.map(|(k, v)| (k.to_owned(), v.into())).collect();
        let mut object = json!({
            "metadata": {
                "name": name, "labels": at(&template, "/metadata/labels"), "annotations": copied,
                "ownerReferences": owner_reference("apps/v1", "Deployment", &key.name, text(deployment, "/metadata/uid")),
            },
            "spec": {
                "replicas": 0, "selector": selector, "template": template,
                "minReadySeconds": min_ready_s(deployment),
            },
        });
        annotate(&mut object, REVISION, &revision.to_string());
        annotate_size(&mut object, limits);
        self.make(REPLICA_SETS, &key.namespace, object, now)?;
        let message = format!("Created new replica set \"{name}\"");
        let progress = Progress { reason: "NewReplicaSetCreated", status: "True", message };
        let mut object = self.store.read(DEPLOYMENTS, key)?;
        progress.write(&mut object, true, now);
        self.write_status(DEPLOYMENTS, key, object, now);
        Some(Key::new(&key.namespace, &name))
    }

    /// A change of the number of replicas alone, or of a Deployment that is paused.
    fn rescale(&mut self, deployment: &Value, limits: Limits, sets: Sets, now: Timestamp) {
        let Sets { new, old } = sets;
        let mut active: Vec<Set> =
            new.iter().chain(&old).filter(|set| set.replicas().wanted > 0).cloned().collect();
        if active.len() <= 1 {
            let only = active.into_iter().next().or(new).or_else(|| old.last().cloned());
            let only: Vec<Set> = only.into_iter().collect();
            self.scale_all(deployment, limits, &only, &vec![limits.desired; only.len()], now);
            return;
        }
        active.sort_by_key(|set| std::cmp::Reverse((set.replicas().wanted, set.revision())));
        let sizes: Vec<i64> = active.iter().map(|set| set.replicas().wanted).collect();
        let rolls = text(deployment, "/spec/strategy/type") != "Recreate";
        let allowed = if limits.desired > 0 && rolls {
            limits.desired + limits.surge
        } else {
            limits.desired
        };
        let wanted = rollout::proportions(allowed, &sizes);
        self.scale_all(deployment, limits, &active, &wanted, now);
    }

    fn scale_all(
        &mut self,
        deployment: &Value,
        limits: Limits,
        sets: &[Set],
        wanted: &[i64],
        now: Timestamp,
    ) {
        for (set, wanted) in sets.iter().zip(wanted) {
            let before = set.replicas().wanted;
            let mut object = set.object.clone();
            set_replicas(&mut object, *wanted);
            annotate_size(&mut object, limits);
            if object == set.object {
                continue;
            }
            crate::value::remove(&mut object, &["metadata", "resourceVersion"]);
            self.write_spec(REPLICA_SETS, &set.key, object, now);
            if before != *wanted {
                let up = if *wanted > before { "up" } else { "down" };
                let message =
                    format!("Scaled {up} replica set {} from {before} to {wanted}", set.key.name);
                let source = "deployment-controller";
                self.tell(
                    DEPLOYMENTS,
                    deployment,
                    Happened { tone: Tone::Normal, reason: "ScalingReplicaSet", message, source },
                    now,
                );
            }
        }
    }

    fn forget_old_sets(&mut self, deployment: &Value, old: &[Set], now: Timestamp) {
        let limit = number(deployment, "/spec/revisionHistoryLimit").unwrap_or(10);
        let is_empty = |set: &&Set| set.replicas().wanted == 0 && set.count("replicas") == 0;
        let empty: Vec<&Set> = old.iter().filter(is_empty).collect();
        let surplus = empty.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        let Some(resource) = self.registry.get(REPLICA_SETS).cloned() else { return };
        for set in empty.into_iter().take(surplus) {
            self.delete(&resource, &set.key, &Deletion::default(), now).ok();
        }
    }

    fn write_deployment_status(&mut self, key: &Key, now: Timestamp) {
        let Some(mut deployment) = self.store.read(DEPLOYMENTS, key) else { return };
        let sets = self.sets(&deployment);
        let before = counts(&deployment);
        let (all, available) = (sets.sum("replicas"), sets.sum("availableReplicas"));
        let updated = sets.new.as_ref().map_or(0, |set| set.count("replicas"));
        set_counts(
            &mut deployment,
            [
                ("replicas", all),
                ("updatedReplicas", updated),
                ("readyReplicas", sets.sum("readyReplicas")),
                ("availableReplicas", available),
                ("unavailableReplicas", (all - available).max(0)),
            ],
        );
        set(&mut deployment, &["status", "terminatingReplicas"], sets.sum("terminatingReplicas"));
        observe_generation(&mut deployment);
        let desired = number(&deployment, "/spec/replicas").unwrap_or(1);
        let enough = available >= Limits::of(&deployment, desired).available_min();
        let (reason, message) = match enough {
            true => ("MinimumReplicasAvailable", "Deployment has minimum availability."),
            false => {
                ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
            }
        };
        set_available(&mut deployment, enough, reason, message, now);
        self.write_progress(key, &mut deployment, &sets, before, now);
        self.write_status(DEPLOYMENTS, key, deployment, now);
    }

    fn write_progress(
        &mut self,
        key: &Key,
        deployment: &mut Value,
        sets: &Sets,
        before: Counts,
        now: Timestamp,
    ) {
        let desired = number(deployment, "/spec/replicas").unwrap_or(1);
        let after = counts(deployment);
        let name =
            sets.new.as_ref().map_or_else(|| key.name.to_string(), |set| set.key.name.to_string());
        if flag(deployment, "/spec/paused") {
            let known =
                condition(deployment, "Progressing").map(|it| text(it, "/reason").to_owned());
            if known.as_deref() != Some("DeploymentPaused") {
                let message = "Deployment is paused".to_owned();
                Progress { reason: "DeploymentPaused", status: "Unknown", message }
                    .write(deployment, true, now);
            }
            return;
        }
        let reason = condition(deployment, "Progressing").map(|it| text(it, "/reason"));
        if reason == Some("DeploymentPaused") {
            let message = "Deployment is resumed".to_owned();
            let resumed = Progress { reason: "DeploymentResumed", status: "Unknown", message };
            resumed.write(deployment, true, now);
        }
        let complete = after
            == Counts { updated: desired, all: desired, ready: after.ready, available: desired }
            && sets.new.is_some();
        if complete {
            let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
            let changed = condition(deployment, "Progressing")
                .is_none_or(|it| text(it, "/reason") != "NewReplicaSetAvailable");
            Progress { reason: "NewReplicaSetAvailable", status: "True", message }
                .write(deployment, changed, now);
            return;
        }
        let is_progress = after.updated > before.updated
            || after.all - after.updated < before.all - before.updated
            || after.ready > before.ready
            || after.available > before.available;
        let was_complete = after.all == after.updated
            && condition(deployment, "Progressing")
                .is_some_and(|it| text(it, "/reason") == "NewReplicaSetAvailable");
        if is_progress && !was_complete {
            let message = format!("ReplicaSet \"{name}\" is progressing.");
            Progress { reason: "ReplicaSetUpdated", status: "True", message }
                .write(deployment, true, now);
        }
        let Some(progressing) = condition(deployment, "Progressing") else { return };
        if ["NewReplicaSetAvailable", "ProgressDeadlineExceeded"]
            .contains(&text(progressing, "/reason"))
        {
            return;
        }
        let deadline = number(deployment, "/spec/progressDeadlineSeconds").unwrap_or(600);
        let since = time(progressing, "/lastUpdateTime").unwrap_or(now);
        let ends = seconds_later(since, deadline);
        if ends <= now {
            let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
            Progress { reason: "ProgressDeadlineExceeded", status: "False", message }
                .write(deployment, true, now);
        } else {
            self.wake_at(ends, Controller::Deployment, DEPLOYMENTS, key);
        }
    }
}

fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    at(object, "/metadata/annotations").get(key).and_then(Value::as_str).unwrap_or_default()
}

fn annotate(object: &mut Value, key: &str, value: &str) {
    set(object, &["metadata", "annotations", key], value);
}

fn annotate_size(object: &mut Value, limits: Limits) {
    annotate(object, DESIRED, &limits.desired.to_string());
    annotate(object, MAX, &(limits.desired + limits.surge).to_string());
}
