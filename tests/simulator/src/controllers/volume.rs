//! PersistentVolumeClaims get volumes: one that is meant for them, or a new one of their storage class.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::behaviour::Behaviour;
use crate::resource::{CLAIMS, STORAGE_CLASSES, VOLUMES};
use crate::store::Key;
use crate::value::{at, set, text};
use crate::world::World;
use crate::world::events::{Happened, Tone};
use crate::world::write::{Deletion, is_deleted};

impl World {
    pub(crate) fn sync_claim(&mut self, key: &Key, now: Timestamp) {
        let Some(claim) = self.store.read(CLAIMS, key) else { return };
        if is_deleted(&claim) || Behaviour::of(&claim).is_manual() {
            return;
        }
        let volume = text(&claim, "/spec/volumeName").to_owned();
        if text(&claim, "/status/phase") == "Bound" {
            if !volume.is_empty() && self.store.entry(VOLUMES, &Key::new("", &volume)).is_none() {
                self.write_phase(key, claim, "Lost", now);
            }
            return;
        }
        if text(&claim, "/status/phase") == "Lost" {
            return;
        }
        if let Some(name) = self.volume_for(key, &claim, &volume) {
            self.bind(key, &name, now);
            return;
        }
        let class = text(&claim, "/spec/storageClassName");
        let has_class = self.store.entry(STORAGE_CLASSES, &Key::new("", class)).is_some();
        if !class.is_empty() && has_class && volume.is_empty() {
            let name = format!("pvc-{}", text(&claim, "/metadata/uid"));
            let volume = json!({
                "metadata": { "name": name },
                "spec": {
                    "capacity": at(&claim, "/spec/resources/requests"),
                    "accessModes": at(&claim, "/spec/accessModes"),
                    "storageClassName": class, "persistentVolumeReclaimPolicy": "Delete",
                    "volumeMode": "Filesystem", "hostPath": { "path": format!("/simulated/{name}") },
                },
            });
            self.make(VOLUMES, "", volume, now);
            self.bind(key, &name, now);
        } else if !class.is_empty() && !has_class {
            let message = format!("storageclass.storage.k8s.io \"{class}\" not found");
            let happened = Happened {
                tone: Tone::Warning,
                reason: "ProvisioningFailed",
                message,
                source: "persistentvolume-controller",
            };
            self.tell(CLAIMS, &claim, happened, now);
        }
    }

    /// One that names the claim, or that the claim names.
    fn volume_for(&self, key: &Key, claim: &Value, wanted: &str) -> Option<String> {
        let volumes = self.store.scan(VOLUMES, None).map(|it| it.value());
        let mut fitting = volumes.filter(|volume| {
            let of = at(volume, "/spec/claimRef");
            let is_free = of.is_null()
                || text(of, "/name") == &*key.name && text(of, "/namespace") == &*key.namespace;
            let is_meant = if of.is_null() { super::name(volume) == wanted } else { true };
            let same_class =
                text(volume, "/spec/storageClassName") == text(claim, "/spec/storageClassName");
            is_free && is_meant && same_class
        });
        fitting.next().map(|volume| super::name(&volume).to_owned())
    }

    fn bind(&mut self, key: &Key, volume_name: &str, now: Timestamp) {
        let volume_key = Key::new("", volume_name);
        let (Some(mut claim), Some(mut volume)) =
            (self.store.read(CLAIMS, key), self.store.read(VOLUMES, &volume_key))
        else {
            return;
        };
        let reference = json!({
            "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": &*key.namespace,
            "name": &*key.name, "uid": text(&claim, "/metadata/uid"),
        });
        set(&mut volume, &["spec", "claimRef"], reference);
        self.write_spec(VOLUMES, &volume_key, volume, now);
        set(&mut claim, &["spec", "volumeName"], volume_name);
        self.write_spec(CLAIMS, key, claim, now);
        let Some(mut claim) = self.store.read(CLAIMS, key) else { return };
        for (field, from) in
            [("accessModes", "/spec/accessModes"), ("capacity", "/spec/resources/requests")]
        {
            let value = at(&claim, from).clone();
            set(&mut claim, &["status", field], value);
        }
        self.write_phase(key, claim, "Bound", now);
    }

    fn write_phase(&mut self, key: &Key, mut claim: Value, phase: &str, now: Timestamp) {
        set(&mut claim, &["status", "phase"], phase);
        self.write_status(CLAIMS, key, claim, now);
    }

    /// A volume is available, bound, or released by the claim that it was for.
    pub(crate) fn sync_volume(&mut self, key: &Key, now: Timestamp) {
        let Some(mut volume) = self.store.read(VOLUMES, key) else { return };
        if is_deleted(&volume) || Behaviour::of(&volume).is_manual() {
            return;
        }
        let of = at(&volume, "/spec/claimRef");
        let claim = self.store.read(CLAIMS, &Key::new(text(of, "/namespace"), text(of, "/name")));
        let uid = text(of, "/uid");
        let phase = match &claim {
            _ if uid.is_empty() => "Available",
            Some(claim) if text(claim, "/metadata/uid") == uid => "Bound",
            Some(_) | None => "Released",
        };
        if phase == "Released" && text(&volume, "/spec/persistentVolumeReclaimPolicy") == "Delete" {
            if let Some(resource) = self.registry.get(VOLUMES).cloned() {
                self.delete(&resource, key, &Deletion::default(), now).ok();
            }
            return;
        }
        set(&mut volume, &["status", "phase"], phase);
        self.write_status(VOLUMES, key, volume, now);
    }
}
