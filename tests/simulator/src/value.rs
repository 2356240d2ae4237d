//! Reading and writing JSON as Kubernetes has it: by path, absent where it is not as expected.
//!
//! Objects are JSON here, not types: what a client sends that the simulation does not know of is kept.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// What stands at a JSON pointer; null where nothing does.
pub(crate) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The text at a pointer; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).as_str().unwrap_or_default()
}

/// The number at a pointer.
pub(crate) fn number(value: &Value, pointer: &str) -> Option<i64> {
    at(value, pointer).as_i64()
}

/// Whether `true` stands at a pointer.
pub(crate) fn flag(value: &Value, pointer: &str) -> bool {
    at(value, pointer).as_bool().unwrap_or_default()
}

/// The list at a pointer; empty where there is none.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    at(value, pointer).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Keys and texts at a pointer, such as labels.
pub(crate) fn texts<'a>(
    value: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    let map = at(value, pointer).as_object().into_iter().flatten();
    map.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// The time at a pointer.
pub(crate) fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    at(value, pointer).as_str()?.parse().ok()
}

/// As Kubernetes writes a time: in UTC, in whole seconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// As Leases and Events have it, to the microsecond.
pub(crate) fn rfc3339_micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The object at a path, made where it is missing or something else.
pub(crate) fn object_mut<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut map = as_object(value);
    for step in path {
        map = as_object(map.entry((*step).to_owned()).or_insert(Value::Null));
    }
    map
}

/// The value itself as an object; what it was else is lost.
#[expect(clippy::expect_used, reason = "it was made an object the line before")]
fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("an object")
}

/// Writes at a path, making what is missing on the way.
pub(crate) fn set(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    if let Some((last, parents)) = path.split_last() {
        object_mut(value, parents).insert((*last).to_owned(), new.into());
    }
}

/// Writes at a path only where nothing stands.
pub(crate) fn set_default(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    if let Some((last, parents)) = path.split_last() {
        let entry = object_mut(value, parents).entry((*last).to_owned()).or_insert(Value::Null);
        if entry.is_null() {
            *entry = new.into();
        }
    }
}

/// Removes what stands at a path.
pub(crate) fn remove(value: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let mut value = value;
    for step in parents {
        value = value.get_mut(*step)?;
    }
    value.as_object_mut()?.remove(*last)
}

/// Drops fields that are null: to Kubernetes they are absent.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A condition as controllers write it.
pub(crate) struct Condition<'a> {
    pub(crate) r#type: &'a str,
    pub(crate) status: bool,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

/// The condition of a type, of an object.
pub(crate) fn condition<'a>(object: &'a Value, r#type: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").iter().find(|it| text(it, "/type") == r#type)
}

/// Whether a condition of a type says `True`.
pub(crate) fn is_true(object: &Value, r#type: &str) -> bool {
    condition(object, r#type).is_some_and(|it| text(it, "/status") == "True")
}

/// Writes a condition into an object's status. Its time of transition changes with its status alone.
pub(crate) fn set_condition(object: &mut Value, condition: &Condition<'_>, now: Timestamp) {
    let Condition { r#type, status, reason, message } = *condition;
    let status = if status { "True" } else { "False" };
    let before = self::condition(object, r#type);
    let same = before.filter(|it| text(it, "/status") == status);
    let since = same.map(|it| text(it, "/lastTransitionTime").to_owned());
    let mut new = json!({
        "type": r#type,
        "status": status,
        "lastTransitionTime": since.unwrap_or_else(|| rfc3339(now)),
    });
    for (field, value) in [("reason", reason), ("message", message)] {
        if !value.is_empty() {
            set(&mut new, &[field], value);
        }
    }
    put_condition(object, new);
}

/// Puts a condition in the place of the one of its type.
pub(crate) fn put_condition(object: &mut Value, new: Value) {
    let r#type = text(&new, "/type").to_owned();
    let status = object_mut(object, &["status"]);
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    match conditions.iter_mut().find(|it| text(it, "/type") == r#type) {
        Some(place) => *place = new,
        None => conditions.push(new),
    }
}

/// `5`, or `25%` of a number of replicas, rounded up or down.
pub(crate) fn scaled(value: &Value, of: i64, round_up: bool) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    let hundredths = percent.saturating_mul(of);
    Some(if round_up { hundredths.saturating_add(99) / 100 } else { hundredths / 100 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_and_read() {
        let mut value = json!({ "spec": 5 });
        set(&mut value, &["spec", "template", "x"], 1);
        assert_eq!(value, json!({ "spec": { "template": { "x": 1 } } }));
        set_default(&mut value, &["spec", "template", "x"], 2);
        assert_eq!(number(&value, "/spec/template/x"), Some(1));
        assert_eq!(remove(&mut value, &["spec", "template", "x"]), Some(json!(1)));
        assert_eq!(text(&value, "/spec/none"), "");
    }

    #[test]
    fn percentages_round_as_rollouts_do() {
        for (value, up, down) in [(json!("25%"), 2, 1), (json!(3), 3, 3), (json!("100%"), 5, 5)] {
            assert_eq!(scaled(&value, 5, true), Some(up), "{value}");
            assert_eq!(scaled(&value, 5, false), Some(down), "{value}");
        }
        assert_eq!(scaled(&json!("x"), 5, true), None);
    }

    #[test]
    fn a_transition_is_a_change_of_status() {
        let mut object = json!({});
        let mut write = |status, reason, at: &str| {
            let new = Condition { r#type: "Ready", status, reason, message: "" };
            set_condition(&mut object, &new, at.parse().unwrap());
            let condition = condition(&object, "Ready").unwrap();
            (
                text(condition, "/lastTransitionTime").to_owned(),
                text(condition, "/reason").to_owned(),
            )
        };
        let first = "2026-01-01T00:00:00Z";
        write(true, "A", first);
        assert_eq!(write(true, "B", "2026-01-01T00:00:09Z"), (first.to_owned(), "B".to_owned()));
        let later = "2026-01-01T00:00:20Z";
        assert_eq!(write(false, "C", later), (later.to_owned(), "C".to_owned()));
    }
}
