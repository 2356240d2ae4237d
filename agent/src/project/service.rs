//! Services.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    lenient::{List, Scalar, Strings},
    meta::Metadata,
    template::protocol,
};

/// Slim `corev1.ServiceSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    r#type: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    external_name: Option<String>,
    ports: List<Port>,
    selector: Strings,
    publish_not_ready_addresses: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i32>,
    target_port: Option<Scalar>,
    node_port: Option<i32>,
}

/// Slim `corev1.ServiceStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    load_balancer: Option<LoadBalancer>,
}

/// Slim `corev1.LoadBalancerStatus`, and that of an Ingress.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadBalancer {
    ingress: List<Ingress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: Option<String>,
    hostname: Option<String>,
}

/// The facts of a Service; its type is `ClusterIP` where absent, the API server's default.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    Some(v1::facts::Kind::Service(v1::ServiceFacts {
        r#type: spec.r#type.filter(|it| !it.is_empty()).unwrap_or_else(|| "ClusterIP".to_owned()),
        cluster_ip: spec.cluster_ip.unwrap_or_default(),
        external_name: spec.external_name.unwrap_or_default(),
        ports: spec.ports.map(|port| v1::ServicePort {
            name: port.name.unwrap_or_default(),
            protocol: protocol(port.protocol),
            port: port.port.unwrap_or_default(),
            target_port: port.target_port.unwrap_or_default().0,
            node_port: port.node_port.unwrap_or_default(),
        }),
        selector: spec.selector.0,
        load_balancer_ingress: addresses(status.load_balancer),
        publish_not_ready_addresses: spec.publish_not_ready_addresses.unwrap_or_default(),
    }))
}

/// The IP address or else the host name of each entry.
pub(super) fn addresses(load_balancer: Option<LoadBalancer>) -> Vec<String> {
    let entries = load_balancer.unwrap_or_default().ingress;
    entries.map(|Ingress { ip, hostname }| ip.or(hostname).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::ServiceFacts {
        match project_yaml(&Kind::Service, yaml).facts.kind {
            Some(v1::facts::Kind::Service(facts)) => facts,
            other => panic!("not a Service: {other:?}"),
        }
    }

    #[test]
    fn reads_ports_selector_and_ingress() {
        let facts = facts(
            "metadata: {name: web}
spec:
  type: LoadBalancer
  clusterIP: 10.0.0.1
  selector: {app: web}
  publishNotReadyAddresses: true
  ports:
  - {name: http, port: 80, targetPort: web, nodePort: 30080, protocol: TCP}
  - {port: 53, targetPort: 5353, protocol: UDP}
status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: lb.example.com}, {}]}}",
        );
        assert_eq!(facts.load_balancer_ingress, ["192.0.2.1", "lb.example.com", ""]);
        assert_eq!(
            (facts.ports[0].target_port.as_str(), facts.ports[0].protocol.as_str()),
            ("web", "")
        );
        assert_eq!(
            (facts.ports[1].target_port.as_str(), facts.ports[1].protocol.as_str()),
            ("5353", "UDP")
        );
        assert_eq!(facts.selector["app"], "web");
        assert!(facts.publish_not_ready_addresses);
    }

    #[test]
    fn a_manifest_is_a_cluster_ip() {
        let facts = facts(
            "metadata: {name: web}\nspec: {selector: null, ports: null}\nstatus: {loadBalancer: {}}",
        );
        assert_eq!(facts.r#type, "ClusterIP");
        assert!(facts.selector.is_empty() && facts.ports.is_empty());
    }
}
