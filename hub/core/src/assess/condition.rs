//! `status.conditions`, which most kinds have.

use vitals_proto::v1::Condition;

/// The condition of a type.
pub(super) fn find<'a>(conditions: &'a [Condition], r#type: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.r#type == r#type)
}

/// Its status is `True`.
pub(super) fn is_true(conditions: &[Condition], r#type: &str) -> bool {
    find(conditions, r#type).is_some_and(|condition| condition.status == "True")
}

/// Its message, else its reason, for a sentence.
pub(super) fn words(condition: &Condition) -> &str {
    [&condition.message, &condition.reason]
        .into_iter()
        .map(|text| text.trim().trim_end_matches('.'))
        .find(|text| !text.is_empty())
        .unwrap_or("no reason given")
}
