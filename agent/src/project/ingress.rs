//! Ingresses.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    lenient::{List, Scalar},
    meta::Metadata,
    service::{LoadBalancer, addresses},
};

/// Slim `networkingv1.IngressSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    ingress_class_name: Option<String>,
    default_backend: Option<Backend>,
    rules: List<Rule>,
    tls: List<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rule {
    host: Option<String>,
    http: Option<Http>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Http {
    paths: List<Path>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Path {
    path: Option<String>,
    path_type: Option<String>,
    backend: Option<Backend>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Backend {
    service: Option<Service>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    name: Option<String>,
    port: Option<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    name: Option<String>,
    number: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tls {
    hosts: List<String>,
    secret_name: Option<String>,
}

/// Slim `networkingv1.IngressStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    load_balancer: Option<LoadBalancer>,
}

/// The facts of an Ingress.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    Some(v1::facts::Kind::Ingress(v1::IngressFacts {
        class: spec.ingress_class_name.unwrap_or_default(),
        default_backend: spec.default_backend.map(backend),
        rules: spec.rules.map(|Rule { host, http }| v1::IngressRule {
            host: host.unwrap_or_default(),
            paths: http.unwrap_or_default().paths.map(|path| v1::IngressPath {
                path: path.path.unwrap_or_default(),
                r#type: path.path_type.unwrap_or_default(),
                backend: path.backend.map(backend),
            }),
        }),
        tls: spec.tls.map(|Tls { hosts, secret_name }| v1::IngressTls {
            hosts: hosts.0,
            secret: secret_name.unwrap_or_default(),
        }),
        load_balancer_ingress: addresses(status.load_balancer),
    }))
}

fn backend(backend: Backend) -> v1::IngressBackend {
    let Service { name, port } = backend.service.unwrap_or_default();
    let Port { name: port, number } = port.unwrap_or_default();
    v1::IngressBackend {
        service: name.unwrap_or_default(),
        port: port.or(number.map(|Scalar(text)| text)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::IngressFacts {
        match project_yaml(&Kind::Ingress, yaml).facts.kind {
            Some(v1::facts::Kind::Ingress(facts)) => facts,
            other => panic!("not an Ingress: {other:?}"),
        }
    }

    #[test]
    fn reads_rules_backends_and_addresses() {
        let facts = facts(
            "metadata: {name: shop}
spec:
  ingressClassName: nginx
  defaultBackend: {resource: {apiGroup: example.org, kind: Bucket, name: static}}
  tls: [{hosts: [shop.example], secretName: shop-tls}]
  rules:
  - {host: shop.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}
  - {http: {paths: [{path: /api, pathType: Exact, backend: {service: {name: api, port: {name: http}}}}]}}
  - {host: empty.example}
status: {loadBalancer: {ingress: [{hostname: lb.example}, {ip: 192.0.2.1}]}}",
        );
        assert_eq!((&*facts.class, &*facts.tls[0].secret), ("nginx", "shop-tls"));
        assert_eq!(facts.default_backend, Some(v1::IngressBackend::default()), "no Service");
        let backends = facts.rules.iter().flat_map(|rule| &rule.paths);
        let backends = backends.filter_map(|path| path.backend.as_ref());
        let backends: Vec<_> = backends.map(|it| (&*it.service, &*it.port)).collect();
        assert_eq!(backends, [("web", "80"), ("api", "http")]);
        assert_eq!(facts.load_balancer_ingress, ["lb.example", "192.0.2.1"]);
    }

    #[test]
    fn a_manifest_has_no_address() {
        let facts = facts(
            "metadata: {name: shop}\nspec: {rules: null, tls: null}\nstatus: {loadBalancer: {}}",
        );
        assert_eq!(facts, v1::IngressFacts::default());
    }
}
