//! Ingresses, as Argo CD's `health_ingress.go`. Whether what they route to exists is the business of [`crate::rollup`].

use vitals_proto::v1::IngressFacts;

use super::{Assessment, Reason};

/// Settled is stricter than kstatus here, as of Services.
pub(super) fn assess(facts: &IngressFacts) -> Assessment {
    match facts.load_balancer_ingress.first() {
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
        let waiting = IngressFacts::default();
        let ready = IngressFacts {
            load_balancer_ingress: vec!["192.0.2.1".to_owned()],
            ..Default::default()
        };
        for (facts, status, reason) in
            [(waiting, Progressing, Reason::LoadBalancerPending), (ready, Healthy, Reason::None)]
        {
            let got = assess(&facts);
            assert_eq!((got.status, got.reason, got.settled), (status, reason, status == Healthy));
        }
    }
}
