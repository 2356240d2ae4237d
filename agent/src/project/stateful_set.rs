//! StatefulSets.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    deployment::{Strategy, strategy},
    lenient::List,
    meta::Metadata,
    selector::{self, Selector},
    template::{self, Template},
};

/// Slim `appsv1.StatefulSetSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    replicas: Option<i32>,
    update_strategy: Option<Strategy>,
    pod_management_policy: Option<String>,
    service_name: Option<String>,
    min_ready_seconds: Option<i32>,
    selector: Option<Selector>,
    template: Option<Template>,
    ordinals: Option<Ordinals>,
    volume_claim_templates: List<ClaimTemplate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ordinals {
    start: Option<i32>,
}

/// Slim `corev1.PersistentVolumeClaim`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClaimTemplate {
    metadata: Option<ClaimMetadata>,
    spec: Option<ClaimSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClaimMetadata {
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimSpec {
    storage_class_name: Option<String>,
}

/// Slim `appsv1.StatefulSetStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    observed_generation: Option<i64>,
    replicas: Option<i32>,
    ready_replicas: Option<i32>,
    current_replicas: Option<i32>,
    updated_replicas: Option<i32>,
    available_replicas: Option<i32>,
    current_revision: Option<String>,
    update_revision: Option<String>,
    conditions: List<Condition>,
}

/// The facts of a StatefulSet.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    Some(v1::facts::Kind::StatefulSet(v1::StatefulSetFacts {
        desired: spec.replicas.unwrap_or(1),
        strategy: strategy(spec.update_strategy),
        pod_management_policy: spec
            .pod_management_policy
            .filter(|policy| !policy.is_empty())
            .unwrap_or_else(|| "OrderedReady".to_owned()),
        service_name: spec.service_name.unwrap_or_default(),
        min_ready_s: spec.min_ready_seconds.unwrap_or_default(),
        selector: selector::facts(spec.selector),
        template: template::facts(spec.template),
        observed_generation: status.observed_generation.unwrap_or_default(),
        replicas: status.replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
        current: status.current_replicas.unwrap_or_default(),
        updated: status.updated_replicas.unwrap_or_default(),
        available: status.available_replicas.unwrap_or_default(),
        current_revision: status.current_revision.unwrap_or_default(),
        update_revision: status.update_revision.unwrap_or_default(),
        conditions: condition::facts(status.conditions),
        ordinals_start: spec.ordinals.unwrap_or_default().start.unwrap_or_default(),
        claim_templates: spec.volume_claim_templates.map(|ClaimTemplate { metadata, spec }| {
            v1::ClaimTemplate {
                name: metadata.unwrap_or_default().name.unwrap_or_default(),
                storage_class: spec.unwrap_or_default().storage_class_name,
            }
        }),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::StatefulSetFacts {
        match project_yaml(&Kind::StatefulSet, yaml).facts.kind {
            Some(v1::facts::Kind::StatefulSet(facts)) => facts,
            other => panic!("not a StatefulSet: {other:?}"),
        }
    }

    #[test]
    fn reads_partition_and_revisions() {
        let facts = facts(
            "metadata: {name: db}
spec: {replicas: 3, serviceName: db, podManagementPolicy: Parallel, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0}}}
status: {observedGeneration: 2, replicas: 3, readyReplicas: 2, currentReplicas: 1, updatedReplicas: 2, availableReplicas: 2, currentRevision: db-1, updateRevision: db-2}",
        );
        assert_eq!(facts.strategy.clone().unwrap().partition, Some(0), "0 is not absent");
        assert_eq!(
            (facts.current_revision.as_str(), facts.update_revision.as_str()),
            ("db-1", "db-2")
        );
        assert_eq!((facts.desired, facts.ready, facts.current, facts.updated), (3, 2, 1, 2));
        assert_eq!(facts.pod_management_policy, "Parallel");
    }

    #[test]
    fn reads_where_ordinals_begin_and_what_storage_is_asked_for() {
        let facts = facts(
            "metadata: {name: db}
spec: {ordinals: {start: 3}, volumeClaimTemplates: [
  {metadata: {name: data}, spec: {storageClassName: fast-ssd, resources: {requests: {storage: 1Gi}}}},
  {metadata: {name: none}, spec: {storageClassName: ''}}, {metadata: {name: default}, spec: null}]}",
        );
        assert_eq!(facts.ordinals_start, 3);
        let claims: Vec<_> = facts
            .claim_templates
            .iter()
            .map(|it| (&*it.name, it.storage_class.as_deref()))
            .collect();
        let want = [("data", Some("fast-ssd")), ("none", Some("")), ("default", None)];
        assert_eq!(claims, want, "no class is not the default one");
    }

    #[test]
    fn a_manifest_has_the_defaults_of_the_api_server() {
        let facts = facts("metadata: {name: db}");
        assert_eq!((facts.desired, facts.pod_management_policy.as_str()), (1, "OrderedReady"));
        assert_eq!(facts.strategy.unwrap().r#type, "RollingUpdate");
    }
}
