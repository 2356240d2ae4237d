//! The settings of a stream that matter, written so that two streams can be compared and a person can read it.

use std::time::Duration;

use async_nats::jetstream::stream::{Compression, Config};

/// A setting that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As the server's own API names it.
    pub setting: &'static str,
    /// What it is.
    pub is: String,
    /// What it should be.
    pub should: String,
}

/// In which settings a stream is not as wanted.
pub(super) fn differences(found: &Config, wanted: &Config) -> Vec<Difference> {
    let pairs = settings(found).into_iter().zip(settings(wanted));
    let differing = pairs.filter(|((_, is), (_, should))| is != should);
    differing.map(|((setting, is), (_, should))| Difference { setting, is, should }).collect()
}

/// In the order of the API's documentation. The server writes 0 and -1 for "no limit" as it likes.
fn settings(config: &Config) -> Vec<(&'static str, String)> {
    let mut subjects = config.subjects.clone();
    subjects.sort_unstable();
    vec![
        ("subjects", subjects.join(",")),
        ("retention", format!("{:?}", config.retention)),
        ("storage", format!("{:?}", config.storage)),
        ("max_msgs_per_subject", limit(config.max_messages_per_subject)),
        ("max_msgs", limit(config.max_messages)),
        ("max_bytes", limit(config.max_bytes)),
        ("max_age", age(config.max_age)),
        ("max_msg_size", limit(config.max_message_size.into())),
        ("max_consumers", limit(config.max_consumers.into())),
        ("discard", format!("{:?}", config.discard)),
        ("discard_new_per_subject", config.discard_new_per_subject.to_string()),
        ("num_replicas", config.num_replicas.max(1).to_string()),
        ("compression", compression(config).to_owned()),
        ("no_ack", config.no_ack.to_string()),
        ("sealed", config.sealed.to_string()),
        ("deny_delete", config.deny_delete.to_string()),
        ("deny_purge", config.deny_purge.to_string()),
        ("allow_rollup_hdrs", config.allow_rollup.to_string()),
        ("allow_direct", config.allow_direct.to_string()),
        ("allow_msg_ttl", config.allow_message_ttl.to_string()),
        ("subject_delete_marker_ttl", age(config.subject_delete_marker_ttl.unwrap_or_default())),
        ("allow_msg_counter", config.allow_message_counter.to_string()),
        ("allow_msg_schedules", config.allow_message_schedules.to_string()),
        ("mirror", config.mirror.is_some().to_string()),
        ("sources", config.sources.as_ref().is_some_and(|it| !it.is_empty()).to_string()),
        ("subject_transform", config.subject_transform.is_some().to_string()),
        ("republish", config.republish.is_some().to_string()),
    ]
}

fn limit(limit: i64) -> String {
    if limit <= 0 { "unlimited".to_owned() } else { limit.to_string() }
}

fn age(age: Duration) -> String {
    if age.is_zero() { "none".to_owned() } else { format!("{}s", age.as_secs()) }
}

fn compression(config: &Config) -> &'static str {
    match config.compression {
        Some(Compression::S2) => "s2",
        Some(Compression::None) | None => "none",
    }
}
