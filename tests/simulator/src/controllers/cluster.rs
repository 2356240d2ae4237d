//! What keeps a cluster tidy: garbage collection, namespaces, nodes.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::behaviour::{Behaviour, What};
use crate::resource::{CONFIG_MAPS, NAMESPACES, NODES, PODS, ResourceId, SERVICE_ACCOUNTS};
use crate::store::Key;
use crate::value::{condition, items, put_condition, rfc3339, text};
use crate::world::World;
use crate::world::write::{Deletion, FOREGROUND, Propagation, is_deleted};

impl World {
    /// Removes an object whose owners are all gone; and lets one go that waits for what it owns.
    pub(crate) fn sync_garbage(&mut self, resource: ResourceId, key: &Key, now: Timestamp) {
        let Some(entry) = self.store.entry(resource, key).cloned() else { return };
        let Some(described) = self.registry.get(resource).cloned() else { return };
        let owners = entry.owners();
        let has_owner = owners.iter().any(|uid| self.store.by_uid(*uid).is_some());
        if !owners.is_empty() && !has_owner && !entry.is_leaving() {
            self.delete(&described, key, &Deletion::default(), now).ok();
            return;
        }
        let mut object = entry.value();
        let waits = items(&object, "/metadata/finalizers").iter().any(|it| it == FOREGROUND);
        if !waits || !is_deleted(&object) {
            return;
        }
        let owned: Vec<_> = self.store.owned_by(entry.uid()).cloned().collect();
        // What they own in turn has to go before them, too.
        let foreground = Deletion { propagation: Propagation::Foreground, ..Deletion::default() };
        for (resource, key) in &owned {
            let leaves = self.store.entry(*resource, key).is_none_or(|it| it.is_leaving());
            if let (false, Some(resource)) = (leaves, self.registry.get(*resource).cloned()) {
                self.delete(&resource, key, &foreground, now).ok();
            }
        }
        if self.store.owned_by(entry.uid()).next().is_none() {
            if let Some(Value::Array(finalizers)) = object.pointer_mut("/metadata/finalizers") {
                finalizers.retain(|it| it != FOREGROUND);
            }
            self.write_spec(resource, key, object, now);
        }
    }

    /// A new one gets what every namespace has; one that is deleted goes with the last of its objects.
    pub(crate) fn sync_namespace(&mut self, key: &Key, now: Timestamp) {
        let Some(namespace) = self.store.read(NAMESPACES, key) else { return };
        if !is_deleted(&namespace) {
            self.make(
                SERVICE_ACCOUNTS,
                &key.name,
                json!({ "metadata": { "name": "default" } }),
                now,
            );
            let authority =
                json!({ "metadata": { "name": "kube-root-ca.crt" }, "data": { "ca.crt": "" } });
            self.make(CONFIG_MAPS, &key.name, authority, now);
            return;
        }
        let resources: Vec<_> = self.registry.all().filter(|it| it.namespaced).cloned().collect();
        let mut left = 0;
        for resource in resources {
            let keys: Vec<Key> =
                self.store.scan(resource.id, Some(&key.name)).map(|it| it.key().clone()).collect();
            left += keys.len();
            for key in keys {
                if self.store.entry(resource.id, &key).is_some_and(|it| !it.is_leaving()) {
                    let gone = self.delete(&resource, &key, &Deletion::default(), now);
                    left -= usize::from(gone.is_ok_and(|(_, gone)| gone));
                }
            }
        }
        if left == 0 && items(&namespace, "/metadata/finalizers").is_empty() {
            self.store.remove(NAMESPACES, key);
        }
    }

    /// A node is ready unless it is told not to be; its pods are not ready while it is not.
    pub(crate) fn sync_node(&mut self, key: &Key, now: Timestamp) {
        let Some(mut node) = self.store.read(NODES, key) else {
            self.drop_pods_of(&key.name, now);
            return;
        };
        let behaviour = Behaviour::of(&node);
        if behaviour.is_manual() {
            return;
        }
        let is_ready = behaviour.what != What::NotReady;
        let (status, reason, message) = match is_ready {
            true => ("True", "KubeletReady", "kubelet is posting ready status"),
            false => ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."),
        };
        let known = condition(&node, "Ready").cloned().unwrap_or_default();
        if text(&known, "/status") != status {
            put_condition(
                &mut node,
                json!({
                    "type": "Ready", "status": status, "reason": reason, "message": message,
                    "lastHeartbeatTime": rfc3339(now), "lastTransitionTime": rfc3339(now),
                }),
            );
            self.write_status(NODES, key, node, now);
            let pods: Vec<Key> = self.pods_on(&key.name);
            pods.iter()
                .for_each(|pod| self.wake(crate::world::queue::Controller::Kubelet, PODS, pod));
        }
    }

    pub(crate) fn pods_on(&self, node: &str) -> Vec<Key> {
        let pods =
            self.store.scan(PODS, None).filter(|it| text(&it.value(), "/spec/nodeName") == node);
        pods.map(|it| it.key().clone()).collect()
    }

    fn drop_pods_of(&mut self, node: &str, now: Timestamp) {
        let Some(resource) = self.registry.get(PODS).cloned() else { return };
        let at_once = Deletion { grace_s: Some(0), ..Deletion::default() };
        for key in self.pods_on(node) {
            self.delete(&resource, &key, &at_once, now).ok();
        }
    }

    /// Whether a node is there and answers.
    pub(crate) fn is_node_ready(&mut self, name: &str) -> bool {
        self.nodes().ready.contains(name)
    }
}
