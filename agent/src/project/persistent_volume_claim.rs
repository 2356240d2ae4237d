//! PersistentVolumeClaims.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    lenient::{List, Scalar},
    meta::Metadata,
};

/// Slim `corev1.PersistentVolumeClaimSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    storage_class_name: Option<String>,
    volume_name: Option<String>,
    access_modes: List<String>,
    resources: Option<Resources>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Option<Storage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Storage {
    storage: Option<Scalar>,
}

/// Slim `corev1.PersistentVolumeClaimStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    phase: Option<String>,
    capacity: Option<Storage>,
    conditions: List<Condition>,
}

/// The facts of a PersistentVolumeClaim; it is pending where it has no phase, the API server's default.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    let requests = spec.resources.unwrap_or_default().requests;
    Some(v1::facts::Kind::PersistentVolumeClaim(v1::PersistentVolumeClaimFacts {
        phase: status
            .phase
            .filter(|phase| !phase.is_empty())
            .unwrap_or_else(|| "Pending".to_owned()),
        storage_class: spec.storage_class_name,
        volume_name: spec.volume_name.unwrap_or_default(),
        access_modes: spec.access_modes.0,
        requested: quantity(requests),
        capacity: quantity(status.capacity),
        conditions: condition::facts(status.conditions),
    }))
}

fn quantity(storage: Option<Storage>) -> String {
    storage.unwrap_or_default().storage.unwrap_or_default().0
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::PersistentVolumeClaimFacts {
        match project_yaml(&Kind::PersistentVolumeClaim, yaml).facts.kind {
            Some(v1::facts::Kind::PersistentVolumeClaim(facts)) => facts,
            other => panic!("not a PersistentVolumeClaim: {other:?}"),
        }
    }

    #[test]
    fn reads_what_is_asked_for_and_what_is_there() {
        let facts = facts(
            "metadata: {name: data-db-0}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Gi}}, storageClassName: fast-ssd, volumeName: pvc-1}
status: {phase: Bound, capacity: {storage: 12Gi}, conditions: [{type: Resizing, status: 'True'}]}",
        );
        assert_eq!((&*facts.phase, &*facts.volume_name), ("Bound", "pvc-1"));
        assert_eq!(facts.storage_class.as_deref(), Some("fast-ssd"));
        assert_eq!((&*facts.requested, &*facts.capacity), ("10Gi", "12Gi"));
        assert_eq!(
            (&*facts.access_modes[0], &*facts.conditions[0].r#type),
            ("ReadWriteOnce", "Resizing")
        );
    }

    #[test]
    fn no_class_is_not_the_default_one() {
        let of = |class: &str| facts(&format!("metadata: {{name: data}}\nspec: {{{class}}}"));
        assert_eq!(of("").storage_class, None);
        assert_eq!(of("storageClassName: ''").storage_class.as_deref(), Some(""));
        assert_eq!(of("").phase, "Pending");
    }
}
