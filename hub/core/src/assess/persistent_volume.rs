//! PersistentVolumes, of which neither Argo CD nor kstatus has a rule: by their phase.

use vitals_proto::v1::{ClaimReference, PersistentVolumeFacts};

use super::{Assessment, Reason};

/// One that is released is as it should be: whether it is given back or kept is its policy, and whether its claim is missed its
/// claim says.
pub(super) fn assess(facts: &PersistentVolumeFacts) -> Assessment {
    let claim = facts.claim.as_ref();
    let of = claim.map(|ClaimReference { namespace, name, .. }| format!("{namespace}/{name}"));
    let of = of.unwrap_or_else(|| "a claim".to_owned());
    match facts.phase.as_str() {
        "Bound" => Assessment::healthy(format!("it is bound to {of}")),
        "Available" => Assessment::healthy("it is bound to no claim yet"),
        "Released" => {
            let policy = &facts.reclaim_policy;
            Assessment::healthy(format!("{of} is gone, and the policy for its data is {policy}"))
        }
        "Failed" => {
            let words = words(facts);
            let message = format!("{of} is gone, and it could not be given back: {words}");
            Assessment::degraded(Reason::VolumeFailed, message)
        }
        "Pending" => {
            Assessment::progressing(Reason::VolumePending, "it cannot be bound to a claim yet")
        }
        phase => Assessment::unknown(
            Reason::VolumePhaseUnknown,
            format!("the phase of the volume is {phase:?}"),
        ),
    }
}

/// Its message, else its reason, for a sentence.
fn words(facts: &PersistentVolumeFacts) -> &str {
    [&facts.message, &facts.reason]
        .into_iter()
        .map(|text| text.trim().trim_end_matches('.'))
        .find(|text| !text.is_empty())
        .unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::HealthStatus::{Degraded, Healthy, Progressing, Unknown};

    #[test]
    fn rule() {
        let claim =
            ClaimReference { namespace: "pay".into(), name: "data".into(), ..Default::default() };
        let of = |phase: &str| PersistentVolumeFacts {
            phase: phase.to_owned(),
            claim: Some(claim.clone()),
            reclaim_policy: "Retain".to_owned(),
            ..Default::default()
        };
        let failed = PersistentVolumeFacts { message: "in use.".into(), ..of("Failed") };
        let lost = PersistentVolumeFacts { claim: None, ..of("Failed") };
        for (facts, status, reason, message) in [
            (of("Bound"), Healthy, Reason::None, "it is bound to pay/data"),
            (of("Available"), Healthy, Reason::None, "it is bound to no claim yet"),
            (
                of("Released"),
                Healthy,
                Reason::None,
                "pay/data is gone, and the policy for its data is Retain",
            ),
            (
                failed,
                Degraded,
                Reason::VolumeFailed,
                "pay/data is gone, and it could not be given back: in use",
            ),
            (
                lost,
                Degraded,
                Reason::VolumeFailed,
                "a claim is gone, and it could not be given back: no reason given",
            ),
            (
                of("Pending"),
                Progressing,
                Reason::VolumePending,
                "it cannot be bound to a claim yet",
            ),
            (
                of("Strange"),
                Unknown,
                Reason::VolumePhaseUnknown,
                "the phase of the volume is \"Strange\"",
            ),
        ] {
            let got = assess(&facts);
            assert_eq!(
                (got.status, got.reason, got.message.as_ref(), got.settled),
                (status, reason, message, status == Healthy),
                "{facts:?}"
            );
        }
    }
}
