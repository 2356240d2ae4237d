//! Definitions of entities: what is checked of one, where they are kept, and how files of them are read.
//!
//! They come by gRPC or from `catalog-info.yaml` files, are put into KV `vitals_entities`, and reach the core
//! from there, so that all replicas judge alike.

pub mod files;

use std::collections::BTreeMap;
use std::fmt::Debug;

use vitals_proto::identity::{self, ClusterName, EntityRef};
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
    #[error("the definition of {entity} was changed by somebody else at the same time: read it and try again")]
    Conflict {
        /// Whose.
        entity: EntityRef,
    },
}

/// Why a definition is not taken. Final.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A name is none.
    #[error("{field}: {source}")]
    Name {
        /// The field.
        field: &'static str,
        /// What is wrong.
        source: identity::Error,
    },
    /// It is too large.
    #[error("it has {bytes} bytes, of {DEFINITION_BYTES_MAX} at most")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Checks a definition, and completes its references as Backstage does.
pub fn check(definition: v1::EntityDefinition) -> Result<Definition, Invalid> {
    use prost::Message as _;
    let bytes = definition.encoded_len();
    if bytes > DEFINITION_BYTES_MAX {
        return Err(Invalid::TooLarge { bytes });
    }
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
        annotations,
    } = definition;
    let name = |field| move |source| Invalid::Name { field, source };
    let entity: EntityRef = r#ref.parse().map_err(name("ref"))?;
    let whole = |field, kind: &str, text: &str| match text.trim() {
        "" => Ok(String::new()),
        text => EntityRef::parse_with(text, kind, entity.namespace())
            .map(|entity| entity.to_string())
            .map_err(name(field)),
    };
    let wire = v1::EntityDefinition {
        r#ref: entity.to_string(),
        title: title.trim().to_owned(),
        owner: whole("owner", "group", &owner)?,
        system: whole("system", "system", &system)?,
        domain: whole("domain", "domain", &domain)?,
        kubernetes_id: kubernetes_id.trim().to_owned(),
        kubernetes_namespace: kubernetes_namespace.trim().to_owned(),
        kubernetes_label_selector: kubernetes_label_selector.trim().to_owned(),
        kubernetes_cluster: cluster(&kubernetes_cluster),
        annotations,
    };
    Ok(Definition { entity, wire })
}

/// Backstage's name of a cluster, as the slug that it has in subjects.
fn cluster(name: &str) -> String {
    match name.trim() {
        "" => String::new(),
        name => ClusterName::slug(name).to_string(),
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
