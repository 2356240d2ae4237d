//! Pod templates and the containers in them. Environment, arguments, mounts and volumes are not read.

use serde::{Deserialize, de::IgnoredAny};
use vitals_proto::v1;

use super::lenient::{List, Scalar, Strings};

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
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TemplateSpec {
    containers: List<Container>,
    init_containers: List<Container>,
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
    Some(v1::PodTemplate {
        labels: metadata.unwrap_or_default().labels.0,
        containers: containers(spec.containers),
        init_containers: containers(spec.init_containers),
    })
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
