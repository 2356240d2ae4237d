//! Services: the EndpointSlices of the pods that they select, and addresses of load balancers. Ingresses: addresses.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::behaviour::Behaviour;
use crate::resource::{INGRESSES, PODS, ResourceId, SERVICES, SLICES};
use crate::store::{Key, owner_reference};
use crate::value::{at, is_true, items, set, text};
use crate::world::World;
use crate::world::write::{Deletion, is_deleted};

/// Most endpoints of a slice, as Kubernetes has it.
const ENDPOINTS_MAX: usize = 100;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl World {
    pub(crate) fn sync_service(&mut self, key: &Key, now: Timestamp) {
        let Some(service) = self.store.read(SERVICES, key) else { return };
        if is_deleted(&service) {
            return;
        }
        if text(&service, "/spec/type") == "LoadBalancer" {
            self.give_address(SERVICES, key, &service, now);
        }
        let Some(selector) = self.selectors.get(&(SERVICES, key.clone())).cloned() else { return };
        let pods = self.store.scan(PODS, Some(&key.namespace));
        let selected: Vec<Value> =
            pods.filter(|it| selector.matches(it.labels())).map(|it| it.value()).collect();
        let endpoints: Vec<Value> =
            selected.iter().filter_map(|pod| endpoint(&service, pod)).collect();
        let ports = slice_ports(&service, selected.first());
        let mut chunks: Vec<&[Value]> = endpoints.chunks(ENDPOINTS_MAX).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let count = chunks.len();
        for (number, endpoints) in chunks.into_iter().enumerate() {
            self.put_slice(
                key,
                &service,
                number,
                json!({ "endpoints": endpoints, "ports": ports }),
                now,
            );
        }
        self.drop_slices(key, count, now);
    }

    fn put_slice(
        &mut self,
        key: &Key,
        service: &Value,
        number: usize,
        content: Value,
        now: Timestamp,
    ) {
        let name = slice_name(&key.name, number);
        let slice_key = Key::new(&key.namespace, &name);
        let references =
            owner_reference("v1", "Service", &key.name, text(service, "/metadata/uid"));
        let mut slice = self.store.read(SLICES, &slice_key).unwrap_or_else(|| {
            json!({
                "metadata": {
                    "name": name, "ownerReferences": references,
                    "labels": {
                        SERVICE_NAME: &*key.name,
                        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                    },
                },
                "addressType": "IPv4",
            })
        });
        let is_new = text(&slice, "/metadata/uid").is_empty();
        for field in ["endpoints", "ports"] {
            set(&mut slice, &[field], at(&content, &format!("/{field}")).clone());
        }
        if is_new {
            self.make(SLICES, &key.namespace, slice, now);
        } else {
            self.write_spec(SLICES, &slice_key, slice, now);
        }
    }

    fn drop_slices(&mut self, key: &Key, from: usize, now: Timestamp) {
        let Some(resource) = self.registry.get(SLICES).cloned() else { return };
        for number in from.. {
            let slice = Key::new(&key.namespace, &slice_name(&key.name, number));
            if self.delete(&resource, &slice, &Deletion::default(), now).is_err() {
                return;
            }
        }
    }

    pub(crate) fn sync_ingress(&mut self, key: &Key, now: Timestamp) {
        if let Some(ingress) = self.store.read(INGRESSES, key).filter(|it| !is_deleted(it)) {
            self.give_address(INGRESSES, key, &ingress, now);
        }
    }

    /// The address of a load balancer, unless it is told to be left alone.
    fn give_address(&mut self, resource: ResourceId, key: &Key, object: &Value, now: Timestamp) {
        let has_address = !items(object, "/status/loadBalancer/ingress").is_empty();
        if has_address || Behaviour::of(object).is_manual() {
            return;
        }
        let mut object = object.clone();
        let address = json!([{ "ip": self.new_address(192) }]);
        set(&mut object, &["status", "loadBalancer", "ingress"], address);
        self.write_status(resource, key, object, now);
    }
}

/// Told apart by number, so that a slice that shrinks keeps its name.
fn slice_name(service: &str, number: usize) -> String {
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{service}/{number}").as_bytes());
    format!("{service}-{:05x}", hash & 0xf_ffff)
}

fn endpoint(service: &Value, pod: &Value) -> Option<Value> {
    let address = text(pod, "/status/podIP");
    let has_ended = ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"));
    if address.is_empty() || has_ended {
        return None;
    }
    let leaves = is_deleted(pod);
    let serving = is_true(pod, "Ready");
    let ready = at(service, "/spec/publishNotReadyAddresses") == true || serving && !leaves;
    Some(json!({
        "addresses": [address],
        "conditions": { "ready": ready, "serving": serving, "terminating": leaves },
        "nodeName": text(pod, "/spec/nodeName"),
        "targetRef": {
            "kind": "Pod", "name": super::name(pod),
            "namespace": text(pod, "/metadata/namespace"), "uid": text(pod, "/metadata/uid"),
        },
    }))
}

/// The ports that pods listen on: named ones are looked up in a pod.
fn slice_ports(service: &Value, pod: Option<&Value>) -> Vec<Value> {
    let port = |port: &Value| {
        let target = at(port, "/targetPort");
        let number = match target.as_str() {
            None => target.clone(),
            Some(name) => {
                let containers = pod.map(|pod| items(pod, "/spec/containers")).unwrap_or_default();
                let mut ports = containers.iter().flat_map(|it| items(it, "/ports"));
                ports
                    .find(|it| text(it, "/name") == name)
                    .map_or(Value::Null, |it| at(it, "/containerPort").clone())
            }
        };
        json!({ "name": text(port, "/name"), "port": number, "protocol": at(port, "/protocol") })
    };
    items(service, "/spec/ports").iter().map(port).collect()
}
