//! EndpointSlices, by kstatus' generic rule: always healthy. That nothing of a Service takes traffic is the business of
//! [`crate::rollup`]; here it is only said.

use vitals_proto::v1::EndpointSliceFacts;

use super::Assessment;

/// The names that `truncated` has for what the rule reads.
pub(super) const READS: [&str; 1] = ["endpoints"];

pub(super) fn assess(facts: &EndpointSliceFacts) -> Assessment {
    let Count { ready, all } = count(facts);
    Assessment::healthy(match all {
        0 => "it has no endpoint".to_owned(),
        1 => format!("{ready} of 1 endpoint takes traffic"),
        all => format!("{ready} of {all} endpoints take traffic"),
    })
}

/// How many endpoints there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// They take traffic.
    pub(crate) ready: u32,
    pub(crate) all: u32,
}

pub(crate) fn count(facts: &EndpointSliceFacts) -> Count {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let ready = facts.endpoints.iter().filter(|it| it.ready).count();
    Count { ready: number(ready), all: number(facts.endpoints.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::{Endpoint, HealthStatus};

    #[test]
    fn rule() {
        let endpoint = |ready| Endpoint { ready, ..Default::default() };
        for (ready, message) in [
            (vec![], "it has no endpoint"),
            (vec![true], "1 of 1 endpoint takes traffic"),
            (vec![true, false, true], "2 of 3 endpoints take traffic"),
            (vec![false, false], "0 of 2 endpoints take traffic"),
        ] {
            let endpoints = ready.into_iter().map(endpoint).collect();
            let got = assess(&EndpointSliceFacts { endpoints, ..Default::default() });
            assert_eq!(
                (got.status, got.message.as_ref(), got.settled),
                (HealthStatus::Healthy, message, true)
            );
        }
    }
}
