//! Ingresses, as Argo CD's `health_ingress.go`. Whether what they route to exists is the business of [`crate::rollup`].

use vitals_proto::v1::IngressFacts;

use super::{Assessment, service};

pub(super) fn assess(facts: &IngressFacts) -> Assessment {
    service::load_balancer(&facts.load_balancer_ingress)
}

#[cfg(test)]
mod tests {
    use super::super::Reason;
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
