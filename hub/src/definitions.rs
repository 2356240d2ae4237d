//! Definitions of entities: what is checked of one, where they are kept, and how files of them are read.
//!
//! They come by gRPC or from `catalog-info.yaml` files, are put into KV `vitals_entities`, and reach the core
//! from there, so that all replicas judge alike.

pub mod files;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Debug;

use prost::Message as _;
use vitals_hub_core::catalog;
use vitals_proto::identity::EntityRef;
use vitals_proto::v1;

/// Largest definition. Bytes, encoded.
pub const DEFINITION_BYTES_MAX: usize = 64 * 1024;

/// A definition whose references are whole and whose parts can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Whose.
    pub entity: EntityRef,
    /// The rest; `ref` says the same as `entity`.
    pub wire: v1::EntityDefinition,
}

/// All definitions at one moment.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Ordered by reference.
    pub definitions: Vec<v1::EntityDefinition>,
    /// Of the definitions as a whole.
    pub revision: u64,
}

/// Where definitions are kept.
#[tonic::async_trait]
pub trait Store: Debug + Send + Sync {
    /// Registers definitions, or replaces those of the same references. Gives the revision after it.
    async fn put(&self, definitions: Vec<Definition>) -> Result<u64, StoreError>;
    /// Removes definitions; what is not there is no error. Gives the revision after it.
    async fn delete(&self, entities: Vec<EntityRef>) -> Result<u64, StoreError>;
    /// All of them.
    async fn list(&self) -> Result<Listed, StoreError>;
}

/// Why definitions could not be kept or read. All may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// NATS does not answer, or refuses.
    #[error("cannot {doing} in NATS: {reason}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// Somebody else wrote the same definition at the same time, again and again.
    #[error(
        "the definition of {entity} was changed by somebody else at the same time: read it and try again"
    )]
    Conflict {
        /// Whose.
        entity: EntityRef,
    },
}

/// Why a definition is not taken. Final.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// The core cannot use it.
    #[error("{}", with_cause(.0))]
    Unusable(#[from] catalog::Error),
    /// It is too large.
    #[error("it has {bytes} bytes, of {DEFINITION_BYTES_MAX} at most")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Checks a definition, and completes its references as Backstage does.
pub fn check(definition: v1::EntityDefinition) -> Result<Definition, Invalid> {
    let bytes = definition.encoded_len();
    if bytes > DEFINITION_BYTES_MAX {
        return Err(Invalid::TooLarge { bytes });
    }
    let wire = catalog::check(trimmed(definition))?;
    let reference = |source| catalog::Error::Reference { field: "ref", source };
    let entity = wire.r#ref.parse().map_err(reference)?;
    Ok(Definition { entity, wire })
}

fn trimmed(mut definition: v1::EntityDefinition) -> v1::EntityDefinition {
    let v1::EntityDefinition {
        r#ref,
        title,
        owner,
        system,
        domain,
        kubernetes_id,
        kubernetes_namespace,
        kubernetes_label_selector,
        kubernetes_cluster,
        annotations: _,
    } = &mut definition;
    for text in [
        r#ref,
        title,
        owner,
        system,
        domain,
        kubernetes_id,
        kubernetes_namespace,
        kubernetes_label_selector,
        kubernetes_cluster,
    ] {
        *text = text.trim().to_owned();
    }
    definition
}

/// In one line, for who sent it.
fn with_cause(error: &catalog::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Annotations that have a field of their own.
const KUBERNETES_ID: &str = "backstage.io/kubernetes-id";
const KUBERNETES_NAMESPACE: &str = "backstage.io/kubernetes-namespace";
const KUBERNETES_LABEL_SELECTOR: &str = "backstage.io/kubernetes-label-selector";
const KUBERNETES_CLUSTER: &str = "backstage.io/kubernetes-cluster";

/// Annotations that are kept beside those: they are shown or linked.
const KEPT_PREFIXES: [&str; 4] =
    ["argocd/", "prometheus.io/", "vitals.dev/", "backstage.io/source-location"];

/// Fills the fields that come from annotations.
fn with_annotations(
    definition: v1::EntityDefinition,
    mut annotations: BTreeMap<String, String>,
) -> v1::EntityDefinition {
    let mut take = |name: &str| annotations.remove(name).unwrap_or_default();
    let definition = v1::EntityDefinition {
        kubernetes_id: take(KUBERNETES_ID),
        kubernetes_namespace: take(KUBERNETES_NAMESPACE),
        kubernetes_label_selector: take(KUBERNETES_LABEL_SELECTOR),
        kubernetes_cluster: take(KUBERNETES_CLUSTER),
        ..definition
    };
    annotations.retain(|name, _| KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    v1::EntityDefinition { annotations, ..definition }
}
