//! Objects: there on both sides, with equal facts and the health that follows from them. Pure.
//!
//! A difference in `resourceVersion` alone is none: a change of what no rule reads is not sent.

use serde_json::Value;
use vitals_hub_core::Time;
use vitals_hub_core::assess::assess;
use vitals_proto::identity::ObjectKey;
use vitals_proto::v1::{Facts, HeldObjectState, ObjectHealth};

use super::held::Held;
use super::live::{Live, LiveObject};
use super::report::{Difference, Found};
use crate::json;

/// Fields named of one object at most.
const FIELDS_MAX: usize = 3;

pub(super) fn compare(live: &Live, held: &Held, now: Time) -> Vec<Found> {
    let mut found = Vec::new();
    for (key, object) in &live.objects {
        match held.objects.get(key) {
            Some(held) => compare_one(key, object, held, now, &mut found),
            None => found.push(Found::new(
                presence(
                    key,
                    format!("it, resourceVersion {}", object.resource_version()),
                    "nothing",
                ),
                object.resource_version(),
            )),
        }
    }
    for (key, object) in &held.objects {
        if !live.objects.contains_key(key) {
            let hub = format!("it, resourceVersion {}", object.resource_version);
            found.push(Found::new(presence(key, "nothing", hub), "absent"));
        }
    }
    found
}

fn compare_one(
    key: &ObjectKey,
    live: &LiveObject,
    held: &HeldObjectState,
    now: Time,
    found: &mut Vec<Found>,
) {
    let mut differs = |aspect: &str, cluster: String, hub: String| {
        let difference =
            Difference { subject: key.to_string(), aspect: aspect.to_owned(), cluster, hub };
        found.push(Found::new(difference, live.resource_version()));
    };
    let facts = match live.facts(key.kind()) {
        Ok(facts) => facts,
        Err(error) => return differs("facts", error.to_string(), "facts".to_owned()),
    };
    let held_facts = held.facts.clone().unwrap_or_default();
    if facts != held_facts {
        let (cluster, hub) = both_sides(&facts, &held_facts);
        return differs("facts", cluster, hub);
    }
    let health = assess(&facts, now).to_health();
    let held_health = held.health.clone().unwrap_or_default();
    if health != held_health {
        differs("health", say(&health), say(&held_health));
    }
}

fn presence(key: &ObjectKey, cluster: impl Into<String>, hub: impl Into<String>) -> Difference {
    let (subject, aspect) = (key.to_string(), "presence".to_owned());
    Difference { subject, aspect, cluster: cluster.into(), hub: hub.into() }
}

fn say(health: &ObjectHealth) -> String {
    let ObjectHealth { reason, message, settled, .. } = health;
    let status = health.status().as_str_name().trim_start_matches("HEALTH_STATUS_");
    format!("{status} {reason:?} {message:?} settled={settled}")
}

/// The fields that differ, as each side has them.
fn both_sides(cluster: &Facts, hub: &Facts) -> (String, String) {
    let mut fields = Vec::new();
    if let (Ok(cluster), Ok(hub)) = (json::value(cluster), json::value(hub)) {
        differing("", &cluster, &hub, &mut fields);
    }
    let side = |pick: fn(&(String, String, String)) -> &String| {
        let shown =
            fields.iter().take(FIELDS_MAX).map(|field| format!("{}={}", field.0, pick(field)));
        let mut side = shown.collect::<Vec<_>>().join(" ");
        if fields.len() > FIELDS_MAX {
            side.push_str(&format!(" and {} more", fields.len() - FIELDS_MAX));
        }
        side
    };
    (side(|field| &field.1), side(|field| &field.2))
}

/// Path, and both values, of each leaf that differs.
fn differing(path: &str, left: &Value, right: &Value, out: &mut Vec<(String, String, String)>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or_default()
                };
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                differing(&path, &of(left), &of(right), out);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for index in 0..left.len().max(right.len()) {
                let of = |list: &[Value]| list.get(index).cloned().unwrap_or_default();
                differing(&format!("{path}[{index}]"), &of(left), &of(right), out);
            }
        }
        (left, right) if left != right => {
            out.push((path.to_owned(), left.to_string(), right.to_string()));
        }
        _ => {}
    }
}
