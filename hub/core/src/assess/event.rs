//! Warning Events, folded: always healthy, for they say what happened and not how something does. The newest is put into words.

use vitals_proto::v1::{EventFacts, EventReason};

use super::Assessment;

pub(super) fn assess(facts: &EventFacts) -> Assessment {
    let Some(newest) = facts.reasons.first() else {
        return Assessment::healthy("nothing was told");
    };
    let EventReason { reason, message, count, .. } = newest;
    let reason = if reason.is_empty() { "a warning without reason" } else { reason };
    let mut words = reason.to_owned();
    if *count > 1 {
        words.push_str(&format!(", {count} times"));
    }
    // A terminal shows one line.
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = message.trim_end_matches('.');
    if !message.is_empty() {
        words.push_str(&format!(": {message}"));
    }
    match facts.reasons.len() {
        0 | 1 => {}
        all => words.push_str(&format!(" (and {} more)", all - 1)),
    }
    Assessment::healthy(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::HealthStatus;

    #[test]
    fn rule() {
        let told = |reason: &str, message: &str, count| EventReason {
            reason: reason.into(),
            message: message.into(),
            count,
            ..Default::default()
        };
        let back_off = told("BackOff", "Back-off restarting\n failed container.", 12);
        for (reasons, message) in [
            (vec![], "nothing was told"),
            (vec![told("", "", 1)], "a warning without reason"),
            (vec![told("Failed", "", 1)], "Failed"),
            (vec![back_off.clone()], "BackOff, 12 times: Back-off restarting failed container"),
            (
                vec![back_off.clone(), back_off.clone(), back_off],
                "BackOff, 12 times: Back-off restarting failed container (and 2 more)",
            ),
        ] {
            let got = assess(&EventFacts { reasons, involved: None });
            assert_eq!(
                (got.status, got.message.as_ref(), got.settled),
                (HealthStatus::Healthy, message, true)
            );
        }
    }
}
