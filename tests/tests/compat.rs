//! The contract does not break: no field is reused, retyped or unreadable.
//!
//! `tests/compat/descriptors.binpb` is the contract as it was released; `messages.jsonl` are messages of it, each with what
//! it says. Whatever was written once must be read as the same for ever: agents, hubs and clients of several versions talk
//! to each other, and streams outlive all of them.
//!
//! `VITALS_UPDATE_COMPAT=1` writes down what is new, and refuses what breaks. Recorded messages are never rewritten.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey,
    MessageDescriptor, MethodDescriptor, Value,
};
use prost_types::FileDescriptorSet;
use serde_json::json;

const PACKAGE: &str = "vitals.v1";

/// How deep a message that holds itself is filled.
const DEPTH_MAX: usize = 2;

#[test]
fn the_contract_is_kept() {
    LazyLock::force(&UPDATED);
    let broken = broken_now();
    assert!(broken.is_empty(), "the contract breaks:\n{}", broken.join("\n"));
    assert!(
        std::fs::read(descriptors()).is_ok_and(|bytes| bytes == current()),
        "the contract grew. Write it down: VITALS_UPDATE_COMPAT=1 cargo test -p vitals-tests --test compat"
    );
}

#[test]
fn every_recorded_message_is_read_as_what_it_said() {
    let pool = pool(&current());
    let recorded = recordings();
    let seen: BTreeSet<&str> = recorded.iter().map(|it| it.message.as_str()).collect();
    for Recording { message, bytes, says } in &recorded {
        let description = pool.get_message_by_name(message);
        let description = description.unwrap_or_else(|| panic!("{message} is gone"));
        let read = DynamicMessage::decode(description, bytes.as_slice());
        let read = read.unwrap_or_else(|error| panic!("{message} cannot be read: {error}"));
        assert_eq!(&serde_json::to_value(&read).unwrap(), says, "{message}");
    }
    for message in messages(&pool) {
        assert!(
            seen.contains(message.full_name()),
            "no message of {} is recorded",
            message.full_name()
        );
    }
}

#[test]
fn what_agents_published_is_written_again_to_the_byte() {
    for Recording { message, bytes, .. } in recordings() {
        let again = match message.as_str() {
            "vitals.v1.ObjectChange" => again::<vitals_proto::v1::ObjectChange>(&bytes),
            "vitals.v1.Heartbeat" => again::<vitals_proto::v1::Heartbeat>(&bytes),
            _ => continue,
        };
        assert_eq!(again, bytes, "{message}");
        assert!(bytes.starts_with(&vitals_proto::MAGIC), "{message}");
    }
}

#[test]
fn what_breaks_is_named() {
    let old = pool(&current());
    let mut set = FileDescriptorSet::decode(current().as_slice()).unwrap();
    let file = |set: &FileDescriptorSet, name: &str| {
        set.file.iter().position(|file| file.name() == format!("vitals/v1/{name}.proto")).unwrap()
    };
    let health = file(&set, "health");
    let message = |set: &FileDescriptorSet, name: &str| {
        set.file[health].message_type.iter().position(|it| it.name() == name).unwrap()
    };
    let (verdict, freshness) = (message(&set, "Verdict"), message(&set, "Freshness"));
    let fields = &mut set.file[health].message_type[verdict].field;
    fields[2].r#type = Some(prost_types::field_descriptor_proto::Type::Bytes.into());
    fields[3].name = Some("sentence".to_owned());
    fields[3].json_name = Some("sentence".to_owned());
    fields.remove(7);
    set.file[health].message_type[freshness].field[2].label =
        Some(prost_types::field_descriptor_proto::Label::Repeated.into());
    let severity =
        set.file[health].enum_type.iter().position(|it| it.name() == "Severity").unwrap();
    set.file[health].enum_type[severity].value.pop();
    let entities = file(&set, "entity_service");
    set.file[entities].service[0].method[2].server_streaming = Some(false);
    let mut broken = broken(&old, &pool(&set.encode_to_vec()));
    broken.sort();
    assert_eq!(
        broken,
        [
            "vitals.v1.EntityService.WatchEntities has another shape",
            "vitals.v1.Freshness.message (3) is not what it was",
            "vitals.v1.SEVERITY_CRITICAL (4) is gone and not reserved",
            "vitals.v1.Verdict.message (4) is not what it was",
            "vitals.v1.Verdict.next (8) is gone and not reserved",
            "vitals.v1.Verdict.reason (3) is not what it was",
        ]
    );
}

