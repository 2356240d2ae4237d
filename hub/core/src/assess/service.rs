//! Services, as Argo CD's `health_service.go`.

use vitals_proto::v1::ServiceFacts;

use super::{Assessment, Reason};

pub(super) fn assess(facts: &ServiceFacts) -> Assessment {
    if facts.r#type != "LoadBalancer" {
        return Assessment::healthy("it needs no load balancer");
    }
    load_balancer(&facts.load_balancer_ingress)
}

/// Of a Service or an Ingress that waits for one. Settled is stricter than kstatus here, which takes a load balancer without an
/// address for current.
pub(super) fn load_balancer(addresses: &[String]) -> Assessment {
    match addresses.first() {
        Some(address) => Assessment::healthy(format!("the load balancer has address {address}")),
        None => Assessment::progressing(
            Reason::LoadBalancerPending,
            "the load balancer has no address yet",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::HealthStatus::{Healthy, Progressing};

    #[test]
    fn rule() {
        let balanced = ServiceFacts { r#type: "LoadBalancer".to_owned(), ..Default::default() };
        let ready = ServiceFacts {
            load_balancer_ingress: vec!["192.0.2.1".to_owned()],
            ..balanced.clone()
        };
        for (case, facts, status, reason) in [
            (
                "cluster IP",
                ServiceFacts { r#type: "ClusterIP".to_owned(), ..Default::default() },
                Healthy,
                Reason::None,
            ),
            ("waiting", balanced, Progressing, Reason::LoadBalancerPending),
            ("has an address", ready, Healthy, Reason::None),
        ] {
            let got = assess(&facts);
            assert_eq!(
                (got.status, got.reason, got.settled),
                (status, reason, status == Healthy),
                "{case}"
            );
        }
    }
}
