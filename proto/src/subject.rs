//! Where on NATS each thing is said: `vitals.v1.…`.

use std::fmt;

use crate::{
    identity::{ClusterName, EntityRef, KeyParts, ObjectKey, Scope},
    kind::Kind,
    token,
};

/// All that agents say of objects.
pub const OBJECTS: &str = "vitals.v1.object.>";
/// All that agents say of themselves.
pub const HEARTBEATS: &str = "vitals.v1.heartbeat.>";
/// All transitions of health.
pub const HEALTH: &str = "vitals.v1.health.>";
/// All changes of workloads.
pub const CHANGES: &str = "vitals.v1.change.>";
/// All incidents.
pub const ALERTS: &str = "vitals.v1.alert.>";

const OBJECT_PREFIX: &str = "vitals.v1.object.";
const HEARTBEAT_PREFIX: &str = "vitals.v1.heartbeat.";
const REQUEST_PREFIX: &str = "vitals.v1.request.";

/// Why a subject is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("subject {subject:?} is not one that an agent publishes")]
pub struct Error {
    /// The subject.
    pub subject: String,
}

/// What an agent publishes, by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// `vitals.v1.object.<cluster>.<kind>.<namespace>.<name>`.
    Object(ObjectKey),
    /// `vitals.v1.heartbeat.<cluster>.<scope>`.
    Heartbeat(ClusterName, Scope),
}

impl Published {
    /// # Errors
    /// When no agent of ours publishes on `subject`.
    pub fn parse(subject: &str) -> Result<Self, Error> {
        parse_object(subject)
            .map(Self::Object)
            .or_else(|| parse_heartbeat(subject))
            .ok_or_else(|| Error { subject: subject.to_owned() })
    }
}

fn parse_object(subject: &str) -> Option<ObjectKey> {
    let mut tokens = subject.strip_prefix(OBJECT_PREFIX)?.split('.');
    let cluster = tokens.next()?.parse().ok()?;
    let kind = Kind::from_resource(&token::unescape(tokens.next()?).ok()?);
    let namespace = token::unescape(tokens.next()?).ok()?;
    let name = token::unescape(tokens.next()?).ok()?;
    if tokens.next().is_some() {
        return None;
    }
    ObjectKey::new(KeyParts { cluster, kind, namespace: &namespace, name: &name }).ok()
}

fn parse_heartbeat(subject: &str) -> Option<Published> {
    let (cluster, scope) = subject.strip_prefix(HEARTBEAT_PREFIX)?.split_once('.')?;
    Some(Published::Heartbeat(cluster.parse().ok()?, scope.parse().ok()?))
}

/// Where the state of an object is said.
#[must_use]
pub fn object(key: &ObjectKey) -> String {
    object_named(key.cluster(), key.kind(), key.namespace(), key.name())
}

/// As [`object`], of a key in its parts, which nobody checks here.
#[must_use]
pub fn object_named(cluster: &ClusterName, kind: &Kind, namespace: &str, name: &str) -> String {
    let mut subject = String::with_capacity(128);
    subject.push_str(OBJECT_PREFIX);
    subject.push_str(cluster.as_str());
    for part in [kind.resource(), namespace, name] {
        subject.push('.');
        token::escape_into(part, &mut subject);
    }
    subject
}

/// Where an agent says how it does.
#[must_use]
pub fn heartbeat(cluster: &ClusterName, scope: &Scope) -> String {
    format!("{HEARTBEAT_PREFIX}{cluster}.{scope}")
}

/// What is asked of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The raw object.
    Get,
    /// The log of a container.
    Logs,
    /// The events of an object.
    Events,
    /// Make the stream true.
    Repair,
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Get => "get",
            Self::Logs => "logs",
            Self::Events => "events",
            Self::Repair => "repair",
        })
    }
}

/// Where an agent is asked.
#[must_use]
pub fn request(cluster: &ClusterName, verb: Verb) -> String {
    format!("{REQUEST_PREFIX}{cluster}.{verb}")
}

/// Where the reader of a log says that there is room for more. `None` where `id` is none: 1 to 64 letters and digits.
#[must_use]
pub fn credit(cluster: &ClusterName, id: &str) -> Option<String> {
    let is_id = (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_id.then(|| format!("{REQUEST_PREFIX}{cluster}.credit.{id}"))
}

/// Where the transitions of an entity are told.
#[must_use]
pub fn health(entity: &EntityRef) -> String {
    let [kind, namespace, name] =
        [entity.kind(), entity.namespace(), entity.name()].map(token::escape);
    format!("vitals.v1.health.{kind}.{namespace}.{name}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(kind: &str, namespace: &str, name: &str) -> ObjectKey {
        let cluster = "eu-1".parse().unwrap();
        ObjectKey::new(KeyParts { cluster, kind: Kind::from_resource(kind), namespace, name })
            .unwrap()
    }

    #[test]
    fn subjects_as_documented() {
        assert_eq!(
            object(&key("certificates.cert-manager.io", "pay", "shop.example")),
            "vitals.v1.object.eu-1.certificates_cert-manager_io.pay.shop_example"
        );
        assert_eq!(object(&key("nodes", "", "n1")), "vitals.v1.object.eu-1.nodes.=.n1");
        let entity = "component:default/shop".parse().unwrap();
        assert_eq!(health(&entity), "vitals.v1.health.component.default.shop");
        let cluster = "eu-1".parse().unwrap();
        assert_eq!(request(&cluster, Verb::Repair), "vitals.v1.request.eu-1.repair");
        assert_eq!(heartbeat(&cluster, &Scope::default()), "vitals.v1.heartbeat.eu-1.main");
        let of_log = credit(&cluster, "Ab1");
        assert_eq!(of_log.as_deref(), Some("vitals.v1.request.eu-1.credit.Ab1"));
        for id in ["", "a.b", "*", ">", "ä", &"a".repeat(65)] {
            assert_eq!(credit(&cluster, id), None, "{id}");
        }
    }

    #[test]
    fn foreign_subjects_are_refused() {
        for subject in [
            "",
            "vitals.v1.object.eu-1.pods.a",
            "vitals.v1.object.eu-1.pods.a.b.c",
            "vitals.v1.object.EU.pods.a.b",
            "vitals.v1.object.eu-1.pods.a.=41",
            "vitals.v1.object.eu-1.pods.a.=",
            "vitals.v1.heartbeat.eu-1",
            "vitals.v1.heartbeat.eu-1.main.x",
            "vitals.v2.object.eu-1.pods.a.b",
        ] {
            assert!(Published::parse(subject).is_err(), "{subject}");
        }
    }

    proptest! {
        #[test]
        fn reversible(kind in "[a-z]{1,20}(\\.[a-z-]{1,20}){0,3}", namespace in "\\PC{0,60}", name in "\\PC{1,60}") {
            let key = key(&kind, &namespace, &name);
            prop_assert_eq!(Published::parse(&object(&key)), Ok(Published::Object(key)));
        }
    }

    #[test]
    fn the_longest_names_stay_far_under_the_limit_of_nats() {
        let worst = "_".repeat(253);
        let key = ObjectKey::new(KeyParts {
            cluster: "c".repeat(63).parse().unwrap(),
            kind: Kind::from_resource(&format!("{}.{}", "k".repeat(63), "g".repeat(253))),
            namespace: &worst,
            name: &worst,
        })
        .unwrap();
        assert!(object(&key).len() < 4_000);
    }
}
