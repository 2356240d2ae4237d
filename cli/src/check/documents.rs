//! The objects of a file: several YAML documents, one JSON value after the other, and lists of objects, in any mix.
//!
//! A document that cannot be read is named with its line, and the others are read all the same.

use serde_json::Value;

/// One object, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Line of the text, from 1.
    pub line: usize,
    /// A mapping.
    pub object: Value,
}

/// A document that cannot be read. Final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Line of the text, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// The objects of a text, in their order.
pub fn read(text: &str) -> impl Iterator<Item = Result<Document, Error>> {
    let values: Vec<Result<Document, Error>> = match json(text) {
        Some(values) => values,
        None => vitals_runtime::yaml::documents(text)
            .filter_map(|(line, part)| {
                yaml(usize::try_from(line).unwrap_or(usize::MAX), part).transpose()
            })
            .collect(),
    };
    values.into_iter().flat_map(objects)
}

/// A text that begins as JSON does and is JSON up to its end, or up to its first error behind a whole value. `None` where it may be
/// YAML, which has such mappings too.
fn json(text: &str) -> Option<Vec<Result<Document, Error>>> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut values = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut begin = 0;
    while let Some(value) = stream.next() {
        let rest = text.get(begin..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start().len();
        let line = lines_before(text, begin + blank) + 1;
        match value {
            Ok(object) => values.push(Ok(Document { line, object })),
            Err(_) if values.is_empty() => return None,
            Err(error) => {
                values.push(Err(Error { line: error.line(), reason: error.to_string() }));
                break;
            }
        }
        begin = stream.byte_offset();
    }
    Some(values)
}

fn lines_before(text: &str, end: usize) -> usize {
    text.bytes().take(end).filter(|byte| *byte == b'\n').count()
}

/// One document of a stream, that begins at `line`; `None` where it says `null`.
fn yaml(line: usize, part: &str) -> Result<Option<Document>, Error> {
    // As Kubernetes reads it: `n` is a text. And the line says where it is: the text itself is not shown.
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    match serde_saphyr::from_str_with_options::<Value>(part, options) {
        Ok(Value::Null) => Ok(None),
        Ok(object) => Ok(Some(Document { line, object })),
        Err(error) => {
            let within = error.location().map_or(1, |at| usize::try_from(at.line()).unwrap_or(1));
            Err(Error { line: line + within.max(1) - 1, reason: error.to_string() })
        }
    }
}

/// A list gives what is in it, which need not name its kind again.
fn objects(document: Result<Document, Error>) -> Vec<Result<Document, Error>> {
    let Document { line, object } = match document {
        Ok(document) => document,
        Err(error) => return vec![Err(error)],
    };
    let Value::Object(mut fields) = object else {
        let what = match object {
            Value::Array(_) => "a list, not a mapping",
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                "a plain value, not a mapping"
            }
            Value::Object(_) => "a mapping",
        };
        let reason = format!("no object of Kubernetes: it is {what}");
        return vec![Err(Error { line, reason })];
    };
    let kind =
        fields.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
    let Some(kind) = kind.map(ToOwned::to_owned) else {
        return vec![Ok(Document { line, object: Value::Object(fields) })];
    };
    let Some(Value::Array(items)) = fields.remove("items") else {
        return vec![Ok(Document { line, object: Value::Object(fields) })];
    };
    let api_version = fields.remove("apiVersion");
    let objects = items.into_iter().flat_map(|mut item| {
        if let (Value::Object(fields), false) = (&mut item, kind.is_empty()) {
            fields.entry("kind").or_insert_with(|| kind.clone().into());
            if let Some(api_version) = &api_version {
                fields.entry("apiVersion").or_insert_with(|| api_version.clone());
            }
        }
        objects(Ok(Document { line, object: item }))
    });
    objects.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(text: &str) -> Vec<String> {
        read(text)
            .map(|it| match it {
                Ok(Document { line, object }) => format!("{line} {object}"),
                Err(Error { line, reason }) => format!("{line} error {reason}"),
            })
            .collect()
    }

    #[test]
    fn documents_of_yaml() {
        assert_eq!(said(""), [""; 0]);
        assert_eq!(said("null\n---\na: n"), [r#"3 {"a":"n"}"#]);
        assert_eq!(said("a: 1"), [r#"1 {"a":1}"#]);
        assert_eq!(
            said("\u{feff}%YAML 1.2\n---\na: 1\n...\n---\n# b\nb: |\n  ---\n  x\n"),
            [r#"3 {"a":1}"#.to_owned(), format!("7 {}", json!({ "b": "---\nx\n" })),]
        );
        assert_eq!(said("--- {a: 1}\n---\t# c\r\nb: 2\r\n"), [r#"1 {"a":1}"#, r#"3 {"b":2}"#]);
        assert_eq!(said("---a: 1\n"), [r#"1 {"---a":1}"#]);
        let broken = said("a: 1\n---\nb: 1\n  c: 2\n---\nd: 1\n");
        assert_eq!(broken.len(), 3, "{broken:?}");
        assert!(broken[1].starts_with("4 error") || broken[1].starts_with("3 error"), "{broken:?}");
    }

    #[test]
    fn json_values_one_after_the_other() {
        assert_eq!(said("\n{\"a\": 1}\n\n{\"b\": 2}"), [r#"2 {"a":1}"#, r#"4 {"b":2}"#]);
        let broken = said("{\"a\": 1}\n{\"b\": }");
        assert_eq!(broken.len(), 2);
        assert!(broken[1].starts_with("2 error"), "{broken:?}");
        assert_eq!(said("{a: 1}\n---\n{b: 2}"), [r#"1 {"a":1}"#, r#"3 {"b":2}"#], "YAML after all");
    }

    #[test]
    fn lists_give_what_is_in_them() {
        let list = json!({ "apiVersion": "v1", "kind": "PodList", "items": [
            { "metadata": { "name": "a" } }, 7,
        ] });
        assert_eq!(
            said(&list.to_string()),
            [
                "1 {\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}",
                "1 error no object of Kubernetes: it is a plain value, not a mapping",
            ]
        );
        let nested = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "kind": "List", "items": [{ "apiVersion": "v1", "kind": "Node" }] },
        ] });
        assert_eq!(said(&nested.to_string()), ["1 {\"apiVersion\":\"v1\",\"kind\":\"Node\"}"]);
        let access = json!({ "apiVersion": "example.org/v1", "kind": "AllowList", "spec": {} });
        assert_eq!(read(&access.to_string()).count(), 1, "not every such name is a list's");
    }
}
