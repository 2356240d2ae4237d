//! EndpointSlices.
//!
//! They change whenever a pod becomes ready or goes, and hold up to 1,000 endpoints: only what is read of each is kept, and of
//! its addresses none where it is a Pod, which has them itself.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    Error, Projected, decode,
    lenient::{List, mapping},
    meta::Metadata,
    projected,
};

/// Slim `discoveryv1.EndpointSlice`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EndpointSlice {
    #[serde(deserialize_with = "mapping")]
    metadata: Option<Metadata>,
    address_type: Option<String>,
    endpoints: List<Endpoint>,
    ports: List<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Endpoint {
    addresses: List<String>,
    conditions: Option<Conditions>,
    target_ref: Option<Target>,
    node_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Target {
    kind: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    name: Option<String>,
    port: Option<i32>,
    protocol: Option<String>,
}

/// Its endpoints stand beside its metadata: it has neither spec nor status.
pub(super) fn read(json: &[u8]) -> Result<Projected, Error> {
    let EndpointSlice { metadata, address_type, endpoints, ports } = decode(json)?;
    let facts = v1::EndpointSliceFacts {
        address_type: address_type.unwrap_or_default(),
        endpoints: endpoints.map(endpoint),
        ports: ports.map(|Port { name, port, protocol }| v1::EndpointPort {
            name: name.unwrap_or_default(),
            number: port.unwrap_or_default(),
            protocol: protocol.filter(|it| it != "TCP").unwrap_or_default(),
        }),
    };
    projected(metadata, |_| Some(v1::facts::Kind::EndpointSlice(facts)))
}

/// What is absent means what `discoveryv1.EndpointConditions` tells consumers to take it for.
fn endpoint(endpoint: Endpoint) -> v1::Endpoint {
    let Endpoint { addresses, conditions, target_ref, node_name } = endpoint;
    let Conditions { ready, serving, terminating } = conditions.unwrap_or_default();
    let pod = target_ref.filter(|target| target.kind.as_deref() == Some("Pod"));
    let pod = pod.and_then(|target| target.name).unwrap_or_default();
    let address = addresses.0.into_iter().next().filter(|_| pod.is_empty());
    let ready = ready.unwrap_or(true);
    v1::Endpoint {
        pod,
        node: node_name.unwrap_or_default(),
        ready,
        serving: serving.unwrap_or(ready),
        terminating: terminating.unwrap_or_default(),
        address: address.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{fit::fit, testing::project_yaml};
    use vitals_proto::{kind::Kind, limits::FACTS_BYTES_MAX, v1};

    fn facts(yaml: &str) -> v1::EndpointSliceFacts {
        match project_yaml(&Kind::EndpointSlice, yaml).facts.kind {
            Some(v1::facts::Kind::EndpointSlice(facts)) => facts,
            other => panic!("not an EndpointSlice: {other:?}"),
        }
    }

    #[test]
    fn reads_endpoints_and_ports() {
        let facts = facts(
            "metadata: {name: web-x7k2z}
addressType: IPv4
endpoints:
- {addresses: [10.1.0.1], conditions: {ready: true, serving: true, terminating: false}, nodeName: n1, targetRef: {kind: Pod, namespace: shop, name: web-1, uid: u}, zone: a}
- {addresses: [10.1.0.2], conditions: {ready: false, serving: true, terminating: true}, nodeName: n2, targetRef: {kind: Pod, name: web-2}}
- {addresses: [192.0.2.1, 192.0.2.2], conditions: null}
- {addresses: [192.0.2.3], conditions: {ready: false}, targetRef: {kind: Node, name: n1}}
ports: [{name: http, port: 8080, protocol: TCP}, {port: null, protocol: UDP}]",
        );
        let endpoints: Vec<_> = facts
            .endpoints
            .iter()
            .map(|it| (&*it.pod, &*it.node, &*it.address, [it.ready, it.serving, it.terminating]))
            .collect();
        assert_eq!(
            endpoints,
            [
                ("web-1", "n1", "", [true, true, false]),
                ("web-2", "n2", "", [false, true, true]),
                ("", "", "192.0.2.1", [true, true, false]),
                ("", "", "192.0.2.3", [false, false, false]),
            ]
        );
        let ports: Vec<_> =
            facts.ports.iter().map(|it| (&*it.name, it.number, &*it.protocol)).collect();
        assert_eq!(ports, [("http", 8080, ""), ("", 0, "UDP")]);
    }

    #[test]
    fn one_without_endpoints_has_none() {
        let facts = facts("metadata: {name: web}\naddressType: IPv4\nendpoints: null\nports: null");
        let none = v1::EndpointSliceFacts { address_type: "IPv4".into(), ..Default::default() };
        assert_eq!(facts, none);
    }

    #[test]
    fn the_largest_slice_fits_without_where_its_pods_are() {
        let endpoint = |number: usize| {
            format!(
                "- {{targetRef: {{kind: Pod, name: shop-7d9c5b8f6d-x{number:030}}}, nodeName: ip-10-0-12-7.eu-central-1.compute.internal}}\n"
            )
        };
        let endpoints: String = (0..1_000).map(endpoint).collect();
        let yaml = format!("metadata: {{name: web}}\nendpoints:\n{endpoints}");
        let mut facts = project_yaml(&Kind::EndpointSlice, &yaml).facts;
        fit(&mut facts, FACTS_BYTES_MAX);
        assert_eq!(facts.truncated, ["endpoints.node"]);
        let Some(v1::facts::Kind::EndpointSlice(facts)) = facts.kind else { panic!("it is gone") };
        assert_eq!(facts.endpoints.len(), 1_000);
        assert!(facts.endpoints.iter().all(|it| it.node.is_empty() && !it.pod.is_empty()));
    }
}
