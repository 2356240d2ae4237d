//! The simulated cluster without its server: what it has, and the controllers that act on it.
//!
//! The functional core: no clock, no I/O, no task. Every function takes `now`, and chance comes from a seed, so the same calls
//! lead to the same objects, byte for byte. Writes of clients and of controllers go the same way ([`write`](mod@write)).

mod check;
pub(crate) mod prepare;
pub(crate) mod queue;
pub(crate) mod write;
pub(crate) mod events;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::resource::{NAMESPACES, NODES, Registry, ResourceId, STORAGE_CLASSES};
use crate::selector::LabelSelector;
use crate::store::{Key, Store, Uid};
use crate::value::{is_true, text};
use queue::Queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How a simulated cluster is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where all chance comes from: UIDs, names.
    pub seed: u64,
    /// How many nodes there are at the start.
    pub nodes: usize,
    /// How many events of each resource a watch can still resume from.
    pub history_events: usize,
    /// Whether Events of the type `Normal` are written: a handful for each pod.
    pub normal_events: bool,
    /// How long a container takes to start.
    pub start_delay: Duration,
    /// How long a pod takes to end.
    pub stop_delay: Duration,
    /// The first pause of a crash loop. It doubles up to 30 times as much.
    pub crash_backoff: Duration,
    /// Between two bookmarks of a watch.
    pub bookmark_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            nodes: 3,
            history_events: 20_000,
            normal_events: true,
            start_delay: Duration::from_millis(500),
            stop_delay: Duration::from_millis(500),
            crash_backoff: Duration::from_secs(10),
            bookmark_interval: Duration::from_secs(10),
        }
    }
}

/// A simulated cluster.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) registry: Registry,
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    random: fastrand::Rng,
    /// What Services and PodDisruptionBudgets select, so that a pod finds them.
    pub(crate) selectors: BTreeMap<(ResourceId, Key), LabelSelector>,
    /// Turns of the scheduler.
    pub(crate) turn: usize,
    addresses: u32,
    /// The nodes, read; none after one was written.
    pub(crate) nodes: Option<Arc<Nodes>>,
}

/// The nodes, as scheduler and kubelets look at them.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) all: Vec<Value>,
    /// Names of those that are ready.
    pub(crate) ready: BTreeSet<String>,
}

/// How many keys a step syncs at most, so that readers come in between.
const STEP_SYNCS_MAX: usize = 256;

impl World {
    /// With the namespaces, nodes and the storage class that a new cluster has.
    pub(crate) fn new(options: Options, now: Timestamp) -> Self {
        let mut world = Self {
            registry: Registry::default(),
            store: Store::new(options.history_events),
            queue: Queue::default(),
            random: fastrand::Rng::with_seed(options.seed),
            selectors: BTreeMap::new(),
            turn: 0,
            addresses: 0,
            nodes: None,
            options,
        };
        for name in ["kube-system", "default", "kube-public", "kube-node-lease"] {
            world.make(NAMESPACES, "", json!({ "metadata": { "name": name } }), now);
        }
        let class = json!({
            "metadata": {
                "name": "standard",
                "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
            },
            "provisioner": "simulator.vitals.dev/volumes",
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
        });
        world.make(STORAGE_CLASSES, "", class, now);
        for number in 0..world.options.nodes {
            let name = format!("node-{number}");
            let labels = json!({ "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" });
            world.make(NODES, "", json!({ "metadata": { "name": name, "labels": labels } }), now);
        }
        world
    }

    /// Lets controllers act, for a while: until nothing is to be done now, or much was.
    ///
    /// Returns when to call again; never, until something is written, where nothing is to come.
    pub(crate) fn step(&mut self, now: Timestamp) -> Option<Timestamp> {
        for _ in 0..STEP_SYNCS_MAX {
            let Some(item) = self.queue.next(now) else { return self.queue.next_timer() };
            self.sync(&item, now);
            self.dispatch(now);
        }
        Some(now)
    }

    /// Forgets all history: who resumes a watch or a list has to begin anew.
    pub(crate) fn compact(&mut self) {
        self.store.compact();
    }

    pub(crate) fn new_uid(&mut self) -> Uid {
        Uid::from_random(self.random.u128(..))
    }

    /// As Kubernetes ends generated names: without vowels, which could make words.
    pub(crate) fn new_suffix(&mut self) -> String {
        const LETTERS: [char; 27] = [
            'b', 'c', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'q', 'r', 's', 't', 'v',
            'w', 'x', 'z', '2', '4', '5', '6', '7', '8', '9',
        ];
        (0..5).filter_map(|_| self.random.choice(LETTERS)).collect()
    }

    /// An address that no other pod or Service has had (until 16 million were given).
    pub(crate) fn new_address(&mut self, network: u8) -> String {
        self.addresses = self.addresses.wrapping_add(1);
        let [_, a, b, c] = self.addresses.to_be_bytes();
        format!("{network}.{a}.{b}.{c}")
    }

    /// All nodes. Read once for all pods that look for one.
    pub(crate) fn nodes(&mut self) -> Arc<Nodes> {
        let nodes = self.nodes.take().unwrap_or_else(|| {
            let all: Vec<Value> = self.store.scan(NODES, None).map(|it| it.value()).collect();
            let ready = all.iter().filter(|node| is_true(node, "Ready"));
            let ready = ready.map(|node| text(node, "/metadata/name").to_owned()).collect();
            Arc::new(Nodes { all, ready })
        });
        self.nodes = Some(Arc::clone(&nodes));
        nodes
    }

    /// Creates what a controller creates; what is there already, or not allowed, is left.
    pub(crate) fn make(
        &mut self,
        resource: ResourceId,
        namespace: &str,
        object: Value,
        now: Timestamp,
    ) -> Option<Arc<crate::store::Entry>> {
        let resource = self.registry.get(resource).cloned()?;
        self.create(&resource, namespace, object, now).ok()
    }

    /// Writes the status that a controller worked out. Nobody writes between its reading and its writing.
    pub(crate) fn write_status(
        &mut self,
        resource: ResourceId,
        key: &Key,
        mut object: Value,
        now: Timestamp,
    ) {
        crate::value::remove(&mut object, &["metadata", "resourceVersion"]);
        if let Some(resource) = self.registry.get(resource).cloned() {
            // It can only have gone meanwhile.
            self.update(&resource, key, object, write::Part::Status, now).ok();
        }
    }

    /// Writes specification and metadata that a controller changed.
    pub(crate) fn write_spec(
        &mut self,
        resource: ResourceId,
        key: &Key,
        mut object: Value,
        now: Timestamp,
    ) {
        crate::value::remove(&mut object, &["metadata", "resourceVersion"]);
        if let Some(resource) = self.registry.get(resource).cloned() {
            self.update(&resource, key, object, write::Part::Main, now).ok();
        }
    }
}

/// A duration as a clock counts it; the longest there is, where it does not fit.
pub(crate) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Later by a duration, or as late as there is.
pub(crate) fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(signed(duration)).unwrap_or(Timestamp::MAX)
}

/// Whole seconds later.
pub(crate) fn seconds_later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
