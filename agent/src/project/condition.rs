//! `status.conditions[]` of any kind.

use serde::Deserialize;
use vitals_proto::v1;

use super::lenient::{List, Time, seconds};

/// Slim condition. `lastHeartbeatTime` of Nodes and `lastProbeTime` of Pods are not read: a kubelet's heartbeat is no change.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    r#type: Option<String>,
    status: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    last_transition_time: Option<Time>,
    observed_generation: Option<i64>,
}

/// The facts of all conditions, in the order of the object: health rules take the first that matches.
pub(super) fn facts(conditions: List<Condition>) -> Vec<v1::Condition> {
    conditions.map(|condition| v1::Condition {
        r#type: condition.r#type.unwrap_or_default(),
        status: condition.status.unwrap_or_default(),
        reason: condition.reason.unwrap_or_default(),
        message: condition.message.unwrap_or_default(),
        last_transition_at_unix_s: seconds(condition.last_transition_time),
        observed_generation: condition.observed_generation,
    })
}
