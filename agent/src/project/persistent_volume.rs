//! PersistentVolumes.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    lenient::{List, Scalar},
    meta::{Metadata, uid_bytes},
    scheduling::{self, NodeSelector},
};

/// Slim `corev1.PersistentVolumeSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    capacity: Option<Capacity>,
    access_modes: List<String>,
    claim_ref: Option<Claim>,
    persistent_volume_reclaim_policy: Option<String>,
    storage_class_name: Option<String>,
    node_affinity: Option<Affinity>,
    csi: Option<Csi>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Capacity {
    storage: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Claim {
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Affinity {
    required: Option<NodeSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Csi {
    driver: Option<String>,
}

/// Slim `corev1.PersistentVolumeStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    phase: Option<String>,
    reason: Option<String>,
    message: Option<String>,
}

/// The facts of a PersistentVolume; it is pending where it has no phase, the API server's default.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    let set = |text: &String| !text.is_empty();
    let affinity = spec.node_affinity.unwrap_or_default().required.unwrap_or_default();
    Some(v1::facts::Kind::PersistentVolume(v1::PersistentVolumeFacts {
        phase: status.phase.filter(set).unwrap_or_else(|| "Pending".to_owned()),
        reason: status.reason.unwrap_or_default(),
        message: status.message.unwrap_or_default(),
        claim: spec.claim_ref.map(|Claim { namespace, name, uid }| v1::ClaimReference {
            namespace: namespace.unwrap_or_default(),
            name: name.unwrap_or_default(),
            uid: uid.map(|uid| uid_bytes(&uid)).unwrap_or_default(),
        }),
        storage_class: spec.storage_class_name.unwrap_or_default(),
        capacity: spec.capacity.unwrap_or_default().storage.unwrap_or_default().0,
        access_modes: spec.access_modes.0,
        reclaim_policy: spec
            .persistent_volume_reclaim_policy
            .filter(set)
            .unwrap_or_else(|| "Retain".to_owned()),
        node_terms: scheduling::terms(affinity),
        driver: spec.csi.unwrap_or_default().driver.unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::PersistentVolumeFacts {
        match project_yaml(&Kind::PersistentVolume, yaml).facts.kind {
            Some(v1::facts::Kind::PersistentVolume(facts)) => facts,
            other => panic!("not a PersistentVolume: {other:?}"),
        }
    }

    #[test]
    fn reads_whose_it_is_and_where_it_can_be_used() {
        let facts = facts(
            "metadata: {name: pvc-1}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  claimRef: {namespace: shop, name: data-db-0, uid: 0d9f3f0e-1111-4222-8333-444455556666}
  persistentVolumeReclaimPolicy: Delete
  storageClassName: fast-ssd
  csi: {driver: ebs.csi.example.com, volumeHandle: vol-1}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [a]}]}]}}
status: {phase: Failed, reason: VolumeFailedDelete, message: still attached}",
        );
        assert_eq!(
            (&*facts.phase, &*facts.reason, &*facts.message),
            ("Failed", "VolumeFailedDelete", "still attached")
        );
        let claim = facts.claim.unwrap();
        assert_eq!((&*claim.namespace, &*claim.name, claim.uid.len()), ("shop", "data-db-0", 16));
        assert_eq!((&*facts.capacity, &*facts.storage_class), ("10Gi", "fast-ssd"));
        assert_eq!((&*facts.driver, &*facts.reclaim_policy), ("ebs.csi.example.com", "Delete"));
        assert_eq!(facts.node_terms[0].match_expressions[0].values, ["a"]);
    }

    #[test]
    fn defaults_are_those_of_the_api_server() {
        let facts = facts("metadata: {name: pv}\nspec: {hostPath: {path: /x}, nodeAffinity: null}");
        assert_eq!((&*facts.phase, &*facts.reclaim_policy), ("Pending", "Retain"));
        assert_eq!((facts.claim, facts.node_terms), (None, vec![]));
    }
}
