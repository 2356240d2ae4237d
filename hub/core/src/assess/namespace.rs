//! Namespaces: active, or terminating with what blocks it.

use vitals_proto::v1::NamespaceFacts;

use super::{Assessment, Reason};

/// The conditions that a namespace controller sets while something blocks the end of a namespace, the first cause first.
const BLOCKERS: [&str; 5] = [
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceFinalizersRemaining",
    "NamespaceContentRemaining",
];

pub(super) fn assess(facts: &NamespaceFacts) -> Assessment {
    if facts.phase != "Terminating" {
        return Assessment::healthy("active");
    }
    let blocked = BLOCKERS.iter().find_map(|blocker| {
        super::condition::find(&facts.conditions, blocker).filter(|it| it.status == "True")
    });
    let message = match blocked {
        Some(blocked) => format!("terminating: {}", super::condition::words(blocked)),
        None => "terminating".to_owned(),
    };
    Assessment::progressing(Reason::NamespaceTerminating, message)
}

/// What blocks the end of a namespace that is being deleted, in words; for the rule that comes before all kinds.
pub(super) fn blocker(facts: &NamespaceFacts) -> Option<String> {
    (facts.phase == "Terminating").then(|| assess(facts).message.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::{
        Condition,
        HealthStatus::{Healthy, Progressing},
    };

    fn condition(r#type: &str, status: &str, message: &str) -> Condition {
        let [r#type, status, message] = [r#type, status, message].map(str::to_owned);
        Condition { r#type, status, message, ..Condition::default() }
    }

    #[test]
    fn rule() {
        let blocked = vec![
            condition("NamespaceContentRemaining", "True", "Some resources are remaining"),
            condition("NamespaceDeletionDiscoveryFailure", "False", "fine"),
            condition(
                "NamespaceFinalizersRemaining",
                "True",
                "Some content has finalizers remaining: x in 2 instances",
            ),
        ];
        for (case, phase, conditions, status, reason, message) in [
            ("active", "Active", vec![], Healthy, Reason::None, "active"),
            (
                "terminating",
                "Terminating",
                vec![],
                Progressing,
                Reason::NamespaceTerminating,
                "terminating",
            ),
            (
                "blocked",
                "Terminating",
                blocked,
                Progressing,
                Reason::NamespaceTerminating,
                "terminating: Some content has finalizers remaining: x in 2 instances",
            ),
        ] {
            let got = assess(&NamespaceFacts { phase: phase.to_owned(), conditions });
            assert_eq!(
                (got.status, got.reason, got.message.as_ref()),
                (status, reason, message),
                "{case}"
            );
        }
    }
}
