//! ResourceQuotas, by kstatus' generic rule: always healthy. Who is refused says so itself; here it is only said what is used up.

use vitals_proto::v1::ResourceQuotaFacts;

use super::{Assessment, quantity::Quantity};

pub(super) fn assess(facts: &ResourceQuotaFacts) -> Assessment {
    if facts.hard.is_empty() {
        return Assessment::healthy("it bounds nothing");
    }
    if facts.used.is_empty() {
        return Assessment::healthy("what is used of it is not known yet").settled_if(false);
    }
    let used_up: Vec<String> = facts.hard.iter().filter_map(|it| used_up(facts, it)).collect();
    if used_up.is_empty() {
        Assessment::healthy("nothing of it is used up")
    } else {
        Assessment::healthy(format!("used up: {}", used_up.join(", ")))
    }
}

/// `requests.cpu 4 of 4`, where that is so.
fn used_up(facts: &ResourceQuotaFacts, (name, hard): (&String, &String)) -> Option<String> {
    let used = facts.used.get(name)?;
    let is_used_up = Quantity::parse(used)? >= Quantity::parse(hard)?;
    is_used_up.then(|| format!("{name} {used} of {hard}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use vitals_proto::v1::HealthStatus;

    #[test]
    fn rule() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
        };
        let hard = map(&[("pods", "10"), ("requests.cpu", "4"), ("requests.memory", "8Gi")]);
        for (hard, used, message, settled) in [
            (map(&[]), map(&[]), "it bounds nothing", true),
            (hard.clone(), map(&[]), "what is used of it is not known yet", false),
            (
                hard.clone(),
                map(&[("pods", "9"), ("requests.cpu", "3999m"), ("requests.memory", "x")]),
                "nothing of it is used up",
                true,
            ),
            (
                hard,
                map(&[("pods", "3"), ("requests.cpu", "4000m"), ("requests.memory", "9Gi")]),
                "used up: requests.cpu 4000m of 4, requests.memory 9Gi of 8Gi",
                true,
            ),
            (map(&[("pods", "0")]), map(&[("pods", "0")]), "used up: pods 0 of 0", true),
        ] {
            let got = assess(&ResourceQuotaFacts { hard, used, ..Default::default() });
            assert_eq!(
                (got.status, got.message.as_ref(), got.settled),
                (HealthStatus::Healthy, message, settled)
            );
        }
    }
}
