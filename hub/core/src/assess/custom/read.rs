//! Reads the JSON of an object of any shape: what has another type than it should counts as absent.

use serde_json::Value;

/// A condition of `status.conditions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition<'a> {
    pub(super) r#type: &'a str,
    pub(super) status: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

impl Condition<'_> {
    /// Its message, else its reason, for a sentence.
    pub(super) fn words(&self) -> String {
        let said = [self.message, self.reason].map(|text| text.trim().trim_end_matches('.'));
        let said = said.into_iter().find(|text| !text.is_empty()).unwrap_or("no reason given");
        format!("{} is {}: {said}", self.r#type, self.status)
    }

    pub(super) fn is(&self, r#type: &str, status: &str) -> bool {
        self.r#type == r#type && self.status == status
    }
}

/// What stands at a path.
pub(super) fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, part| value.get(part))
}

pub(super) fn text<'a>(object: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(object, path)?.as_str()
}

pub(super) fn number(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path)?.as_i64()
}

pub(super) fn is_true(object: &Value, path: &[&str]) -> bool {
    at(object, path).and_then(Value::as_bool).unwrap_or_default()
}

pub(super) fn list<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// In the order in which they are listed; one without a type is none.
pub(super) fn conditions(object: &Value) -> impl Iterator<Item = Condition<'_>> {
    list(object, &["status", "conditions"]).iter().filter_map(|condition| {
        let part = |name| text(condition, &[name]).unwrap_or_default();
        let r#type = text(condition, &["type"])?;
        Some(Condition {
            r#type,
            status: part("status"),
            reason: part("reason"),
            message: part("message"),
        })
    })
}

pub(super) fn condition<'a>(object: &'a Value, r#type: &str) -> Option<Condition<'a>> {
    conditions(object).find(|condition| condition.r#type == r#type)
}

/// `metadata.generation`; 0 where it is not said.
pub(super) fn generation(object: &Value) -> i64 {
    number(object, &["metadata", "generation"]).unwrap_or_default()
}
