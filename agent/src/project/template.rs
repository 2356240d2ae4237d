//! Pod templates and the containers in them. Arguments, mounts and volumes are not read, nor values of the environment.

use serde::{Deserialize, de::IgnoredAny};
use vitals_proto::v1;

use super::{
    lenient::{List, Scalar, Strings},
    references::{EnvFrom, EnvVar},
};

/// Slim `corev1.PodTemplateSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Template {
    metadata: Option<TemplateMetadata>,
    spec: Option<TemplateSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateMetadata {
    labels: Strings,
    annotations: Option<TemplateAnnotations>,
}

/// Anybody may write anything into them: only one is read, and only as a time.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateAnnotations {
    #[serde(rename = "kubectl.kubernetes.io/restartedAt")]
    restarted_at: Option<String>,
}

impl TemplateAnnotations {
    fn restarted_at(&self) -> i64 {
        let time = self.restarted_at.as_deref().and_then(|text| text.parse().ok());
        time.map_or(0, jiff::Timestamp::as_second)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TemplateSpec {
    containers: List<Container>,
    init_containers: List<Container>,
    service_account_name: Option<String>,
}

/// Slim `corev1.Container`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    name: Option<String>,
    image: Option<String>,
    ports: List<Port>,
    resources: Option<Resources>,
    readiness_probe: Option<Probe>,
    liveness_probe: Option<Probe>,
    startup_probe: Option<Probe>,
    restart_policy: Option<String>,
    pub(super) env: List<EnvVar>,
    pub(super) env_from: List<EnvFrom>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    container_port: Option<i32>,
    protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Strings,
    limits: Strings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Probe {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    grpc: Option<Grpc>,
    exec: Option<IgnoredAny>,
    initial_delay_seconds: Option<i32>,
    period_seconds: Option<i32>,
    failure_threshold: Option<i32>,
    timeout_seconds: Option<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HttpGet {
    path: Option<String>,
    port: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TcpSocket {
    port: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Grpc {
    port: Option<Scalar>,
}

/// The facts of a template.
pub(super) fn facts(template: Option<Template>) -> Option<v1::PodTemplate> {
    let Template { metadata, spec } = template?;
    let spec = spec.unwrap_or_default();
    let TemplateMetadata { labels, annotations } = metadata.unwrap_or_default();
    Some(v1::PodTemplate {
        labels: labels.0,
        containers: containers(spec.containers),
        init_containers: containers(spec.init_containers),
        restarted_at_unix_s: annotations.unwrap_or_default().restarted_at(),
        service_account: service_account(spec.service_account_name),
    })
}

/// The name of a ServiceAccount; empty for `default`, the API server's default.
pub(super) fn service_account(name: Option<String>) -> String {
    name.filter(|name| name != "default").unwrap_or_default()
}

/// The facts of containers, in the order of the object.
pub(super) fn containers(containers: List<Container>) -> Vec<v1::Container> {
    containers.map(container)
}

fn container(container: Container) -> v1::Container {
    let resources = container.resources.unwrap_or_default();
    v1::Container {
        name: container.name.unwrap_or_default(),
        image: container.image.unwrap_or_default(),
        ports: container.ports.map(|port| v1::ContainerPort {
            name: port.name.unwrap_or_default(),
            number: port.container_port.unwrap_or_default(),
            protocol: protocol(port.protocol),
        }),
        requests: resources.requests.0,
        limits: resources.limits.0,
        readiness_probe: container.readiness_probe.map(probe),
        liveness_probe: container.liveness_probe.map(probe),
        startup_probe: container.startup_probe.map(probe),
        restart_policy: container.restart_policy.unwrap_or_default(),
    }
}

/// Of an `exec` probe only that it is one: its arguments may hold secrets.
fn probe(probe: Probe) -> v1::Probe {
    let port = |port: Option<Scalar>| port.unwrap_or_default().0;
    let action = if let Some(HttpGet { path, port: at }) = probe.http_get {
        format!("httpGet :{}{}", port(at), path.unwrap_or_default())
    } else if let Some(TcpSocket { port: at }) = probe.tcp_socket {
        format!("tcpSocket :{}", port(at))
    } else if let Some(Grpc { port: at }) = probe.grpc {
        format!("grpc :{}", port(at))
    } else if probe.exec.is_some() {
        "exec".to_owned()
    } else {
        String::new()
    };
    v1::Probe {
        action,
        initial_delay_s: probe.initial_delay_seconds.unwrap_or_default(),
        period_s: probe.period_seconds.unwrap_or_default(),
        failure_threshold: probe.failure_threshold.unwrap_or_default(),
        timeout_s: probe.timeout_seconds.unwrap_or_default(),
    }
}

/// A protocol; empty for TCP, the API server's default.
pub(super) fn protocol(protocol: Option<String>) -> String {
    protocol.filter(|protocol| protocol != "TCP").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn template(metadata: &str, spec: &str) -> v1::PodTemplate {
        let yaml = format!(
            "metadata: {{name: web}}\nspec: {{template: {{metadata: {metadata}, spec: {spec}}}}}"
        );
        match project_yaml(&Kind::Deployment, &yaml).facts.kind {
            Some(v1::facts::Kind::Deployment(facts)) => facts.template.unwrap(),
            other => panic!("not a Deployment: {other:?}"),
        }
    }

    #[test]
    fn reads_when_it_was_restarted_and_no_other_annotation() {
        let restarted = |value: &str| {
            let annotations = format!(
                "{{annotations: {{kubectl.kubernetes.io/restartedAt: {value}, other: hunter2}}}}"
            );
            let template = template(&annotations, "null");
            assert!(!format!("{template:?}").contains("hunter2"));
            template.restarted_at_unix_s
        };
        assert_eq!(restarted("'2026-01-02T04:04:05+01:00'"), 1_767_323_045);
        assert_eq!(restarted("yesterday"), 0);
        assert_eq!(restarted("null"), 0);
        assert_eq!(template("{annotations: null}", "null").restarted_at_unix_s, 0);
    }

    #[test]
    fn the_default_service_account_is_none() {
        let account = |spec: &str| template("null", spec).service_account;
        assert_eq!(account("{serviceAccountName: api}"), "api");
        assert_eq!(account("{serviceAccountName: default}"), "");
        assert_eq!(account("{}"), "");
    }
}
