//! One state of one object: serialized, with what indexes need beside it.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::resource::Resource;
use crate::selector::Labels;
use crate::value::{items, remove, text};

/// Namespace (empty where the resource has none) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// A UID, as Kubernetes makes them: a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Uid(u128);

impl Uid {
    /// Random bits as a UUID of version 4.
    pub(crate) fn from_random(bits: u128) -> Self {
        let version = (bits & !(0xf << 76)) | (0x4 << 76);
        Self((version & !(0x3 << 62)) | (0x2 << 62))
    }

    /// `None` where the text is no UUID.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|it| *it != '-').collect();
        if digits.len() != 32 {
            return None;
        }
        u128::from_str_radix(&digits, 16).ok().map(Self)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0;
        let part = |shift: u32, digits: u32| (bits >> shift) & ((1 << (digits * 4)) - 1);
        write!(
            out,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 8),
            part(80, 4),
            part(64, 4),
            part(48, 4),
            part(0, 12)
        )
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// One state of one object.
pub(crate) struct Entry {
    key: Key,
    uid: Uid,
    version: u64,
    owners: Box<[Uid]>,
    labels: Labels,
    leaving: bool,
    /// JSON without kind and API version: items of a list have none.
    body: Box<[u8]>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}@{}", self.key.namespace, self.key.name, self.version)
    }
}

impl Entry {
    pub(crate) fn new(key: Key, version: u64, mut object: Value) -> Self {
        remove(&mut object, &["apiVersion"]);
        remove(&mut object, &["kind"]);
        let owners = items(&object, "/metadata/ownerReferences").iter();
        let owners = owners.filter_map(|it| Uid::parse(text(it, "/uid"))).collect();
        Self {
            key,
            uid: Uid::parse(text(&object, "/metadata/uid")).unwrap_or(Uid(0)),
            version,
            owners,
            labels: Labels::of(&object),
            leaving: object.pointer("/metadata/deletionTimestamp").is_some(),
            body: object.to_string().into_bytes().into(),
        }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn uid(&self) -> Uid {
        self.uid
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn owners(&self) -> &[Uid] {
        &self.owners
    }

    pub(crate) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Whether its deletion has begun.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// As items of lists are written.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The object, without kind and API version.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Writes the object with its kind and API version, as it stands alone.
    pub(crate) fn write_whole(&self, resource: &Resource, out: &mut Vec<u8>) {
        let head =
            serde_json::json!({ "kind": resource.kind, "apiVersion": resource.api_version() });
        let head = head.to_string();
        out.extend_from_slice(head.strip_suffix('}').unwrap_or(&head).as_bytes());
        if self.body.len() > 2 {
            out.push(b',');
        }
        out.extend_from_slice(self.body.get(1..).unwrap_or_default());
    }

    /// The object with its kind and API version.
    pub(crate) fn whole(&self, resource: &Resource) -> Value {
        let mut object = self.value();
        crate::value::set(&mut object, &["kind"], resource.kind.as_str());
        crate::value::set(&mut object, &["apiVersion"], resource.api_version());
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_uuid() {
        let uid = Uid::from_random(u128::MAX);
        assert_eq!(uid.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(Uid::parse(&uid.to_string()), Some(uid));
        assert_eq!(Uid::parse("x"), None);
    }
}
