//! What holds of every projection: no input panics, order of fields is nothing, what is unreadable is named.

use proptest::{collection::vec, prelude::*};
use prost::Message as _;
use serde_json::{Value, json};
use vitals_proto::kind::Kind;

use super::{
    project, project_deleted,
    testing::{POD, project_yaml, value},
};

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON of a test")
}

/// The JSON of a value with the fields of each object in another order.
fn shuffled(value: &Value, seed: u64, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| {
                key.bytes().fold(seed, |hash, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                })
            });
            let fields = fields.into_iter().map(|(key, value)| {
                let mut field = format!("{}:", json!(key));
                shuffled(value, seed, &mut field);
                field
            });
            *out += &format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
        }
        Value::Array(entries) => {
            let entries = entries.iter().map(|entry| {
                let mut text = String::new();
                shuffled(entry, seed, &mut text);
                text
            });
            *out += &format!("[{}]", entries.collect::<Vec<_>>().join(","));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            *out += &value.to_string()
        }
    }
}

/// Replaces the part of `value` that the path leads to, as far as it leads.
fn replace(value: &mut Value, path: &[usize], with: Value) {
    let Some((step, rest)) = path.split_first() else {
        *value = with;
        return;
    };
    let part = match value {
        Value::Object(fields) if !fields.is_empty() => {
            let at = step % fields.len();
            fields.values_mut().nth(at)
        }
        Value::Array(entries) if !entries.is_empty() => {
            let at = step % entries.len();
            entries.get_mut(at)
        }
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => None,
    };
    match part {
        Some(part) => replace(part, rest, with),
        None => *value = with,
    }
}

fn hostile() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!([null])),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
        Just(json!("0001-01-01T00:00:00Z")),
        Just(json!("2026-13-45T99:99:99Z")),
    ]
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(Kind::KNOWN.to_vec())
}

proptest! {
    #[test]
    fn no_mutation_panics(kind in kinds(), changes in vec((vec(any::<usize>(), 0..7), hostile()), 0..6)) {
        let mut object = value(POD);
        for (path, with) in changes {
            replace(&mut object, &path, with);
        }
        let json = bytes(&object);
        let deleted = project_deleted(&kind, &json);
        match project(&kind, &json) {
            Ok(projected) => prop_assert_eq!(projected.name, deleted.unwrap().name),
            Err(unreadable) => prop_assert_eq!(unreadable.name, deleted.ok().map(|it| it.name)),
        }
    }

    #[test]
    fn no_bytes_panic(kind in kinds(), json in vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        prop_assert!(project(&kind, &json).is_err());
        let mut object = bytes(&value(POD));
        object.truncate(at.index(object.len()));
        prop_assert!(project(&kind, &object).is_err());
    }

    #[test]
    fn order_of_fields_is_nothing(kind in kinds(), seed in any::<u64>()) {
        let object = value(POD);
        let mut json = String::new();
        shuffled(&object, seed, &mut json);
        let (one, other) = (project(&kind, json.as_bytes()), project(&kind, &bytes(&object)));
        prop_assert_eq!(one.unwrap().facts.encode_to_vec(), other.unwrap().facts.encode_to_vec());
    }
}

#[test]
fn an_unreadable_object_is_named_and_can_be_deleted() {
    let object = json!({
        "metadata": {"name": "bad", "namespace": "shop", "resourceVersion": "9", "labels": {"app": "web"}},
        "spec": {"containers": "none"},
    });
    let unreadable = project(&Kind::Pod, &bytes(&object)).unwrap_err();
    assert_eq!(unreadable.to_string(), "cannot read pods shop/bad");
    assert_eq!(unreadable.resource_version.as_deref(), Some("9"));
    let deleted = project_deleted(&Kind::Pod, &bytes(&object)).unwrap();
    assert_eq!((deleted.name.as_str(), deleted.labels["app"].as_str()), ("bad", "web"));

    let unnamed = json!({"metadata": {"name": 7, "namespace": "shop", "labels": 7}});
    let unreadable = project(&Kind::Pod, &bytes(&unnamed)).unwrap_err();
    assert_eq!((unreadable.name, unreadable.namespace.as_deref()), (None, Some("shop")));
    assert!(project_deleted(&Kind::Pod, &bytes(&unnamed)).is_err());
}

#[test]
fn no_secret_leaves_the_cluster() {
    for kind in Kind::KNOWN {
        let facts = project_yaml(&kind, POD).facts.encode_to_vec();
        let shows = facts.windows(7).any(|part| part == b"hunter2");
        assert!(!shows, "{kind}");
    }
}

#[test]
fn hostile_names_pass_unchanged() {
    for name in ["n".repeat(253), "ä.日本.*>".to_owned(), "a b\u{0}\n\"".to_owned()] {
        let object = json!({"metadata": {"name": name, "namespace": name}});
        for kind in Kind::KNOWN {
            let projected = project(&kind, &bytes(&object)).unwrap();
            assert_eq!((&projected.name, &projected.namespace), (&name, &name));
        }
    }
}

#[test]
fn metadata_of_any_kind() {
    let projected = project_yaml(&Kind::Other("widgets.example.com".into()), POD);
    assert_eq!(projected.resource_version, "4711");
    assert_eq!(projected.uid.len(), 16);
    assert_eq!(projected.facts.kind, None);
    let meta = projected.facts.meta.unwrap();
    assert_eq!((meta.generation, meta.created_at_unix_s), (2, 1_767_323_045));
    assert_eq!(meta.deleted_at_unix_s, Some(1_767_326_645));
    assert_eq!(meta.annotations.into_keys().collect::<Vec<_>>(), ["vitals.dev/entity"]);
    assert_eq!(meta.finalizers, ["example.com/wait"]);
    assert_eq!(meta.owners[0].name, "web-5d4");
}

#[test]
fn what_is_no_utf_8_is_unreadable_and_named() {
    let json = b"{\"metadata\":{\"name\":\"web\",\"namespace\":\"shop\"},\"spec\":{\"nodeName\":\"\xff\"}}";
    let unreadable = project(&Kind::Pod, json).unwrap_err();
    assert_eq!(unreadable.to_string(), "cannot read pods shop/web");
    assert!(project_deleted(&Kind::Pod, json).is_ok());
}

#[test]
fn a_list_is_no_object() {
    for json in [r#"[{"name":"web"}]"#, r#" [["web"]]"#, r#"{"metadata":["web","web","1","u",{}]}"#]
    {
        for kind in Kind::KNOWN {
            let unreadable = project(&kind, json.as_bytes()).unwrap_err();
            assert_eq!(unreadable.name, None, "{kind} {json}");
            assert!(project_deleted(&kind, json.as_bytes()).is_err());
        }
    }
}
