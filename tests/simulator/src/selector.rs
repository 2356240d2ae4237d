//! Selectors of labels and fields: as texts in queries, and as objects in specifications.

use serde_json::Value;

use crate::refusal::Refusal;
use crate::value::{at, items, text, texts};

/// Labels, compactly: `key=value` pairs, each ended by a line feed, in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(Box<str>);

impl Labels {
    /// Of an object.
    pub(crate) fn of(object: &Value) -> Self {
        Self::read(object, "/metadata/labels")
    }

    /// At a pointer.
    pub(crate) fn read(value: &Value, pointer: &str) -> Self {
        let mut pairs: Vec<_> = texts(value, pointer).collect();
        pairs.sort_unstable();
        let text: String = pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        Self(text.into())
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once('='));
        lines.find(|(it, _)| *it == key).map(|(_, value)| value)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|it| is_among(values, it)),
            Self::NotIn(key, values) => !labels.get(key).is_some_and(|it| is_among(values, it)),
            Self::Exists(key) => labels.get(key).is_some(),
            Self::Missing(key) => labels.get(key).is_none(),
        }
    }
}

fn is_among(values: &[String], value: &str) -> bool {
    values.iter().any(|it| it == value)
}

/// A selector of labels. Empty, it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// As queries have it: `a=b,c!=d,e in (f,g),h,!i`.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let parsed: Option<Vec<_>> = split(text).into_iter().map(requirement).collect();
        let bad = || Refusal::bad_request(format!("unable to parse requirement: {text:?}"));
        parsed.map(Self).ok_or_else(bad)
    }

    /// As specifications have it: `matchLabels` and `matchExpressions`.
    pub(crate) fn of(selector: &Value) -> Self {
        let mut all = Self::of_map(at(selector, "/matchLabels"));
        for expression in items(selector, "/matchExpressions") {
            let key = text(expression, "/key").to_owned();
            let values = items(expression, "/values").iter();
            let values = values.filter_map(|it| Some(it.as_str()?.to_owned())).collect();
            all.0.push(match text(expression, "/operator") {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                _ => Requirement::Missing(key),
            });
        }
        all
    }

    /// As Services have it: labels that must be so.
    pub(crate) fn of_map(map: &Value) -> Self {
        let pairs = texts(map, "");
        Self(pairs.map(|(k, v)| Requirement::In(k.to_owned(), vec![v.to_owned()])).collect())
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|it| it.matches(labels))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// At commas that are not inside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut rest, mut from) = (0_u32, text, 0);
    while let Some(found) = rest.get(from..).and_then(|it| it.find(['(', ')', ','])) {
        let index = from + found;
        match rest.as_bytes().get(index) {
            Some(b'(') => depth += 1,
            Some(b')') => depth = depth.saturating_sub(1),
            Some(_) if depth == 0 => {
                let (part, after) = rest.split_at(index);
                parts.push(part);
                rest = after.get(1..).unwrap_or_default();
                from = 0;
                continue;
            }
            Some(_) | None => {}
        }
        from = index + 1;
    }
    parts.push(rest);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn requirement(part: &str) -> Option<Requirement> {
    let owned = |text: &str| text.trim().to_owned();
    if let Some((head, values)) = part.split_once('(') {
        let values = values.strip_suffix(')')?.split(',').map(owned).collect();
        let (key, operator) = head.trim().rsplit_once(' ')?;
        return match operator {
            "in" => Some(Requirement::In(owned(key), values)),
            "notin" => Some(Requirement::NotIn(owned(key), values)),
            _ => None,
        };
    }
    if let Some(key) = part.strip_prefix('!') {
        return Some(Requirement::Missing(owned(key)));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(owned(key), vec![owned(value)]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(owned(key), vec![owned(value)]));
    }
    (!part.contains(' ')).then(|| Requirement::Exists(owned(part)))
}

/// A selector of fields. Empty, it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<Field>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    pointer: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// As queries have it: `metadata.name=x,status.phase!=Running`.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut fields = Vec::new();
        for part in split(text) {
            let (equal, found) = match part.split_once("!=") {
                Some(found) => (false, Some(found)),
                None => (true, part.split_once("==").or_else(|| part.split_once('='))),
            };
            let bad = || Refusal::bad_request(format!("invalid field selector: {text:?}"));
            let (path, value) = found.ok_or_else(bad)?;
            let pointer = format!("/{}", path.replace('.', "/"));
            fields.push(Field { pointer, value: value.to_owned(), equal });
        }
        Ok(Self(fields))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one name that can match, if the selector says so.
    pub(crate) fn name(&self) -> Option<&str> {
        let mut fields = self.0.iter();
        let named = fields.find(|it| it.equal && it.pointer == "/metadata/name")?;
        Some(&named.value)
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|Field { pointer, value, equal }| {
            let found = at(object, pointer);
            let absent =
                || value.is_empty() || value == "false" && pointer == "/spec/unschedulable";
            let number = found.to_string();
            let is = match found.as_str() {
                Some(text) => text == value,
                None if found.is_null() => absent(),
                None => number == *value,
            };
            is == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_selected_as_kubernetes_does() {
        let object = json!({ "metadata": { "labels": { "app": "web", "tier": "front" } } });
        let labels = Labels::of(&object);
        for (selector, want) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app!=web", false),
            ("other!=x", true),
            ("app in (web, api),tier", true),
            ("app notin (web)", false),
            ("!app", false),
            ("!other", true),
        ] {
            let parsed = LabelSelector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&labels), want, "{selector}");
        }
        assert!(LabelSelector::parse("a b c").is_err());
        let expression = json!({ "key": "app", "operator": "In", "values": ["web"] });
        let of = LabelSelector::of(&json!({ "matchExpressions": [expression] }));
        assert!(of.matches(&labels) && !of.matches(&Labels::default()));
    }

    #[test]
    fn fields_are_selected_by_their_path() {
        let object = json!({ "metadata": { "name": "a" }, "spec": { "n": 3 } });
        for (selector, want) in [
            ("metadata.name=a", true),
            ("metadata.name!=a", false),
            ("spec.n=3", true),
            ("spec.nodeName=", true),
        ] {
            let parsed = FieldSelector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&object), want, "{selector}");
        }
        assert_eq!(FieldSelector::parse("metadata.name=a").unwrap().name(), Some("a"));
    }
}