/// Writes down what is new, where that is asked for and nothing breaks. Once, before anything is read.
static UPDATED: LazyLock<()> = LazyLock::new(|| {
    if std::env::var_os("VITALS_UPDATE_COMPAT").is_none() || !broken_now().is_empty() {
        return;
    }
    std::fs::create_dir_all(folder()).unwrap();
    std::fs::write(descriptors(), current()).unwrap();
    record(&pool(&current()));
});

/// What breaks of what is written down; nothing where nothing is.
fn broken_now() -> Vec<String> {
    let old = std::fs::read(descriptors()).ok();
    old.map(|old| broken(&pool(&old), &pool(&current()))).unwrap_or_default()
}

fn descriptors() -> PathBuf {
    folder().join("descriptors.binpb")
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("compat")
}

/// The compiled contract of now, without comments and positions.
fn current() -> Vec<u8> {
    let mut set = FileDescriptorSet::decode(vitals_proto::DESCRIPTORS).unwrap();
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set.encode_to_vec()
}

fn pool(bytes: &[u8]) -> DescriptorPool {
    DescriptorPool::decode(bytes).unwrap()
}

fn again<M: prost::Message + Default>(bytes: &[u8]) -> Vec<u8> {
    M::decode(bytes).unwrap().encode_to_vec()
}

fn messages(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    let is_ours =
        |message: &MessageDescriptor| message.package_name() == PACKAGE && !message.is_map_entry();
    pool.all_messages().filter(is_ours).collect()
}

/// What was promised and is not kept.
fn broken(old: &DescriptorPool, new: &DescriptorPool) -> Vec<String> {
    let mut broken = Vec::new();
    for old in messages(old) {
        match new.get_message_by_name(old.full_name()) {
            None => broken.push(format!("{} is gone", old.full_name())),
            Some(new) => broken_fields(&old, &new, &mut broken),
        }
    }
    for old in old.all_enums().filter(|it| it.package_name() == PACKAGE) {
        match new.get_enum_by_name(old.full_name()) {
            None => broken.push(format!("{} is gone", old.full_name())),
            Some(new) => broken_values(&old, &new, &mut broken),
        }
    }
    for old in old.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let name = old.full_name();
        let now = new.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        match now.into_iter().find(|method| method.full_name() == name) {
            None => broken.push(format!("{name} is gone")),
            Some(new) if shape(&old) != shape(&new) => {
                broken.push(format!("{name} has another shape"));
            }
            Some(_) => {}
        }
    }
    broken
}

fn broken_fields(old: &MessageDescriptor, new: &MessageDescriptor, broken: &mut Vec<String>) {
    for was in old.fields() {
        let name = format!("{} ({})", was.full_name(), was.number());
        match new.get_field(was.number()) {
            None if new.reserved_ranges().any(|range| range.contains(&was.number())) => {}
            None => broken.push(format!("{name} is gone and not reserved")),
            Some(is) if promise(&was) != promise(&is) => {
                broken.push(format!("{name} is not what it was"));
            }
            Some(_) => {}
        }
    }
}

fn broken_values(old: &EnumDescriptor, new: &EnumDescriptor, broken: &mut Vec<String>) {
    for was in old.values() {
        let name = format!("{} ({})", was.full_name(), was.number());
        match new.get_value(was.number()) {
            None if new.reserved_ranges().any(|range| range.contains(&was.number())) => {}
            None => broken.push(format!("{name} is gone and not reserved")),
            Some(is) if is.name() != was.name() => {
                broken.push(format!("{name} is called {} now", is.name()));
            }
            Some(_) => {}
        }
    }
}

/// What readers and writers rely on: bytes, presence, and the names of JSON.
fn promise(field: &FieldDescriptor) -> (String, Cardinality, bool, Option<String>, String, String) {
    let oneof = field.containing_oneof().map(|oneof| oneof.name().to_owned());
    let kind = format!("{:?}", field.kind());
    let (name, json_name) = (field.name().to_owned(), field.json_name().to_owned());
    (kind, field.cardinality(), field.supports_presence(), oneof, name, json_name)
}

