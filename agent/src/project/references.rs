//! The ConfigMaps and Secrets that a pod needs: their names, and never what is in them.

use std::collections::BTreeMap;

use serde::Deserialize;
use vitals_proto::v1;

use super::lenient::List;

/// Begins the name of the volume by which every pod gets its token (admission plugin ServiceAccount). What it names is in
/// every namespace.
const TOKEN_VOLUME_PREFIX: &str = "kube-api-access-";

/// Slim `corev1.EnvVar`: where its value is from, never the value.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EnvVar {
    value_from: Option<EnvVarSource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EnvVarSource {
    config_map_key_ref: Option<Reference>,
    secret_key_ref: Option<Reference>,
}

/// Slim `corev1.EnvFromSource`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EnvFrom {
    config_map_ref: Option<Reference>,
    secret_ref: Option<Reference>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    name: Option<String>,
    /// `corev1.SecretVolumeSource` has another word for it.
    secret_name: Option<String>,
    optional: Option<bool>,
}

/// Slim `corev1.Volume`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Volume {
    name: Option<String>,
    persistent_volume_claim: Option<Claim>,
    config_map: Option<Reference>,
    secret: Option<Reference>,
    projected: Option<Projected>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Claim {
    claim_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Projected {
    sources: List<Source>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    config_map: Option<Reference>,
    secret: Option<Reference>,
}

/// What a pod names, each once.
#[derive(Debug, Default)]
pub(super) struct References {
    config_maps: BTreeMap<String, v1::Reference>,
    secrets: BTreeMap<String, v1::Reference>,
    /// `persistentVolumeClaim.claimName`, in the order of the volumes.
    pub(super) claims: Vec<String>,
}

/// How a pod uses what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Environment,
    Volume,
}

impl References {
    /// Adds those of a container's environment.
    pub(super) fn environment(&mut self, env: List<EnvVar>, env_from: List<EnvFrom>) {
        for source in env.0.into_iter().filter_map(|variable| variable.value_from) {
            let EnvVarSource { config_map_key_ref, secret_key_ref } = source;
            note(&mut self.config_maps, config_map_key_ref, Use::Environment);
            note(&mut self.secrets, secret_key_ref, Use::Environment);
        }
        for EnvFrom { config_map_ref, secret_ref } in env_from.0 {
            note(&mut self.config_maps, config_map_ref, Use::Environment);
            note(&mut self.secrets, secret_ref, Use::Environment);
        }
    }

    /// Adds those of the volumes.
    pub(super) fn volumes(&mut self, volumes: List<Volume>) {
        for volume in volumes.0 {
            let Volume { name, persistent_volume_claim, config_map, secret, projected } = volume;
            self.claims.extend(persistent_volume_claim.and_then(|claim| claim.claim_name));
            note(&mut self.config_maps, config_map, Use::Volume);
            note(&mut self.secrets, secret, Use::Volume);
            if name.is_some_and(|name| name.starts_with(TOKEN_VOLUME_PREFIX)) {
                continue;
            }
            for Source { config_map, secret } in projected.unwrap_or_default().sources.0 {
                note(&mut self.config_maps, config_map, Use::Volume);
                note(&mut self.secrets, secret, Use::Volume);
            }
        }
    }

    /// ConfigMaps and Secrets, by name.
    pub(super) fn facts(self) -> (Vec<v1::Reference>, Vec<v1::Reference>) {
        (self.config_maps.into_values().collect(), self.secrets.into_values().collect())
    }
}

fn note(noted: &mut BTreeMap<String, v1::Reference>, reference: Option<Reference>, by: Use) {
    let Some(Reference { name, secret_name, optional }) = reference else { return };
    let Some(name) = name.or(secret_name).filter(|name| !name.is_empty()) else { return };
    let optional = optional.unwrap_or_default();
    let new = || v1::Reference { name: name.clone(), optional: true, ..Default::default() };
    let it = noted.entry(name.clone()).or_insert_with(new);
    it.optional &= optional;
    it.in_environment |= by == Use::Environment;
    it.in_volume |= by == Use::Volume;
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use prost::Message as _;
    use vitals_proto::{kind::Kind, v1};

    fn facts(spec: &str) -> v1::PodFacts {
        let yaml = format!("metadata: {{name: p}}\nspec: {spec}");
        let facts = project_yaml(&Kind::Pod, &yaml).facts;
        let bytes = facts.encode_to_vec();
        assert!(!bytes.windows(7).any(|part| part == b"hunter2"), "a value leaves the cluster");
        match facts.kind {
            Some(v1::facts::Kind::Pod(facts)) => facts,
            other => panic!("not a Pod: {other:?}"),
        }
    }

    fn reference(name: &str, [optional, in_environment, in_volume]: [bool; 3]) -> v1::Reference {
        v1::Reference { name: name.into(), optional, in_environment, in_volume }
    }

    #[test]
    fn names_what_a_pod_needs_once_and_no_value() {
        let facts = facts(
            "
  imagePullSecrets: [{name: regcred}, {}]
  readinessGates: [{conditionType: lb.example.com/ready}]
  volumes:
  - {name: a, configMap: {name: app, items: [{key: hunter2, path: hunter2}]}}
  - {name: b, secret: {secretName: tls, optional: true}}
  - {name: c, projected: {sources: [{secret: {name: more}}, {configMap: {name: extra, optional: true}}, {serviceAccountToken: {}}]}}
  - {name: kube-api-access-x7v2q, projected: {sources: [{configMap: {name: kube-root-ca.crt}}]}}
  - {name: d, persistentVolumeClaim: {claimName: data}}
  containers:
  - name: web
    env:
    - {name: A, value: hunter2}
    - {name: B, valueFrom: {configMapKeyRef: {name: app, key: hunter2}}}
    - {name: C, valueFrom: {secretKeyRef: {name: tls, key: k, optional: true}}}
    - {name: D, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    envFrom: [{secretRef: {name: all}}, {configMapRef: {name: maybe, optional: true}}, {configMapRef: null}]
  initContainers:
  - {name: init, envFrom: [{configMapRef: {name: maybe}}]}",
        );
        assert_eq!(
            facts.config_maps,
            [
                reference("app", [false, true, true]),
                reference("extra", [true, false, true]),
                reference("maybe", [false, true, false]),
            ]
        );
        assert_eq!(
            facts.secrets,
            [
                reference("all", [false, true, false]),
                reference("more", [false, false, true]),
                reference("tls", [true, true, true]),
            ]
        );
        assert_eq!(facts.image_pull_secrets, ["regcred"]);
        assert_eq!(facts.readiness_gates, ["lb.example.com/ready"]);
        assert_eq!(facts.claims, ["data"]);
    }

    #[test]
    fn a_pod_of_no_wishes_pays_nothing() {
        let facts = facts(
            "{serviceAccountName: default, containers: [{env: null, envFrom: null}], volumes: [
    {name: kube-api-access-abcde, projected: {sources: [{configMap: {name: kube-root-ca.crt}}]}}], imagePullSecrets: null, readinessGates: null}",
        );
        assert!(facts.config_maps.is_empty() && facts.secrets.is_empty());
        assert_eq!((facts.service_account.as_str(), facts.scheduling), ("", None));
    }
}
