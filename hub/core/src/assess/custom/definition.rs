//! CustomResourceDefinitions: whether the API server serves them (Argo CD's and kstatus' rules).

use serde_json::Value;

use super::super::{Assessment, Reason};
use super::read;

pub(super) fn assess(object: &Value) -> Assessment {
    let is = |r#type, status| read::conditions(object).find(|it| it.is(r#type, status));
    if let Some(terminating) = is("Terminating", "True") {
        return Assessment::progressing(Reason::PendingDeletion, terminating.words());
    }
    let rejected = is("NamesAccepted", "False").or_else(|| is("NonStructuralSchema", "True"));
    if let Some(rejected) = rejected {
        return Assessment::degraded(Reason::DefinitionRejected, rejected.words());
    }
    if is("Established", "True").is_some() {
        return Assessment::healthy("it is established");
    }
    let pending = read::condition(object, "Established").map(|it| it.words());
    let pending = pending.unwrap_or_else(|| "it is not established yet".to_owned());
    Assessment::progressing(Reason::DefinitionPending, pending)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vitals_proto::v1::HealthStatus::{Degraded, Healthy, Progressing};

    use super::*;

    #[test]
    fn rule() {
        let said = |conditions: &[(&str, &str)]| {
            let conditions: Vec<Value> = conditions
                .iter()
                .map(|(kind, status)| json!({ "type": kind, "status": status, "reason": "R" }))
                .collect();
            json!({ "status": { "conditions": conditions } })
        };
        let established = ("Established", "True");
        for (case, conditions, status, reason) in [
            (
                "terminating",
                &[established, ("NamesAccepted", "False"), ("Terminating", "True")][..],
                Progressing,
                Reason::PendingDeletion,
            ),
            (
                "names taken",
                &[established, ("NamesAccepted", "False")],
                Degraded,
                Reason::DefinitionRejected,
            ),
            (
                "no structure",
                &[established, ("NonStructuralSchema", "True")],
                Degraded,
                Reason::DefinitionRejected,
            ),
            ("established", &[("NamesAccepted", "True"), established], Healthy, Reason::None),
            (
                "installing",
                &[("NamesAccepted", "True"), ("Established", "False")],
                Progressing,
                Reason::DefinitionPending,
            ),
            ("new", &[], Progressing, Reason::DefinitionPending),
        ] {
            let got = assess(&said(conditions));
            assert_eq!((got.status, got.reason), (status, reason), "{case}");
        }
    }
}
