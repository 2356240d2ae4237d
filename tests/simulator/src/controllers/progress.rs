//! What a Deployment says of its progress. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::value::{
    Condition, condition, is_true, number, put_condition, rfc3339, set, set_condition, text,
};

/// The pods of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) updated: i64,
    pub(super) all: i64,
    pub(super) ready: i64,
    pub(super) available: i64,
}

pub(super) fn counts(deployment: &Value) -> Counts {
    let count = |field: &str| number(deployment, &format!("/status/{field}")).unwrap_or_default();
    Counts {
        updated: count("updatedReplicas"),
        all: count("replicas"),
        ready: count("readyReplicas"),
        available: count("availableReplicas"),
    }
}

pub(super) struct Progress {
    pub(super) reason: &'static str,
    pub(super) status: &'static str,
    pub(super) message: String,
}

impl Progress {
    /// Its time of update counts for the deadline: it stays where nothing moved.
    pub(super) fn write(self, deployment: &mut Value, moved: bool, now: Timestamp) {
        let before = condition(deployment, "Progressing").cloned().unwrap_or_default();
        let keep = |field: &str, keep: bool| {
            let known = text(&before, field);
            if keep && !known.is_empty() { known.to_owned() } else { rfc3339(now) }
        };
        put_condition(
            deployment,
            json!({
                "type": "Progressing", "status": self.status, "reason": self.reason, "message": self.message,
                "lastUpdateTime": keep("/lastUpdateTime", !moved),
                "lastTransitionTime": keep("/lastTransitionTime", text(&before, "/status") == self.status),
            }),
        );
    }
}

pub(super) fn set_available(
    deployment: &mut Value,
    status: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let changed = is_true(deployment, "Available") != status;
    let known = condition(deployment, "Available").map(|it| text(it, "/lastUpdateTime").to_owned());
    set_condition(deployment, &Condition { r#type: "Available", status, reason, message }, now);
    let updated = known.filter(|it| !changed && !it.is_empty()).unwrap_or_else(|| rfc3339(now));
    if let Some(mut condition) = condition(deployment, "Available").cloned() {
        set(&mut condition, &["lastUpdateTime"], updated);
        put_condition(deployment, condition);
    }
}