fn shape(method: &MethodDescriptor) -> (String, String, bool, bool) {
    (
        method.input().full_name().to_owned(),
        method.output().full_name().to_owned(),
        method.is_client_streaming(),
        method.is_server_streaming(),
    )
}

struct Recording {
    message: String,
    bytes: Vec<u8>,
    says: serde_json::Value,
}

fn recordings() -> Vec<Recording> {
    LazyLock::force(&UPDATED);
    let text = std::fs::read_to_string(folder().join("messages.jsonl")).unwrap();
    let read = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        Recording {
            message: line["message"].as_str().unwrap().to_owned(),
            bytes: from_hex(line["bytes"].as_str().unwrap()),
            says: line["says"].clone(),
        }
    };
    text.lines().map(read).collect()
}

/// Adds messages with all that is known now, unless they are there.
fn record(pool: &DescriptorPool) {
    let path = folder().join("messages.jsonl");
    let mut text = std::fs::read_to_string(&path).unwrap_or_default();
    for message in messages(pool) {
        for variant in 0..variants(&message) {
            let filled = filled(&message, variant, &mut Vec::new());
            let line = json!({
                "message": message.full_name(),
                "bytes": to_hex(&filled.encode_to_vec()),
                "says": serde_json::to_value(&filled).unwrap(),
            });
            let line = format!("{line}\n");
            if !text.contains(&line) {
                text.push_str(&line);
            }
        }
    }
    std::fs::write(&path, text).unwrap();
}

/// As many as its largest oneof has fields: each is filled in one of them.
fn variants(message: &MessageDescriptor) -> usize {
    message.oneofs().map(|oneof| oneof.fields().count()).max().unwrap_or(1)
}

/// A message with a value in every field; of a oneof in the one at `variant`.
fn filled(message: &MessageDescriptor, variant: usize, path: &mut Vec<String>) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    path.push(message.full_name().to_owned());
    for field in message.fields() {
        if let Some(oneof) = field.containing_oneof() {
            let chosen = oneof.fields().nth(variant % oneof.fields().count());
            if chosen.is_none_or(|chosen| chosen.number() != field.number()) {
                continue;
            }
        }
        if let Some(value) = value(&field, variant, path) {
            filled.set_field(&field, value);
        }
    }
    path.pop();
    filled
}

fn value(field: &FieldDescriptor, variant: usize, path: &mut Vec<String>) -> Option<Value> {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { return None };
        let one = single(&entry.map_entry_value_field(), variant, path)?;
        return Some(Value::Map([(MapKey::String("key".to_owned()), one)].into()));
    }
    let one = single(field, variant, path)?;
    Some(if field.is_list() { Value::List(vec![one.clone(), one]) } else { one })
}

fn single(field: &FieldDescriptor, variant: usize, path: &mut Vec<String>) -> Option<Value> {
    let number = field.number();
    let signed = -i32::try_from(number).unwrap();
    // `format` is always 1: the first bytes of what agents publish.
    let fixed32 = if field.name() == "format" { 1 } else { number };
    Some(match field.kind() {
        Kind::Double => Value::F64(f64::from(number) / 16.0),
        Kind::Float => Value::F32(0.5),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(signed),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(i64::from(signed) << 40),
        Kind::Uint32 => Value::U32(number),
        Kind::Fixed32 => Value::U32(fixed32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::from(number) << 40),
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String(format!("{}-{number}", field.name())),
        Kind::Bytes => Value::Bytes(vec![0, 255, u8::try_from(number).unwrap()].into()),
        Kind::Enum(description) => Value::EnumNumber(description.values().last()?.number()),
        Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
            Value::Message(timestamp(&message, number))
        }
        Kind::Message(message) => {
            let depth = path.iter().filter(|it| *it == message.full_name()).count();
            if depth >= DEPTH_MAX {
                return None;
            }
            Value::Message(filled(&message, variant, path))
        }
    })
}

fn timestamp(message: &MessageDescriptor, number: u32) -> DynamicMessage {
    let mut timestamp = DynamicMessage::new(message.clone());
    timestamp.set_field_by_name("seconds", Value::I64(1_767_225_600 + i64::from(number)));
    timestamp.set_field_by_name("nanos", Value::I32(500_000_000));
    timestamp
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
    digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
}
