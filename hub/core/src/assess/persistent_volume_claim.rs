//! PersistentVolumeClaims, as Argo CD's `health_pvc.go`.

use vitals_proto::v1::PersistentVolumeClaimFacts;

use super::{Assessment, Reason};

/// One that waits is never bad by itself: many classes give a volume only when a pod needs it (`WaitForFirstConsumer`), and the
/// pod that needs one in vain says so.
pub(super) fn assess(facts: &PersistentVolumeClaimFacts) -> Assessment {
    match facts.phase.as_str() {
        "Bound" => Assessment::healthy("it has its volume"),
        "Pending" => Assessment::progressing(Reason::ClaimPending, pending(facts)),
        "Lost" => {
            let volume = &facts.volume_name;
            let message = format!("its volume {volume} is gone, and what was on it may be");
            Assessment::degraded(Reason::ClaimLost, message)
        }
        "" => Assessment::unknown(Reason::ClaimPhaseUnknown, "the claim has no phase yet"),
        phase => Assessment::unknown(
            Reason::ClaimPhaseUnknown,
            format!("the phase of the claim is {phase}"),
        ),
    }
}

fn pending(facts: &PersistentVolumeClaimFacts) -> String {
    match facts.storage_class.as_deref() {
        None => "it waits for a volume of the default storage class".to_owned(),
        Some("") => "it waits for a volume without storage class".to_owned(),
        Some(class) => format!("it waits for a volume of storage class {class}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::HealthStatus::{Degraded, Healthy, Progressing, Unknown};

    #[test]
    fn rule() {
        let of = |phase: &str, class: Option<&str>| PersistentVolumeClaimFacts {
            phase: phase.to_owned(),
            storage_class: class.map(str::to_owned),
            volume_name: "pv-1".to_owned(),
            ..Default::default()
        };
        for (facts, status, reason, message) in [
            (of("Bound", None), Healthy, Reason::None, "it has its volume"),
            (
                of("Pending", Some("fast-ssd")),
                Progressing,
                Reason::ClaimPending,
                "it waits for a volume of storage class fast-ssd",
            ),
            (
                of("Pending", Some("")),
                Progressing,
                Reason::ClaimPending,
                "it waits for a volume without storage class",
            ),
            (
                of("Lost", None),
                Degraded,
                Reason::ClaimLost,
                "its volume pv-1 is gone, and what was on it may be",
            ),
            (
                of("Strange", None),
                Unknown,
                Reason::ClaimPhaseUnknown,
                "the phase of the claim is Strange",
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
