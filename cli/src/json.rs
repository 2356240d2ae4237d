//! Messages as JSON: the proto3 JSON mapping, by reflection over the compiled `.proto` files.
//!
//! So that `-o json` says what any other client of the API would: lowerCamelCase names, 64-bit numbers as text, enums by
//! name, RFC 3339 times, base64 bytes. Fields that are empty are written too, so that a script finds every name; only
//! messages and optional fields that are absent are not. No structure is written twice by hand.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde::Serialize;
use vitals_proto::v1;

use crate::Error;

/// A message whose description is compiled in.
pub trait Described: Message {
    /// Its full name, such as `vitals.v1.Entity`.
    const NAME: &'static str;
}

macro_rules! described {
    ($($message:ident),* $(,)?) => {
        $(impl Described for v1::$message {
            const NAME: &'static str = concat!("vitals.v1.", stringify!($message));
        })*
    };
}

described! {
    Entity, ExplainObjectResponse, Facts, ForgetClusterResponse, GetEntityTreeResponse, HeldObjectState,
    ListClustersResponse, ListEntitiesResponse, ListEventsResponse, ListTransitionsResponse, ObjectHealth, ObjectRef,
    SetClusterLabelsResponse, WatchEntitiesResponse,
}

static POOL: LazyLock<Result<DescriptorPool, prost_reflect::DescriptorError>> =
    LazyLock::new(|| DescriptorPool::decode(vitals_proto::DESCRIPTORS));

const OPTIONS: SerializeOptions = SerializeOptions::new().skip_default_fields(false);

struct Mapped(DynamicMessage);

impl Serialize for Mapped {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_with_options(serializer, &OPTIONS)
    }
}

/// As a value of JSON.
///
/// # Errors
/// When the message does not fit its description: a bug.
pub fn value<M: Described>(message: &M) -> Result<serde_json::Value, Error> {
    serde_json::to_value(mapped(message)?).map_err(|source| encode::<M>(source))
}

/// On one line.
///
/// # Errors
/// As [`value`].
pub fn line<M: Described>(message: &M) -> Result<String, Error> {
    serde_json::to_string(&mapped(message)?).map_err(|source| encode::<M>(source))
}

/// On many lines, indented.
///
/// # Errors
/// As [`value`].
pub fn pretty<M: Described>(message: &M) -> Result<String, Error> {
    serde_json::to_string_pretty(&mapped(message)?).map_err(|source| encode::<M>(source))
}

/// The same as YAML.
///
/// # Errors
/// As [`value`].
pub fn yaml<M: Described>(message: &M) -> Result<String, Error> {
    serde_saphyr::to_string(&mapped(message)?).map_err(|source| encode::<M>(source))
}

fn mapped<M: Described>(message: &M) -> Result<Mapped, Error> {
    let pool = POOL.as_ref().map_err(|error| encode::<M>(error.to_string()))?;
    let description =
        pool.get_message_by_name(M::NAME).ok_or_else(|| encode::<M>("not described"))?;
    let bytes = message.encode_to_vec();
    DynamicMessage::decode(description, bytes.as_slice())
        .map(Mapped)
        .map_err(|source| encode::<M>(source))
}

fn encode<M: Described>(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Encode { what: M::NAME, source: source.into() }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use prost_types::Timestamp;
    use vitals_proto::v1::{ClusterVerdict, Entity, HealthStatus, Verdict};

    use super::*;

    fn entity() -> Entity {
        let verdict = Verdict {
            status: HealthStatus::Degraded.into(),
            message: "yes: \"no\"\n- x".to_owned(),
            since: Some(Timestamp { seconds: 1, nanos: 0 }),
            ..Verdict::default()
        };
        let clusters =
            vec![ClusterVerdict { cluster: "null".to_owned(), ..ClusterVerdict::default() }];
        Entity {
            r#ref: "component:default/shop".into(),
            verdict: Some(verdict),
            clusters,
            digest: u64::MAX,
            ..Entity::default()
        }
    }

    #[test]
    fn follows_the_mapping_of_proto3() {
        expect![[r#"
            {
              "ref": "component:default/shop",
              "origin": "ENTITY_ORIGIN_UNSPECIFIED",
              "title": "",
              "owner": "",
              "system": "",
              "domain": "",
              "verdict": {
                "status": "HEALTH_STATUS_DEGRADED",
                "severity": "SEVERITY_UNSPECIFIED",
                "reason": "",
                "message": "yes: \"no\"\n- x",
                "since": "1970-01-01T00:00:01Z",
                "cause": [],
                "evidence": [],
                "next": "",
                "lastKnown": "HEALTH_STATUS_UNSPECIFIED",
                "flapping": false,
                "dimensions": []
              },
              "clusters": [
                {
                  "cluster": "null",
                  "workloads": [],
                  "labels": {}
                }
              ],
              "digest": "18446744073709551615"
            }"#]]
        .assert_eq(&pretty(&entity()).unwrap());
    }

    #[test]
    fn yaml_says_the_same() {
        let read: serde_json::Value = serde_saphyr::from_str(&yaml(&entity()).unwrap()).unwrap();
        assert_eq!(read, value(&entity()).unwrap());
    }
}
